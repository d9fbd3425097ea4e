//! A node whose inputs are constants.

use super::super::attributes::Attributes;
use super::super::constant::Constant;
use super::super::problem::Outcome;

/// A node whose inputs are constants.
#[derive(Debug)]
pub(in super::super) struct Folded<'a> {
    pub(in super::super) op_type: &'a str,
    pub(in super::super) attributes: Attributes<'a>,
    /// Its inputs; `None` for an optional one that is left out.
    pub(in super::super) inputs: Vec<Option<&'a Constant>>,
    /// The number of its outputs.
    pub(in super::super) outputs: usize,
}

impl<'a> Folded<'a> {
    /// Returns an input that must be there.
    pub(super) fn input(&self, index: usize) -> Outcome<&'a Constant> {
        self.optional(index).ok_or_else(|| format!("input {index} is missing").into())
    }

    /// Returns an input that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&'a Constant> {
        self.inputs.get(index).copied().flatten()
    }

    /// Returns integers that are an input since some version, and an attribute before.
    pub(super) fn ints(&self, index: usize, name: &str) -> Outcome<Option<Vec<i64>>> {
        match self.optional(index) {
            Some(constant) => Ok(Some(constant.known_ints()?)),
            None => Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec)),
        }
    }
}
