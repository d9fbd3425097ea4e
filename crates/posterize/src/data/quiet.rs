//! Catches panics without a message on stderr.

use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread::panicking;

thread_local! {
    /// Whether panics of this thread are silent.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` and returns its result, or `None` if it panics.
///
/// The first call wraps the program's panic hook: in `run` it is not called, elsewhere it is called
/// as before.
pub(super) fn catch<T>(run: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    static HOOK: Once = Once::new();
    // The hook of a thread that panics cannot be replaced.
    if !panicking() {
        HOOK.call_once(|| {
            let hook = take_hook();
            set_hook(Box::new(move |info| {
                if !IS_QUIET.get() {
                    hook(info);
                }
            }));
        });
    }
    let before = IS_QUIET.replace(true);
    let result = catch_unwind(run);
    IS_QUIET.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The child process of [`only_panics_outside_are_printed`].
    #[test]
    #[ignore = "another test runs it"]
    fn panics_inside_and_outside() {
        assert_eq!(catch(|| 7), Some(7));
        assert_eq!(catch(|| panic!("the decoder's words")), None::<u8>);
        assert!(catch_unwind(|| panic!("other words")).is_err());
    }

    #[test]
    fn only_panics_outside_are_printed() {
        let name = "data::quiet::tests::panics_inside_and_outside";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{printed}");
        assert!(!printed.contains("the decoder's") && printed.contains("other words"), "{printed}");
    }
}
