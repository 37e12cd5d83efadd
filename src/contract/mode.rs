//! What happens to the templates that a subject has when another is enrolled.

/// What happens to the templates that a subject has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are removed.
    Replace,
    /// They stay.
    Add,
}

impl Mode {
    /// Its name in a request; `const`, for the table of fields, where it is a default.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Replace => "replace",
            Mode::Add => "add",
        }
    }

    /// The mode of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Mode::Replace, Mode::Add].into_iter().find(|mode| mode.name() == name)
    }
}
