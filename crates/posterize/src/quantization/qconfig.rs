//! Qconfigs, and their mapping to the layers of a model.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::observer::{ObserverKind, ObserverSpec};
use super::qparams::Dtype;
use crate::error::{Error, Result};
use crate::graph::{Graph, ModuleGlob, enclosing};

/// How to quantize a layer: an observer for its output and one for its weight;
/// `torch.ao.quantization.QConfig`.
///
/// ```
/// use posterize::quantization::{ObserverSpec, QConfig};
///
/// assert_eq!("fbgemm".parse::<QConfig>()?, QConfig::fbgemm());
/// // Preset activations with another observer for weights.
/// let weight = ObserverSpec::default_weight_observer();
/// assert_eq!(QConfig { weight, ..QConfig::fbgemm() }.activation, QConfig::fbgemm().activation);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QConfig {
    /// The observer of the layer's output.
    pub activation: ObserverSpec,
    /// The observer of the layer's weight.
    pub weight: ObserverSpec,
}

impl QConfig {
    /// The names that [`str::parse`] and [`Self::qat`] accept.
    pub const PRESETS: [&str; 4] = ["recommended", "default", "fbgemm", "qnnpack"];

    /// PyTorch's `default_qconfig`: 7-bit activations from their minimum and maximum, and one scale
    /// for each weight.
    pub const fn default_qconfig() -> Self {
        Self {
            activation: ObserverSpec::default_observer(),
            weight: ObserverSpec::default_weight_observer(),
        }
    }

    /// PyTorch's `get_default_qconfig("fbgemm")`: 7-bit activations from histograms, and a scale for
    /// each output channel of a weight.
    pub const fn fbgemm() -> Self {
        Self {
            activation: ObserverSpec { reduce_range: true, ..ObserverSpec::histogram() },
            weight: ObserverSpec::default_per_channel_weight_observer(),
        }
    }

    /// PyTorch's `get_default_qconfig("qnnpack")`: 8-bit activations from histograms, and one scale
    /// for each weight.
    pub const fn qnnpack() -> Self {
        Self {
            activation: ObserverSpec::histogram(),
            weight: ObserverSpec::default_weight_observer(),
        }
    }

    /// The recommended qconfig: 8-bit activations with the range of the smallest squared error, and a
    /// scale for each output channel of a weight, with the integers −127 to 127.
    ///
    /// The weights are those of the TFLite quantization specification. With 2 · 127 steps the largest weight of a channel is an integer multiple of
    /// the scale; with PyTorch's 255 steps it is half a step off. Weights of networks that were
    /// trained in int8 are therefore quantized without error.
    pub const fn recommended() -> Self {
        Self {
            activation: ObserverSpec::mse(),
            weight: ObserverSpec {
                quant_range: Some((-127, 127)),
                ..ObserverSpec::default_per_channel_weight_observer()
            },
        }
    }

    /// The observers of PyTorch's `get_default_qat_qconfig("fbgemm")`: moving averages, 7-bit
    /// activations, and a scale for each output channel of a weight.
    pub const fn fbgemm_qat() -> Self {
        Self {
            activation: ObserverSpec {
                quant_range: Some((0, 255)),
                reduce_range: true,
                ..ObserverSpec::new(ObserverKind::MovingAverageMinMax)
            },
            weight: ObserverSpec::default_per_channel_weight_fake_quant(),
        }
    }

    /// The observers of PyTorch's `default_qat_qconfig`: moving averages, 7-bit activations, and one
    /// scale for each weight.
    pub const fn default_qat() -> Self {
        Self { weight: ObserverSpec::default_weight_fake_quant(), ..Self::fbgemm_qat() }
    }

    /// The observers of PyTorch's `get_default_qat_qconfig("qnnpack")`: moving averages, 8-bit
    /// activations, and one scale for each weight.
    pub const fn qnnpack_qat() -> Self {
        Self { weight: ObserverSpec::default_weight_fake_quant(), ..Self::recommended_qat() }
    }

    /// The recommended qconfig for quantization-aware training: moving averages, 8-bit activations,
    /// and a scale for each output channel of a weight, with the integers −127 to 127.
    pub const fn recommended_qat() -> Self {
        Self {
            activation: ObserverSpec::new(ObserverKind::MovingAverageMinMax),
            weight: ObserverSpec {
                quant_range: Some((-127, 127)),
                ..ObserverSpec::default_per_channel_weight_fake_quant()
            },
        }
    }

    /// Returns the preset for quantization-aware training with a name of [`Self::PRESETS`]:
    /// [`Self::recommended_qat`], [`Self::default_qat`], [`Self::fbgemm_qat`] or
    /// [`Self::qnnpack_qat`].
    ///
    /// # Errors
    /// Returns an error that lists the names if there is no preset with this name.
    pub fn qat(name: &str) -> Result<Self> {
        Ok(match name {
            "recommended" => Self::recommended_qat(),
            "default" => Self::default_qat(),
            "fbgemm" => Self::fbgemm_qat(),
            "qnnpack" => Self::qnnpack_qat(),
            other => return other.parse(),
        })
    }

    /// Returns the qconfig with 7-bit activations, of 0 to 127; PyTorch's `reduce_range`. A qconfig whose
    /// activations have a range of their own, such as [`Self::default_qconfig`], is returned unchanged.
    ///
    /// Products of 7-bit activations and 8-bit weights do not saturate in runtimes that add two of them in 16
    /// bits. As in PyTorch, scales are those of 0 to 127, and values beyond the range are clamped at 255.
    ///
    /// ```
    /// use posterize::quantization::QConfig;
    ///
    /// let qconfig = QConfig::recommended().with_reduced_range();
    /// assert_eq!(qconfig.activation.target()?.quant_range(), (0, 127));
    /// assert_eq!(QConfig::fbgemm().with_reduced_range(), QConfig::fbgemm());
    /// # Ok::<(), posterize::Error>(())
    /// ```
    #[must_use]
    pub const fn with_reduced_range(mut self) -> Self {
        if self.activation.quant_range.is_none() {
            self.activation.reduce_range = true;
        }
        self
    }

    /// Checks that its weights are such that int8 kernels have.
    pub(super) fn check_weight(&self) -> std::result::Result<(), &'static str> {
        if self.weight.dtype == Dtype::Qint8 && self.weight.qscheme.is_symmetric() {
            Ok(())
        } else {
            Err("weights must be symmetric qint8")
        }
    }

    /// Checks that both observers can be built.
    ///
    /// # Errors
    /// Returns the error of [`ObserverSpec::build`], which names the observer.
    pub fn validate(&self) -> Result<()> {
        for (spec, of) in [(&self.activation, "activation"), (&self.weight, "weight")] {
            spec.target().map_err(|error| Error::Argument(format!("qconfig, {of}: {error}")))?;
        }
        Ok(())
    }
}

impl FromStr for QConfig {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "recommended" => Ok(Self::recommended()),
            "default" => Ok(Self::default_qconfig()),
            "fbgemm" => Ok(Self::fbgemm()),
            "qnnpack" => Ok(Self::qnnpack()),
            other => Err(Error::Argument(format!(
                "unknown qconfig {other:?}: expected one of {}",
                Self::PRESETS.join(", ")
            ))),
        }
    }
}

/// The qconfigs of the layers of a model; `torch.ao.quantization.QConfigMapping`, with globs in place
/// of regular expressions.
///
/// The qconfig of a layer is the first of these that is set: that of the layer's name or of the
/// innermost module that contains it; that of the first glob that matches the layer or a module that
/// contains it; that of its type; the global one. Layers whose qconfig is `None` stay in float.
///
/// ```
/// use posterize::quantization::{QConfig, QConfigMapping};
/// let mapping = QConfigMapping::global(QConfig::recommended())
///     .set_object_type("Linear", QConfig::qnnpack())
///     .set_module_glob("features.1?", None)?
///     .set_module_name("features.18", QConfig::fbgemm());
/// assert_eq!(mapping.get("features.1.conv", "Conv2d"), Some(&QConfig::recommended()));
/// assert_eq!(mapping.get("classifier.1", "Linear"), Some(&QConfig::qnnpack()));
/// assert_eq!(mapping.get("features.17.conv.0.0", "Conv2d"), None);
/// assert_eq!(mapping.get("features.18.0", "Conv2d"), Some(&QConfig::fbgemm()));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QConfigMapping {
    global: Option<QConfig>,
    object_types: Vec<(String, Option<QConfig>)>,
    module_globs: Vec<(ModuleGlob, Option<QConfig>)>,
    module_names: Vec<(String, Option<QConfig>)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    float_outputs: bool,
}

impl QConfigMapping {
    /// Creates a mapping that keeps all layers in float.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a mapping of all layers to one qconfig.
    pub fn global(qconfig: QConfig) -> Self {
        Self { global: Some(qconfig), ..Self::default() }
    }

    /// Sets the qconfig of all layers that have no other.
    #[must_use]
    pub fn set_global(mut self, qconfig: impl Into<Option<QConfig>>) -> Self {
        self.global = qconfig.into();
        self
    }

    /// Sets the qconfig of all layers of a type, given as PyTorch's class name, such as `Linear`.
    ///
    /// A fused layer has the type of the fused class, such as `ConvReLU2d`.
    #[must_use]
    pub fn set_object_type(
        mut self,
        object_type: impl Into<String>,
        qconfig: impl Into<Option<QConfig>>,
    ) -> Self {
        set(&mut self.object_types, object_type.into(), qconfig.into());
        self
    }

    /// Sets the qconfig of the modules whose dotted name matches `glob`, and of all layers in them.
    ///
    /// `features.1?`, `*.conv.0` and `{features.0,classifier}` are globs. An asterisk also matches
    /// dots. If several globs match, the one that was set first is used.
    ///
    /// # Errors
    /// Returns an error if `glob` is malformed or longer than 256 bytes.
    pub fn set_module_glob(
        mut self,
        glob: &str,
        qconfig: impl Into<Option<QConfig>>,
    ) -> Result<Self> {
        set(&mut self.module_globs, glob.parse()?, qconfig.into());
        Ok(self)
    }

    /// Sets the qconfig of the module with a dotted name, and of all layers in it.
    #[must_use]
    pub fn set_module_name(
        mut self,
        module_name: impl Into<String>,
        qconfig: impl Into<Option<QConfig>>,
    ) -> Self {
        set(&mut self.module_names, module_name.into(), qconfig.into());
        self
    }

    /// Sets whether linear layers that are outputs of the network are quantized dynamically
    /// ([`DynamicQuantizedLinear`](crate::ops::DynamicQuantizedLinear)), so that the outputs are not rounded to
    /// 256 values. Two classes with the same rounded logit cannot be told apart.
    ///
    /// ```
    /// use posterize::quantization::{QConfig, QConfigMapping};
    ///
    /// let mapping = QConfigMapping::global(QConfig::recommended());
    /// assert!(!mapping.float_outputs());
    /// assert!(mapping.set_float_outputs(true).float_outputs());
    /// ```
    #[must_use]
    pub const fn set_float_outputs(mut self, float_outputs: bool) -> Self {
        self.float_outputs = float_outputs;
        self
    }

    /// Returns whether linear layers that are outputs of the network are quantized dynamically.
    pub const fn float_outputs(&self) -> bool {
        self.float_outputs
    }

    /// Returns the qconfig of a layer from its dotted name and its type; `None` if it stays in float.
    pub fn get(&self, module_name: &str, object_type: &str) -> Option<&QConfig> {
        let by_name = || {
            enclosing(module_name).find_map(|module| {
                self.module_names.iter().find(|(name, _)| name == module).map(|(_, found)| found)
            })
        };
        let by_glob = || {
            self.module_globs
                .iter()
                .find(|(glob, _)| glob.contains(module_name))
                .map(|(_, found)| found)
        };
        let by_type = || {
            self.object_types.iter().find(|(name, _)| name == object_type).map(|(_, found)| found)
        };
        by_name().or_else(by_glob).or_else(by_type).unwrap_or(&self.global).as_ref()
    }

    /// Returns the module names and globs that match none of the dotted names `modules`, most likely
    /// because of a typing error.
    pub fn unmatched<'a>(&self, modules: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let modules: Vec<&str> = modules.into_iter().flat_map(enclosing).collect();
        let names = self.module_names.iter().map(|(name, _)| name);
        let globs = self.module_globs.iter().map(|(glob, _)| glob);
        names
            .filter(|name| !modules.contains(&name.as_str()))
            .cloned()
            .chain(
                globs
                    .filter(|glob| !modules.iter().any(|module| glob.matches(module)))
                    .map(ToString::to_string),
            )
            .collect()
    }

    /// Checks that each module name and glob matches a layer or module of a graph.
    ///
    /// # Errors
    /// Returns an error that lists those that do not.
    pub(super) fn check_names(&self, graph: &Graph) -> Result<()> {
        let names = graph.modules().iter().map(|module| module.path.as_str());
        let unmatched = self.unmatched(names.chain(graph.nodes().iter().map(|n| n.name.as_str())));
        if unmatched.is_empty() {
            return Ok(());
        }
        Err(Error::Argument(format!(
            "the qconfig mapping has module names or globs that match no layer: {}",
            unmatched.join(", ")
        )))
    }

    /// Returns the mapping with activations that are observed from their smallest to their largest value.
    pub(super) fn with_min_max_activations(mut self) -> Self {
        let globs = self.module_globs.iter_mut().map(|(_, qconfig)| qconfig);
        let names = self.object_types.iter_mut().chain(&mut self.module_names);
        let all = globs.chain(names.map(|(_, qconfig)| qconfig)).chain([&mut self.global]);
        for qconfig in all.flatten() {
            qconfig.activation.kind = ObserverKind::MinMax;
        }
        self
    }

    /// Returns all qconfigs of the mapping.
    pub fn qconfigs(&self) -> impl Iterator<Item = &QConfig> {
        let globs = self.module_globs.iter().map(|(_, qconfig)| qconfig);
        let names = self.object_types.iter().chain(&self.module_names).map(|(_, qconfig)| qconfig);
        std::iter::once(&self.global).chain(globs).chain(names).flatten()
    }
}

/// Sets the value of a key, keeping its position if it exists.
fn set<K: PartialEq, V>(entries: &mut Vec<(K, V)>, key: K, value: V) {
    match entries.iter_mut().find(|(known, _)| *known == key) {
        Some((_, old)) => *old = value,
        None => entries.push((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_builds() {
        for name in QConfig::PRESETS {
            name.parse::<QConfig>().unwrap().validate().unwrap();
            QConfig::qat(name).unwrap().validate().unwrap();
        }
        for qconfig in [
            QConfig::fbgemm_qat(),
            QConfig::default_qat(),
            QConfig::qnnpack_qat(),
            QConfig::recommended_qat(),
        ] {
            qconfig.validate().unwrap();
        }
        assert!("x86".parse::<QConfig>().unwrap_err().to_string().contains("fbgemm"));
    }

    #[test]
    fn presets_have_pytorchs_integers_and_the_recommended_ones_symmetric_weights() {
        for (qconfig, max_activation, min_weight) in [
            (QConfig::default_qconfig(), 127, -128),
            (QConfig::fbgemm(), 127, -128),
            (QConfig::fbgemm_qat(), 127, -128),
            (QConfig::qnnpack(), 255, -128),
            (QConfig::recommended(), 255, -127),
            (QConfig::recommended_qat(), 255, -127),
        ] {
            assert_eq!(qconfig.activation.target().unwrap().quant_range(), (0, max_activation));
            assert_eq!(qconfig.weight.target().unwrap().quant_range(), (min_weight, 127));
        }
    }

    #[test]
    fn module_names_precede_globs_and_globs_precede_types() {
        let mapping = QConfigMapping::global(QConfig::recommended())
            .set_object_type("Conv2d", None)
            .set_module_glob("features.*", QConfig::fbgemm())
            .unwrap()
            .set_module_glob("features.0", QConfig::qnnpack())
            .unwrap()
            .set_module_name("features.0.1", QConfig::default_qconfig())
            .set_module_name("features.0.1.weird", None);
        let get = |name, object_type| mapping.get(name, object_type).cloned();
        assert_eq!(get("stem", "Linear"), Some(QConfig::recommended()));
        assert_eq!(get("stem", "Conv2d"), None);
        assert_eq!(get("features.0", "Conv2d"), Some(QConfig::fbgemm()), "the first glob is used");
        assert_eq!(get("features.0.1", "Conv2d"), Some(QConfig::default_qconfig()));
        assert_eq!(get("features.0.1.x.y", "Conv2d"), Some(QConfig::default_qconfig()));
        assert_eq!(get("features.0.1.weird.y", "Conv2d"), None);
        assert_eq!(get("features.0.10", "Conv2d"), Some(QConfig::fbgemm()));
    }

    #[test]
    fn setting_a_glob_again_keeps_its_position() {
        let mapping = QConfigMapping::new()
            .set_module_glob("a*", None)
            .unwrap()
            .set_module_glob("*", QConfig::fbgemm())
            .unwrap()
            .set_module_glob("a*", QConfig::qnnpack())
            .unwrap();
        assert_eq!(mapping.get("ab", "Conv2d"), Some(&QConfig::qnnpack()));
        assert_eq!(mapping.qconfigs().count(), 2);
    }

    #[test]
    fn names_and_globs_that_match_no_layer_are_returned() {
        let mapping = QConfigMapping::new()
            .set_module_name("features.0", None)
            .set_module_name("faetures", None)
            .set_module_glob("class*", None)
            .unwrap()
            .set_module_glob("x.*", None)
            .unwrap();
        let modules = ["features.0.0", "classifier.1"];
        assert_eq!(mapping.unmatched(modules), ["faetures", "x.*"]);
    }

    #[test]
    fn malformed_globs_are_errors_in_calls_and_in_files() {
        let error = QConfigMapping::new().set_module_glob("features.[", None).unwrap_err();
        assert!(error.to_string().contains("features.["), "{error}");
        let json = r#"{"module_globs": [["features.[", null]]}"#;
        assert!(serde_json::from_str::<QConfigMapping>(json).is_err());
    }

    #[test]
    fn a_mapping_round_trips_through_json() {
        let mapping = QConfigMapping::global(QConfig::fbgemm())
            .set_module_glob("features.1?", None)
            .unwrap()
            .set_object_type("Linear", QConfig::default_qconfig())
            .set_module_name("classifier", QConfig::qnnpack());
        let json = serde_json::to_string(&mapping).unwrap();
        assert_eq!(serde_json::from_str::<QConfigMapping>(&json).unwrap(), mapping);
    }
}
