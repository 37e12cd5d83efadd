//! The operations: one row each, from which everything else is derived.

use super::permission::Permission;
use super::quota::QuotaKind;
use super::route::Route;

/// Properties of an operation in the contract.
#[derive(Clone, Copy)]
struct Row {
    /// The part of the topic after `cmd/`.
    name: &'static str,
    /// The `status_code` of every 200; only the operations on images have one.
    status_code: Option<&'static str>,
    /// The permission that a client needs; `None`: every client may send it.
    permission: Option<Permission>,
    /// The quota kind that a request uses, besides `liveness` if that is computed.
    quota: Option<QuotaKind>,
    topics: Topics,
    /// The addresses over HTTP.
    routes: &'static [Route],
    camera: Camera,
    /// True if it changes who may enter or who may ask, or opens the door.
    is_change: bool,
    /// True if `{}`, or no payload at all, is a complete request.
    needs_nothing: bool,
    /// True if the answer carries a new API-Key.
    shows_key: bool,
}

/// The topics that carry an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topics {
    /// The command topics; also available to the command line.
    Commands,
    /// None: only the command line has it, and HTTP if it has a route. The audit log and
    /// maintenance are tasks of the operator of the door; for other clients the operation does not
    /// exist.
    None,
}

/// Use of the terminal's camera by an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Camera {
    Never,
    /// Only if an image field contains `camera:`.
    IfAsked,
    Always,
}

/// A query without pictures.
const QUESTION: Row = Row {
    name: "",
    status_code: None,
    permission: None,
    quota: None,
    topics: Topics::Commands,
    routes: &[],
    camera: Camera::Never,
    is_change: false,
    needs_nothing: false,
    shows_key: false,
};
const ON_IMAGES: Row = Row { camera: Camera::IfAsked, ..QUESTION };
const ON_SUBJECTS: Row = Row { permission: Some(Permission::Subject), ..QUESTION };
const ON_APPLICATIONS: Row = Row { permission: Some(Permission::Admin), ..QUESTION };
const COMMAND_LINE: Row = Row { topics: Topics::None, ..QUESTION };

macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident = $row:expr;)*) => {
        /// An operation that a client can request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($(#[doc = $doc])* $name,)*
        }

        impl Operation {
            /// Every operation, in the order of the contract.
            pub const ALL: [Operation; [$(stringify!($name)),*].len()] = [$(Operation::$name),*];

            /// Returns what it does, in one sentence.
            pub(super) fn about(self) -> &'static str {
                match self {
                    $(Operation::$name => concat!($($doc),*).trim(),)*
                }
            }

            const fn row(self) -> Row {
                match self {
                    $(Operation::$name => const { $row },)*
                }
            }
        }
    };
}

operations! {
    /// Store a face under a subject.
    Enroll = Row {
        name: "enroll",
        status_code: Some("FACE-101"),
        permission: Some(Permission::Enroll),
        quota: Some(QuotaKind::Enroll),
        is_change: true,
        routes: &[Route::post("/v1/face/enroll")],
        ..ON_IMAGES
    };
    /// 1:1 against one subject.
    Verify = Row {
        name: "verify",
        status_code: Some("FACE-301"),
        permission: Some(Permission::Verify),
        quota: Some(QuotaKind::Verify),
        routes: &[Route::post("/v1/face/verify")],
        ..ON_IMAGES
    };
    /// 1:N over the gallery.
    Search = Row {
        name: "search",
        status_code: Some("FACE-201"),
        permission: Some(Permission::Search),
        quota: Some(QuotaKind::Search),
        routes: &[Route::post("/v1/face/search")],
        ..ON_IMAGES
    };
    /// Check whether the face is of a live person.
    Liveness = Row {
        name: "liveness",
        status_code: Some("FACE-401"),
        permission: Some(Permission::Liveness),
        quota: Some(QuotaKind::Liveness),
        routes: &[Route::post("/v1/face/liveness")],
        ..ON_IMAGES
    };
    /// 1:1 between two images.
    Compare = Row {
        name: "compare",
        status_code: Some("FACE-501"),
        permission: Some(Permission::Compare),
        quota: Some(QuotaKind::Verify),
        routes: &[Route::post("/v1/face/compare")],
        ..ON_IMAGES
    };
    /// Store several poses of the person in front of the camera.
    EnrollMode = Row {
        name: "enroll_mode",
        permission: Some(Permission::Enroll),
        quota: Some(QuotaKind::Enroll),
        camera: Camera::Always,
        is_change: true,
        needs_nothing: true,
        ..QUESTION
    };
    /// The enrolled subjects, one page at a time.
    SubjectList = Row {
        name: "subject/list",
        routes: &[Route::get("/v1/subjects")],
        needs_nothing: true,
        ..ON_SUBJECTS
    };
    /// One subject.
    SubjectGet = Row {
        name: "subject/get",
        routes: &[Route::get("/v1/subjects/{subject_id}")],
        ..ON_SUBJECTS
    };
    /// Change a subject's name, groups, card, validity.
    SubjectUpdate = Row {
        name: "subject/update",
        routes: &[Route::patch("/v1/subjects/{subject_id}")],
        is_change: true,
        ..ON_SUBJECTS
    };
    /// Remove a subject with all its templates.
    SubjectDelete = Row {
        name: "subject/delete",
        routes: &[Route::delete("/v1/face/enroll"), Route::delete("/v1/subjects/{subject_id}")],
        is_change: true,
        ..ON_SUBJECTS
    };
    /// Pulse the strike.
    Unlock = Row {
        name: "unlock",
        permission: Some(Permission::Unlock),
        routes: &[Route::post("/v1/unlock")],
        is_change: true,
        ..QUESTION
    };
    /// Counts and timings.
    Stats = Row {
        name: "stats",
        routes: &[Route::get("/v1/stats")],
        needs_nothing: true,
        ..QUESTION
    };
    /// Versions and states.
    Health = Row {
        name: "health",
        routes: &[Route::get("/v1/health")],
        needs_nothing: true,
        ..QUESTION
    };
    /// Create an application.
    ApplicationCreate = Row {
        name: "application/create",
        routes: &[Route::post("/v1/applications")],
        is_change: true,
        shows_key: true,
        ..ON_APPLICATIONS
    };
    /// The applications and their usage.
    ApplicationList = Row {
        name: "application/list",
        routes: &[Route::get("/v1/applications")],
        needs_nothing: true,
        ..ON_APPLICATIONS
    };
    /// One application and its usage.
    ApplicationGet = Row {
        name: "application/get",
        routes: &[Route::get("/v1/applications/{app}")],
        ..ON_APPLICATIONS
    };
    /// Change an application's mode, quota or permissions; its key stays.
    ApplicationUpdate = Row {
        name: "application/update",
        routes: &[Route::patch("/v1/applications/{app}")],
        is_change: true,
        ..ON_APPLICATIONS
    };
    /// Give an application another key.
    ApplicationRotate = Row {
        name: "application/rotate",
        routes: &[Route::post("/v1/applications/{app}/rotate")],
        is_change: true,
        shows_key: true,
        ..ON_APPLICATIONS
    };
    /// Remove an application.
    ApplicationRevoke = Row {
        name: "application/revoke",
        routes: &[Route::delete("/v1/applications/{app}")],
        is_change: true,
        ..ON_APPLICATIONS
    };
    /// Verify that the audit log is unchanged.
    AuditVerify = Row { name: "audit/verify", needs_nothing: true, ..COMMAND_LINE };
    /// Lines of the audit log.
    AuditList = Row {
        name: "audit/list",
        permission: Some(Permission::Admin),
        routes: &[Route::get("/v1/events")],
        needs_nothing: true,
        ..COMMAND_LINE
    };
    /// Embed the stored crops of templates of other models with the present model.
    GalleryReindex = Row { name: "gallery/reindex", needs_nothing: true, ..COMMAND_LINE };
    /// Remove the bytes of deleted and replaced faces from the gallery's file.
    GalleryScrub = Row { name: "gallery/scrub", needs_nothing: true, ..COMMAND_LINE };
}

impl Operation {
    /// Returns the name in the topic, after `cmd/`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the operation of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Returns the `status_code` of every 200 of the operations on images; the others have none.
    pub(super) fn status_code(self) -> Option<&'static str> {
        self.row().status_code
    }

    /// Returns the permission that a client needs; `None`: every client may send it.
    pub(crate) fn permission(self) -> Option<Permission> {
        self.row().permission
    }

    /// Returns the quota kind that a request uses, besides `liveness` if that is computed.
    pub(super) fn quota(self) -> Option<QuotaKind> {
        self.row().quota
    }

    /// Returns how it uses the terminal's camera.
    pub(super) fn camera(self) -> Camera {
        self.row().camera
    }

    /// Checks whether it changes who may enter or who may ask, or opens the door. Over a broker
    /// such an operation is done only once, and refused if strangers could send it; all others are
    /// queries.
    pub fn is_change(self) -> bool {
        self.row().is_change
    }

    /// Returns its addresses over HTTP.
    pub fn routes(self) -> &'static [Route] {
        self.row().routes
    }

    /// Checks whether no command topic carries this operation.
    pub(crate) fn is_local(self) -> bool {
        self.row().topics == Topics::None
    }

    /// Checks whether the answer carries a new API-Key: it is for one client, once, and is never
    /// kept.
    pub(crate) fn shows_key(self) -> bool {
        self.row().shows_key
    }

    /// Checks whether `{}`, or no payload at all, is a complete request.
    pub(super) fn needs_nothing(self) -> bool {
        self.row().needs_nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for operation in Operation::ALL {
            assert!(!operation.name().is_empty(), "{operation:?}");
            assert_eq!(Operation::named(operation.name()), Some(operation));
        }
        assert_eq!(Operation::named("lock"), None);
        assert_eq!(Operation::named("Enroll"), None);
        assert_eq!(Operation::named(""), None);
    }

    #[test]
    fn an_address_is_of_one_operation_and_its_fields_exist() {
        let mut seen = std::collections::BTreeSet::new();
        for operation in Operation::ALL {
            for route in operation.routes() {
                let method: &'static str = route.method.into();
                assert!(seen.insert((method, route.path)), "{route:?}");
                for field in route.fields() {
                    assert!(crate::contract::fields::kind(operation, field).is_some(), "{route:?}");
                }
            }
        }
        assert_eq!(seen.len(), 20);
    }

    #[test]
    fn operations_that_change_who_may_enter_need_a_permission() {
        for operation in Operation::ALL {
            assert!(!operation.is_change() || operation.permission().is_some(), "{operation:?}");
        }
    }

    #[test]
    fn only_an_admin_manages_applications() {
        for operation in Operation::ALL {
            if operation.name().starts_with("application/") {
                assert_eq!(operation.permission(), Some(Permission::Admin), "{operation:?}");
            }
            assert!(!operation.shows_key() || operation.is_change(), "{operation:?}");
        }
    }
}
