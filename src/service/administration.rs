//! The operations on applications: `application/create`, `/list`, `/get`, `/update`, `/rotate`,
//! `/revoke`, for the command line and for clients with the permission `admin`.
//!
//! A sender gives no permission that it has not itself, neither directly nor by the new key of an
//! application that has more; and no application changes its own permissions, quota or mode. Every
//! change is a line of the audit log with its sender. Removing is always allowed: the command line
//! can make another application with `admin`.

use super::audit_trail::AuditTrail;
use super::recognition::Requester;
use crate::applications::{Applications, ApplicationsError, Grantor, Listed};
use crate::contract::answer_fields::{
    ApplicationBlock, ApplicationGone, ApplicationList, QuotaBlock, UsageBlock, Used,
};
use crate::contract::{Administration, Operation, QuotaKind, Refusal, Reply, Sender, field};

/// Performs the operation. Only the answers to `application/create` and `application/rotate`
/// contain the key.
pub(super) fn administer(
    applications: &Applications,
    audit_trail: &AuditTrail,
    by: &Requester,
    administration: Administration,
) -> Result<Reply, Refusal> {
    let grantor = Grantor {
        permissions: by.permissions.clone(),
        application: match &by.sender {
            Sender::Application(id) => Some(id.clone()),
            _ => None,
        },
    };
    let sender = &by.sender;
    match administration {
        Administration::Create(creation) => {
            let (listed, key) = applications.create(&grantor, creation).map_err(refused)?;
            tracing::info!(%sender, app_id = listed.id, name = listed.name, "application created");
            audit_trail.application(sender, Operation::ApplicationCreate, &listed);
            Ok(Reply::of(Operation::ApplicationCreate, &block(&listed, Some(key.reveal()))))
        }
        Administration::Rotate { app, grace } => {
            let (listed, key) = applications.rotate(&grantor, &app, grace).map_err(refused)?;
            tracing::info!(%sender, app_id = listed.id, name = listed.name, "application key rotated");
            audit_trail.application(sender, Operation::ApplicationRotate, &listed);
            Ok(Reply::of(Operation::ApplicationRotate, &block(&listed, Some(key.reveal()))))
        }
        Administration::Update(app, alteration) => {
            let listed = applications.update(&grantor, &app, alteration).map_err(refused)?;
            tracing::info!(%sender, app_id = listed.id, name = listed.name, "application changed");
            audit_trail.application(sender, Operation::ApplicationUpdate, &listed);
            Ok(Reply::of(Operation::ApplicationUpdate, &block(&listed, None)))
        }
        Administration::Revoke(app) => {
            let listed = applications.revoke(&app).map_err(|error| {
                if let ApplicationsError::NotOnDisk { id, name, .. } = &error {
                    audit_trail.revoked_until_restart(sender, id, name);
                }
                refused(error)
            })?;
            tracing::info!(%sender, app_id = listed.id, name = listed.name, "application revoked");
            audit_trail.application(sender, Operation::ApplicationRevoke, &listed);
            let gone = ApplicationGone { app_id: &listed.id, name: &listed.name };
            Ok(Reply::of(Operation::ApplicationRevoke, &gone))
        }
        Administration::List => {
            let listed = applications.list().map_err(refused)?;
            let applications = listed.iter().map(|listed| block(listed, None)).collect();
            Ok(Reply::of(Operation::ApplicationList, &ApplicationList { applications }))
        }
        Administration::Get(app) => {
            let listed = applications.get(&app).map_err(refused)?;
            Ok(Reply::of(Operation::ApplicationGet, &block(&listed, None)))
        }
    }
}

fn refused(error: ApplicationsError) -> Refusal {
    match error {
        ApplicationsError::Taken(_) => Refusal::field(field::NAME, error.to_string()),
        ApplicationsError::Unknown(_) => Refusal::field(field::APP, error.to_string()),
        ApplicationsError::Exceeds(_) | ApplicationsError::Own => {
            Refusal::Permission { why: error.to_string() }
        }
        error => Refusal::from(error),
    }
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
        mode: listed.mode(),
        quota,
        usage: UsageBlock(
            QuotaKind::ALL.iter().map(|&kind| (kind, listed.done.of(kind))).collect(),
        ),
        allow: &listed.allow,
        created: listed.created,
        last_used: listed.last_used,
        old_key_until: listed.old_key_until,
    }
}
