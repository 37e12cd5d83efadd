//! The numbers of `/metrics`, read when they are asked for. Never waits for a disk.

use crate::gallery::Gallery;
use crate::outbox::Outbox;
use crate::service::{BOUNDS, Service};
use crate::terminal::Decisions;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::{Arc, Weak};

/// Where the numbers come from.
pub(super) struct Metrics(Registry);

struct Numbers {
    service: Arc<Service>,
    decisions: Arc<Decisions>,
    outbox: Arc<Outbox>,
    gallery: Weak<Gallery>,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Metrics {
    pub fn new(
        service: Arc<Service>,
        decisions: Arc<Decisions>,
        outbox: Arc<Outbox>,
        gallery: Weak<Gallery>,
    ) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Numbers { service, decisions, outbox, gallery }));
        Self(registry)
    }

    /// Returns them in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes everything; if the encoder fails, the text ends before `# EOF`, by which a
        // reader knows that it is not whole.
        if let Err(error) = encode(&mut text, &self.0) {
            tracing::error!(%error, "metrics");
        }
        text
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: f64| {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        };
        let health = self.service.health();
        let number = |pointer: &[&str]| {
            let mut value = health.get(pointer[0]);
            for name in &pointer[1..] {
                value = value.and_then(|value| value.get(name));
            }
            value.and_then(Value::as_f64)
        };
        gauge("doorward_outbox_depth", "Events that wait for the broker", {
            self.outbox.stats().depth as f64
        })?;
        if let Some(gallery) = self.gallery.upgrade() {
            let templates = gallery.comparable_templates() as f64;
            gauge("doorward_gallery_templates", "Templates that can be matched", templates)?;
        }
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        for (name, help, pointer) in [
            ("doorward_uptime_seconds", "Seconds since the start", &["uptime_s"][..]),
            ("doorward_queue_waiting", "Requests that wait", &["queue", "waiting"]),
            ("doorward_queue_capacity", "Requests that may wait", &["queue", "capacity"]),
            ("doorward_camera_fps", "Frames per second, lately", &["camera", "fps"]),
        ] {
            if let Some(value) = number(pointer) {
                gauge(name, help, value)?;
            }
        }
        let text = |name: &str, part: &str| health.get(name)?.get(part)?.as_str();
        if let Some(lock) = text("door", "lock") {
            let unlocked = f64::from(u8::from(lock == "UNLOCKED"));
            gauge("doorward_door_unlocked", "1 while people can pass", unlocked)?;
        }
        let open = health.get("door").and_then(|door| door.get("open")).and_then(Value::as_bool);
        if let Some(open) = open {
            gauge("doorward_door_open", "1 while the leaf is open", f64::from(u8::from(open)))?;
        }
        self.counts(&mut encoder, &health)
    }
}

impl Numbers {
    /// Writes what only rises.
    fn counts(&self, encoder: &mut DescriptorEncoder, health: &Map<String, Value>) -> fmt::Result {
        for (name, help, part) in [
            ("doorward_camera_frames", "Whole frames", "frames"),
            ("doorward_camera_dropped", "Frames lost or dropped", "dropped"),
        ] {
            if let Some(value) = health.get("camera").and_then(|camera| camera.get(part)?.as_f64())
            {
                let mut metric =
                    encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                count(&mut metric, value)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "doorward_decisions",
            "Decisions at the door",
            None,
            MetricType::Counter,
        )?;
        for (result, value) in self.decisions.to_json().as_object().into_iter().flatten() {
            let labels = [("result", result.as_str())];
            count(&mut metric.encode_family(&labels)?, value.as_f64().unwrap_or(0.0))?;
        }
        let mut metric = encoder.encode_descriptor(
            "doorward_requests",
            "Requests, by operation and result code",
            None,
            MetricType::Counter,
        )?;
        for (operation, codes) in self.service.request_counts().as_object().into_iter().flatten() {
            for (code, value) in codes.as_object().into_iter().flatten() {
                let labels = [("operation", operation.as_str()), ("code", code.as_str())];
                count(&mut metric.encode_family(&labels)?, value.as_f64().unwrap_or(0.0))?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "doorward_stage_seconds",
            "Durations of the stages of requests",
            None,
            MetricType::Histogram,
        )?;
        for (stage, durations) in self.service.stage_durations() {
            let bounds = BOUNDS.into_iter().chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(durations.buckets).collect();
            let labels = [("stage", stage)];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                durations.sum,
                durations.count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

fn count(metric: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, f64>(&(value as u64), None)
}

/// Returns the resident memory of this process.
fn resident_bytes() -> Option<f64> {
    let pages: f64 =
        std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}
