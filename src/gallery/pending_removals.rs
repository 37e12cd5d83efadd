//! What was taken from somebody and is not on disk yet: a deletion, a disabling, a group less. It
//! counts in memory from the moment it is asked for, before the disk is, and again after whatever else
//! changes the index; each change of the file writes it along.
//!
//! Only ever takes away. What would give somebody more waits for the disk.

use super::error::GalleryError;
use super::index::Index;
use super::tables::{self, SubjectRecord};
use super::{add_remnants, read_subject, remove_templates};
use redb::WriteTransaction;
use std::collections::BTreeMap;

/// By subject; at most one entry each, so there are never more than subjects.
#[derive(Clone, Default)]
pub(super) struct PendingRemovals {
    entries: BTreeMap<String, Entry>,
    last: u64,
}

#[derive(Clone)]
struct Entry {
    /// Tells it from a later one of the same subject.
    number: u64,
    what: Removal,
}

#[derive(Clone)]
enum Removal {
    /// The subject is deleted.
    Subject,
    /// What the subject may is at most this.
    Down(SubjectRecord),
}

impl PendingRemovals {
    /// A subject is to be gone.
    pub fn delete(&mut self, id: &str) -> u64 {
        self.add(id, Removal::Subject)
    }

    /// A subject may do at most this.
    pub fn narrow(&mut self, id: &str, bound: SubjectRecord) -> u64 {
        self.add(id, Removal::Down(bound))
    }

    fn add(&mut self, id: &str, what: Removal) -> u64 {
        self.last += 1;
        self.entries.insert(id.to_owned(), Entry { number: self.last, what });
        self.last
    }

    /// Whether an entry is not on disk yet.
    pub fn holds(&self, id: &str, number: u64) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.number == number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes it from the index.
    pub fn apply(&self, index: &mut Index) {
        for (id, Entry { what, .. }) in &self.entries {
            match what {
                Removal::Subject => index.remove(id),
                Removal::Down(bound) => {
                    if let Some(record) = index.record(id) {
                        index.put(id, record.narrowed(bound), index.templates_of(id));
                    }
                }
            }
        }
    }

    /// Takes it from the file.
    pub fn write(&self, write: &WriteTransaction) -> Result<(), GalleryError> {
        for (id, Entry { what, .. }) in &self.entries {
            match what {
                Removal::Subject => delete_subject(write, id)?,
                Removal::Down(bound) => {
                    if let Some(record) = read_subject(write, id)? {
                        let record = record.narrowed(bound).encode()?;
                        let mut subjects = write.open_table(tables::SUBJECTS)?;
                        subjects.insert(id.as_str(), record.as_slice())?;
                        add_remnants(write, 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What of this was in `written` is on disk.
    pub fn written(&mut self, written: &Self) {
        self.entries.retain(|id, entry| !written.holds(id, entry.number));
    }
}

/// Removes a subject with all its templates and images, if it is there.
fn delete_subject(write: &WriteTransaction, id: &str) -> Result<(), GalleryError> {
    if write.open_table(tables::SUBJECTS)?.remove(id)?.is_some() {
        remove_templates(write, id)?;
        add_remnants(write, 1)?;
    }
    Ok(())
}
