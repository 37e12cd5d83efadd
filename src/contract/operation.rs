//! The operations: one row each, from which everything else follows.

use super::permission::Permission;
use super::quota::QuotaKind;

/// What the contract ties to an operation.
#[derive(Clone, Copy)]
struct Row {
    /// What stands behind `cmd/` in the topic.
    name: &'static str,
    /// The `status_code` of every 200; only the operations on images have one.
    status_code: Option<&'static str>,
    /// What a client must be allowed to do to ask for it; `None`: every client may ask.
    permission: Option<Permission>,
    /// What a request spends, beside `liveness` where that is computed.
    quota: Option<QuotaKind>,
    topics: Topics,
    camera: Camera,
    /// Whether it changes who may enter, or opens the door.
    is_change: bool,
    /// Whether `{}`, or no payload at all, is a complete request.
    needs_nothing: bool,
}

/// The topics that carry an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topics {
    /// The topics for commands; the command line has it too.
    Commands,
    /// None: only the command line has it. Who may ask, who asked, and upkeep are the business of
    /// the person who runs the door; for every client the operation does not exist.
    None,
}

/// Whether an operation takes pictures with the terminal's camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Camera {
    Never,
    /// For an image field that says `camera:`.
    IfAsked,
    Always,
}

/// A question that takes no picture.
const QUESTION: Row = Row {
    name: "",
    status_code: None,
    permission: None,
    quota: None,
    topics: Topics::Commands,
    camera: Camera::Never,
    is_change: false,
    needs_nothing: false,
};
const ON_IMAGES: Row = Row { camera: Camera::IfAsked, ..QUESTION };
const ON_SUBJECTS: Row = Row { permission: Some(Permission::Subject), ..QUESTION };
const COMMAND_LINE: Row = Row { topics: Topics::None, ..QUESTION };

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $row:expr;)*) => {
        /// Something a client can ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// Every operation, in the order of the contract.
            pub const ALL: [Operation; [$(stringify!($name)),*].len()] = [$(Operation::$name),*];

            const fn row(self) -> Row {
                match self {
                    $(Operation::$name => $row,)*
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
        ..ON_IMAGES
    };
    /// 1:1 against one subject.
    Verify = Row {
        name: "verify",
        status_code: Some("FACE-301"),
        permission: Some(Permission::Verify),
        quota: Some(QuotaKind::Verify),
        ..ON_IMAGES
    };
    /// 1:N over the gallery.
    Search = Row {
        name: "search",
        status_code: Some("FACE-201"),
        permission: Some(Permission::Search),
        quota: Some(QuotaKind::Search),
        ..ON_IMAGES
    };
    /// Is this a live person.
    Liveness = Row {
        name: "liveness",
        status_code: Some("FACE-401"),
        permission: Some(Permission::Liveness),
        quota: Some(QuotaKind::Liveness),
        ..ON_IMAGES
    };
    /// 1:1 between two images.
    Compare = Row {
        name: "compare",
        status_code: Some("FACE-501"),
        permission: Some(Permission::Compare),
        quota: Some(QuotaKind::Verify),
        ..ON_IMAGES
    };
    /// Store several poses of the person before the camera.
    EnrollMode = Row {
        name: "enroll_mode",
        permission: Some(Permission::Enroll),
        quota: Some(QuotaKind::Enroll),
        camera: Camera::Always,
        is_change: true,
        needs_nothing: true,
        ..QUESTION
    };
    /// Who is enrolled, a page at a time.
    SubjectList = Row { name: "subject/list", needs_nothing: true, ..ON_SUBJECTS };
    /// One subject.
    SubjectGet = Row { name: "subject/get", ..ON_SUBJECTS };
    /// Change a subject's name, groups, card, validity.
    SubjectUpdate = Row { name: "subject/update", is_change: true, ..ON_SUBJECTS };
    /// Remove a subject with all its templates.
    SubjectDelete = Row { name: "subject/delete", is_change: true, ..ON_SUBJECTS };
    /// Pulse the strike.
    Unlock = Row {
        name: "unlock",
        permission: Some(Permission::Unlock),
        is_change: true,
        ..QUESTION
    };
    /// Counts and timings.
    Stats = Row { name: "stats", needs_nothing: true, ..QUESTION };
    /// Versions and states.
    Health = Row { name: "health", needs_nothing: true, ..QUESTION };
    /// Make an application.
    AppCreate = Row { name: "app/create", ..COMMAND_LINE };
    /// The applications and what they have used up.
    AppList = Row { name: "app/list", needs_nothing: true, ..COMMAND_LINE };
    /// Remove an application.
    AppRevoke = Row { name: "app/revoke", ..COMMAND_LINE };
    /// Give an application another key.
    AppRotate = Row { name: "app/rotate", ..COMMAND_LINE };
    /// Whether the audit log is as it was written.
    AuditVerify = Row { name: "audit/verify", needs_nothing: true, ..COMMAND_LINE };
    /// Lines of the audit log.
    AuditList = Row { name: "audit/list", needs_nothing: true, ..COMMAND_LINE };
    /// Give templates of other models the present model's vector of their stored crop.
    GalleryReindex = Row { name: "gallery/reindex", needs_nothing: true, ..COMMAND_LINE };
}

impl Operation {
    /// The name in the topic, behind `cmd/`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The operation of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The `status_code` of every 200 of the operations on images; the others have none.
    pub(super) fn status_code(self) -> Option<&'static str> {
        self.row().status_code
    }

    /// What a client must be allowed to do to ask for this; `None`: every client may ask.
    pub(crate) fn permission(self) -> Option<Permission> {
        self.row().permission
    }

    /// What a request spends, beside `liveness` where that is computed.
    pub(super) fn quota(self) -> Option<QuotaKind> {
        self.row().quota
    }

    /// Whether it takes pictures with the terminal's camera.
    pub(super) fn camera(self) -> Camera {
        self.row().camera
    }

    /// Whether it changes who may enter, or opens the door. Over a broker such an operation is done
    /// once, and not at all where strangers could ask for it; the others are questions.
    pub fn is_change(self) -> bool {
        self.row().is_change
    }

    /// Whether only the command line has this operation.
    pub(crate) fn is_local(self) -> bool {
        self.row().topics == Topics::None
    }

    /// Whether `{}`, or no payload at all, is a complete request.
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
    fn operations_that_change_who_may_enter_need_a_permission() {
        for operation in Operation::ALL {
            assert!(!operation.is_change() || operation.permission().is_some(), "{operation:?}");
        }
    }
}
