//! Requests of the operations on applications: `app/create`, `app/list`, `app/revoke`,
//! `app/rotate`.

use super::field;
use super::id::{ID, is_id};
use super::operation::Operation;
use super::payload::Payload;
use super::permission::{Permission, UnknownPermission};
use super::quota::{self, BadQuota, Quota};
use super::raw::RawValue;
use super::refusal::Refusal;
use std::collections::BTreeSet;

/// The requested operation.
#[derive(Debug, PartialEq)]
pub(crate) enum Administration {
    Create(Creation),
    List,
    /// By id or name.
    Revoke(String),
    /// By id or name.
    Rotate(String),
}

/// The properties of a new application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Creation {
    pub name: String,
    /// For testing mode; `None` for live mode.
    pub quota: Option<Quota>,
    pub allow: BTreeSet<Permission>,
}

impl Payload<'_> {
    /// Reads the request; part of step 2.
    pub fn administration(&self) -> Result<Administration, Refusal> {
        match self.operation {
            Operation::AppCreate => self.creation().map(Administration::Create),
            Operation::AppRevoke => self.app().map(Administration::Revoke),
            Operation::AppRotate => self.app().map(Administration::Rotate),
            _ => Ok(Administration::List),
        }
    }

    fn app(&self) -> Result<String, Refusal> {
        let missing =
            || Refusal::field(field::APP, "`app` must be the name or the id of an application");
        self.filled(field::APP).ok_or_else(missing)
    }

    fn creation(&self) -> Result<Creation, Refusal> {
        let name = self.text(field::NAME).filter(|name| is_id(name));
        let name = name.ok_or_else(|| Refusal::field(field::NAME, format!("`name` {ID}")))?;
        let quota = match (self.bool(field::TESTING), self.texts(field::QUOTA)) {
            (false, None) => None,
            (true, None) => Some(quota::for_testing()),
            (true, Some(entries)) => {
                let bad = |error: BadQuota| Refusal::field(field::QUOTA, error.to_string());
                Some(quota::parse(entries).map_err(bad)?)
            }
            (false, Some(_)) => {
                let why = "only an application in testing mode has a quota; add `testing`";
                return Err(Refusal::field(field::QUOTA, why));
            }
        };
        let allow = match self.texts(field::ALLOW) {
            None => Permission::granted_unasked(),
            Some(names) => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, UnknownPermission>>()
                .map_err(|error| Refusal::field(field::ALLOW, error.to_string()))?,
        };
        Ok(Creation { name: name.to_owned(), quota, allow })
    }

    fn texts(&self, name: &str) -> Option<&[String]> {
        match self.raw.get(name) {
            Some(RawValue::Texts(texts)) => Some(texts),
            _ => None,
        }
    }
}
