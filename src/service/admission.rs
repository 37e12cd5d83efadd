//! Steps 1 to 7: authentication, authorisation, validation, and reservation of quota.

use super::Service;
use super::access::Access;
use super::recognition::{Recognizer, Requester};
use crate::applications::{NotReserved, Reservation};
use crate::contract::{
    Context, Operation, Permission, QuotaKind, Raw, Refusal, Request, Valid, validate,
};

/// An admitted request.
pub(super) struct Admitted {
    pub operation: Operation,
    pub valid: Valid,
    pub by: Requester,
}

/// An admitted request and the quota it has reserved.
pub(super) type Reserved = (Admitted, Option<Reservation>);

impl Service {
    pub(super) fn access(&self, request: &Request, raw: &Raw) -> Result<Access, Refusal> {
        let Request { caller, credentials, .. } = request;
        Access::of(caller, credentials, raw, &self.recognizer.settings, &self.applications)
    }

    /// Performs steps 1 to 7; also returns the `request_id`, which is echoed in any case.
    pub(super) fn read(&self, request: &Request) -> (Option<String>, Result<Reserved, Refusal>) {
        let operation = request.asked_for();
        let raw = Raw::read(operation, &request.body);
        let admitted = self.access(request, &raw).and_then(|access| {
            let operation =
                operation.ok_or_else(|| Refusal::unknown_operation(&request.operation))?;
            access.permits(operation)?;
            request.fields_in_body()?;
            self.admitted(operation, &raw, &access)
        });
        (raw.request_id().map(str::to_owned), admitted)
    }

    fn admitted(
        &self,
        operation: Operation,
        raw: &Raw,
        access: &Access,
    ) -> Result<Reserved, Refusal> {
        let Recognizer { gallery, settings, .. } = &*self.recognizer;
        let context = Context { enrolled: &|id| gallery.contains(id), limits: &settings.limits };
        let valid = validate(operation, raw, &context)?;
        if let Valid::SubjectUpdate { change, .. } = &valid
            && let fields = change.decides_entry()
            && !fields.is_empty()
        {
            let what = format!("{} of {}", operation.name(), fields.join(", "));
            access.needs(Permission::Admin, &what)?;
        }
        let kinds = valid.spends(operation);
        let reservation = match access.application() {
            Some(id) if !kinds.is_empty() => self.reserve(id, kinds)?,
            _ => None,
        };
        let admin = access.may(Permission::Admin);
        let may_search = admin || access.may(Permission::Search);
        let (sender, permissions) = (access.sender.clone(), access.permissions.clone());
        let by = Requester { sender, permissions, admin, may_search };
        Ok((Admitted { operation, valid, by }, reservation))
    }

    /// Step 7: reserves quota.
    fn reserve(&self, id: &str, kinds: Vec<QuotaKind>) -> Result<Option<Reservation>, Refusal> {
        self.applications.reserve(id, kinds).map_err(|error| match error {
            NotReserved::Short(kind) => Refusal::Quota(kind),
            NotReserved::Revoked => Refusal::Unauthorized,
        })
    }
}
