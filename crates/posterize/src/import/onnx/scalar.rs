//! Functions of one element that a file writes out in several operators.
//!
//! Files write hard-swish as `x · clip(x + 3, 0, 6) / 6`, SiLU as `x · sigmoid(x)`, GELU as
//! `0.5 · x · (1 + erf(x / √2))`, with the factors in any order. During import, a node that is such
//! an expression of an earlier node is kept with its coefficients; when they become those of an
//! operator, that operator is used. What is not needed then is left out of the graph.

use std::f32::consts::SQRT_2;

use crate::graph::NodeId;

/// A function within an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    /// The value itself.
    Identity,
    /// A value within bounds.
    Clip {
        min: f32,
        max: f32,
    },
    Sigmoid,
    Erf,
    /// The hyperbolic tangent of the softplus.
    TanhSoftplus,
    /// `clip(alpha · x + beta, 0, 1)`.
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
}

/// An expression of a node's value x:
/// `(scale · function(factor · x + shift) + offset) · (x if gated)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expression {
    pub(super) x: NodeId,
    pub(super) function: Function,
    pub(super) factor: f32,
    pub(super) shift: f32,
    pub(super) scale: f32,
    pub(super) offset: f32,
    pub(super) gated: bool,
}

impl Expression {
    /// The value of a node itself.
    pub(super) const fn of(x: NodeId) -> Self {
        Self {
            x,
            function: Function::Identity,
            factor: 1.0,
            shift: 0.0,
            scale: 1.0,
            offset: 0.0,
            gated: false,
        }
    }

    /// Returns `scale · self + offset`.
    pub(super) fn affine(mut self, scale: f32, offset: f32) -> Option<Self> {
        if self.gated && offset != 0.0 {
            return None;
        }
        if self.function == Function::Identity && !self.gated {
            self.factor *= scale;
            self.shift = self.shift * scale + offset;
        } else {
            self.scale *= scale;
            self.offset = self.offset * scale + offset;
        }
        Some(self)
    }

    /// Returns a function of the expression, if that is a multiple of a value plus a number.
    pub(super) fn apply(mut self, function: Function) -> Option<Self> {
        if self.function != Function::Identity || self.gated {
            return None;
        }
        self.function = function;
        Some(self)
    }

    /// Returns the product of two expressions, if one of them is a multiple of the other's value.
    pub(super) fn times(self, other: Self) -> Option<Self> {
        let multiple = |e: Self| {
            let plain = e.function == Function::Identity && !e.gated && e.shift == 0.0;
            plain.then_some(e.factor)
        };
        let product = |factor: f32, mut e: Self| {
            (!e.gated && e.function != Function::Identity).then(|| {
                e.scale *= factor;
                e.offset *= factor;
                e.gated = true;
                e
            })
        };
        if self.x != other.x {
            return None;
        }
        match (multiple(self), multiple(other)) {
            (Some(factor), None) => product(factor, other),
            (None, Some(factor)) => product(factor, self),
            _ => None,
        }
    }

    /// Returns the operator that computes the expression, if it has a name.
    pub(super) fn operator(self) -> Option<Named> {
        let Self { function, factor, shift, scale, offset, gated, .. } = self;
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-4 * b.abs().max(1e-3);
        let plain = near(factor, 1.0) && shift == 0.0;
        match function {
            Function::Clip { min, max } => {
                // scale · clip(factor · x + shift, 0, max) is clip(alpha · x + beta, 0, 1).
                let unit = min == 0.0 && near(scale * max, 1.0) && offset == 0.0 && factor > 0.0;
                if !unit {
                    return None;
                }
                let (alpha, beta) = (scale * factor, scale * shift);
                hard_sigmoid(alpha, beta, gated)
            }
            Function::HardSigmoid { alpha, beta } if near(scale, 1.0) && offset == 0.0 => {
                hard_sigmoid(alpha * factor, alpha * shift + beta, gated)
            }
            Function::Sigmoid if gated && plain && near(scale, 1.0) && offset == 0.0 => {
                Some(Named::SiLU)
            }
            Function::TanhSoftplus if gated && plain && near(scale, 1.0) && offset == 0.0 => {
                Some(Named::Mish)
            }
            Function::Erf => {
                let gelu = gated
                    && near(factor, 1.0 / SQRT_2)
                    && shift == 0.0
                    && near(scale, 0.5)
                    && near(offset, 0.5);
                gelu.then_some(Named::Gelu)
            }
            _ => None,
        }
    }
}

fn hard_sigmoid(alpha: f32, beta: f32, gated: bool) -> Option<Named> {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-4;
    if !gated {
        return Some(Named::HardSigmoid { alpha, beta });
    }
    (near(alpha, 1.0 / 6.0) && near(beta, 0.5)).then_some(Named::Hardswish)
}

/// A function with an operator of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Named {
    Hardswish,
    HardSigmoid { alpha: f32, beta: f32 },
    SiLU,
    Gelu,
    Mish,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x() -> Expression {
        Expression::of(NodeId(3))
    }

    #[test]
    fn hard_swish_is_recognized_in_any_order() {
        let clipped = || {
            let shifted = x().affine(1.0, 3.0).unwrap();
            shifted.apply(Function::Clip { min: 0.0, max: 6.0 }).unwrap()
        };
        let orders = [
            x().times(clipped()).unwrap().affine(1.0 / 6.0, 0.0).unwrap(),
            clipped().times(x()).unwrap().affine(1.0 / 6.0, 0.0).unwrap(),
            x().times(clipped().affine(1.0 / 6.0, 0.0).unwrap()).unwrap(),
            x().affine(1.0 / 6.0, 0.0).unwrap().times(clipped()).unwrap(),
        ];
        for expression in orders {
            assert_eq!(expression.operator(), Some(Named::Hardswish), "{expression:?}");
        }
        let sigmoid = clipped().affine(1.0 / 6.0, 0.0).unwrap().operator();
        assert!(matches!(sigmoid, Some(Named::HardSigmoid { .. })), "{sigmoid:?}");
        assert_eq!(x().times(clipped()).unwrap().operator(), None);
    }

    #[test]
    fn gelu_and_silu_are_recognized() {
        let erf = || x().affine(1.0 / SQRT_2, 0.0).unwrap().apply(Function::Erf).unwrap();
        let gelu = erf().affine(1.0, 1.0).unwrap().times(x()).unwrap().affine(0.5, 0.0).unwrap();
        assert_eq!(gelu.operator(), Some(Named::Gelu));
        let half = x().affine(0.5, 0.0).unwrap();
        let gelu = half.times(erf().affine(1.0, 1.0).unwrap()).unwrap();
        assert_eq!(gelu.operator(), Some(Named::Gelu));
        let silu = x().times(x().apply(Function::Sigmoid).unwrap()).unwrap();
        assert_eq!(silu.operator(), Some(Named::SiLU));
        let other = Expression::of(NodeId(4)).apply(Function::Sigmoid).unwrap();
        assert_eq!(x().times(other), None);
    }

    #[test]
    fn what_is_no_such_expression_stays_as_it_is() {
        let silu = x().times(x().apply(Function::Sigmoid).unwrap()).unwrap();
        assert_eq!(silu.affine(1.0, 1.0), None);
        assert_eq!(silu.apply(Function::Erf), None);
        assert_eq!(x().times(x()), None);
        let doubled = silu.affine(2.0, 0.0).unwrap();
        assert_eq!(doubled.operator(), None);
    }
}
