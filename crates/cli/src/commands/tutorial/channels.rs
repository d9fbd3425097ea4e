//! Finds the layer that one scale for its whole weight serves worst.

use posterize::{FloatModel, quantization::QuantizedModel};

use super::content::Channels;

impl Channels {
    /// Returns the per-tensor quantized layer whose median channel is smallest in relation to its
    /// largest one, or `None` if no layer is quantized per tensor. `float` is the fused network that
    /// was converted to `model`.
    pub(super) fn worst(float: &FloatModel, model: &QuantizedModel) -> Option<Self> {
        let shared = model.layers().iter().filter_map(|(&id, layer)| {
            let scale = layer.qparams.per_tensor()?.scale;
            let name = &model.graph().node(id).name;
            let weights = float.parameter_named(&format!("{name}.weight"))?;
            let largest = |weights: &[f32]| weights.iter().fold(0.0_f32, |max, w| max.max(w.abs()));
            let each = layer.weight.len().checked_div(*layer.shape.first()?)?.max(1);
            let mut channels: Vec<f32> = weights.data().chunks_exact(each).map(largest).collect();
            channels.sort_unstable_by(|a, b| b.total_cmp(a));
            let zeros = |channel: &&[i8]| channel.iter().all(|&weight| weight == 0);
            let lost = layer.weight.chunks_exact(each).filter(zeros).count();
            let name = name.clone();
            Some(Self { layer: name, largest: channels, scale, lost })
        });
        shared.min_by(|a, b| a.median_ratio().total_cmp(&b.median_ratio()))
    }

    /// Returns the median channel's largest weight divided by that of the largest channel.
    fn median_ratio(&self) -> f32 {
        let median = self.largest.get(self.largest.len() / 2).unwrap_or(&0.0);
        median / self.largest.first().unwrap_or(&0.0).max(f32::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use posterize::{
        Architecture, Tensor,
        checkpoint::StateTensor,
        nn::Sequential,
        ops::Conv2d,
        quantization::{QConfig, QConfigMapping},
    };

    use super::Channels;

    #[test]
    fn worst_finds_the_layer_with_the_most_unequal_channels() {
        let net = Sequential::new().then(Conv2d::new(3, 4, 1)).then(Conv2d::new(4, 3, 1));
        let mut state = Architecture::trace(&net).unwrap().init(0).state_dict();
        let weights = |largest: &[f32], each: usize| {
            let values = largest.iter().flat_map(|&v| std::iter::repeat_n(-v, each)).collect();
            Tensor::new([largest.len(), each, 1, 1], values).unwrap()
        };
        state.insert("0.weight", StateTensor::Float(weights(&[1.0, 0.5, 0.25, 1.0], 3)));
        state.insert("1.weight", StateTensor::Float(weights(&[0.001, 50.0, 0.1], 4)));
        let float = Architecture::trace(&net).unwrap().load(&state).unwrap();
        let convert = |qconfig| {
            let mut observed = float.prepare(&QConfigMapping::global(qconfig)).unwrap();
            observed.forward(&Tensor::zeros([1, 3, 4, 4])).unwrap();
            observed.convert().unwrap()
        };
        let worst = Channels::worst(&float, &convert(QConfig::default_qconfig())).unwrap();
        assert_eq!((worst.layer.as_str(), worst.lost), ("1", 2));
        assert_eq!(worst.largest, [50.0, 0.1, 0.001]);
        assert!((worst.scale - 50.0 / 127.5).abs() < 1e-6);
        assert!(Channels::worst(&float, &convert(QConfig::recommended())).is_none());
    }
}
