//! The contract between a client and the service: raw request → valid request; operations, codes,
//! answers.
//!
//! | step | where |
//! |---|---|
//! | read the fields as sent | `raw` |
//! | validate them, in the contract's order (steps 2 to 6) | `payload`, `valid`, `image`, `change`, `administration`, `audit`, by the table in `fields` |
//! | name the error | `refusal`, `checks` |
//! | write the answer | `reply`, from the fields in `answer_fields` |
//! | read the answer | `answer`, `read` |
//!
//! Only this module spells fields, codes and messages. It must never have side effects: it has no
//! access to gallery, network or clock; the caller passes in the data it needs (`Context`,
//! `Stamp`).

mod administration;
pub(crate) mod advice;
mod answer;
pub(crate) mod answer_fields;
mod audit;
mod body;
mod change;
mod checks;
mod envelope;
pub mod field;
mod fields;
mod id;
mod image;
mod mode;
mod openapi;
mod operation;
mod payload;
mod permission;
mod quota;
mod raw;
mod read;
mod refusal;
mod reply;
mod request;
mod route;
mod valid;

pub use answer::{Answer, Outcome};
pub use answer_fields::{DuplicateOf, Match, SubjectBlock, SubjectPage};
pub use body::Body;
pub(crate) use body::without_bom;
pub use mode::Mode;
pub use operation::Operation;
pub use permission::{Permission, UnknownPermission};
pub use raw::MAX_REQUEST_ID;
pub use read::{AuditPage, Matches, NotEmbedded, Reindexed, Templates};
pub use request::{Caller, Credentials, Request, Sender};
pub use route::{Method, Route};

pub(crate) use administration::{Administration, Alteration, Creation};
pub(crate) use audit::{AuditFilter, AuditQuery};
pub(crate) use change::Change;
pub(crate) use checks::Failed;
pub(crate) use envelope::Envelope;
pub(crate) use field::ImageField;
pub(crate) use id::{MAX_ID, is_id};
pub(crate) use image::{Image, Source};
pub(crate) use openapi::openapi;
pub(crate) use quota::{Quota, QuotaKind};
pub(crate) use raw::Raw;
pub(crate) use refusal::Refusal;
pub(crate) use reply::{Reply, Stamp};
pub(crate) use request::{API_KEY, APP_ID};
pub(crate) use valid::{
    Checks, Context, FaceRequest, Level, Portion, PosesRequest, Task, Valid, validate,
};
