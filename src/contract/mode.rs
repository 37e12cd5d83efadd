//! Says whether an enrolment replaces or keeps the subject's present templates.

/// Says whether an enrolment replaces or keeps the subject's present templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are removed.
    Replace,
    /// They stay.
    Add,
}

impl Mode {
    /// Returns its name in a request; `const`, because the table of fields uses it as a default.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Replace => "replace",
            Mode::Add => "add",
        }
    }

    /// Returns the mode of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Mode::Replace, Mode::Add].into_iter().find(|mode| mode.name() == name)
    }
}
