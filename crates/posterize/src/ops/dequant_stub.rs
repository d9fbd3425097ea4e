//! The layer that ends quantized computation.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, is_the_identity, keeps_the_shape, no_hyper_parameters, no_parameters,
    prints_as_a_layer,
};
use super::kernel::Compute;
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.ao.quantization.DeQuantStub`: ends quantized computation.
///
/// In a float model it returns its input. In an int8 model it dequantizes its input.
/// [`ObservedModel::convert`](crate::quantization::ObservedModel::convert) inserts it where int8
/// values reach a float layer; place it yourself to choose where quantized computation ends.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{DeQuantStub, Linear, QuantStub};
/// use posterize::quantization::{QConfig, QConfigMapping};
///
/// let net = Sequential::new()
///     .then(QuantStub)
///     .then(Linear::new(4, 4))
///     .then(DeQuantStub)
///     .then(Linear::new(4, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// let float: Vec<_> = observed.float_layers().into_iter().map(|layer| layer.name).collect();
/// assert_eq!(float, ["3"]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeQuantStub;

impl Operator for DeQuantStub {
    fn kind(&self) -> String {
        "DeQuantStub".into()
    }

    no_hyper_parameters!();

    prints_as_a_layer!();

    no_parameters!();

    keeps_the_shape!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: "its output is float" }
    }
}

impl Layer for DeQuantStub {
    fn class(&self) -> &'static str {
        "DeQuantStub"
    }
}

impl Saved for DeQuantStub {
    const VERSION: u32 = 1;
}

impl Compute for DeQuantStub {
    is_the_identity!(Err("its output must be float".into()));
}

impl Train for DeQuantStub {
    fn training(&self) -> Training {
        Training::Identity
    }
}
