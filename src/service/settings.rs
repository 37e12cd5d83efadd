//! Settings of the service.

use crate::contract::{Permission, UnknownPermission, is_id};
use crate::picture::Limits;
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use strum::EnumString;

/// How clients authenticate; the local command line does not need to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownAuth, parse_err_fn = unknown_auth)]
pub enum Auth {
    /// The broker authenticates the client.
    #[default]
    Broker,
    /// The client sends an App-ID and its API-Key.
    AppKey,
}

/// No authentication method has this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither broker nor app-key")]
pub struct UnknownAuth(String);

fn unknown_auth(name: &str) -> UnknownAuth {
    UnknownAuth(name.to_owned())
}

/// An invalid entry of the table of clients.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClient {
    /// The form is wrong.
    #[error("`{0}` is not of the form \"NAME: PERMISSION …\", as in \"desk: verify search\"")]
    Form(String),
    /// The name is listed twice.
    #[error("`{0}` is listed twice")]
    Twice(String),
    /// The permission does not exist.
    #[error(transparent)]
    Permission(#[from] UnknownPermission),
}

/// Reads the table of clients: `desk: verify search` gives the client `desk` two permissions.
pub fn clients(entries: &[String]) -> Result<BTreeMap<String, BTreeSet<Permission>>, BadClient> {
    let mut clients = BTreeMap::new();
    for entry in entries {
        let form = || BadClient::Form(entry.clone());
        let (name, permissions) = entry.split_once(": ").ok_or_else(form)?;
        if !is_id(name) {
            return Err(form());
        }
        let permissions = permissions.split_whitespace().map(str::parse);
        let permissions = permissions.collect::<Result<_, UnknownPermission>>()?;
        if clients.insert(name.to_owned(), permissions).is_some() {
            return Err(BadClient::Twice(name.to_owned()));
        }
    }
    Ok(clients)
}

/// The service's part of the configuration; [`Default`] is the meaning of an empty configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sent in every answer's `meta`.
    pub device_id: String,
    /// Requests that may wait for a thread before the next is answered `[503] BUSY`; at least 1.
    pub queue: usize,
    /// Threads that decode pictures and run the networks; at least 1.
    pub vision_threads: usize,
    /// Limits of a picture.
    pub limits: Limits,
    /// Hosts and networks that URL images may come from; empty: none.
    pub url_allow: Vec<String>,
    /// Logins of those hosts, as `image_url.logins` has them.
    pub url_logins: Vec<Secret>,
    /// Maximum number of concurrent URL requests before the next is answered `[503] BUSY`.
    pub url_concurrency: usize,
    /// True if `enroll` stores the face crop with the template.
    pub store_images: bool,
    /// True to refuse the enrolment of a face that is enrolled under another id.
    pub refuse_duplicates: bool,
    /// Maximum number of templates of a subject.
    pub max_templates: usize,
    /// Log-odds from which on a face is live for this camera.
    pub liveness_operating_point: f32,
    /// True if `unlock` is allowed for clients; the local command line may always use it.
    pub remote_unlock: bool,
    /// How clients authenticate.
    pub auth: Auth,
    /// Permissions of all MQTT clients under [`Auth::Broker`] if there is no table of clients.
    pub permissions: BTreeSet<Permission>,
    /// The table of clients by name. Unless it is empty, a client that is not in it has no
    /// permission, not even for `health` and `stats`.
    pub clients: BTreeMap<String, BTreeSet<Permission>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: "doorward".to_owned(),
            // About one second of work on a Raspberry Pi 4: a person does not wait longer.
            queue: 8,
            vision_threads: 1,
            limits: Limits::default(),
            url_allow: Vec::new(),
            url_logins: Vec::new(),
            url_concurrency: 4,
            store_images: true,
            refuse_duplicates: false,
            // Room for a few poses with and without glasses.
            max_templates: 10,
            liveness_operating_point: 0.0,
            remote_unlock: false,
            auth: Auth::default(),
            permissions: Permission::granted_unasked(),
            clients: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_clients_is_parsed() {
        let table = |entries: &[&str]| {
            clients(&entries.iter().map(|entry| entry.to_string()).collect::<Vec<_>>())
        };
        let read = table(&["desk: verify search", "front:office: admin"]).unwrap();
        assert_eq!(read["desk"], [Permission::Verify, Permission::Search].into());
        assert_eq!(read["front:office"], [Permission::Admin].into());
        for form in ["desk", "desk:", ": verify", "a/b: verify", "+: verify", ""] {
            assert_eq!(table(&[form]), Err(BadClient::Form(form.into())));
        }
        let twice = table(&["a: verify", "a: search"]);
        assert_eq!(twice, Err(BadClient::Twice("a".into())));
        assert!(matches!(table(&["a: dance"]), Err(BadClient::Permission(_))));
    }

    #[test]
    fn authentication_methods_are_parsed() {
        assert_eq!("broker".parse(), Ok(Auth::default()));
        assert_eq!("app-key".parse(), Ok(Auth::AppKey));
        assert!("none".parse::<Auth>().is_err());
    }
}
