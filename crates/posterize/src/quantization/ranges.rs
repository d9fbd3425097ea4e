//! The ranges of activations that a calibration found, which can be kept, changed and used again.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize, de};
use sha2::{Digest, Sha256};

use super::observer::{Observer, ObserverKind, ObserverSpec, Range};
use super::options::Equalization;
use super::passes::channel_scaling::{
    ScaledChannels, input_channels, output_channels, scale_channels,
};
use super::prepare::{ObservedModel, Preparation};
use super::qconfig::QConfigMapping;
use super::qparams::{Dtype, QParams};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::model::FloatModel;
use crate::short_digest::short_digest;

/// The version of the format that is written and read.
const FORMAT_VERSION: u32 = 1;

/// What a calibration found: the range of every observed value, and what equalization divided channels by.
///
/// [`PostTrainingResult::ranges`](crate::quantization::PostTrainingResult::ranges) returns it, and
/// [`FloatModel::quantize_with_ranges`] quantizes with it, without observing pictures again. With the same
/// options, the result is the same to the bit. It can be serialized; floats are written with as many digits as
/// are needed to read the same number back. A [`ValueRange::min`] and [`ValueRange::max`] may be changed.
///
/// ```
/// use posterize::ops::Linear;
/// use posterize::quantization::{PostTraining, QConfig, QConfigMapping, Ranges};
/// use posterize::runtime::Options;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Linear::new(2, 1))?.init(0);
/// let mapping = QConfigMapping::global(QConfig::recommended());
/// let mut pictures = vec![Tensor::new([1, 2], vec![-1.0, 1.0])?];
/// let (passes, options) = (PostTraining::pytorch(), Options::new(1)?);
/// let result = model.quantize(&mapping, &passes, options, &mut pictures)?;
///
/// let json = serde_json::to_string(&result.ranges(&model)?).unwrap();
/// let mut ranges: Ranges = serde_json::from_str(&json).unwrap();
/// // These passes need no pictures.
/// let mut none = Vec::<Tensor>::new();
/// let again = model.quantize_with_ranges(&ranges, &mapping, &passes, options, &mut none)?;
/// assert_eq!(again.model, result.model);
///
/// ranges.values[0].max = 3.0;
/// assert_eq!(ranges.changed(), ["input"]);
/// let wider = model.quantize_with_ranges(&ranges, &mapping, &passes, options, &mut none)?;
/// assert_eq!(wider.observed.ranges().next().unwrap().2.scale, 4.0 / 255.0);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ranges {
    #[serde(deserialize_with = "supported_version")]
    format_version: u32,
    /// A digest of the float network before it is fused and equalized: its operators and parameters. 64 bits
    /// in hexadecimal.
    pub model_digest: String,
    /// The number of calibration pictures.
    pub pictures: usize,
    /// The observers of the layers, with their integers.
    pub qconfigs: QConfigMapping,
    /// The range of every observed value, in the order of the graph. Each value has one.
    pub values: Vec<ValueRange>,
    /// What equalization divided channels by, in this order; `None` if it did not.
    pub equalization: Option<Vec<ChannelFactors>>,
}

/// The range of an observed value.
///
/// ```
/// use posterize::quantization::ValueRange;
///
/// /// Makes a range symmetric around 0.
/// fn make_symmetric(value: &mut ValueRange) {
///     value.max = value.max.max(-value.min);
///     value.min = -value.max;
/// }
/// # let _ = make_symmetric;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ValueRange {
    /// The name of the node whose output it is, as in [`ObservedModel::ranges`].
    pub name: String,
    /// The smallest value of the range that the observer chose. The scale and zero point are calculated from
    /// this and [`Self::max`].
    pub min: f32,
    /// The largest value of the range that the observer chose, `min <= max`.
    pub max: f32,
    /// The scale that `min` and `max` gave, for readers. It is not used, and may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// The zero point that `min` and `max` gave, for readers. It is not used, and may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_point: Option<i32>,
    /// The smallest and the largest of all observed values, for readers; the range if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Range>,
    /// The type of the integers.
    pub dtype: Dtype,
    /// The smallest and the largest integer.
    pub quant_range: (i32, i32),
    /// The observer that chose the range.
    pub observer: ObserverKind,
}

/// What equalization divided the channels of a value by.
///
/// ```
/// use posterize::quantization::ChannelFactors;
///
/// /// Returns how far apart the channels were.
/// fn spread(channels: &ChannelFactors) -> f32 {
///     let largest = channels.factors.iter().copied().fold(0.0, f32::max);
///     largest / channels.factors.iter().copied().fold(f32::INFINITY, f32::min)
/// }
/// # let _ = spread;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChannelFactors {
    /// The layers whose output channels are divided by the factors.
    pub divided: Vec<String>,
    /// The layers that read these channels, whose weights are multiplied by the factors.
    pub multiplied: Vec<String>,
    /// A positive factor for each channel.
    pub factors: Vec<f32>,
}

impl Ranges {
    /// Returns what a calibration found. `model` is the float network before it was fused; `scaled` are the
    /// channels that equalization scaled.
    pub(super) fn of(
        model: &FloatModel,
        observed: &ObservedModel,
        scaled: Option<&[ScaledChannels]>,
        pictures: usize,
    ) -> Result<Self> {
        let graph = observed.model().graph();
        let names = |ids: &[NodeId]| ids.iter().map(|&id| graph.node(id).name.clone()).collect();
        let factors = |channels: &ScaledChannels| ChannelFactors {
            divided: names(&channels.producers),
            multiplied: names(&channels.consumers),
            factors: channels.factors.clone(),
        };
        let observers: BTreeMap<&str, &Observer> = observed.observers().collect();
        let values = observed.ranges().filter_map(|(name, range, qparams)| {
            let observer = observers.get(name)?;
            let chosen = observer.chosen_range()?;
            Some(ValueRange {
                name: name.to_owned(),
                min: chosen.min,
                max: chosen.max,
                scale: Some(qparams.scale),
                zero_point: Some(qparams.zero_point),
                observed: Some(range),
                dtype: observer.target().dtype(),
                quant_range: observer.target().quant_range(),
                observer: observer.spec().kind,
            })
        });
        Ok(Self {
            format_version: FORMAT_VERSION,
            model_digest: model_digest(model)?,
            pictures,
            qconfigs: observed.mapping().clone(),
            values: values.collect(),
            equalization: scaled.map(|scaled| scaled.iter().map(factors).collect()),
        })
    }

    /// Returns the names of the values whose scale or zero point is not the one that their range gives,
    /// because the range was changed.
    pub fn changed(&self) -> Vec<&str> {
        let targets =
            || self.qconfigs.qconfigs().filter_map(|qconfig| qconfig.activation.target().ok());
        let is_changed = |value: &&ValueRange| {
            let gives = |QParams { scale, zero_point }| {
                value.scale.is_none_or(|known| known == scale)
                    && value.zero_point.is_none_or(|known| known == zero_point)
            };
            !targets().any(|target| {
                target.quant_range() == value.quant_range
                    && gives(target.calculate_qparams(value.min, value.max))
            })
        };
        self.values.iter().filter(is_changed).map(|value| value.name.as_str()).collect()
    }

    /// Returns the fused and equalized `model` with these ranges in place of observers.
    ///
    /// # Errors
    /// Returns [`Error::Ranges`] if they are not those of the model, or do not fit `mapping`.
    pub(super) fn prepare(
        &self,
        model: &FloatModel,
        mapping: &QConfigMapping,
        equalization: Equalization,
    ) -> Result<(ObservedModel, Option<Vec<ScaledChannels>>)> {
        let digest = model_digest(model)?;
        if self.model_digest != digest {
            return Err(Error::Ranges(format!(
                "the ranges are those of another network or of other weights: expected the digest {}, \
                 found {digest}; use the network that they were calibrated for, or calibrate this one",
                self.model_digest
            )));
        }
        let (expected, found) = match (equalization, &self.equalization) {
            (Equalization::Never, Some(_)) => {
                ("a network that is not equalized", "those of an equalized network")
            }
            (Equalization::Unbounded | Equalization::Always, None) => {
                ("an equalized network", "those of a network that is not")
            }
            _ => ("", ""),
        };
        if expected != found {
            return Err(Error::Ranges(format!(
                "expected ranges of {expected}, found {found}; do not set the equalization, or calibrate again"
            )));
        }
        let model = model.fuse()?;
        let scaled = self.scaled(model.graph())?;
        let model = match &scaled {
            Some(scaled) => scale_channels(&model, scaled)?,
            None => model,
        };
        let found = self.checked(model.graph())?;
        let observed = model.prepare(mapping)?.with_ranges(|id, spec| {
            let name = &model.graph().node(id).name;
            let Some((value, saved)) = found.get(&id) else {
                return Err(Error::Ranges(format!(
                    "{name}: with these options the range of its output is needed, which the ranges lack; \
                     keep the same layers in float as when they were calibrated, or calibrate again"
                )));
            };
            if saved != spec {
                return Err(Error::Ranges(format!(
                    "{name}: expected a range for {}, found one for {}; use the same qconfig and observer \
                     as when the ranges were calibrated, or calibrate again",
                    described(spec),
                    described(saved)
                )));
            }
            let chosen = Range { min: value.min, max: value.max };
            Ok([value.observed.unwrap_or(chosen), chosen])
        })?;
        Ok((observed, scaled))
    }

    /// Returns the value of each node that was observed, with its observer, after checking that each has
    /// exactly one valid range.
    fn checked(&self, graph: &Graph) -> Result<BTreeMap<NodeId, (&ValueRange, ObserverSpec)>> {
        let saved = Preparation::new(graph, &self.qconfigs)
            .map_err(|error| Error::Ranges(format!("qconfigs: {error}")))?;
        let mut found = BTreeMap::new();
        for value in &self.values {
            let problem =
                |problem: String| Err(Error::Ranges(format!("{}: {problem}", value.name)));
            let ValueRange { min, max, dtype, quant_range, observer, .. } = *value;
            let id = graph.find(&value.name);
            let Some((id, spec)) = id.and_then(|id| Some((id, saved.observed.get(&id)?))) else {
                return problem(
                    "the network has no observed value of this name; remove it, or calibrate again"
                        .into(),
                );
            };
            for range in [Some(Range { min, max }), value.observed].into_iter().flatten() {
                if !range.is_valid() {
                    return problem(format!(
                        "expected a finite range with min <= max, found min {} and max {}; correct it, or \
                         calibrate again",
                        range.min, range.max
                    ));
                }
            }
            let target = spec.target()?;
            if (dtype, quant_range, observer) != (target.dtype(), target.quant_range(), spec.kind) {
                return problem(format!(
                    "expected {} as in qconfigs, found {observer} for {dtype} from {} to {}; only min and \
                     max may be changed",
                    described(spec),
                    quant_range.0,
                    quant_range.1
                ));
            }
            if found.insert(id, (value, spec.clone())).is_some() {
                return problem("there are two ranges of this value; remove one".into());
            }
        }
        let missing = saved.observed.keys().filter(|id| !found.contains_key(id));
        let missing: Vec<&str> = missing.map(|&id| graph.node(id).name.as_str()).collect();
        if !missing.is_empty() {
            return Err(Error::Ranges(format!(
                "{} of {} ranges are missing; add them, or calibrate again: {}",
                missing.len(),
                saved.observed.len(),
                missing.join(", ")
            )));
        }
        Ok(found)
    }

    /// Returns the channels to scale.
    fn scaled(&self, graph: &Graph) -> Result<Option<Vec<ScaledChannels>>> {
        let Some(equalization) = &self.equalization else { return Ok(None) };
        let mut divided = HashSet::new();
        let scaled = equalization.iter().map(|channels| {
            let factors = &channels.factors;
            let of = |names: &[String], count: fn(&crate::ops::Op) -> usize, what: &str| {
                let layer = |name: &String| {
                    let problem = |problem: String| {
                        Error::Ranges(format!("equalization, {name}: {problem}; calibrate again"))
                    };
                    let id = graph
                        .find(name)
                        .ok_or_else(|| problem("the network has no such layer".into()))?;
                    let expected = count(&graph.node(id).op);
                    if expected == 0 || expected != factors.len() {
                        return Err(problem(format!(
                            "expected a factor for each of its {expected} {what} channels, found {}",
                            factors.len()
                        )));
                    }
                    Ok(id)
                };
                names.iter().map(layer).collect::<Result<Vec<NodeId>>>()
            };
            let producers = of(&channels.divided, output_channels, "output")?;
            let consumers = of(&channels.multiplied, input_channels, "input")?;
            let names = || channels.divided.join(", ");
            if let Some(factor) = factors.iter().find(|factor| !(factor.is_normal() && **factor > 0.0)) {
                return Err(Error::Ranges(format!(
                    "equalization, {}: expected positive factors, found {factor}; calibrate again",
                    names()
                )));
            }
            if producers.is_empty() || !producers.iter().all(|&id| divided.insert(id)) {
                return Err(Error::Ranges(format!(
                    "equalization, {:?}: expected each layer once in `divided`; calibrate again",
                    names()
                )));
            }
            Ok(ScaledChannels { producers, consumers, factors: factors.clone() })
        });
        scaled.collect::<Result<_>>().map(Some)
    }
}

/// Describes an observer and its integers.
fn described(spec: &ObserverSpec) -> String {
    match spec.target() {
        Ok(target) => {
            let (quant_min, quant_max) = target.quant_range();
            format!("{} for {} from {quant_min} to {quant_max}", spec.kind, spec.dtype)
        }
        Err(error) => error.to_string(),
    }
}

/// Returns a digest of a network's operators and parameters.
fn model_digest(model: &FloatModel) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for node in model.graph().nodes() {
        let attributes = node.op.attributes().map_err(|error| {
            Error::layer(&node.name, format!("cannot write its attributes: {error}"))
        })?;
        add(node.name.as_bytes());
        add(node.op.tag().as_bytes());
        add(attributes.get().as_bytes());
        for input in &node.inputs {
            add(&input.0.to_le_bytes());
        }
    }
    for output in model.graph().outputs() {
        add(output.name.as_bytes());
        add(&output.node.0.to_le_bytes());
    }
    add(model.digest().as_bytes());
    Ok(short_digest(hash))
}

/// Reads the version, which stands before everything that depends on it.
fn supported_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT_VERSION => Ok(FORMAT_VERSION),
        version => Err(de::Error::custom(format!(
            "expected format version {FORMAT_VERSION} of ranges, found {version}; use the version of \
             posterize that wrote them, or calibrate again"
        ))),
    }
}
