//! Where the pictures of the tutorial come from.

use std::path::{Path, PathBuf};

use crate::{
    args::CacheArgs,
    embedded,
    error::Result,
    fetch::{Fetcher, Item},
    ui::Ui,
};

/// A folder of pictures, with one folder in it for each class.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) folder: PathBuf,
    /// Its name in reports.
    pub(super) name: String,
}

impl Source {
    fn given(folder: &Path) -> Self {
        Self { folder: folder.into(), name: folder.display().to_string() }
    }
}

/// The pictures for evaluation, and those for calibration and training.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) evaluated: Source,
    /// `None` if they are taken from the folder of evaluated pictures.
    pub(super) calibrate: Option<Source>,
    /// Keeps the unpacked built-in pictures until the tutorial ends.
    embedded: Option<embedded::Pictures>,
}

impl Sources {
    /// Chooses the folders that the user gave; else the built-in pictures for the built-in network;
    /// else the downloaded sample pictures.
    pub(super) fn new(
        model: &str,
        data: Option<&Path>,
        calibrate: Option<&Path>,
        cache: &CacheArgs,
        ui: &Ui,
    ) -> Result<Self> {
        let calibrate = calibrate.map(Source::given);
        if let Some(data) = data {
            return Ok(Self { evaluated: Source::given(data), calibrate, embedded: None });
        }
        if model != embedded::MODEL {
            let samples = Fetcher::new(cache)?.fetch_and_report(Item::Samples, ui)?.path;
            return Ok(Self { evaluated: Source::given(&samples), calibrate, embedded: None });
        }
        let pictures = embedded::Pictures::unpack()?;
        let built_in = |folder, name: &str| Source { folder, name: name.into() };
        let train = || built_in(pictures.train(), embedded::TRAIN);
        Ok(Self {
            evaluated: built_in(pictures.val(), embedded::VAL),
            calibrate: Some(calibrate.unwrap_or_else(train)),
            embedded: Some(pictures),
        })
    }

    /// Whether the evaluated pictures are the built-in ones.
    pub(super) fn are_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}
