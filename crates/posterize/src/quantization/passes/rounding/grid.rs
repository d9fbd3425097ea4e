//! The two integers that a weight can be rounded to.

/// The weights of a group's output channels in steps of their scale, and the integers below them.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The scale of each output channel.
    pub(super) scales: Vec<f32>,
    /// The smaller of the two integers of each weight, `[outputs, weights]`.
    pub(super) floor: Vec<f32>,
    /// How far each weight is from the smaller to the larger integer, from 0 to 1.
    pub(super) fraction: Vec<f32>,
}

impl Grid {
    /// Returns the grid of weights `[outputs, weights]` between two integers.
    pub(super) fn new(float: &[f32], scales: &[f32], (min, max): (i32, i32)) -> Self {
        let weights = float.len() / scales.len();
        let (mut floor, mut fraction) = (Vec::new(), Vec::new());
        for (channel, &scale) in float.chunks_exact(weights).zip(scales) {
            for w in channel {
                let steps = (w / scale).clamp(min as f32, max as f32);
                let below = steps.floor().min((max - 1) as f32);
                floor.push(below);
                fraction.push(steps - below);
            }
        }
        Self { scales: scales.to_vec(), floor, fraction }
    }

    /// Returns the number of weights of an output channel.
    pub(super) fn weights(&self) -> usize {
        self.floor.len() / self.scales.len()
    }

    /// Returns for each weight whether the nearest integer is the larger one; a half is rounded to even.
    pub(super) fn nearest(&self) -> Vec<bool> {
        let pairs = self.floor.iter().zip(&self.fraction);
        pairs.map(|(floor, fraction)| (floor + fraction).round_ties_even() > *floor).collect()
    }

    /// Returns the integers of all weights.
    pub(super) fn integers(&self, up: &[bool]) -> Vec<i8> {
        self.floor.iter().zip(up).map(|(floor, &up)| *floor as i8 + i8::from(up)).collect()
    }

    /// Returns the dequantized weights of an output channel.
    pub(super) fn dequantized(&self, output: usize, up: &[bool]) -> Vec<f32> {
        let floor = &self.floor[output * self.weights()..][..self.weights()];
        let integers = floor.iter().zip(up).map(|(floor, &up)| floor + f32::from(u8::from(up)));
        integers.map(|q| q * self.scales[output]).collect()
    }
}
