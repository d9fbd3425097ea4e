//! All that a training run needs to go on as if it had never stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{History, NetworkState};

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch under way, from 0; the number of epochs at the end.
    pub epoch: usize,
    /// Batches of the epoch that were trained on.
    pub batch: usize,
    /// The place in the sampler's order behind them: undecodable pictures count too.
    pub place: usize,
    /// Steps of all epochs.
    pub step: usize,
    /// Sum of the losses of the epoch's pictures.
    pub loss_sum: f64,
    /// Pictures of the epoch that were classified rightly.
    pub correct: usize,
    /// Pictures of the epoch.
    pub images: usize,
    /// Seconds that the epoch's training took.
    pub seconds: f64,
}

/// What the two runs, the one that wrote a checkpoint and the one that goes on with it, must have
/// in common for the result to be the same: names and values, as text.
pub type Settings = BTreeMap<String, String>;

/// A training run between two steps. `Checkpoint::save` and `Checkpoint::open` write and read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run is.
    pub position: Position,
    /// What it has seen.
    pub history: History,
    /// The network.
    pub network: NetworkState,
    /// The optimiser's momentum, by the trained tensor's name.
    pub momentum: BTreeMap<String, Vec<f32>>,
    /// The network of the best epoch so far.
    pub best: Option<NetworkState>,
    /// What must not change.
    pub settings: Settings,
}

/// The differences between the settings of a checkpoint and of the run that is to go on with it.
pub(super) fn differences(saved: &Settings, now: &Settings) -> Vec<String> {
    let mut names: Vec<&String> = saved.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let text = |settings: &Settings, name| settings.get(name).map_or("nothing", |v| v).to_owned();
    names
        .into_iter()
        .filter(|name| saved.get(*name) != now.get(*name))
        .map(|name| format!("{name} was {}, and is {}", text(saved, name), text(now, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let settings = |pairs: &[(&str, &str)]| -> Settings {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let saved = settings(&[("lr", "0.1"), ("seed", "1"), ("old", "x")]);
        let now = settings(&[("lr", "0.2"), ("seed", "1"), ("new", "y")]);
        assert_eq!(
            differences(&saved, &now),
            ["lr was 0.1, and is 0.2", "new was nothing, and is y", "old was x, and is nothing"]
        );
        assert!(differences(&saved, &saved).is_empty());
    }
}
