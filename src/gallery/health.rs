//! State of the gallery's file, for `health` and for alarms.

use crate::record_file::beside;
use serde::Serialize;
use std::path::Path;

/// State of the gallery's file. Recognition continues in all of these states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// State of the file, and the reason if it is not writable.
    #[serde(flatten)]
    pub file: FileState,
    /// Number of subjects with a removal (deleted, disabled, a group removed) that has taken effect
    /// but is not on disk: a restart loses it.
    pub not_on_disk: usize,
    /// Records lost with a damaged file, as long as `<file>.damaged` exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// Records that are missing in the gallery because its file was damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Subjects; 1 if the whole table was lost.
    pub subjects: u64,
    /// Templates; a subject left without templates is not recognised.
    pub templates: u64,
    /// Images.
    pub images: u64,
    /// Records restored from the last good copy.
    pub from_copy: u64,
}

/// State of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "file", rename_all = "snake_case")]
pub enum FileState {
    /// The file is read and written.
    #[default]
    Writable,
    /// The file is read and cannot be written.
    ReadOnly {
        /// Error from the system.
        why: String,
    },
    /// The file was closed after an error; reopening is tried again and again.
    Failed {
        /// Error from redb or the system.
        why: String,
    },
}

impl LeftOut {
    /// Returns the losses to report: none once the user has removed the damaged file.
    pub(super) fn shown_for(self, path: &Path) -> Option<Self> {
        (self != Self::default() && beside(path, "damaged").exists()).then_some(self)
    }
}

impl Health {
    /// Checks that nothing needs attention.
    pub fn is_well(&self) -> bool {
        *self == Self::default()
    }
}
