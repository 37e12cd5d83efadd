//! Topic names, and the rule for where an answer may be sent.
//!
//! The daemon publishes with its own rights. Without this rule, a client that may not write to
//! `…/cmd/unlock` or `…/event/access` could have the daemon write there, by naming it as Response
//! Topic. For the same reason a named client may name no topic below `client/` except its own:
//! otherwise it could send genuine answers to another client.

use super::roles::app_id;
use crate::contract::Operation;
use crate::outbox::Kind;

/// Levels that never occur in the topic of an answer.
pub(crate) const RESERVED_LEVELS: [&str; 4] = ["cmd", "event", "state", "availability"];

/// Checks that a topic has no wildcard, no `$`, no NUL and no reserved level.
pub(crate) fn harmless(topic: &str) -> bool {
    !topic.contains(['+', '#', '$', '\0'])
        && !topic.split('/').any(|level| RESERVED_LEVELS.contains(&level))
}

/// The topics of one device.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    root: String,
    /// Prefixes, each ending in `/`, below which a Response Topic is accepted.
    response_prefixes: Vec<String>,
}

/// A Response Topic that is not accepted, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ResponseTopicError {
    #[error(
        "Response Topic may not hold wildcards, '$' or the levels cmd, event, state, availability"
    )]
    Harmful,
    #[error("Response Topic must be below one of: {0}")]
    Elsewhere(String),
    #[error("Response Topic is another application's: use one below client/<your App-ID>/")]
    Anothers,
}

/// The operation that moves the strike.
const UNLOCK: &str = Operation::Unlock.name();

/// Most bytes of an operation's name; the longest existing one has 14.
const LONGEST_OPERATION: usize = 64;

impl Topics {
    pub(crate) fn new(device_id: &str, extra_response_prefixes: &[String]) -> Self {
        let root = format!("doorward/{device_id}/");
        // The contract's "client/" means doorward/<device>/client/: everything a device publishes
        // on request stays below its own root, so the broker's access list needs one line per
        // device.
        let mut response_prefixes = vec![format!("{root}response/"), format!("{root}client/")];
        response_prefixes.extend(
            extra_response_prefixes.iter().map(|prefix| format!("{}/", prefix.trim_matches('/'))),
        );
        Self { root, response_prefixes }
    }

    /// Returns the filters the daemon subscribes to, with those for named clients if there are any.
    pub(crate) fn command_filters(&self, named_clients: bool) -> Vec<String> {
        let named = named_clients.then(|| format!("{}from/+/cmd/#", self.root));
        [format!("{}cmd/#", self.root)].into_iter().chain(named).collect()
    }

    /// Returns the filters for commands that move the strike.
    pub(crate) fn unlock_filters(&self, named_clients: bool) -> Vec<String> {
        let named = named_clients.then(|| self.command_from("+", UNLOCK));
        [self.command(UNLOCK)].into_iter().chain(named).collect()
    }

    /// Checks whether a topic matches one of these.
    pub(crate) fn is_unlock(&self, topic: &[u8]) -> bool {
        let topic = std::str::from_utf8(topic).ok();
        topic.and_then(|topic| self.command_of(topic)).is_some_and(|(_, it)| it == UNLOCK)
    }

    /// Returns the topic of the echo.
    pub(crate) fn echo(&self) -> String {
        format!("{}echo", self.root)
    }

    /// Returns the command topic of an operation.
    pub(crate) fn command(&self, operation: &str) -> String {
        format!("{}cmd/{operation}", self.root)
    }

    /// Returns the command topic of an operation for a named client.
    pub(crate) fn command_from(&self, client: &str, operation: &str) -> String {
        format!("{}from/{client}/cmd/{operation}", self.root)
    }

    /// Returns the client and the operation in a command's topic: none and `search` for
    /// `…/cmd/search`, `desk` and `search` for `…/from/desk/cmd/search`. `None` for `…/cmd` itself,
    /// which the filter matches too, and for any other topic.
    pub(crate) fn command_of<'a>(&self, topic: &'a str) -> Option<(Option<&'a str>, &'a str)> {
        let below = topic.strip_prefix(&self.root)?;
        let (client, below) = match below.strip_prefix("from/") {
            Some(from) => from.split_once('/').map(|(client, below)| (Some(client), below))?,
            None => (None, below),
        };
        let operation = below.strip_prefix("cmd/")?;
        // The default reply topic contains the operation and must stay a valid topic.
        (1..=LONGEST_OPERATION).contains(&operation.len()).then_some((client, operation))
    }

    /// Returns where an answer goes when the request names no topic.
    pub(crate) fn default_response(&self, operation: &str) -> String {
        format!("{}response/{operation}", self.root)
    }

    /// Returns the topic of one client.
    pub(crate) fn client(&self, name: &str) -> String {
        format!("{}client/{name}", self.root)
    }

    pub(crate) fn availability(&self) -> String {
        format!("{}availability", self.root)
    }

    /// Checks whether this is a retained topic that only the terminal writes.
    pub(crate) fn is_own(&self, topic: &[u8]) -> bool {
        topic
            .strip_prefix(self.root.as_bytes())
            .is_some_and(|below| below == b"availability" || below.starts_with(b"state/"))
    }

    /// `event/<kind>`, never retained.
    pub(crate) fn event(&self, kind: Kind) -> String {
        format!("{}event/{kind}", self.root)
    }

    /// Returns the filter for events of every kind.
    pub(crate) fn events(&self) -> String {
        format!("{}event/+", self.root)
    }

    /// `state/<name>`, retained.
    pub(crate) fn state(&self, name: &str) -> String {
        format!("{}state/{name}", self.root)
    }

    /// Checks a command's Response Topic against the rule. `client` is the sender, if the topic
    /// names it.
    pub(crate) fn accept_response(
        &self,
        topic: &str,
        client: Option<&str>,
    ) -> Result<(), ResponseTopicError> {
        if !harmless(topic) {
            return Err(ResponseTopicError::Harmful);
        }
        let clients = self.client("");
        let below = |prefix: &str| topic.len() > prefix.len() && topic.starts_with(prefix);
        let own = client.map(|name| self.client(name));
        let accepted = match &own {
            // Whatever the configuration adds, a client's inbox stays its own.
            Some(own) if topic.starts_with(&clients) => topic == own || below(&format!("{own}/")),
            _ => self.response_prefixes.iter().any(|prefix| below(prefix)),
        };
        if accepted {
            return Ok(());
        }
        let listed = self.response_prefixes.iter().map(|prefix| match &own {
            Some(own) if *prefix == clients => format!("{own}/"),
            _ => prefix.clone(),
        });
        Err(ResponseTopicError::Elsewhere(listed.collect::<Vec<_>>().join(", ")))
    }

    /// Checks the reply topic for this application, or for a client without a key, on a broker
    /// where `client/<App-ID>` belongs to that application.
    pub(crate) fn accept_inbox(
        &self,
        topic: &str,
        asker: Option<&str>,
    ) -> Result<(), ResponseTopicError> {
        let inbox = topic.strip_prefix(&self.client("")).and_then(|it| it.split('/').next());
        let owner = inbox.filter(|name| app_id(name) == Some(name));
        match owner {
            Some(owner) if asker != Some(owner) => Err(ResponseTopicError::Anothers),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_topic_names_client_and_operation() {
        let topics = Topics::new("front", &[]);
        let of = |topic| topics.command_of(topic);
        assert_eq!(of("doorward/front/cmd/enroll"), Some((None, "enroll")));
        assert_eq!(of("doorward/front/cmd/subject/list"), Some((None, "subject/list")));
        let desk = Some("desk");
        assert_eq!(of("doorward/front/from/desk/cmd/subject/list"), Some((desk, "subject/list")));
        // A client name has one level: the first is the client.
        assert_eq!(of("doorward/front/from/desk/cmd/cmd/enroll"), Some((desk, "cmd/enroll")));
        for other in [
            "doorward/front/cmd",
            "doorward/front/cmd/",
            "doorward/back/cmd/enroll",
            "cmd/enroll",
            "doorward/front/from/desk/cmd",
            "doorward/front/from/desk/enroll",
            "doorward/front/from/desk/desk/cmd/enroll",
            "doorward/front/from/desk",
            "doorward/back/from/desk/cmd/enroll",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn only_an_application_uses_its_own_inbox() {
        const APP: &str = "0c34a1c5-6b33-4b0e-9d5f-0f7b1c0a2f11";
        let topics = Topics::new("front", &[]);
        for below in ["", "/", "/answers/1"] {
            let topic = format!("doorward/front/client/{APP}{below}");
            assert_eq!(topics.accept_inbox(&topic, Some(APP)), Ok(()), "{topic}");
            for other in [None, Some("1c34a1c5-6b33-4b0e-9d5f-0f7b1c0a2f11")] {
                let refused = Err(ResponseTopicError::Anothers);
                assert_eq!(topics.accept_inbox(&topic, other), refused, "{topic} {other:?}");
            }
        }
        for shared in ["client/shell", "client/shell/1", "response/search", "client/"] {
            let topic = format!("doorward/front/{shared}");
            assert_eq!(topics.accept_inbox(&topic, None), Ok(()), "{topic}");
        }
    }

    #[test]
    fn named_clients_add_their_own_filters() {
        let topics = Topics::new("front", &[]);
        assert_eq!(topics.command_filters(false), ["doorward/front/cmd/#"]);
        let both = ["doorward/front/cmd/#", "doorward/front/from/+/cmd/#"];
        assert_eq!(topics.command_filters(true), both);
    }

    #[test]
    fn unlock_is_recognised_by_its_topic() {
        let topics = Topics::new("front", &[]);
        let both = ["doorward/front/cmd/unlock", "doorward/front/from/+/cmd/unlock"];
        assert_eq!(topics.unlock_filters(true), both);
        assert_eq!(topics.unlock_filters(false), both[..1]);
        for (topic, is) in [
            ("doorward/front/cmd/unlock", true),
            ("doorward/front/from/desk/cmd/unlock", true),
            ("doorward/front/cmd/unlock/x", false),
            ("doorward/front/cmd/search", false),
            ("doorward/back/cmd/unlock", false),
        ] {
            assert_eq!(topics.is_unlock(topic.as_bytes()), is, "{topic}");
        }
    }

    #[test]
    fn response_topics_stay_below_the_prefixes() {
        let topics = Topics::new("front", &["house/replies/".into(), "lab".into()]);
        for (topic, accepted) in [
            ("doorward/front/response/search", true),
            ("doorward/front/client/ui-1/answers", true),
            ("house/replies/7", true),
            ("lab/x", true),
            // Below the prefix means another level after it.
            ("doorward/front/response/", false),
            ("doorward/front/response", false),
            ("doorward/front/responses/x", false),
            ("laboratory/x", false),
            ("lab", false),
            // Another device, another tree, the prefix alone.
            ("doorward/back/response/search", false),
            ("client/ui-1", false),
            ("homeassistant/lock/x/config", false),
            ("", false),
            // The daemon's own commands, events and states, in several spellings.
            ("doorward/front/cmd/unlock", false),
            ("doorward/front/event/access", false),
            ("doorward/front/state/health", false),
            ("doorward/front/availability", false),
            ("doorward/front/client/cmd/unlock", false),
            ("doorward/front/from/desk/cmd/unlock", false),
            ("doorward/front/from/desk", false),
            ("doorward/front/client/x/availability", false),
            ("house/replies/event", false),
            ("doorward/front/client/../cmd", false),
            // Not topics to publish to.
            ("doorward/front/client/+", false),
            ("doorward/front/client/#", false),
            ("$SYS/doorward/front/client/x", false),
            ("doorward/front/client/$share", false),
            ("doorward/front/client/a\0b", false),
        ] {
            assert_eq!(topics.accept_response(topic, None).is_ok(), accepted, "{topic}");
        }
    }

    #[test]
    fn a_named_client_names_only_its_own_topics() {
        // The last prefix would include the topics of all clients.
        let topics = Topics::new("front", &["lab".into(), "doorward/front".into()]);
        for (topic, accepted) in [
            ("doorward/front/client/desk", true),
            ("doorward/front/client/desk/answers/1", true),
            ("doorward/front/response/search", true),
            ("lab/x", true),
            ("doorward/front/client/office", false),
            ("doorward/front/client/office/answers", false),
            ("doorward/front/client/desktop", false),
            ("doorward/front/client/desk/", false),
            ("doorward/front/client//desk", false),
            ("doorward/front/client/", false),
            ("doorward/front/client/office/client/desk", false),
            ("doorward/front/client/desk/cmd/x", false),
            ("doorward/back/client/desk", false),
        ] {
            let verdict = topics.accept_response(topic, Some("desk"));
            assert_eq!(verdict.is_ok(), accepted, "{topic}");
        }
        let why = Topics::new("front", &[]).accept_response("x", Some("desk")).unwrap_err();
        let own = "one of: doorward/front/response/, doorward/front/client/desk/";
        assert!(why.to_string().ends_with(own), "{why}");
    }

    #[test]
    fn reserved_words_inside_a_level_are_allowed() {
        let topics = Topics::new("front", &[]);
        assert_eq!(topics.accept_response("doorward/front/client/cmdline", None), Ok(()));
        assert_eq!(topics.accept_response("doorward/front/client/events", None), Ok(()));
    }
}
