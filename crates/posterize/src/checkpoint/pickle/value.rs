//! The values of a pickle, which are in an arena.

use super::callable::Callable;
use crate::checkpoint::decode::Layout;
use crate::checkpoint::element::Element;
use crate::checkpoint::printable;

/// A Python value. Strings are borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits: two's complement, little-endian.
    Long(&'a [u8]),
    Float(f64),
    Str(&'a str),
    /// Bytes, or a string that is not UTF-8.
    Bytes,
    Callable(Callable),
    Object(Handle),
}

/// The index of an [`Object`] in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::checkpoint) struct Handle(pub(super) u32);

/// A Python object that may contain others.
#[derive(Debug)]
pub(in crate::checkpoint) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    /// The entries in order of insertion. A later entry replaces an earlier one with the same key.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Box<TensorView<'a>>),
    /// An object that is not needed for weights: its Python type.
    Other(&'static str),
}

/// A storage, as described by a persistent id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Storage<'a> {
    pub(in crate::checkpoint) key: &'a str,
    pub(in crate::checkpoint) element: Element,
    /// The number of elements in the file.
    pub(in crate::checkpoint) count: usize,
    /// The index of its first element. It is zero in all files except those of PyTorch before 0.4.
    pub(in crate::checkpoint) view_offset: usize,
}

/// A tensor whose values are in the file.
#[derive(Clone, Debug)]
pub(in crate::checkpoint) struct TensorView<'a> {
    pub(in crate::checkpoint) storage: Storage<'a>,
    pub(in crate::checkpoint) element: Element,
    pub(in crate::checkpoint) layout: Layout,
}

/// A pickle that was read.
#[derive(Debug)]
pub(in crate::checkpoint) struct Pickle<'a> {
    /// The pickled value.
    pub(in crate::checkpoint) root: Value<'a>,
    /// The size in bytes.
    pub(in crate::checkpoint) length: usize,
    pub(super) objects: Vec<Object<'a>>,
}

impl<'a> Pickle<'a> {
    /// Returns the object that `value` refers to.
    pub(in crate::checkpoint) fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(Handle(index)) => self.objects.get(index as usize),
            _ => None,
        }
    }

    /// Returns the entries of a dictionary.
    pub(in crate::checkpoint) fn dict(
        &self,
        value: Value<'a>,
    ) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.object(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the tensor that `value` refers to.
    pub(in crate::checkpoint) fn tensor(&self, value: Value<'a>) -> Option<&TensorView<'a>> {
        match self.object(value)? {
            Object::Tensor(view) => Some(view),
            _ => None,
        }
    }

    /// Returns all storages of the pickle.
    pub(in crate::checkpoint) fn storages(&self) -> impl Iterator<Item = Storage<'a>> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(*storage),
            _ => None,
        })
    }

    /// Returns the kind of a value, for messages.
    pub(in crate::checkpoint) fn describe(&self, value: Value<'a>) -> String {
        match value {
            Value::None => "None".into(),
            Value::Bool(_) => "a bool".into(),
            Value::Int(_) | Value::Long(_) => "an int".into(),
            Value::Float(_) => "a float".into(),
            Value::Str(text) => format!("the string \"{}\"", printable(text.as_bytes())),
            Value::Bytes => "bytes".into(),
            Value::Callable(callable) => format!("the class {}", callable.name()),
            Value::Object(_) => match self.object(value) {
                Some(Object::Tuple(items)) => format!("a tuple of {}", items.len()),
                Some(Object::List(items)) => format!("a list of {}", items.len()),
                Some(Object::Dict(entries)) => format!("a dictionary of {}", entries.len()),
                Some(Object::Storage(_)) => "a storage".into(),
                Some(Object::Tensor(_)) => "a tensor".into(),
                Some(Object::Other(name)) => format!("a {name}"),
                None => "nothing".into(),
            },
        }
    }
}
