//! All workers except the door, serving one configuration.

use super::control::{self, Control};
use super::door_runtime::KeptOverReload;
use super::http::{http_settings, start_http};
use super::metrics::Metrics;
use super::stopwatch;
use super::watchdog::{Counter, counter};
use super::{
    BadFiles, DaemonError, Opened, maintenance, open_service, record, settings, start_camera,
};
use crate::access::Unarmed;
use crate::camera::Camera;
use crate::config::Config;
use crate::contract::{Answer, Request, Sender};
use crate::gallery::Gallery;
use crate::http;
use crate::mqtt::{BrokerCounts, Delivery, Embedded, Publisher, Session};
use crate::outbox::Outbox;
use crate::service::{Door, Service};
use crate::terminal::{Decisions, DoorHandle, Parts, Worker, record_camera, start_judge};
use crate::transport::{Answering, Handler};
use crate::webhook::Webhook;
use doorward_board::controller::Cause;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Values that change without a change of state, such as a camera's counters, are published this
/// often.
const STATE_AGAIN: Duration = Duration::from_secs(60);
/// How long a failed start waits for the work it has begun.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The workers of one configuration. They end with [`Serving::stop`].
pub struct Serving {
    /// `None` where it is off, or where its port is taken.
    http: Option<http::Server>,
    session: Session,
    delivery: Delivery,
    webhook: Option<Webhook>,
    control: Option<Control>,
    embedded: Option<Embedded>,
    /// `None` without a camera.
    judge: Option<Worker>,
    camera: Option<Camera>,
    outbox: Arc<Outbox>,
    /// Closed when its last user is gone: then its file can be opened again.
    gallery: Weak<Gallery>,
    /// Periodic tasks; ended when dropped.
    tasks: JoinSet<()>,
}

/// The door as the service and MQTT clients see it.
struct RemoteDoor(DoorHandle);

impl Door for RemoteDoor {
    fn unlock(&self) -> Result<(), String> {
        self.0.unlock(Cause::Remote).map_err(|why| why.to_string())
    }

    fn state(&self) -> Value {
        json!(&*self.0.state().borrow())
    }
}

impl Handler for Arc<Service> {
    fn sender(&self, request: &Request) -> Result<Sender, Answer> {
        Service::sender(self, request)
    }

    fn is_enrolled(&self, subject_id: &str) -> bool {
        Service::is_enrolled(self, subject_id)
    }

    fn handle(&self, request: Request) -> Answering {
        let service = self.clone();
        Box::pin(async move { service.as_ref().handle(request).await })
    }
}

impl Serving {
    /// Starts all workers. If one fails, the workers already started are stopped, and the files are
    /// closed when this returns.
    pub async fn start(config: &Config, kept: KeptOverReload) -> Result<Self, DaemonError> {
        let house = kept.door.clone().map(|door| Arc::new(RemoteDoor(door)) as Arc<dyn Door>);
        let clock = kept.clock.clone();
        clock.trust(config.schedules.trust_clock);
        clock.restore(&clock_file(config));
        let opened = open_service(config, house, Arc::new(clock.wall()), BadFiles::Tolerated)?;
        let gallery = Arc::downgrade(&opened.gallery);
        let serving = Self::begin(config, kept, opened).await;
        if serving.is_err() {
            let _ = timeout(CLOSE_PATIENCE, closed(&gallery)).await;
        }
        serving
    }

    async fn begin(
        config: &Config,
        kept: KeptOverReload,
        Opened { service, analyzer, gallery, outbox }: Opened,
    ) -> Result<Self, DaemonError> {
        let started = Instant::now();
        for warning in super::warnings(config) {
            tracing::warn!("{warning}");
        }
        let mut mqtt = settings::mqtt(config)?;
        let http = http_settings(config);
        let access = settings::access(config)?;
        let camera = start_camera(config)?;
        if let Some(camera) = camera.clone() {
            service.attach(camera);
        }
        let open = Arc::downgrade(&gallery);
        let (outbox_file, gallery_file) = (outbox.clone(), gallery.clone());
        let beginning = tokio::task::spawn_blocking(move || {
            record::started(&outbox_file);
            record::other_models(&gallery_file);
        });
        kept.door_events.go_to(outbox.slot());
        let mut tasks = JoinSet::new();
        tasks.spawn(record::warn_of_hung_disk(outbox.clone()));
        tasks.spawn(maintenance::scrub_when_due(gallery.clone()));
        tasks.spawn(maintenance::tend(gallery.clone(), outbox.clone()));
        let control = start_control(config, service.clone())?;
        let mut embedded = None;
        if mqtt.host.is_none() {
            let applications = service.knows_applications();
            let broker = Embedded::start(&mqtt, &config.device.data_dir, applications).await?;
            mqtt = mqtt.aimed_at_embedded(broker.port(), broker.terminal());
            embedded = Some(broker);
        }
        tasks.spawn(kept.clock.clone().watch(clock_file(config), kept.door_events.clone()));
        let decisions = Arc::new(Decisions::default());
        let broker = embedded.as_ref().map(Embedded::counts);
        let health = health(service.clone(), decisions.clone(), broker);
        let gallery_changes = service.gallery_changes();
        let delivery = Delivery::start(&mqtt, outbox.clone())?;
        let webhook = start_webhook(config, &outbox, &service, &mut tasks)?;
        let session = Session::start(mqtt, service.clone(), health).await?;
        let http = match http {
            None => None,
            Some(http) => {
                let gallery = Arc::downgrade(&gallery);
                let metrics =
                    Metrics::new(service.clone(), decisions.clone(), outbox.clone(), gallery);
                start_http(http, service, outbox.clone(), metrics).await
            }
        };
        let publisher = session.publisher();
        tasks.spawn(record::publish_gallery(gallery.clone(), gallery_changes, publisher.clone()));
        spawn_publishing(&mut tasks, &publisher, &kept, camera.as_ref());
        let KeptOverReload { door, door_events, lockout, clock } = kept;
        let stopwatch = stopwatch::started;
        let parts =
            Parts { analyzer, gallery, door, door_events, clock, decisions, lockout, stopwatch };
        let exposure = session.exposure();
        let unarmed = move || (!exposure.borrow().is_safe()).then_some(Unarmed::Exposed);
        let judge = camera.clone().map(|camera| start_judge(parts, camera, access, unarmed));
        let judge = judge.transpose()?;
        // It catches its panics and cannot fail in another way.
        let _ = beginning.await;
        tracing::info!(
            device_id = config.device.id,
            ready_ms = started.elapsed().as_millis() as u64,
            "ready"
        );
        let gallery = open;
        Ok(Self {
            http,
            session,
            delivery,
            webhook,
            control,
            embedded,
            judge,
            camera,
            outbox,
            gallery,
            tasks,
        })
    }

    /// Returns the counters of the workers' progress.
    pub fn progress(&self) -> Vec<Counter> {
        let judge = self.judge.iter().map(|judge| counter("judge", judge.progress()));
        let camera =
            self.camera.clone().map(|camera| Counter::new("camera", move || camera.progress()));
        judge.chain(camera).collect()
    }

    /// Returns the outbox, for events after the other workers have stopped.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.outbox.clone()
    }

    /// Stops the workers in the order of their dependencies.
    pub async fn stop(self) {
        let Self {
            http,
            session,
            delivery,
            webhook,
            control,
            embedded,
            judge,
            camera,
            outbox,
            gallery,
            mut tasks,
        } = self;
        // Kept open until the last users are gone, for the scrub.
        let open = gallery.upgrade();
        tasks.shutdown().await;
        // A thread that waits for frames, half a second at most.
        let judge = tokio::task::spawn_blocking(move || drop((judge, camera, outbox)));
        let control = async {
            if let Some(control) = control {
                control.stop().await;
            }
        };
        let webhook = async {
            if let Some(webhook) = webhook {
                webhook.stop().await;
            }
        };
        let http = async {
            if let Some(http) = http {
                http.stop().await;
            }
        };
        tokio::join!(http, session.stop(), control, delivery.stop(), webhook);
        let _ = judge.await;
        if let Some(broker) = embedded {
            broker.stop().await;
        }
        if let Some(gallery) = open {
            let scrub = move || maintenance::scrub_at_stop(&gallery);
            let _ = tokio::task::spawn_blocking(scrub).await;
        }
        closed(&gallery).await;
    }
}

/// Starts the webhook, if there is one. Events that wait for none any more leave the outbox; those
/// that wait go to its address, also if that has changed.
fn start_webhook(
    config: &Config,
    outbox: &Arc<Outbox>,
    service: &Service,
    tasks: &mut JoinSet<()>,
) -> Result<Option<Webhook>, DaemonError> {
    let settings = settings::webhook(config)?;
    let forgotten = outbox.forget_unwanted();
    if forgotten > 0 {
        tracing::warn!(forgotten, "events are dropped that no configured webhook wants any more");
    }
    let Some(settings) = settings else { return Ok(None) };
    let webhook = Webhook::start(settings, outbox)?;
    tasks.spawn(webhook.wake(outbox.last_seq()));
    service.attach_webhook(webhook.report());
    Ok(Some(webhook))
}

/// Returns the file in which the clock keeps that it is synchronised.
fn clock_file(config: &Config) -> PathBuf {
    config.device.data_dir.join("clock.json")
}

/// Starts the control socket; `None` where the data folder cannot be written.
fn start_control(config: &Config, service: Arc<Service>) -> Result<Option<Control>, DaemonError> {
    let data_dir = &config.device.data_dir;
    match Control::start(data_dir, service) {
        Ok(control) => Ok(Some(control)),
        // Recognition and requests over MQTT work without it.
        Err(reason) if reason.kind() == ErrorKind::ReadOnlyFilesystem => {
            tracing::error!(%reason, "no control socket: the command line cannot reach the daemon");
            Ok(None)
        }
        Err(reason) => Err(DaemonError::Control { path: control::socket_path(data_dir), reason }),
    }
}

/// Returns the content of `state/health`: the service's health, and the counts of decisions and of
/// the embedded broker.
fn health(
    service: Arc<Service>,
    decisions: Arc<Decisions>,
    broker: Option<impl Fn() -> BrokerCounts + Send + Sync + 'static>,
) -> Arc<impl Fn() -> Value + Send + Sync> {
    Arc::new(move || {
        let mut health = service.health();
        health.insert("decisions".into(), decisions.to_json());
        if let Some(counts) = &broker {
            health.insert("broker".into(), json!(counts()));
        }
        Value::Object(health)
    })
}

/// Publishes the state of door and camera, and records camera changes.
fn spawn_publishing(
    tasks: &mut JoinSet<()>,
    publisher: &Publisher,
    KeptOverReload { door, door_events, .. }: &KeptOverReload,
    camera: Option<&Camera>,
) {
    if let Some(door) = door {
        let state = door.state();
        tasks.spawn(publish_state("door", publisher.clone(), state, |state| json!(state)));
    }
    if let Some(camera) = camera.cloned() {
        let states = camera.states();
        tasks.spawn(record_camera(camera.states(), door_events.clone()));
        let status = move |_: &_| json!(camera.status());
        tasks.spawn(publish_state("camera", publisher.clone(), states, status));
    }
}

/// Waits until the gallery has no users: requests in work use it, and a scrub in progress.
async fn closed(gallery: &Weak<Gallery>) {
    while gallery.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes `state/<name>` at once, after every change, and every [`STATE_AGAIN`].
async fn publish_state<State: Send + Sync>(
    name: &'static str,
    publisher: Publisher,
    mut states: watch::Receiver<State>,
    shown: impl Fn(&State) -> Value,
) {
    loop {
        let value = shown(&states.borrow_and_update());
        if let Err(error) = publisher.state(name, &value).await {
            tracing::warn!(%error, name, "a state was not published");
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STATE_AGAIN) => {}
        }
    }
}
