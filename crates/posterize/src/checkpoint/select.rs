//! Finding the state dict in a checkpoint, and removing prefixes of wrapper modules from its names.

use super::Parsed;
use super::pickle::{Pickle, Value};
use super::printable;

/// Keys under which training scripts save the state dict, in order of preference. Averaged weights
/// (EMA) are used only if there are no others.
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

/// Returns the entries of the state dict in a pickled checkpoint, in order.
pub(super) fn state_dict_of<'a>(pickle: &Pickle<'a>) -> Parsed<Vec<(String, Value<'a>)>> {
    let dict = find(pickle, pickle.root, MAX_DEPTH).ok_or_else(|| explain(pickle))?;
    let mut entries = Vec::with_capacity(dict.len());
    for &(key, value) in dict {
        let Value::Str(name) = key else {
            return Err(format!(
                "expected a state_dict whose keys are strings, found a key that is {}",
                pickle.describe(key)
            ));
        };
        entries.push((name.to_owned(), value));
    }
    strip_prefixes(&mut entries);
    Ok(entries)
}

/// Removes the prefixes of wrapper modules if all names have them.
pub(super) fn strip_prefixes<T>(entries: &mut Vec<(String, T)>) {
    // The counter of AveragedModel has no prefix.
    let is_counter = |name: &str| name == "n_averaged";
    while let Some(prefix) = PREFIXES.iter().find(|&&prefix| {
        let mut names = entries.iter().map(|(name, _)| name).filter(|name| !is_counter(name));
        let first = names.next().is_some_and(|name| name.starts_with(prefix));
        first && names.all(|name| name.starts_with(prefix))
    }) {
        entries.retain(|(name, _)| !is_counter(name));
        for (name, _) in entries.iter_mut() {
            name.drain(..prefix.len());
        }
    }
}

/// Returns the dictionary of tensors in `value`, looking through at most `depth` wrappers.
fn find<'p, 'a>(
    pickle: &'p Pickle<'a>,
    value: Value<'a>,
    depth: usize,
) -> Option<&'p [(Value<'a>, Value<'a>)]> {
    let dict = pickle.dict(value)?;
    if depth > 0 {
        for &wrapper in WRAPPERS {
            let inner =
                dict.iter().rev().find(|(key, _)| matches!(key, Value::Str(k) if *k == wrapper));
            if let Some(found) = inner.and_then(|&(_, inner)| find(pickle, inner, depth - 1)) {
                return Some(found);
            }
        }
    }
    dict.iter().any(|&(_, value)| pickle.tensor(value).is_some()).then_some(dict)
}

/// Returns the message for a pickle without a state dict.
fn explain(pickle: &Pickle<'_>) -> String {
    let advice = "Save the weights: torch.save(model.state_dict(), \"weights.pth\")";
    match pickle.dict(pickle.root) {
        Some([]) => format!("expected a state_dict, found an empty dictionary. {advice}"),
        Some(entries) => {
            const SHOWN: usize = 10;
            let mut keys: Vec<String> = entries
                .iter()
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
            format!(
                "a dictionary without weights: expected tensors in it, or in a dictionary under \
                 one of the keys {}, found {}. {advice}",
                WRAPPERS.join(", "),
                keys.join(", ")
            )
        }
        None => format!(
            "expected a state_dict (a dictionary of tensors), found {}. {advice}",
            pickle.describe(pickle.root)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(names: &[&str]) -> Vec<String> {
        let mut entries: Vec<(String, ())> = names.iter().map(|&n| (n.to_owned(), ())).collect();
        strip_prefixes(&mut entries);
        entries.into_iter().map(|(name, ())| name).collect()
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
}
