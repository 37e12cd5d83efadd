//! The table of keys. It is the one place that names them: a row says the type, the default, the
//! bounds or words, and the help. The structs, the check, the environment variables, the commented
//! file that `doorward config print` writes and `docs/configuration.md` all come from it.

use super::load::problems_in;
use super::row::Rule::{Any, OneOf, Within, Words, WordsInAnyCase};
use super::row::{Key, KeyType};
use crate::face::OPERATING_POINTS;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

macro_rules! keys {
    ($(
        #[doc = $about:literal]
        $section:ident: $Section:ident {
            $( $(#[doc = $help:literal])+ $key:ident: $Type:ty = $default:expr, $rule:expr; )+
        }
    )+) => {
        /// Every setting of the daemon.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $( #[doc = $about] pub $section: $Section, )+
        }

        impl Config {
            /// What is wrong with each value for itself, a line a key.
            pub(super) fn problems(&self) -> Vec<String> {
                [ $( self.$section.problems(), )+ ].concat()
            }

            /// Sets a key of the table; one that is not in it is passed over.
            ///
            /// # Errors
            /// The value is not of the key's type.
            pub(super) fn put(
                &mut self,
                section: &str,
                name: &str,
                value: toml::Value,
            ) -> Result<(), toml::de::Error> {
                match (section, name) {
                    $( $( (stringify!($section), stringify!($key)) => {
                        self.$section.$key = value.try_into()?;
                    } )+ )+
                    _ => {}
                }
                Ok(())
            }
        }

        $(
            #[doc = $about]
            #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $help])+ pub $key: $Type, )+
            }

            impl $Section {
                /// What is wrong with its values, a line a key.
                pub fn problems(&self) -> Vec<String> {
                    problems_in(stringify!($section), self)
                }
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// The sections in the order of the table, with what they are about.
        pub const SECTIONS: &[(&str, &str)] = &[ $( (stringify!($section), $about), )+ ];

        /// The keys in the order of the table.
        pub const KEYS: &[Key] = &[ $( $(
            Key {
                section: stringify!($section),
                name: stringify!($key),
                kind: <$Type as KeyType>::KIND,
                rule: $rule,
                help: concat!($($help, "\n"),+),
            },
        )+ )+ ];
    };
}

keys! {
    #[doc = " Who this terminal is and where it keeps its files."]
    device: Device {
        /// Name of this terminal in topics and answers: letters, digits, `.`, `_`, `-`. Empty: the
        /// host name.
        id: String = String::new(), Any;
        /// Folder of the gallery, the applications, the events, the embedded broker's login and the
        /// control socket. Empty: /var/lib/doorward for root, else doorward in $XDG_STATE_HOME or
        /// ~/.local/state.
        data_dir: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " The broker. Without a host the daemon starts one of its own on this machine."]
    mqtt: Mqtt {
        /// Host name or address of the broker. Empty: the embedded broker on 127.0.0.1.
        host: String = String::new(), Any;
        /// Port of the broker, the embedded one included. 0: 1883, with TLS 8883.
        port: u16 = 0, Any;
        /// Login at the broker. Empty: anonymous. Not used with the embedded broker, which makes
        /// its own login at first start.
        username: String = String::new(), Any;
        /// Its password. Better: password_file, or the variable DOORWARD__MQTT__PASSWORD.
        password: Secret = Secret::default(), Any;
        /// File that holds the password alone.
        password_file: PathBuf = PathBuf::new(), Any;
        /// Client id. Empty: doorward- and the device id.
        client_id: String = String::new(), Any;
        /// Encrypt the connection. Without ca_file the system's certificate authorities count.
        tls: bool = false, Any;
        /// PEM file of the authority that signed the broker's certificate.
        ca_file: PathBuf = PathBuf::new(), Any;
        /// PEM file of this terminal's own certificate, for brokers that ask for one.
        client_cert_file: PathBuf = PathBuf::new(), Any;
        /// PEM file of its private key.
        client_key_file: PathBuf = PathBuf::new(), Any;
        /// Obey enroll, update, delete and unlock, and let faces open the door, although the broker
        /// lets anybody in, or is on another machine and unencrypted. Anyone who reaches it can then
        /// open the door.
        allow_insecure: bool = false, Any;
        /// Seconds between signs of life to the broker.
        keep_alive_s: u16 = 30, Within(5.0..=65_535.0);
        /// Response topics are accepted below these prefixes too.
        response_prefixes: Vec<String> = Vec::new(), Any;
        /// What a client may ask for under service.auth = "broker", while clients is empty: enroll,
        /// verify, search, liveness, compare, subject (list, get, delete, and update of the name),
        /// unlock (with door.remote_unlock), admin (in addition to subject or enroll: whatever changes who is let in, which is groups,
        /// card, enabled, validity, and the photo of a subject with groups).
        permissions: Vec<String> = ["enroll", "verify", "search", "liveness", "compare", "subject"]
            .map(String::from).to_vec(), Any;
        /// What a client that writes to from/NAME/cmd/ may ask for: "NAME: PERMISSION …" each, such
        /// as "desk: verify search". With this table permissions counts for nothing: a NAME that is
        /// not there, and a client that writes to cmd/, may ask for nothing. Sound only with a broker
        /// whose access list gives from/NAME/ to the login NAME alone, so it needs host, and
        /// username with a password or a client certificate.
        clients: Vec<String> = Vec::new(), Any;
    }
    #[doc = " The camera at the door."]
    camera: Camera {
        /// The device, best by a name that stays the same, such as /dev/v4l/by-id/usb-…-index0
        /// (`doorward camera list` shows them). "replay:DIR" plays the JPEG and PNG files of a folder
        /// in the order of their names, "replay:FILE" an .avi or .mjpeg file of JPEGs. Empty: no
        /// camera.
        source: String = String::new(), Any;
        /// Wished width in pixels, before any turn; of what the camera offers, the nearest is taken.
        width: u32 = 640, Within(160.0..=3840.0);
        /// Wished height in pixels.
        height: u32 = 480, Within(120.0..=2160.0);
        /// Wished frames a second; the rate of a replay.
        fps: u32 = 15, Within(1.0..=120.0);
        /// The pixel format. auto: the best that the camera offers at that size.
        format: String = "auto".to_owned(), WordsInAnyCase(&["auto", "MJPG", "YUYV", "NV12", "GREY"]);
        /// Milliseconds after opening a device in which its frames are thrown away, while it finds
        /// its exposure.
        warm_up_ms: u32 = 500, Within(0.0..=10_000.0);
        /// Milliseconds without a frame until the device is closed and opened again.
        timeout_ms: u32 = 2000, Within(200.0..=10_000.0);
        /// Degrees clockwise by which the frames are turned, for a camera that is mounted on its
        /// side.
        rotate: u16 = 0, OneOf(&[0, 90, 180, 270]);
        /// Whether a replay starts again when it has ended.
        replay_loop: bool = true, Any;
    }
    #[doc = " Who is enrolled."]
    gallery: Gallery {
        /// Keep the crop of each enrolled face, for return_image and for a change of the model.
        store_images: bool = true, Any;
        /// Refuse to enrol a face that is enrolled under another id, at a similarity of 90 or more. Who
        /// enrols then learns that a face is known, though not whose it is.
        refuse_duplicates: bool = false, Any;
    }
    #[doc = " Whether a face is a live person's."]
    liveness: Liveness {
        /// Log-odds of "live" from which on a face is live at this camera: higher refuses more
        /// spoofs and more people. `doorward calibrate liveness` finds it.
        operating_point: f64 = 0.0, Within(OPERATING_POINTS);
        /// required: a face that is not live opens no door. off-for-this-test: a photograph opens
        /// it; every decision says so.
        policy: String = "required".to_owned(), Words(&["required", "off-for-this-test"]);
    }
    #[doc = " 1:N at the door."]
    search: Search {
        /// Accepted chance that a stranger is taken for somebody enrolled. The door's threshold
        /// follows from it and rises with the gallery.
        target_fpir: f64 = 0.001, Within(1e-6..=0.1);
    }
    #[doc = " Who may pass, and how the door judges."]
    access: Access {
        /// Who may open this door when, a group a line: "family: always",
        /// "staff: Mon-Fri 07:00-19:00, Sat 09:00-13:00 in Europe/Berlin". Hours without a zone are
        /// the system's. A subject without one of these groups opens no door.
        groups: Vec<String> = Vec::new(), Any;
        /// Frames in a row that must name the same subject.
        agreement: usize = 3, Within(2.0..=8.0);
        /// By how much the best subject must be ahead of another person, in cosine.
        margin: f64 = 0.05, Within(0.0..=0.5);
        /// Width of a face in pixels of the frame from which on it is judged. A face 14 cm wide,
        /// 1 m before a camera of 640 pixels and 60 degrees, has 78.
        smallest_face: u32 = 64, Within(32.0..=1000.0);
        /// Part of the frame in which the middle of a face must be: LEFT TOP RIGHT BOTTOM in shares,
        /// such as "0.2 0 0.8 1". Empty: everywhere.
        zone: String = String::new(), Any;
        /// Refuse while a second person stands at the door.
        one_person: bool = false, Any;
        /// Refuse faces with sunglasses or a mask.
        refuse_covered: bool = true, Any;
        /// Milliseconds after which an attempt that came to nothing is over.
        patience_ms: u32 = 3000, Within(1000.0..=30_000.0);
        /// Milliseconds after which a refused face that stays is judged again; doubled up to
        /// eightfold with each stranger's or spoof's.
        retry_ms: u32 = 2000, Within(500.0..=60_000.0);
        /// Milliseconds for which a subject who was let in is not let in again; doubled up to a
        /// minute with each further time, a minute forgives one.
        repeat_ms: u32 = 5000, Within(0.0..=60_000.0);
        /// Failed attempts (strangers, spoofs) after which no face is judged for a while: each face counts
        /// once, wherever it is shown. A grant forgives all, a minute one. 0: never.
        lockout_after: u32 = 5, Any;
        /// The first such while in seconds; doubled with each further failed attempt.
        lockout_s: u32 = 5, Within(1.0..=3600.0);
        /// The longest, in seconds; not below lockout_s.
        lockout_longest_s: u32 = 30, Within(1.0..=86_400.0);
    }
    #[doc = " Hours and dates."]
    schedules: Schedules {
        /// Believe the clock although nothing says that it was synchronised since boot. For a machine
        /// without a network that has a clock with a battery.
        trust_clock: bool = false, Any;
    }
    #[doc = " The strike and what is around it."]
    door: Door {
        /// Profile of the board: raspberry-pi-4, raspberry-pi-5, jetson-orin-nano, pc (simulated), or
        /// a TOML file. Empty: no door.
        board: String = String::new(), Any;
        /// fail_secure: locked without power. fail_safe: open without power.
        lock: String = "fail_secure".to_owned(), Words(&["fail_secure", "fail_safe"]);
        /// Socket of the lock controller (doorward-lockd) that systemd or something else keeps running.
        /// Empty: the daemon starts one that outlives it, with the socket lockd.sock in the data folder.
        controller: PathBuf = PathBuf::new(), Any;
        /// Milliseconds for which people can pass.
        pulse_ms: u32 = 3000, Within(100.0..=30_000.0);
        /// The strike's coil is rated for current without end. false: it never has any for more than
        /// 30 s, and rests for 5 s after that.
        strike_continuous: bool = false, Any;
        /// The board's line `fire` is wired to the fire alarm's contact: while that is open, people can
        /// pass.
        fire: bool = false, Any;
        /// Seconds after which an open door is an alarm.
        held_open_s: u32 = 30, Within(1.0..=3600.0);
        /// A mantrap: the board's line `interlock` reads the contact of another door. While that is open
        /// no face and no command opens this one; request-to-exit does.
        interlock: bool = false, Any;
        /// Bits of a subject's card on the Wiegand lines.
        wiegand_bits: u8 = 26, OneOf(&[26, 34]);
        /// Obey unlock commands that come over the broker. Who sends them needs the permission
        /// unlock as well.
        remote_unlock: bool = false, Any;
        /// File with what happens to the inputs of the simulated board, a line each: `1500ms
        /// request_to_exit low`. For demonstrations and tests.
        script: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " Pictures that come by http(s) URL."]
    image_url: ImageUrl {
        /// Host names, addresses or networks (10.0.0.0/8) pictures may be fetched from. Empty: URLs
        /// are refused.
        allow: Vec<String> = Vec::new(), Any;
    }
    #[doc = " Who may ask, and how much work is taken on."]
    service: Service {
        /// How a client shows that it may ask. broker: every client that the broker lets in, with
        /// mqtt.permissions, or as mqtt.clients says. app-key: by the App-ID and API-Key of an application
        /// (`doorward app create`), with the application's own permissions and quotas.
        auth: String = "broker".to_owned(), Words(&["broker", "app-key"]);
        /// Requests that may wait for a vision thread; one more is answered 503 BUSY.
        queue: usize = 8, Within(1.0..=64.0);
        /// Threads that decode pictures and run the networks. One serves a door; the largest pictures
        /// take up to 150 MB of memory, in each of them, and the messages that bring them some 35 MB.
        vision_threads: usize = 1, Within(1.0..=64.0);
        /// Cores that work on one face. Two answer sooner, with the same result, where a board
        /// has cores to spare.
        face_cores: usize = 1, OneOf(&[1, 2]);
    }
    #[doc = " Events on their way to the broker."]
    outbox: Outbox {
        /// Events that may wait for the broker; then the oldest is dropped, and counted.
        max_events: usize = 10_000, Within(1.0..=1_000_000.0);
        /// Days an event may wait; then it is dropped, and counted.
        max_age_days: u32 = 30, Within(1.0..=3650.0);
    }
    #[doc = " The record of decisions and administration that `doorward audit` shows and verifies."]
    audit: Audit {
        /// Lines that are kept; then the oldest goes.
        max_lines: u64 = 100_000, Within(100.0..=10_000_000.0);
        /// Days a line is kept.
        max_age_days: u32 = 365, Within(1.0..=3650.0);
    }
    #[doc = " Home Assistant, over the same broker."]
    homeassistant: HomeAssistant {
        /// Publish what it needs to show this door as a device. false: remove what was published.
        discovery: bool = true, Any;
        /// Its discovery prefix.
        prefix: String = "homeassistant".to_owned(), Any;
        /// Its NAME in mqtt.clients, if there is that table: it then unlocks by from/NAME/cmd/unlock.
        client: String = String::new(), Any;
    }
    #[doc = " What is written to standard error."]
    log: Log {
        /// error, warn, info, debug or trace, also by module: `info,doorward::mqtt=debug`.
        level: String = "info".to_owned(), Any;
    }
}
