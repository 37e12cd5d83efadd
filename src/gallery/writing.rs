//! One change of the file and of the index, and a file that fails.
//!
//! A change is a transaction plus its effect on the index. Pending removals are written in the same
//! transaction. A file that fails is closed. After a cooldown, the next change or [`Gallery::tend`]
//! opens it, reads it again (it is unknown whether the failed commit reached the disk) and
//! continues.

use super::copy::{self, Copy};
use super::error::{GalleryError, OpenError};
use super::file::{GalleryFile, closed};
use super::health::{FileState, Health};
use super::index::Index;
use super::space::Space;
use super::{Gallery, Loaded, Memory, loaded, tables};
use crate::record_file::{Handle, REPLACED, begin_write, guarded};
use redb::{Database, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Cooldown of a damaged file that could not be replaced by its intact records: each attempt writes
/// as much as the gallery holds, and an SD card would not survive that every few seconds.
const DAMAGED_COOLDOWN: Duration = Duration::from_secs(5 * 60);

/// A change of the tables within a transaction.
pub(super) struct Change<F> {
    /// True if an existing record is changed or removed.
    pub alters: bool,
    /// Applies the change to the index.
    pub then: F,
}

impl Gallery {
    /// Writes pending removals and reopens a failed file, as far as possible; does nothing if all
    /// is well. Call it every few seconds.
    pub fn tend(&self) {
        let Health { file, not_on_disk, .. } = self.health();
        let is_replaced = self.file().is_ok_and(|file| file.is_replaced());
        if file != FileState::Writable || not_on_disk > 0 || is_replaced {
            // Errors are in the log and in the health.
            let _ = self.changed(|_| Ok(Change { alters: false, then: |_: &mut Index| () }));
        }
    }

    /// Returns an error if an enrolment would use the space reserved for deletions and events:
    /// otherwise a client that may enrol could make the terminal lose both.
    pub(super) fn has_room(&self) -> Result<(), GalleryError> {
        let file = self.file()?;
        // If the file system does not report its free space, the write itself fails when it is
        // full.
        match Space::of(file.path()) {
            Some(space @ Space { free, reserve, .. }) if space.is_short() => {
                Err(GalleryError::NoRoom { free: free >> 20, needed: reserve >> 20 })
            }
            _ => Ok(()),
        }
    }

    /// Makes the last good copy if the file has changed since; returns whether it did. Enrolments
    /// and deletions wait for it; searches do not wait.
    pub fn copy_if_due(&self) -> Result<bool, GalleryError> {
        let _writer = self.writer()?;
        if !self.copy_due.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.fail_if_replaced()?;
        let file = self.file()?;
        copy::make(file.handle.writable().map_err(closed)?, file.path())?;
        self.copy_due.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Checks whether the copy equals the file; removes it if not.
    pub(super) fn check_copy(&self) -> Result<(), GalleryError> {
        let file = self.file()?;
        let database = file.handle.writable().map_err(closed)?;
        let is_good = match Copy::read(file.path()) {
            Some(copy) => copy.equals(database)?,
            None => false,
        };
        self.copy_due.store(!is_good, Ordering::Relaxed);
        match is_good {
            true => Ok(()),
            false => copy::remove(file.path()).map_err(GalleryError::Copy),
        }
    }

    /// Returns the state of the file. Does not wait for the disk.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Subscribes to the state of the file and its changes.
    pub fn healths(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Runs `make` to change the tables and, once that is on disk, its result to change the index.
    /// Writes the pending removals in the same transaction.
    pub(super) fn changed<T, F: FnOnce(&mut Index) -> T>(
        &self,
        make: impl FnOnce(&WriteTransaction) -> Result<Change<F>, GalleryError>,
    ) -> Result<T, GalleryError> {
        let writer = self.writer()?;
        self.reopen()?;
        self.fail_if_replaced()?;
        let pending_removals = self.memory()?.pending_removals.clone();
        let outcome = {
            let file = self.file()?;
            let database = file.handle.writable().map_err(closed)?;
            guarded(|| {
                let write = begin_write(database)?;
                pending_removals.write(&write)?;
                let Change { alters, then } = make(&write)?;
                let remnants = {
                    let mut meta = write.open_table(tables::META)?;
                    // A record may contain fields that an older program does not know.
                    meta.insert(tables::META_SCHEMA, tables::SCHEMA)?;
                    tables::read_meta(&meta, tables::META_REMNANTS)?
                };
                if alters || pending_removals.len() > 0 {
                    // First: the copy must never bring back a record that is changed here.
                    copy::remove(file.path()).map_err(StorageError::Io)?;
                }
                write.commit()?;
                Ok((then, remnants))
            })
        };
        let (then, remnants) = match outcome {
            Ok(Ok(done)) => done,
            Ok(Err(error @ GalleryError::Storage(_))) => return Err(self.failed(error)),
            Ok(Err(error)) => return Err(error),
            Err(panic) => return Err(self.failed(GalleryError::Damaged(panic))),
        };
        self.remnants.store(remnants, Ordering::Relaxed);
        self.copy_due.store(true, Ordering::Relaxed);
        let result = {
            let mut memory = self.memory_mut()?;
            let Memory { index, pending_removals: left, .. } = &mut *memory;
            left.written(&pending_removals);
            let result = then(index);
            // Removals that arrived during the write.
            left.apply(index);
            result
        };
        drop(writer);
        self.publish_health();
        Ok(result)
    }

    /// Closes a file that another one has replaced under its name: nothing more is written to it,
    /// and the file found there is opened like one that failed. The caller holds `writer`.
    pub(super) fn fail_if_replaced(&self) -> Result<(), GalleryError> {
        let is_replaced = self.file()?.is_replaced();
        match is_replaced {
            true => Err(self.failed(StorageError::Io(io::Error::other(REPLACED)).into())),
            false => Ok(()),
        }
    }

    /// Reads from the file.
    pub(super) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, GalleryError>,
    ) -> Result<T, GalleryError> {
        let outcome = {
            let file = self.file()?;
            let database = file.handle.readable().map_err(closed)?;
            guarded(|| look(&database.begin_read()?))
        };
        match outcome {
            Ok(Err(error @ GalleryError::Storage(_))) => Err(self.failed(error)),
            Ok(looked) => looked,
            Err(panic) => Err(GalleryError::Damaged(panic)),
        }
    }

    /// Checks whether a removal is still not on disk: another change may have written it.
    pub(super) fn is_pending(&self, id: &str, number: u64) -> Result<bool, GalleryError> {
        Ok(self.memory()?.pending_removals.holds(id, number))
    }

    /// Closes a file that failed.
    fn failed(&self, error: GalleryError) -> GalleryError {
        let why = match &error {
            GalleryError::Storage(source) => source.to_string(),
            other => other.to_string(),
        };
        let closing = self.file.write().ok().map(|mut file| file.handle.fail(why));
        tracing::error!(%error, "the gallery file failed; enrolled subjects are still recognised");
        self.publish_health();
        // Outside the lock: readers of the statistics must not wait for the disk.
        drop(closing);
        error
    }

    /// Opens a failed file after its cooldown. The caller holds `writer`.
    fn reopen(&self) -> Result<(), GalleryError> {
        let path = {
            let file = self.file()?;
            match file.handle.is_due(file.path()) {
                true => file.path().to_owned(),
                false => return Ok(()),
            }
        };
        let load = |database: &Database| loaded(database, &self.settings.model_id, self.level);
        let opened = GalleryFile::open_existing(&path, load);
        let mut file = self.file.write().map_err(|_| GalleryError::InDoubt)?;
        let (handle, Loaded { index, remnants, left_out }) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let closing = file.handle.fail(error.to_string());
                if matches!(error, OpenError::Damaged { .. }) {
                    file.handle.set_cooldown(DAMAGED_COOLDOWN);
                }
                drop(file);
                self.publish_health();
                drop(closing);
                return Err(GalleryError::NotWritten(error.to_string()));
            }
        };
        let is_written = handle.writable().is_ok();
        file.put(handle);
        let mut memory = self.memory_mut()?;
        memory.index = index;
        memory.left_out = left_out.shown_for(&path);
        let Memory { index, pending_removals, .. } = &mut *memory;
        pending_removals.apply(index);
        self.remnants.store(remnants, Ordering::Relaxed);
        if is_written {
            tracing::info!(path = %path.display(), "the gallery file is written again");
        }
        Ok(())
    }

    /// Updates the published health.
    pub(super) fn publish_health(&self) {
        let (Ok(file), Ok(memory)) = (self.file(), self.memory()) else { return };
        let file = match &file.handle {
            Handle::Open(_) => FileState::Writable,
            Handle::ReadOnly { why, .. } => FileState::ReadOnly { why: why.clone() },
            Handle::Failed { why, .. } => FileState::Failed { why: why.clone() },
        };
        let (not_on_disk, left_out) = (memory.pending_removals.len(), memory.left_out);
        let health = Health { file, not_on_disk, left_out };
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }
}

impl Drop for Gallery {
    /// Tries once more to write the removals that a restart would lose.
    fn drop(&mut self) {
        if self.health().not_on_disk > 0 {
            if let Ok(file) = self.file.get_mut() {
                file.handle.end_cooldown();
            }
            self.tend();
        }
    }
}
