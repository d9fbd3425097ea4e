//! Interpreting calls. No callable is run: a call only gives data.
//!
//! Arguments are borrowed and what a call copies is charged before, because a pickle can call again
//! and again, in a few bytes, with one large container from the memo.

use super::allowance::Allowance;
use super::callable::Callable;
use super::value::{Object, Storage, TensorView, Value};
use crate::checkpoint::Parsed;
use crate::checkpoint::decode::Layout;

/// Returns the result of a call. `objects` is the arena, and the values that are copied are taken
/// from `allowance`.
pub(super) fn call<'a>(
    callable: Callable,
    arguments: &[Value<'a>],
    objects: &[Object<'a>],
    allowance: &mut Allowance,
) -> Parsed<Outcome<'a>> {
    let sequence = |value: Value<'a>| match value {
        Value::Object(handle) => match objects.get(handle.0 as usize) {
            Some(Object::Tuple(items) | Object::List(items)) => Some(items.as_slice()),
            _ => None,
        },
        _ => None,
    };
    let new = |object| Ok(Outcome::New(object));
    let malformed = || {
        format!(
            "a call of {} has unexpected arguments ({} of them): the file is damaged",
            callable.name(),
            arguments.len()
        )
    };
    match (callable, arguments) {
        (Callable::Dict(_), []) => new(Object::Dict(Vec::new())),
        (Callable::Dict(_), &[items]) => {
            if let Value::Object(handle) = items
                && let Some(Object::Dict(entries)) = objects.get(handle.0 as usize)
            {
                allowance.spend(2 * entries.len())?;
                return new(Object::Dict(entries.clone()));
            }
            // Python 2 pickles an OrderedDict as a list of pairs.
            let pairs = sequence(items).ok_or_else(malformed)?;
            allowance.spend(2 * pairs.len())?;
            let entries = pairs.iter().map(|&pair| match sequence(pair) {
                Some(&[key, value]) => Ok((key, value)),
                _ => Err(malformed()),
            });
            new(Object::Dict(entries.collect::<Parsed<_>>()?))
        }
        (Callable::Size, &[items]) => {
            let items = sequence(items).ok_or_else(malformed)?;
            allowance.spend(items.len())?;
            new(Object::Tuple(items.to_vec()))
        }
        (Callable::Set, [] | [_]) => new(Object::Other("set")),
        (Callable::Device, [_] | [_, _]) => new(Object::Other("device")),
        (Callable::Encode, [_] | [_, _] | [_, _, _]) => new(Object::Other("bytes object")),
        // Whether it requires a gradient, hooks and metadata follow.
        (Callable::RebuildTensor, &[storage, offset, shape, strides, ref rest @ ..])
            if rest.len() <= 3 =>
        {
            let storage = storage_of(storage, objects).ok_or_else(malformed)?;
            let layout = layout(offset, sequence(shape), sequence(strides), allowance)?;
            let element = storage.element;
            new(Object::Tensor(Box::new(TensorView { storage, element, layout })))
        }
        (
            Callable::RebuildTensorV3,
            &[
                storage,
                offset,
                shape,
                strides,
                _,
                _,
                Value::Callable(Callable::Dtype(element)),
                ref metadata @ ..,
            ],
        ) if metadata.len() <= 1 => {
            let storage = storage_of(storage, objects).ok_or_else(malformed)?;
            let layout = layout(offset, sequence(shape), sequence(strides), allowance)?;
            new(Object::Tensor(Box::new(TensorView { storage, element, layout })))
        }
        // Whether it requires a gradient, hooks and attributes follow.
        (Callable::RebuildParameter, &[tensor, ref rest @ ..]) if rest.len() <= 3 => {
            Ok(Outcome::Argument(tensor))
        }
        (
            Callable::RebuildFromType,
            &[Value::Callable(inner), _class, arguments, ref attributes @ ..],
        ) if attributes.len() <= 1
            && matches!(
                inner,
                Callable::RebuildTensor | Callable::RebuildTensorV3 | Callable::RebuildParameter
            ) =>
        {
            call(inner, sequence(arguments).ok_or_else(malformed)?, objects, allowance)
        }
        _ => Err(malformed()),
    }
}

/// The result of a call: a new object, or one of its arguments.
pub(super) enum Outcome<'a> {
    New(Object<'a>),
    Argument(Value<'a>),
}

fn storage_of<'a>(value: Value<'a>, objects: &[Object<'a>]) -> Option<Storage<'a>> {
    match value {
        Value::Object(handle) => match objects.get(handle.0 as usize)? {
            Object::Storage(storage) => Some(*storage),
            _ => None,
        },
        _ => None,
    }
}

fn layout(
    offset: Value<'_>,
    shape: Option<&[Value<'_>]>,
    strides: Option<&[Value<'_>]>,
    allowance: &mut Allowance,
) -> Parsed<Layout> {
    allowance.spend(shape.map_or(0, <[_]>::len) + strides.map_or(0, <[_]>::len))?;
    let number = |value: &Value<'_>| match value {
        Value::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    let numbers = |values: Option<&[Value<'_>]>| -> Option<Vec<usize>> {
        values?.iter().map(number).collect()
    };
    let malformed =
        || "expected the shape, strides and offset of a tensor to be integers from 0 on";
    Layout::new(
        numbers(shape).ok_or_else(malformed)?,
        numbers(strides).ok_or_else(malformed)?,
        number(&offset).ok_or_else(malformed)?,
    )
}
