//! Applications: the clients that may send requests under `service.auth = "app-key"`, with their
//! permissions and quotas.
//!
//! Terms: an *application* is a program with an App-ID, an API-Key and permissions; it is *live*,
//! or *testing* with a quota for each kind of request. A *reservation* is quota taken before a
//! request is done; it is returned unless it is kept.
//!
//! Keys are never stored or logged. A creation, change, revocation or rotation is on disk when the call
//! returns and applies to the next request. Usage is counted in memory at once and written at most
//! once a second, without open reservations: a crash returns those, and besides them at most the
//! last second. A revoked key is invalid immediately, even if the disk refuses the change. A file
//! that fails is closed and opened again.
//!
//! Locks, always taken in this order: `file`, which orders the commits; `state`, which is never
//! held while the disk is written.

mod amounts;
mod error;
mod file;
mod key;
mod state;
mod writer;

pub(crate) use amounts::Amounts;
pub use error::ApplicationsError;
pub(crate) use key::ApiKey;

use crate::contract::{Alteration, Creation, Permission, QuotaKind};
use file::{ApplicationsFile, Loaded, Record, Usage};
use key::KeyHash;
use state::Application;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use writer::Shared;

const DAY: u64 = 24 * 60 * 60;

/// An application in its listed form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub id: String,
    pub name: String,
    /// Only in testing mode.
    pub quota: Option<Amounts>,
    pub used: Amounts,
    pub allow: BTreeSet<Permission>,
    /// Unix seconds.
    pub created: u64,
    /// Start of the day, UTC, in Unix seconds.
    pub last_used: Option<u64>,
}

/// An authenticated application.
#[derive(Debug, PartialEq)]
pub(crate) struct Known {
    pub id: String,
    pub allow: BTreeSet<Permission>,
}

/// Why no quota was reserved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotReserved {
    /// No quota of this kind is left.
    Short(QuotaKind),
    /// The application was revoked a moment ago.
    Revoked,
}

/// The applications of one terminal. All methods may be called from several threads.
pub struct Applications {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Applications {
    /// Opens the file, or creates it in an existing folder, and starts the thread that writes the
    /// usage.
    pub fn open(path: &Path) -> Result<Self, ApplicationsError> {
        let (file, loaded) = ApplicationsFile::open(path)?;
        Self::start(path, file, loaded)
    }

    /// Starts with a file that cannot be opened: no key is valid until it can be opened, which is
    /// tried again and again.
    pub fn without_file(path: &Path, why: String) -> Result<Self, ApplicationsError> {
        Self::start(path, ApplicationsFile::failed(path, why), Loaded::new())
    }

    fn start(
        path: &Path,
        file: ApplicationsFile,
        loaded: Loaded,
    ) -> Result<Self, ApplicationsError> {
        let shared = Arc::new(Shared::new(file, loaded));
        let writer = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("quota".into());
            let spawned = thread.spawn(move || shared.write_until_stopped());
            spawned.map_err(|source| ApplicationsError::Io { path: path.to_owned(), source })?
        };
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Returns why the file cannot be written, if so, and how many keys are revoked in memory but
    /// not on disk.
    pub(crate) fn health(&self) -> (Option<String>, usize) {
        let state = self.shared.state();
        (state.fault.clone(), state.revoked.len())
    }

    /// Makes an application and returns it with its key, which is shown only here.
    pub(crate) fn create(&self, creation: Creation) -> Result<(Listed, ApiKey), ApplicationsError> {
        let Creation { name, quota, allow } = creation;
        let quota = quota.as_ref().map(Amounts::from);
        let key = ApiKey::random()?;
        let record =
            Record { name, key: KeyHash::of(&key)?, quota, allow, created: unix_seconds() };
        let id = uuid::Uuid::new_v4().to_string();
        let mut file = self.shared.file();
        if self.shared.state().find(&record.name).is_some() {
            return Err(ApplicationsError::Taken(record.name));
        }
        self.shared.write(&mut file, |file, revoked| file.put(revoked, &id, &record))?;
        let application = Application::new(record, Usage::default());
        let listed = application.listed(&id);
        self.shared.state().applications.insert(id, application);
        Ok((listed, key))
    }

    /// Returns all applications, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, ApplicationsError> {
        let state = self.shared.state();
        if let Some(refused) = state.refused() {
            return Err(refused);
        }
        let mut all: Vec<_> = state.applications.iter().map(|(id, it)| it.listed(id)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes an application by id or name. Its key is invalid from here on, even if the disk
    /// refuses the removal: [`ApplicationsError::NotOnDisk`].
    pub(crate) fn revoke(&self, id_or_name: &str) -> Result<Listed, ApplicationsError> {
        let (id, listed) = {
            let mut state = self.shared.state();
            let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
            let id =
                state.find(id_or_name).ok_or_else(|| state.refused().unwrap_or_else(unknown))?;
            let gone = state.applications.remove(&id).ok_or_else(unknown)?;
            state.dirty.remove(&id);
            state.revoked.insert(id.clone());
            let listed = gone.listed(&id);
            (id, listed)
        };
        let mut file = self.shared.file();
        match self.shared.write(&mut file, |file, revoked| file.remove(revoked)) {
            Err(error) if self.shared.state().revoked.contains(&id) => {
                self.shared.work.notify_all();
                let why = error.to_string();
                Err(ApplicationsError::NotOnDisk { id, name: listed.name, why })
            }
            _ => Ok(listed),
        }
    }

    /// Gives an application, selected by id or name, another key; the old key is invalid from here
    /// on. Its usage stays.
    pub(crate) fn rotate(&self, id_or_name: &str) -> Result<(Listed, ApiKey), ApplicationsError> {
        let key = ApiKey::random()?;
        let hash = KeyHash::of(&key)?;
        let listed = self.changed(id_or_name, |record| Record { key: hash, ..record })?;
        Ok((listed, key))
    }

    /// Changes an application, selected by id or name; its key and its usage stay. The change
    /// applies to the next request.
    pub(crate) fn update(
        &self,
        id_or_name: &str,
        Alteration { quota, allow }: Alteration,
    ) -> Result<Listed, ApplicationsError> {
        let quota = quota.map(|quota| quota.as_ref().map(Amounts::from));
        self.changed(id_or_name, |record| Record {
            quota: quota.unwrap_or(record.quota),
            allow: allow.unwrap_or(record.allow),
            ..record
        })
    }

    /// Replaces the record of an application, on disk first.
    fn changed(
        &self,
        id_or_name: &str,
        change: impl FnOnce(Record) -> Record,
    ) -> Result<Listed, ApplicationsError> {
        let mut file = self.shared.file();
        let id = self.shared.found(id_or_name)?;
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        let record = {
            let state = self.shared.state();
            change(state.applications.get(&id).ok_or_else(unknown)?.record.clone())
        };
        self.shared.write(&mut file, |file, revoked| file.put(revoked, &id, &record))?;
        let mut state = self.shared.state();
        let application = state.applications.get_mut(&id).ok_or_else(unknown)?;
        application.record = record;
        Ok(application.listed(&id))
    }

    /// Returns the application with this id and key. An unknown id takes as long as a wrong key.
    pub(crate) fn authenticate(&self, id: &str, key: &str) -> Option<Known> {
        let hash = {
            let state = self.shared.state();
            state.applications.get(id).map_or(KeyHash::NO_KEY, |it| it.record.key.clone())
        };
        if !hash.matches(key) {
            return None;
        }
        let today = unix_seconds() / DAY;
        let mut state = self.shared.state();
        let application = state.applications.get_mut(id)?;
        let known = Known { id: id.to_owned(), allow: application.record.allow.clone() };
        if application.usage.last_used_day != Some(today) {
            application.usage.last_used_day = Some(today);
            self.shared.to_write(&mut state, id);
        }
        Some(known)
    }

    /// Takes one of each of `kinds` from an application's quota; does nothing in live mode.
    pub(crate) fn reserve(
        &self,
        id: &str,
        kinds: Vec<QuotaKind>,
    ) -> Result<Option<Reservation>, NotReserved> {
        let mut state = self.shared.state();
        let application = state.applications.get_mut(id).ok_or(NotReserved::Revoked)?;
        let Some(quota) = application.record.quota else { return Ok(None) };
        if kinds.is_empty() {
            return Ok(None);
        }
        application.usage.used.spend(&kinds, &quota).map_err(NotReserved::Short)?;
        application.open.add(&kinds);
        drop(state);
        let shared = Arc::clone(&self.shared);
        Ok(Some(Reservation { shared, id: id.to_owned(), kinds }))
    }
}

impl Drop for Applications {
    /// Writes the usage.
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take() {
            // It catches every panic; if one escapes, it was reported, and no thread is left to
            // write.
            let _ = writer.join();
        }
    }
}

/// Reserved quota; returned on drop, so that a request that fails, expires or panics uses none.
#[must_use = "dropped, it gives the quota back"]
pub(crate) struct Reservation {
    shared: Arc<Shared>,
    id: String,
    /// Empty once it is kept.
    kinds: Vec<QuotaKind>,
}

impl Reservation {
    /// Keeps the quota: the request was done.
    pub fn keep(mut self) {
        let kinds = std::mem::take(&mut self.kinds);
        let mut state = self.shared.state();
        if let Some(application) = state.applications.get_mut(&self.id) {
            application.open.give_back(&kinds);
            self.shared.to_write(&mut state, &self.id);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.kinds.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        // The file does not contain the reservation.
        if let Some(application) = state.applications.get_mut(&self.id) {
            application.usage.used.give_back(&self.kinds);
            application.open.give_back(&self.kinds);
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
