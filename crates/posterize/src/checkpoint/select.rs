//! Finding the state dict in a checkpoint, and removing prefixes of wrapper modules from its names.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::interner::Interner;
use super::pickle::{Handle, Pickle, Value};
use super::read_options::ReadOptions;
use super::state_dict::Selection;
use super::{Parsed, SAVE_WEIGHTS, printable};

/// Keys under which training scripts save the state dict, in order of preference.
const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "net_state_dict",
    "weights",
    "params",
];

/// Keys under which they save the exponential moving average of the weights (EMA).
const EMA_WRAPPERS: &[&str] = &[
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema_model",
    "model_ema_state_dict",
    "params_ema",
    "ema",
];

/// The largest depth of nested wrappers: `{"ema": {"module": {"state_dict": …}}}` has depth 3.
const MAX_DEPTH: usize = 4;

/// Prefixes of modules that wrap a whole model: `module.` of DataParallel and AveragedModel,
/// `_orig_mod.` of torch.compile.
const PREFIXES: &[&str] = &["module.", "_orig_mod."];

/// The entries of the state dict in a checkpoint, in order, and where they were found.
pub(super) struct Selected<'a> {
    pub(super) entries: Vec<(&'a str, Value<'a>)>,
    pub(super) selection: Selection,
}

/// Returns the entries of the state dict in a pickled checkpoint.
///
/// As in Python, an entry replaces an earlier one with the same key and takes its place.
pub(super) fn state_dict_of<'a>(
    pickle: &Pickle<'a>,
    options: &ReadOptions,
) -> Parsed<Selected<'a>> {
    let mut search = Search::new(pickle, options.averaged);
    let found = search.find(pickle.root, MAX_DEPTH).ok_or_else(|| explain(pickle, None))?;
    let mut selection = search.selection(&found);
    if options.averaged && !found.keys.iter().any(|key| EMA_WRAPPERS.contains(key)) {
        return Err(format!(
            "expected averaged weights (EMA) under one of the keys {}, found none; read the weights \
             that are not averaged",
            EMA_WRAPPERS.join(", ")
        ));
    }
    if found.dict.iter().any(|&(_, value)| pickle.dict(value).is_some()) {
        return Err(explain(pickle, Some(found.dict)));
    }
    let mut names = Interner::default();
    let mut entries = IndexMap::new();
    for &(key, value) in found.dict {
        let Value::Str(name) = key else {
            return Err(format!(
                "expected a state_dict whose keys are strings, found a key that is {}",
                pickle.describe(key)
            ));
        };
        entries.insert(names.number(name), (name, value));
    }
    let mut entries: Vec<_> = entries.into_values().collect();
    selection.prefix = strip_prefixes(&mut entries);
    Ok(Selected { entries, selection })
}

/// Removes the prefixes of wrapper modules if all names have them. Returns what was removed.
pub(super) fn strip_prefixes<T>(entries: &mut Vec<(&str, T)>) -> String {
    let mut removed = String::new();
    // The counter of AveragedModel has no prefix.
    let is_counter = |name: &str| name == "n_averaged";
    while let Some(prefix) = PREFIXES.iter().find(|&&prefix| {
        let mut names = entries.iter().map(|&(name, _)| name).filter(|name| !is_counter(name));
        let first = names.next().is_some_and(|name| name.starts_with(prefix));
        first && names.all(|name| name.starts_with(prefix))
    }) {
        entries.retain(|(name, _)| !is_counter(name));
        for (name, _) in entries.iter_mut() {
            *name = &name[prefix.len()..];
        }
        removed += prefix;
    }
    removed
}

/// The entries of a dictionary.
type Dict<'p, 'a> = &'p [(Value<'a>, Value<'a>)];

/// A dictionary of tensors.
struct Found<'p, 'a> {
    dict: Dict<'p, 'a>,
    /// The keys of the dictionaries in which it is, the innermost first.
    keys: Vec<&'static str>,
    /// The other dictionaries that may have tensors, at the side of one of these.
    others: Vec<(&'static str, Value<'a>)>,
}

/// The search for the dictionary of tensors in a pickle, through dictionaries that contain others
/// under the keys [`WRAPPERS`] and [`EMA_WRAPPERS`].
struct Search<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// The keys, in order of preference.
    wrappers: Vec<&'static str>,
    /// The dictionaries that were searched, and through how many wrappers.
    searched: HashMap<Handle, usize>,
    /// The number of entries that were looked at.
    entries: usize,
}

impl<'p, 'a> Search<'p, 'a> {
    /// Averaged weights are preferred if `averaged`; otherwise they are found only if there are no
    /// others.
    fn new(pickle: &'p Pickle<'a>, averaged: bool) -> Self {
        let wrappers = if averaged {
            [EMA_WRAPPERS, WRAPPERS].concat()
        } else {
            [WRAPPERS, EMA_WRAPPERS].concat()
        };
        Self { pickle, wrappers, searched: HashMap::new(), entries: 0 }
    }

    /// Returns the dictionary of tensors in `value`, looking through at most `depth` wrappers.
    ///
    /// A dictionary that several others contain is searched again only if more wrappers are allowed
    /// than before, so no entry is looked at more than `MAX_DEPTH + 1` times.
    fn find(&mut self, value: Value<'a>, depth: usize) -> Option<Found<'p, 'a>> {
        let dict = self.pickle.dict(value)?;
        if let Value::Object(handle) = value
            && self.searched.insert(handle, depth).is_some_and(|before| before >= depth)
        {
            return None;
        }
        self.entries += dict.len();
        if depth > 0 {
            // The last entry with a key counts.
            let mut inner = vec![None; self.wrappers.len()];
            for &(key, value) in dict {
                if let Value::Str(key) = key
                    && let Some(index) = self.wrappers.iter().position(|&wrapper| wrapper == key)
                {
                    inner[index] = Some((self.wrappers[index], value));
                }
            }
            let mut inner = inner.into_iter().flatten();
            while let Some((key, value)) = inner.next() {
                if let Some(mut found) = self.find(value, depth - 1) {
                    found.keys.push(key);
                    found.others.extend(inner);
                    return Some(found);
                }
            }
        }
        let has_tensors = dict.iter().any(|&(_, value)| self.pickle.tensor(value).is_some());
        has_tensors.then(|| Found { dict, keys: Vec::new(), others: Vec::new() })
    }

    /// Returns where weights were found, and where others are.
    fn selection(&mut self, found: &Found<'p, 'a>) -> Selection {
        let mut selection = Selection {
            keys: found.keys.iter().rev().map(|&key| key.to_owned()).collect(),
            ..Selection::default()
        };
        for &(key, value) in &found.others {
            if self.find(value, MAX_DEPTH - 1).is_some() {
                let averaged = EMA_WRAPPERS.contains(&key);
                let keys = if averaged { &mut selection.averaged } else { &mut selection.others };
                keys.push(key.to_owned());
            }
        }
        selection
    }
}

/// Returns the message for a pickle without a state dict. `mixed` is a dictionary of tensors and of
/// other dictionaries, one of which may be the state dict.
fn explain(pickle: &Pickle<'_>, mixed: Option<Dict<'_, '_>>) -> String {
    match mixed.or_else(|| pickle.dict(pickle.root)) {
        Some([]) => format!("expected a state_dict, found an empty dictionary. {SAVE_WEIGHTS}"),
        Some(entries) => {
            const SHOWN: usize = 10;
            // What may be the state dict is named first.
            let (dicts, others): (Vec<_>, Vec<_>) =
                entries.iter().partition(|(_, value)| pickle.dict(*value).is_some());
            let mut keys: Vec<String> = dicts
                .into_iter()
                .chain(others)
                .take(SHOWN)
                .map(|&(key, value)| match key {
                    Value::Str(key) => {
                        format!("`{}` ({})", printable(key.as_bytes()), pickle.describe(value))
                    }
                    key => pickle.describe(key),
                })
                .collect();
            if entries.len() > SHOWN {
                keys.push(format!("and {} more", entries.len() - SHOWN));
            }
            let (what, expected) = match mixed {
                Some(_) => ("a dictionary of tensors and of other dictionaries", "only tensors"),
                None => ("a dictionary without weights", "tensors"),
            };
            format!(
                "{what}: expected {expected} in it, or in a dictionary under one of the keys {}, \
                 found {}. {SAVE_WEIGHTS}",
                [WRAPPERS, EMA_WRAPPERS].concat().join(", "),
                keys.join(", ")
            )
        }
        None => format!(
            "expected a state_dict (a dictionary of tensors), found {}. {SAVE_WEIGHTS}",
            pickle.describe(pickle.root)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(names: &[&str]) -> Vec<String> {
        let mut entries: Vec<(&str, ())> = names.iter().map(|&name| (name, ())).collect();
        strip_prefixes(&mut entries);
        entries.into_iter().map(|(name, ())| name.to_owned()).collect()
    }

    #[test]
    fn a_prefix_of_all_names_is_removed() {
        assert_eq!(stripped(&["module.a.weight", "module.b"]), ["a.weight", "b"]);
        assert_eq!(stripped(&["_orig_mod.module.a", "_orig_mod.module.b"]), ["a", "b"]);
        assert_eq!(stripped(&["n_averaged", "module.a"]), ["a"]);
    }

    #[test]
    fn a_prefix_of_some_names_is_kept() {
        assert_eq!(stripped(&["module.a", "b"]), ["module.a", "b"]);
        assert_eq!(stripped(&["n_averaged", "a"]), ["n_averaged", "a"]);
        assert_eq!(stripped(&["n_averaged"]), ["n_averaged"]);
        assert!(stripped(&[]).is_empty());
    }

    #[test]
    fn a_dictionary_under_many_keys_is_searched_a_few_times() {
        // Each dictionary contains the one before under every key; the first has no weights.
        let mut program = b"}(".to_vec();
        program.extend(b"NN".repeat(1000));
        program.extend(b"uq\0");
        for _ in 0..10 {
            program.extend(b"0}(");
            for wrapper in [WRAPPERS, EMA_WRAPPERS].concat() {
                program.extend(format!("V{wrapper}\nh\0").as_bytes());
            }
            program.extend(b"uq\0");
        }
        program.push(b'.');
        let pickle = super::super::pickle::read(&program, "a pickle", 0).unwrap();
        let wrappers = WRAPPERS.len() + EMA_WRAPPERS.len();
        let mut search = Search::new(&pickle, false);
        assert!(search.find(pickle.root, MAX_DEPTH).is_none());
        assert_eq!(search.entries, (MAX_DEPTH + 1) * wrappers);
        let mut search = Search::new(&pickle, false);
        assert!(search.find(pickle.root, 10).is_none());
        assert_eq!(search.entries, 10 * wrappers + 1000);
    }
}
