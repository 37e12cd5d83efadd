//! How things are with the gallery's file, for `health` and for alarms.

use crate::record_file::beside;
use serde::Serialize;
use std::path::Path;

/// How things are with the gallery's file. Recognition goes on in all of these states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether it is written, and why not.
    #[serde(flatten)]
    pub file: FileState,
    /// Subjects from whom something was taken (deleted, disabled, a group less) that counts already
    /// and is not on disk: a restart forgets it.
    pub not_on_disk: usize,
    /// What a damaged file lost, as long as it stands beside as `<file>.damaged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// What is not in the gallery any more because its file was damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Subjects; of a table that was lost whole, one stands for all.
    pub subjects: u64,
    /// Templates: whom they are of, and who has no other, is not recognised.
    pub templates: u64,
    /// Images.
    pub images: u64,
    /// Records that the last good copy gave back.
    pub from_copy: u64,
}

/// Whether the file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "file", rename_all = "snake_case")]
pub enum FileState {
    /// Read and written.
    #[default]
    Writable,
    /// Read, and not to be written.
    ReadOnly {
        /// What the system said.
        why: String,
    },
    /// Closed after an error; opened again and again.
    Failed {
        /// What redb or the system said.
        why: String,
    },
}

impl LeftOut {
    /// What is to be said of it: nothing once the damaged file was seen to.
    pub(super) fn shown_beside(self, path: &Path) -> Option<Self> {
        (self != Self::default() && beside(path, "damaged").exists()).then_some(self)
    }
}

impl Health {
    /// Whether nothing is to be seen to.
    pub fn is_well(&self) -> bool {
        *self == Self::default()
    }
}
