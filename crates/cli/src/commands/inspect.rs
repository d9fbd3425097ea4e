//! The command `posterize inspect`.

mod against;
mod checkpoint;
mod module_path;
mod plan;
mod quantized;
mod unsupported;

use std::{fmt, path::PathBuf};

use clap::{Args, ValueHint};
use posterize::{
    Architecture,
    data::{ImageFolder, Loader, Preprocessing},
    format::SavedModel,
    graph::{Graph, LayerShape, ModuleTree, Node},
    ops::Op,
    quantization::QuantizedModel,
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ExifArgs, ThreadArgs},
    error::{CliError, Result},
    model::ModelArgs,
    onnx::{OnnxFile, is_onnx},
    size::Size,
    ui::{Align, Table, Ui, count, si},
};

use module_path::is_below;

const EXAMPLES: &str = "\
Examples:
  posterize inspect mobilenet_v2
  posterize inspect resnet50 layer1.0 --fused
  posterize inspect int8.safetensors --against weights.pth --data photos/val
  posterize inspect int8.safetensors --plan --batch 8";

const JSON_HELP: &str = "\
JSON output (--json) for an architecture or a saved float model, one object:
  model, path, fused  The model's name, PATH (empty for the whole model) and --fused
  input_shape         [N, C, H, W]
  parameters, multiply_adds  Sums over all layers
  layers              In execution order, with parameters and multiply_adds of the layer and:
    name, type, output_shape  Dotted path, operator, and shape of the output
  preprocessing       Of the pictures, or null:
    resize, crop, interpolation  Sizes in pixels, one number or [height, width], and filter
    channels          bgr if blue comes first; absent if red does
    mean, std         Normalization of each channel, in the network's order
  classes             Number of class names in the file
  tree                The modules as text, as PyTorch prints them

JSON output with --unsupported:
  model               As above
  unsupported         Nodes of one operator that are not supported for the same reason, each with:
    op_type, domain, opset  Operator, domain (empty for ONNX's own), and version of its operator set
    count, first, reason  Number of nodes, name of the first one, and why they are not supported

JSON output for a saved int8 model:
  model, path, preprocessing, classes, tree  As above
  qconfig             QConfigMapping that the model was quantized with
  bytes               Bytes of all weights, scales and biases
  layers              In execution order, with name, type and bytes as above and:
    scale, zero_point  Of the output; null if it is float
    range             Smallest and largest value that the output can represent
    weight_scale      Smallest and largest scale of the weight, or null
    float_reason      Why the layer stays in float, or null

JSON output for a checkpoint, one object:
  file, path          The file, and PATH
  format              PyTorch (zip), PyTorch (legacy) or safetensors
  keys, others, averaged  Keys of the dictionaries in which the weights are, and at their side
                      those of other weights and of averaged ones (EMA)
  prefix              Prefix that was removed from all names
  values, bytes       Sums over all tensors
  tensors             In order, with name and bytes as above and:
    dtype, shape      Type of the values, as PyTorch calls it, and sizes
  fits                Models with these names and shapes, with model and num_classes

JSON output with --against:
  model, data         The model's name, and the folder of pictures
  pictures, skipped   Numbers of pictures compared, and of pictures that could not be decoded
  layers              Lowest SQNR first, with name, type and:
    sqnr_db           Signal-to-quantization-noise ratio of the output in dB; null if exact

JSON output with --plan:
  model, isa, threads, input_shape  What the plan was made for
  activation_bytes    Sum of the following three
  float_bytes, int8_bytes, scratch_bytes  Memory of f32 values, u8 values and kernels
  steps               In execution order:
    layers, kinds     Names and operators of the nodes that the step computes
    kernel, precision, output_shape  Kernel, type and shape of the output
    offset, bytes     Place of the output in the memory of its type";

/// Prints a model's modules, and each layer's shape, parameters and cost.
///
/// The modules are printed as PyTorch prints them. If MODEL is a checkpoint of weights, its tensors are
/// listed, and which models have their names and shapes. For a saved int8 model, the table has scales, zero
/// points and ranges. With --against, it has the signal-to-quantization-noise ratio of each layer's
/// output in int8. With --plan, it has the steps of the engine.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{JSON_HELP}"))]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelArgs,

    /// Dotted path of a module, to print only this one and those in it, such as features.1.conv
    path: Option<String>,

    /// Print the model after batch norms and activations were fused into the layers before them
    #[arg(long)]
    fused: bool,

    /// Print the engine's plan: the kernel of every step, and where its output is in memory
    #[arg(long, conflicts_with = "against")]
    plan: bool,

    /// List only which nodes of an ONNX file are not supported, with how many there are and their first one;
    /// the exit code is 6 if there are any
    #[arg(long, conflicts_with_all = ["plan", "against", "fused"])]
    unsupported: bool,

    /// Number of pictures in a batch, for --plan
    #[arg(long, value_name = "B", default_value_t = 1, requires = "plan", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Height and width of the pictures in pixels [default: those of the model's preprocessing]
    #[arg(long, value_name = "PIXELS|HxW")]
    size: Option<Size>,

    /// Compare the saved int8 model with this float model: a checkpoint of the model that was
    /// quantized, which needs no other options, or the name of an architecture (with --weights)
    #[arg(long, value_name = "FLOAT", value_hint = ValueHint::FilePath, requires = "data")]
    against: Option<String>,

    /// Folder of pictures to compare on, with one folder in it for each class
    #[arg(long, value_name = "DIR", requires = "against")]
    data: Option<PathBuf>,

    /// Compare on only the first N pictures
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    exif: ExifArgs,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

/// A layer or function, and its output.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    r#type: String,
    output_shape: Vec<usize>,
    /// Number of weights and biases. Running statistics of batch norms are not counted.
    parameters: u64,
    multiply_adds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    path: String,
    fused: bool,
    input_shape: [usize; 4],
    parameters: u64,
    multiply_adds: u64,
    layers: Vec<Layer>,
    preprocessing: Option<Preprocessing>,
    /// Number of class names in the file.
    classes: usize,
    tree: String,
}

impl Inspect {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        if self.unsupported {
            if !is_onnx(&self.model.name) {
                return Err(CliError::Usage(format!(
                    "{}: --unsupported is for ONNX files; remove it",
                    self.model.name
                )));
            }
            return unsupported::inspect(&self.model, self.size.map(|size| size.0), ui);
        }
        if self.plan {
            return self.plan(ui);
        }
        if self.against.is_some() {
            return self.compare(ui);
        }
        if self.model.is_checkpoint() {
            return self.checkpoint(ui);
        }
        if self.model.is_file() {
            return self.saved(ui);
        }
        let preprocessing = self.model.preprocessing()?;
        let [height, width] = self.size.map_or(preprocessing.crop, |size| size.0);
        let path = self.path.as_deref().unwrap_or_default();
        let (graph, tree) = if self.fused || self.model.weights.is_some() {
            let model = self.model.with_given_weights(ui)?;
            let model = if self.fused { model.fuse()? } else { model };
            (model.graph().clone(), model.module(path)?)
        } else {
            let model: Architecture = self.model.architecture()?;
            (model.graph().clone(), model.module(path)?)
        };
        let name = self.model.name.clone();
        let report =
            self.report(name, [3, height, width], &graph, &tree, Some(preprocessing), 0)?;
        ui.result(&report, &report)
    }

    /// Prints a saved model.
    fn saved(&self, ui: &Ui) -> Result<()> {
        self.refuse_preprocessing()?;
        let path = self.path.as_deref().unwrap_or_default();
        let OnnxFile { saved, input, .. } = self.model.saved(self.size.map(|size| size.0), ui)?;
        let Some(float) = saved.model.as_float() else {
            self.model
                .refuse_with_file(&[("--fused", self.fused), ("--size", self.size.is_some())])?;
            let report = quantized::Report::new(&saved, self.int8(&saved)?, path)?;
            return ui.result(&report, &report);
        };
        let model = if self.fused { float.fuse()? } else { float.clone() };
        let SavedModel { name, preprocessing, classes, .. } = saved;
        let size = self.size.map(|Size([height, width])| [3, height, width]);
        let input = input.filter(|[channels, ..]| *channels != 3).or(size).or(input).ok_or_else(|| {
            CliError::Usage(format!(
                "{}: the saved model does not know the size of its pictures; pass it with --size \
                 PIXELS",
                self.model.name
            ))
        })?;
        let tree = model.module(path)?;
        let report =
            self.report(name, input, model.graph(), &tree, preprocessing, classes.len())?;
        ui.result(&report, &report)
    }

    /// Prints the engine's plan. A float network is fused first, as it is in every other command.
    fn plan(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        let loaded = self.model.with_given_weights(ui)?.fuse()?;
        let path = self.path.as_deref().unwrap_or_default();
        loaded.module(path)?;
        let [channels, height, width] = match self.size {
            Some(Size([height, width])) => [loaded.input[0], height, width],
            None => loaded.input,
        };
        let shape = [usize::from(self.batch), channels, height, width];
        let plan = loaded.engine(options)?.plan_summary(shape)?;
        let report = plan::Report {
            isa: options.isa.to_string(),
            threads: options.threads,
            activation_bytes: plan.activation_bytes(),
            model: loaded.name,
            plan,
        };
        let report = report.below(path);
        ui.result(&report, &report)
    }

    /// Returns an error if an option would replace a part of the preprocessing in the file.
    fn refuse_preprocessing(&self) -> Result<()> {
        let given = self.model.given_preprocessing();
        self.model.refuse_with_file(&[(given.unwrap_or_default(), given.is_some())])
    }

    /// Returns the int8 network of the file.
    fn int8<'a>(&self, saved: &'a SavedModel) -> Result<&'a QuantizedModel> {
        saved.model.as_quantized().ok_or_else(|| {
            CliError::Usage(format!(
                "{}: this is a float model, but --against compares an int8 one; pass the file that \
                 `posterize quantize` wrote",
                self.model.name
            ))
        })
    }

    /// Lists the tensors of a checkpoint.
    fn checkpoint(&self, ui: &Ui) -> Result<()> {
        for (option, given) in [("--fused", self.fused), ("--size", self.size.is_some())] {
            if given {
                return Err(CliError::Usage(format!(
                    "{option} is for a model, but {} is a checkpoint; pass the model's name and --weights \
                     FILE",
                    self.model.name
                )));
            }
        }
        let path = self.path.as_deref().unwrap_or_default();
        let report = checkpoint::Report::new(&self.model.name, path, &self.model.read_options())?;
        ui.result(&report, &report)
    }

    /// Compares a saved int8 model with a float network.
    fn compare(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--fused", self.fused), ("--size", self.size.is_some())])?;
        if !self.model.is_file() {
            return Err(CliError::Usage(format!(
                "--against compares a saved int8 model with a float one, but {} is no saved model; \
                 pass the file that `posterize quantize` wrote",
                self.model.name
            )));
        }
        self.refuse_preprocessing()?;
        let path = self.path.as_deref().unwrap_or_default();
        let (Some(reference), Some(data)) = (&self.against, &self.data) else { return Ok(()) };
        let saved = SavedModel::open(&self.model.name)?;
        let int8 = self.int8(&saved)?;
        let float = self.model.reference(reference, &saved, &self.cache, ui)?.fuse()?;
        let options = self.threads.options()?;
        let folder = ImageFolder::open(data, None)?;
        let loader = |preprocessing: &Preprocessing| {
            Loader::new(&folder, preprocessing)
                .batch_size(against::BATCH)
                .threads(options.threads)
                .limit(self.limit as usize)
                .exif_orientation(self.exif.orientation())
        };
        let report = against::Report::new(&saved, int8, &float, data, loader, options, ui)?;
        let report = report.below(path);
        ui.result(&report, &report)
    }

    fn report(
        &self,
        model: String,
        [channels, height, width]: [usize; 3],
        graph: &Graph,
        tree: &ModuleTree,
        preprocessing: Option<Preprocessing>,
        classes: usize,
    ) -> Result<Report> {
        let path = self.path.as_deref().unwrap_or_default();
        let input_shape = [1, channels, height, width];
        let shapes = graph.infer(&input_shape)?;
        let layers: Vec<Layer> = graph
            .nodes()
            .iter()
            .zip(shapes)
            .filter(|(node, _)| !matches!(node.op, Op::Input(_)) && is_below(path, &node.name))
            .map(|(node, shape)| layer(node, shape))
            .collect();
        Ok(Report {
            model,
            path: path.to_owned(),
            fused: self.fused,
            input_shape,
            parameters: layers.iter().map(|layer| layer.parameters).sum(),
            multiply_adds: layers.iter().map(|layer| layer.multiply_adds).sum(),
            layers,
            preprocessing,
            classes,
            tree: tree.to_string(),
        })
    }
}

fn layer(node: &Node, shape: LayerShape) -> Layer {
    let trained = node.op.parameters().into_iter().filter(|found| found.role.is_trained());
    Layer {
        name: node.name.clone(),
        r#type: node.op.kind(),
        output_shape: shape.shape,
        parameters: trained.map(|p| p.shape.iter().product::<usize>() as u64).sum(),
        multiply_adds: shape.multiply_adds,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("layer", Align::Left),
            ("type", Align::Left),
            ("output shape", Align::Left),
            ("parameters", Align::Right),
            ("multiply-adds", Align::Right),
        ]);
        // Most operators have neither; a column of zeros would make the others hard to find.
        let number = |value| if value == 0 { String::new() } else { count(value) };
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.r#type.clone(),
                format!("{:?}", layer.output_shape),
                number(layer.parameters),
                number(layer.multiply_adds),
            ]);
        }
        table.totals([
            "total".into(),
            String::new(),
            String::new(),
            count(self.parameters),
            count(self.multiply_adds),
        ]);
        let [_, _, height, width] = self.input_shape;
        writeln!(f, "{}\n\n{table}\n", self.tree)?;
        write!(
            f,
            "{} parameters, {} multiply-adds for one picture of {height} x {width} pixels",
            si(self.parameters),
            si(self.multiply_adds),
        )?;
        if let Some(preprocessing) = &self.preprocessing {
            write!(f, "\n{}: {}", self.model, preprocessing)?;
            if self.classes > 0 {
                write!(f, "; {} classes", count(self.classes as u64))?;
            }
        }
        Ok(())
    }
}
