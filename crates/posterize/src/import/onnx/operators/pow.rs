//! Powers.

use super::super::constant::{Constant, Data};
use super::super::fold::broadcast_positions;
use super::super::importer::{Call, Importer};
use super::super::problem::{Outcome, unsupported};
use super::super::view::View;
use crate::ops::{Cat, Gather, Pow};

/// The largest number of different exponents.
const MAX_EXPONENTS: usize = 64;

/// The largest number of values with an exponent each.
const MAX_VALUES: usize = 1 << 20;

/// `Pow` with constant exponents.
pub(super) fn pow(importer: &mut Importer, call: &Call<'_>) -> Outcome<View> {
    let x = call.view(0)?.clone();
    let exponents = call.constant(1)?;
    if let Some(exponent) = exponents.single() {
        let node = importer.push(&call.name, Pow::new(exponent), &[x.node])?.node;
        return Ok(x.on(node));
    }
    several(importer, &call.name, &x, &exponents)
}

/// Adds the powers with each of the exponents, and chooses one for each value.
fn several(importer: &mut Importer, name: &str, x: &View, exponents: &Constant) -> Outcome<View> {
    let shape = x.shape();
    let behind = shape.len().checked_sub(exponents.shape.len());
    let fits = behind.is_some_and(|behind| {
        let pairs = exponents.shape.iter().zip(&shape[behind..]);
        pairs.enumerate().all(|(at, (&e, &x))| e == 1 || (e == x && x != 1 && at + behind > 0))
    });
    if !fits || x.batch != Some(0) {
        return unsupported(format!(
            "with exponents of shape {:?} for a value of {shape:?}",
            exponents.shape
        ));
    }
    let values: Vec<f32> = match &exponents.data {
        Data::Float(values) => values.clone(),
        Data::Int(_) => exponents.known_ints()?.into_iter().map(|value| value as f32).collect(),
    };
    let mut different: Vec<f32> = values.clone();
    different.sort_by(f32::total_cmp);
    different.dedup();
    if different.len() > MAX_EXPONENTS {
        return unsupported(format!("with {} different exponents", different.len()));
    }
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let Some(count) = count.filter(|&count| count <= MAX_VALUES) else {
        return unsupported(format!("with an exponent for each value of {shape:?}"));
    };
    let flat = importer.node(&x.clone().reshape(vec![1, count], Some(0)), name)?;
    let mut powers = Vec::with_capacity(different.len());
    for &exponent in &different {
        powers.push(importer.push(&format!("{name}.power"), Pow::new(exponent), &[flat])?.node);
    }
    let all = match *powers {
        [one] => one,
        _ => importer.push(&format!("{name}.powers"), Cat::new(1), &powers)?.node,
    };
    let place = |value: f32| different.iter().position(|&other| other == value).unwrap_or(0);
    let places = broadcast_positions(&exponents.shape, &shape).into_iter().enumerate();
    let chosen: Vec<usize> =
        places.map(|(index, from)| place(values[from]) * count + index).collect();
    Ok(importer.push(name, Gather::new(1, chosen), &[all])?.reshape(shape, Some(0)))
}
