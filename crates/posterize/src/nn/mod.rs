//! Modules, and tracing, which turns a module into a graph.
//!
//! An architecture is written like a module in PyTorch: a struct of layers with a `forward` that
//! calls them by name. [`trace`] runs `forward` once with symbolic values and records the
//! [`Graph`](crate::graph::Graph).
//!
//! ```
//! use posterize::nn::{Module, Tracer, Value, trace};
//! use posterize::ops::{Activation, Conv2d, Padding};
//!
//! struct Block {
//!     conv: Conv2d,
//! }
//!
//! impl Module for Block {
//!     fn kind(&self) -> &str {
//!         "Block"
//!     }
//!     fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
//!         let y = cx.call("conv", &self.conv, x);
//!         let y = cx.call("relu", &Activation::ReLU, y);
//!         cx.add(x, y)
//!     }
//! }
//!
//! let block = Block { conv: Conv2d::new(8, 8, 3).padding(Padding::all(1)) };
//! let graph = trace(&block)?;
//! assert_eq!(graph.nodes()[1].name, "conv");
//! assert_eq!(graph.nodes()[3].name, "add");
//! # Ok::<(), posterize::Error>(())
//! ```
//!
//! A module may have several inputs and outputs: they are the type parameters of [`Module`].
//!
//! ```
//! use posterize::nn::{Module, Tracer, Value, trace_with};
//! use posterize::ops::Linear;
//!
//! struct TwoHeads {
//!     class: Linear,
//!     place: Linear,
//! }
//!
//! impl Module<Value, [Value; 2]> for TwoHeads {
//!     fn kind(&self) -> &str {
//!         "TwoHeads"
//!     }
//!     fn forward(&self, cx: &mut Tracer, x: Value) -> [Value; 2] {
//!         [cx.call("class", &self.class, x), cx.call("place", &self.place, x)]
//!     }
//! }
//!
//! let heads = TwoHeads { class: Linear::new(16, 10), place: Linear::new(16, 4) };
//! let graph = trace_with("Net", &["features"], |cx, inputs| {
//!     let [class, place] = cx.call("heads", &heads, inputs[0]);
//!     vec![("class", class), ("place", place)]
//! })?;
//! assert_eq!(graph.outputs()[1].name, "place");
//! # Ok::<(), posterize::Error>(())
//! ```

mod sequential;
mod tracer;

pub use sequential::Sequential;
pub use tracer::{Module, Tracer, Value, trace, trace_with};

pub use crate::ops::{
    Activation, AdaptiveAvgPool2d, AdaptiveMaxPool2d, ArgMax, AvgPool2d, BatchNorm, Conv2d,
    ConvTranspose2d, DeQuantStub, Dropout, ELU, Flatten, GELU, GroupNorm, Hardsigmoid, Hardswish,
    Hardtanh, InstanceNorm, LayerNorm, LeakyReLU, Linear, LocalResponseNorm, LogSoftmax, MaxPool2d,
    Mean, Mish, PReLU, QuantStub, SELU, SiLU, Sigmoid, Softmax, Softplus, Tanh, Upsample,
    ZeroPad2d,
};
