//! The command `posterize classify`.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueHint};
use posterize::{
    Classifier,
    data::{ExifOrientation, Picture},
    runtime::Options,
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs},
    error::{CliError, Result},
    loaded::Loaded,
    model::ModelArgs,
    names, pictures,
    ui::{Ui, percent},
};

const EXAMPLES: &str = "\
Examples:
  posterize classify int8.safetensors cat.jpg dog.png
  posterize classify mobilenet_v2 'photos/*.jpg' --topk 3 --names imagenet_class_index.json
  posterize classify int8.safetensors - --json < cat.jpg";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model         The model's name
  pictures      In the order of the arguments:
    path        The file, or - for standard input
    classes     The --topk most probable classes, most probable first:
      class     Class number, counted from 0
      folder, name  Folder and readable name of the class, if the model knows them
      probability   Softmax of the logits, 0 to 1
    decode_ms   Milliseconds of reading, decoding and cropping
    model_ms    Milliseconds of the model alone
  failed        Pictures that could not be classified:
    path, error  The file, and the error message
  threads, isa  Number of threads, and instruction set that was used";

/// Prints the most probable classes of each picture.
///
/// If a picture cannot be read, the error is printed, the other pictures are still classified, and
/// the exit code is 3.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Classify {
    #[command(flatten)]
    model: ModelArgs,

    /// Picture files, glob patterns such as 'photos/*.jpg', or - to read a picture from standard input
    #[arg(required = true, value_name = "PICTURE", value_hint = ValueHint::FilePath)]
    pictures: Vec<String>,

    /// Number of classes to print for each picture
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    topk: u32,

    /// File of class names, instead of those in the model: one name on each line, lines of a class number,
    /// a comma and the name, or JSON: a list of names, or an object such as {"0": "tench"}
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// Leave pictures as they are in the file, as torchvision does, instead of turning them upright by the
    /// orientation that cameras write in them (EXIF); evaluate and train turn them only with --exif
    #[arg(long)]
    no_exif: bool,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

/// Maximum size in bytes of a picture read from standard input, the same as for files.
const MAX_PICTURE_BYTES: u64 = 1 << 30;

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    pictures: Vec<Classified>,
    failed: Vec<Failed>,
    threads: usize,
    isa: String,
}

#[derive(Debug, Serialize)]
struct Classified {
    path: PathBuf,
    classes: Vec<Prediction>,
    /// Milliseconds of reading, decoding and cropping.
    decode_ms: f64,
    /// Milliseconds of the model alone.
    model_ms: f64,
}

/// A class and its probability.
#[derive(Debug, Serialize)]
struct Prediction {
    class: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// 0 to 1.
    probability: f64,
}

#[derive(Debug, Serialize)]
struct Failed {
    path: PathBuf,
    error: String,
}

/// A picture to classify.
enum Source {
    File(PathBuf),
    Stdin,
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Stdin => Path::new("-"),
        }
    }

    fn picture(&self, exif: ExifOrientation) -> Result<Picture> {
        Ok(match self {
            Self::File(path) => Picture::open_with(path, exif)?,
            Self::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .take(MAX_PICTURE_BYTES)
                    .read_to_end(&mut bytes)
                    .map_err(posterize::Error::io("-", "read"))?;
                Picture::decode_with("-", &bytes, exif)?
            }
        })
    }
}

/// Returns the pictures that an argument names: those that match it in sorted order if it is a glob
/// pattern, otherwise one.
fn expand(argument: &str) -> Result<Vec<Source>, String> {
    if argument == "-" {
        return Ok(vec![Source::Stdin]);
    }
    let is_picture = |path: &PathBuf| path == Path::new(argument) || path.is_file();
    let found: Vec<Source> =
        pictures::expand(argument)?.into_iter().filter(is_picture).map(Source::File).collect();
    if found.is_empty() {
        Err(format!("{argument}: no file matches this pattern"))
    } else {
        Ok(found)
    }
}

/// A decoded picture, and how long decoding took.
type Decoded = Result<(Picture, Duration)>;

fn decode(source: &Source, exif: ExifOrientation) -> Decoded {
    let start = Instant::now();
    let picture = source.picture(exif)?;
    Ok((picture, start.elapsed()))
}

impl Classify {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        // In the order of the arguments, with an error message for those that name no picture.
        let mut sources = Vec::new();
        for argument in &self.pictures {
            match expand(argument) {
                Ok(expanded) => sources.extend(expanded.into_iter().map(Ok)),
                Err(problem) => sources.push(Err((argument, problem))),
            }
        }
        let (loaded, mut first) = self.load(&sources, options, ui)?;
        let names = self.names(&loaded)?;
        let (model, mut classifier) = loaded.into_classifier(options)?;

        let (mut pictures, mut failed) = (Vec::new(), Vec::new());
        let mut fail = |path: &Path, error: String| {
            ui.error(&error);
            failed.push(Failed { path: path.to_path_buf(), error });
        };
        for source in &sources {
            let source = match source {
                Ok(source) => source,
                Err((argument, problem)) => {
                    fail(Path::new(argument), problem.clone());
                    continue;
                }
            };
            let decoded = first.take().unwrap_or_else(|| decode(source, self.orientation()));
            match decoded.and_then(|decoded| {
                self.classify(source, decoded, names.as_deref(), &mut classifier)
            }) {
                Ok(found) => pictures.push(found),
                Err(error) => fail(source.path(), error.to_string()),
            }
        }
        let (failures, total) = (failed.len(), failed.len() + pictures.len());
        let (threads, isa) = (options.threads, options.isa.to_string());
        let report = Report { model, pictures, failed, threads, isa };
        if ui.is_json() || !report.pictures.is_empty() {
            ui.result(&report, &report)?;
        }
        match failures {
            0 => Ok(()),
            failed => Err(CliError::Pictures { failed, total }),
        }
    }

    fn orientation(&self) -> ExifOrientation {
        if self.no_exif { ExifOrientation::Ignored } else { ExifOrientation::Applied }
    }

    /// Reads the file of --names, if it is given.
    fn names(&self, loaded: &Loaded) -> Result<Option<Vec<String>>> {
        let Some(file) = &self.names else { return Ok(None) };
        Ok(Some(names::read(file, loaded.outputs()?)?))
    }

    /// Loads the model. With more than one thread, the first picture is decoded at the same time.
    fn load<E: Sync>(
        &self,
        sources: &[Result<Source, E>],
        options: Options,
        ui: &Ui,
    ) -> Result<(Loaded, Option<Decoded>)> {
        let first = sources.iter().find_map(|source| source.as_ref().ok());
        std::thread::scope(|scope| {
            let decoding = first
                .filter(|_| options.threads > 1)
                .map(|first| scope.spawn(|| decode(first, self.orientation())));
            let loaded = self.model.with_trained_weights(&self.cache, ui)?;
            let decoded = decoding.map(|decoding| {
                decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            Ok((loaded, decoded))
        })
    }

    /// Classifies a decoded picture. `names` are those of --names.
    fn classify(
        &self,
        source: &Source,
        (picture, decode): (Picture, Duration),
        names: Option<&[String]>,
        classifier: &mut Classifier,
    ) -> Result<Classified> {
        let start = Instant::now();
        let crop = classifier.preprocessing().apply(&picture);
        let decode_ms = (decode + start.elapsed()).as_secs_f64() * 1e3;
        let start = Instant::now();
        let found = classifier.classify_crop(&crop).map_err(|error| CliError::Picture {
            path: source.path().to_path_buf(),
            source: Box::new(error),
        })?;
        let model_ms = start.elapsed().as_secs_f64() * 1e3;
        let best = found.top(self.topk as usize).into_iter().map(|prediction| Prediction {
            class: prediction.class,
            folder: prediction.folder.map(str::to_owned),
            name: match names {
                Some(names) => names.get(prediction.class).cloned(),
                None => prediction.name.map(str::to_owned),
            },
            probability: prediction.probability,
        });
        let (path, classes) = (source.path().to_path_buf(), best.collect());
        Ok(Classified { path, classes, decode_ms, model_ms })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, picture) in self.pictures.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(
                f,
                "{}  (model {:.2} ms, decoding {:.1} ms)",
                picture.path.display(),
                picture.model_ms,
                picture.decode_ms
            )?;
            for prediction in &picture.classes {
                let name = match &prediction.name {
                    Some(name) => name.clone(),
                    None => format!("class {}", prediction.class),
                };
                write!(f, "\n{:>10}  {name}", percent(100.0 * prediction.probability))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn glob_patterns_are_expanded_in_order_unless_a_file_has_that_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.jpg", "a.jpg", "c.png", "[x].jpg"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let pattern = folder.path().join(pattern);
            let sources = expand(pattern.to_str().unwrap()).unwrap();
            let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().into();
            sources.iter().map(|source| name(source.path())).collect()
        };
        assert_eq!(names("?.jpg"), ["a.jpg", "b.jpg"]);
        assert_eq!(names("[x].jpg"), ["[x].jpg"]);
        assert_eq!(names("none.jpg"), ["none.jpg"]);
        assert!(
            expand("/no/such/*.jpg").is_err_and(|e| e.ends_with("no file matches this pattern"))
        );
        assert!(expand("[").is_err_and(|e| e.starts_with("[: not a valid glob pattern: ")));
    }
}
