//! Which dictionary of a checkpoint holds the weights, and the names without wrappers' prefixes.

use super::Parsed;
use super::pickle::{Pickle, Value};
use super::printable;

/// Keys under which training scripts keep the weights, most telling first. An averaged copy is
/// taken only where there is no other.
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

/// Wrappers in wrappers that are followed: `{"ema": {"module": {"state_dict": …}}}`.
const MAX_DEPTH: usize = 4;

/// Prefixes of modules that wrap a whole model: DataParallel and AveragedModel, torch.compile.
const PREFIXES: &[&str] = &["module.", "_orig_mod."];

/// The entries of the state_dict in a pickled checkpoint, in order, each name once.
pub(super) fn state_dict_of<'a>(pickle: &Pickle<'a>) -> Parsed<Vec<(String, Value<'a>)>> {
    let dict = find(pickle, pickle.root, MAX_DEPTH).ok_or_else(|| explain(pickle))?;
    let mut entries = Vec::with_capacity(dict.len());
    for &(key, value) in dict {
        let Value::Str(name) = key else {
            return Err(format!(
                "a state_dict's keys are strings, and this one has {} among them",
                pickle.describe(key)
            ));
        };
        entries.push((name.to_owned(), value));
    }
    strip_prefixes(&mut entries);
    Ok(entries)
}

/// Removes what DataParallel, AveragedModel and torch.compile put before every name.
pub(super) fn strip_prefixes<T>(entries: &mut Vec<(String, T)>) {
    // AveragedModel's own counter.
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

/// The dictionary of tensors in `value`.
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

/// Why there is no state_dict in the pickle.
fn explain(pickle: &Pickle<'_>) -> String {
    let advice = "Save the weights: torch.save(model.state_dict(), \"weights.pth\")";
    match pickle.dict(pickle.root) {
        Some([]) => format!("an empty dictionary, no weights. {advice}"),
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
                "a dictionary without weights: it has no tensors, nor has a dictionary under one \
                 of the keys {}. It holds {}. {advice}",
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
    fn prefixes_that_all_names_have_are_removed() {
        assert_eq!(stripped(&["module.a.weight", "module.b"]), ["a.weight", "b"]);
        assert_eq!(stripped(&["_orig_mod.module.a", "_orig_mod.module.b"]), ["a", "b"]);
        assert_eq!(stripped(&["n_averaged", "module.a"]), ["a"]);
    }

    #[test]
    fn prefixes_that_some_names_have_remain() {
        assert_eq!(stripped(&["module.a", "b"]), ["module.a", "b"]);
        assert_eq!(stripped(&["n_averaged", "a"]), ["n_averaged", "a"]);
        assert_eq!(stripped(&["n_averaged"]), ["n_averaged"]);
        assert!(stripped(&[]).is_empty());
    }
}
