//! The layer that begins quantized computation.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, is_the_identity, keeps_the_shape, no_hyper_parameters, no_parameters,
};
use super::kernel::Compute;
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Leaf, Operator, QuantizedOutput, Saved};

/// `torch.ao.quantization.QuantStub`: begins quantized computation.
///
/// In a float model it returns its input. In an int8 model it quantizes its input.
/// [`ObservedModel::convert`](crate::quantization::ObservedModel::convert) inserts it where float
/// values reach an int8 layer. In a network that has stubs, only the layers between a `QuantStub`
/// and a [`DeQuantStub`](super::DeQuantStub) are quantized.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{Linear, QuantStub};
/// use posterize::quantization::{QConfig, QConfigMapping};
///
/// let net = Sequential::new().then(Linear::new(4, 4)).then(QuantStub).then(Linear::new(4, 2));
/// let model = Architecture::trace(&net)?.init(0);
/// let observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// let float: Vec<_> = observed.float_layers().into_iter().map(|layer| layer.name).collect();
/// assert_eq!(float, ["0"]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QuantStub;

impl Operator for QuantStub {
    fn kind(&self) -> String {
        "QuantStub".into()
    }

    no_hyper_parameters!();

    fn leaf(&self) -> Leaf {
        Leaf::new(self.kind(), self.python())
    }

    fn quantized_leaf(&self, output: &QuantizedOutput) -> Option<Leaf> {
        Some(Leaf::new(
            "Quantize",
            format!(
                "scale=tensor([{:.4}]), zero_point=tensor([{}]), dtype=torch.quint8",
                output.scale, output.zero_point
            ),
        ))
    }

    no_parameters!();

    keeps_the_shape!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl Layer for QuantStub {
    fn class(&self) -> &'static str {
        "QuantStub"
    }
}

impl Saved for QuantStub {
    const VERSION: u32 = 1;
}

impl Compute for QuantStub {
    is_the_identity!(Err("it quantizes what is int8 already".into()));
}

impl Train for QuantStub {
    fn training(&self) -> Training {
        Training::Identity
    }
}
