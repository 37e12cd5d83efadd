//! The operations on applications: `app/create`, `app/list`, `app/update`, `app/revoke`,
//! `app/rotate`. Only the command line can use them.

use super::audit_trail::AuditTrail;
use crate::applications::{Applications, ApplicationsError, Listed};
use crate::contract::answer_fields::{
    ApplicationBlock, ApplicationGone, ApplicationList, QuotaBlock, Used,
};
use crate::contract::{Administration, Operation, QuotaKind, Refusal, Reply, field};
use serde_json::Value;

/// Performs the operation. Only the answers to `app/create` and `app/rotate` contain the key.
pub(super) fn administer(
    applications: &Applications,
    audit_trail: &AuditTrail,
    administration: Administration,
) -> Result<Reply, Refusal> {
    match administration {
        Administration::Create(creation) => {
            let (listed, key) = applications.create(creation).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application created");
            audit_trail.application(
                Operation::AppCreate,
                &listed.id,
                &listed.name,
                Some(allowed(&listed)),
            );
            Ok(Reply::of(Operation::AppCreate, &block(&listed, Some(key.reveal()))))
        }
        Administration::Rotate(app) => {
            let (listed, key) = applications.rotate(&app).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application key rotated");
            audit_trail.application(Operation::AppRotate, &listed.id, &listed.name, None);
            Ok(Reply::of(Operation::AppRotate, &block(&listed, Some(key.reveal()))))
        }
        Administration::Update(app, alteration) => {
            let listed = applications.update(&app, alteration).map_err(refused)?;
            tracing::info!(app_id = listed.id, name = listed.name, "application changed");
            audit_trail.application(
                Operation::AppUpdate,
                &listed.id,
                &listed.name,
                Some(allowed(&listed)),
            );
            Ok(Reply::of(Operation::AppUpdate, &block(&listed, None)))
        }
        Administration::Revoke(app) => {
            let listed = applications.revoke(&app).map_err(|error| {
                if let ApplicationsError::NotOnDisk { id, name, .. } = &error {
                    audit_trail.revoked_until_restart(id, name);
                }
                refused(error)
            })?;
            tracing::info!(app_id = listed.id, name = listed.name, "application revoked");
            audit_trail.application(Operation::AppRevoke, &listed.id, &listed.name, None);
            let gone = ApplicationGone { app_id: &listed.id, name: &listed.name };
            Ok(Reply::of(Operation::AppRevoke, &gone))
        }
        Administration::List => {
            let listed = applications.list().map_err(refused)?;
            let applications = listed.iter().map(|listed| block(listed, None)).collect();
            Ok(Reply::of(Operation::AppList, &ApplicationList { applications }))
        }
    }
}

fn refused(error: ApplicationsError) -> Refusal {
    match error {
        ApplicationsError::Taken(_) => Refusal::field(field::NAME, error.to_string()),
        ApplicationsError::Unknown(_) => Refusal::field(field::APP, error.to_string()),
        error => Refusal::from(error),
    }
}

fn allowed(listed: &Listed) -> Value {
    listed.allow.iter().map(|permission| permission.name()).collect()
}

/// Returns an application in the form of an answer.
fn block<'a>(listed: &'a Listed, key: Option<&'a str>) -> ApplicationBlock<'a> {
    let quota = listed.quota.map(|quota| {
        let kinds = QuotaKind::ALL.iter().map(|&kind| {
            let (quota, used) = (quota.of(kind), listed.used.of(kind));
            (kind, Used { quota, used, left: quota.saturating_sub(used) })
        });
        QuotaBlock(kinds.collect())
    });
    ApplicationBlock {
        app_id: &listed.id,
        api_key: key,
        name: &listed.name,
        mode: ApplicationBlock::mode(quota.is_some()),
        quota,
        allow: &listed.allow,
        created: listed.created,
        last_used: listed.last_used,
    }
}
