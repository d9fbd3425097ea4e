//! The prefix that names have if a module contains the whole model.

use std::collections::HashSet;

use super::check::is_counter;
use super::state_dict::StateDict;

impl StateDict {
    /// Returns the prefix of all names without which they are exactly the names of a model (`model.`,
    /// `backbone.`), or `None` if there is no such prefix. Counters of batch norms do not matter.
    pub(crate) fn prefix_of(&self, model: &HashSet<&str>) -> Option<&str> {
        let (first, _) = self.iter().find(|(name, _)| !is_counter(name))?;
        let longest = model.iter().map(|name| name.len()).max()?;
        let expected = model.iter().filter(|name| !is_counter(name)).count();
        let fits = |prefix: &str| {
            let mut found = 0;
            for (name, _) in self.iter() {
                match name.strip_prefix(prefix) {
                    Some(rest) if is_counter(rest) => {}
                    Some(rest) if model.contains(rest) => found += 1,
                    _ => return false,
                }
            }
            found == expected
        };
        first
            .match_indices('.')
            .map(|(dot, _)| first.split_at(dot + 1))
            // A long rest is not the name of a parameter and takes long to look up.
            .filter(|(_, rest)| rest.len() <= longest && model.contains(rest))
            .map(|(prefix, _)| prefix)
            .find(|prefix| fits(prefix))
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
        let model = ["0.weight", "a.0.weight", "a.num_batches_tracked"];
        state.prefix_of(&HashSet::from(model)).map(str::to_owned)
    }

    #[test]
    fn a_prefix_is_found_if_the_other_names_are_those_of_the_model() {
        // Without `net.a.` the second name would be that of the model, too.
        assert_eq!(prefix(&["net.a.0.weight", "net.0.weight"]).as_deref(), Some("net."));
        let counted = ["a.b.a.num_batches_tracked", "a.b.0.weight", "a.b.a.0.weight"];
        assert_eq!(prefix(&counted).as_deref(), Some("a.b."));
        for other in [
            ["0.weight", "a.0.weight"].as_slice(),
            &["net.0.weight", "a.0.weight"],
            &["net.0.weight"],
            &["net.0.weight", "net.a.0.weight", "net.b"],
            &["net.0.weight", "net.a.0.weight", "b"],
            &["net.0.bias", "net.a.0.weight"],
            &["net0.weight", "neta.0.weight"],
            &[],
        ] {
            assert_eq!(prefix(other), None, "{other:?}");
        }
    }
}
