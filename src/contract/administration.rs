//! Requests of the operations on applications: `application/create`, `/list`, `/get`, `/update`,
//! `/rotate`, `/revoke`.

use super::field;
use super::id::{ID, is_id};
use super::operation::Operation;
use super::payload::Payload;
use super::permission::{Permission, UnknownPermission};
use super::quota::{self, BadQuota, Quota};
use super::raw::RawValue;
use super::refusal::Refusal;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest overlap of an old and a new key: enough to reach every client, and no second key for
/// ever.
const MOST_GRACE_SECONDS: f64 = 30.0 * 86_400.0;

/// The requested operation.
#[derive(Debug, PartialEq)]
pub(crate) enum Administration {
    Create(Creation),
    List,
    /// By id or name.
    Get(String),
    /// By id or name.
    Update(String, Alteration),
    /// By id or name; the old key stays valid for `grace`.
    Rotate {
        app: String,
        grace: Duration,
    },
    /// By id or name.
    Revoke(String),
}

impl Administration {
    /// Checks whether it changes something, and so waits for the disk.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::List | Self::Get(_))
    }
}

/// The properties of a new application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Creation {
    pub name: String,
    /// For testing mode; `None` for live mode.
    pub quota: Option<Quota>,
    pub allow: BTreeSet<Permission>,
}

/// Changes to an application: `None` leaves a property.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alteration {
    /// For testing mode; `Some(None)` for live mode.
    pub quota: Option<Option<Quota>>,
    /// Replaces all permissions.
    pub allow: Option<BTreeSet<Permission>>,
}

impl Payload<'_> {
    /// Reads the request; part of step 2.
    pub fn administration(&self) -> Result<Administration, Refusal> {
        match self.operation {
            Operation::ApplicationCreate => self.creation().map(Administration::Create),
            Operation::ApplicationUpdate => {
                Ok(Administration::Update(self.app()?, self.alteration()?))
            }
            Operation::ApplicationGet => self.app().map(Administration::Get),
            Operation::ApplicationRevoke => self.app().map(Administration::Revoke),
            Operation::ApplicationRotate => {
                Ok(Administration::Rotate { app: self.app()?, grace: self.grace()? })
            }
            _ => Ok(Administration::List),
        }
    }

    fn app(&self) -> Result<String, Refusal> {
        let missing =
            || Refusal::field(field::APP, "`app` must be the name or the id of an application");
        self.filled(field::APP).ok_or_else(missing)
    }

    fn grace(&self) -> Result<Duration, Refusal> {
        let seconds = self.number(field::GRACE_SECONDS).unwrap_or(0.0);
        if !(0.0..=MOST_GRACE_SECONDS).contains(&seconds) || seconds.fract() != 0.0 {
            let why = format!(
                "`grace_seconds` must be a whole number from 0 to {MOST_GRACE_SECONDS} (30 days)"
            );
            return Err(Refusal::field(field::GRACE_SECONDS, why));
        }
        Ok(Duration::from_secs(seconds as u64))
    }

    fn creation(&self) -> Result<Creation, Refusal> {
        let name = self.text(field::NAME).filter(|name| is_id(name));
        let name = name.ok_or_else(|| Refusal::field(field::NAME, format!("`name` {ID}")))?;
        let quota = self.quota(self.bool(field::TESTING))?;
        let allow = self.allow()?.unwrap_or_else(Permission::granted_unasked);
        Ok(Creation { name: name.to_owned(), quota, allow })
    }

    fn alteration(&self) -> Result<Alteration, Refusal> {
        let quota = match (self.maybe_bool(field::TESTING), self.texts(field::QUOTA)) {
            (None, None) => None,
            // A quota is what testing mode is.
            (testing, _) => Some(self.quota(testing.unwrap_or(true))?),
        };
        let alteration = Alteration { quota, allow: self.allow()? };
        if alteration == Alteration::default() {
            return Err(Refusal::payload("nothing is to be changed; give testing, quota or allow"));
        }
        Ok(alteration)
    }

    /// Reads the quota of an application in testing mode; `None` in live mode.
    fn quota(&self, testing: bool) -> Result<Option<Quota>, Refusal> {
        match (testing, self.texts(field::QUOTA)) {
            (false, None) => Ok(None),
            (true, None) => Ok(Some(quota::for_testing())),
            (true, Some(entries)) => {
                let bad = |error: BadQuota| Refusal::field(field::QUOTA, error.to_string());
                quota::parse(entries).map(Some).map_err(bad)
            }
            (false, Some(_)) => {
                let why = "only an application in testing mode has a quota; add `testing`";
                Err(Refusal::field(field::QUOTA, why))
            }
        }
    }

    fn allow(&self) -> Result<Option<BTreeSet<Permission>>, Refusal> {
        let bad = |error: UnknownPermission| Refusal::field(field::ALLOW, error.to_string());
        let names = self.texts(field::ALLOW);
        names.map(|names| names.iter().map(|name| name.parse()).collect()).transpose().map_err(bad)
    }

    fn texts(&self, name: &str) -> Option<&[String]> {
        match self.raw.get(name) {
            Some(RawValue::Texts(texts)) => Some(texts),
            _ => None,
        }
    }
}
