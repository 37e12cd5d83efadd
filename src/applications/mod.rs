//! Applications: who may ask under `service.auth = "app-key"`, for what, and how much of it.
//!
//! Terms: an *application* is a program with an App-ID, an API-Key and permissions; it is *live*, or
//! *testing* with a quota for each kind of request. A *reservation* is quota taken before a request
//! is done and given back unless it is kept.
//!
//! Never keeps or logs a key. What is decided (made, revoked, rotated) is on disk when the call
//! returns and counts for the next request. What is used up is counted in memory at once and written
//! at most once a second, without the reservations that are open: a crash gives those back, and
//! beside them the last second at most. A key that is revoked is worth nothing from the moment on,
//! whether the disk takes it or not; a file that fails is closed and opened again.
//!
//! Locks, always taken in this order: `file`, which orders the commits; `state`, which is never held
//! while the disk is written.

mod error;
mod file;
mod key;
mod quota;

pub use error::ApplicationsError;
pub(crate) use key::ApiKey;
pub(crate) use quota::Amounts;

use crate::contract::{Creation, Permission, QuotaKind};
use crate::record_file::guarded;
use file::{ApplicationsFile, Loaded, Record, Usage};
use key::KeyHash;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two commits of what was used up.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const DAY: u64 = 24 * 60 * 60;

/// An application as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub id: String,
    pub name: String,
    /// In testing mode.
    pub quota: Option<Amounts>,
    pub used: Amounts,
    pub allow: BTreeSet<Permission>,
    /// Unix seconds.
    pub created: u64,
    /// The beginning of the day, UTC, in Unix seconds.
    pub last_used: Option<u64>,
}

/// Who has shown the right key.
#[derive(Debug, PartialEq)]
pub(crate) struct Known {
    pub id: String,
    pub allow: BTreeSet<Permission>,
}

/// Why nothing is reserved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotReserved {
    /// Nothing of this kind is left.
    Short(QuotaKind),
    /// It was revoked a moment ago.
    Revoked,
}

struct Application {
    record: Record,
    /// With what is reserved.
    usage: Usage,
    /// What of it is reserved, and may be given back.
    open: Amounts,
}

impl Application {
    fn new(record: Record, usage: Usage) -> Self {
        Self { record, usage, open: Amounts::default() }
    }

    /// What a crash is to leave.
    fn kept(&self) -> Usage {
        Usage { used: self.usage.used.without(&self.open), ..self.usage.clone() }
    }

    fn listed(&self, id: &str) -> Listed {
        let Self { record, usage, .. } = self;
        Listed {
            id: id.to_owned(),
            name: record.name.clone(),
            quota: record.quota,
            used: usage.used,
            allow: record.allow.clone(),
            created: record.created,
            last_used: usage.last_used_day.map(|day| day * DAY),
        }
    }
}

#[derive(Default)]
struct State {
    /// By id.
    applications: BTreeMap<String, Application>,
    /// Whose usage is not on disk as it is here.
    dirty: BTreeSet<String>,
    /// Who is gone here and not on disk yet.
    revoked: BTreeSet<String>,
    /// Why the file is not written, if it is not.
    fault: Option<String>,
    stopping: bool,
}

impl State {
    /// Takes what a file holds that was opened again. What is counted here is newer.
    fn reload(&mut self, mut loaded: Loaded) {
        loaded.retain(|id, _| !self.revoked.contains(id));
        self.applications.retain(|id, _| loaded.contains_key(id));
        for (id, (record, usage)) in loaded {
            match self.applications.get_mut(&id) {
                Some(application) => application.record = record,
                None => drop(self.applications.insert(id, Application::new(record, usage))),
            }
        }
    }

    /// Why an application may be unknown although it is none that never was.
    fn refused(&self) -> Option<ApplicationsError> {
        let fault = self.fault.as_ref().filter(|_| self.applications.is_empty());
        fault.map(|why| ApplicationsError::NotWritten(why.clone()))
    }

    /// Nothing is left to be written.
    fn is_written(&self) -> bool {
        self.dirty.is_empty() && self.revoked.is_empty()
    }

    /// The id of the application that has this id or name.
    fn find(&self, id_or_name: &str) -> Option<String> {
        let named = || {
            let mut all = self.applications.iter();
            all.find(|(_, application)| application.record.name == id_or_name).map(|(id, _)| id)
        };
        let by_id = self.applications.get_key_value(id_or_name).map(|(id, _)| id);
        by_id.or_else(named).cloned()
    }
}

struct Shared {
    file: Mutex<ApplicationsFile>,
    state: Mutex<State>,
    /// Told when there is something to write, and at the end.
    work: Condvar,
}

/// The applications of one terminal. All methods may be called from several threads.
pub struct Applications {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Applications {
    /// Opens the file, or makes it in a folder that exists, and starts the thread that writes what
    /// is used up.
    pub fn open(path: &Path) -> Result<Self, ApplicationsError> {
        let (file, loaded) = ApplicationsFile::open(path)?;
        Self::start(path, file, loaded)
    }

    /// The same with a file that cannot be opened: no key is good until it can be, which is tried
    /// again and again.
    pub fn without_file(path: &Path, why: String) -> Result<Self, ApplicationsError> {
        Self::start(path, ApplicationsFile::failed(path, why), Loaded::new())
    }

    fn start(
        path: &Path,
        file: ApplicationsFile,
        loaded: Loaded,
    ) -> Result<Self, ApplicationsError> {
        let mut state = State { fault: file.fault(), ..State::default() };
        state.reload(loaded);
        let shared = Arc::new(Shared {
            file: Mutex::new(file),
            state: Mutex::new(state),
            work: Condvar::new(),
        });
        let writer = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("quota".into());
            let spawned = thread.spawn(move || shared.write_until_stopped());
            spawned.map_err(|source| ApplicationsError::Io { path: path.to_owned(), source })?
        };
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Why the file is not written, if it is not; and how many keys are revoked here and not on disk.
    pub(crate) fn health(&self) -> (Option<String>, usize) {
        let state = self.shared.state();
        (state.fault.clone(), state.revoked.len())
    }

    /// Makes an application and returns it with its key, which is shown here and nowhere else.
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

    /// All of them by name.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, ApplicationsError> {
        let state = self.shared.state();
        if let Some(refused) = state.refused() {
            return Err(refused);
        }
        let mut all: Vec<_> = state.applications.iter().map(|(id, it)| it.listed(id)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes an application, named by id or name; its key is worth nothing from here on, also if
    /// the disk does not take it: [`ApplicationsError::NotOnDisk`].
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

    /// Gives an application, named by id or name, another key; the old one is worth nothing from
    /// here on. What it has used up stays.
    pub(crate) fn rotate(&self, id_or_name: &str) -> Result<(Listed, ApiKey), ApplicationsError> {
        let key = ApiKey::random()?;
        let hash = KeyHash::of(&key)?;
        let mut file = self.shared.file();
        let id = self.shared.found(id_or_name)?;
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        let record = {
            let state = self.shared.state();
            let application = state.applications.get(&id).ok_or_else(unknown)?;
            Record { key: hash, ..application.record.clone() }
        };
        self.shared.write(&mut file, |file, revoked| file.put(revoked, &id, &record))?;
        let mut state = self.shared.state();
        let application = state.applications.get_mut(&id).ok_or_else(unknown)?;
        application.record = record;
        Ok((application.listed(&id), key))
    }

    /// Who has this id and this key. An unknown id takes as long as a wrong key.
    pub(crate) fn authenticate(&self, id: &str, key: &str) -> Option<Known> {
        let hash = {
            let state = self.shared.state();
            state.applications.get(id).map_or(KeyHash::NOBODY, |it| it.record.key.clone())
        };
        if !hash.is_of(key) {
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

    /// Takes one of each of `kinds` from an application's quota; nothing in live mode.
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
    /// Writes what is used up.
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take() {
            // It holds every panic; should one pass, it has been told, and nobody is left to write.
            let _ = writer.join();
        }
    }
}

/// Quota that was taken; given back when it is dropped, so that a request that fails, expires or
/// panics spends nothing.
#[must_use = "dropped, it gives the quota back"]
pub(crate) struct Reservation {
    shared: Arc<Shared>,
    id: String,
    /// Empty once it is kept.
    kinds: Vec<QuotaKind>,
}

impl Reservation {
    /// The request was done: what was taken stays taken.
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
        // The file never heard of it.
        if let Some(application) = state.applications.get_mut(&self.id) {
            application.usage.used.give_back(&self.kinds);
            application.open.give_back(&self.kinds);
        }
    }
}

impl Shared {
    /// Whoever panicked while holding it has not left it half changed: every change is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file; one that failed is opened again, once it has rested.
    fn file(&self) -> MutexGuard<'_, ApplicationsFile> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // What it says is its fault from here on.
        if let Ok(Some(loaded)) = file.reopen() {
            tracing::info!("the file of the applications was opened again");
            self.state().reload(loaded);
        }
        self.state().fault = file.fault();
        file
    }

    /// Has `write` write the file, and what was revoked.
    fn write(
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

    fn found(&self, id_or_name: &str) -> Result<String, ApplicationsError> {
        let unknown = || ApplicationsError::Unknown(id_or_name.to_owned());
        let state = self.state();
        state.find(id_or_name).ok_or_else(|| state.refused().unwrap_or_else(unknown))
    }

    fn to_write(&self, state: &mut State, id: &str) {
        state.dirty.insert(id.to_owned());
        self.work.notify_all();
    }

    /// The writer's loop: writes as soon as there is something, then rests for [`COMMIT_EVERY`].
    fn write_until_stopped(&self) {
        let mut well = true;
        loop {
            let idle =
                |state: &mut State| state.is_written() && state.fault.is_none() && !state.stopping;
            drop(self.work.wait_while(self.state(), idle));
            let written = self.write_usage();
            if let Err(error) = &written
                && well
            {
                tracing::error!(%error, "what applications have used up is not on disk");
            }
            well = written.is_ok();
            let resting = |state: &mut State| !state.stopping;
            drop(self.work.wait_timeout_while(self.state(), COMMIT_EVERY, resting));
            let state = self.state();
            // At the end once more; what the disk does not take then is lost.
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
                // Only the file was looked at.
                true => file.fault().map_or(Ok(()), |why| Err(ApplicationsError::NotWritten(why))),
                false => self.write(&mut file, |file, revoked| file.remove(revoked)),
            };
        }
        self.hand_over(|usages| {
            self.write(&mut file, |file, revoked| file.put_usage(revoked, usages))
        })
    }

    /// Has `write` write what is not on disk; what it does not, by an error or a panic, is for the
    /// next time. Only under the lock of the file, or an older count could follow a newer one.
    fn hand_over(
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
        // On a damaged file redb may panic where it would better return an error.
        let panicked = || ApplicationsError::Damaged("a panic while writing it".to_owned());
        guarded(|| write(&usages)).unwrap_or_else(|_| Err(panicked())).inspect_err(|_| {
            let ids = usages.iter().map(|(id, _)| id.clone());
            self.state().dirty.extend(ids);
        })
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
