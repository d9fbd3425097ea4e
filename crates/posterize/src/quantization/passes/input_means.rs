//! The means of what convolutions and linear layers read, for each tap of their kernels.
//!
//! A layer is linear up to its activation, so the mean of its output before the activation is its
//! weight times these means plus its bias, exactly: no output has to be stored or unclamped. A tap at a
//! picture's border reads padding for some outputs, which counts as 0.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use posterize_kernels::{Conv2dGeometry, Pool};

use super::channel_scaling::{groups_and_taps, input_channels};
use crate::error::Result;
use crate::graph::{Graph, LayerShape, NodeId};
use crate::ops::{Linear, Op};
use crate::runtime::Shown;
use crate::tensor::Tensor;

/// The means of the inputs of the layers with weights of a graph, over all pictures shown so far.
#[derive(Clone, Debug)]
pub(crate) struct InputMeans {
    /// For each node, the layers with weights whose input it is.
    readers: Vec<Vec<NodeId>>,
    layers: BTreeMap<NodeId, TapSums>,
}

impl InputMeans {
    /// Creates sums without data for the layers of `graph` that `wanted` selects.
    pub(crate) fn new(graph: &Graph, wanted: impl Fn(NodeId) -> bool) -> Self {
        let mut readers = vec![Vec::new(); graph.nodes().len()];
        for (id, node) in graph.iter() {
            let reads =
                matches!(node.op, Op::Conv2d(_) | Op::Linear(_) | Op::DynamicQuantizedLinear(_));
            if reads && wanted(id) {
                readers[node.inputs[0].0].push(id);
            }
        }
        Self { readers, layers: BTreeMap::new() }
    }

    /// Creates the means of all layers from those of the channels of each node's output, which are the same
    /// at every tap. Layers whose input has other channels than they read get none.
    pub(crate) fn of_channels(graph: &Graph, of: impl Fn(NodeId) -> Option<Vec<f64>>) -> Self {
        let mut means = Self::new(graph, |_| true);
        for (id, node) in graph.iter() {
            let channels = input_channels(&node.op);
            if channels == 0 {
                continue;
            }
            let (_, taps) = groups_and_taps(&node.op);
            let found = of(node.inputs[0]).filter(|found| found.len() == channels);
            if let Some(found) = found {
                let sums = TapSums { taps: found.repeat(taps), outputs: 1.0 };
                means.layers.insert(id, sums);
            }
        }
        means
    }

    /// Adds the output of a node for a batch. `shapes` are those of all nodes for that batch.
    pub(crate) fn add(
        &mut self,
        pool: &Pool,
        graph: &Graph,
        shapes: &[LayerShape],
        id: NodeId,
        shown: Shown<'_>,
    ) {
        let shape = &shapes[id.0].shape;
        for &reader in &self.readers[id.0] {
            let Some(windows) = Windows::of(&graph.node(reader).op, shape) else { continue };
            let sums = self.layers.entry(reader).or_insert_with(|| TapSums::new(windows));
            match shown {
                Shown::Float(values) => sums.add(pool, windows, values, 0.0, 1.0),
                Shown::Int8(values, qparams) => {
                    let zero_point = f64::from(qparams.zero_point);
                    sums.add(pool, windows, values, zero_point, f64::from(qparams.scale));
                }
            }
        }
    }

    /// Returns the mean of a layer's input at each tap: `[kh · kw, C]`; `None` without data.
    pub(crate) fn of(&self, layer: NodeId) -> Option<Vec<f64>> {
        let sums = self.layers.get(&layer).filter(|sums| sums.outputs > 0.0)?;
        Some(sums.taps.iter().map(|sum| sum / sums.outputs).collect())
    }
}

/// Returns the mean of each output channel of a layer before its bias and activation, from the means of
/// its input at each tap.
pub(crate) fn mean_products(op: &Op, means: &[f64], weight: &[f32]) -> Vec<f64> {
    let (outputs, groups, taps) = match op {
        Op::Conv2d(conv) => {
            let [kh, kw] = conv.kernel_size;
            (conv.out_channels, conv.groups, kh * kw)
        }
        Op::Linear(linear) => (linear.out_features, 1, 1),
        _ => return Vec::new(),
    };
    let channels = means.len() / taps;
    let (of_group, outputs_of_group) = (channels / groups, outputs / groups);
    weight
        .chunks_exact(of_group * taps)
        .enumerate()
        .map(|(output, weight)| {
            let first = output / outputs_of_group * of_group;
            let mut sum = 0.0;
            for (channel, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, &w) in weight.iter().enumerate() {
                    sum += f64::from(w) * means[tap * channels + first + channel];
                }
            }
            sum
        })
        .collect()
}

/// The windows of a layer over an input of one size.
#[derive(Clone, Copy, Debug)]
struct Windows {
    geometry: Conv2dGeometry,
    input: [usize; 2],
    output: [usize; 2],
}

impl Windows {
    fn of(op: &Op, input: &[usize]) -> Option<Self> {
        match (op, input) {
            (Op::Conv2d(conv), &[_, _, h, w]) => {
                let geometry = conv.geometry([h, w]);
                let output = geometry.output_size([h, w])?;
                Some(Self { geometry, input: [h, w], output })
            }
            (Op::Linear(linear), _) => Self::of_linear(linear, input),
            (Op::DynamicQuantizedLinear(dynamic), _) => Self::of_linear(dynamic.linear(), input),
            _ => None,
        }
    }

    fn of_linear(linear: &Linear, input: &[usize]) -> Option<Self> {
        let &[_, features] = input else { return None };
        let geometry = Conv2dGeometry::square([features, linear.out_features], 1, 1, 1);
        let windows = Self { geometry, input: [1, 1], output: [1, 1] };
        (features == linear.in_features).then_some(windows)
    }

    fn channels(&self) -> usize {
        self.geometry.in_channels
    }

    /// Returns the outputs whose window has the pixel `at` of an axis under its tap.
    fn reads(&self, axis: usize, tap: usize, at: usize) -> Option<usize> {
        let Conv2dGeometry { stride, dilation, padding, .. } = &self.geometry;
        let before = [padding.top, padding.left][axis];
        let start = (at + before).checked_sub(tap * dilation[axis])?;
        let output = start / stride[axis];
        (start % stride[axis] == 0 && output < self.output[axis]).then_some(output)
    }
}

/// The type in which values are added up exactly, or almost.
trait Value: Copy + Sync {
    type Sum: Copy + Default + AddAssign + Send + Into<f64>;

    fn widen(self) -> Self::Sum;
}

impl Value for f32 {
    type Sum = f64;

    fn widen(self) -> f64 {
        self.into()
    }
}

impl Value for u8 {
    /// It holds the sum of a picture of 2^24 pixels.
    type Sum = u32;

    fn widen(self) -> u32 {
        self.into()
    }
}

/// The sums of a layer's input at each tap.
#[derive(Clone, Debug)]
struct TapSums {
    /// `[kh · kw, C]`
    taps: Vec<f64>,
    /// The number of outputs of each channel.
    outputs: f64,
}

impl TapSums {
    fn new(windows: Windows) -> Self {
        let [kh, kw] = windows.geometry.kernel;
        Self { taps: vec![0.0; kh * kw * windows.channels()], outputs: 0.0 }
    }

    /// Adds `(value − zero_point) · scale` of every value of a batch.
    fn add<T: Value>(
        &mut self,
        pool: &Pool,
        windows: Windows,
        values: &[T],
        zero_point: f64,
        scale: f64,
    ) {
        let [h, w] = windows.input;
        let picture = h * w * windows.channels();
        let [kh, kw] = windows.geometry.kernel;
        let sums = pool.map(values.len() / picture, &|index| {
            of_picture(windows, &values[index * picture..][..picture])
        });
        let inside = |axis, tap| {
            (0..windows.input[axis]).filter(|&at| windows.reads(axis, tap, at).is_some()).count()
        };
        for picture in sums {
            for ky in 0..kh {
                for kx in 0..kw {
                    let zeros = zero_point * (inside(0, ky) * inside(1, kx)) as f64;
                    let tap = (ky * kw + kx) * windows.channels();
                    let range = tap..tap + windows.channels();
                    for (sum, &found) in self.taps[range.clone()].iter_mut().zip(&picture[range]) {
                        *sum += (found.into() - zeros) * scale;
                    }
                }
            }
            self.outputs += (windows.output[0] * windows.output[1]) as f64;
        }
    }
}

/// Returns the sums `[kh · kw, C]` of a picture `[H, W, C]`.
fn of_picture<T: Value>(windows: Windows, values: &[T]) -> Vec<T::Sum> {
    let channels = windows.channels();
    let [kh, kw] = windows.geometry.kernel;
    let mut taps = vec![T::Sum::default(); kh * kw * channels];
    let mut row_taps = vec![T::Sum::default(); kw * channels];
    for (y, row) in values.chunks_exact(windows.input[1] * channels).enumerate() {
        row_taps.fill(T::Sum::default());
        for (kx, sums) in row_taps.chunks_exact_mut(channels).enumerate() {
            for (x, pixel) in row.chunks_exact(channels).enumerate() {
                if windows.reads(1, kx, x).is_some() {
                    add(sums, pixel.iter().map(|value| value.widen()));
                }
            }
        }
        for (ky, sums) in taps.chunks_exact_mut(kw * channels).enumerate() {
            if windows.reads(0, ky, y).is_some() {
                add(sums, row_taps.iter().copied());
            }
        }
    }
    taps
}

fn add<S: AddAssign>(sums: &mut [S], values: impl Iterator<Item = S>) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// The shapes of all nodes for a batch of these inputs.
///
/// # Errors
/// Returns an error if an input does not fit the network.
pub(crate) fn shapes_of(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<LayerShape>> {
    let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::shape).collect();
    graph.infer_all(&shapes)
}

#[cfg(test)]
mod tests {
    use posterize_kernels::int8::QParams8;

    use super::*;
    use crate::Architecture;
    use crate::ops::{Conv2d, Linear, Padding, Role};
    use crate::runtime::{Options, compile};

    #[test]
    fn products_with_the_means_are_the_means_of_the_outputs() {
        let same = Padding::all(1);
        let convolutions = [
            Conv2d::new(6, 4, 1),
            Conv2d::new(6, 4, 3).padding(same),
            Conv2d::new(6, 6, 3).padding(same).groups(6).stride(2),
            Conv2d::new(6, 4, 2).groups(2).dilation(2).padding(Padding::Same),
            Conv2d::new(6, 4, 5).stride(3).padding(Padding::all(4)),
        ];
        for conv in convolutions {
            let model = Architecture::trace(&conv.clone()).unwrap().init(1);
            let values = (0..3 * 6 * 7 * 9).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.8);
            let images = Tensor::new([3, 6, 7, 9], values.collect()).unwrap();
            let output = model.forward(&images).unwrap();
            let [n, c, h, w] = output.shape4().unwrap();
            let mut expected = vec![0.0; c];
            for pixel in output.data().chunks_exact(c) {
                for (sum, &x) in expected.iter_mut().zip(pixel) {
                    *sum += f64::from(x) / (n * h * w) as f64;
                }
            }
            let graph = model.graph();
            let layer = graph.find(&graph.nodes()[1].name).unwrap();
            let shapes = shapes_of(graph, std::slice::from_ref(&images)).unwrap();
            let mut means = InputMeans::new(graph, |_| true);
            let mut engine = compile(&model, Options::new(2).unwrap()).unwrap();
            let pool = engine.pool().clone();
            let mut add = |id, shown: Shown<'_>| {
                means.add(&pool, graph, &shapes, id, shown);
                Ok(())
            };
            engine.run_all_shown(&[(&images).into()], &mut add).unwrap();
            let weight = model.parameter(layer, Role::Weight).unwrap().data();
            let found = mean_products(&graph.node(layer).op, &means.of(layer).unwrap(), weight);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-5, "{conv:?}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn integers_are_summed_without_their_zero_point() {
        let model = Architecture::trace(&Linear::new(3, 2)).unwrap().init(0);
        let graph = model.graph();
        let shapes = graph.infer(&[2, 3]).unwrap();
        let mut means = InputMeans::new(graph, |_| true);
        let qparams = QParams8 { scale: 0.5, zero_point: 10 };
        let layer = NodeId(1);
        assert_eq!(means.of(layer), None);
        let shown = Shown::Int8(&[10, 12, 0, 10, 14, 255], qparams);
        means.add(&Pool::new(1), graph, &shapes, NodeId(0), shown);
        assert_eq!(means.of(layer), Some(vec![0.0, 1.5, (245.0 - 10.0) * 0.25]));
    }
}
