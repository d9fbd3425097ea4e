//! The command `posterize run`.

use std::{fmt, path::PathBuf};

use clap::{Args, ValueHint};
use posterize::{
    MemoryFormat, Tensor,
    format::SavedModel,
    import::onnx::{BatchAxis, OnnxInput, OnnxOptions},
    runtime::{Engine, Input, compile},
};
use serde::Serialize;

use crate::{
    args::ThreadArgs,
    error::{CliError, Result},
    npy,
    onnx::{self, Layout},
    paths::Paths,
    size::Size,
    ui::Ui,
};

const EXAMPLES: &str = "\
Examples:
  posterize run model.onnx --input x.npy --output y.npy
  posterize run model.onnx --input x.npy --expect y.npy --rtol 1e-3
  posterize run detector.onnx --input image=x.npy --outputs boxes,scores --output y.npz
  posterize run pad.onnx --input x.npy --constant pads=pads.npy --no-batch --expect y.npy";

const JSON_HELP: &str = "\
JSON output (--json), one object:
  model         The file
  outputs       In the order of the network, or of --outputs:
    name, shape  Name and sizes
    min, max, mean  Of the values
    difference  With --expect, of the outputs that are compared:
      max_abs   Largest absolute difference
      index     Where it is
      found, expected  The two values there
      rms       Root of the mean squared difference
      sqnr_db   Signal-to-noise ratio of the output in dB; absent if there is no difference
      outside   Number of values that differ by more than atol + rtol * |expected|
  within        With --expect, whether all differences are within the tolerances
  threads, isa  Number of threads, and instruction set that was used";

/// Runs a network on tensors in .npy files, and compares its outputs with expected ones.
///
/// This is how to check that a network is imported correctly: run it on the same input in the framework
/// that it comes from, save input and output with numpy.save, and compare them here. The exit code is 5
/// if they differ by more than the tolerances.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Run {
    /// Path of an ONNX file (.onnx), or of a model that `posterize train` or `posterize quantize` wrote
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    model: String,

    /// Input of the network, an array in a .npy file; once for each input, with its name if there are
    /// several. The first axis is the batch, which may be of any size
    #[arg(long, required = true, value_name = "[NAME=]X.npy", value_hint = ValueHint::FilePath)]
    input: Vec<String>,

    /// File to write the outputs to: .npy, or .npz for several
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Expected output, an array in a .npy file; once for each output to compare, with its name if there
    /// are several
    #[arg(long, value_name = "[NAME=]Y.npy", value_hint = ValueHint::FilePath)]
    expect: Vec<String>,

    /// Largest difference from --expect relative to the expected value
    #[arg(long, value_name = "R", default_value_t = 1e-3)]
    rtol: f32,

    /// Largest difference from --expect that is allowed besides the relative one
    #[arg(long, value_name = "A", default_value_t = 1e-5)]
    atol: f32,

    /// Values of an ONNX file to return instead of its outputs, such as those before a detector's
    /// post-processing
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    outputs: Vec<String>,

    /// Value of an input of an ONNX file that does not change, such as a weight, or the axes or sizes of
    /// an operator, which must be known when the file is read; it is no --input then
    #[arg(long, value_name = "NAME=X.npy", value_hint = ValueHint::FilePath)]
    constant: Vec<String>,

    /// Take all axes of an ONNX file's values as those of one item, where the first one is no batch.
    /// Arrays have the shapes of the file
    #[arg(long)]
    no_batch: bool,

    /// Accept NaN in --input, if the network is in float
    #[arg(long)]
    allow_nan: bool,

    /// Height and width of the input where an ONNX file leaves them open [default: those of --input]
    #[arg(long, value_name = "HxW")]
    size: Option<Size>,

    /// Order of the axes of an ONNX file's input: nchw, or nhwc as in TensorFlow [default: found by the
    /// file's transposes]
    #[arg(long, value_enum, value_name = "ORDER", hide_possible_values = true)]
    layout: Option<Layout>,

    #[command(flatten)]
    threads: ThreadArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    outputs: Vec<Output>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<bool>,
    threads: usize,
    isa: String,
}

#[derive(Debug, Serialize)]
struct Output {
    name: String,
    shape: Vec<usize>,
    min: f32,
    max: f32,
    mean: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

/// How an output differs from the expected one.
#[derive(Debug, Serialize)]
struct Difference {
    max_abs: f32,
    index: Vec<usize>,
    found: f32,
    expected: f32,
    rms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqnr_db: Option<f64>,
    outside: usize,
}

/// Returns the parts of an argument `NAME=FILE`, or `FILE`.
fn named(argument: &str) -> (Option<&str>, PathBuf) {
    // A path may have an equals sign, too.
    match argument.split_once('=') {
        Some((name, file)) if !PathBuf::from(argument).exists() => (Some(name), file.into()),
        _ => (None, argument.into()),
    }
}

impl Run {
    pub(crate) fn paths(&self) -> Paths {
        let files = |arguments: &[String]| -> Vec<PathBuf> {
            arguments.iter().map(|argument| named(argument).1).collect()
        };
        Paths::default()
            .reads("MODEL", [&PathBuf::from(&self.model)])
            .reads("--input", &files(&self.input))
            .reads("--constant", &files(&self.constant))
            .reads("--expect", &files(&self.expect))
            .writes("--output", &self.output)
    }

    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?.allow_nan(self.allow_nan);
        let inputs = self.input.iter().map(|argument| {
            let (name, path) = named(argument);
            npy::read(&path).map(|tensor| (name, self.with_batch(tensor)))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let (saved, of_file) = self.open(&inputs, ui)?;
        let mut engine = compile(&saved.model, options).map_err(|e| e.of_file(&self.model))?;
        let outputs = self.outputs(&mut engine, &inputs, &of_file)?;

        let mut differences: Vec<Option<Difference>> = outputs.iter().map(|_| None).collect();
        for argument in &self.expect {
            let (name, path) = named(argument);
            let at = match name {
                Some(name) => outputs.iter().position(|(output, _)| output == name),
                None => (outputs.len() == 1).then_some(0),
            };
            let Some(at) = at else {
                let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
                return Err(CliError::Usage(format!(
                    "--expect {argument}: the network has the outputs {}; name one of them as NAME=FILE",
                    names.join(", ")
                )));
            };
            let expected = npy::read(&path)?;
            differences[at] = Some(self.difference(&outputs[at].1, &expected, &path)?);
        }
        let compared = !self.expect.is_empty();
        let within = differences.iter().flatten().all(|difference| difference.outside == 0);
        if let Some(path) = &self.output {
            npy::write(path, &outputs)?;
        }
        let report = Report {
            model: self.model.clone(),
            outputs: outputs
                .into_iter()
                .zip(differences)
                .map(|((name, tensor), difference)| Output::new(name, &tensor, difference))
                .collect(),
            within: compared.then_some(within),
            threads: options.threads,
            isa: options.isa.to_string(),
        };
        ui.result(&report, &report)?;
        if compared && !within {
            return Err(CliError::NotMet(format!(
                "{}: the outputs differ from the expected ones by more than atol {} + rtol {}",
                self.model, self.atol, self.rtol
            )));
        }
        Ok(())
    }

    /// Returns a tensor as the network has it: with a batch axis in front if the file has none.
    fn with_batch(&self, tensor: Tensor) -> Tensor {
        if !self.no_batch {
            return tensor;
        }
        let shape: Vec<usize> = std::iter::once(1).chain(tensor.shape().iter().copied()).collect();
        tensor.reshape(shape).expect("an axis of one element more")
    }

    /// Returns the options for the inputs that are constants.
    fn constants(&self) -> Result<OnnxOptions> {
        self.constant.iter().try_fold(OnnxOptions::new(), |options, argument| {
            let (Some(name), path) = named(argument) else {
                return Err(CliError::Usage(format!(
                    "--constant {argument}: expected the name of an input and a file, as NAME=FILE"
                )));
            };
            Ok(options.constant(name, npy::read(&path)?))
        })
    }

    /// Opens the model, and returns the inputs of an ONNX file.
    fn open(
        &self,
        inputs: &[(Option<&str>, Tensor)],
        ui: &Ui,
    ) -> Result<(SavedModel, Vec<OnnxInput>)> {
        if !onnx::is_onnx(&self.model) {
            let is_for_onnx = !self.outputs.is_empty() || !self.constant.is_empty();
            if is_for_onnx || self.size.is_some() || self.layout.is_some() || self.no_batch {
                return Err(CliError::Usage(format!(
                    "{}: --outputs, --constant, --no-batch, --size and --layout are for ONNX files; \
                     remove them",
                    self.model
                )));
            }
            return Ok((SavedModel::open(&self.model)?, Vec::new()));
        }
        let mut options = self.constants()?;
        if self.no_batch {
            options = options.batch_axis(BatchAxis::None);
        }
        let of_input = match inputs.first().map(|(_, tensor)| tensor.shape()) {
            Some(&[_, height, width, 1 | 3 | 4]) if height > 4 => Some([height, width]),
            Some(&[_, _, height, width]) => Some([height, width]),
            _ => None,
        };
        if let Some([height, width]) = self.size.map(|size| size.0).or(of_input) {
            options = options.size(height, width);
        }
        if let Some(layout) = self.layout {
            options = options.layout(layout.format());
        }
        let options = self.outputs.iter().fold(options, OnnxOptions::output);
        let file = onnx::open(&self.model, &options, ui)?;
        Ok((file.saved, file.inputs))
    }

    /// Returns the file of an input.
    fn input_path(&self, index: usize) -> PathBuf {
        self.input.get(index).map(|argument| named(argument).1).unwrap_or_default()
    }

    /// Runs the network.
    fn outputs(
        &self,
        engine: &mut Engine,
        inputs: &[(Option<&str>, Tensor)],
        of_file: &[OnnxInput],
    ) -> Result<Vec<(String, Tensor)>> {
        let names: Vec<String> =
            engine.model().graph().inputs().map(|(_, node)| node.name.clone()).collect();
        let mut given = Vec::new();
        for (index, (name, tensor)) in inputs.iter().enumerate() {
            let at = match name {
                Some(name) => {
                    let of_file = of_file.iter().position(|input| input.name() == *name);
                    of_file.or_else(|| names.iter().position(|known| known == name))
                }
                None if inputs.len() == names.len() => Some(index),
                None => None,
            };
            let Some(at) = at else {
                return Err(CliError::Usage(format!(
                    "{}: the network has the inputs {}; pass each as --input NAME=FILE",
                    self.model,
                    names.join(", ")
                )));
            };
            let tensor = match (of_file.get(at), tensor.shape()) {
                // As the file sees it: channels are the last axis.
                (Some(input), &[n, h, w, c]) if input.is_channels_last() => {
                    Tensor::channels_last([n, c, h, w], tensor.data().to_vec())?
                }
                (_, &[_, _, _, _]) => tensor.to_format(MemoryFormat::ChannelsLast),
                _ => tensor.clone(),
            };
            if let Some(input) = of_file.get(at)
                && tensor.shape().get(1..) != input.shape().get(1..)
            {
                return Err(CliError::File {
                    path: self.input_path(index),
                    problem: format!(
                        "the input `{}` of the network is {:?} for a batch of one, found {:?}",
                        input.name(),
                        input.shape(),
                        tensor.shape()
                    ),
                });
            }
            given.push((names[at].as_str(), tensor));
        }
        let inputs: Vec<(&str, Input<'_>)> =
            given.iter().map(|(name, tensor)| (*name, Input::from(tensor))).collect();
        let outputs = engine.run_named(&inputs).map_err(|error| error.of_file(&self.model))?;
        if !self.no_batch {
            return Ok(outputs);
        }
        let without_batch = outputs.into_iter().map(|(name, tensor)| {
            let shape = tensor.shape().get(1..).unwrap_or_default().to_vec();
            Ok((name, tensor.reshape(shape)?))
        });
        without_batch.collect()
    }

    /// Compares an output with the expected one, which has the same values in the same order.
    fn difference(
        &self,
        found: &Tensor,
        expected: &Tensor,
        path: &std::path::Path,
    ) -> Result<Difference> {
        let found = found.to_format(MemoryFormat::Contiguous);
        if found.shape() != expected.shape() {
            return Err(CliError::File {
                path: path.to_path_buf(),
                problem: format!(
                    "expected an array of the output's shape {:?}, found {:?}",
                    found.shape(),
                    expected.shape()
                ),
            });
        }
        let (mut worst, mut at, mut outside) = (-1.0_f32, 0, 0);
        let (mut squares, mut signal) = (0.0_f64, 0.0_f64);
        for (index, (&y, &e)) in found.data().iter().zip(expected.data()).enumerate() {
            // NaN differs from everything but NaN, and an infinity from all but itself.
            let difference = match y {
                _ if y == e || (y.is_nan() && e.is_nan()) => 0.0,
                _ if (y - e).is_nan() => f32::INFINITY,
                _ => (y - e).abs(),
            };
            if difference > worst {
                (worst, at) = (difference, index);
            }
            outside += usize::from(difference > self.atol + self.rtol * e.abs());
            squares += f64::from(difference) * f64::from(difference);
            signal += f64::from(e) * f64::from(e);
        }
        let mut index = vec![0; expected.shape().len()];
        let mut rest = at;
        for (place, &size) in index.iter_mut().zip(expected.shape()).rev() {
            *place = rest % size.max(1);
            rest /= size.max(1);
        }
        let value = |tensor: &Tensor| tensor.data().get(at).copied().unwrap_or(0.0);
        Ok(Difference {
            max_abs: worst.max(0.0),
            index,
            found: value(&found),
            expected: value(expected),
            rms: (squares / found.data().len().max(1) as f64).sqrt(),
            sqnr_db: (squares > 0.0 && squares.is_finite())
                .then(|| 10.0 * (signal / squares).log10()),
            outside,
        })
    }
}

impl Output {
    fn new(name: String, tensor: &Tensor, difference: Option<Difference>) -> Self {
        let data = tensor.data();
        let sum: f64 = data.iter().map(|&value| f64::from(value)).sum();
        Self {
            name,
            shape: tensor.shape().to_vec(),
            min: data.iter().copied().fold(f32::INFINITY, f32::min),
            max: data.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean: sum / data.len().max(1) as f64,
            difference,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, output) in self.outputs.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{} {:?}: {:.6} to {:.6}, mean {:.6}",
                output.name, output.shape, output.min, output.max, output.mean
            )?;
            if let Some(difference) = &output.difference {
                write!(
                    f,
                    "\n  largest difference {:.3e} at {:?}: found {}, expected {}; {} of {} values \
                     outside the tolerance",
                    difference.max_abs,
                    difference.index,
                    difference.found,
                    difference.expected,
                    difference.outside,
                    output.shape.iter().product::<usize>()
                )?;
                if let Some(sqnr) = difference.sqnr_db {
                    write!(f, "; {sqnr:.1} dB")?;
                }
            }
        }
        Ok(())
    }
}
