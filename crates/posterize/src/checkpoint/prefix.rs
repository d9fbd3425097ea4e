//! The prefix that names have if a module contains the whole model.

use super::state_dict::StateDict;

impl StateDict {
    /// Returns the prefix with which all names of a model are in the state dict: `model.`,
    /// `backbone.`, or an empty one. Returns the first of several, and `None` if there is none.
    pub(crate) fn prefix_of(&self, model: &[&str]) -> Option<&str> {
        let fits = |prefix: &str| {
            let mut key = prefix.to_owned();
            model.iter().all(|name| {
                key.truncate(prefix.len());
                key.push_str(name);
                self.get(&key).is_some()
            })
        };
        let first = *model.first()?;
        if fits("") {
            return Some("");
        }
        self.iter()
            .filter_map(|(key, _)| key.strip_suffix(first))
            .find(|prefix| prefix.ends_with('.') && fits(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::StateTensor;

    fn prefix(names: &[&str]) -> Option<String> {
        let state: StateDict = names
            .iter()
            .map(|&name| (name.to_owned(), StateTensor::Int(vec![], vec![1])))
            .collect();
        state.prefix_of(&["0.weight", "a.0.weight"]).map(str::to_owned)
    }

    #[test]
    fn a_prefix_is_found_if_all_names_of_the_model_have_it() {
        for (names, expected) in [
            (["0.weight", "a.0.weight"].as_slice(), Some("")),
            (&["n.0.weight", "n.a.0.weight", "0.weight", "a.0.weight"], Some("")),
            // Without `net.a.` the second name would be that of the model, too.
            (&["net.a.0.weight", "net.0.weight"], Some("net.")),
            (&["a.b.a.num_batches_tracked", "a.b.0.weight", "a.b.a.0.weight"], Some("a.b.")),
            (&["other", "net.0.weight", "net.a.0.weight", "net.b"], Some("net.")),
            (&["b.0.weight", "b.a.0.weight", "a.0.weight", "a.a.0.weight"], Some("b.")),
            (&["net.0.weight", "a.0.weight"], None),
            (&["net.0.weight"], None),
            (&["net.0.bias", "net.a.0.weight"], None),
            (&["net0.weight", "neta.0.weight"], None),
            (&[], None),
        ] {
            assert_eq!(prefix(names).as_deref(), expected, "{names:?}");
        }
    }
}
