//! Attributes of a node, with their types checked.

use super::problem::Outcome;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::error::printable;

/// The attributes of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [AttributeProto]);

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self(&node.attribute)
    }

    /// Creates the attributes of a node that is not in the file.
    pub(super) fn of(attributes: &'a [AttributeProto]) -> Self {
        Self(attributes)
    }

    /// Returns copies of the attributes.
    pub(super) fn to_vec(self) -> Vec<AttributeProto> {
        self.0.to_vec()
    }

    /// Returns the attribute of that name, of one of these types. Files of early versions have no
    /// types.
    fn find(&self, name: &str, types: &[AttributeType]) -> Outcome<Option<&'a AttributeProto>> {
        let Some(found) = self.0.iter().find(|attribute| attribute.name() == name) else {
            return Ok(None);
        };
        let kind = found.r#type();
        if kind != AttributeType::Undefined && !types.contains(&kind) {
            return Err(format!(
                "the attribute `{name}` is of type {}; expected {}",
                kind.as_str_name(),
                types[0].as_str_name()
            )
            .into());
        }
        Ok(Some(found))
    }

    /// Returns whether there is an attribute of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.name() == name)
    }

    /// Returns an integer, or its default.
    pub(super) fn int(&self, name: &str, default: i64) -> Outcome<i64> {
        let found = self.find(name, &[AttributeType::Int])?;
        Ok(found.and_then(|attribute| attribute.i).unwrap_or(default))
    }

    /// Returns a float, or its default.
    pub(super) fn float(&self, name: &str, default: f32) -> Outcome<f32> {
        let found = self.find(name, &[AttributeType::Float])?;
        Ok(found.and_then(|attribute| attribute.f).unwrap_or(default))
    }

    /// Returns integers; `None` if the attribute is absent.
    pub(super) fn ints(&self, name: &str) -> Outcome<Option<&'a [i64]>> {
        let found = self.find(name, &[AttributeType::Ints])?;
        Ok(found.map(|attribute| attribute.ints.as_slice()))
    }

    /// Returns floats; `None` if the attribute is absent.
    pub(super) fn floats(&self, name: &str) -> Outcome<Option<&'a [f32]>> {
        let found = self.find(name, &[AttributeType::Floats])?;
        Ok(found.map(|attribute| attribute.floats.as_slice()))
    }

    /// Returns sizes, one for each axis, or `default` for each.
    ///
    /// # Errors
    /// Returns an error if there is another number of them, or if one is below `min`.
    pub(super) fn sizes(
        &self,
        name: &str,
        axes: usize,
        default: usize,
        min: usize,
    ) -> Outcome<Vec<usize>> {
        let Some(values) = self.ints(name)? else { return Ok(vec![default; axes]) };
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|&value| usize::try_from(value).ok().filter(|&value| value >= min))
            .collect();
        match sizes {
            Some(sizes) if sizes.len() == axes => Ok(sizes),
            _ => Err(format!(
                "the attribute `{name}` is {values:?}; expected {axes} integers of at least {min}"
            )
            .into()),
        }
    }

    /// Returns a string, or its default.
    pub(super) fn string(&self, name: &str, default: &'static str) -> Outcome<&'a str> {
        let Some(found) = self.find(name, &[AttributeType::String])? else { return Ok(default) };
        let bytes = found.s.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| {
            format!("the attribute `{name}` is not UTF-8: {}", printable(bytes)).into()
        })
    }

    /// Returns a graph; `None` if the attribute is absent.
    pub(super) fn graph(&self, name: &str) -> Outcome<Option<&'a GraphProto>> {
        let found = self.find(name, &[AttributeType::Graph])?;
        Ok(found.and_then(|attribute| attribute.g.as_ref()))
    }

    /// Returns a tensor; `None` if the attribute is absent.
    pub(super) fn tensor(&self, name: &str) -> Outcome<Option<&'a TensorProto>> {
        let found = self.find(name, &[AttributeType::Tensor])?;
        Ok(found.and_then(|attribute| attribute.t.as_ref()))
    }
}
