//! The applications in memory: what is decided, what is counted, and what of it is not on disk yet.

use super::file::{Loaded, Record, Usage};
use super::quota::Amounts;
use super::{ApplicationsError, DAY, Listed};
use std::collections::{BTreeMap, BTreeSet};

/// An application as it is in memory.
pub(super) struct Application {
    pub record: Record,
    /// With what is reserved.
    pub usage: Usage,
    /// What of it is reserved, and may be given back.
    pub open: Amounts,
}

impl Application {
    pub fn new(record: Record, usage: Usage) -> Self {
        Self { record, usage, open: Amounts::default() }
    }

    /// What a crash is to leave.
    pub fn kept(&self) -> Usage {
        Usage { used: self.usage.used.without(&self.open), ..self.usage.clone() }
    }

    pub fn listed(&self, id: &str) -> Listed {
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

/// All applications as they are in memory.
#[derive(Default)]
pub(super) struct State {
    /// By id.
    pub applications: BTreeMap<String, Application>,
    /// Whose usage is not on disk as it is here.
    pub dirty: BTreeSet<String>,
    /// Who is gone here and not on disk yet.
    pub revoked: BTreeSet<String>,
    /// Why the file is not written, if it is not.
    pub fault: Option<String>,
    pub stopping: bool,
}

impl State {
    /// Takes what a file holds that was opened again. What is counted here is newer.
    pub fn reload(&mut self, mut loaded: Loaded) {
        loaded.retain(|id, _| !self.revoked.contains(id));
        self.applications.retain(|id, _| loaded.contains_key(id));
        for (id, (record, usage)) in loaded {
            match self.applications.get_mut(&id) {
                Some(application) => application.record = record,
                None => drop(self.applications.insert(id, Application::new(record, usage))),
            }
        }
    }

    /// Why an application may be unknown although it was made: the file could not be read.
    pub fn refused(&self) -> Option<ApplicationsError> {
        let fault = self.fault.as_ref().filter(|_| self.applications.is_empty());
        fault.map(|why| ApplicationsError::NotWritten(why.clone()))
    }

    /// Nothing is left to be written.
    pub fn is_written(&self) -> bool {
        self.dirty.is_empty() && self.revoked.is_empty()
    }

    /// The id of the application that has this id or name.
    pub fn find(&self, id_or_name: &str) -> Option<String> {
        let named = || {
            let mut all = self.applications.iter();
            all.find(|(_, application)| application.record.name == id_or_name).map(|(id, _)| id)
        };
        let by_id = self.applications.get_key_value(id_or_name).map(|(id, _)| id);
        by_id.or_else(named).cloned()
    }
}
