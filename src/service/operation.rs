//! The operations by name, and what the contract ties to each name: its `status_code`, the
//! permission it needs, whether it may come with an empty payload.

use super::settings::Permission;

/// Something a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Store a face under a subject.
    Enroll,
    /// 1:1 against one subject.
    Verify,
    /// 1:N over the gallery.
    Search,
    /// Is this a live person.
    Liveness,
    /// 1:1 between two images.
    Compare,
    /// Store several poses of the person before the camera.
    EnrollMode,
    /// Who is enrolled, a page at a time.
    SubjectList,
    /// One subject.
    SubjectGet,
    /// Change a subject's name, groups, card, validity.
    SubjectUpdate,
    /// Remove a subject with all its templates.
    SubjectDelete,
    /// Pulse the strike.
    Unlock,
    /// Counts and timings.
    Stats,
    /// Versions and states.
    Health,
    /// Make an application.
    AppCreate,
    /// The applications and what they have used up.
    AppList,
    /// Remove an application.
    AppRevoke,
    /// Give an application another key.
    AppRotate,
    /// Whether the audit log is as it was written.
    AuditVerify,
    /// Lines of the audit log.
    AuditList,
    /// Embed stored crops anew for the present model.
    GalleryReindex,
}

use Operation::*;

impl Operation {
    /// Every operation, in the order of the contract.
    pub const ALL: [Operation; 20] = [
        Enroll,
        Verify,
        Search,
        Liveness,
        Compare,
        EnrollMode,
        SubjectList,
        SubjectGet,
        SubjectUpdate,
        SubjectDelete,
        Unlock,
        Stats,
        Health,
        AppCreate,
        AppList,
        AppRevoke,
        AppRotate,
        AuditVerify,
        AuditList,
        GalleryReindex,
    ];

    /// The name in the topic, behind `cmd/`.
    pub fn name(self) -> &'static str {
        match self {
            Enroll => "enroll",
            Verify => "verify",
            Search => "search",
            Liveness => "liveness",
            Compare => "compare",
            EnrollMode => "enroll_mode",
            SubjectList => "subject/list",
            SubjectGet => "subject/get",
            SubjectUpdate => "subject/update",
            SubjectDelete => "subject/delete",
            Unlock => "unlock",
            Stats => "stats",
            Health => "health",
            AppCreate => "app/create",
            AppList => "app/list",
            AppRevoke => "app/revoke",
            AppRotate => "app/rotate",
            AuditVerify => "audit/verify",
            AuditList => "audit/list",
            GalleryReindex => "gallery/reindex",
        }
    }

    /// The operation of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The `status_code` of every 200 of the five operations on images; the others have none.
    pub(super) fn status_code(self) -> Option<&'static str> {
        match self {
            Enroll => Some("FACE-101"),
            Search => Some("FACE-201"),
            Verify => Some("FACE-301"),
            Liveness => Some("FACE-401"),
            Compare => Some("FACE-501"),
            _ => None,
        }
    }

    /// What an MQTT client must be allowed to do to ask for this; `None`: anybody may ask.
    pub(super) fn permission(self) -> Option<Permission> {
        match self {
            Enroll | EnrollMode => Some(Permission::Enroll),
            Verify => Some(Permission::Verify),
            Search => Some(Permission::Search),
            Liveness => Some(Permission::Liveness),
            Compare => Some(Permission::Compare),
            SubjectList | SubjectGet | SubjectUpdate | SubjectDelete => Some(Permission::Subject),
            Unlock => Some(Permission::Unlock),
            Stats | Health | AppCreate | AppList | AppRevoke | AppRotate | AuditVerify
            | AuditList | GalleryReindex => None,
        }
    }

    /// Whether it changes who may enter, or opens the door. Over a broker such an operation is done
    /// once, and not at all where strangers could ask for it; the others are questions.
    pub fn is_change(self) -> bool {
        matches!(self, Enroll | EnrollMode | SubjectUpdate | SubjectDelete | Unlock)
    }

    /// Whether only the command line has this operation: who may ask, and who asked, is the business
    /// of who runs the door, and so is its upkeep. For everybody else it does not exist.
    pub(super) fn is_local(self) -> bool {
        matches!(
            self,
            AppCreate | AppList | AppRevoke | AppRotate | AuditVerify | AuditList | GalleryReindex
        )
    }

    /// Whether `{}`, or no payload at all, is a complete request.
    pub(super) fn needs_nothing(self) -> bool {
        matches!(
            self,
            EnrollMode
                | SubjectList
                | Stats
                | Health
                | AppList
                | AuditVerify
                | AuditList
                | GalleryReindex
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for operation in Operation::ALL {
            assert_eq!(Operation::named(operation.name()), Some(operation));
        }
        assert_eq!(Operation::named("lock"), None);
        assert_eq!(Operation::named("Enroll"), None);
    }
}
