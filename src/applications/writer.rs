//! Connects memory and file, and runs the thread that writes the usage. The lock of the memory is
//! never held while the disk is written.

use super::ApplicationsError;
use super::file::{ApplicationsFile, Loaded, Usage};
use super::state::State;
use crate::record_file::guarded;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time between two commits of the usage.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// State shared by the callers and the writing thread.
pub(super) struct Shared {
    file: Mutex<ApplicationsFile>,
    state: Mutex<State>,
    /// Notified when there is something to write, and at shutdown.
    pub work: Condvar,
}

impl Shared {
    pub fn new(file: ApplicationsFile, loaded: Loaded) -> Self {
        let mut state = State { fault: file.fault(), ..State::default() };
        state.reload(loaded);
        Self { file: Mutex::new(file), state: Mutex::new(state), work: Condvar::new() }
    }

    /// Locks the memory. A panic under the lock leaves no change half done: every change is one
    /// call.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the file; a failed file is opened again after its cooldown.
    pub fn file(&self) -> MutexGuard<'_, ApplicationsFile> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // An error here becomes the file's fault below.
        if let Ok(Some(loaded)) = file.reopen() {
            tracing::info!("the file of the applications was opened again");
            self.state().reload(loaded);
        }
        self.state().fault = file.fault();
        file
    }

    /// Runs `write` on the file with the ids of the revoked applications.
    pub fn write(
        &self,
        file: &mut ApplicationsFile,
        write: impl FnOnce(&mut ApplicationsFile, &BTreeSet<String>) -> Result<(), ApplicationsError>,
    ) -> Result<(), ApplicationsError> {
        let revoked = self.state().revoked.clone();
        let written = write(file, &revoked);
        let mut state = self.state();
        if written.is_ok() {
            state.revoked.retain(|id| !revoked.contains(id));
        }
        state.fault = file.fault();
        written
    }

    pub fn found(&self, id_or_name: &str) -> Result<String, ApplicationsError> {
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        let state = self.state();
        state.find(id_or_name).ok_or_else(|| state.refused().unwrap_or_else(unknown))
    }

    pub fn to_write(&self, state: &mut State, id: &str) {
        state.dirty.insert(id.to_owned());
        self.work.notify_all();
    }

    /// Runs the writer's loop: writes as soon as there is something to write, then waits
    /// [`COMMIT_EVERY`].
    pub fn write_until_stopped(&self) {
        let mut well = true;
        loop {
            let idle =
                |state: &mut State| state.is_written() && state.fault.is_none() && !state.stopping;
            drop(self.work.wait_while(self.state(), idle));
            let written = self.write_usage();
            if let Err(error) = &written
                && well
            {
                tracing::error!(%error, "the usage of applications is not on disk");
            }
            well = written.is_ok();
            let waiting = |state: &mut State| !state.stopping;
            drop(self.work.wait_timeout_while(self.state(), COMMIT_EVERY, waiting));
            let state = self.state();
            // At shutdown it writes once more; if the disk refuses, the data is lost.
            if state.stopping && (state.is_written() || !well) {
                return;
            }
        }
    }

    fn write_usage(&self) -> Result<(), ApplicationsError> {
        let mut file = self.file();
        let nothing_used = self.state().dirty.is_empty();
        if nothing_used {
            let nothing_revoked = self.state().revoked.is_empty();
            return match nothing_revoked {
                // Only the file was checked.
                true => file.fault().map_or(Ok(()), |why| Err(ApplicationsError::NotWritten(why))),
                false => self.write(&mut file, |file, revoked| file.remove(revoked)),
            };
        }
        self.hand_over(|usages| {
            self.write(&mut file, |file, revoked| file.put_usage(revoked, usages))
        })
    }

    /// Runs `write` on the usage that is not on disk; if it fails or panics, the usage is kept for
    /// the next attempt. Call it only under the lock of the file: otherwise an older count could
    /// overwrite a newer one.
    pub fn hand_over(
        &self,
        write: impl FnOnce(&[(String, Usage)]) -> Result<(), ApplicationsError>,
    ) -> Result<(), ApplicationsError> {
        let usages: Vec<(String, Usage)> = {
            let mut state = self.state();
            let dirty = std::mem::take(&mut state.dirty);
            let kept = |id: String| {
                let usage = state.applications.get(&id)?.kept();
                Some((id, usage))
            };
            dirty.into_iter().filter_map(kept).collect()
        };
        if usages.is_empty() {
            return Ok(());
        }
        // redb may panic on a damaged file instead of returning an error.
        let panicked = || ApplicationsError::Damaged("a panic while writing it".to_owned());
        guarded(|| write(&usages)).unwrap_or_else(|_| Err(panicked())).inspect_err(|_| {
            let ids = usages.iter().map(|(id, _)| id.clone());
            self.state().dirty.extend(ids);
        })
    }
}
