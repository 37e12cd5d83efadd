//! Step 1: authentication and authorisation of the sender.
//!
//! Over the local socket everything is allowed. Over the broker it depends on [`Auth`]. Under
//! `broker`, the broker has authenticated the client. If there is a table of clients, the topic of
//! the command names the client and the table its permissions. A client that is not in the table
//! has no permission; otherwise the table would restrict no one. Under `app-key`, an App-ID with
//! its API-Key gives the permissions. A sender with a missing or wrong key learns only that
//! authorisation failed. Over HTTP there is no broker: there a client always needs such a key.

use super::settings::{Auth, Settings};
use crate::applications::{Applications, Known};
use crate::contract::{
    Caller, Credentials, Operation, Permission, Raw, Refusal, Request, Sender, field,
};
use std::collections::BTreeSet;

const NAMELESS: &str = "here clients are known by name: send commands to from/NAME/cmd/, below \
                        the same prefix, with a NAME that stands in `mqtt.clients`; ask who runs \
                        the door";
const UNLISTED: &str = "`mqtt.clients` has no client of this name; ask who runs the door";

/// The sender and its permissions.
#[derive(Debug)]
pub(super) struct Access {
    pub sender: Sender,
    /// `None`: all permissions.
    pub permissions: Option<BTreeSet<Permission>>,
}

impl Access {
    /// Authenticates the sender of a request by `credentials` outside its body and by its body,
    /// `raw`.
    pub fn of(
        caller: &Caller,
        credentials: &Credentials,
        raw: &Raw,
        settings: &Settings,
        applications: &Applications,
    ) -> Result<Self, Refusal> {
        let by_key = || {
            let Known { id, allow } =
                known(credentials, raw, applications).ok_or(Refusal::Unauthorized)?;
            Ok(Self { sender: Sender::Application(id), permissions: Some(allow) })
        };
        let client = match caller {
            Caller::Local => return Ok(Self { sender: Sender::Local, permissions: None }),
            Caller::Http => return by_key(),
            Caller::Mqtt { client } => client,
        };
        match (settings.auth, client) {
            (Auth::AppKey, _) => by_key(),
            (Auth::Broker, None) if settings.clients.is_empty() => Ok(Self {
                sender: Sender::Anybody,
                permissions: Some(settings.permissions.clone()),
            }),
            (Auth::Broker, None) => Err(Refusal::Permission { why: NAMELESS.to_owned() }),
            (Auth::Broker, Some(name)) => match settings.clients.get(name) {
                Some(given) => Ok(Self {
                    sender: Sender::Client(name.clone()),
                    permissions: Some(given.clone()),
                }),
                None => Err(Refusal::Permission { why: UNLISTED.to_owned() }),
            },
        }
    }

    /// Checks whether the body is needed to authenticate the sender.
    pub fn reads_body(request: &Request, settings: &Settings) -> bool {
        let Credentials { app_id, api_key } = &request.credentials;
        let by_key = settings.auth == Auth::AppKey || request.caller == Caller::Http;
        by_key && (app_id.is_none() || api_key.is_none())
    }

    /// Returns the id of the application that sends the request, if it is one.
    pub fn application(&self) -> Option<&str> {
        match &self.sender {
            Sender::Application(id) => Some(id),
            _ => None,
        }
    }

    /// Checks whether the sender has a permission.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.as_ref().is_none_or(|given| given.contains(&permission))
    }

    /// Refuses an operation that the sender has no permission for.
    pub fn permits(&self, operation: Operation) -> Result<(), Refusal> {
        match operation.permission() {
            Some(permission) => self.needs(permission, operation.name()),
            None => Ok(()),
        }
    }

    /// Refuses `what` to a sender without `permission`.
    pub fn needs(&self, permission: Permission, what: &str) -> Result<(), Refusal> {
        if self.may(permission) {
            return Ok(());
        }
        let permission = permission.name();
        let why = format!("{what} needs the permission `{permission}`; ask who runs the door");
        Err(Refusal::Permission { why })
    }
}

/// Returns the application of the App-ID and API-Key: those outside the body first, else those in a
/// body that is an object.
fn known(credentials: &Credentials, raw: &Raw, applications: &Applications) -> Option<Known> {
    let given = |name| raw.is_object.then(|| raw.text(name)).flatten();
    let id = credentials.app_id.as_deref().or_else(|| given(field::APP_ID))?;
    let key = credentials.api_key.as_deref().or_else(|| given(field::API_KEY))?;
    applications.authenticate(id, key)
}
