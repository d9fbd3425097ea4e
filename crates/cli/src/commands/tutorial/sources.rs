//! Which pictures the story is told on.

use std::path::{Path, PathBuf};

use crate::{
    args::CacheArgs,
    embedded,
    error::Result,
    fetch::{Fetcher, Item},
    ui::Ui,
};

/// A folder of pictures, one folder in it for each class.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) folder: PathBuf,
    /// What it is called.
    pub(super) place: String,
}

impl Source {
    fn given(folder: &Path) -> Self {
        Self { folder: folder.into(), place: folder.display().to_string() }
    }
}

/// The pictures that are evaluated, and those that calibrate and train.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) evaluated: Source,
    /// None where they are taken from the evaluated ones.
    pub(super) calibrate: Option<Source>,
    /// Unpacked for as long as the story takes.
    embedded: Option<embedded::Pictures>,
}

impl Sources {
    /// What the user names; else what the program carries for its own network; else what can be
    /// fetched.
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
            let samples = Fetcher::new(cache)?.fetch_noted(Item::Samples, ui)?.path;
            return Ok(Self { evaluated: Source::given(&samples), calibrate, embedded: None });
        }
        let pictures = embedded::Pictures::unpack()?;
        let carried = |folder, place: &str| Source { folder, place: place.into() };
        let train = || carried(pictures.train(), embedded::TRAIN);
        Ok(Self {
            evaluated: carried(pictures.val(), embedded::VAL),
            calibrate: Some(calibrate.unwrap_or_else(train)),
            embedded: Some(pictures),
        })
    }

    /// Whether the pictures are the program's own.
    pub(super) fn are_embedded(&self) -> bool {
        self.embedded.is_some()
    }
}
