//! Folders of pictures and their classes, as commands read them.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use posterize::{
    Evaluation, Tensor,
    data::{Batch, BatchImages, Batches, Class, ImageFolder, Loader, PixelBatch},
    runtime::Engine,
};

use crate::{
    error::{CliError, Result},
    fetch::CLASSES_FILE,
    ui::{Ui, percent},
};

/// The file of classes: the one given, or else the one in `data`, or beside it.
pub(crate) fn classes_file(given: Option<&Path>, data: &Path) -> Option<PathBuf> {
    let there = |folder: &Path| Some(folder.join(CLASSES_FILE)).filter(|file| file.is_file());
    given.map(Path::to_path_buf).or_else(|| there(data)).or_else(|| data.parent().and_then(there))
}

/// The labelled pictures of `data`. Their class numbers come from the file of classes that was
/// given; else from the model, where it knows its `classes`; else from a file of classes in or
/// beside `data`; else from the sorted folders. The network has that many `outputs`.
pub(crate) fn open(
    data: &Path,
    given: Option<&Path>,
    classes: &[Class],
    outputs: usize,
) -> Result<ImageFolder> {
    if given.is_none() && !classes.is_empty() {
        return Ok(ImageFolder::with_classes(data, classes)?);
    }
    let file = classes_file(given, data);
    let folder = ImageFolder::open(data, file.as_deref())?;
    check_classes(&folder, file.as_deref(), outputs)?;
    Ok(folder)
}

/// Class numbers are right only if data and network have the same classes.
fn check_classes(folder: &ImageFolder, file: Option<&Path>, outputs: usize) -> Result<()> {
    let found = folder.classes().len();
    if found == outputs {
        return Ok(());
    }
    let root = folder.root().display();
    Err(CliError::Classes(match file {
        Some(file) => {
            format!("{}: it names {found} classes, but the network has {outputs}", file.display())
        }
        None => format!(
            "{root}: it has {found} class folders, but the network has {outputs} classes, so their \
             order does not give the right class numbers; pass --classes FILE, with a line for each \
             class that begins with the name of its folder"
        ),
    }))
}

/// Runs a network over all pictures of `loader`, which are of `folder`, and returns how many were
/// left out besides. `seen` gets each batch with its logits. Other threads decode the next batches
/// meanwhile.
pub(crate) fn evaluate(
    engine: &mut Engine,
    folder: &ImageFolder,
    loader: &Loader,
    ui: &Ui,
    seen: &mut dyn FnMut(&Batch<PixelBatch>, &Tensor),
) -> Result<(Evaluation, usize)> {
    let mut stream = Stream::new(loader, loader.pixels(), ui);
    let bar = stream.bar.clone();
    let result = posterize::evaluate(engine, &mut stream, &mut |so_far, batch, logits| {
        bar.inc(batch.labels.len() as u64);
        let (top1, top5) = (percent(so_far.top1()), percent(so_far.top5()));
        bar.set_message(format!("top-1 {top1} top-5 {top5}"));
        seen(batch, logits);
    });
    stream.finish(folder.root())?;
    Ok((result?, stream.skipped))
}

/// Batches, with a warning for every picture that was left out.
pub(crate) struct Stream<'a, T: BatchImages> {
    batches: Batches<T>,
    ui: &'a Ui,
    pub(crate) bar: ProgressBar,
    /// How many pictures there are, those left out included.
    total: usize,
    /// How many were left out so far.
    pub(crate) skipped: usize,
}

impl<'a, T: BatchImages + 'static> Stream<'a, T> {
    /// The `batches` of `loader`. Whoever takes them moves the bar.
    pub(crate) fn new(loader: &Loader, batches: Batches<T>, ui: &'a Ui) -> Self {
        let (total, bar) = (loader.len(), ui.pictures_bar(loader.len() as u64));
        Self { batches, ui, bar, total, skipped: 0 }
    }

    /// Removes the bar; an error where there was no picture but those left out.
    pub(crate) fn finish(&self, data: &Path) -> Result<()> {
        self.bar.finish_and_clear();
        if self.skipped == self.total {
            let data = data.to_path_buf();
            return Err(CliError::NoPictures { data, skipped: self.skipped });
        }
        Ok(())
    }
}

impl<T: BatchImages> Iterator for Stream<'_, T> {
    type Item = posterize::Result<Batch<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next();
        for picture in &self.batches.skipped()[self.skipped..] {
            self.ui.warn(format_args!("{} (left out)", picture.error));
            self.bar.inc(1);
        }
        self.skipped = self.batches.skipped().len();
        batch
    }
}
