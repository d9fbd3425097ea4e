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
    arrays::{self, Array, named},
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
    /// several, or all of them in a .npz file. The first axis is the batch, which may be of any size
    #[arg(long, required = true, value_name = "[NAME=]X.npy", value_hint = ValueHint::FilePath)]
    input: Vec<String>,

    /// File to write the outputs to: .npy, or .npz for several
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Expected output, an array in a .npy file; once for each output to compare, with its name if there
    /// are several, or all of them in a .npz file
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
        let mut inputs = arrays::read(&self.input)?;
        for array in &mut inputs {
            let shape = array.tensor.shape().to_vec();
            let tensor = std::mem::replace(&mut array.tensor, Tensor::zeros([0]));
            array.tensor =
                if self.no_batch { tensor.reshape([&[1], &shape[..]].concat())? } else { tensor };
        }
        let (saved, of_file) = self.open(&inputs, ui)?;
        let mut engine = compile(&saved.model, options).map_err(|e| e.of_file(&self.model))?;
        let outputs = self.outputs(&mut engine, &inputs, &of_file)?;

        let mut differences: Vec<Option<Difference>> = outputs.iter().map(|_| None).collect();
        for Array { name, tensor, path } in arrays::read(&self.expect)? {
            let at = match &name {
                Some(name) => outputs
                    .iter()
                    .position(|(output, _)| output == name || npy::entry_name(output) == *name),
                None => None,
            };
            let Some(at) = at.or_else(|| (outputs.len() == 1).then_some(0)) else {
                let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
                return Err(CliError::Usage(format!(
                    "--expect {}: the network has the outputs {}; name one of them as NAME=FILE",
                    path.display(),
                    names.join(", ")
                )));
            };
            differences[at] = Some(self.difference(&outputs[at].1, &tensor, &path)?);
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
    fn open(&self, inputs: &[Array], ui: &Ui) -> Result<(SavedModel, Vec<OnnxInput>)> {
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
        if let Some([height, width]) = self.size.map(|size| size.0).or_else(|| arrays::size(inputs))
        {
            options = options.size(height, width);
        }
        if let Some(layout) = self.layout {
            options = options.layout(layout.format());
        }
        let options = self.outputs.iter().fold(options, OnnxOptions::output);
        let file = onnx::open(&self.model, &options, ui)?;
        Ok((file.saved, file.inputs))
    }

    /// Runs the network.
    fn outputs(
        &self,
        engine: &mut Engine,
        arrays: &[Array],
        of_file: &[OnnxInput],
    ) -> Result<Vec<(String, Tensor)>> {
        let graph = engine.model().graph();
        let tensors = arrays::network_inputs(&self.model, "--input", arrays, graph, of_file)?;
        let names: Vec<String> = graph.inputs().map(|(_, node)| node.name.clone()).collect();
        let inputs: Vec<(&str, Input<'_>)> = names
            .iter()
            .zip(&tensors)
            .map(|(name, tensor)| (name.as_str(), tensor.into()))
            .collect();
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
