//! The table of keys. It is the one place that names them: the structs, the defaults, the commented
//! file that `doorward config print` writes and the environment variables all come from it.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One key of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `mqtt`
    pub section: &'static str,
    /// `host`
    pub name: &'static str,
    /// What it does, in one line or a few.
    pub help: &'static str,
}

macro_rules! keys {
    ($(
        #[doc = $about:literal]
        $section:ident: $Section:ident {
            $( $(#[doc = $help:literal])+ $key:ident: $Type:ty = $default:expr; )+
        }
    )+) => {
        /// Every setting of the daemon.
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $( #[doc = $about] pub $section: $Section, )+
        }

        $(
            #[doc = $about]
            #[derive(Clone, Debug, Deserialize, Serialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $Section {
                $( $(#[doc = $help])+ pub $key: $Type, )+
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
        id: String = String::new();
        /// Folder of the gallery, the applications, the events, the embedded broker's login and the
        /// control socket. Empty: /var/lib/doorward for root, else doorward in $XDG_STATE_HOME or
        /// ~/.local/state.
        data_dir: PathBuf = PathBuf::new();
    }
    #[doc = " The broker. Without a host the daemon starts one of its own on this machine."]
    mqtt: Mqtt {
        /// Host name or address of the broker. Empty: the embedded broker on 127.0.0.1.
        host: String = String::new();
        /// Port of the broker, the embedded one included. 0: 1883, with TLS 8883.
        port: u16 = 0;
        /// Login at the broker. Empty: anonymous. Not used with the embedded broker, which makes
        /// its own login at first start.
        username: String = String::new();
        /// Its password. Better: password_file, or the variable DOORWARD__MQTT__PASSWORD.
        password: Secret = Secret::default();
        /// File that holds the password alone.
        password_file: PathBuf = PathBuf::new();
        /// Client id. Empty: doorward- and the device id.
        client_id: String = String::new();
        /// Encrypt the connection. Without ca_file the system's certificate authorities count.
        tls: bool = false;
        /// PEM file of the authority that signed the broker's certificate.
        ca_file: PathBuf = PathBuf::new();
        /// PEM file of this terminal's own certificate, for brokers that ask for one.
        client_cert_file: PathBuf = PathBuf::new();
        /// PEM file of its private key.
        client_key_file: PathBuf = PathBuf::new();
        /// Obey enroll, update, delete and unlock although the broker is on another machine and
        /// anonymous or unencrypted. Anyone on the network can then open the door.
        allow_insecure: bool = false;
        /// Seconds between signs of life to the broker, at least 5.
        keep_alive_s: u16 = 30;
        /// Response topics are accepted below these prefixes too.
        response_prefixes: Vec<String> = Vec::new();
        /// What a client may ask for under service.auth = "broker", while clients is empty: enroll,
        /// verify, search, liveness, compare, subject (list, get, delete, and update of the name),
        /// admin (in addition to subject or enroll: whatever changes who is let in, which is groups,
        /// card, enabled, validity, and the photo of a subject with groups).
        permissions: Vec<String> = ["enroll", "verify", "search", "liveness", "compare", "subject"]
            .map(String::from).to_vec();
        /// What a client that writes to from/NAME/cmd/ may ask for: "NAME: PERMISSION …" each, such
        /// as "desk: verify search". With this table permissions counts for nothing: a NAME that is
        /// not there, and whoever writes to cmd/, may ask for nothing. Sound only with a broker
        /// whose access list gives from/NAME/ to the login NAME alone, so it needs host, and
        /// username with a password or a client certificate.
        clients: Vec<String> = Vec::new();
    }
    #[doc = " Who is enrolled."]
    gallery: Gallery {
        /// Keep the crop of each enrolled face, for return_image and for a change of the model.
        store_images: bool = true;
    }
    #[doc = " Whether a face is a live person's."]
    liveness: Liveness {
        /// Log-odds of "live" from which on a face is live at this camera, -4 to 8: higher refuses
        /// more spoofs and more people. `doorward calibrate liveness` finds it.
        operating_point: f64 = 0.0;
    }
    #[doc = " 1:N at the door."]
    search: Search {
        /// Accepted chance that a stranger is taken for somebody enrolled, 0.000001 to 0.1. The
        /// door's threshold follows from it and rises with the gallery.
        target_fpir: f64 = 0.001;
    }
    #[doc = " Pictures that come by http(s) URL."]
    image_url: ImageUrl {
        /// Host names, addresses or networks (10.0.0.0/8) pictures may be fetched from. Empty: URLs
        /// are refused.
        allow: Vec<String> = Vec::new();
    }
    #[doc = " Who may ask, and how much work is taken on."]
    service: Service {
        /// How a client shows that it may ask. broker: whoever the broker lets in, with
        /// mqtt.permissions, or as mqtt.clients says. app-key: by the App-ID and API-Key of an application
        /// (`doorward app create`), with the application's own permissions and quotas.
        auth: String = "broker".to_owned();
        /// Requests that may wait for a vision thread; one more is answered 503 BUSY.
        queue: usize = 8;
        /// Threads that decode pictures and run the networks. One serves a door; a picture of 40
        /// megapixels takes up to 350 MB of memory while it is decoded, in each of them.
        vision_threads: usize = 1;
    }
    #[doc = " Events on their way to the broker."]
    outbox: Outbox {
        /// Events that may wait for the broker, 1 to 1000000; then the oldest is dropped, and counted.
        max_events: usize = 10_000;
        /// Days an event may wait, 1 to 3650; then it is dropped, and counted.
        max_age_days: u32 = 30;
    }
    #[doc = " The record of decisions and administration that `doorward audit` shows and verifies."]
    audit: Audit {
        /// Lines that are kept, 100 to 10000000; then the oldest goes.
        max_lines: u64 = 100_000;
        /// Days a line is kept, 1 to 3650.
        max_age_days: u32 = 365;
    }
    #[doc = " Home Assistant, over the same broker."]
    homeassistant: HomeAssistant {
        /// Publish what it needs to show this door as a device. false: remove what was published.
        discovery: bool = true;
        /// Its discovery prefix.
        prefix: String = "homeassistant".to_owned();
        /// Its NAME in mqtt.clients, if there is that table: it then unlocks by from/NAME/cmd/unlock.
        client: String = String::new();
    }
    #[doc = " What is written to standard error."]
    log: Log {
        /// error, warn, info, debug or trace, also by module: `info,doorward::mqtt=debug`.
        level: String = "info".to_owned();
    }
}
