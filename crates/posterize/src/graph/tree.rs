//! The module tree of a network, printed as in PyTorch.

use std::fmt;

use super::{Graph, Node};
use crate::error::{Error, Result};
use crate::ops::Leaf;

/// Returns how a node of a float graph is printed; `None` for function calls, which PyTorch does
/// not print.
pub fn float_leaf(node: &Node) -> Option<Leaf> {
    node.is_module.then(|| node.op.leaf())
}

/// A module and all modules below it. It is displayed as in PyTorch.
///
/// ```
/// use posterize::Architecture;
/// use posterize::nn::Sequential;
/// use posterize::ops::{Activation, Linear};
///
/// let net = Sequential::new().then(Linear::new(4, 2)).then(Activation::ReLU);
/// let tree = Architecture::trace(&net)?.module("")?;
/// let expected = "\
/// Sequential(
///   (0): Linear(in_features=4, out_features=2, bias=True)
///   (1): ReLU(inplace=True)
/// )";
/// assert_eq!(tree.to_string(), expected);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug)]
pub struct ModuleTree {
    name: String,
    kind: String,
    leaf: Option<Leaf>,
    children: Vec<ModuleTree>,
}

impl ModuleTree {
    /// Returns the module of `graph` at `path` and all modules below it; an empty path is the whole
    /// network.
    ///
    /// `leaf` returns how a node is printed, or `None` if it is not printed.
    ///
    /// # Errors
    /// Returns an error that lists the existing names if there is no module at that path.
    pub fn new(
        graph: &Graph,
        path: &str,
        leaf: &dyn Fn(super::NodeId, &Node) -> Option<Leaf>,
    ) -> Result<Self> {
        let mut root = Self {
            name: String::new(),
            kind: graph.kind().to_owned(),
            leaf: None,
            children: Vec::new(),
        };
        for module in graph.modules().iter().filter(|module| !module.path.is_empty()) {
            root.insert(&module.path).kind.clone_from(&module.kind);
        }
        for (id, node) in graph.iter() {
            if let Some(leaf) = leaf(id, node) {
                root.insert(&node.name).leaf = Some(leaf);
            }
        }
        root.descend(path)
    }

    fn insert(&mut self, path: &str) -> &mut Self {
        let mut at = self;
        for name in path.split('.') {
            let place = at.children.iter().position(|child| child.name == name);
            let place = place.unwrap_or_else(|| {
                at.children.push(Self {
                    name: name.to_owned(),
                    kind: "Module".into(),
                    leaf: None,
                    children: Vec::new(),
                });
                at.children.len() - 1
            });
            at = &mut at.children[place];
        }
        at
    }

    fn descend(mut self, path: &str) -> Result<Self> {
        if path.is_empty() {
            return Ok(self);
        }
        let mut walked = String::new();
        for name in path.split('.') {
            let Some(place) = self.children.iter().position(|child| child.name == name) else {
                let names: Vec<&str> =
                    self.children.iter().map(|child| child.name.as_str()).collect();
                let within = if walked.is_empty() { "the model" } else { &walked };
                let choice = if names.is_empty() {
                    "is a layer, which has no modules below it".to_owned()
                } else {
                    format!("has the modules {}", names.join(", "))
                };
                return Err(Error::layer(path, format!("no such module; {within} {choice}")));
            };
            walked = if walked.is_empty() { name.to_owned() } else { format!("{walked}.{name}") };
            self = self.children.swap_remove(place);
        }
        Ok(self)
    }

    fn write(&self, f: &mut dyn fmt::Write, indent: usize) -> fmt::Result {
        if let Some(leaf) = &self.leaf {
            return leaf.write(f, indent);
        }
        if self.children.is_empty() {
            return write!(f, "{}()", self.kind);
        }
        writeln!(f, "{}(", self.kind)?;
        for child in &self.children {
            write!(f, "{:1$}({2}): ", "", indent + 2, child.name)?;
            child.write(f, indent + 2)?;
            f.write_char('\n')?;
        }
        write!(f, "{:1$})", "", indent)
    }
}

impl fmt::Display for ModuleTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::{Module, Sequential, Tracer, Value};
    use crate::ops::{Activation, Add, BatchNorm, Conv2d, Dropout, Linear, Padding};

    struct Net {
        features: Sequential,
        classifier: Sequential,
    }

    impl Module for Net {
        fn kind(&self) -> &'static str {
            "Net"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            let y = cx.call("features", &self.features, x);
            let y = cx.functional("skip_add", Add::new(), &[y, y]);
            let y = cx.mean(y);
            cx.call("classifier", &self.classifier, y)
        }
    }

    #[test]
    fn the_module_tree_prints_as_in_pytorch() {
        let net = Net {
            features: Sequential::new().then(
                Sequential::of_kind("ConvBNReLU")
                    .then(Conv2d::new(3, 8, 3).stride(2).padding(Padding::all(1)).bias(false))
                    .then(BatchNorm::two_d(8))
                    .then(Activation::ReLU),
            ),
            classifier: Sequential::new().then(Dropout::new(0.2)).then(Linear::new(8, 10)),
        };
        let model = crate::Architecture::trace(&net).unwrap();
        let expected = "\
Net(
  (features): Sequential(
    (0): ConvBNReLU(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
      (1): BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
      (2): ReLU(inplace=True)
    )
  )
  (skip_add): FloatFunctional(
    (activation_post_process): Identity()
  )
  (classifier): Sequential(
    (0): Dropout(p=0.2, inplace=False)
    (1): Linear(in_features=8, out_features=10, bias=True)
  )
)";
        assert_eq!(model.module("").unwrap().to_string(), expected);
        assert_eq!(
            model.module("classifier.1").unwrap().to_string(),
            "Linear(in_features=8, out_features=10, bias=True)"
        );
        let error = model.module("features.3").unwrap_err().to_string();
        assert_eq!(error, "features.3: no such module; features has the modules 0");
        let shapes = model.graph().infer(&[2, 3, 32, 32]).unwrap();
        assert_eq!(shapes.last().unwrap().shape, [2, 10]);
        let error = model.graph().infer(&[2, 4, 32, 32]).unwrap_err().to_string();
        assert!(error.starts_with("features.0.0: expected 3 channels, found 4"), "{error}");
    }

    /// A module that only calls functions, none of which is printed.
    struct Pool;

    impl Module for Pool {
        fn kind(&self) -> &'static str {
            "Pool"
        }

        fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
            cx.mean(x)
        }
    }

    #[test]
    fn a_module_without_modules_prints_as_in_pytorch() {
        let net = Sequential::new().then(Pool).then(Linear::new(8, 10));
        let model = crate::Architecture::trace(&net).unwrap().init(0);
        let expected = "\
Sequential(
  (0): Pool()
  (1): Linear(in_features=8, out_features=10, bias=True)
)";
        assert_eq!(model.module("").unwrap().to_string(), expected);
        assert_eq!(model.fuse().unwrap().module("0").unwrap().to_string(), "Pool()");
    }
}
