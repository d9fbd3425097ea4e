//! The callables that are allowed in a checkpoint.
//!
//! They are those that `torch.save` writes for dense tensors and for containers. None is run (see
//! [`super::call`]). As in `torch.load(weights_only=True)`, any other callable is an error.

use crate::checkpoint::element::Element;
use crate::checkpoint::printable;

/// An allowed callable or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Callable {
    /// `collections.OrderedDict`, `collections.Counter`: dictionaries.
    Dict(&'static str),
    /// `torch.Size`: a tuple.
    Size,
    /// `set`, `frozenset`.
    Set,
    /// `torch.device`.
    Device,
    /// `_codecs.encode`: bytes in protocol 2.
    Encode,
    /// `torch._utils._rebuild_tensor` of PyTorch before 0.4, `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: the element type is an argument.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with attributes.
    RebuildFromType,
    /// `torch.Tensor`, `torch.nn.parameter.Parameter`: as an argument only.
    TensorClass,
    /// `torch.FloatStorage` and the like: as part of a persistent id only.
    Storage(Element),
    /// `torch.float32` and the like: as an argument only.
    Dtype(Element),
}

impl Callable {
    /// Returns the callable with that name, if it is allowed.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::Dict("OrderedDict"),
            ("collections", "Counter") => Self::Dict("Counter"),
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Set,
            ("_codecs", "encode") => Self::Encode,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Self::TensorClass,
            ("torch" | "torch.cuda" | "torch.storage", _) => {
                return Element::of_storage_class(name)
                    .map(Self::Storage)
                    .or_else(|| Element::of_dtype(name).map(Self::Dtype));
            }
            _ => return None,
        })
    }

    /// Returns the name for messages.
    pub(in crate::checkpoint) fn name(self) -> &'static str {
        match self {
            Self::Dict(name) => name,
            Self::Size => "torch.Size",
            Self::Set => "set",
            Self::Device => "torch.device",
            Self::Encode => "_codecs.encode",
            Self::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Self::RebuildTensorV3 => "torch._utils._rebuild_tensor_v3",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::RebuildFromType => "torch._tensor._rebuild_from_type_v2",
            Self::TensorClass => "torch.Tensor",
            Self::Storage(_) => "torch.storage",
            Self::Dtype(_) => "torch.dtype",
        }
    }
}

/// Returns the message for a callable that is not allowed. `rest` is the pickle after its name.
pub(super) fn refusal(module: &[u8], name: &[u8], rest: &[u8]) -> String {
    let callable = format!("{}.{}", printable(module), printable(name));
    let holds = |needle: &[u8]| rest.windows(needle.len()).any(|window| window == needle);
    if module == b"torch._utils" && name.starts_with(b"_rebuild_") {
        return format!(
            "refused, because it calls `{callable}`: only dense tensors are supported, not \
             quantized, sparse, nested or meta tensors. Save the weights of the float model: \
             torch.save(model.state_dict(), \"weights.pth\")"
        );
    }
    if (module, name) == (b"torch.storage", b"_load_from_bytes") {
        return format!(
            "refused, because it calls `{callable}`: it was written by pickle.dump, where each \
             tensor is a nested pickle. Save it with torch.save"
        );
    }
    if module.starts_with(b"torch.nn.modules.") || (holds(b"_parameters") && holds(b"_modules")) {
        return format!(
            "refused, because it contains a whole pickled model (its class is `{callable}`), as \
             torch.save(model) writes it, and loading it runs the code of the model's classes. \
             Save only the weights, in a Python environment that has these classes: \
             torch.save(model.state_dict(), \"weights.pth\")"
        );
    }
    format!(
        "refused, because it would run code: it calls `{callable}`, and a checkpoint may contain \
         only tensors, dictionaries, lists, strings and numbers. If you trust the file, load it \
         in PyTorch and save only its weights: torch.save(model.state_dict(), \"weights.pth\"), \
         or save them as safetensors"
    )
}
