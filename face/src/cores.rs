//! Runs two independent steps of one judgement, one after the other or in parallel. Either way each
//! result is bit-identical.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// How many cores work on one face.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// One step after the other.
    #[default]
    One,
    /// Two steps at a time, one of them in a thread of its own.
    Two,
}

impl Cores {
    /// Returns the results of both steps.
    pub(super) fn both<A, B: Send>(
        self,
        here: impl FnOnce() -> A,
        beside: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self == Self::One {
            return (here(), beside());
        }
        // The step runs wherever it is taken: here if the system cannot start another thread.
        let step = Mutex::new(Some(beside));
        let take = || step.lock().unwrap_or_else(PoisonError::into_inner).take().map(|step| step());
        thread::scope(|scope| {
            let thread = Builder::new().name("face".into()).spawn_scoped(scope, take);
            let here = here();
            let beside = match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => take(),
            };
            // Taken once: by the thread, or here if there was no thread.
            (here, beside.unwrap_or_else(|| unreachable!("a step taken twice")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn both_steps_run_on_the_expected_threads() {
        let here = thread::current().id();
        for (cores, alone) in [(Cores::One, true), (Cores::Two, false)] {
            let text = String::from("b");
            let (a, (b, thread)) =
                cores.both(|| thread::current().id(), || (text.as_str(), thread::current().id()));
            assert_eq!((a, b, thread == here), (here, "b", alone));
        }
    }

    #[test]
    fn a_panic_in_either_step_propagates() {
        for cores in [Cores::One, Cores::Two] {
            let first = AssertUnwindSafe(|| cores.both(|| panic!("first"), || ()));
            assert!(catch_unwind(first).is_err());
            let second = AssertUnwindSafe(|| cores.both(|| (), || panic!("second")));
            assert_eq!(catch_unwind(second).unwrap_err().downcast_ref(), Some(&"second"));
        }
    }
}
