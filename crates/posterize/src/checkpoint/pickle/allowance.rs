//! The number of values that a pickle may have.

use crate::checkpoint::Parsed;

/// The largest number of values in a pickle. A checkpoint of a thousand tensors has about twenty
/// thousand.
const MAX_VALUES: usize = 2_000_000;

/// The number of values that are left. Each instruction takes as many as it creates or copies, before
/// it does so, which bounds the time and memory that a pickle takes.
pub(super) struct Allowance {
    left: usize,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { left: MAX_VALUES }
    }

    pub(super) fn spend(&mut self, values: usize) -> Parsed<()> {
        self.left = self.left.checked_sub(values).ok_or_else(|| {
            format!(
                "the pickle has more than {MAX_VALUES} values, far more than a state_dict. Save \
                 only the weights: torch.save(model.state_dict(), \"weights.pth\")"
            )
        })?;
        Ok(())
    }
}
