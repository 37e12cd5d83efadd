//! Everything but the door, at work with one configuration.

use super::clock::Clock;
use super::control::{self, Control};
use super::door::DoorHandle;
use super::door_events::DoorEvents;
use super::terminal::{self, Decisions, Parts, Terminal};
use super::watchdog::{Counter, counter};
use super::{BadFiles, DaemonError, Opened, open_service, record, settings, start_camera, upkeep};
use crate::access::Lockout;
use crate::camera::Camera;
use crate::config::Config;
use crate::gallery::Gallery;
use crate::mqtt::{Delivery, Embedded, Publisher, Session};
use crate::outbox::Outbox;
use crate::service::Door;
use doorward_board::controller::Cause;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What changes without a change of state, such as a camera's counts, is published after this.
const STATE_AGAIN: Duration = Duration::from_secs(60);
/// How long a start that failed waits for what it has begun.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The workers of one configuration. They end with [`Serving::stop`].
pub struct Serving {
    session: Session,
    delivery: Delivery,
    control: Option<Control>,
    embedded: Option<Embedded>,
    terminal: Terminal,
    camera: Option<Camera>,
    outbox: Arc<Outbox>,
    /// Closed when the last of its users is gone: then its file can be opened again.
    gallery: Weak<Gallery>,
    /// What runs from time to time; ended when dropped.
    tasks: JoinSet<()>,
}

/// What outlives a configuration.
pub struct Lasting {
    /// The door, if there is one.
    pub door: Option<DoorHandle>,
    /// What happens there, on its way to the record.
    pub door_events: DoorEvents,
    /// What was tried there.
    pub lockout: Arc<Mutex<Lockout>>,
}

/// The door as the service and the house see it.
struct HouseDoor(DoorHandle);

impl Door for HouseDoor {
    fn unlock(&self) -> Result<(), String> {
        self.0.unlock(Cause::Remote).map_err(|why| why.to_string())
    }

    fn state(&self) -> Value {
        json!(&*self.0.state().borrow())
    }
}

impl Serving {
    /// Starts them all. Should one fail, those that were started end again, and the files are closed
    /// when this returns.
    pub async fn start(config: &Config, lasting: Lasting) -> Result<Self, DaemonError> {
        let house = lasting.door.clone().map(|door| Arc::new(HouseDoor(door)) as Arc<dyn Door>);
        let clock = Clock::new(config.schedules.trust_clock);
        let opened = open_service(config, house, clock.wall(), BadFiles::Tolerated)?;
        let gallery = Arc::downgrade(&opened.gallery);
        let serving = Self::begin(config, lasting, clock, opened).await;
        if serving.is_err() {
            let _ = timeout(CLOSE_PATIENCE, closed(&gallery)).await;
        }
        serving
    }

    async fn begin(
        config: &Config,
        Lasting { door, door_events, lockout }: Lasting,
        clock: Clock,
        Opened { service, analyzer, gallery, outbox }: Opened,
    ) -> Result<Self, DaemonError> {
        let started = Instant::now();
        let mut mqtt = settings::mqtt(config)?;
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
        door_events.go_to(outbox.slot());
        let mut tasks = JoinSet::new();
        tasks.spawn(record::tell_of_silence(outbox.clone()));
        tasks.spawn(upkeep::scrub_when_due(gallery.clone()));
        tasks.spawn(upkeep::tend(gallery.clone(), outbox.clone()));
        let data_dir = &config.device.data_dir;
        let control = match Control::start(data_dir, service.clone()) {
            // People are recognised, and requests come over MQTT.
            Err(reason) if reason.kind() == ErrorKind::ReadOnlyFilesystem => {
                tracing::error!(%reason, "no control socket: the command line reaches no daemon");
                None
            }
            started => Some(started.map_err(|reason| DaemonError::Control {
                path: control::socket_path(data_dir),
                reason,
            })?),
        };

        let embedded = if mqtt.host.is_none() {
            let applications = service.knows_applications();
            let broker = Embedded::start(&mqtt, data_dir, applications).await?;
            mqtt = mqtt.aimed_at_embedded(broker.port(), broker.terminal());
            Some(broker)
        } else {
            None
        };
        tasks.spawn(clock.clone().wait());
        let decisions = Arc::new(Decisions::default());
        let parts = Parts {
            analyzer,
            gallery: gallery.clone(),
            door: door.clone(),
            door_events: door_events.clone(),
            clock: clock.clone(),
            decisions: decisions.clone(),
            lockout,
        };
        let health = {
            let service = service.clone();
            Arc::new(move || {
                let mut health = service.health();
                health.insert("decisions".into(), decisions.to_json());
                Value::Object(health)
            })
        };
        let gallery_changes = service.gallery_changes();
        let delivery = Delivery::start(&mqtt, outbox.clone())?;
        let session = Session::start(mqtt, service, health).await?;
        let terminal = Terminal::start(parts, camera.as_ref(), access, session.exposure())?;
        let publisher = session.publisher();
        tasks.spawn(record::publish_gallery(gallery, gallery_changes, publisher.clone()));
        if let Some(door) = door {
            let state = door.state();
            tasks.spawn(publish_state("door", publisher.clone(), state, |state| json!(state)));
        }
        if let Some(camera) = camera.clone() {
            let states = camera.states();
            tasks.spawn(terminal::record_camera(camera.states(), door_events));
            let status = move |_: &_| json!(camera.status());
            tasks.spawn(publish_state("camera", publisher, states, status));
        }
        // It holds its panics and has no other way to fail.
        let _ = beginning.await;
        tracing::info!(
            device_id = config.device.id,
            ready_ms = started.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(Self {
            session,
            delivery,
            control,
            embedded,
            terminal,
            camera,
            outbox,
            gallery: open,
            tasks,
        })
    }

    /// What shows that the workers move.
    pub fn progress(&self) -> Vec<Counter> {
        let terminal = self.terminal.progress().into_iter();
        let terminal = terminal.map(|(name, progress)| counter(name, progress));
        let camera =
            self.camera.clone().map(|camera| Counter::new("camera", move || camera.progress()));
        terminal.chain(camera).collect()
    }

    /// Where events go: for what happens after the rest has stopped.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.outbox.clone()
    }

    /// Stops them in the order in which they need each other.
    pub async fn stop(self) {
        let Self {
            session,
            delivery,
            control,
            embedded,
            terminal,
            camera,
            outbox,
            gallery,
            mut tasks,
        } = self;
        tasks.shutdown().await;
        // A thread that waits for frames, half a second at most.
        let terminal = tokio::task::spawn_blocking(move || {
            drop((terminal, camera, outbox));
        });
        let control = async {
            if let Some(control) = control {
                control.stop().await;
            }
        };
        tokio::join!(session.stop(), control, delivery.stop());
        let _ = terminal.await;
        if let Some(broker) = embedded {
            broker.stop().await;
        }
        closed(&gallery).await;
    }
}

/// Waits until nobody uses the gallery any more: requests in work do, and a scrub that has begun.
async fn closed(gallery: &Weak<Gallery>) {
    while gallery.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes `state/<name>` at once, with every change, and now and then.
async fn publish_state<State: Send + Sync>(
    name: &'static str,
    publisher: Publisher,
    mut states: watch::Receiver<State>,
    shown: impl Fn(&State) -> Value,
) {
    loop {
        let value = shown(&states.borrow_and_update());
        if let Err(error) = publisher.state(name, &value).await {
            tracing::warn!(%error, name, "a state is not published");
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STATE_AGAIN) => {}
        }
    }
}
