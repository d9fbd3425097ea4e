//! Re-estimation of the running estimates of batch norms.

use super::Network;
use super::mode::Mode;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Network {
    /// Replaces the running estimates of batch norms by the means of the statistics of some batches
    /// `[N, C, H, W]`, and returns the number of batches; `torch.optim.swa_utils.update_bn`.
    ///
    /// In training, running estimates follow weights that change, and frozen ones are those of the weights
    /// before training. Here all batches are of the final weights. Each batch norm gets the statistics of
    /// what it reads in this pass, with rounded weights and activations in quantization-aware training
    /// (Nagel et al. 2022, [Overcoming Oscillations in Quantization-Aware
    /// Training](https://arxiv.org/abs/2203.11086), section 4.1). Dropout is off, observers of activations do
    /// not observe, and those of weights do if they are enabled. Estimates of
    /// [frozen modules](Self::freeze) stay, those of [`freeze_bn_stats`](Self::freeze_bn_stats) do not.
    ///
    /// Without batches nothing changes.
    ///
    /// ```
    /// use posterize::nn::Sequential;
    /// use posterize::ops::{BatchNorm, Conv2d, Flatten, Role};
    /// use posterize::runtime::Options;
    /// use posterize::training::Network;
    /// use posterize::{Architecture, Tensor};
    ///
    /// let net = Sequential::new().then(Conv2d::new(1, 1, 1).bias(false)).then(BatchNorm::two_d(1));
    /// let model = Architecture::trace(&net.then(Flatten))?.init(0);
    /// let weight = model.parameter_named("0.weight").unwrap().data()[0];
    /// let mut network = Network::float(&model, Options::new(1)?)?;
    /// let batch = |x: f32| Tensor::new([2, 1, 1, 1], vec![x, x + 2.0]);
    /// assert_eq!(network.reestimate_bn_stats([batch(0.0), batch(4.0)])?, 2);
    /// let trained = network.float_model()?;
    /// let mean = trained.parameter_named("1.running_mean").unwrap().data()[0];
    /// assert!((mean - 3.0 * weight).abs() < 1e-6);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the first error among the batches, or an error if pictures do not fit the network, if a value
    /// is not finite (it names the layer), or if a batch has one value for a channel. After an error nothing
    /// has changed.
    pub fn reestimate_bn_stats(
        &mut self,
        batches: impl IntoIterator<Item = Result<Tensor>>,
    ) -> Result<usize> {
        self.before.save(self.step, &self.net, self.qat.as_ref());
        let found = self.try_reestimate(&mut batches.into_iter());
        if found.is_err() {
            self.undo_step();
        }
        found
    }

    fn try_reestimate(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Tensor>>,
    ) -> Result<usize> {
        let mut count = 0;
        for images in batches {
            let images = images?;
            let images = &*images.channels_last_or_copy();
            self.lay_out(images)?;
            self.forward(images.data(), Mode::Reestimate { batch: count })?;
            count += 1;
        }
        let finite = self.net.running.iter().all(|running| {
            let values = running.mean.value.iter().chain(&running.var.value);
            values.into_iter().all(|x| x.is_finite())
        });
        if finite {
            Ok(count)
        } else {
            let problem = "the statistics of a batch norm are not finite";
            Err(Error::layer("re-estimation of batch norms", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Architecture;
    use crate::model::FloatModel;
    use crate::nn::Sequential;
    use crate::ops::{Activation, BatchNorm, Conv2d, Flatten};
    use crate::quantization::{QConfig, QConfigMapping};
    use crate::runtime::Options;

    fn model() -> FloatModel {
        let conv = |from, to| Conv2d::new(from, to, 1).bias(false);
        let net = Sequential::new()
            .then(conv(2, 3))
            .then(BatchNorm::two_d(3))
            .then(Activation::ReLU)
            .then(conv(3, 2))
            .then(BatchNorm::two_d(2))
            .then(Flatten);
        Architecture::trace(&net).unwrap().init(4)
    }

    fn batches() -> Vec<Tensor> {
        let values =
            |batch: usize| (0..4 * 2).map(move |i| ((i * 7 + batch * 5) % 11) as f32 - 4.0);
        (0..3).map(|batch| Tensor::new([4, 2, 1, 1], values(batch).collect()).unwrap()).collect()
    }

    fn estimates(network: &Network, of: &str) -> [Vec<f32>; 2] {
        let model = network.float_model().unwrap();
        ["running_mean", "running_var"]
            .map(|role| model.parameter_named(&format!("{of}.{role}")).unwrap().data().to_vec())
    }

    #[test]
    fn the_first_batch_norm_gets_the_means_of_the_statistics_of_the_batches() {
        let model = model();
        let mut network = Network::float(&model, Options::new(2).unwrap()).unwrap();
        network.freeze_bn_stats();
        assert_eq!(network.reestimate_bn_stats(batches().into_iter().map(Ok)).unwrap(), 3);
        let weight = model.parameter_named("0.weight").unwrap().data();
        let [means, vars] = estimates(&network, "1");
        for channel in 0..3 {
            let w = &weight[channel * 2..][..2];
            let (mut mean, mut var) = (0.0, 0.0);
            for images in batches() {
                let y: Vec<f32> =
                    images.data().chunks(2).map(|x| w[0] * x[0] + w[1] * x[1]).collect();
                let of_batch = y.iter().sum::<f32>() / 4.0;
                mean += of_batch / 3.0;
                // PyTorch's running variance is unbiased.
                var += y.iter().map(|y| (y - of_batch).powi(2)).sum::<f32>() / 3.0 / 3.0;
            }
            assert!((means[channel] - mean).abs() < 1e-5, "{} and {mean}", means[channel]);
            assert!((vars[channel] - var).abs() < 1e-4, "{} and {var}", vars[channel]);
        }
    }

    #[test]
    fn frozen_modules_keep_their_estimates_and_an_error_changes_nothing() {
        let mut network = Network::float(&model(), Options::new(1).unwrap()).unwrap();
        let before = ["1", "4"].map(|name| estimates(&network, name));
        let mut nan = batches();
        nan[1].data_mut()[0] = f32::NAN;
        for bad in [nan, vec![Tensor::zeros([1, 2, 1, 1])]] {
            network.reestimate_bn_stats(bad.into_iter().map(Ok)).unwrap_err();
            assert_eq!(["1", "4"].map(|name| estimates(&network, name)), before);
        }
        network.freeze(&"1".parse().unwrap()).unwrap();
        network.reestimate_bn_stats(batches().into_iter().map(Ok)).unwrap();
        assert_eq!(estimates(&network, "1"), before[0]);
        assert_ne!(estimates(&network, "4"), before[1]);
    }

    #[test]
    fn fake_quantization_is_in_the_statistics() {
        let mapping = QConfigMapping::global(QConfig::recommended_qat());
        let qat = model().prepare_qat(&mapping).unwrap();
        let mut network = Network::qat(qat, Options::new(1).unwrap()).unwrap();
        let loss = crate::training::CrossEntropy::default();
        network.forward_backward(&batches()[0], &[0, 1, 0, 1], &loss).unwrap();
        let observers = |network: &Network| -> Vec<_> {
            let qat = network.qat_model().unwrap().unwrap();
            qat.activations().map(|(_, found)| found.clone()).collect()
        };
        let before = observers(&network);
        network.reestimate_bn_stats(batches().into_iter().map(Ok)).unwrap();
        assert_eq!(observers(&network), before);
        let mut float = Network::float(&model(), Options::new(1).unwrap()).unwrap();
        float.reestimate_bn_stats(batches().into_iter().map(Ok)).unwrap();
        assert_ne!(estimates(&network, "4"), estimates(&float, "4"));
    }
}
