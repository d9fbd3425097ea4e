//! A node that is rewritten to have an axis in front of those of the file.

use super::super::attributes::Attributes;
use super::super::constant::{Constant, Int, axis};
use super::super::fold::permutation;
use super::super::importer::{Call, Importer, Value};
use super::super::operators;
use super::super::problem::Outcome;
use super::super::proto::AttributeProto;
use super::super::proto::attribute_proto::AttributeType;
use super::shapes::{own, reshaped};

/// A node that is rewritten to have an axis in front of those of the file.
pub(super) struct Rewrite<'c, 'a> {
    call: &'c Call<'a>,
    attributes: Vec<AttributeProto>,
    inputs: Vec<Option<Value<'a>>>,
}

impl<'c, 'a> Rewrite<'c, 'a> {
    pub(super) fn new(call: &'c Call<'a>) -> Self {
        Self { call, attributes: call.attributes.to_vec(), inputs: call.inputs.clone() }
    }

    /// Imports the node.
    pub(super) fn import(self, importer: &mut Importer) -> Outcome<Vec<Value<'a>>> {
        // Values of the file that pass through would live as long as the new attributes alone.
        let call = Call {
            name: self.call.name.clone(),
            op_type: self.call.op_type,
            attributes: Attributes::of(&self.attributes),
            opset: self.call.opset,
            inputs: self.inputs,
            outputs: self.call.outputs,
            external: self.call.external,
            file_batch: None,
        };
        let values = operators::import(importer, &call)?;
        Ok(values.into_iter().map(detached).collect())
    }

    /// Returns the number of axes of the first input in the file.
    fn rank(&self) -> Outcome<usize> {
        Ok(own(self.call.view(0)?).len())
    }

    pub(super) fn set_input(&mut self, index: usize, value: Value<'a>) {
        if self.inputs.len() <= index {
            self.inputs.resize(index + 1, None);
        }
        self.inputs[index] = Some(value);
    }

    fn set(&mut self, attribute: AttributeProto) {
        self.attributes.retain(|other| other.name != attribute.name);
        self.attributes.push(attribute);
    }

    /// Sets integers that are an input since some version, and an attribute before.
    fn set_ints(&mut self, index: usize, name: &str, values: Vec<i64>) {
        if let Some(input) = self.inputs.get_mut(index) {
            *input = None;
        }
        self.set(AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(AttributeType::Ints as i32),
            ints: values,
            ..AttributeProto::default()
        });
    }

    /// Rewrites the attribute `axis`.
    pub(super) fn axis(&mut self, default: i64) -> Outcome<()> {
        let at = axis(self.call.attributes.int("axis", default)?, self.rank()?)?;
        self.set(AttributeProto {
            name: Some("axis".into()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(at as i64 + 1),
            ..AttributeProto::default()
        });
        Ok(())
    }

    /// Rewrites axes of a value of that rank, if the node has them.
    pub(super) fn axes(&mut self, index: usize, rank: usize) -> Outcome<()> {
        if let Some(axes) = self.call.ints(index, "axes")? {
            let axes = axes.iter().map(|&at| axis(at, rank).map(|at| at as i64 + 1));
            let axes = axes.collect::<Result<_, _>>()?;
            self.set_ints(index, "axes", axes);
        }
        Ok(())
    }

    /// Rewrites the axes of a reduction, which are all of them where the node has none.
    pub(super) fn reduced_axes(&mut self) -> Outcome<()> {
        let rank = self.rank()?;
        let is_empty = self.call.ints(1, "axes")?.is_none_or(|axes| axes.is_empty());
        if !is_empty {
            return self.axes(1, rank);
        }
        if self.call.attributes.int("noop_with_empty_axes", 0)? == 0 {
            self.set_ints(1, "axes", (1..=rank as i64).collect());
        }
        Ok(())
    }

    /// Rewrites the axes of a `Slice`, which are the first ones where the node has none.
    pub(super) fn sliced_axes(&mut self) -> Outcome<()> {
        let rank = self.rank()?;
        if self.call.ints(3, "axes")?.is_some() {
            return self.axes(3, rank);
        }
        let starts = self.call.ints(1, "starts")?.unwrap_or_default();
        self.set_ints(3, "axes", (1..=starts.len() as i64).collect());
        Ok(())
    }

    /// Rewrites the permutation of a `Transpose`.
    pub(super) fn permutation(&mut self) -> Outcome<()> {
        let own = permutation(self.call.attributes.ints("perm")?, self.rank()?)?;
        let all = std::iter::once(0).chain(own.into_iter().map(|at| at as i64 + 1));
        self.set_ints(usize::MAX, "perm", all.collect());
        Ok(())
    }

    /// Rewrites the pads of a `Pad`, or its axes.
    pub(super) fn pads(&mut self) -> Outcome<()> {
        if let Some(axes) = self.call.optional(3)? {
            let (axes, rank) = (axes.known_ints()?, self.rank()?);
            let axes = axes.iter().map(|&at| axis(at, rank).map(|at| Int::from(at as i64 + 1)));
            let axes = Constant::ints(axes.collect::<Result<_, _>>()?);
            self.set_input(3, axes.into());
            return Ok(());
        }
        let pads = self.call.ints(1, "pads")?.ok_or("it has no pads")?;
        let (begins, ends) = pads.split_at(pads.len() / 2);
        let pads = [&[0], begins, &[0], ends].concat();
        self.set_ints(1, "pads", pads);
        Ok(())
    }

    /// Puts a size in front of the constant sizes of an input.
    pub(super) fn more_sizes(&mut self, index: usize, first: Int) -> Outcome<()> {
        let own = self.call.constant(index)?;
        let sizes = std::iter::once(first).chain(own.sizes()?.iter().copied());
        self.set_input(index, Constant::ints(sizes.collect()).into());
        Ok(())
    }

    /// Rewrites the shape of a `Reshape`.
    pub(super) fn reshaped(&mut self) -> Outcome<()> {
        let own = self.call.ints(1, "shape")?.ok_or("it has no shape")?;
        let sizes = std::iter::once(Int::BATCH).chain(own.into_iter().map(Int::from));
        self.set_input(1, Constant::ints(sizes.collect()).into());
        Ok(())
    }

    /// Rewrites an `Expand`: value and shape get as many axes.
    pub(super) fn expanded(&mut self) -> Outcome<()> {
        let (x, to) = (self.call.view(0)?, self.call.constant(1)?.known_ints()?);
        let shape = own(x);
        let rank = shape.len().max(to.len());
        let ones = |count: usize| std::iter::repeat_n(1, rank - count);
        let x = reshaped(x, ones(shape.len()).chain(shape.iter().copied()));
        self.set_input(0, x.into());
        let sizes = [1].into_iter().chain(ones(to.len()).map(|one| one as i64)).chain(to.clone());
        self.set_input(1, Constant::ints(sizes.map(Int::from).collect()).into());
        Ok(())
    }

    /// Gives all values the number of axes of the one with most.
    pub(super) fn equal_ranks(&mut self) -> Outcome<()> {
        let mut rank = 0;
        for index in 0..self.inputs.len() {
            rank = rank.max(if self.call.is_constant(index) {
                self.call.constant(index)?.shape.len()
            } else {
                own(self.call.view(index)?).len()
            });
        }
        for index in 0..self.inputs.len() {
            if !self.call.is_constant(index) {
                let x = self.call.view(index)?;
                let shape = own(x);
                let ones = std::iter::repeat_n(1, rank - shape.len());
                self.set_input(index, reshaped(x, ones.chain(shape)).into());
            }
        }
        Ok(())
    }
}

/// Returns a value that was computed, with a lifetime of its own.
fn detached<'a>(value: Value<'_>) -> Value<'a> {
    match value {
        Value::View(view) => Value::View(view),
        Value::Constant(constant) => Value::Constant(constant),
        // Operators return no tensors of the file.
        Value::Initializer(_) | Value::Unknown => Value::Unknown,
    }
}
