//! Removals that are not on disk yet: deletions, disablings and removed groups. They take effect in
//! memory as soon as they are requested, before the disk, and are applied again after every other
//! change of the index. Each change of the file writes them.
//!
//! They only take away. A change that grants more waits for the disk.

use super::error::GalleryError;
use super::index::Index;
use super::tables::{self, SubjectRecord};
use super::{add_remnants, read_subject, remove_templates};
use redb::WriteTransaction;
use std::collections::BTreeMap;

/// Keyed by subject, at most one entry each: never more entries than subjects.
#[derive(Clone, Default)]
pub(super) struct PendingRemovals {
    entries: BTreeMap<String, Entry>,
    last: u64,
}

#[derive(Clone)]
struct Entry {
    /// Distinguishes it from a later removal of the same subject.
    number: u64,
    what: Removal,
}

#[derive(Clone)]
enum Removal {
    /// The subject is deleted.
    Subject,
    /// The subject's permissions are limited to this record.
    Narrow(SubjectRecord),
}

impl PendingRemovals {
    /// Records a deletion.
    pub fn delete(&mut self, id: &str) -> u64 {
        self.add(id, Removal::Subject)
    }

    /// Records a limit of a subject's permissions.
    pub fn narrow(&mut self, id: &str, bound: SubjectRecord) -> u64 {
        self.add(id, Removal::Narrow(bound))
    }

    fn add(&mut self, id: &str, what: Removal) -> u64 {
        self.last += 1;
        self.entries.insert(id.to_owned(), Entry { number: self.last, what });
        self.last
    }

    /// Checks whether an entry is not on disk yet.
    pub fn holds(&self, id: &str, number: u64) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.number == number)
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Applies the removals to the index.
    pub fn apply(&self, index: &mut Index) {
        for (id, Entry { what, .. }) in &self.entries {
            match what {
                Removal::Subject => index.remove(id),
                Removal::Narrow(bound) => {
                    if let Some(record) = index.record(id) {
                        index.put(id, record.narrowed(bound), index.templates_of(id));
                    }
                }
            }
        }
    }

    /// Applies the removals to the file.
    pub fn write(&self, write: &WriteTransaction) -> Result<(), GalleryError> {
        for (id, Entry { what, .. }) in &self.entries {
            match what {
                Removal::Subject => delete_subject(write, id)?,
                Removal::Narrow(bound) => {
                    if let Some(record) = read_subject(write, id)? {
                        let record = record.narrowed(bound).encode()?;
                        let mut subjects = write.open_table(tables::SUBJECTS)?;
                        subjects.insert(id.as_str(), record.as_slice())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops the entries that are also in `written`: they are on disk.
    pub fn written(&mut self, written: &Self) {
        self.entries.retain(|id, entry| !written.holds(id, entry.number));
    }
}

/// Removes a subject with all its templates and images, if it exists.
fn delete_subject(write: &WriteTransaction, id: &str) -> Result<(), GalleryError> {
    if write.open_table(tables::SUBJECTS)?.remove(id)?.is_some() {
        remove_templates(write, id)?;
        add_remnants(write, 1)?;
    }
    Ok(())
}
