//! Access control of the embedded broker: topics by role.
//!
//! | role | logs in as | writes | reads |
//! |---|---|---|---|
//! | terminal | a login made at each start and kept nowhere | everything | everything |
//! | operator | the login in the data folder | `cmd/#`, Home Assistant's `status` and this door's discovery | `availability`, `state/#`, `event/#`, `response/#`, its own answers, Home Assistant's topics |
//! | application | its App-ID and API-Key, under `service.auth = "app-key"` | `cmd/#` | `availability`, `state/#`, its own answers |
//!
//! Requests carry keys and pictures, so only the terminal reads `cmd/#`. A client's own answers are
//! on `client/<name>` and below it. An application's name is its App-ID, with which only it can log
//! in; an operator's client is named by its client identifier. Client identifiers are restricted as
//! well, or one client could end another's connection and take over its session: the terminal's
//! identifiers, and those that begin with an App-ID, may be used only by their owner.

use super::listener::shown;
use super::tally::Tally;
use super::{HomeAssistant, Login, Settings};
use crate::service::KnowsApplication;
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::{BrokerEventHandler, ClientPublishEvent, PublishAction};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::warn;

/// The user name of the terminal's own login.
pub(super) const TERMINAL: &str = "terminal";
/// Bytes of an App-ID, which is a UUID.
const APP_ID: usize = 36;
/// Clients logged in at a time besides the terminal, which always gets in: more than a terminal
/// needs, few enough for the memory.
const MOST_CLIENTS: usize = 64;

pub(super) struct Roles {
    terminal: Login,
    operator: Login,
    /// Checks applications' keys.
    applications: Option<KnowsApplication>,
    topics: Trees,
    stats: Arc<BrokerStats>,
    pub wrong_logins: Tally,
    pub refused_clients: Tally,
}

/// The topic prefixes of one device.
pub(super) struct Trees {
    device_id: String,
    root: String,
    homeassistant: HomeAssistant,
    /// Client identifiers of the terminal.
    terminal_ids: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role<'a> {
    Terminal,
    /// With its client identifier.
    Operator(&'a str),
    /// With its App-ID.
    Application(&'a str),
}

impl<'a> Role<'a> {
    /// Returns the role of a client that has logged in as `user`.
    fn of(user: Option<&'a str>, client_id: &'a str, roles: &Roles) -> Option<Self> {
        match user? {
            TERMINAL => Some(Self::Terminal),
            user if user == roles.operator.username => Some(Self::Operator(client_id)),
            user => Some(Self::Application(user)),
        }
    }

    /// Returns the name in the topics of its answers.
    fn name(self) -> &'a str {
        match self {
            Self::Terminal => TERMINAL,
            Self::Operator(name) | Self::Application(name) => name,
        }
    }
}

impl Roles {
    pub fn new(
        terminal: Login,
        operator: Login,
        applications: Option<KnowsApplication>,
        topics: Trees,
        stats: Arc<BrokerStats>,
    ) -> Self {
        let (wrong_logins, refused_clients) = (Tally::default(), Tally::default());
        Self { terminal, operator, applications, topics, stats, wrong_logins, refused_clients }
    }

    fn refuse_login(&self, name: &str) -> AuthResult {
        if let Some(times) = self.wrong_logins.count() {
            let name = shown(name);
            warn!("wrong login at the embedded broker as {name} ({times}×): refused");
        }
        AuthResult::fail(ReasonCode::BadUsernameOrPassword)
    }

    fn refuse_client(&self, client_id: &str, code: ReasonCode, why: &str) -> AuthResult {
        if let Some(times) = self.refused_clients.count() {
            let client = shown(client_id);
            warn!("the embedded broker refused the client {client} ({times}×): {why}");
        }
        AuthResult::fail(code)
    }

    /// Judges a client with the right name and password.
    fn admit(&self, name: &str, connect: &ConnectPacket) -> AuthResult {
        let id = connect.client_id.as_str();
        let role = Role::of(Some(name), id, self);
        if !role.is_some_and(|role| self.topics.may_be_called(role, id)) {
            let code = ReasonCode::ClientIdentifierNotValid;
            return self.refuse_client(id, code, "this client id belongs to another client");
        }
        if role == Some(Role::Terminal) {
            return AuthResult::success_with_user(name);
        }
        if self.stats.clients_connected.load(Ordering::Relaxed) >= MOST_CLIENTS {
            let code = ReasonCode::ServerBusy;
            return self.refuse_client(id, code, "too many clients are connected");
        }
        // A will is kept beside the limits of other retained messages, one for each topic.
        if connect.will.as_ref().is_some_and(|will| will.retain) {
            let code = ReasonCode::RetainNotSupported;
            return self.refuse_client(id, code, "its last will is retained");
        }
        AuthResult::success_with_user(name)
    }
}

impl Trees {
    pub fn of(settings: &Settings) -> Self {
        let events = format!("{}-events", settings.client_id());
        Self {
            device_id: settings.device_id.clone(),
            root: format!("doorward/{}/", settings.device_id),
            homeassistant: settings.homeassistant.clone(),
            terminal_ids: vec![settings.client_id(), events, settings.unlock_client_id()],
        }
    }

    /// Checks whether a client may use this client identifier.
    fn may_be_called(&self, role: Role, client_id: &str) -> bool {
        let is_the_terminals = self.terminal_ids.iter().any(|id| id == client_id);
        match role {
            Role::Terminal => true,
            Role::Operator(_) => !is_the_terminals && app_id(client_id).is_none(),
            Role::Application(id) => {
                let rest = client_id.strip_prefix(id);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
        }
    }

    fn may_write(&self, role: Role, topic: &str) -> bool {
        let below = topic.strip_prefix(&self.root);
        let is_command =
            below.and_then(|it| it.strip_prefix("cmd/")).is_some_and(|it| !it.is_empty());
        match role {
            Role::Terminal => true,
            Role::Application(_) => is_command,
            Role::Operator(_) => {
                is_command
                    || topic == self.homeassistant.status_topic()
                    || topic == self.homeassistant.config_topic(&self.device_id)
            }
        }
    }

    /// Checks that the role may read every topic that a filter matches. A filter cannot leave the
    /// tree that its first levels name.
    fn may_read(&self, role: Role, filter: &str) -> bool {
        if role == Role::Terminal {
            return true;
        }
        let house = format!("{}/", self.homeassistant.prefix);
        if let (Role::Operator(_), true) = (role, filter.starts_with(&house)) {
            return true;
        }
        let Some(below) = filter.strip_prefix(&self.root) else { return false };
        let shared = ["availability", "state/"];
        let operators = ["event/", "response/"];
        let of = |trees: &[&str]| {
            trees.iter().any(|tree| match tree.ends_with('/') {
                true => below.starts_with(tree),
                false => below == *tree,
            })
        };
        let own = || {
            let name = role.name();
            // A name with a wildcard would match the answers of all clients.
            let is_level = !name.is_empty() && !name.contains(['+', '#', '/', '$']);
            let rest = below.strip_prefix("client/").and_then(|it| it.strip_prefix(name));
            is_level && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        of(&shared) || matches!(role, Role::Operator(_)) && of(&operators) || own()
    }
}

/// Returns the App-ID with which a client identifier begins.
pub(super) fn app_id(client_id: &str) -> Option<&str> {
    client_id.get(..APP_ID).filter(|start| uuid::Uuid::try_parse(start).is_ok())
}

/// Attempts are not limited: with 192 random bits guessing is hopeless, and since every client
/// comes from 127.0.0.1 a limit by address would lock the daemon out of its own broker.
impl AuthProvider for Roles {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _address: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = mqtt5::Result<AuthResult>> + Send + 'a>> {
        let name = connect.username.as_deref().unwrap_or_default();
        let password = connect.password.as_deref().unwrap_or_default();
        let knows = |login: &Login| {
            same(name.as_bytes(), login.username.as_bytes())
                & same(password, login.password.reveal().as_bytes())
        };
        let is_application = || {
            let key = std::str::from_utf8(password).ok();
            let knows = self.applications.as_ref().zip(key);
            // A name that is not an App-ID is not an application, whatever the key.
            app_id(name) == Some(name) && knows.is_some_and(|(knows, key)| knows(name, key))
        };
        let known = knows(&self.terminal) | knows(&self.operator) || is_application();
        let result = match known {
            true => self.admit(name, connect),
            false => self.refuse_login(name),
        };
        Box::pin(std::future::ready(Ok(result)))
    }

    fn authorize_publish<'a>(
        &'a self,
        client: &str,
        user: Option<&'a str>,
        topic: &'a str,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        let role = Role::of(user, client, self);
        let may = role.is_some_and(|role| self.topics.may_write(role, topic));
        Box::pin(std::future::ready(may))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        client: &str,
        user: Option<&'a str>,
        filter: &'a str,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        let role = Role::of(user, client, self);
        let may = role.is_some_and(|role| self.topics.may_read(role, filter));
        Box::pin(std::future::ready(may))
    }
}

/// A retained command is never executed, so it is acknowledged and dropped here: kept, it would
/// take a place from the terminal's states.
impl BrokerEventHandler for Roles {
    fn on_client_publish<'a>(
        &'a self,
        event: ClientPublishEvent,
    ) -> Pin<Box<dyn Future<Output = PublishAction> + Send + 'a>> {
        let is_kept_command = event.retain
            && !event.payload.is_empty()
            && event
                .topic
                .strip_prefix(&*self.topics.root)
                .is_some_and(|it| it.starts_with("cmd/"));
        let action = if is_kept_command { PublishAction::Handled } else { PublishAction::Continue };
        Box::pin(std::future::ready(action))
    }
}

/// Compares in constant time, so that timing does not reveal the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "0c34a1c5-6b33-4b0e-9d5f-0f7b1c0a2f11";
    const OTHER: &str = "1c34a1c5-6b33-4b0e-9d5f-0f7b1c0a2f11";
    const OPERATOR: Role = Role::Operator("shell");
    const APPLICATION: Role = Role::Application(APP);

    fn trees() -> Trees {
        Trees::of(&Settings { device_id: "front".into(), ..Settings::default() })
    }

    #[test]
    fn only_the_terminal_reads_commands_and_other_clients_answers() {
        let trees = trees();
        for filter in [
            "#",
            "+/#",
            "doorward/#",
            "doorward/front/#",
            "doorward/front/+/search",
            "doorward/front/cmd/#",
            "doorward/front/cmd/search",
            "doorward/+/cmd/#",
            "doorward/front/echo",
            "doorward/front/client/#",
            "doorward/front/client/+",
            "doorward/front/client/office",
            "doorward/front/client/shelly",
            &format!("doorward/front/client/{OTHER}/#"),
            "$share/g/doorward/front/cmd/#",
            "$share/g/doorward/front/state/#",
            "doorward/back/state/#",
            "$SYS/#",
        ] {
            for role in [OPERATOR, APPLICATION] {
                assert!(!trees.may_read(role, filter), "{role:?} {filter}");
            }
            assert!(trees.may_read(Role::Terminal, filter), "{filter}");
        }
        for name in ["+", "#", "", "a/+", "$share"] {
            let filter = format!("doorward/front/client/{name}");
            assert!(!trees.may_read(Role::Operator(name), &filter), "{name}");
        }
    }

    #[test]
    fn clients_read_shared_topics_and_their_own_answers() {
        let trees = trees();
        let own = format!("doorward/front/client/{APP}");
        for (filter, operator, application) in [
            ("doorward/front/availability", true, true),
            ("doorward/front/state/#", true, true),
            ("doorward/front/event/#", true, false),
            ("doorward/front/response/search", true, false),
            ("doorward/front/client/shell", true, false),
            ("doorward/front/client/shell/#", true, false),
            (own.as_str(), false, true),
            (&format!("{own}/answers/+"), false, true),
            ("homeassistant/#", true, false),
        ] {
            assert_eq!(trees.may_read(OPERATOR, filter), operator, "{filter}");
            assert_eq!(trees.may_read(APPLICATION, filter), application, "{filter}");
        }
    }

    #[test]
    fn clients_write_only_commands_and_the_terminal_everything() {
        let trees = trees();
        for (topic, operator, application) in [
            ("doorward/front/cmd/search", true, true),
            ("doorward/front/cmd/", false, false),
            ("doorward/front/cmd", false, false),
            ("doorward/front/from/desk/cmd/search", false, false),
            ("doorward/front/state/door", false, false),
            ("doorward/front/event/access", false, false),
            ("doorward/front/availability", false, false),
            ("doorward/front/echo", false, false),
            ("doorward/front/client/office", false, false),
            ("doorward/front/response/search", false, false),
            ("homeassistant/status", true, false),
            ("homeassistant/device/doorward_front/config", true, false),
            ("homeassistant/device/doorward_back/config", false, false),
        ] {
            assert_eq!(trees.may_write(OPERATOR, topic), operator, "{topic}");
            assert_eq!(trees.may_write(APPLICATION, topic), application, "{topic}");
            assert!(trees.may_write(Role::Terminal, topic), "{topic}");
        }
    }

    #[test]
    fn client_identifiers_are_restricted_by_role() {
        let trees = trees();
        for (id, operator, application) in [
            ("shell", true, false),
            ("", true, false),
            ("doorward-front", false, false),
            ("doorward-front-unlock", false, false),
            ("doorward-front-events", false, false),
            (APP, false, true),
            (&format!("{APP}-1"), false, true),
            (&format!("{APP}1"), false, false),
            (OTHER, false, false),
        ] {
            assert_eq!(trees.may_be_called(OPERATOR, id), operator, "{id}");
            assert_eq!(trees.may_be_called(APPLICATION, id), application, "{id}");
        }
    }
}
