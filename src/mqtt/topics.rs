//! Names of topics, and the rule for where an answer may be sent.
//!
//! The rule exists because the daemon publishes with its own rights: without it, a client that may
//! not write to `…/cmd/unlock` or `…/event/access` could have the daemon write there, by naming it
//! as Response Topic. For the same reason a client that is known by name names no topic below
//! `client/` but its own: it could have genuine answers put before another one.

use super::roles::app_id;
use crate::contract::Operation;
use crate::outbox::Kind;

/// Levels that never occur in a topic an answer is sent to.
pub(crate) const RESERVED_LEVELS: [&str; 4] = ["cmd", "event", "state", "availability"];

/// Whether a topic has no wildcard, no `$`, no NUL and no reserved level.
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

/// Bytes of an operation's name; the longest there is has 14.
const LONGEST_OPERATION: usize = 64;

impl Topics {
    pub(crate) fn new(device_id: &str, extra_response_prefixes: &[String]) -> Self {
        let root = format!("doorward/{device_id}/");
        // The contract's "client/" is read as doorward/<device>/client/: what a device is asked to
        // publish stays below its own root, so an access list of the broker stays one line a device.
        let mut response_prefixes = vec![format!("{root}response/"), format!("{root}client/")];
        response_prefixes.extend(
            extra_response_prefixes.iter().map(|prefix| format!("{}/", prefix.trim_matches('/'))),
        );
        Self { root, response_prefixes }
    }

    /// What the daemon subscribes to; with the commands of named clients if there are any.
    pub(crate) fn command_filters(&self, named_clients: bool) -> Vec<String> {
        let named = named_clients.then(|| format!("{}from/+/cmd/#", self.root));
        [format!("{}cmd/#", self.root)].into_iter().chain(named).collect()
    }

    /// Those of them that move the strike.
    pub(crate) fn unlock_filters(&self, named_clients: bool) -> Vec<String> {
        let named = named_clients.then(|| self.command_from("+", UNLOCK));
        [self.command(UNLOCK)].into_iter().chain(named).collect()
    }

    /// Whether a topic is one of these.
    pub(crate) fn is_unlock(&self, topic: &[u8]) -> bool {
        let topic = std::str::from_utf8(topic).ok();
        topic.and_then(|topic| self.command_of(topic)).is_some_and(|(_, it)| it == UNLOCK)
    }

    /// What the device says to itself.
    pub(crate) fn echo(&self) -> String {
        format!("{}echo", self.root)
    }

    /// Where a client sends the command for an operation.
    pub(crate) fn command(&self, operation: &str) -> String {
        format!("{}cmd/{operation}", self.root)
    }

    /// Where a client that is known by name sends it.
    pub(crate) fn command_from(&self, client: &str, operation: &str) -> String {
        format!("{}from/{client}/cmd/{operation}", self.root)
    }

    /// The client and the operation that a command's topic names: none and `search` for
    /// `…/cmd/search`, `desk` and `search` for `…/from/desk/cmd/search`. `None` for `…/cmd` itself,
    /// which the filter matches too, and for anything else.
    pub(crate) fn command_of<'a>(&self, topic: &'a str) -> Option<(Option<&'a str>, &'a str)> {
        let below = topic.strip_prefix(&self.root)?;
        let (client, below) = match below.strip_prefix("from/") {
            Some(from) => from.split_once('/').map(|(client, below)| (Some(client), below))?,
            None => (None, below),
        };
        let operation = below.strip_prefix("cmd/")?;
        // The default answer topic repeats it and must stay a topic.
        (1..=LONGEST_OPERATION).contains(&operation.len()).then_some((client, operation))
    }

    /// Where an answer goes when the request names no topic.
    pub(crate) fn default_response(&self, operation: &str) -> String {
        format!("{}response/{operation}", self.root)
    }

    /// A topic of its own for one client.
    pub(crate) fn client(&self, name: &str) -> String {
        format!("{}client/{name}", self.root)
    }

    pub(crate) fn availability(&self) -> String {
        format!("{}availability", self.root)
    }

    /// `event/<kind>`, never retained.
    pub(crate) fn event(&self, kind: Kind) -> String {
        format!("{}event/{kind}", self.root)
    }

    /// `state/<name>`, retained.
    pub(crate) fn state(&self, name: &str) -> String {
        format!("{}state/{name}", self.root)
    }

    /// Checks the Response Topic of a command from `client`, where its topic names one, against the
    /// rule.
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
            // Whatever the configuration adds, the inbox of another one stays its own.
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

    /// Checks where an answer to this application, or to who showed no key, would go, on a broker where
    /// `client/<App-ID>` is that application's.
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
    fn the_operation_is_what_stands_behind_cmd_and_the_client_before_it() {
        let topics = Topics::new("front", &[]);
        let of = |topic| topics.command_of(topic);
        assert_eq!(of("doorward/front/cmd/enroll"), Some((None, "enroll")));
        assert_eq!(of("doorward/front/cmd/subject/list"), Some((None, "subject/list")));
        let desk = Some("desk");
        assert_eq!(of("doorward/front/from/desk/cmd/subject/list"), Some((desk, "subject/list")));
        // A name of several levels is none: the first is the client.
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
    fn an_applications_inbox_is_its_own() {
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
    fn named_clients_are_heard_where_there_are_any() {
        let topics = Topics::new("front", &[]);
        assert_eq!(topics.command_filters(false), ["doorward/front/cmd/#"]);
        let both = ["doorward/front/cmd/#", "doorward/front/from/+/cmd/#"];
        assert_eq!(topics.command_filters(true), both);
    }

    #[test]
    fn an_unlock_is_known_by_its_topic() {
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
    fn response_topics() {
        let topics = Topics::new("front", &["house/replies/".into(), "lab".into()]);
        for (topic, accepted) in [
            ("doorward/front/response/search", true),
            ("doorward/front/client/ui-1/answers", true),
            ("house/replies/7", true),
            ("lab/x", true),
            // Below the prefix means a level of its own behind it.
            ("doorward/front/response/", false),
            ("doorward/front/response", false),
            ("doorward/front/responses/x", false),
            ("laboratory/x", false),
            ("lab", false),
            // Another device, another tree, the bare word.
            ("doorward/back/response/search", false),
            ("client/ui-1", false),
            ("homeassistant/lock/x/config", false),
            ("", false),
            // The daemon's own commands, events and states, in any disguise.
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
    fn a_named_client_has_answers_sent_to_its_own_topics() {
        // The last would take in everybody's.
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
    fn words_inside_a_level_are_no_levels() {
        let topics = Topics::new("front", &[]);
        assert_eq!(topics.accept_response("doorward/front/client/cmdline", None), Ok(()));
        assert_eq!(topics.accept_response("doorward/front/client/events", None), Ok(()));
    }
}
