//! The daemon in the guest, as its clients and a thief see it: its MQTT messages, and the level of
//! its strike's line.

use super::broker::{Broker, HOST, LOGINS, Message, Messages};
use super::guest::Guest;
use super::monitor::{Edge, Watched};
use super::{STRIKE, VmError};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the strike is engaged: long enough to kill the daemon meanwhile.
pub const PULSE: Duration = Duration::from_secs(6);
/// For every wait: minutes, because recognising a face takes seconds.
pub const LIMIT: Duration = Duration::from_secs(300);
/// Frames per second of the camera: few, so that feeding it leaves the processors to the daemon.
const RATE: &str = "3";
/// The picture that the camera shows; a link that the feeder follows.
const SHOWN: &str = "/tmp/shown.jpg";

/// The loopback camera.
pub const FED: &str = "/dev/video0";
/// The camera that can be unplugged, by a link as udev makes them: if it is plugged in again while
/// a program still has it open, the device gets another number.
pub const PLUGGABLE: &str = "/run/camera";

/// Makes udev's link; prints its target.
const LINK: &str = "cd /sys/bus/platform/devices/vivid.0/video4linux && \
                    ln -sfn /dev/$(echo video*) /run/camera && readlink -f /run/camera";

/// The settings that differ between the passes.
pub struct Pass {
    /// The name of the pass and of its configuration.
    pub name: &'static str,
    /// `camera.source`.
    pub camera: &'static str,
    /// `liveness.policy`.
    pub liveness: &'static str,
    /// `door.remote_unlock`. Every pass grants the permission.
    pub remote_unlock: bool,
    /// `door.lock`.
    pub lock: &'static str,
    /// `device.data_dir`.
    pub data: &'static str,
}

/// The daemon's data folder, in memory …
const DATA: &str = "/var/doorward";
/// … or on a disk that can be made to hang.
pub const ON_DISK: &str = "/mnt/doorward";

/// Each pass is a start of the daemon.
pub const PASSES: [Pass; 5] = [
    Pass { name: "recognition", liveness: "off-for-this-test", ..PASS },
    PASS,
    Pass { name: "remote", camera: PLUGGABLE, remote_unlock: true, ..PASS },
    Pass { name: "fail_secure", data: ON_DISK, remote_unlock: true, ..PASS },
    Pass { name: "fail_safe", lock: "fail_safe", data: ON_DISK, remote_unlock: true, ..PASS },
];

const PASS: Pass = Pass {
    name: "liveness",
    camera: FED,
    liveness: "required",
    remote_unlock: false,
    lock: "fail_secure",
    data: DATA,
};

impl Pass {
    /// Returns the daemon's configuration.
    pub fn configuration(&self, broker: &Broker) -> String {
        let Self { camera, liveness, remote_unlock, lock, data, .. } = self;
        let (name, password) = LOGINS[0];
        let (port, pulse) = (broker.encrypted, PULSE.as_millis());
        format!(
            "[device]\nid = \"vm\"\ndata_dir = \"{data}\"\n\
             [mqtt]\nhost = \"{HOST}\"\nport = {port}\ntls = true\n\
             ca_file = \"/etc/doorward/ca.pem\"\nusername = \"{name}\"\n\
             password = \"{password}\"\npermissions = [\"enroll\", \"unlock\"]\n\
             [camera]\nsource = \"{camera}\"\ntimeout_ms = 5000\n\
             [liveness]\npolicy = \"{liveness}\"\n\
             [access]\ngroups = [\"family: always\"]\npatience_ms = 30000\nrepeat_ms = 1000\n\
             retry_ms = 1000\nlockout_after = 0\n\
             [door]\nboard = \"/etc/doorward/board.toml\"\nlock = \"{lock}\"\n\
             controller = \"/run/lockd.sock\"\npulse_ms = {pulse}\nremote_unlock = {remote_unlock}\n"
        )
    }
}

/// A terminal, its broker, and what both have sent.
pub struct Terminal<'a> {
    guest: &'a mut Guest,
    broker: &'a Broker,
    messages: Messages,
    /// All messages so far …
    heard: Vec<Message>,
    /// … and those before this one belong to earlier steps.
    step: usize,
    strike: Watched,
    daemon: Option<String>,
    feeder: Option<String>,
}

impl<'a> Terminal<'a> {
    /// Makes a terminal without a running daemon.
    pub fn new(guest: &'a mut Guest, broker: &'a Broker) -> Result<Self, VmError> {
        // Not `cmd/`: it carries pictures.
        let topics = ["availability", "event/#", "state/#", "response/#"];
        let topics = topics.map(|topic| format!("doorward/vm/{topic}"));
        let messages = broker.listen(&topics.each_ref().map(String::as_str))?;
        let strike = guest.watch(STRIKE)?;
        let (heard, daemon, feeder) = (Vec::new(), None, None);
        Ok(Self { guest, broker, messages, heard, step: 0, strike, daemon, feeder })
    }

    /// Prints the step; earlier messages do not count.
    pub fn step(&mut self, what: &str) -> Result<Instant, VmError> {
        while let Some(message) = self.messages.next(Duration::ZERO)? {
            self.heard.push(message);
        }
        self.step = self.heard.len();
        println!("# {what}");
        Ok(Instant::now())
    }

    /// Starts the daemon for a pass, and waits until it is online.
    pub fn start(&mut self, pass: &str) -> Result<(), VmError> {
        self.launch(pass)?;
        self.available("online")
    }

    /// Waits for a value of `availability`.
    pub fn available(&mut self, word: &str) -> Result<(), VmError> {
        self.hear(&format!("availability {word}"), |message| {
            message.topic.ends_with("availability") && message.text == word
        })
        .map(drop)
    }

    /// Stops the daemon as a service manager does, and waits for its end.
    pub fn stop(&mut self) -> Result<(), VmError> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        self.guest.run(&format!("kill -TERM {daemon}"))?;
        self.gone(&daemon)
    }

    /// Kills the daemon as the kernel does when memory is short.
    pub fn kill(&mut self) -> Result<(), VmError> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        self.guest.run(&format!("kill -KILL {daemon}"))?;
        self.gone(&daemon)
    }

    fn gone(&mut self, process: &str) -> Result<(), VmError> {
        self.guest.wait_for("the end of a process", LIMIT, |guest| {
            // A zombie has ended as well: the guest's init does not collect it.
            let state = guest.try_run(&format!("cut -d ' ' -f 3 /proc/{process}/stat"))?;
            Ok((state.0 != 0 || state.1 == "Z").then_some(()))
        })
    }

    /// Returns the last lines of the daemon's log.
    pub fn log(&mut self) -> String {
        let log = self.guest.try_run(
            "tail -n 60 /tmp/daemon.log; tail -n 5 /tmp/feed.log; tail -n 30 /tmp/lockd.log",
        );
        log.map(|(_, text)| text).unwrap_or_default()
    }

    /// Plugs the camera in; it shows an empty wall.
    pub fn plug_camera(&mut self, format: &str) -> Result<(), VmError> {
        let line = format!(
            "rm -f {SHOWN}; feed {FED} {format} {RATE} {SHOWN} >> /tmp/feed.log 2>&1 & echo $!"
        );
        self.feeder = Some(self.guest.run(&line)?);
        Ok(())
    }

    /// Disconnects the camera: no more frames come.
    pub fn unplug_camera(&mut self) -> Result<(), VmError> {
        let Some(feeder) = self.feeder.take() else { return Ok(()) };
        self.guest.run(&format!("kill -KILL {feeder}"))?;
        self.gone(&feeder)
    }

    /// Loads the camera that can be unplugged, for the first time.
    pub fn load_pluggable(&mut self) -> Result<(), VmError> {
        // Modules that are already loaded are refused, which is fine.
        let line = "while read -r module; do insmod /modules/$module \
                    $(test $module = vivid.ko && echo n_devs=1 node_types=0x1 vid_cap_nr=1) \
                    2> /dev/null; done < /modules/vivid";
        self.guest.run(&format!("{line}; {LINK}")).map(drop)
    }

    /// Unplugs it: the device itself and its link are removed.
    pub fn pull_out(&mut self) -> Result<(), VmError> {
        let line = format!("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind; rm {PLUGGABLE}");
        self.guest.run(&line).map(drop)
    }

    /// Plugs it in again.
    pub fn plug_in(&mut self) -> Result<(), VmError> {
        let line = format!("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind; {LINK}");
        println!("  it is {} this time", self.guest.run(&line)?);
        Ok(())
    }

    /// Shows a portrait to the camera.
    pub fn show(&mut self, portrait: &str) -> Result<(), VmError> {
        self.guest.run(&format!("ln -sfn /portraits/{portrait} {SHOWN}")).map(drop)
    }

    /// Shows an empty scene to the camera.
    pub fn show_empty_scene(&mut self) -> Result<(), VmError> {
        self.guest.run(&format!("rm -f {SHOWN}")).map(drop)
    }

    /// Runs the daemon's own command line in the guest.
    pub fn command(&mut self, arguments: &str) -> Result<String, VmError> {
        self.guest.run(&format!("doorward --config /etc/doorward/recognition.toml {arguments}"))
    }

    /// Enrolls a portrait over the broker.
    pub fn enrol(&mut self, portrait: &Path, subject: &str) -> Result<(), VmError> {
        let fields = [("subject_id", subject), ("is_attribute", "false"), ("request_id", subject)];
        self.broker.publish_picture("doorward/vm/cmd/enroll", portrait, &fields)?;
        let answer = self.hear("the answer to enroll", |message| {
            message.topic.ends_with("response/enroll") && message.body["request_id"] == subject
        })?;
        expect("the answer to enroll", &answer, answer["status"] == 200)
    }

    /// Sends an unlock command over the broker, and returns the answer.
    pub fn unlock(&mut self, request: &str) -> Result<Value, VmError> {
        self.send_unlock(request, false)?;
        self.hear("the answer to unlock", |message| {
            message.topic.ends_with("response/unlock") && message.body["request_id"] == request
        })
    }

    /// Sends an unlock command; if `retained`, the broker keeps it for later subscribers.
    pub fn send_unlock(&self, request: &str, retained: bool) -> Result<(), VmError> {
        let body = json!({ "reason": "the virtual terminal's test", "request_id": request });
        self.broker.publish("doorward/vm/cmd/unlock", &body, retained)
    }

    /// Presses the button inside until the door reacts: the emulated door may miss the 0.1 s for
    /// which the machine's button is pressed.
    pub fn press_button_until_felt(&mut self) -> Result<(), VmError> {
        let before = self.strike.pulses();
        let strike = self.strike.clone();
        self.guest.wait_for("the strike's answer to the button", LIMIT, |guest| {
            guest.monitor().press_button()?;
            // Pressed during a pulse it would be remembered, and cause another pulse.
            std::thread::sleep(Duration::from_secs(3));
            Ok((strike.pulses() > before).then_some(()))
        })
    }

    /// Presses the button, and waits until the strike's line has the level of a release (`high`).
    /// Returns the time since the press. Presses again if the emulated machine was paused for the
    /// 0.1 s of the press; `None` if three presses have no effect.
    pub fn release_by_button(&mut self, high: bool) -> Result<Option<Duration>, VmError> {
        for _ in 0..3 {
            let pressed = Instant::now();
            self.guest.monitor().press_button()?;
            while pressed.elapsed() < Duration::from_secs(2) {
                let edge = self.strike.edges().last().copied();
                if let Some(edge) = edge.filter(|edge| edge.high == high && edge.at >= pressed) {
                    return Ok(Some(edge.at.duration_since(pressed)));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(None)
    }

    /// Waits until the strike's line has a level.
    pub fn level(&mut self, high: bool) -> Result<Edge, VmError> {
        self.edge(high)
    }

    /// Runs a line of shell in the guest.
    pub fn shell(&mut self, line: &str) -> Result<String, VmError> {
        self.guest.run(line)
    }

    /// Returns the process of the daemon, if it was started.
    pub fn daemon(&self) -> Option<&str> {
        self.daemon.as_deref()
    }

    /// Starts the daemon for a pass without waiting for it.
    pub fn launch(&mut self, pass: &str) -> Result<(), VmError> {
        let line = format!(
            "RUST_BACKTRACE=1 doorward --config /etc/doorward/{pass}.toml run \
             >> /tmp/daemon.log 2>&1 & echo $!"
        );
        self.daemon = Some(self.guest.run(&line)?);
        Ok(())
    }

    /// Waits for a message of this step that matches.
    pub fn hear(
        &mut self,
        what: &str,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Value, VmError> {
        let started = Instant::now();
        let mut next = self.step;
        loop {
            while let Some(message) = self.heard.get(next) {
                if wanted(message) {
                    return Ok(message.body.clone());
                }
                next += 1;
            }
            match self.messages.next(Duration::from_millis(500))? {
                Some(message) => self.heard.push(message),
                None if started.elapsed() > LIMIT => return Err(self.not_heard(what)),
                None => {}
            }
        }
    }

    fn not_heard(&self, what: &str) -> VmError {
        let heard = self.heard.iter().skip(self.step).map(|message| {
            let text: String = message.text.chars().take(300).collect();
            format!("{} {text}", message.topic)
        });
        VmError::Late {
            what: what.into(),
            limit: LIMIT,
            seen: heard.collect::<Vec<_>>().join("\n"),
        }
    }

    /// Waits for an event of a kind and an outcome.
    pub fn event(&mut self, kind: &str, outcome: &str) -> Result<Value, VmError> {
        let topic = format!("event/{kind}");
        let event = self.hear(&format!("{topic} {outcome}"), |message| {
            message.topic.ends_with(&topic) && message.body["outcome"] == outcome
        })?;
        let subject = event["subject_id"].as_str().unwrap_or("no subject");
        println!("  {topic}: {outcome}, {subject}, {}", event["reason"].as_str().unwrap_or(""));
        Ok(event)
    }

    /// Waits for a state of the camera.
    pub fn camera(&mut self, state: &str) -> Result<Value, VmError> {
        let seen = self.hear(&format!("state/camera {state}"), |message| {
            message.topic.ends_with("state/camera") && message.body["state"] == state
        })?;
        println!("  state/camera: {seen}");
        Ok(seen)
    }

    /// Returns all messages so far.
    pub fn heard(&self) -> &[Message] {
        &self.heard
    }

    /// Returns how many times the strike was engaged, as seen from outside.
    pub fn pulses(&self) -> usize {
        self.strike.pulses()
    }

    /// Waits for the strike's line to be high.
    pub fn engaged(&mut self) -> Result<Edge, VmError> {
        self.edge(true)
    }

    /// Returns when its line last went high.
    pub fn last_rise(&self) -> Result<Instant, VmError> {
        let edges = self.strike.edges();
        let rise = edges.iter().rev().find(|edge| edge.high).map(|edge| edge.at);
        rise.ok_or_else(|| VmError::Unexpected {
            what: "the strike's line".into(),
            found: "it was never high".into(),
        })
    }

    /// Waits for the line to be low again.
    pub fn locked(&mut self) -> Result<Edge, VmError> {
        self.edge(false)
    }

    fn edge(&mut self, high: bool) -> Result<Edge, VmError> {
        let strike = self.strike.clone();
        let level = if high { "high" } else { "low" };
        self.guest.wait_for(&format!("the strike's line {level}"), LIMIT, |_| {
            Ok(strike.edges().last().copied().filter(|edge| edge.high == high))
        })
    }
}

/// Checks a received value; the error shows it.
pub fn expect(what: &str, value: &Value, holds: bool) -> Result<(), VmError> {
    if holds {
        return Ok(());
    }
    Err(VmError::Unexpected { what: what.into(), found: value.to_string() })
}
