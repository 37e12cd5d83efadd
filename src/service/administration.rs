//! The operations on who may ask: `app/create`, `app/list`, `app/revoke`, `app/rotate`. They come
//! from the command line alone.

use super::trail::Trail;
use crate::applications::{Applications, ApplicationsError, Listed};
use crate::contract::{Administration, Operation, QuotaKind, Refusal, Reply};
use serde_json::{Map, Value, json};

/// Does it. The answer to `app/create` and `app/rotate` holds the key, for the only time.
pub(super) fn administer(
    applications: &Applications,
    trail: &Trail,
    administration: Administration,
) -> Result<Reply, Refusal> {
    match administration {
        Administration::Create(creation) => {
            let (listed, key) = applications.create(creation).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application made");
            trail.application(
                Operation::AppCreate,
                &listed.id,
                &listed.name,
                Some(allowed(&listed)),
            );
            let mut reply = Reply::success(Operation::AppCreate);
            reply.extend(block(&listed, Some(key.reveal())));
            Ok(reply)
        }
        Administration::Rotate(app) => {
            let (listed, key) = applications.rotate(&app).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application has another key");
            trail.application(Operation::AppRotate, &listed.id, &listed.name, None);
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
            trail.application(Operation::AppRevoke, &listed.id, &listed.name, None);
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

fn refused(error: ApplicationsError) -> Refusal {
    match error {
        ApplicationsError::Taken(_) => Refusal::field("name", error.to_string()),
        ApplicationsError::Unknown(_) => Refusal::field("app", error.to_string()),
        error => Refusal::from(error),
    }
}

fn allowed(listed: &Listed) -> Value {
    listed.allow.iter().map(|permission| permission.name()).collect()
}

/// An application in an answer; times are Unix seconds, the last use to the day.
fn block(listed: &Listed, key: Option<&str>) -> Map<String, Value> {
    let quota = listed.quota.map(|quota| {
        let kinds = QuotaKind::ALL.into_iter().map(|kind| {
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
