//! The table of keys, the only place that names them. A row holds type, default, bounds or words,
//! and help. The structs, the check, the environment variables, the commented file that `doorward
//! config print` writes and `docs/configuration.md` all come from it.

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
        /// All settings of the daemon.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $( #[doc = $about] pub $section: $Section, )+
        }

        impl Config {
            /// Returns what is wrong with each value by itself, one line per key.
            pub(super) fn problems(&self) -> Vec<String> {
                [ $( self.$section.problems(), )+ ].concat()
            }

            /// Sets a key of the table; ignores a key that is not in it.
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
                /// Returns what is wrong with its values, one line per key.
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
    #[doc = " The terminal's name and where it keeps its files."]
    device: Device {
        /// Name of this terminal in topics and answers: letters, digits, `.`, `_`, `-`. Empty: the
        /// host name.
        id: String = String::new(), Any;
        /// Folder of the gallery, the applications, the events, the embedded broker's login and the
        /// control socket. Empty: /var/lib/doorward for root, else doorward in $XDG_STATE_HOME or
        /// ~/.local/state.
        data_dir: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " The broker. Without a host the daemon starts the embedded broker on this machine."]
    mqtt: Mqtt {
        /// Host name or address of the broker. Empty: the embedded broker on 127.0.0.1.
        host: String = String::new(), Any;
        /// Port of the broker, the embedded one included. 0: 1883, with TLS 8883.
        port: u16 = 0, Any;
        /// Login at the broker. Empty: anonymous. Not used with the embedded broker, which makes
        /// its own login at first start.
        username: String = String::new(), Any;
        /// Password of username. Better: password_file, or the variable DOORWARD__MQTT__PASSWORD.
        password: Secret = Secret::default(), Any;
        /// File that holds only the password.
        password_file: PathBuf = PathBuf::new(), Any;
        /// Client id. Empty: doorward- and the device id.
        client_id: String = String::new(), Any;
        /// Encrypt the connection. Without ca_file the system's certificate authorities are
        /// trusted.
        tls: bool = false, Any;
        /// PEM file of the authority that signed the broker's certificate.
        ca_file: PathBuf = PathBuf::new(), Any;
        /// PEM file of this terminal's own certificate, for brokers that ask for one.
        client_cert_file: PathBuf = PathBuf::new(), Any;
        /// PEM file of the private key of client_cert_file.
        client_key_file: PathBuf = PathBuf::new(), Any;
        /// Obey enroll, update, delete and unlock, and let faces open the door, even if the broker
        /// accepts everyone, or is on another machine and unencrypted. Anyone who reaches it can
        /// then open the door.
        allow_insecure: bool = false, Any;
        /// Seconds between pings to the broker.
        keep_alive_s: u16 = 30, Within(5.0..=65_535.0);
        /// More topic prefixes below which Response Topics are accepted.
        response_prefixes: Vec<String> = Vec::new(), Any;
        /// What a client may request under service.auth = "broker", while clients is empty: enroll,
        /// verify, search, liveness, compare, subject (list, get, delete, and update of the name),
        /// unlock (with door.remote_unlock), admin (in addition to subject or enroll: every change
        /// of who is admitted, which is groups, card, enabled, validity, and the photo of a subject
        /// with groups; and every operation on applications).
        permissions: Vec<String> = ["enroll", "verify", "search", "liveness", "compare", "subject"]
            .map(String::from).to_vec(), Any;
        /// What a client that writes to from/NAME/cmd/ may request: one "NAME: PERMISSION …" per
        /// client, such as "desk: verify search". With this table permissions is ignored: a NAME
        /// that is not in it, and a client that writes to cmd/, may request nothing. Secure only
        /// with a broker whose access list grants from/NAME/ to the login NAME alone, so it needs
        /// host, and username with a password or a client certificate.
        clients: Vec<String> = Vec::new(), Any;
    }
    #[doc = " The camera at the door."]
    camera: Camera {
        /// The device, best by a stable name such as /dev/v4l/by-id/usb-…-index0 (`doorward camera
        /// list` shows them). "replay:DIR" plays the JPEG and PNG files of a folder in the order of
        /// their names, "replay:FILE" an .avi or .mjpeg file of JPEGs. Empty: no camera.
        source: String = String::new(), Any;
        /// Requested width in pixels, before any rotation; the nearest that the camera offers is
        /// used.
        width: u32 = 640, Within(160.0..=3840.0);
        /// Requested height in pixels.
        height: u32 = 480, Within(120.0..=2160.0);
        /// Requested frames per second; the rate of a replay.
        fps: u32 = 15, Within(1.0..=120.0);
        /// The pixel format. auto: the best that the camera offers at that size.
        format: String = "auto".to_owned(), WordsInAnyCase(&["auto", "MJPG", "YUYV", "NV12", "GREY"]);
        /// Milliseconds after opening a device in which its frames are discarded, while it adjusts
        /// its exposure.
        warm_up_ms: u32 = 500, Within(0.0..=10_000.0);
        /// Milliseconds without a frame after which the device is closed and opened again.
        timeout_ms: u32 = 2000, Within(200.0..=10_000.0);
        /// Degrees clockwise by which frames are rotated, for a camera that is mounted on its side.
        rotate: u16 = 0, OneOf(&[0, 90, 180, 270]);
        /// Start a replay again when it has ended.
        replay_loop: bool = true, Any;
    }
    #[doc = " The enrolled subjects."]
    gallery: Gallery {
        /// Keep the crop of each enrolled face, for return_image and for a change of the model.
        store_images: bool = true, Any;
        /// Refuse to enroll a face that is enrolled under another id, at a similarity of 90 or
        /// more. The client then learns that a face is known, but not whose it is.
        refuse_duplicates: bool = false, Any;
    }
    #[doc = " Liveness: is the face a live person's?"]
    liveness: Liveness {
        /// Log-odds of "live" from which a face counts as live at this camera: higher refuses more
        /// spoofs and more people. `doorward calibrate liveness` finds it.
        operating_point: f64 = 0.0, Within(OPERATING_POINTS);
        /// required: a face that is not live does not open the door. off-for-this-test: a
        /// photograph opens it; every decision says so.
        policy: String = "required".to_owned(), Words(&["required", "off-for-this-test"]);
    }
    #[doc = " 1:N at the door."]
    search: Search {
        /// Accepted probability that a stranger is taken for an enrolled subject. The door's
        /// threshold follows from it and rises with the gallery.
        target_fpir: f64 = 0.001, Within(1e-6..=0.1);
    }
    #[doc = " Who may pass, and how the door decides."]
    access: Access {
        /// Who may open this door when, one group per entry: "family: always", "staff: Mon-Fri
        /// 07:00-19:00, Sat 09:00-13:00 in Europe/Berlin". Hours without a zone are in the
        /// system's. A subject without one of these groups cannot open the door.
        groups: Vec<String> = Vec::new(), Any;
        /// Frames in a row that must name the same subject.
        agreement: usize = 3, Within(2.0..=8.0);
        /// By how much the best subject's cosine must exceed that of any other person.
        margin: f64 = 0.05, Within(0.0..=0.5);
        /// Width of a face in pixels of the frame from which it is judged. A face 14 cm wide, 1 m
        /// before a camera of 640 pixels and 60 degrees, has 78.
        smallest_face: u32 = 64, Within(32.0..=1000.0);
        /// Part of the frame in which the middle of a face must be: LEFT TOP RIGHT BOTTOM as
        /// fractions, such as "0.2 0 0.8 1". Empty: everywhere.
        zone: String = String::new(), Any;
        /// Refuse while a second person stands at the door.
        one_person: bool = false, Any;
        /// Refuse faces with sunglasses or a mask.
        refuse_covered: bool = true, Any;
        /// Milliseconds after which an attempt without a result ends.
        patience_ms: u32 = 3000, Within(1000.0..=30_000.0);
        /// Milliseconds after which a refused face that stays is judged again; doubled up to
        /// eightfold with each refusal of a stranger or spoof.
        retry_ms: u32 = 2000, Within(500.0..=60_000.0);
        /// Milliseconds for which a subject who was admitted is not admitted again; doubled up to a
        /// minute with each further time; each minute takes one doubling back.
        repeat_ms: u32 = 5000, Within(0.0..=60_000.0);
        /// Failed attempts (strangers, spoofs) after which no face is judged for lockout_s: each
        /// face counts once, wherever it is shown. A grant clears all attempts, each minute one. 0:
        /// never.
        lockout_after: u32 = 5, Any;
        /// The first lockout in seconds; doubled with each further failed attempt.
        lockout_s: u32 = 5, Within(1.0..=3600.0);
        /// The longest lockout in seconds; not below lockout_s.
        lockout_longest_s: u32 = 30, Within(1.0..=86_400.0);
    }
    #[doc = " The clock for hours and dates."]
    schedules: Schedules {
        /// Trust the clock even if nothing says that it was synchronised since boot. For a machine
        /// without a network that has a clock with a battery.
        trust_clock: bool = false, Any;
    }
    #[doc = " The strike and the other hardware at the door."]
    door: Door {
        /// Profile of the board: raspberry-pi-4, raspberry-pi-5, jetson-orin-nano, pc (simulated),
        /// or a TOML file. Empty: no door.
        board: String = String::new(), Any;
        /// fail_secure: locked without power. fail_safe: open without power.
        lock: String = "fail_secure".to_owned(), Words(&["fail_secure", "fail_safe"]);
        /// Socket of the lock controller (doorward-lockd) if systemd or another program keeps it
        /// running. Empty: the daemon starts one that outlives it, with the socket lockd.sock in
        /// the data folder.
        controller: PathBuf = PathBuf::new(), Any;
        /// Milliseconds for which people can pass.
        pulse_ms: u32 = 3000, Within(100.0..=30_000.0);
        /// The strike's coil is rated for continuous current. false: it is powered for 30 s at
        /// most, and then has a cooldown of 5 s.
        strike_continuous: bool = false, Any;
        /// The board's line `fire` is wired to the fire alarm's contact: while the contact is open,
        /// people can pass.
        fire: bool = false, Any;
        /// Seconds after which an open door raises an alarm.
        held_open_s: u32 = 30, Within(1.0..=3600.0);
        /// A mantrap: the board's line `interlock` reads the contact of another door. While that
        /// door is open no face and no command opens this one; request-to-exit does.
        interlock: bool = false, Any;
        /// Bits of a subject's card on the Wiegand lines.
        wiegand_bits: u8 = 26, OneOf(&[26, 34]);
        /// Obey unlock commands that come over the broker. The sender needs the permission unlock
        /// as well.
        remote_unlock: bool = false, Any;
        /// File of input events of the simulated board, one per line: `1500ms request_to_exit low`.
        /// For demonstrations and tests.
        script: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " The HTTP interface: docs/http.md."]
    http: Http {
        /// Answer over HTTP. Every request to /v1 needs the App-ID and API-Key of an application
        /// (`doorward app create`).
        enabled: bool = true, Any;
        /// The address to listen on. Anything but loopback needs TLS; `doorward http listen
        /// ADDRESS` sets it up. 0.0.0.0 or :: is every network of this machine.
        listen: String = "127.0.0.1".to_owned(), Any;
        /// The port. 0: any free one, which the log shows.
        port: u16 = 8484, Any;
        /// Names by which clients call this terminal, such as "front-door.local", besides its
        /// addresses and localhost. Requests to another name are refused.
        hosts: Vec<String> = Vec::new(), Any;
        /// Origins of web pages whose scripts may read answers, such as "https://panel.example".
        /// Empty: none.
        cors_origins: Vec<String> = Vec::new(), Any;
        /// PEM file of the certificate, and of those that signed it.
        tls_cert: PathBuf = PathBuf::new(), Any;
        /// PEM file of the private key of tls_cert.
        tls_key: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " Pictures fetched by http(s) URL."]
    image_url: ImageUrl {
        /// Host names, addresses or networks (10.0.0.0/8) that pictures may be fetched from: at
        /// port 80 by http and 443 by https, or at the port that the entry names, such as
        /// nas.lan:8080; `:*` stands for every port. Empty: URLs are refused.
        allow: Vec<String> = Vec::new(), Any;
        /// Logins of hosts that require one, such as "nas.example.org camera:PASSWORD". A login is
        /// sent by https alone, to that host and port alone, and not on after a redirect; with
        /// "http://" before the host, unencrypted by http.
        logins: Vec<Secret> = Vec::new(), Any;
    }
    #[doc = " Which clients may send requests, and how much work is accepted."]
    service: Service {
        /// How a client is authorised. broker: every client that the broker accepts, with
        /// mqtt.permissions, or as mqtt.clients says. app-key: by the App-ID and API-Key of an
        /// application (`doorward app create`), with the application's own permissions and quotas.
        auth: String = "broker".to_owned(), Words(&["broker", "app-key"]);
        /// Requests that may wait for a vision thread; a further one is answered 503 BUSY.
        queue: usize = 8, Within(1.0..=64.0);
        /// Threads that decode pictures and run the networks. One is enough for a door. Each takes
        /// up to 150 MB of memory for the largest pictures, and the messages that bring them some
        /// 35 MB.
        vision_threads: usize = 1, Within(1.0..=64.0);
        /// Cores that work on one face. Two answer sooner, with the same result, if the board has
        /// cores to spare.
        face_cores: usize = 1, OneOf(&[1, 2]);
    }
    #[doc = " Events that wait for the broker, and as many for the webhook."]
    outbox: Outbox {
        /// Events that may wait for the broker; beyond that the oldest is dropped, and counted.
        max_events: usize = 10_000, Within(1.0..=1_000_000.0);
        /// Days an event may wait; after that it is dropped, and counted.
        max_age_days: u32 = 30, Within(1.0..=3650.0);
    }
    #[doc = " Events sent to an HTTP server, in the form of Standard Webhooks."]
    webhook: Webhook {
        /// Where events are sent by POST: https://HOST/PATH. Empty: nowhere. http is accepted for
        /// this machine and the hosts of http_hosts.
        url: String = String::new(), Any;
        /// The secret that signs events: whsec_ and the base64 of 24 to 64 random bytes. Better:
        /// secret_file, or the variable DOORWARD__WEBHOOK__SECRET.
        secret: Secret = Secret::default(), Any;
        /// File that holds only the secret.
        secret_file: PathBuf = PathBuf::new(), Any;
        /// Kinds of events that are sent: access, enroll, spoof, door, tamper, camera. Empty: all.
        kinds: Vec<String> = Vec::new(), Any;
        /// Hosts, as in the URL, to which events may go unencrypted over the network.
        http_hosts: Vec<String> = Vec::new(), Any;
        /// PEM file of the authority that signed the server's certificate. Empty: the public
        /// authorities.
        ca_file: PathBuf = PathBuf::new(), Any;
    }
    #[doc = " The record of decisions and administration that `doorward audit` shows and verifies."]
    audit: Audit {
        /// Lines that are kept; beyond that the oldest is removed.
        max_lines: u64 = 100_000, Within(100.0..=10_000_000.0);
        /// Days a line is kept.
        max_age_days: u32 = 365, Within(1.0..=3650.0);
    }
    #[doc = " Home Assistant, over the same broker."]
    homeassistant: HomeAssistant {
        /// Publish what Home Assistant needs to show this door as a device. false: remove what was
        /// published.
        discovery: bool = true, Any;
        /// Home Assistant's discovery prefix.
        prefix: String = "homeassistant".to_owned(), Any;
        /// The device's name there. Empty: the device id in words, such as `Front door` for
        /// front-door.
        name: String = String::new(), Any;
        /// Home Assistant's NAME in mqtt.clients, if that table is used: it then unlocks by
        /// from/NAME/cmd/unlock.
        client: String = String::new(), Any;
    }
    #[doc = " What is written to standard error."]
    log: Log {
        /// error, warn, info, debug or trace, also per module: `info,doorward::mqtt=debug`.
        level: String = "info".to_owned(), Any;
    }
}
