//! What is done when the user presses Ctrl-C.
//!
//! The program ends with [`Exit::Interrupted`], after what was registered by [`before_end`]. While a
//! [`Deferred`] exists, the first Ctrl-C is only noted, so that work can end in a good place; the second
//! ends the program at once.

use std::{
    io::Write,
    mem,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use crate::exit::Exit;

/// Work to do before the program ends.
type Cleanup = Box<dyn FnMut() + Send>;

static STATE: Mutex<State> = Mutex::new(State { presses: Presses::Ending, cleanups: Vec::new() });

struct State {
    presses: Presses,
    cleanups: Vec<Cleanup>,
}

/// What the next Ctrl-C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presses {
    /// It ends the program.
    Ending,
    /// It is noted, with this announcement.
    Noted(&'static str),
    /// One was noted, the next ends the program.
    EndingAfterOne,
}

impl Presses {
    /// Returns the state after Ctrl-C, and the announcement if it was noted; `None` to end the program.
    fn press(self) -> Option<(Self, &'static str)> {
        match self {
            Self::Noted(announcement) => Some((Self::EndingAfterOne, announcement)),
            Self::Ending | Self::EndingAfterOne => None,
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `cleanup` before Ctrl-C ends the program. Does nothing where Ctrl-C is ignored.
pub(crate) fn before_end(cleanup: impl FnMut() + Send + 'static) {
    state().cleanups.push(Box::new(cleanup));
    install();
}

/// Notes the first Ctrl-C while this exists, instead of ending the program.
#[derive(Debug)]
pub(crate) struct Deferred(());

impl Deferred {
    /// `announcement` is printed on stderr at the first Ctrl-C.
    pub(crate) fn new(announcement: &'static str) -> Self {
        state().presses = Presses::Noted(announcement);
        install();
        Self(())
    }
}

/// Returns whether Ctrl-C was pressed while a [`Deferred`] exists.
pub(crate) fn is_requested() -> bool {
    state().presses == Presses::EndingAfterOne
}

impl Drop for Deferred {
    fn drop(&mut self) {
        state().presses = Presses::Ending;
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = ctrlc::try_set_handler(pressed);
    });
}

fn pressed() {
    let mut state = state();
    if let Some((next, announcement)) = state.presses.press() {
        state.presses = next;
        let _ = writeln!(std::io::stderr(), "\n{announcement}");
        return;
    }
    state.cleanups.iter_mut().for_each(|cleanup| cleanup());
    // Nobody changes the state while the program ends.
    mem::forget(state);
    std::process::exit(Exit::Interrupted.code().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_press_is_noted() {
        let (after, announcement) = Presses::Noted("wait").press().unwrap();
        assert_eq!((after, announcement), (Presses::EndingAfterOne, "wait"));
        assert_eq!(after.press(), None);
        assert_eq!(Presses::Ending.press(), None);
    }
}
