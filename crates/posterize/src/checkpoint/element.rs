//! The element types that `torch.save` and safetensors write.

/// The type of the values in a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    /// A type that is not supported for weights: PyTorch's name and the size in bytes.
    Unsupported(&'static str, usize),
}

impl Element {
    /// Returns the size of a value in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::Unsupported(_, size) => size,
        }
    }

    /// Returns PyTorch's name of the type: `float32`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
            Self::Unsupported(name, _) => name,
        }
    }

    /// Returns the element type of a storage class (`FloatStorage`). That of an untyped storage is
    /// a byte.
    pub(super) fn of_storage_class(name: &str) -> Option<Self> {
        Some(match name {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "CharStorage" => Self::I8,
            "ShortStorage" => Self::I16,
            "IntStorage" => Self::I32,
            "LongStorage" => Self::I64,
            "ByteStorage" | "UntypedStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            "ComplexFloatStorage" => Self::Unsupported("complex64", 8),
            "ComplexDoubleStorage" => Self::Unsupported("complex128", 16),
            "QInt8Storage" => Self::Unsupported("qint8", 1),
            "QUInt8Storage" => Self::Unsupported("quint8", 1),
            "QInt32Storage" => Self::Unsupported("qint32", 4),
            "QUInt4x2Storage" => Self::Unsupported("quint4x2", 1),
            "QUInt2x4Storage" => Self::Unsupported("quint2x4", 1),
            _ => return None,
        })
    }

    /// Returns the element type of a `torch.dtype` (`float32`).
    pub(super) fn of_dtype(name: &str) -> Option<Self> {
        Some(match name {
            "float16" | "half" => Self::F16,
            "bfloat16" => Self::Bf16,
            "float32" | "float" => Self::F32,
            "float64" | "double" => Self::F64,
            "int8" => Self::I8,
            "int16" | "short" => Self::I16,
            "int32" | "int" => Self::I32,
            "int64" | "long" => Self::I64,
            "uint8" => Self::U8,
            "uint16" => Self::U16,
            "uint32" => Self::U32,
            "uint64" => Self::U64,
            "bool" => Self::Bool,
            "complex64" => Self::Unsupported("complex64", 8),
            "complex128" => Self::Unsupported("complex128", 16),
            "float8_e4m3fn" => Self::Unsupported("float8_e4m3fn", 1),
            "float8_e5m2" => Self::Unsupported("float8_e5m2", 1),
            "float8_e4m3fnuz" => Self::Unsupported("float8_e4m3fnuz", 1),
            "float8_e5m2fnuz" => Self::Unsupported("float8_e5m2fnuz", 1),
            "float8_e8m0fnu" => Self::Unsupported("float8_e8m0fnu", 1),
            _ => return None,
        })
    }
}
