//! The search for an int8 network that loses no more than `--max-drop`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use posterize::{
    Evaluation, FloatModel,
    data::{Batch, ImageFolder, Loader, PixelBatch, Preprocessing, RandomSampler, Sampler},
    quantization::{
        AccuracyTarget, Attempt, CalibrationData, GivenBack, Half, Recipe, SearchEvent,
        SearchResult,
    },
    runtime::{Engine, Options},
};
use serde::Serialize;

use crate::{
    args::ExifArgs,
    error::{CliError, Result},
    pictures,
    ui::{Align, Table, Ui, megabytes, percent},
};

/// The bytes of decoded pictures that are kept so that they need not be decoded for each attempt.
const MAX_KEPT_BYTES: usize = 512 << 20;

const BATCH_SIZE: usize = 30;

/// Labelled pictures in two halves.
pub(super) struct Validation<'a> {
    folder: &'a ImageFolder,
    loaders: [Loader; 2],
    /// The decoded pictures of each half, if there is memory for them.
    kept: [Option<Vec<Batch<PixelBatch>>>; 2],
    keep: bool,
    images: [usize; 2],
    ui: &'a Ui,
    /// The first error that is not one of the library.
    failed: Option<CliError>,
}

/// The number of pictures of each half.
#[derive(Clone, Copy, Debug, Serialize)]
struct Images {
    search: usize,
    confirmation: usize,
}

/// A fixed choice of samples.
struct Chosen(Vec<usize>);

impl Sampler for Chosen {
    fn indices(&self, _: usize, _: u64) -> Vec<usize> {
        self.0.clone()
    }
}

impl<'a> Validation<'a> {
    /// Divides the pictures of `folder`, or `limit` of them, into two halves at random.
    pub(super) fn new(
        folder: &'a ImageFolder,
        limit: Option<usize>,
        seed: u64,
        preprocessing: &Preprocessing,
        exif: &ExifArgs,
        threads: usize,
        ui: &'a Ui,
    ) -> Result<Self> {
        let mut order = RandomSampler { seed }.indices(folder.samples().len(), 0);
        order.truncate(limit.unwrap_or(usize::MAX));
        if order.len() < 2 {
            return Err(CliError::Usage(format!(
                "{}: --max-drop needs at least two pictures, one to search on and one to confirm, but \
                 there is {}",
                folder.root().display(),
                order.len()
            )));
        }
        let half = |first: usize| {
            let mut chosen: Vec<usize> = order.iter().copied().skip(first).step_by(2).collect();
            // In the folder's order, neighbouring files are read one after the other.
            chosen.sort_unstable();
            Loader::new(folder, preprocessing)
                .limit(chosen.len())
                .sampler(Chosen(chosen))
                .batch_size(BATCH_SIZE)
                .exif_orientation(exif.orientation())
                .threads(threads)
        };
        let [height, width] = preprocessing.crop;
        let bytes = 3 * height * width * order.len();
        Ok(Self {
            folder,
            loaders: [half(0), half(1)],
            kept: [None, None],
            keep: bytes <= MAX_KEPT_BYTES,
            images: [0, 0],
            ui,
            failed: None,
        })
    }

    /// Returns the top-1 accuracy in percent on a half.
    fn top1(&mut self, engine: &mut Engine, half: Half) -> posterize::Result<f64> {
        let index = usize::from(half == Half::Confirmation);
        if let Some(kept) = &self.kept[index] {
            let batches = kept.iter().cloned().map(Ok);
            return Ok(posterize::evaluate(engine, batches, &mut |_, _, _| ())?.top1());
        }
        let mut batches = Vec::new();
        let keep = self.keep;
        let found = pictures::evaluate(
            engine,
            self.folder,
            &self.loaders[index],
            self.ui,
            &mut |batch, _| {
                if keep {
                    batches.push(batch.clone());
                }
            },
        );
        match found {
            Ok((evaluation, _)) => {
                let Evaluation { images, .. } = evaluation;
                self.images[index] = images;
                if keep {
                    self.kept[index] = Some(batches);
                }
                Ok(evaluation.top1())
            }
            Err(CliError::Library(error)) => Err(error),
            Err(error) => {
                let text = error.to_string();
                self.failed = Some(error);
                Err(posterize::Error::Argument(text))
            }
        }
    }

    /// Searches. The attempts are printed as notes while it runs.
    pub(super) fn search(
        mut self,
        float: &FloatModel,
        start: &Recipe,
        target: &AccuracyTarget,
        options: Options,
        data: &mut dyn CalibrationData,
    ) -> Result<(SearchResult, Report)> {
        let ui = self.ui;
        let smallest = 100.0 / (self.loaders[1].len() as f64);
        if target.max_drop > 0.0 && target.max_drop < smallest {
            ui.note(format_args!(
                "{}: a picture is {smallest:.2} points of a half of {}, so a drop of up to {} points is \
                 one of 0; more pictures show smaller drops",
                self.folder.root().display(),
                self.loaders[1].len(),
                target.max_drop
            ));
        }
        let mut bar = None;
        let mut event = |event: SearchEvent<'_>| match event {
            SearchEvent::Tried(attempt) => ui.note(note(attempt)),
            SearchEvent::Ranking { done, total } => {
                let ranking =
                    bar.get_or_insert_with(|| ui.steps_bar("ranking layers", total as u64));
                ranking.set_position(done as u64);
                if done == total {
                    ranking.finish_and_clear();
                }
            }
            _ => {}
        };
        let mut metric = |engine: &mut Engine, half| self.top1(engine, half);
        let found = float.quantize_to_target(start, target, options, data, &mut metric, &mut event);
        if let Some(error) = self.failed {
            return Err(error);
        }
        let found = found?;
        let report = Report {
            max_drop: target.max_drop,
            budget_ms: target.budget_ms,
            met: found.met,
            data: self.folder.root().to_path_buf(),
            images: Images { search: self.images[0], confirmation: self.images[1] },
            float: found.float.clone(),
            attempts: found.attempts.clone(),
            chosen: found.chosen,
            given_back: found.given_back.clone(),
        };
        Ok((found, report))
    }
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e3)
}

/// Describes an attempt in a line.
fn note(attempt: &Attempt) -> String {
    let Attempt { what, drop, met, .. } = attempt;
    let confirmation = match drop.confirmation {
        Some(confirmation) => format!(", {confirmation:.2} on the other half"),
        None => String::new(),
    };
    let met = if *met { ": met" } else { "" };
    format!("{what}: {:.2} points lost{confirmation}{met}", drop.search)
}

impl Report {
    /// Whether a layer was given back to float.
    pub(super) fn gave_back(&self, name: &str) -> bool {
        self.given_back.iter().any(|layer| layer.name == name)
    }
}

/// What was tried, and what the result costs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    max_drop: f64,
    budget_ms: Option<f64>,
    pub(super) met: bool,
    data: PathBuf,
    images: Images,
    float: Attempt,
    attempts: Vec<Attempt>,
    chosen: usize,
    given_back: Vec<GivenBack>,
}

impl Report {
    /// Returns the error of a target that is not met. `output` is the file that was not written.
    pub(super) fn not_met(&self, output: &Path) -> CliError {
        let Attempt { what, drop, ms, .. } = &self.attempts[self.chosen];
        let found = match drop.confirmation {
            Some(other) => {
                format!("{:.2} points, {other:.2} points on the other half", drop.search)
            }
            None => format!("{:.2} points", drop.search),
        };
        let budget = self.budget_ms.zip(*ms);
        let (time, wanted) = match budget {
            Some((budget, ms)) => (format!(" and takes {ms:.2} ms"), format!(" in {budget} ms")),
            None => (String::new(), String::new()),
        };
        CliError::NotMet(format!(
            "{}: not written, because no int8 network loses at most {} points{wanted}; the best one \
             ({what}) loses {found}{time}; allow more, or train for int8 with `posterize train --qat`",
            output.display(),
            self.max_drop
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("attempt", Align::Left),
            ("top-1", Align::Right),
            ("lost", Align::Right),
            ("other half", Align::Right),
            ("lost", Align::Right),
            ("dB", Align::Right),
            ("ms", Align::Right),
            ("size", Align::Right),
            ("result", Align::Left),
        ])
        .narrow();
        for attempt in std::iter::once(&self.float).chain(&self.attempts) {
            let Attempt { what, metric, drop, sqnr_db, ms, bytes, kept, met, .. } = attempt;
            let is_float = std::ptr::eq(attempt, &raw const self.float);
            let lost = |drop: f64| if is_float { String::new() } else { format!("{drop:.2}") };
            table.row([
                what.clone(),
                percent(metric.search),
                lost(drop.search),
                metric.confirmation.map(percent).unwrap_or_default(),
                drop.confirmation.map(lost).unwrap_or_default(),
                if is_float { String::new() } else { format!("{sqnr_db:.1}") },
                ms.map(|ms| format!("{ms:.2}")).unwrap_or_default(),
                megabytes(*bytes as u64),
                if *met {
                    "met"
                } else if *kept {
                    "kept"
                } else {
                    ""
                }
                .into(),
            ]);
        }
        let Images { search, confirmation } = self.images;
        writeln!(f, "{table}\n")?;
        writeln!(f, "{}:", self.data.display())?;
        match confirmation {
            0 => write!(f, "top-1 on {search} pictures; the other half was not looked at")?,
            _ => write!(
                f,
                "top-1 on {search} pictures, and on {confirmation} others if a network meets the target"
            )?,
        }
        f.write_str(
            "; dB: signal-to-\nquantization-noise ratio of the outputs on calibration pictures",
        )?;
        if self.given_back.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            ("given back to float", Align::Left),
            ("type", Align::Left),
            ("alone in int8: dB", Align::Right),
            ("more ms", Align::Right),
            ("more kB", Align::Right),
        ]);
        for layer in &self.given_back {
            table.row([
                layer.name.clone(),
                layer.kind.clone(),
                format!("{:.1}", layer.sqnr_db),
                layer.extra_ms.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
                kilobytes(layer.extra_bytes),
            ]);
        }
        let chosen = &self.attempts[self.chosen];
        let base = self.attempts.iter().rfind(|attempt| attempt.kept && !attempt.met);
        let extra = base.and_then(|base| Some(chosen.ms? - base.ms?));
        let bytes = base.map_or(0, |base| chosen.bytes.saturating_sub(base.bytes));
        table.totals([
            "together".into(),
            String::new(),
            String::new(),
            extra.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
            kilobytes(bytes as u64),
        ]);
        write!(f, "\n\n{table}")
    }
}
