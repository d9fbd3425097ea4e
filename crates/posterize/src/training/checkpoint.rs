//! Checkpoints, from which a training run is resumed with the same result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{History, NetworkState, OptimizerState};

/// The position of a training run: its epoch and batch, and the sums over the epoch so far.
///
/// ```
/// use posterize::training::Position;
///
/// // After 2 batches of 30 pictures in the second epoch of 20 steps each.
/// let position = Position { epoch: 1, batch: 2, step: 22, images: 60, ..Position::default() };
/// assert_eq!(serde_json::to_value(position).unwrap()["step"], 22);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The current epoch, from 0; the number of epochs after the last.
    pub epoch: usize,
    /// Number of batches of the epoch that were trained.
    pub batch: usize,
    /// The position in the sampler's order after these batches, which counts pictures that were
    /// skipped.
    pub place: usize,
    /// Number of steps of all epochs.
    pub step: usize,
    /// Sum of the losses of the epoch's pictures.
    pub loss_sum: f64,
    /// Number of the epoch's pictures that were classified correctly.
    pub correct: usize,
    /// Number of the epoch's pictures that were trained.
    pub images: usize,
    /// Time spent on the epoch's training, in seconds.
    pub seconds: f64,
}

/// The settings of a training run that must not change when it is resumed, by name.
///
/// ```
/// use posterize::training::Settings;
///
/// let settings = Settings::from([("learning rate".into(), "0.1".into())]);
/// assert_eq!(settings["learning rate"], "0.1");
/// ```
pub type Settings = BTreeMap<String, String>;

/// The state of a training run between two steps.
///
/// [`Trainer::checkpoint`](super::Trainer::checkpoint) returns it,
/// [`Trainer::resume`](super::Trainer::resume) restores it.
///
/// ```
/// use posterize::Architecture;
/// use posterize::ops::Linear;
/// use posterize::runtime::Options;
/// use posterize::training::{
///     Checkpoint, History, Network, OptimizerState, Position, Settings,
/// };
///
/// let model = Architecture::trace(&Linear::new(4, 2))?.init(0);
/// let checkpoint = Checkpoint {
///     position: Position::default(),
///     history: History::default(),
///     network: Network::float(&model, Options::new(1)?)?.state(),
///     optimizer: OptimizerState::default(),
///     best: None,
///     settings: Settings::new(),
/// };
/// let folder = tempfile::tempdir().unwrap();
/// checkpoint.save(folder.path().join("run.safetensors"))?;
/// assert_eq!(Checkpoint::open(folder.path().join("run.safetensors"))?, checkpoint);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The position of the run.
    pub position: Position,
    /// The records of its epochs and steps.
    pub history: History,
    /// The state of the network.
    pub network: NetworkState,
    /// The state of the optimizer.
    pub optimizer: OptimizerState,
    /// The state of the network after the best epoch; `None` in the first epoch.
    pub best: Option<NetworkState>,
    /// The settings that must not change when the run is resumed.
    pub settings: Settings,
}

/// Returns a description of each difference between the settings of a checkpoint and of the run that
/// resumes it.
pub(super) fn differences(saved: &Settings, now: &Settings) -> Vec<String> {
    let mut names: Vec<&String> = saved.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let text = |settings: &Settings, name| settings.get(name).map_or("none", |v| v).to_owned();
    names
        .into_iter()
        .filter(|name| saved.get(*name) != now.get(*name))
        .map(|name| format!("{name} is {}, was {}", text(now, name), text(saved, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_different_settings_are_listed() {
        let settings = |pairs: &[(&str, &str)]| -> Settings {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let saved = settings(&[("lr", "0.1"), ("seed", "1"), ("old", "x")]);
        let now = settings(&[("lr", "0.2"), ("seed", "1"), ("new", "y")]);
        assert_eq!(
            differences(&saved, &now),
            ["lr is 0.2, was 0.1", "new is y, was none", "old is none, was x"]
        );
        assert!(differences(&saved, &saved).is_empty());
    }
}
