//! Groups of a convolution that are multiplied together.
//!
//! A vector has more lanes than a group of a few channels has columns. Several groups side by side fill
//! it: their weights become one matrix, with zeros where an input channel is of another group. A product
//! with zero adds nothing, so the accumulators are the same.

use crate::int8::pack::Operand;
use crate::reference;

/// The weights of the products that compute a convolution, each of one or several of its groups.
#[derive(Debug)]
pub(super) struct Groups {
    /// Number of groups of each product; the last may have fewer.
    at_once: usize,
    /// `[columns, channels, taps]` of each product of several groups; empty if each has one.
    weights: Vec<Vec<i8>>,
}

impl Groups {
    /// Merges the groups of a convolution without defects into products of at most `lanes` columns.
    pub(super) fn new(conv: &reference::Conv2d<'_>, lanes: usize) -> Self {
        let groups = Operand::groups(conv);
        let &Operand { columns, channels, taps, .. } = &groups[0];
        let at_once = (lanes / columns).min(groups.len()).max(1);
        let merge = |groups: &[Operand<'_>]| {
            let channels_of_all = channels * groups.len();
            let mut weight = vec![0; columns * groups.len() * channels_of_all * taps];
            let rows = weight.chunks_exact_mut(channels_of_all * taps);
            for (index, row) in rows.enumerate() {
                let (group, column) = (index / columns, index % columns);
                let own = &mut row[group * channels * taps..][..channels * taps];
                own.copy_from_slice(groups[group].column(column));
            }
            weight
        };
        let weights = match at_once {
            1 => Vec::new(),
            _ => groups.chunks(at_once).map(merge).collect(),
        };
        Self { at_once, weights }
    }

    /// Returns the operand of each product.
    pub(super) fn operands<'a>(&'a self, conv: &reference::Conv2d<'a>) -> Vec<Operand<'a>> {
        let groups = Operand::groups(conv);
        if self.weights.is_empty() {
            return groups;
        }
        let merged = groups.chunks(self.at_once).zip(&self.weights);
        let mut first = 0;
        let merged = merged.map(|(groups, weight)| {
            let columns = groups.len() * groups[0].columns;
            let own = first..first + columns;
            first += columns;
            Operand {
                weight,
                bias: &conv.bias[own.clone()],
                multiplier: &conv.requantize.multiplier[own],
                columns,
                channels: groups.len() * groups[0].channels,
                ..groups[0]
            }
        });
        merged.collect()
    }
}
