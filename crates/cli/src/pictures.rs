//! Opening folders of labelled pictures, and running a network over them.

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

/// Returns the file that lists the classes: the one given, or else `classes.txt` in `data` or beside
/// it, if there is one.
pub(crate) fn classes_file(given: Option<&Path>, data: &Path) -> Option<PathBuf> {
    let found = |folder: &Path| Some(folder.join(CLASSES_FILE)).filter(|file| file.is_file());
    given.map(Path::to_path_buf).or_else(|| found(data)).or_else(|| data.parent().and_then(found))
}

/// Opens the labelled pictures in `data`. Their class numbers come from the class file that was
/// given; else from `classes`, those of the model; else from a class file in or beside `data`; else
/// from the sorted folders. It is an error if their number is not `outputs`, that of the network.
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

/// Reads a file of classes, of which there must be `outputs`. `root` is the folder that has the class
/// folders, if there is one.
pub(crate) fn read_classes(file: &Path, root: Option<&Path>, outputs: usize) -> Result<Vec<Class>> {
    let classes = match root {
        Some(root) => ImageFolder::read_classes(root, file)?,
        None => posterize::data::read_classes(file)?,
    };
    if classes.len() == outputs {
        Ok(classes)
    } else {
        Err(wrong_number(file, classes.len(), outputs))
    }
}

/// Returns the error of a file with another number of classes than the network has.
fn wrong_number(file: &Path, found: usize, outputs: usize) -> CliError {
    CliError::Classes(format!(
        "{}: it lists {found} classes, but the network has {outputs}; the file needs one line for \
         each class of the network",
        file.display()
    ))
}

/// Returns an error if the data and the network have different numbers of classes, because then the
/// class numbers would be wrong.
fn check_classes(folder: &ImageFolder, file: Option<&Path>, outputs: usize) -> Result<()> {
    let found = folder.classes().len();
    if found == outputs {
        return Ok(());
    }
    Err(match file {
        Some(file) => wrong_number(file, found, outputs),
        None => CliError::Classes(format!(
            "{}: it has {found} class folders ({}), but the network has {outputs} classes, so the \
             order of the folders does not give the class numbers; pass --classes FILE, with one \
             line for each class that begins with the name of its folder",
            folder.root().display(),
            listed(folder.classes())
        )),
    })
}

/// Joins the first folders' names, and counts the others.
fn listed(classes: &[Class]) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<&str> = classes.iter().map(|class| class.folder.as_str()).collect();
    let others = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let shown = names.join(", ");
    if others == 0 { shown } else { format!("{shown} and {others} others") }
}

/// Returns the files and folders that an argument names: those that match it in sorted order if it is a
/// glob pattern, otherwise one.
pub(crate) fn expand(argument: &str) -> Result<Vec<PathBuf>, String> {
    // A file's name may contain these characters.
    let is_pattern = argument.contains(['*', '?', '[']) && !Path::new(argument).exists();
    if !is_pattern {
        return Ok(vec![argument.into()]);
    }
    let paths = glob::glob(argument)
        .map_err(|error| format!("{argument}: not a valid glob pattern: {error}"))?;
    let found: Vec<PathBuf> = paths.flatten().collect();
    if found.is_empty() {
        Err(format!("{argument}: no file matches this pattern"))
    } else {
        Ok(found)
    }
}

/// Runs a network over all pictures of `loader`, which are in `folder`. Returns the evaluation and the
/// number of pictures that were skipped because they could not be decoded. Each batch is passed to
/// `on_batch` with its logits. Other threads decode the next batches meanwhile.
pub(crate) fn evaluate(
    engine: &mut Engine,
    folder: &ImageFolder,
    loader: &Loader,
    ui: &Ui,
    on_batch: &mut dyn FnMut(&Batch<PixelBatch>, &Tensor),
) -> Result<(Evaluation, usize)> {
    let mut stream = Stream::new(loader, loader.pixels(), ui);
    let bar = stream.bar.clone();
    let result = posterize::evaluate(engine, &mut stream, &mut |so_far, batch, logits| {
        bar.inc(batch.labels.len() as u64);
        let (top1, top5) = (percent(so_far.top1()), percent(so_far.top5()));
        bar.set_message(format!("top-1 {top1} top-5 {top5}"));
        on_batch(batch, logits);
    });
    stream.finish(folder.root())?;
    Ok((result?, stream.skipped))
}

/// An iterator over batches that warns about every picture that is skipped.
pub(crate) struct Stream<'a, T: BatchImages> {
    batches: Batches<T>,
    ui: &'a Ui,
    pub(crate) bar: ProgressBar,
    /// Number of pictures, skipped ones included.
    total: usize,
    /// Number of pictures skipped so far because they could not be decoded.
    pub(crate) skipped: usize,
}

impl<'a, T: BatchImages + 'static> Stream<'a, T> {
    /// Iterates over the `batches` of `loader`. The caller advances the progress bar.
    pub(crate) fn new(loader: &Loader, batches: Batches<T>, ui: &'a Ui) -> Self {
        let (total, bar) = (loader.len(), ui.pictures_bar(loader.len() as u64));
        Self { batches, ui, bar, total, skipped: 0 }
    }

    /// Removes the progress bar. Returns an error if every picture was skipped.
    pub(crate) fn finish(&self, data: &Path) -> Result<()> {
        self.bar.finish_and_clear();
        check_skipped(self.skipped, self.total, data).map(|_| ())
    }
}

/// Returns the number of skipped pictures, or an error if that is all of the pictures of `data`.
pub(crate) fn check_skipped(skipped: usize, total: usize, data: &Path) -> Result<usize> {
    if skipped == total {
        return Err(CliError::NoPictures { data: data.to_path_buf(), skipped });
    }
    Ok(skipped)
}

impl<T: BatchImages> Iterator for Stream<'_, T> {
    type Item = posterize::Result<Batch<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next();
        for picture in &self.batches.skipped()[self.skipped..] {
            self.ui.warn(format_args!("{} (picture skipped)", picture.error));
            self.bar.inc(1);
        }
        self.skipped = self.batches.skipped().len();
        batch
    }
}
