//! Decides when a checkpoint is written.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

/// How often a checkpoint is written within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckpointEvery {
    /// After this many batches.
    Batches(usize),
    /// When this much time has passed since the last one.
    Time(Duration),
    /// Only at the end of each epoch.
    Epoch,
}

impl FromStr for CheckpointEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|&n| n > 0);
        if text == "epoch" {
            return Ok(Self::Epoch);
        }
        match text.strip_suffix('s') {
            Some(seconds) => number(seconds).map(|n| Self::Time(Duration::from_secs(n.into()))),
            None => number(text).map(|n| Self::Batches(n as usize)),
        }
        .ok_or_else(|| {
            "expected a number of batches such as 50, seconds such as 60s, or `epoch`".to_owned()
        })
    }
}

/// Keeps track of when the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Timer {
    every: CheckpointEvery,
    last: Instant,
    batches: usize,
}

impl Timer {
    pub(super) fn new(every: CheckpointEvery) -> Self {
        Self { every, last: Instant::now(), batches: 0 }
    }

    /// Returns whether a checkpoint is due, after another batch or at the end of an epoch.
    pub(super) fn is_due(&mut self, epoch_ended: bool) -> bool {
        self.batches += usize::from(!epoch_ended);
        let due = epoch_ended
            || match self.every {
                CheckpointEvery::Batches(n) => self.batches >= n,
                CheckpointEvery::Time(time) => self.last.elapsed() >= time,
                CheckpointEvery::Epoch => false,
            };
        if due {
            (self.last, self.batches) = (Instant::now(), 0);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_seconds_and_epoch_are_parsed() {
        assert_eq!("50".parse(), Ok(CheckpointEvery::Batches(50)));
        assert_eq!("60s".parse(), Ok(CheckpointEvery::Time(Duration::from_secs(60))));
        assert_eq!("epoch".parse(), Ok(CheckpointEvery::Epoch));
        for bad in ["0", "0s", "s", "", "5m", "-1"] {
            assert!(bad.parse::<CheckpointEvery>().is_err(), "{bad}");
        }
    }

    #[test]
    fn checkpoints_are_due_every_third_batch_and_at_the_end_of_an_epoch() {
        let mut timer = Timer::new(CheckpointEvery::Batches(3));
        let due: Vec<bool> = (0..7).map(|_| timer.is_due(false)).collect();
        assert_eq!(due, [false, false, true, false, false, true, false]);
        assert!(timer.is_due(true));
        assert!(!timer.is_due(false) && !timer.is_due(false) && timer.is_due(false));
    }
}
