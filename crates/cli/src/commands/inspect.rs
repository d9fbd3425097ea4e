//! `posterize inspect MODEL [PATH]`.

mod against;
mod module_path;
mod plan;
mod quantized;

use std::{fmt, path::PathBuf};

use clap::Args;
use posterize::{
    Architecture,
    format::SavedModel,
    graph::{Graph, LayerShape, Node},
    ops::Op,
};
use serde::Serialize;

use crate::{
    args::{CacheArgs, ThreadArgs},
    error::{CliError, Result},
    model::ModelArgs,
    ui::{Align, Table, Ui, count, si},
};

use module_path::is_below;

/// Prints a network as PyTorch prints it, then what each layer puts out, holds and costs.
///
/// Of a saved int8 model it prints scales, zero points and ranges; with --against, how far the
/// output of each layer is from the float network's.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelArgs,

    /// Only this module and what is below it: features.1.conv
    path: Option<String>,

    /// After fusion: batch norms in the weights, activations in the layers before them
    #[arg(long)]
    fused: bool,

    /// What an engine does: the kernel of every step, and where its output lies in memory
    #[arg(long, conflicts_with = "against")]
    plan: bool,

    /// Pictures in a batch, for --plan
    #[arg(long, value_name = "B", default_value_t = 1, requires = "plan", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Height and width of the pictures, in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    size: Option<u16>,

    /// Compare a saved int8 model with this float network: a MODEL (with --weights), or a checkpoint
    /// of the network that was quantized
    #[arg(long, value_name = "MODEL", requires = "data")]
    against: Option<String>,

    /// The pictures to compare on, in one folder for each class
    #[arg(long, value_name = "DIR", requires = "against")]
    data: Option<PathBuf>,

    /// Compare on the first N pictures
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    #[command(flatten)]
    threads: ThreadArgs,

    #[command(flatten)]
    cache: CacheArgs,
}

/// One call of a layer or function.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    r#type: String,
    output_shape: Vec<usize>,
    /// Trained values: weights and biases, without running estimates.
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
    tree: String,
}

impl Inspect {
    pub(crate) fn run(&self, ui: &Ui) -> Result<()> {
        if self.plan {
            return self.plan(ui);
        }
        if self.against.is_some() || self.model.is_file() {
            return self.quantized(ui);
        }
        let size = match self.size {
            Some(size) => usize::from(size),
            None => self.model.preprocessing()?.crop,
        };
        let path = self.path.as_deref().unwrap_or_default();
        let report = if self.fused || self.model.weights.is_some() {
            let model = self.model.with_given_weights(ui)?;
            let model = if self.fused { model.fuse()? } else { model };
            self.report(path, size, model.graph(), model.module(path)?)?
        } else {
            let model: Architecture = self.model.architecture()?;
            self.report(path, size, model.graph(), model.module(path)?)?
        };
        ui.result(&report, &report)
    }

    /// What an engine does with it. A float network is fused, as every other command runs it.
    fn plan(&self, ui: &Ui) -> Result<()> {
        let options = self.threads.options()?;
        let loaded = self.model.with_given_weights(ui)?.fuse()?;
        let path = self.path.as_deref().unwrap_or_default();
        loaded.module(path)?;
        let size = self.size.map_or(loaded.preprocessing.crop, usize::from);
        let plan =
            loaded.engine(options)?.plan_summary([usize::from(self.batch), 3, size, size])?;
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

    /// The same for a saved model.
    fn quantized(&self, ui: &Ui) -> Result<()> {
        self.model.refuse_with_file(&[("--fused", self.fused), ("--size", self.size.is_some())])?;
        if !self.model.is_file() {
            return Err(CliError::Usage(format!(
                "--against compares a saved int8 model with a float one; pass the file that \
                 `posterize quantize` wrote in place of {}",
                self.model.name
            )));
        }
        let path = self.path.as_deref().unwrap_or_default();
        let (Some(reference), Some(data)) = (&self.against, &self.data) else {
            let report = quantized::Report::new(&self.model.saved()?, path)?;
            return ui.result(&report, &report);
        };
        // The options are the float network's.
        let saved = SavedModel::open(&self.model.name)?;
        let mut reference = self.model.reference(reference, &saved.name);
        reference.num_classes = reference.num_classes.or(saved.outputs());
        let float = reference.with_trained_weights(&self.cache, ui)?.into_float()?.fuse()?;
        let options = self.threads.options()?;
        let report = against::Report::new(&saved, &float, data, self.limit, options, ui)?;
        let report = report.below(path);
        ui.result(&report, &report)
    }

    fn report(
        &self,
        path: &str,
        size: usize,
        graph: &Graph,
        tree: impl fmt::Display,
    ) -> Result<Report> {
        let input_shape = [1, 3, size, size];
        let shapes = graph.infer(&input_shape)?;
        let layers: Vec<Layer> = graph
            .nodes()
            .iter()
            .zip(shapes)
            .filter(|(node, _)| !matches!(node.op, Op::Input(_)) && is_below(path, &node.name))
            .map(|(node, shape)| layer(node, shape))
            .collect();
        Ok(Report {
            model: self.model.name.clone(),
            path: path.to_owned(),
            fused: self.fused,
            input_shape,
            parameters: layers.iter().map(|layer| layer.parameters).sum(),
            multiply_adds: layers.iter().map(|layer| layer.multiply_adds).sum(),
            layers,
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
        // Most operators hold and cost nothing; a column of zeros would hide those that do.
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
            "{} parameters, {} multiply-adds for a picture of {height} x {width}",
            si(self.parameters),
            si(self.multiply_adds),
        )
    }
}
