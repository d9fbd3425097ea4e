//! What a search for an accuracy target tries and finds.

use serde::Serialize;

use crate::quantization::post_training::PostTrainingResult;
use crate::quantization::recipe::Recipe;

/// A half of the labelled pictures.
///
/// ```
/// use posterize::quantization::{Half};
///
/// /// Returns the pictures of a half: every second one.
/// fn pictures(half: Half, count: usize) -> Vec<usize> {
///     (0..count).skip(usize::from(half == Half::Confirmation)).step_by(2).collect()
/// }
/// assert_eq!(pictures(Half::Search, 5), [0, 2, 4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The half on which networks are compared during the search.
    Search,
    /// The half on which a network that meets the target is measured once more.
    Confirmation,
}

/// A value of a network on both halves.
///
/// ```
/// use posterize::quantization::{Measured};
///
/// let top1 = Measured { search: 82.0, confirmation: None };
/// assert!(top1.confirmation.is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// On the half of the search.
    pub search: f64,
    /// On the other half; `None` if it was not measured, because the first missed the target.
    pub confirmation: Option<f64>,
}

/// A network that a search tried.
///
/// ```
/// use posterize::quantization::{Attempt};
///
/// /// Returns a line about an attempt.
/// fn line(attempt: &Attempt) -> String {
///     format!("{}: {:.2} lost", attempt.what, attempt.drop.search)
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// What was changed.
    pub what: String,
    /// The metric.
    pub metric: Measured,
    /// The metric of the float network minus this one.
    pub drop: Measured,
    /// The signal-to-quantization-noise ratio of the outputs on some calibration pictures in dB; infinite (in
    /// JSON: null) for the float network.
    pub sqnr_db: f64,
    /// The time for one picture in milliseconds; `None` if the network has several inputs or outputs.
    pub ms: Option<f64>,
    /// The bytes of weights, scales and biases.
    pub bytes: usize,
    /// Whether the search goes on from it or ends with it.
    pub kept: bool,
    /// Whether it meets the target on both halves.
    pub met: bool,
}

/// A layer that was given back to float.
///
/// ```
/// use posterize::quantization::{GivenBack};
///
/// /// Returns the bytes that layers take more in float.
/// fn extra_bytes(layers: &[GivenBack]) -> u64 {
///     layers.iter().map(|layer| layer.extra_bytes).sum()
/// }
/// assert_eq!(extra_bytes(&[]), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GivenBack {
    /// The layer's name.
    pub name: String,
    /// Its operator: `ConvReLU6_2d`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The SQNR of the outputs in dB with only this layer in int8.
    pub sqnr_db: f64,
    /// The milliseconds that a picture takes longer with only this layer in float.
    pub extra_ms: Option<f64>,
    /// The bytes that its parameters take more in float.
    pub extra_bytes: u64,
}

/// What a search tells while it runs.
///
/// ```
/// use posterize::quantization::{SearchEvent};
///
/// /// Prints what a search does.
/// fn print(event: SearchEvent<'_>) {
///     match event {
///         SearchEvent::Tried(attempt) => println!("{}", attempt.what),
///         SearchEvent::Ranking { done, total } => println!("{done} of {total} layers"),
///         _ => {}
///     }
/// }
/// print(SearchEvent::Ranking { done: 1, total: 53 });
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SearchEvent<'a> {
    /// A network was measured.
    Tried(&'a Attempt),
    /// So many of all layers were measured to rank them.
    Ranking {
        /// The number of layers measured so far.
        done: usize,
        /// The number of all layers.
        total: usize,
    },
}

/// What [`FloatModel::quantize_to_target`](crate::FloatModel::quantize_to_target) returns.
///
/// ```
/// use posterize::quantization::{SearchResult};
///
/// /// Returns the names of the layers to train further.
/// fn float_layers(found: &SearchResult) -> Vec<&str> {
///     found.given_back.iter().map(|layer| &*layer.name).collect()
/// }
/// # let _ = float_layers;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct SearchResult {
    /// Whether the target is met. If not, the rest is that of the best attempt.
    pub met: bool,
    /// The float network, as an attempt.
    pub float: Attempt,
    /// The int8 networks, in the order in which they were tried.
    pub attempts: Vec<Attempt>,
    /// The position of the chosen attempt.
    pub chosen: usize,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its network.
    pub quantized: PostTrainingResult,
    /// Its layers that were given back to float, in the order of the ranking.
    pub given_back: Vec<GivenBack>,
}
