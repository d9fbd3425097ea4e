//! The command `posterize report`.

mod accuracy;
mod changed;
mod figures;
mod layers;
mod numbers;
mod page;
mod sensitivity;
mod verdict;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Args, ValueHint};
use posterize::{
    FloatModel, QuantizedModel, atomic_file,
    data::{ImageFolder, Loader, Preprocessing, Sampler},
    format::SavedModel,
    quantization::Sensitivity,
    report::{
        LayerStatistics, PredictionComparison, compare_predictions, layer_sensitivity,
        layer_statistics,
    },
    runtime::{Options, compile},
};

use crate::{
    args::{CacheArgs, ExifArgs, ThreadArgs, positive},
    error::{CliError, Result},
    model::ModelArgs,
    paths::Paths,
    pictures::{self, Stream},
    timing::{self, Comparison, Times},
    ui::{Ui, finite, percent},
};

use numbers::{Changed, Layer, Network, Numbers, Ranking};
use verdict::Difference;

const EXAMPLES: &str = "\
Examples:
  posterize report int8.safetensors --against weights.pth --data photos/val
  posterize report int8.safetensors --against float.safetensors --data photos/val --limit 99
  posterize report int8.safetensors --against mobilenet_v2 --data photos/val --json
  posterize report int8.safetensors --against weights.pth --data photos/val --sensitivity";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model, file, against  The model's name, its file, and the float model
  data, images, skipped  Folder of pictures, number compared, and number that could not be decoded
  float, int8           Measurements of the float and the int8 model:
    top1, top5, loss    Accuracy in percent, and mean cross-entropy
    top1_interval, top5_interval  Their confidence intervals of 95 % (Wilson), in percent
    low, high           Bounds of an interval or a histogram
    bytes               Size of the saved file
    times               Milliseconds per picture, one at a time:
      precision, median_ms, min_ms, p99_ms, images_per_second  As `posterize bench` has them
  time_ratio            Time of the int8 model divided by that of the float one:
    median, lower_quartile, upper_quartile, min, max, pairs  Over pairs of alternating measurements
  outcomes              Number of pictures about which a model is right:
    both, only_float, only_int8, neither  Both models, one of them, or neither
  difference            Top-1 accuracy of float minus that of int8:
    points, interval    In percentage points, with a confidence interval of 95 % (Agresti and Min)
    p_value             Of McNemar's exact test, 0 to 1
  logits_sqnr_db        Signal-to-quantization-noise ratio of the logits; null if they are equal
  changed               Pictures with different predictions:
    path, label, label_name  File, and number and name of its class
    outcome             only_float, only_int8 or neither; then three classes of float and of int8:
      class, name, probability  Most probable first
  layer_images          Number of pictures that layers were compared on
  layers                In execution order, with name and:
    type, sqnr_db       Operator, and signal-to-quantization-noise ratio; null if equal
    scale, zero_point   Of the output; null if it is float
    float_reason        Why the layer stays in float, or null
    channel_factors     What each channel was divided by in equalization, or null; errors are of
                        the channels scaled back
    activations         Float outputs, and how they are quantized:
      min, max, mean, std  Of the float outputs
      range             Smallest and largest value that the int8 output can represent, or null
      histogram         Of the float outputs, with low and high, or null
      counts, below, above  Its values in bins of equal width, and outside of them
      clipped           Share of float outputs beyond the range, 0 to 1
      levels, levels_used  Number of int8 outputs with each integer, and of different integers
      bias_shift        Mean error of a channel, in standard deviations (root mean square)
      bias_share        Share of the noise that these errors are, 0 to 1
    weights             Int8 weights with sqnr_db and levels_used, or null:
      channels          Each with min and max of the float weights, scale and
      max_int8          Largest absolute value of an int8 weight
      per_channel       Whether each channel has its own scale
      counts            Number of weights with each integer from -128 to 127
      lost_channels     Number of channels whose weights are all 0 in int8 only
      changed           Share of weights that are no rounding of the float ones, 0 to 1
      signal, noise     Sums of squares of the float weights and of their errors
      range_ratio       Largest weight of the largest channel divided by that of the median one
  sensitivity           With --sensitivity, the layers by what each costs, or else null:
    pictures, float_top1  Number of pictures, and top-1 accuracy of float on them in percent
    int8                The network with all layers in int8, with sqnr_db of the logits and top1
    layers              The most sensitive first, with name, type and:
      only_int8, only_float  The network with only this layer in int8 or in float, as int8
      extra_ms, extra_bytes  Time for one picture and size that this layer costs in float
      facts, weight, output  Measurements of the layer, its weight (or null) and its output
      largest, median, levels, per_channel  Of both, as `posterize sensitivity` has them
      noise_share, percentile, mean_error, spread  Likewise
      causes            Likely causes, the most pronounced first:
      text, remedy, option  In words, what to try, and the option for it
  output, page_bytes    The page, and its size
  threads, isa          Threads, and instruction set that was used
  seconds               Seconds of the whole command";

/// Number of pictures in a batch for predictions.
const BATCH: usize = 30;
/// Number of pictures in a batch for layers. It is small because the outputs of all layers are kept.
const LAYER_BATCH: usize = 2;
/// Number of pictures in a batch for the ranking of layers.
const SENSITIVITY_BATCH: usize = 10;
/// Number of timed runs of each network.
const RUNS: u32 = 100;

/// Compares a saved int8 model with its float model, and writes what differs to an HTML page.
///
/// The page has both accuracies with confidence intervals and a test whether they differ, the pictures
/// whose prediction changed, times and sizes, and each layer's distributions, ranges and errors. It needs no
/// other file and no network connection.
#[derive(Args, Debug)]
#[command(
    mut_arg("name", |name| {
        name.value_name("FILE").help("Int8 model that `posterize quantize` or `posterize train` wrote")
    }),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}")
)]
pub(crate) struct Report {
    #[command(flatten)]
    model: ModelArgs,

    /// Float model to compare with: a checkpoint of the model that was quantized, or a file that
    /// `posterize train` wrote, which need no other options, or the name of an architecture (with
    /// --weights)
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::FilePath)]
    against: String,

    /// Folder of pictures, with one folder in it for each class
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// File with one line for each class, in the order of the class numbers; a line begins with the name
    /// of the class's folder, in double quotes or with a tab after it if it has spaces [default: the
    /// classes in FILE; else classes.txt in DIR or beside it; else the folders in sorted order]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Use only the first N pictures
    #[arg(long, value_name = "N", value_parser = positive())]
    limit: Option<usize>,

    /// Compare the layers on only N pictures, evenly spaced
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    layer_limit: u32,

    /// Also rank the layers by how much accuracy each costs, on the pictures of --layer-limit: with only
    /// this layer in int8, and with only this layer in float. Needs no calibration, but some seconds
    #[arg(long)]
    sensitivity: bool,

    /// Show at most N of the pictures whose prediction changed
    #[arg(long, value_name = "N", default_value_t = 24)]
    pictures: u16,

    /// File to write (HTML)
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,

    #[command(flatten)]
    exif: ExifArgs,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

/// The two networks and their pictures.
struct Subject<'a> {
    saved: &'a SavedModel,
    float: &'a FloatModel,
    int8: &'a QuantizedModel,
    preprocessing: &'a Preprocessing,
    folder: &'a ImageFolder,
    options: Options,
}

impl Report {
    /// Returns the files that the command reads and writes.
    pub(crate) fn paths(&self) -> Paths {
        let classes = pictures::classes_file(self.classes.as_deref(), &self.data);
        let against = PathBuf::from(&self.against);
        self.model
            .paths()
            .reads("--against", Some(&against).filter(|path| path.exists()))
            .reads("--data", [&self.data])
            .reads("--classes", &classes)
            .writes("-o", [&self.output])
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let start = Instant::now();
        let options = self.threads.options()?;
        let saved = self.saved()?;
        let (int8, preprocessing) = self.parts(&saved)?;
        let float = self.model.reference(&self.against, &saved, &self.cache, ui)?.fuse()?;
        let outputs = saved.outputs().unwrap_or_default();
        let folder = pictures::open(&self.data, self.classes.as_deref(), &saved.classes, outputs)?;
        let subject =
            Subject { saved: &saved, float: &float, int8, preprocessing, folder: &folder, options };

        // First, because it is quick and finds networks that do not belong together.
        let (layers, layer_images) = self.layers(&subject, ui)?;
        let (predictions, skipped) = self.predictions(&subject, ui)?;
        let sensitivity = if self.sensitivity {
            Some(Ranking::from(self.measure_sensitivity(&subject, ui)?))
        } else {
            None
        };
        let (int8_times, Comparison { other: float_times, ratio }) = subject.times(ui)?;
        let changed = predictions.changed.iter();
        let mut numbers = Numbers {
            model: saved.name.clone(),
            file: PathBuf::from(&self.model.name),
            against: self.against.clone(),
            data: self.data.clone(),
            images: predictions.outcomes.images(),
            skipped,
            float: Network::new(&predictions.float, subject.float_bytes()?, float_times),
            int8: Network::new(&predictions.int8, size_of(&self.model.name)?, int8_times),
            time_ratio: ratio,
            outcomes: predictions.outcomes,
            difference: Difference::new(&predictions.outcomes),
            logits_sqnr_db: finite(predictions.logits_sqnr()),
            changed: changed.map(|c| Changed::new(c, folder.samples(), folder.classes())).collect(),
            layer_images,
            layers: layers.into_iter().map(|layer| Layer::new(layer, int8)).collect(),
            sensitivity,
            output: self.output.clone(),
            page_bytes: 0,
            threads: options.threads,
            isa: options.isa.to_string(),
            seconds: 0.0,
        };
        let exif = self.exif.orientation();
        let shown = numbers.changed.iter().take(usize::from(self.pictures));
        let thumbnails: Vec<Option<String>> =
            shown.map(|changed| changed::thumbnail(changed, preprocessing, exif)).collect();
        let page = page::render(&numbers, &thumbnails);
        atomic_file::write(&self.output, |file| file.write_all(page.as_bytes()))?;
        numbers.page_bytes = page.len() as u64;
        numbers.seconds = start.elapsed().as_secs_f64();
        ui.result(&numbers, &numbers)
    }

    /// Reads the int8 model's file.
    fn saved(&self) -> Result<SavedModel> {
        let given = self.model.given_preprocessing();
        self.model.refuse_with_file(&[(given.unwrap_or_default(), given.is_some())])?;
        if !self.model.is_file() {
            return Err(CliError::Usage(format!(
                "{}: expected the file of an int8 model; pass the file that `posterize quantize` wrote",
                self.model.name
            )));
        }
        Ok(SavedModel::open(&self.model.name)?)
    }

    /// Returns the int8 network of the file, and its preprocessing.
    fn parts<'a>(&self, saved: &'a SavedModel) -> Result<(&'a QuantizedModel, &'a Preprocessing)> {
        let int8 = saved.model.as_quantized().ok_or_else(|| {
            CliError::Usage(format!(
                "{}: this is a float model; pass the int8 file that `posterize quantize` wrote, and the \
                 float model with --against",
                self.model.name
            ))
        })?;
        let preprocessing = saved.preprocessing.as_ref().ok_or_else(|| {
            CliError::Usage(format!(
                "{}: the saved int8 model has no preprocessing (resize, crop, mean and std of its \
                 pictures); write it again with `posterize quantize`",
                self.model.name
            ))
        })?;
        Ok((int8, preprocessing))
    }

    /// Returns a loader of the pictures.
    fn loader(&self, subject: &Subject<'_>) -> Loader {
        Loader::new(subject.folder, subject.preprocessing)
            .threads(subject.options.threads)
            .limit(self.limit)
            .exif_orientation(self.exif.orientation())
    }

    /// Compares the predictions. Also returns the number of pictures that were skipped.
    fn predictions(&self, subject: &Subject<'_>, ui: &Ui) -> Result<(PredictionComparison, usize)> {
        let options = subject.options.pictures(subject.preprocessing).batch(BATCH);
        let mut float = compile(subject.float, options)?;
        let mut int8 = compile(subject.int8, options)?;
        let loader = self.loader(subject).batch_size(BATCH);
        let mut stream = Stream::new(&loader, loader.pixels(), ui);
        let bar = stream.bar.clone();
        let mut before = 0;
        let result = compare_predictions(&mut float, &mut int8, &mut stream, &mut |float, int8| {
            bar.inc((float.images - before) as u64);
            before = float.images;
            let (float, int8) = (percent(float.top1()), percent(int8.top1()));
            bar.set_message(format!("top-1 float {float} int8 {int8}"));
        });
        stream.finish(&self.data)?;
        Ok((result?, stream.skipped))
    }

    /// Returns a loader of the pictures on which layers are compared.
    fn layer_loader(&self, subject: &Subject<'_>) -> Loader {
        let among = self.loader(subject).len();
        self.loader(subject)
            .sampler(EvenlySpaced { among, number: self.layer_limit as usize })
            .limit(among.min(self.layer_limit as usize))
    }

    /// Measures what each layer costs.
    fn measure_sensitivity(&self, subject: &Subject<'_>, ui: &Ui) -> Result<Sensitivity> {
        let loader = self.layer_loader(subject).batch_size(SENSITIVITY_BATCH);
        let mut stream = Stream::new(&loader, loader.tensors(), ui);
        let (mut batches, mut labels) = (Vec::new(), Vec::new());
        for batch in stream.by_ref() {
            let batch = batch?;
            batches.push(vec![batch.images]);
            labels.extend(batch.labels);
        }
        stream.finish(&self.data)?;
        let bar = ui.steps_bar("measuring layers", 0);
        let (float, int8, options) = (subject.float, subject.int8, subject.options);
        let labels = Some(&*labels);
        let found =
            layer_sensitivity(float, int8, &batches, labels, options, &mut |done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            });
        bar.finish_and_clear();
        Ok(found?)
    }

    /// Compares the layers. Also returns the number of pictures on which they were.
    fn layers(&self, subject: &Subject<'_>, ui: &Ui) -> Result<(Vec<LayerStatistics>, usize)> {
        let loader = self.layer_loader(subject).batch_size(LAYER_BATCH);
        let mut stream = Stream::new(&loader, loader.tensors(), ui);
        let bar = stream.bar.clone();
        bar.set_message("comparing layers");
        let mut images = 0;
        let batches = stream.by_ref().map(|batch| batch.map(|batch| batch.images));
        let (float, int8, options) = (subject.float, subject.int8, subject.options);
        let result = layer_statistics(float, int8, options, batches, &mut |seen| {
            bar.inc((seen - images) as u64);
            images = seen;
        });
        stream.finish(&self.data)?;
        Ok((result?, images))
    }
}

impl Subject<'_> {
    /// Times both networks alternately. Returns the times of int8, and its comparison with float.
    fn times(&self, ui: &Ui) -> Result<(Times, Comparison)> {
        let options = self.options.pictures(self.preprocessing);
        let mut engines = [compile(self.int8, options)?, compile(self.float, options)?];
        let picture = timing::pictures(1, self.preprocessing.crop)?;
        let inputs = [(&picture).into(), (&picture).into()];
        let name = &self.saved.name;
        let (times, comparison) =
            timing::compare(&mut engines, &inputs, (name, "float32"), RUNS, ui)?;
        Ok((Times::new(name, "int8", times), comparison))
    }

    /// Returns the size that the fused float network has when it is saved as the int8 one is.
    fn float_bytes(&self) -> Result<u64> {
        let saved = SavedModel::new(self.float)
            .with_name(&self.saved.name)
            .with_preprocessing(self.preprocessing.clone())
            .with_classes(self.saved.classes.clone());
        Ok(saved.to_bytes()?.len() as u64)
    }
}

/// Returns the size of a file.
fn size_of(file: impl AsRef<Path>) -> Result<u64> {
    let file = file.as_ref();
    Ok(file.metadata().map_err(posterize::Error::io(file, "read"))?.len())
}

/// Takes a number of samples among the first ones, evenly spaced, so that they are of many classes.
struct EvenlySpaced {
    among: usize,
    number: usize,
}

impl Sampler for EvenlySpaced {
    fn indices(&self, len: usize, _epoch: u64) -> Vec<usize> {
        let among = self.among.min(len);
        let number = self.number.min(among);
        (0..number).map(|index| index * among / number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_evenly_spaced() {
        let indices = |among, number| EvenlySpaced { among, number }.indices(1000, 0);
        assert_eq!(indices(1000, 4), [0, 250, 500, 750]);
        assert_eq!(indices(10, 4), [0, 2, 5, 7]);
        assert_eq!(indices(3, 50), [0, 1, 2]);
        assert_eq!(EvenlySpaced { among: 5, number: 2 }.indices(0, 0), [0; 0]);
    }
}
