//! Extracts the useful lines from the output of test programs.

use std::fmt;

/// Lines after a panic or an error that belong to it: its message, the compared values.
const BEHIND: usize = 6;

/// Returns panics and compiler errors with the lines after them, and every line with `FAILED`, in
/// order, each once.
pub fn faults(log: &str) -> Vec<&str> {
    let mut until = 0;
    let lines = log.lines().enumerate().filter(|(index, line)| {
        let begins = line.contains("panicked at") || line.starts_with("error");
        if begins {
            until = index + BEHIND;
        }
        begins || line.contains("FAILED") || (until > 0 && *index <= until)
    });
    lines.map(|(_, line)| line).collect()
}

/// Returns the lines of tests that were skipped because a prerequisite is missing.
pub fn skipped(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("SKIPPED")).collect()
}

/// Returns the last lines.
pub fn tail(log: &str, count: usize) -> Vec<&str> {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// Test counts of all programs together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Counts {
    /// Adds up lines such as `test result: ok. 24 passed; 0 failed; 0 ignored; …`.
    pub fn of(log: &str) -> Self {
        let mut counts = Self::default();
        for line in log.lines().filter(|line| line.starts_with("test result")) {
            let words: Vec<_> =
                line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
            for pair in words.windows(2) {
                let Ok(count) = pair[0].parse::<u32>() else { continue };
                match pair[1] {
                    "passed" => counts.passed += count,
                    "failed" => counts.failed += count,
                    "ignored" => counts.ignored += count,
                    _ => {}
                }
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored } = self;
        write!(f, "passed {passed}, failed {failed}, ignored {ignored}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
running 2 tests
test one ... ok
thread 'two' (7) panicked at tests/two.rs:3:5:
assertion `left == right` failed
  left: 1
 right: 2
note: run with RUST_BACKTRACE=1
a
b
c
test two ... FAILED
SKIPPED three: DOORWARD_DATA is not set
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: ok. 24 passed; 0 failed; 3 ignored; 0 measured; 5 filtered out; finished in 12.34s
";

    #[test]
    fn panics_are_shown_with_their_message() {
        let faults = faults(LOG);
        let position = |line| faults.iter().position(|fault| fault == &line);
        assert_eq!(position("thread 'two' (7) panicked at tests/two.rs:3:5:"), Some(0));
        assert_eq!(position(" right: 2"), Some(3));
        assert_eq!(position("b"), Some(6));
        assert_eq!(position("c"), None);
        assert_eq!(position("test two ... FAILED"), Some(7));
        assert_eq!(position("test one ... ok"), None);
    }

    #[test]
    fn tests_of_all_programs_are_added_up() {
        assert_eq!(Counts::of(LOG), Counts { passed: 25, failed: 1, ignored: 3 });
    }

    #[test]
    fn skipped_tests_are_found() {
        assert_eq!(skipped(LOG), ["SKIPPED three: DOORWARD_DATA is not set"]);
    }

    #[test]
    fn the_tail_of_a_short_log_is_the_log() {
        assert_eq!(tail("a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(tail("a\n", 2), ["a"]);
    }
}
