//! The applications in memory: settings, usage, and the changes that are not on disk yet.

use super::amounts::Amounts;
use super::file::{Loaded, OldKey, Record, Stored, Usage};
use super::{ApplicationsError, DAY, Listed};
use std::collections::{BTreeMap, BTreeSet};

/// An application in memory.
pub(super) struct Application {
    pub record: Record,
    /// Includes reservations.
    pub usage: Usage,
    /// The reserved part of the usage; it may be returned.
    pub open: Amounts,
    /// The key before the present one, while it may be valid.
    pub old_key: Option<OldKey>,
}

impl Application {
    pub fn new(Stored { record, usage, old_key }: Stored) -> Self {
        Self { record, usage, open: Amounts::default(), old_key }
    }

    /// Returns the old key if it is valid at `now`, in Unix seconds.
    pub fn valid_old_key(&self, now: u64) -> Option<&OldKey> {
        self.old_key.as_ref().filter(|old| (old.from..old.until).contains(&now))
    }

    /// Returns the usage to write to disk: without open reservations.
    pub fn kept(&self) -> Usage {
        Usage { used: self.usage.used.without(&self.open), ..self.usage.clone() }
    }

    pub fn listed(&self, id: &str, now: u64) -> Listed {
        let Self { record, usage, .. } = self;
        Listed {
            id: id.to_owned(),
            name: record.name.clone(),
            quota: record.quota,
            used: usage.used,
            done: usage.used.plus(&usage.live),
            allow: record.allow.clone(),
            created: record.created,
            last_used: usage.last_used_day.map(|day| day * DAY),
            old_key_until: self.valid_old_key(now).map(|old| old.until),
        }
    }
}

/// All applications in memory.
#[derive(Default)]
pub(super) struct State {
    /// By id.
    pub applications: BTreeMap<String, Application>,
    /// Ids of applications whose usage on disk is out of date.
    pub dirty: BTreeSet<String>,
    /// Ids of applications that are removed in memory but not on disk.
    pub revoked: BTreeSet<String>,
    /// Why the file cannot be written, if so.
    pub fault: Option<String>,
    pub stopping: bool,
}

impl State {
    /// Takes the content of a file that was opened again. The usage in memory is newer.
    pub fn reload(&mut self, mut loaded: Loaded) {
        loaded.retain(|id, _| !self.revoked.contains(id));
        self.applications.retain(|id, _| loaded.contains_key(id));
        for (id, stored) in loaded {
            match self.applications.get_mut(&id) {
                Some(application) => {
                    application.record = stored.record;
                    application.old_key = stored.old_key;
                }
                None => drop(self.applications.insert(id, Application::new(stored))),
            }
        }
    }

    /// Returns why an existing application may be unknown: the file could not be read.
    pub fn refused(&self) -> Option<ApplicationsError> {
        let fault = self.fault.as_ref().filter(|_| self.applications.is_empty());
        fault.map(|why| ApplicationsError::NotWritten(why.clone()))
    }

    /// Checks that nothing is left to write.
    pub fn is_written(&self) -> bool {
        self.dirty.is_empty() && self.revoked.is_empty()
    }

    /// Returns the id of the application with this id or name.
    pub fn find(&self, id_or_name: &str) -> Option<String> {
        let named = || {
            let mut all = self.applications.iter();
            all.find(|(_, application)| application.record.name == id_or_name).map(|(id, _)| id)
        };
        let by_id = self.applications.get_key_value(id_or_name).map(|(id, _)| id);
        by_id.or_else(named).cloned()
    }
}
