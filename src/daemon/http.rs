//! Starts the HTTP interface on the running service. A daemon whose port is taken, or whose
//! certificate cannot be read, opens the door anyway: the fault is logged with what to do.

use super::metrics::Metrics;
use crate::config::Config;
use crate::http::{Server, Settings, Sources};
use crate::outbox::Outbox;
use crate::service::Service;
use std::sync::Arc;

/// Returns the settings of the interface; `None` where it is off, or cannot be used: the door opens
/// without it, and the fault is logged. `config check` and a reload refuse such a configuration.
pub(super) fn http_settings(config: &Config) -> Option<Settings> {
    super::settings::http(config).unwrap_or_else(|error| {
        tracing::error!("no HTTP: {error}");
        None
    })
}

/// Starts the interface; `None` where it cannot listen.
pub(super) async fn start_http(
    settings: Settings,
    service: Arc<Service>,
    outbox: Arc<Outbox>,
    metrics: Metrics,
) -> Option<Server> {
    let (listen, port, tls) = (settings.listen, settings.port, settings.tls.is_some());
    let health = Arc::downgrade(&service);
    let sources = Sources {
        last_line: Arc::new(move || outbox.stats().audit.last),
        not_ready: Arc::new(move || match health.upgrade() {
            None => Some("the service has stopped"),
            Some(service) => service.not_ready(),
        }),
        metrics: Arc::new(move || metrics.text()),
    };
    match Server::start(settings, Arc::new(service), sources).await {
        Ok(server) => {
            let scheme = if tls { "https" } else { "http" };
            tracing::info!("HTTP on {scheme}://{}", server.address());
            Some(server)
        }
        Err(error) => {
            tracing::warn!(
                "no HTTP: cannot listen on {listen}, port {port}: {error}; stop the program that \
                 has the port, or set http.port, or http.enabled = false"
            );
            None
        }
    }
}
