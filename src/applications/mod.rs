//! Applications: the clients that may send requests under `service.auth = "app-key"`, with their
//! permissions and quotas.
//!
//! Terms: an *application* is a program with an App-ID, an API-Key and permissions; it is *live*,
//! or *testing* with a quota for each kind of request. A *reservation* is quota taken before a
//! request is done; it is returned unless it is kept.
//!
//! Keys are never stored or logged. A creation, change, revocation or rotation is on disk when the
//! call returns and applies to the next request. Usage is counted in memory at once and written at
//! most once a second, without open reservations: a crash returns those, and besides them at most
//! the last second. A rotated key is invalid at once, or after an overlap that was asked for; at
//! most one old key of an application is valid. A revoked key is invalid immediately, even if the
//! disk refuses the change. A file that fails is closed and opened again.
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
use file::{ApplicationsFile, Loaded, OldKey, Record, Stored, Usage};
use key::KeyHash;
use state::Application;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use writer::Shared;

const DAY: u64 = 24 * 60 * 60;

/// An application in its listed form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub id: String,
    pub name: String,
    /// Only in testing mode.
    pub quota: Option<Amounts>,
    /// Counted against the quota.
    pub used: Amounts,
    /// Done in both modes.
    pub done: Amounts,
    pub allow: BTreeSet<Permission>,
    /// Unix seconds.
    pub created: u64,
    /// Start of the day, UTC, in Unix seconds.
    pub last_used: Option<u64>,
    /// Unix seconds, while the key before the present one is valid.
    pub old_key_until: Option<u64>,
}

impl Listed {
    /// Returns `testing` or `live`.
    pub fn mode(&self) -> &'static str {
        if self.quota.is_some() { "testing" } else { "live" }
    }
}

/// The rights of the sender that changes applications: it gives no permission that it has not
/// itself, and no application changes its own.
#[derive(Clone, Debug)]
pub(crate) struct Grantor {
    /// `None`: all permissions.
    pub permissions: Option<BTreeSet<Permission>>,
    /// Its id, if it is an application.
    pub application: Option<String>,
}

impl Grantor {
    /// Checks that it has all of `permissions`.
    fn covers(&self, permissions: &BTreeSet<Permission>) -> Result<(), ApplicationsError> {
        let Some(own) = &self.permissions else { return Ok(()) };
        let more: BTreeSet<_> = permissions.difference(own).copied().collect();
        if more.is_empty() { Ok(()) } else { Err(ApplicationsError::Exceeds(more)) }
    }
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
    pub(crate) fn create(
        &self,
        by: &Grantor,
        creation: Creation,
    ) -> Result<(Listed, ApiKey), ApplicationsError> {
        let Creation { name, quota, allow } = creation;
        by.covers(&allow)?;
        let quota = quota.as_ref().map(Amounts::from);
        let key = ApiKey::random()?;
        let record =
            Record { name, key: KeyHash::of(&key)?, quota, allow, created: unix_seconds() };
        let id = uuid::Uuid::new_v4().to_string();
        let mut file = self.shared.file();
        if self.shared.state().find(&record.name).is_some() {
            return Err(ApplicationsError::Taken(record.name));
        }
        self.shared.write(&mut file, |file, revoked| file.put(revoked, &id, &record, None))?;
        let stored = Stored { record, usage: Usage::default(), old_key: None };
        let application = Application::new(stored);
        let listed = application.listed(&id, unix_seconds());
        self.shared.state().applications.insert(id, application);
        Ok((listed, key))
    }

    /// Returns all applications, sorted by name.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, ApplicationsError> {
        let state = self.shared.state();
        if let Some(refused) = state.refused() {
            return Err(refused);
        }
        let now = unix_seconds();
        let mut all: Vec<_> =
            state.applications.iter().map(|(id, it)| it.listed(id, now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Returns one application by id or name.
    pub(crate) fn get(&self, id_or_name: &str) -> Result<Listed, ApplicationsError> {
        let id = self.shared.found(id_or_name)?;
        let state = self.shared.state();
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        Ok(state.applications.get(&id).ok_or_else(unknown)?.listed(&id, unix_seconds()))
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
            let listed = gone.listed(&id, unix_seconds());
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

    /// Gives an application, selected by id or name, another key. The old key is invalid from here
    /// on, or after `grace`; the one before it is invalid in any case. Its usage stays.
    pub(crate) fn rotate(
        &self,
        by: &Grantor,
        id_or_name: &str,
        grace: Duration,
    ) -> Result<(Listed, ApiKey), ApplicationsError> {
        let key = ApiKey::random()?;
        let hash = KeyHash::of(&key)?;
        let from = unix_seconds();
        let until = from.saturating_add(grace.as_secs());
        let listed = self.changed(id_or_name, |_, record, _| {
            // Its new key acts with its permissions.
            by.covers(&record.allow)?;
            let old = OldKey { key: record.key, successor: hash.clone(), from, until };
            let old_key = (!grace.is_zero()).then_some(old);
            Ok((Record { key: hash, ..record }, old_key))
        })?;
        Ok((listed, key))
    }

    /// Changes an application, selected by id or name; its key and its usage stay. The change
    /// applies to the next request.
    pub(crate) fn update(
        &self,
        by: &Grantor,
        id_or_name: &str,
        Alteration { quota, allow }: Alteration,
    ) -> Result<Listed, ApplicationsError> {
        let quota = quota.map(|quota| quota.as_ref().map(Amounts::from));
        self.changed(id_or_name, |id, record, old_key| {
            if by.application.as_deref() == Some(id) {
                return Err(ApplicationsError::Own);
            }
            if let Some(allow) = &allow {
                by.covers(&allow.difference(&record.allow).copied().collect())?;
            }
            let changed = Record {
                quota: quota.unwrap_or(record.quota),
                allow: allow.unwrap_or(record.allow),
                ..record
            };
            Ok((changed, old_key))
        })
    }

    /// Replaces the record and the old key of an application, on disk first.
    fn changed(
        &self,
        id_or_name: &str,
        change: impl FnOnce(
            &str,
            Record,
            Option<OldKey>,
        ) -> Result<(Record, Option<OldKey>), ApplicationsError>,
    ) -> Result<Listed, ApplicationsError> {
        let mut file = self.shared.file();
        let id = self.shared.found(id_or_name)?;
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        let (record, old_key) = {
            let state = self.shared.state();
            let present = state.applications.get(&id).ok_or_else(unknown)?;
            change(&id, present.record.clone(), present.old_key.clone())?
        };
        let put = |file: &mut ApplicationsFile, revoked: &BTreeSet<String>| {
            file.put(revoked, &id, &record, old_key.as_ref())
        };
        self.shared.write(&mut file, put)?;
        let mut state = self.shared.state();
        let application = state.applications.get_mut(&id).ok_or_else(unknown)?;
        application.record = record;
        application.old_key = old_key;
        Ok(application.listed(&id, unix_seconds()))
    }

    /// Returns the application with this id and key. An unknown id takes as long as a wrong key.
    pub(crate) fn authenticate(&self, id: &str, key: &str) -> Option<Known> {
        let now = unix_seconds();
        let [present, old] = {
            let state = self.shared.state();
            let application = state.applications.get(id);
            let old = application.and_then(|it| it.valid_old_key(now));
            [application.map(|it| &it.record.key), old.map(|old| &old.key)]
                .map(|hash| hash.cloned().unwrap_or(KeyHash::NO_KEY))
        };
        // Both are always compared, so that the time does not tell whether there is an old key.
        if !(present.matches(key) | old.matches(key)) {
            return None;
        }
        let today = now / DAY;
        let mut state = self.shared.state();
        let application = state.applications.get_mut(id)?;
        let known = Known { id: id.to_owned(), allow: application.record.allow.clone() };
        if application.usage.last_used_day != Some(today) {
            application.usage.last_used_day = Some(today);
            self.shared.to_write(&mut state, id);
        }
        Some(known)
    }

    /// Takes one of each of `kinds` from an application's quota. In live mode there is none: the
    /// request is counted when it is done.
    pub(crate) fn reserve(
        &self,
        id: &str,
        kinds: Vec<QuotaKind>,
    ) -> Result<Option<Reservation>, NotReserved> {
        let mut state = self.shared.state();
        let application = state.applications.get_mut(id).ok_or(NotReserved::Revoked)?;
        if kinds.is_empty() {
            return Ok(None);
        }
        let quota = application.record.quota;
        if let Some(quota) = &quota {
            application.usage.used.spend(&kinds, quota).map_err(NotReserved::Short)?;
            application.open.add(&kinds);
        }
        drop(state);
        let shared = Arc::clone(&self.shared);
        Ok(Some(Reservation { shared, id: id.to_owned(), kinds, live: quota.is_none() }))
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
    /// True if it took no quota, in live mode.
    live: bool,
}

impl Reservation {
    /// Keeps the quota: the request was done.
    pub fn keep(mut self) {
        let kinds = std::mem::take(&mut self.kinds);
        let mut state = self.shared.state();
        if let Some(application) = state.applications.get_mut(&self.id) {
            match self.live {
                true => application.usage.live.add(&kinds),
                false => application.open.give_back(&kinds),
            }
            self.shared.to_write(&mut state, &self.id);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.kinds.is_empty() || self.live {
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
