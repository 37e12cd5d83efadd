//! Content of `health` and `stats`: versions, states, counts. Never waits for a disk.

use super::Service;
use crate::contract::{Operation, Reply};
use crate::gallery;
use crate::outbox::Chain;
use serde_json::{Map, Value, json};

impl Service {
    /// Returns versions and states: the fields of `health` besides the common ones. Never waits.
    pub fn health(&self) -> Map<String, Value> {
        let (outbox, audit) = self.records();
        let gallery = self.recognizer.gallery.health();
        let (applications, revoked) = self.applications.health();
        let webhook = self.webhook.get().map(|state| state());
        let has_webhook_fault = webhook.as_ref().is_some_and(|state| !state["fault"].is_null());
        let is_well =
            gallery.is_well() && applications.is_none() && revoked == 0 && !has_webhook_fault;
        let fields = [
            ("health", json!(if is_well { "up" } else { "degraded" })),
            ("device_id", json!(self.recognizer.settings.device_id)),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("model_id", json!(self.recognizer.analyzer.model_id())),
            ("uptime_s", json!(self.statistics.uptime())),
            (
                "queue",
                json!({
                    "waiting": self.workers.waiting(), "capacity": self.workers.capacity()
                }),
            ),
            ("outbox", outbox),
            ("audit", audit),
            ("gallery", json!(gallery)),
            ("applications", file_block(applications, revoked)),
            (
                "camera",
                self.camera.get().map_or(json!("not configured"), |camera| json!(camera.status())),
            ),
            ("door", self.door.as_ref().map_or(json!("not configured"), |door| door.state())),
        ];
        let webhook = webhook.map(|state| ("webhook", state));
        let fields = fields.into_iter().chain(webhook);
        fields.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns why the terminal cannot do all of its work: the gallery, the applications or the
    /// record cannot be written, or a configured camera gives no frames. Never waits.
    pub fn not_ready(&self) -> Option<&'static str> {
        let (applications, revoked) = self.applications.health();
        let camera = self.camera.get().map(|camera| camera.status().why.is_some());
        if !self.recognizer.gallery.health().is_well() {
            Some("the gallery's file cannot be written")
        } else if applications.is_some() || revoked > 0 {
            Some("the applications' file cannot be written")
        } else if self.audit_trail.outbox().stats().fault.is_some() {
            Some("the record cannot be written")
        } else if camera == Some(true) {
            Some("the camera gives no frames")
        } else {
            None
        }
    }

    /// Returns the state of the outbox (waiting and lost events) and the head of the audit log. A
    /// noted head later proves that nothing was rewritten.
    fn records(&self) -> (Value, Value) {
        let stats = self.audit_trail.outbox().stats();
        let outbox = json!({
            "depth": stats.depth,
            "last_seq": stats.last_seq,
            "delivered": stats.delivered,
            "dropped": stats.dropped,
            "unwritten": stats.unwritten,
            "not_recorded": stats.not_recorded.values().sum::<u64>(),
            "not_recorded_by_kind": stats.not_recorded,
            "fault": stats.fault,
        });
        let Chain { first, last, head, .. } = stats.audit;
        (outbox, json!({ "first": first, "last": last, "head": head }))
    }

    pub(super) fn stats(&self, gallery: &gallery::Stats) -> Reply {
        let mut reply = Reply::success(Operation::Stats);
        let mut health = self.health();
        if let Some(Value::Object(file)) = health.get_mut("gallery") {
            for (name, count) in [
                ("subjects", gallery.subjects),
                ("templates", gallery.templates),
                ("templates_of_other_models", gallery.templates_of_other_models),
                ("remnants", gallery.remnants),
                ("file_bytes", gallery.file_bytes),
                ("schema", gallery.schema),
            ] {
                file.insert(name.to_owned(), count.into());
            }
        }
        reply.extend(health);
        reply.insert("requests", self.statistics.requests());
        reply.insert("median_ms", self.statistics.medians());
        reply
    }
}

/// Returns the state of the applications' file.
fn file_block(fault: Option<String>, not_on_disk: usize) -> Value {
    match fault {
        None => json!({ "file": "writable", "not_on_disk": not_on_disk }),
        Some(why) => json!({ "file": "failed", "why": why, "not_on_disk": not_on_disk }),
    }
}
