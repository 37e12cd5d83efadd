//! One change of the file and of the index, and the file that fails.
//!
//! A change is a transaction and what it does to the index afterwards. Whatever was withheld goes to
//! disk in the same transaction. A file that fails is closed; once it has rested the next change, or
//! [`Gallery::tend`], opens it, reads it again (whether the failed commit reached the disk is not known)
//! and goes on.

use super::copy::{self, Copy};
use super::error::{GalleryError, OpenError};
use super::file::{GalleryFile, closed};
use super::health::{FileState, Health};
use super::index::Index;
use super::{Gallery, Loaded, Memory, loaded, tables};
use crate::record_file::{Handle, REPLACED, begin_write, guarded};
use redb::{Database, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How long a damaged file is left alone of which what is sound could not take its place: each attempt
/// writes as much as the gallery holds, which a card would not bear every few seconds.
const DAMAGED_REST: Duration = Duration::from_secs(5 * 60);

/// What an enrolment leaves free on the disk, in bytes, or an eighth of a small disk: some thousand
/// deletions and events.
const RESERVE: u64 = 64 << 20;

/// A change of the tables that stands in a transaction.
pub(super) struct Change<F> {
    /// Whether a record that was there is another now, or gone.
    pub alters: bool,
    /// What it does to the index.
    pub then: F,
}

impl Gallery {
    /// Writes what is not on disk yet and opens a file that failed, as far as that can be done; does
    /// nothing while all is well. To be called every few seconds.
    pub fn tend(&self) {
        let Health { file, not_on_disk, .. } = self.health();
        let is_replaced = self.file().is_ok_and(|file| file.is_replaced());
        if file != FileState::Writable || not_on_disk > 0 || is_replaced {
            // What goes wrong is in the log and in the health.
            let _ = self.changed(|_| Ok(Change { alters: false, then: |_: &mut Index| () }));
        }
    }

    /// An error, if an enrolment would take the room that deletions and events need: whoever may enrol
    /// could otherwise make the terminal forget both.
    pub(super) fn has_room(&self) -> Result<(), GalleryError> {
        let file = self.file()?;
        // A file system that does not say is asked by the write itself.
        let Ok(stat) = rustix::fs::statvfs(file.path()) else { return Ok(()) };
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let (free, needed) = (bytes(stat.f_bavail), RESERVE.min(bytes(stat.f_blocks) / 8));
        match free < needed {
            true => Err(GalleryError::NoRoom { free: free >> 20, needed: needed >> 20 }),
            false => Ok(()),
        }
    }

    /// Makes the last good copy, if the file is otherwise by now; returns whether it did. Enrolments and
    /// deletions wait for it, searches for nothing.
    pub fn copy_if_due(&self) -> Result<bool, GalleryError> {
        let _writer = self.writer()?;
        if !self.copy_due.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.unreplaced()?;
        let file = self.file()?;
        copy::make(file.handle.writable().map_err(closed)?, file.path())?;
        self.copy_due.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Finds out whether the copy is of the file as it is; one that is not is removed.
    pub(super) fn look_at_copy(&self) -> Result<(), GalleryError> {
        let file = self.file()?;
        let database = file.handle.writable().map_err(closed)?;
        let is_good = match Copy::read(file.path()) {
            Some(copy) => copy.is_of(database)?,
            None => false,
        };
        self.copy_due.store(!is_good, Ordering::Relaxed);
        match is_good {
            true => Ok(()),
            false => copy::remove(file.path()).map_err(GalleryError::Copy),
        }
    }

    /// How things are with the file. Waits for no disk.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The same, and its changes.
    pub fn healths(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Has `make` change the tables, and what it returns the index, once it is on disk. What was
    /// withheld is written along.
    pub(super) fn changed<T, F: FnOnce(&mut Index) -> T>(
        &self,
        make: impl FnOnce(&WriteTransaction) -> Result<Change<F>, GalleryError>,
    ) -> Result<T, GalleryError> {
        let writer = self.writer()?;
        self.reopen()?;
        self.unreplaced()?;
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
                    // A record may hold by now what an older program does not know.
                    meta.insert(tables::META_SCHEMA, tables::SCHEMA)?;
                    tables::read_meta(&meta, tables::META_REMNANTS)?
                };
                if alters || pending_removals.len() > 0 {
                    // First: of what is altered here nothing must come back from there.
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
            let mut memory = self.memory_alone()?;
            let Memory { index, pending_removals: left, .. } = &mut *memory;
            left.written(&pending_removals);
            let result = then(index);
            // What was taken while this was written.
            left.apply(index);
            result
        };
        drop(writer);
        self.tell();
        Ok(result)
    }

    /// Closes a file that another one has replaced under its name: nothing more is written to it, and what
    /// is there by then is opened as one that failed is. The caller holds `writer`.
    pub(super) fn unreplaced(&self) -> Result<(), GalleryError> {
        let is_replaced = self.file()?.is_replaced();
        match is_replaced {
            true => Err(self.failed(StorageError::Io(io::Error::other(REPLACED)).into())),
            false => Ok(()),
        }
    }

    /// Looks into the file.
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

    /// Whether what was taken from a subject is still not on disk: another change may have written it
    /// along.
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
        tracing::error!(%error, "the gallery file failed; who is enrolled is still recognised");
        self.tell();
        // Not under the lock: who asks how many there are does not wait for the disk.
        drop(closing);
        error
    }

    /// Opens a file that failed, once it has rested. The caller holds `writer`.
    fn reopen(&self) -> Result<(), GalleryError> {
        let path = {
            let file = self.file()?;
            match file.handle.is_due(file.path()) {
                true => file.path().to_owned(),
                false => return Ok(()),
            }
        };
        let load = |database: &Database| loaded(database, &self.settings.model_id, self.level);
        let opened = GalleryFile::again(&path, load);
        let mut file = self.file.write().map_err(|_| GalleryError::InDoubt)?;
        let (handle, Loaded { index, remnants, left_out }) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let closing = file.handle.fail(error.to_string());
                if matches!(error, OpenError::Damaged { .. }) {
                    file.handle.rest(DAMAGED_REST);
                }
                drop(file);
                self.tell();
                drop(closing);
                return Err(GalleryError::NotWritten(error.to_string()));
            }
        };
        let is_written = handle.writable().is_ok();
        file.put(handle);
        let mut memory = self.memory_alone()?;
        memory.index = index;
        memory.left_out = left_out.shown_beside(&path);
        let Memory { index, pending_removals, .. } = &mut *memory;
        pending_removals.apply(index);
        self.remnants.store(remnants, Ordering::Relaxed);
        if is_written {
            tracing::info!(path = %path.display(), "the gallery file is written again");
        }
        Ok(())
    }

    /// Brings the health up to date.
    pub(super) fn tell(&self) {
        let (Ok(file), Ok(memory)) = (self.file(), self.memory()) else { return };
        let file = match &file.handle {
            Handle::Open(_) => FileState::Writable,
            Handle::ReadOnly { why, .. } => FileState::ReadOnly { why: why.clone() },
            Handle::Failed { why, .. } => FileState::Failed { why: why.clone() },
        };
        let (not_on_disk, left_out) = (memory.pending_removals.len(), memory.left_out);
        let health = Health { file, not_on_disk, left_out };
        self.health.send_if_modified(|known| {
            let news = *known != health;
            *known = health;
            news
        });
    }
}

impl Drop for Gallery {
    /// Once more, for what a restart would forget.
    fn drop(&mut self) {
        if self.health().not_on_disk > 0 {
            if let Ok(file) = self.file.get_mut() {
                file.handle.wake();
            }
            self.tend();
        }
    }
}
