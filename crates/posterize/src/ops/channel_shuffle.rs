//! Shuffles of channels.

use serde::{Deserialize, Serialize};

use super::answers::{
    fuses_nothing, no_parameters, prints_as_a_layer, reads_each_value_once, takes_one_input,
};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::select::{self, Axis, Select};
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved};

/// `torch.nn.ChannelShuffle`: views the channels of `[N, C, …]` as a matrix `[groups, C / groups]`
/// and transposes it, so that each group of the output has channels of all groups of the input
/// (Zhang et al. 2018, ShuffleNet).
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::ChannelShuffle;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let net = Sequential::new().then(ChannelShuffle::new(2));
/// let mut engine = compile(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
/// let x = Tensor::new([1, 6], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// assert_eq!(engine.run(&x)?.data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChannelShuffle {
    /// Number of groups, a divisor of the number of channels.
    pub groups: usize,
}

impl ChannelShuffle {
    /// Creates a shuffle of `groups` groups.
    pub const fn new(groups: usize) -> Self {
        Self { groups }
    }

    /// Returns the input channel of each output channel.
    fn select(self, shapes: &Shapes) -> Select {
        let axis = Axis::new(&shapes.inputs[0], 1);
        let (groups, in_group) = (self.groups, axis.len / self.groups);
        Select::new(axis, (0..axis.len).map(|to| to % groups * in_group + to / groups))
    }
}

impl Operator for ChannelShuffle {
    fn kind(&self) -> String {
        "ChannelShuffle".into()
    }

    fn python(&self) -> String {
        format!("groups={}", self.groups)
    }

    prints_as_a_layer!();
    takes_one_input!();
    no_parameters!();

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        if self.groups == 0 {
            return Err("groups is 0; it must be at least 1".into());
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            [_, channels, ..] if channels.is_multiple_of(self.groups) => Ok(inputs[0].to_vec()),
            shape => Err(format!(
                "expected an input [N, C, …] of which groups={} divides C, found {shape:?}",
                self.groups
            )),
        }
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::InputScale { rounds: false }
    }
}

impl Layer for ChannelShuffle {
    fn class(&self) -> &'static str {
        "ChannelShuffle"
    }
}

impl Saved for ChannelShuffle {
    const VERSION: u32 = 1;
}

impl Compute for ChannelShuffle {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        select::kernel("channel_shuffle", self.select(shapes))
    }

    fn int8(&self, _: &Int8Context<'_>, shapes: &Shapes) -> Made<u8> {
        select::kernel("channel_shuffle", self.select(shapes))
    }
}

impl Train for ChannelShuffle {
    fn training(&self) -> Training {
        let shuffle = *self;
        Training::Function(select::gradient(move |shapes| shuffle.select(shapes)))
    }
}
