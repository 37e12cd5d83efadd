//! Records requests: enrolments as events, administration as lines of the audit log. A record is
//! written after the action and before the answer; for an unlock, before the action.
//!
//! If the disk does not take a record at once, that is logged; the record waits, and is counted if
//! there is no room to wait. The answer does not change, because the action is done.

use super::faces::{Disagreement, Facts};
use crate::applications::Listed;
use crate::contract::{Operation, QuotaKind, Sender};
use crate::gallery::{EnrolMode, Enrolled, SubjectChange};
use crate::outbox::{Entry, Event, Kind, Outbox, OutboxError, Ticket};
use crate::time::unix_time;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::watch;

/// Writes the records of the service. Shared by all threads.
pub(super) struct AuditTrail {
    outbox: Arc<Outbox>,
    /// Number of changes of the gallery.
    gallery_changes: watch::Sender<u64>,
}

/// An unlock that is being recorded.
pub(super) struct UnlockRecord {
    pub line: Entry,
    pub ticket: Ticket,
}

impl AuditTrail {
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, gallery_changes: watch::Sender::new(0) }
    }

    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns a counter that changes with every change of the gallery.
    pub fn gallery_changes(&self) -> watch::Receiver<u64> {
        self.gallery_changes.subscribe()
    }

    /// Records an enrolment: a subject has a new template or other templates.
    pub fn enrolled(
        &self,
        by: &Sender,
        subject_id: &str,
        mode: EnrolMode,
        enrolled: &Enrolled,
        facts: Facts<'_>,
        timings_ms: Map<String, Value>,
    ) {
        let (outcome, reason) = match (enrolled.created, mode) {
            (true, _) => ("enrolled", "a new subject"),
            (false, EnrolMode::Replace) => ("updated", "its templates were replaced"),
            (false, EnrolMode::Add) => ("updated", "a template was added"),
        };
        let mut event = Event::new(Kind::Enroll, outcome, reason);
        event.subject_id = Some(subject_id.to_owned());
        event.timings_ms = timings_ms;
        event.extra.insert("templates".to_owned(), enrolled.templates.into());
        event.extra.insert("by".to_owned(), by.to_string().into());
        facts.record(&mut event);
        self.gallery_changed();
        self.log_failure(self.outbox.record(event).map(drop));
    }

    /// Records a change of a subject. Fields that decide about entry are recorded in full; for name
    /// and card, which are personal data, only that they changed. If not `on_disk`, restrictions
    /// are in effect until a restart, grants are not.
    pub fn subject_updated(
        &self,
        by: &Sender,
        id: &str,
        change: &SubjectChange,
        disagreement: Option<&Disagreement>,
        on_disk: bool,
    ) {
        let mut entry =
            Entry::new(Operation::SubjectUpdate.name(), by.to_string()).with("subject_id", id);
        for (name, changed) in [("name", change.name.is_some()), ("card", change.card.is_some())] {
            if changed {
                entry = entry.with(name, "changed");
            }
        }
        if let Some(groups) = &change.groups {
            entry = entry.with("groups", groups.as_slice());
        }
        if disagreement.is_some() {
            entry = entry.with("accept_faces", true);
        }
        if let Some(enabled) = change.enabled {
            entry = entry.with("enabled", enabled);
        }
        for (name, time) in [("valid_from", change.valid_from), ("valid_until", change.valid_until)]
        {
            if let Some(time) = time {
                entry = entry.with(name, time);
            }
        }
        self.gallery_changed();
        self.log_failure(self.outbox.audit(if_not_on_disk(entry, on_disk)));
    }

    /// Records a deletion; if not `on_disk`, it lasts until a restart.
    pub fn subject_deleted(&self, by: &Sender, id: &str, on_disk: bool) {
        self.gallery_changed();
        let entry =
            Entry::new(Operation::SubjectDelete.name(), by.to_string()).with("subject_id", id);
        self.log_failure(self.outbox.audit(if_not_on_disk(entry, on_disk)));
    }

    /// Records that templates of this many subjects have vectors of the present model.
    pub fn reindexed(&self, by: &Sender, subjects: usize, templates: usize, model_id: &str) {
        self.gallery_changed();
        let entry = Entry::new(Operation::GalleryReindex.name(), by.to_string());
        let entry = entry.with("subjects", subjects).with("templates", templates);
        self.log_failure(self.outbox.audit(entry.with("model_id", model_id)));
    }

    /// Records that the bytes of deleted faces were removed from the gallery's file by command.
    pub fn scrubbed(&self, by: &Sender) {
        let entry = Entry::new(Operation::GalleryScrub.name(), by.to_string());
        self.log_failure(self.outbox.audit(entry));
    }

    /// Records a remote unlock request, before the strike moves.
    pub fn unlock_asked(&self, by: &Sender, reason: &str) -> UnlockRecord {
        let line = Entry::new(Operation::Unlock.name(), by.to_string())
            .with("id", uuid::Uuid::new_v4().to_string())
            .with("reason", reason);
        let ticket = self.outbox.note(line.clone().with("outcome", "requested"));
        UnlockRecord { line, ticket }
    }

    /// Records the outcome of an unlock in another line with the same `id`. Does not wait for the
    /// disk: if this line is missing, the line before does not say that the door was unlocked.
    pub fn unlock_answered(&self, asked: Entry, outcome: &str) {
        let time = unix_time();
        let line = Entry { time, ..asked.with("outcome", outcome) };
        drop(self.outbox.note(line));
    }

    /// Records that an application was created, changed or revoked, or has another key. Never the
    /// key.
    pub fn application(&self, by: &Sender, done: Operation, application: &Listed) {
        let Listed { id, name, allow, quota, old_key_until, .. } = application;
        let mut entry = Entry::new(done.name(), by.to_string());
        entry = entry.with("app_id", id.as_str()).with("name", name.as_str());
        if matches!(done, Operation::ApplicationCreate | Operation::ApplicationUpdate) {
            let allow: Value = allow.iter().map(|permission| permission.name()).collect();
            entry = entry.with("allow", allow).with("mode", application.mode());
            if let Some(quota) = quota {
                let quota: Map<String, Value> = QuotaKind::ALL
                    .iter()
                    .map(|&kind| (kind.name().to_owned(), quota.of(kind).into()))
                    .collect();
                entry = entry.with("quota", quota);
            }
        }
        if let (Operation::ApplicationRotate, Some(until)) = (done, old_key_until) {
            entry = entry.with("old_key_until", *until);
        }
        self.log_failure(self.outbox.audit(entry));
    }

    /// Records a revocation that the disk refused: it lasts until a restart.
    pub fn revoked_until_restart(&self, by: &Sender, id: &str, name: &str) {
        let entry = Entry::new(Operation::ApplicationRevoke.name(), by.to_string());
        let entry = entry.with("app_id", id).with("name", name);
        self.log_failure(self.outbox.audit(if_not_on_disk(entry, false)));
    }

    fn gallery_changed(&self) {
        self.gallery_changes.send_modify(|changes| *changes += 1);
    }

    fn log_failure(&self, outcome: Result<(), OutboxError>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "the action is done, but not recorded yet");
        }
    }
}

/// Marks a line whose change is not on disk.
fn if_not_on_disk(entry: Entry, on_disk: bool) -> Entry {
    match on_disk {
        true => entry,
        false => entry.with("on_disk", false),
    }
}
