//! Turns the configuration's keys into the settings of each part.

use super::DaemonError;
use crate::access::{self, Groups};
use crate::config::Config;
use crate::face::Cores;
use crate::terminal::{DoorError, DoorSettings, Place};
use crate::{camera, http, mqtt, outbox, service, webhook};
use doorward_board::controller::Keys;
use doorward_board::wiegand::Format;
use std::path::Path;
use std::time::Duration;

/// Returns the service's settings.
pub fn service(config: &Config) -> Result<service::Settings, DaemonError> {
    let permissions = config.mqtt.permissions.iter().map(|name| name.parse());
    let auth = config.service.auth.parse()?;
    let clients = service::clients(&config.mqtt.clients)?;
    if auth == service::Auth::AppKey && !clients.is_empty() {
        return Err(DaemonError::TwoAuthorities);
    }
    Ok(service::Settings {
        device_id: config.device.id.clone(),
        queue: config.service.queue,
        vision_threads: config.service.vision_threads,
        url_allow: config.image_url.allow.clone(),
        url_logins: config.image_url.logins.clone(),
        store_images: config.gallery.store_images,
        refuse_duplicates: config.gallery.refuse_duplicates,
        liveness_operating_point: config.liveness.operating_point as f32,
        remote_unlock: config.door.remote_unlock,
        auth,
        permissions: permissions.collect::<Result<_, _>>()?,
        clients,
        ..service::Settings::default()
    })
}

/// Returns the networks' settings.
pub fn cores(config: &Config) -> Cores {
    if config.service.face_cores == 2 { Cores::Two } else { Cores::One }
}

/// Returns the settings of the webhook, checked; `None`: there is none.
pub fn webhook(config: &Config) -> Result<Option<webhook::Settings>, webhook::SettingsError> {
    webhook::Settings::of(&config.webhook)
}

/// Returns the settings of the outbox and the audit log. A webhook that cannot be used gets no
/// events; its error is that of [`webhook`].
pub fn outbox(config: &Config) -> outbox::Settings {
    let webhook = webhook(config).ok().flatten();
    outbox::Settings {
        webhook: webhook.map(|webhook| webhook.kinds().to_vec()).unwrap_or_default(),
        device_id: config.device.id.clone(),
        max_events: config.outbox.max_events,
        max_age_days: config.outbox.max_age_days,
        max_lines: config.audit.max_lines,
        max_line_days: config.audit.max_age_days,
        ..outbox::Settings::default()
    }
}

/// Returns the camera's settings, checked; `None`: there is no camera.
pub fn camera(config: &Config) -> Result<Option<camera::Settings>, camera::SettingsError> {
    camera::Settings::new(&config.camera)
}

/// Returns the MQTT session's settings, checked.
pub fn mqtt(config: &Config) -> Result<mqtt::Settings, DaemonError> {
    let mqtt = &config.mqtt;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let file = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let settings = mqtt::Settings {
        device_id: config.device.id.clone(),
        host: text(&mqtt.host),
        port: (mqtt.port != 0).then_some(mqtt.port),
        username: text(&mqtt.username),
        password: (!mqtt.password.is_empty()).then(|| mqtt.password.clone()),
        client_id: text(&mqtt.client_id),
        tls: mqtt::Tls {
            enabled: mqtt.tls,
            ca_file: file(&mqtt.ca_file),
            client_cert_file: file(&mqtt.client_cert_file),
            client_key_file: file(&mqtt.client_key_file),
        },
        allow_insecure: mqtt.allow_insecure,
        keep_alive: Duration::from_secs(mqtt.keep_alive_s.into()),
        response_prefixes: mqtt.response_prefixes.clone(),
        named_clients: !mqtt.clients.is_empty(),
        // More than the service accepts, so that the service itself answers BUSY, and a faulty
        // request gets its own code even while the queue is full.
        queue: config.service.queue + config.service.vision_threads + 8,
        homeassistant: mqtt::HomeAssistant {
            discovery: config.homeassistant.discovery,
            prefix: config.homeassistant.prefix.clone(),
            name: text(&config.homeassistant.name),
            client: text(&config.homeassistant.client),
            remote_unlock: config.door.remote_unlock && !config.door.board.is_empty(),
        },
        ..mqtt::Settings::default()
    };
    settings.validate()?;
    Ok(settings)
}

/// Returns the HTTP interface's settings, checked; `None`: it is off.
pub fn http(config: &Config) -> Result<Option<http::Settings>, http::SettingsError> {
    let keys = &config.http;
    if !keys.enabled {
        return Ok(None);
    }
    let files = (keys.tls_cert.clone(), keys.tls_key.clone());
    let (hosts, origins) = (keys.hosts.clone(), keys.cors_origins.clone());
    http::Settings::new(&keys.listen, keys.port, hosts, origins, files).map(Some)
}

/// Returns the settings of the access decision.
pub fn access(config: &Config) -> Result<access::Settings, DaemonError> {
    let keys = &config.access;
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let s = |s: u32| Duration::from_secs(s.into());
    Ok(access::Settings {
        groups: Groups::parse(&keys.groups)?,
        liveness: config.liveness.policy.parse()?,
        operating_point: config.liveness.operating_point as f32,
        target_fpir: config.search.target_fpir,
        agreement: keys.agreement,
        margin: keys.margin as f32,
        smallest_face: keys.smallest_face,
        zone: keys.zone.parse()?,
        one_person: keys.one_person,
        refuse_covered: keys.refuse_covered,
        patience: ms(keys.patience_ms),
        retry: ms(keys.retry_ms),
        repeat: ms(keys.repeat_ms),
        lockout_after: keys.lockout_after,
        lockout_first: s(keys.lockout_s),
        lockout_longest: s(keys.lockout_longest_s),
    })
}

/// Returns the door's settings; `None` when there is no door.
pub fn door(config: &Config) -> Result<Option<DoorSettings>, DoorError> {
    let keys = &config.door;
    if keys.board.is_empty() {
        return Ok(None);
    }
    let script = match keys.script.as_os_str().is_empty() {
        true => String::new(),
        false => read(&keys.script)?,
    };
    let controller = Keys {
        board: keys.board.clone(),
        lock: keys.lock.clone(),
        pulse_ms: keys.pulse_ms,
        held_open_s: keys.held_open_s,
        strike_continuous: keys.strike_continuous,
        fire: keys.fire,
        interlock: keys.interlock,
    };
    Ok(Some(DoorSettings {
        controller: controller.settings()?,
        keys: controller,
        place: match keys.controller.as_os_str().is_empty() {
            true => Place::Started(config.device.data_dir.join("lockd.sock")),
            false => Place::Kept(keys.controller.clone()),
        },
        wiegand: match keys.wiegand_bits {
            26 => Format::Bits26,
            34 => Format::Bits34,
            other => return Err(DoorError::Wiegand(other)),
        },
        script: script.parse()?,
    }))
}

fn read(path: &Path) -> Result<String, DoorError> {
    std::fs::read_to_string(path)
        .map_err(|reason| DoorError::File { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, KEYS, Rule};
    use doorward_board::Pulse;

    fn rule(section: &str, name: &str) -> &'static Rule {
        &KEYS.iter().find(|key| (key.section, key.name) == (section, name)).unwrap().rule
    }

    fn words(section: &str, name: &str) -> &'static [&'static str] {
        match rule(section, name) {
            Rule::Words(words) => words,
            other => panic!("{other:?}"),
        }
    }

    /// Compares the words and bounds of the table with those of the parts.
    #[test]
    fn parts_accept_every_value_that_the_table_allows() {
        for word in words("service", "auth") {
            word.parse::<service::Auth>().unwrap();
        }
        for word in words("liveness", "policy") {
            word.parse::<access::LivenessPolicy>().unwrap();
        }
        for word in words("door", "lock") {
            let lock = (*word).to_owned();
            Keys { board: "raspberry-pi-5".into(), lock, ..Keys::default() }.settings().unwrap();
        }
        let ms = |pulse: Duration| pulse.as_millis() as f64;
        let pulses = Rule::Within(ms(Pulse::MIN)..=ms(Pulse::MAX));
        assert_eq!(rule("door", "pulse_ms"), &pulses);
        let Rule::Within(keep_alive) = rule("mqtt", "keep_alive_s") else { panic!("no bounds") };
        let with_keep_alive = |seconds: f64| {
            let keep_alive = Duration::from_secs_f64(seconds);
            mqtt::Settings { keep_alive, ..mqtt::Settings::default() }.validate()
        };
        assert_eq!(with_keep_alive(*keep_alive.start()), Ok(()));
        assert!(with_keep_alive(keep_alive.start() - 1.0).is_err());
        assert_eq!(with_keep_alive(*keep_alive.end()), Ok(()));
    }

    /// The lock controller reads the same file and must have the same defaults.
    #[test]
    fn door_defaults_match_the_lock_controller() {
        let door = config::Door::default();
        let keys = Keys {
            board: door.board,
            lock: door.lock,
            pulse_ms: door.pulse_ms,
            held_open_s: door.held_open_s,
            strike_continuous: door.strike_continuous,
            fire: door.fire,
            interlock: door.interlock,
        };
        assert_eq!(keys, Keys::default());
    }
}
