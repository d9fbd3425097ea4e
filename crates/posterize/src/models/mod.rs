//! Architectures with the parameter names and shapes of their published checkpoints.
//!
//! ```
//! use posterize::models::{self, Config};
//!
//! let small = Config { width_mult: 0.35, num_classes: 10, ..Config::default() };
//! let model = models::mobilenet_v2(&small)?.init(0);
//! assert_eq!(model.graph().kind(), "MobileNetV2");
//!
//! let by_name = models::by_name("resnet50", &Config::default())?;
//! assert_eq!(by_name.graph().infer(&[1, 3, 224, 224])?.last().unwrap().shape, [1, 1000]);
//! # Ok::<(), posterize::Error>(())
//! ```

mod architectures;
mod config;
mod efficientnet_lite;
mod fashion_mnist;
mod layers;
mod mobilenet_v2;
mod registry;
mod resnet;

pub use architectures::{efficientnet_lite, mobilenet_v2, resnet18, resnet50, tf_mobilenet_v2};
pub use config::Config;
pub use efficientnet_lite::EfficientNetLite;
pub use mobilenet_v2::MobileNetV2;
#[cfg(feature = "data")]
pub use registry::augmentation;
pub use registry::{by_name, config, names, preprocessing};
pub use resnet::ResNet;
