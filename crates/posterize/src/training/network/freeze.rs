//! Freezing parameters, and factors of their learning rate.

use std::collections::BTreeSet;

use super::Network;
use crate::error::{Error, Result};
use crate::graph::ModuleGlob;

impl Network {
    /// Freezes the parameters of the modules that match a glob, and of all modules in them.
    ///
    /// They are not among the [trained](Self::trained) parameters, and their batch norms normalize with
    /// the running estimates, which are not updated. No gradients are computed before the first layer
    /// that is trained.
    ///
    /// ```
    /// use posterize::nn::{Flatten, Sequential};
    /// use posterize::ops::{Activation, Linear};
    /// use posterize::runtime::Options;
    /// use posterize::training::Network;
    /// use posterize::Architecture;
    ///
    /// let net = Sequential::new()
    ///     .then(Flatten)
    ///     .then(Linear::new(12, 4))
    ///     .then(Activation::ReLU)
    ///     .then(Linear::new(4, 2));
    /// let mut network = Network::float(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
    /// network.freeze(&"1".parse()?)?;
    /// let trained: Vec<&str> = network.trained().map(|tensor| tensor.name).collect();
    /// assert_eq!(trained, ["3.weight", "3.bias"]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no matching module has parameters, or if no parameter remains that is
    /// trained. After an error the network is as before.
    pub fn freeze(&mut self, modules: &ModuleGlob) -> Result<()> {
        let found = self.matching(modules)?;
        let remain = self
            .net
            .parameters
            .iter()
            .enumerate()
            .any(|(index, parameter)| !parameter.frozen && !found.contains(&index));
        if !remain {
            return Err(Error::Argument(format!(
                "module glob {modules} freezes all parameters that are left; leave some to be trained"
            )));
        }
        for index in found {
            self.net.parameters[index].frozen = true;
        }
        // The gradients that a step computes depend on it.
        self.plan = None;
        Ok(())
    }

    /// Sets the factor of the learning rate of the parameters of the modules that match a glob, and of
    /// all modules in them; the `lr` of a parameter group in PyTorch.
    ///
    /// ```
    /// use posterize::nn::{Flatten, Sequential};
    /// use posterize::ops::Linear;
    /// use posterize::runtime::Options;
    /// use posterize::training::Network;
    /// use posterize::Architecture;
    ///
    /// let net = Sequential::new().then(Flatten).then(Linear::new(12, 4)).then(Linear::new(4, 2));
    /// let mut network = Network::float(&Architecture::trace(&net)?.init(0), Options::new(1)?)?;
    /// network.set_lr_factor(&"2".parse()?, 10.0)?;
    /// let factors: Vec<f64> = network.trained().map(|tensor| tensor.lr_factor).collect();
    /// assert_eq!(factors, [1.0, 1.0, 10.0, 10.0]);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no matching module has parameters, or if the factor is not greater than 0
    /// and finite.
    pub fn set_lr_factor(&mut self, modules: &ModuleGlob, factor: f64) -> Result<()> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(Error::Argument(format!(
                "the learning rate factor of {modules} must be greater than 0, found {factor}; freeze \
                 modules that are not to be trained"
            )));
        }
        for index in self.matching(modules)? {
            self.net.parameters[index].lr_factor = factor;
        }
        Ok(())
    }

    /// Returns the indices of the parameters in matching modules.
    fn matching(&self, modules: &ModuleGlob) -> Result<BTreeSet<usize>> {
        let parameters = self.net.parameters.iter().enumerate();
        let found: BTreeSet<usize> = parameters
            .filter(|(_, parameter)| modules.contains(parameter.module()))
            .map(|(index, _)| index)
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let outermost = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let all: BTreeSet<String> =
            self.net.parameters.iter().map(|parameter| outermost(parameter.module())).collect();
        Err(Error::Argument(format!(
            "module glob {modules} matches no module with parameters; the outermost modules with \
             parameters are {:.200}",
            Vec::from_iter(all).join(", ")
        )))
    }
}
