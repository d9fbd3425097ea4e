//! `posterize classify FILE PICTURE…`.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use posterize::{
    data::Picture,
    metrics,
    runtime::{Engine, Options},
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs},
    error::{CliError, Result},
    model::{Loaded, ModelArgs},
    ui::{Ui, percent},
};

/// Names the five likeliest classes of each picture, with their probabilities.
///
/// A picture that cannot be read is named, the others are classified, and the exit code is 1.
#[derive(Args, Debug)]
pub(crate) struct Classify {
    #[command(flatten)]
    model: ModelArgs,

    /// Files, patterns like 'photos/*.jpg', or - for a picture on standard input
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<String>,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

/// How many classes are named.
const BEST: usize = 5;

/// The largest picture that is read from standard input, in bytes, as for files.
const LARGEST_PICTURE: u64 = 1 << 30;

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
    classes: Vec<Likely>,
    /// Reading, decoding and cropping.
    decode_ms: f64,
    /// The network alone.
    model_ms: f64,
}

#[derive(Debug, Serialize)]
struct Likely {
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

    fn picture(&self) -> Result<Picture> {
        Ok(match self {
            Self::File(path) => Picture::open(path)?,
            Self::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .take(LARGEST_PICTURE)
                    .read_to_end(&mut bytes)
                    .map_err(posterize::Error::io("-", "read"))?;
                Picture::decode("-", &bytes)?
            }
        })
    }
}

/// The pictures that an argument means: a pattern means those that match it, in order.
fn expand(argument: &str) -> Result<Vec<Source>, String> {
    if argument == "-" {
        return Ok(vec![Source::Stdin]);
    }
    // A file may be called what looks like a pattern.
    let is_pattern = argument.contains(['*', '?', '[']) && !Path::new(argument).exists();
    if !is_pattern {
        return Ok(vec![Source::File(argument.into())]);
    }
    let paths = glob::glob(argument).map_err(|error| format!("{argument}: {error}"))?;
    let found: Vec<Source> =
        paths.flatten().filter(|path| path.is_file()).map(Source::File).collect();
    if found.is_empty() { Err(format!("{argument}: no file matches")) } else { Ok(found) }
}

/// A picture as it was decoded, and how long that took.
type Decoded = Result<(Picture, Duration)>;

fn decode(source: &Source) -> Decoded {
    let start = Instant::now();
    let picture = source.picture()?;
    Ok((picture, start.elapsed()))
}

impl Classify {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        // What is to be classified, and arguments that name nothing with their problems, in order.
        let mut sources = Vec::new();
        for argument in &self.pictures {
            match expand(argument) {
                Ok(expanded) => sources.extend(expanded.into_iter().map(Ok)),
                Err(problem) => sources.push(Err((argument, problem))),
            }
        }
        let (loaded, mut first) = self.load(&sources, options, ui)?;
        let mut engine = loaded.engine(options)?;

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
            let decoded = first.take().unwrap_or_else(|| decode(source));
            match decoded.and_then(|decoded| classify(source, decoded, &loaded, &mut engine)) {
                Ok(classified) => pictures.push(classified),
                Err(error) => fail(source.path(), error.to_string()),
            }
        }
        let (failures, total) = (failed.len(), failed.len() + pictures.len());
        let (threads, isa) = (options.threads, options.isa.to_string());
        let report = Report { model: loaded.name, pictures, failed, threads, isa };
        if ui.is_json() || !report.pictures.is_empty() {
            ui.result(&report, &report)?;
        }
        match failures {
            0 => Ok(()),
            failed => Err(CliError::Pictures { failed, total }),
        }
    }

    /// Loads the network; where there is a thread to spare, it decodes the first picture meanwhile.
    fn load<E: Sync>(
        &self,
        sources: &[Result<Source, E>],
        options: Options,
        ui: &Ui,
    ) -> Result<(Loaded, Option<Decoded>)> {
        let first = sources.iter().find_map(|source| source.as_ref().ok());
        std::thread::scope(|scope| {
            let decoding =
                first.filter(|_| options.threads > 1).map(|first| scope.spawn(|| decode(first)));
            let loaded = self.model.with_trained_weights(&self.cache, ui)?.fuse()?;
            let decoded = decoding.map(|decoding| {
                decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            Ok((loaded, decoded))
        })
    }
}

fn classify(
    source: &Source,
    (picture, decode): (Picture, Duration),
    loaded: &Loaded,
    engine: &mut Engine,
) -> Result<Classified> {
    let start = Instant::now();
    let crop = loaded.preprocessing.apply(&picture);
    let decode_ms = (decode + start.elapsed()).as_secs_f64() * 1e3;
    let start = Instant::now();
    let logits = engine.run(&crop)?;
    let model_ms = start.elapsed().as_secs_f64() * 1e3;
    let probabilities = metrics::softmax(logits.data());
    let classes = &loaded.classes;
    let best = metrics::topk(logits.data(), BEST).into_iter().map(|(class, _)| Likely {
        class,
        folder: classes.get(class).map(|class| class.folder.clone()),
        name: classes.get(class).map(|class| class.name.clone()),
        probability: probabilities[class],
    });
    let (path, classes) = (source.path().to_path_buf(), best.collect());
    Ok(Classified { path, classes, decode_ms, model_ms })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, picture) in self.pictures.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(
                f,
                "{}  ({:.2} ms, and {:.1} ms to decode)",
                picture.path.display(),
                picture.model_ms,
                picture.decode_ms
            )?;
            for likely in &picture.classes {
                let name = match &likely.name {
                    Some(name) => name.clone(),
                    None => format!("class {}", likely.class),
                };
                write!(f, "\n{:>10}  {name}", percent(100.0 * likely.probability))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn patterns_are_expanded_in_order_and_files_of_any_name_are_files() {
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
        assert!(expand("/no/such/*.jpg").is_err_and(|e| e.ends_with("no file matches")));
        assert!(expand("[").is_err_and(|e| e.starts_with("[: ")));
    }
}
