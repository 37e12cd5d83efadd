//! The configuration's keys to the settings of the parts they are about.

use super::DaemonError;
use crate::config::Config;
use crate::{camera, mqtt, service};
use std::path::Path;
use std::time::Duration;

/// The service's part.
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
        store_images: config.gallery.store_images,
        liveness_operating_point: config.liveness.operating_point as f32,
        auth,
        permissions: permissions.collect::<Result<_, _>>()?,
        clients,
        ..service::Settings::default()
    })
}

/// The camera's part, checked; `None`: there is no camera.
pub fn camera(config: &Config) -> Result<Option<camera::Settings>, camera::SettingsError> {
    camera::Settings::new(&config.camera)
}

/// The MQTT session's part, checked.
pub fn mqtt(config: &Config) -> Result<mqtt::Settings, DaemonError> {
    let mqtt = &config.mqtt;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let file = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let settings = mqtt::Settings {
        device_id: config.device.id.clone(),
        host: text(&mqtt.host),
        port: (mqtt.port != 0).then_some(mqtt.port),
        username: text(&mqtt.username),
        password: (!mqtt.password.is_empty()).then(|| mqtt.password.reveal().to_owned().into()),
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
        // More than the service takes on, so that the service itself says BUSY, and a faulty
        // request gets its own code also while the queue is full.
        queue: config.service.queue + config.service.vision_threads + 8,
        ..mqtt::Settings::default()
    };
    settings.validate()?;
    Ok(settings)
}
