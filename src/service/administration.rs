//! The operations on who may ask: `app/create`, `app/list`, `app/revoke`, `app/rotate`. They come
//! from the command line alone.

use super::applications::{
    Amounts, Applications, ApplicationsError, BadQuota, Creation, Kind, Listed,
};
use super::failure::Failure;
use super::operation::Operation;
use super::payload::Payload;
use super::raw::Given;
use super::reply::Reply;
use super::settings::{Permission, UnknownPermission};
use super::trail::Trail;
use super::valid::{ID, is_id};
use serde_json::{Map, Value, json};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Administration {
    Create(Creation),
    List,
    /// By id or name.
    Revoke(String),
    /// By id or name.
    Rotate(String),
}

impl Payload<'_> {
    /// What is asked for; a part of step 2.
    pub fn administration(&self) -> Result<Administration, Failure> {
        match self.operation {
            Operation::AppCreate => self.creation().map(Administration::Create),
            Operation::AppRevoke => self.app().map(Administration::Revoke),
            Operation::AppRotate => self.app().map(Administration::Rotate),
            _ => Ok(Administration::List),
        }
    }

    fn app(&self) -> Result<String, Failure> {
        let missing =
            || Failure::field("app", "`app` must be the name or the id of an application");
        self.filled("app").ok_or_else(missing)
    }

    fn creation(&self) -> Result<Creation, Failure> {
        let name = self.text("name").filter(|name| is_id(name));
        let name = name.ok_or_else(|| Failure::field("name", format!("`name` {ID}")))?;
        let quota = match (self.bool("testing"), self.texts("quota")) {
            (false, None) => None,
            (true, None) => Some(Amounts::FOR_TESTING),
            (true, Some(entries)) => {
                let bad = |error: BadQuota| Failure::field("quota", error.to_string());
                Some(Amounts::parse(entries).map_err(bad)?)
            }
            (false, Some(_)) => {
                let why = "only an application in testing mode has a quota; add `testing`";
                return Err(Failure::field("quota", why));
            }
        };
        let allow = match self.texts("allow") {
            None => Permission::granted_unasked(),
            Some(names) => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, UnknownPermission>>()
                .map_err(|error| Failure::field("allow", error.to_string()))?,
        };
        Ok(Creation { name: name.to_owned(), quota, allow })
    }

    fn texts(&self, name: &str) -> Option<&[String]> {
        match self.raw.get(name) {
            Some(Given::Texts(texts)) => Some(texts),
            _ => None,
        }
    }
}

/// Does it. The answer to `app/create` and `app/rotate` holds the key, for the only time.
pub(super) fn administer(
    applications: &Applications,
    trail: &Trail,
    administration: Administration,
) -> Result<Reply, Failure> {
    match administration {
        Administration::Create(creation) => {
            let (listed, key) = applications.create(creation).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application made");
            trail.application("app/create", &listed.id, &listed.name, Some(allowed(&listed)));
            let mut reply = Reply::success(Operation::AppCreate);
            reply.extend(block(&listed, Some(key.reveal())));
            Ok(reply)
        }
        Administration::Rotate(app) => {
            let (listed, key) = applications.rotate(&app).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application has another key");
            trail.application("app/rotate", &listed.id, &listed.name, None);
            let mut reply = Reply::success(Operation::AppRotate);
            reply.extend(block(&listed, Some(key.reveal())));
            Ok(reply)
        }
        Administration::Revoke(app) => {
            let listed = applications.revoke(&app).map_err(|error| {
                if let ApplicationsError::NotOnDisk { id, name, .. } = &error {
                    trail.revoked_until_restart(id, name);
                }
                refused(error)
            })?;
            tracing::info!(app_id = listed.id, name = listed.name, "application revoked");
            trail.application("app/revoke", &listed.id, &listed.name, None);
            let mut reply = Reply::success(Operation::AppRevoke);
            reply.insert("app_id", listed.id);
            reply.insert("name", listed.name);
            Ok(reply)
        }
        Administration::List => {
            let listed = applications.list().map_err(refused)?;
            let blocks = listed.iter().map(|listed| Value::Object(block(listed, None)));
            let mut reply = Reply::success(Operation::AppList);
            reply.insert("applications", blocks.collect::<Vec<_>>());
            Ok(reply)
        }
    }
}

fn refused(error: ApplicationsError) -> Failure {
    match error {
        ApplicationsError::Taken(_) => Failure::field("name", error.to_string()),
        ApplicationsError::Unknown(_) => Failure::field("app", error.to_string()),
        error => Failure::from(error),
    }
}

fn allowed(listed: &Listed) -> Value {
    listed.allow.iter().map(|permission| permission.name()).collect()
}

/// An application in an answer; times are Unix seconds, the last use to the day.
fn block(listed: &Listed, key: Option<&str>) -> Map<String, Value> {
    let quota = listed.quota.map(|quota| {
        let kinds = Kind::ALL.into_iter().map(|kind| {
            let (quota, used) = (quota.of(kind), listed.used.of(kind));
            let left = quota.saturating_sub(used);
            (kind.name().to_owned(), json!({ "quota": quota, "used": used, "left": left }))
        });
        Value::Object(kinds.collect())
    });
    let mode = if quota.is_some() { "testing" } else { "live" };
    let fields = [
        ("app_id", Some(listed.id.as_str().into())),
        ("api_key", key.map(Value::from)),
        ("name", Some(listed.name.as_str().into())),
        ("mode", Some(mode.into())),
        ("quota", quota),
        ("allow", Some(allowed(listed))),
        ("created", Some(listed.created.into())),
        ("last_used", listed.last_used.map(Value::from)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
