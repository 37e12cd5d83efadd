//! Starts the HTTP interface on the running service. A daemon whose port is taken opens the door
//! anyway: the fault is logged with what to do.

use super::metrics::Metrics;
use crate::http::{Server, Settings, Sources};
use crate::outbox::Outbox;
use crate::service::Service;
use std::sync::Arc;

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
            None => Some("the service has stopped".to_owned()),
            Some(service) => match service.health().get("health") {
                Some(state) if state == "up" => None,
                state => Some(format!("health is {state:?}")),
            },
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
