//! Loading the weights of a state dict into a network.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::checkpoint::{StateDict, Wanted};
use crate::error::{Error, MismatchCause, Result, StateDictMismatch};
use crate::graph::{Graph, NamedParameter, NodeId, ParameterKey};
use crate::naming::Naming;
use crate::ops::Role;
use crate::parameters::{InitialValues, Parameters};

/// What is allowed when weights are loaded. By default nothing is, as in PyTorch's
/// `load_state_dict(strict=True)`.
///
/// ```
/// use posterize::models::{Config, resnet18};
/// use posterize::LoadOptions;
///
/// let imagenet = resnet18(&Config::default())?.init(0).state_dict();
/// let flowers = resnet18(&Config { num_classes: 5, ..Config::default() })?;
/// assert!(flowers.load(&imagenet).is_err());
///
/// let options = LoadOptions::new().new_classifier(42);
/// let (model, report) = flowers.load_with(&imagenet, &options)?;
/// let names: Vec<&str> = report.initialized.iter().map(|new| new.name.as_str()).collect();
/// assert_eq!(names, ["fc.weight", "fc.bias"]);
/// assert_eq!(report.initialized[0].replaced, Some(vec![1000, 512]));
/// assert_eq!(model.parameter_named("fc.weight").unwrap().shape(), [5, 512]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    new_classifier: Option<u64>,
    ignore_extra: bool,
}

impl LoadOptions {
    /// Returns the options that allow nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows the classifier to be initialized at random if its weight and bias are missing or have
    /// another number of outputs. The same seed gives the same weights on every platform.
    ///
    /// The classifier is the last layer with parameters that leads to an output, whatever its name.
    #[must_use]
    pub fn new_classifier(mut self, seed: u64) -> Self {
        self.new_classifier = Some(seed);
        self
    }

    /// Sets whether keys that the network does not have are ignored, as those of a profiler
    /// (`total_ops`) or of another part of a model.
    #[must_use]
    pub fn ignore_extra(mut self, ignore_extra: bool) -> Self {
        self.ignore_extra = ignore_extra;
        self
    }
}

/// What was changed when weights were loaded.
///
/// ```
/// use posterize::checkpoint::StateTensor;
/// use posterize::nn::Sequential;
/// use posterize::ops::Linear;
/// use posterize::{Architecture, LoadOptions, StateDict, Tensor};
///
/// let architecture = Architecture::trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let mut weights = StateDict::new();
/// weights.insert("model.0.weight", StateTensor::Float(Tensor::zeros([2, 4])));
/// weights.insert("model.0.bias", StateTensor::Float(Tensor::zeros([2])));
/// weights.insert("total_ops", StateTensor::Float(Tensor::zeros([1])));
/// let options = LoadOptions::new().ignore_extra(true);
/// let (_, report) = architecture.load_with(&weights, &options)?;
/// assert_eq!(report.prefix, "model.");
/// assert_eq!(report.ignored, ["total_ops"]);
/// assert!(report.initialized.is_empty());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The prefix that was removed from the names, such as `model.`; empty if there is none.
    pub prefix: String,
    /// The tensors that were initialized at random, in the network's order.
    pub initialized: Vec<NewTensor>,
    /// The names that the tensors have in the state dict instead of the network's; `None` if they have
    /// the network's.
    pub renamed: Option<Renamed>,
    /// The keys of the state dict that were not used, in its order. Counters of batch norms
    /// (`num_batches_tracked`) are not listed.
    pub ignored: Vec<String>,
}

/// The tensors whose names in a state dict are those of another [`Naming`].
///
/// ```
/// use posterize::models::{Config, mobilenet_v2};
/// use posterize::{LoadOptions, StateDict};
///
/// let architecture = mobilenet_v2(&Config::default())?;
/// let weights = architecture.init(0).state_dict();
/// # let timm = architecture.namings().iter().find(|naming| naming.source == "timm").unwrap();
/// # let weights: StateDict = weights
/// #     .into_iter()
/// #     .map(|(name, tensor)| {
/// #         let (module, role) = name.rsplit_once('.').unwrap();
/// #         (format!("{}.{role}", timm.module(module)), tensor)
/// #     })
/// #     .collect();
/// let (_, report) = architecture.load_with(&weights, &LoadOptions::new())?;
/// let renamed = report.renamed.unwrap();
/// assert_eq!(renamed.source, "timm");
/// assert_eq!(renamed.tensors[0], ("conv_stem.weight".to_owned(), "features.0.0.weight".to_owned()));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renamed {
    /// Where the names are from: `timm`.
    pub source: String,
    /// What a user should know about weights with these names, as a sentence; empty if nothing.
    pub remark: String,
    /// The name of each tensor in the state dict, without the prefix, and in the network.
    pub tensors: Vec<(String, String)>,
}

/// A tensor that was initialized at random.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::Linear;
/// use posterize::{Architecture, LoadOptions, StateDict};
///
/// let architecture = Architecture::trace(&Sequential::new().then(Linear::new(4, 2)))?;
/// let options = LoadOptions::new().new_classifier(0);
/// let (_, report) = architecture.load_with(&StateDict::new(), &options)?;
/// let weight = &report.initialized[0];
/// assert_eq!((weight.name.as_str(), weight.shape.as_slice()), ("0.weight", &[2, 4][..]));
/// assert_eq!(weight.replaced, None);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTensor {
    /// Its name in the network's state dict.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The shape of the tensor with its name that was not used; `None` if there was none.
    pub replaced: Option<Vec<usize>>,
}

/// Returns the parameters' names in the state dict without their prefix, the prefix, and the naming that
/// they follow; the network's own names and no prefix if they follow none.
fn find_names<'s, 'n>(
    graph: &Graph,
    namings: &'n [Naming],
    state: &'s StateDict,
    parameters: &[NamedParameter],
    classifiers: &BTreeSet<NodeId>,
) -> (Vec<String>, &'s str, Option<&'n Naming>) {
    let own: Vec<String> = parameters.iter().map(|found| found.name.clone()).collect();
    let others = namings.iter().map(|naming| {
        let name = |found: &NamedParameter| {
            format!("{}.{}", naming.module(&graph.node(found.key.0).name), found.key.1)
        };
        (parameters.iter().map(name).collect(), Some(naming))
    });
    let mut candidates: Vec<(Vec<String>, _)> =
        std::iter::once((own, None)).chain(others).collect();
    let prefix_of = |names: &[String], with_classifier: bool| {
        let wanted = parameters
            .iter()
            .zip(names)
            .filter(|(found, _)| with_classifier || !classifiers.contains(&found.key.0));
        state.prefix_of(&wanted.map(|(_, name)| name.as_str()).collect::<Vec<_>>())
    };
    // The classifier may be missing.
    let found = [true, false].into_iter().find_map(|with_classifier| {
        candidates.iter().enumerate().find_map(|(index, (names, _))| {
            prefix_of(names, with_classifier).map(|prefix| (index, prefix))
        })
    });
    let (index, prefix) = found.unwrap_or((0, ""));
    let (names, naming) = candidates.swap_remove(index);
    (names, prefix, naming)
}

/// Loads the weights of a state dict as far as the options allow. Their names may follow one of the
/// namings.
pub(crate) fn load(
    graph: &Graph,
    namings: &[Naming],
    state: &StateDict,
    options: &LoadOptions,
) -> Result<(Parameters, LoadReport)> {
    let classifiers = classifiers(graph);
    let of_classifier = |found: &NamedParameter| classifiers.contains(&found.key.0);
    let parameters = graph.parameters();
    let (names, prefix, naming) = find_names(graph, namings, state, &parameters, &classifiers);
    let keys: HashMap<ParameterKey, String> = parameters
        .iter()
        .zip(&names)
        .map(|(found, name)| (found.key, format!("{prefix}{name}")))
        .collect();
    let key_of = |found: &NamedParameter| keys[&found.key].as_str();
    let mut mismatch = state.mismatch(
        graph.kind(),
        prefix,
        parameters.iter().map(|found| Wanted {
            key: key_of(found),
            name: &found.name,
            shape: &found.parameter.shape,
        }),
    );
    let mut report = LoadReport { prefix: prefix.to_owned(), ..LoadReport::default() };
    let mut initial = options.new_classifier.map(InitialValues::new);
    let mut new = HashSet::new();
    if initial.is_some() {
        for &node in &classifiers {
            let differs = |found: &NamedParameter| {
                state
                    .get(key_of(found))
                    .is_none_or(|tensor| has_other_outputs(&found.parameter.shape, tensor.shape()))
            };
            if graph.parameters_of(node).all(|found| differs(&found)) {
                new.extend(graph.parameters_of(node).map(|found| found.name));
            }
        }
        mismatch.missing.retain(|name| !new.contains(name));
        mismatch.mis_shaped.retain(|(name, ..)| !new.contains(name));
    }
    if options.ignore_extra {
        report.ignored = std::mem::take(&mut mismatch.unexpected);
    }
    if !mismatch.is_empty() {
        mismatch.cause = cause(&mismatch, &parameters, of_classifier);
        return Err(Error::StateDict(Box::new(mismatch)));
    }
    report.renamed = naming.map(|naming| Renamed {
        source: naming.source.clone(),
        remark: naming.remark.clone(),
        tensors: names
            .into_iter()
            .zip(&parameters)
            .filter(|(_, found)| state.get(key_of(found)).is_some())
            .map(|(name, found)| (name, found.name.clone()))
            .filter(|(theirs, ours)| theirs != ours)
            .collect(),
    });
    let mut loaded = Parameters::new();
    for found in parameters {
        let key = keys[&found.key].as_str();
        let tensor = match &mut initial {
            Some(initial) if new.contains(&found.name) => {
                report.initialized.push(NewTensor {
                    shape: found.parameter.shape.clone(),
                    replaced: state.get(key).map(|tensor| tensor.shape().to_vec()),
                    name: found.name,
                });
                initial.of(&found.parameter)
            }
            _ => {
                let Some(tensor) = state.float(key) else { continue };
                check_variance(&found, tensor.data())?;
                tensor.clone()
            }
        };
        loaded.insert(found.key, Arc::new(tensor));
    }
    Ok((loaded, report))
}

/// Checks that a running variance is not negative.
///
/// # Errors
/// Returns [`Error::Layer`] with the first negative value.
pub(crate) fn check_variance(found: &NamedParameter, values: &[f32]) -> Result<()> {
    if found.parameter.role != Role::RunningVar {
        return Ok(());
    }
    match values.iter().position(|&variance| variance < 0.0) {
        Some(index) => Err(Error::layer(
            &found.name,
            format!(
                "value {index} is {}, but a variance is at least 0: the weights are damaged; load \
                 another checkpoint",
                values[index]
            ),
        )),
        None => Ok(()),
    }
}

/// Returns for every output the last layer with parameters that leads to it.
fn classifiers(graph: &Graph) -> BTreeSet<NodeId> {
    let last_layer = |output: NodeId| {
        let mut leads = vec![false; graph.nodes().len()];
        leads[output.0] = true;
        (0..=output.0).rev().map(NodeId).find(|&id| {
            if !leads[id.0] {
                return false;
            }
            for input in &graph.node(id).inputs {
                leads[input.0] = true;
            }
            graph.parameters_of(id).next().is_some()
        })
    };
    graph.outputs().iter().filter_map(|output| last_layer(output.node)).collect()
}

/// Returns whether two shapes differ in the first size, and only in it.
fn has_other_outputs(expected: &[usize], found: &[usize]) -> bool {
    match (expected, found) {
        ([outputs, rest @ ..], [other, others @ ..]) => outputs != other && rest == others,
        _ => false,
    }
}

/// Returns whether two shapes differ in the second size, and only in it.
fn has_other_inputs(expected: &[usize], found: &[usize]) -> bool {
    match (expected, found) {
        ([outputs, inputs, rest @ ..], [same, other, others @ ..]) => {
            outputs == same && inputs != other && rest == others
        }
        _ => false,
    }
}

/// Returns the probable cause of differences.
fn cause(
    mismatch: &StateDictMismatch,
    parameters: &[NamedParameter],
    of_classifier: impl Fn(&NamedParameter) -> bool,
) -> Option<MismatchCause> {
    // Of a network that is only a classifier, nothing else can fit.
    let has_body = !parameters.iter().all(&of_classifier);
    let classifier: HashSet<&str> = parameters
        .iter()
        .filter(|found| has_body && of_classifier(found))
        .map(|found| found.name.as_str())
        .collect();
    let in_classifier = |name: &String| classifier.contains(name.as_str());
    let is_stem = |name: &String| parameters.first().is_some_and(|first| first.name == *name);
    let StateDictMismatch { missing, mis_shaped, .. } = mismatch;
    match mis_shaped.as_slice() {
        [] if !missing.is_empty() && missing.iter().all(in_classifier) => {
            Some(MismatchCause::NoClassifier)
        }
        [(name, model, file), rest @ ..]
            if missing.is_empty()
                && is_stem(name)
                && has_other_inputs(model, file)
                && rest.iter().all(|(name, ..)| in_classifier(name)) =>
        {
            Some(MismatchCause::InputChannels { model: model[1], file: file[1] })
        }
        [(_, model, file), ..]
            if missing.is_empty()
                && mis_shaped.iter().all(|(name, expected, found)| {
                    in_classifier(name) && has_other_outputs(expected, found)
                }) =>
        {
            Some(MismatchCause::NumClasses { model: model[0], file: file[0] })
        }
        _ => MismatchCause::of_names_and_shapes(mismatch),
    }
}
