//! Opens the files, models and service that a configuration names, and checks a configuration.

use super::{DaemonError, settings};
use crate::applications::Applications;
use crate::camera::Camera;
use crate::config::Config;
use crate::contract::Permission;
use crate::face::Analyzer;
use crate::fetch;
use crate::gallery::{self, Gallery};
use crate::outbox::{Outbox, OutboxError};
use crate::service::{self, Door, Service, WallClock};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use tracing::error;

/// The service and the files behind it.
pub struct Opened {
    /// Answers requests.
    pub service: Arc<Service>,
    /// The networks.
    pub analyzer: Arc<Analyzer>,
    /// The enrolled subjects.
    pub gallery: Arc<Gallery>,
    /// The events.
    pub outbox: Arc<Outbox>,
}

/// What a start does if the files of applications or events cannot be opened: recognition needs
/// neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFiles {
    /// The start fails.
    Refused,
    /// The start continues: no key is valid and no event is recorded until the file can be opened.
    Tolerated,
}

/// Opens models, files and service for `config`; used by `run` and by a command line without a
/// daemon. `door` is what the service may unlock; `clock` tells the service the time.
pub fn open_service(
    config: &Config,
    door: Option<Arc<dyn Door>>,
    clock: WallClock,
    bad_files: BadFiles,
) -> Result<Opened, DaemonError> {
    let data_dir = &config.device.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|reason| DaemonError::DataDir { path: data_dir.clone(), reason })?;
    let service_settings = settings::service(config)?;
    let analyzer = Arc::new(Analyzer::load()?.on(settings::cores(config)));
    let gallery_settings = gallery::Settings {
        model_id: analyzer.model_id().to_owned(),
        store_images: config.gallery.store_images,
    };
    let gallery = Arc::new(Gallery::open(&data_dir.join("gallery.redb"), gallery_settings)?);
    // After the gallery, whose lock guarantees that no other process works in this folder.
    let path = data_dir.join("applications.redb");
    let applications = match Applications::open(&path) {
        Err(error) if bad_files == BadFiles::Tolerated => {
            error!("{error}; until then no application's key is valid");
            Applications::without_file(&path, error.to_string())?
        }
        opened => opened?,
    };
    let path = data_dir.join("events.redb");
    let believed = clock.clone();
    let believed = move || believed();
    let outbox = match Outbox::open_with(&path, settings::outbox(config), believed.clone()) {
        Err(OutboxError::InUse { path }) => return Err(OutboxError::InUse { path }.into()),
        Err(error) if bad_files == BadFiles::Tolerated => {
            error!("{error}; until then nothing is recorded");
            Outbox::without_file(&path, settings::outbox(config), believed)?
        }
        opened => opened?,
    };
    let outbox = Arc::new(outbox);
    let parts = service::Parts {
        analyzer: analyzer.clone(),
        gallery: gallery.clone(),
        applications,
        outbox: outbox.clone(),
        door,
        clock,
    };
    let service = Arc::new(Service::new(parts, service_settings)?);
    Ok(Opened { service, analyzer, gallery, outbox })
}

/// Opens only the events.
pub(super) fn open_outbox(config: &Config) -> Result<Outbox, OutboxError> {
    Outbox::open(&config.device.data_dir.join("events.redb"), settings::outbox(config))
}

/// Opens the configured camera; `None`: there is no camera.
pub(super) fn start_camera(config: &Config) -> Result<Option<Camera>, DaemonError> {
    Ok(settings::camera(config)?.map(Camera::start).transpose()?)
}

/// Returns the settings of a client of the daemon's broker: the configured one, or the embedded one
/// with the login that the daemon made.
pub fn client_settings(config: &Config) -> Result<crate::mqtt::Settings, DaemonError> {
    let settings = settings::mqtt(config)?;
    if settings.host.is_some() {
        return Ok(settings);
    }
    let login = crate::mqtt::Login::read(&config.device.data_dir)?;
    Ok(settings.aimed_at_embedded(settings.port(), &login))
}

/// Returns a client of the webhook, for a test; `None`: there is no webhook.
pub fn webhook_client(config: &Config) -> Result<Option<crate::webhook::Client>, DaemonError> {
    Ok(settings::webhook(config)?.map(crate::webhook::Client::new))
}

/// Refuses a configuration with which the daemon would not start: checks values, and the files they
/// name.
pub fn check(config: &Config) -> Result<(), DaemonError> {
    settings::service(config)?;
    let urls = &config.image_url;
    fetch::check(&urls.allow, &urls.logins).map_err(service::StartError::from)?;
    crate::mqtt::check(&settings::mqtt(config)?)?;
    settings::http(config)?;
    settings::access(config)?;
    settings::door(config)?;
    settings::camera(config)?;
    settings::webhook(config)?;
    Ok(())
}

/// Returns what a valid configuration promises and does not do.
pub fn warnings(config: &Config) -> Vec<String> {
    let Ok(service) = settings::service(config) else { return Vec::new() };
    let may_unlock = match service.auth {
        // Applications have their permissions in their own file.
        service::Auth::AppKey => true,
        service::Auth::Broker if service.clients.is_empty() => {
            service.permissions.contains(&Permission::Unlock)
        }
        service::Auth::Broker => {
            service.clients.values().any(|given| given.contains(&Permission::Unlock))
        }
    };
    let key = if service.clients.is_empty() { "mqtt.permissions" } else { "mqtt.clients" };
    let unlock = (config.door.remote_unlock && !may_unlock).then(|| {
        format!(
            "door.remote_unlock = true, but no client may unlock: every unlock over the broker is \
             refused, Home Assistant's included. Add `unlock` to {key}"
        )
    });
    unlock.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Door, Mqtt};

    #[test]
    fn remote_unlock_that_no_client_may_use_is_reported() {
        let with = |permissions: &[&str], clients: &[&str]| {
            let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let mqtt =
                Mqtt { permissions: text(permissions), clients: text(clients), ..Mqtt::default() };
            let door = Door { remote_unlock: true, ..Door::default() };
            warnings(&Config { mqtt, door, ..Config::default() })
        };
        assert!(with(&["search"], &[])[0].contains("mqtt.permissions"));
        assert!(with(&["search", "unlock"], &["desk: search"])[0].contains("mqtt.clients"));
        assert!(with(&["search", "unlock"], &[]).is_empty());
        assert!(with(&["search"], &["house: unlock"]).is_empty());
        assert!(warnings(&Config::default()).is_empty());
    }
}
