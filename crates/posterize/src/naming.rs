//! Names that an architecture's layers have elsewhere.

use std::collections::BTreeMap;

/// The names that the layers of an architecture have in checkpoints of another library.
///
/// ```
/// use posterize::checkpoint::StateTensor;
/// use posterize::model::Naming;
/// use posterize::nn::Sequential;
/// use posterize::ops::Linear;
/// use posterize::{Architecture, LoadOptions, StateDict, Tensor};
///
/// let mut weights = StateDict::new();
/// weights.insert("head.weight", StateTensor::Float(Tensor::zeros([2, 4])));
/// weights.insert("head.bias", StateTensor::Float(Tensor::zeros([2])));
///
/// let architecture = Architecture::trace(&Sequential::new().then(Linear::new(4, 2)))?
///     .also_named(Naming::new("theirs", [("0", "head")]));
/// let (_, report) = architecture.load_with(&weights, &LoadOptions::new())?;
/// let renamed = report.renamed.unwrap();
/// assert_eq!(renamed.tensors[0], ("head.weight".to_owned(), "0.weight".to_owned()));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Naming {
    /// Where the names are from: `timm`.
    pub source: String,
    /// What a user should know about weights with these names, as a sentence; empty if nothing.
    pub remark: String,
    /// The layers' names there, by those in the architecture.
    modules: BTreeMap<String, String>,
}

impl Naming {
    /// Creates a naming from pairs of dotted paths: that of a layer of the architecture, and that which
    /// it has elsewhere. Layers without a pair have the same path.
    pub fn new(
        source: impl Into<String>,
        modules: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let modules =
            modules.into_iter().map(|(ours, theirs)| (ours.into(), theirs.into())).collect();
        Self { source: source.into(), remark: String::new(), modules }
    }

    /// Sets what a user should know about weights with these names, as a sentence.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// Returns the path that a layer of the architecture has elsewhere.
    pub fn module<'a>(&'a self, ours: &'a str) -> &'a str {
        self.modules.get(ours).map_or(ours, String::as_str)
    }
}
