//! Dotted paths of modules as in PyTorch, such as `features.1.conv`.

/// Whether the layer `name` is the module `path` or in it.
pub(super) fn is_below(path: &str, name: &str) -> bool {
    path.is_empty()
        || name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn paths_are_compared_by_whole_names() {
        assert!(is_below("", "features.1"));
        assert!(is_below("features.1", "features.1"));
        assert!(is_below("features.1", "features.1.conv"));
        assert!(!is_below("features.1", "features.10"));
        assert!(!is_below("features.1", "features"));
    }
}
