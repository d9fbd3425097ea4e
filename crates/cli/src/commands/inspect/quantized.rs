//! Prints the layers of a saved int8 model.

use std::{collections::HashMap, fmt};

use posterize::{
    data::Preprocessing,
    format::SavedModel,
    graph::NodeId,
    ops::Op,
    quantization::{QConfigMapping, QuantizedModel},
};
use serde::Serialize;

use super::module_path::is_below;
use crate::{
    error::Result,
    ui::{Align, Table, count},
};

/// A layer and the quantization of its output.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    r#type: String,
    /// Scale of the output. `None` if the output is float.
    scale: Option<f32>,
    /// Zero point of the output. `None` if the output is float.
    zero_point: Option<i32>,
    /// Smallest and largest value that the output can represent.
    range: Option<[f32; 2]>,
    /// Bytes of the weight, its scales and the bias.
    bytes: usize,
    /// Smallest and largest scale of the weight.
    weight_scale: Option<[f32; 2]>,
    /// Why the layer stays in float. `None` if it does not.
    float_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    path: String,
    preprocessing: Option<Preprocessing>,
    classes: usize,
    qconfig: QConfigMapping,
    bytes: usize,
    layers: Vec<Layer>,
    tree: String,
}

impl Report {
    /// Describes `saved`, whose network is `model`.
    pub(super) fn new(saved: &SavedModel, model: &QuantizedModel, path: &str) -> Result<Self> {
        let graph = model.graph();
        let float = model.float_layers().into_iter();
        let reasons: HashMap<String, _> = float.map(|layer| (layer.name, layer.reason)).collect();
        let layers: Vec<Layer> = graph
            .iter()
            .filter(|(_, node)| !matches!(node.op, Op::Input(_)) && is_below(path, &node.name))
            .map(|(id, node)| layer(model, id, reasons.get(&node.name).copied()))
            .collect();
        Ok(Self {
            model: saved.name.clone(),
            path: path.to_owned(),
            preprocessing: saved.preprocessing.clone(),
            classes: saved.classes.len(),
            qconfig: model.mapping().clone(),
            bytes: layers.iter().map(|layer| layer.bytes).sum(),
            layers,
            tree: model.module(path)?.to_string(),
        })
    }
}

fn layer(model: &QuantizedModel, id: NodeId, float_reason: Option<&'static str>) -> Layer {
    let node = model.graph().node(id);
    let qparams = model.qparams(id);
    let range = qparams
        .zip(model.output_range(id))
        .map(|(qparams, (qmin, qmax))| [qmin, qmax].map(|q| qparams.dequantize(i32::from(q))));
    let weights = match (model.layer(id), model.weight(id)) {
        (Some(layer), _) => Some(&layer.qparams),
        (None, weight) => weight.map(|weight| &weight.qparams),
    };
    Layer {
        name: node.name.clone(),
        r#type: match qparams {
            Some(_) if !matches!(node.op, Op::QuantStub(_)) => {
                format!("Quantized{}", node.op.kind())
            }
            _ => node.op.kind(),
        },
        scale: qparams.map(|qparams| qparams.scale),
        zero_point: qparams.map(|qparams| qparams.zero_point),
        range,
        bytes: model.bytes_of(id),
        weight_scale: weights.map(|weights| {
            let scales = || weights.channels().iter().map(|qparams| qparams.scale);
            [scales().fold(f32::INFINITY, f32::min), scales().fold(0.0, f32::max)]
        }),
        float_reason,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("layer", Align::Left),
            ("type", Align::Left),
            ("scale", Align::Right),
            ("zero point", Align::Right),
            ("range", Align::Right),
            ("weight scales", Align::Right),
            ("bytes", Align::Right),
        ]);
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.r#type.clone(),
                layer.scale.map_or("float".into(), |scale| format!("{scale:.6}")),
                layer.zero_point.map(|zero_point| zero_point.to_string()).unwrap_or_default(),
                layer.range.map(|[min, max]| format!("{min:.3} to {max:.3}")).unwrap_or_default(),
                match layer.weight_scale {
                    Some([min, max]) if min == max => format!("{min:.6}"),
                    Some([min, max]) => format!("{min:.6} to {max:.6}"),
                    None => String::new(),
                },
                if layer.bytes == 0 { String::new() } else { count(layer.bytes as u64) },
            ]);
        }
        let empty = || String::new();
        let bytes = count(self.bytes as u64);
        table.totals(["total".into(), empty(), empty(), empty(), empty(), empty(), bytes]);
        writeln!(f, "{}\n\n{table}\n", self.tree)?;
        for layer in &self.layers {
            if let Some(reason) = layer.float_reason {
                writeln!(f, "{} ({}) stays in float: {reason}", layer.name, layer.r#type)?;
            }
        }
        f.write_str(&self.model)?;
        if let Some(preprocessing) = &self.preprocessing {
            write!(f, ": {preprocessing}")?;
        }
        match self.classes {
            0 => f.write_str("; no class names"),
            classes => write!(f, "; {} classes", count(classes as u64)),
        }
    }
}
