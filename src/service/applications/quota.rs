//! What an application in testing mode may use up: a number of requests of each kind.
//!
//! | request | spends |
//! |---|---|
//! | enroll, enroll_mode | enroll |
//! | verify, compare | verify |
//! | search | search |
//! | liveness, and any of the above that computes liveness | liveness |

use super::super::operation::Operation;
use super::super::poses::PosesRequest;
use super::super::valid::FaceRequest;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A kind of request that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Kind {
    Enroll,
    Verify,
    Search,
    Liveness,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Enroll, Kind::Verify, Kind::Search, Kind::Liveness];

    /// The name on the command line and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Enroll => "enroll",
            Kind::Verify => "verify",
            Kind::Search => "search",
            Kind::Liveness => "liveness",
        }
    }
}

impl FaceRequest {
    /// What this request spends, each kind once; the first is what it is named after.
    pub(in crate::service) fn spends(&self, operation: Operation) -> Vec<Kind> {
        let kind = match operation {
            Operation::Enroll => Some(Kind::Enroll),
            Operation::Verify | Operation::Compare => Some(Kind::Verify),
            Operation::Search => Some(Kind::Search),
            _ => None,
        };
        let liveness = self.checks.is_liveness || operation == Operation::Liveness;
        kind.into_iter().chain(liveness.then_some(Kind::Liveness)).collect()
    }
}

impl PosesRequest {
    /// What this request spends.
    pub(in crate::service) fn spends(&self) -> Vec<Kind> {
        [Kind::Enroll].into_iter().chain(self.is_liveness.then_some(Kind::Liveness)).collect()
    }
}

/// A number of requests for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct Amounts {
    enroll: u64,
    verify: u64,
    search: u64,
    liveness: u64,
}

/// A quota that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::service) enum BadQuota {
    #[error("`{0}` is not KIND=NUMBER, as in search=100, with enroll, verify, search or liveness")]
    Form(String),
    #[error("`{0}` is given twice")]
    Twice(&'static str),
}

impl Amounts {
    /// What an application in testing mode gets when nothing else is said.
    pub const FOR_TESTING: Self = Self { enroll: 100, verify: 100, search: 100, liveness: 100 };

    /// Of `search=100`, `verify=50`, …: a kind that is not named gets nothing.
    pub fn parse(entries: &[impl AsRef<str>]) -> Result<Self, BadQuota> {
        let mut amounts = Self::default();
        let mut named = Vec::new();
        for entry in entries {
            let entry = entry.as_ref();
            let form = || BadQuota::Form(entry.to_owned());
            let (name, number) = entry.split_once('=').ok_or_else(form)?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(form)?;
            if named.contains(&kind) {
                return Err(BadQuota::Twice(kind.name()));
            }
            named.push(kind);
            *amounts.of_mut(kind) = u32::from_str(number).map_err(|_| form())?.into();
        }
        Ok(amounts)
    }

    /// The number of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Enroll => self.enroll,
            Kind::Verify => self.verify,
            Kind::Search => self.search,
            Kind::Liveness => self.liveness,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Enroll => &mut self.enroll,
            Kind::Verify => &mut self.verify,
            Kind::Search => &mut self.search,
            Kind::Liveness => &mut self.liveness,
        }
    }

    /// Adds one of each of `kinds`, or nothing and tells the first of which `quota` has none left.
    pub fn spend(&mut self, kinds: &[Kind], quota: &Amounts) -> Result<(), Kind> {
        if let Some(short) = kinds.iter().find(|&&kind| self.of(kind) >= quota.of(kind)) {
            return Err(*short);
        }
        self.add(kinds);
        Ok(())
    }

    /// Adds one of each of `kinds`.
    pub fn add(&mut self, kinds: &[Kind]) {
        for &kind in kinds {
            *self.of_mut(kind) += 1;
        }
    }

    /// These less `others`, none below 0.
    pub fn without(mut self, others: &Amounts) -> Self {
        for kind in Kind::ALL {
            let left = self.of(kind).saturating_sub(others.of(kind));
            *self.of_mut(kind) = left;
        }
        self
    }

    /// Takes one of each of `kinds` back.
    pub fn give_back(&mut self, kinds: &[Kind]) {
        for &kind in kinds {
            let used = self.of_mut(kind);
            *used = used.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_and_what_is_not_named_is_nothing() {
        let quota = Amounts::parse(&["search=100", "verify=0"]).unwrap();
        assert_eq!(Kind::ALL.map(|kind| quota.of(kind)), [0, 0, 100, 0]);
        for wrong in ["search", "search=", "search=-1", "search=1.5", "compare=1", "=1", ""] {
            assert_eq!(Amounts::parse(&[wrong]), Err(BadQuota::Form(wrong.into())));
        }
        assert_eq!(Amounts::parse(&["search=1", "search=2"]), Err(BadQuota::Twice("search")));
    }

    #[test]
    fn all_kinds_are_spent_or_none() {
        let quota = Amounts::parse(&["search=2", "liveness=1"]).unwrap();
        let both = [Kind::Search, Kind::Liveness];
        let mut used = Amounts::default();
        assert_eq!(used.spend(&both, &quota), Ok(()));
        assert_eq!(used.spend(&both, &quota), Err(Kind::Liveness));
        assert_eq!((used.of(Kind::Search), used.of(Kind::Liveness)), (1, 1));
        assert_eq!(used.spend(&[Kind::Search], &quota), Ok(()));
        // The one that the request is named after is told first.
        assert_eq!(used.spend(&both, &quota), Err(Kind::Search));
        used.give_back(&both);
        assert_eq!(used.spend(&both, &quota), Ok(()));
        assert_eq!(used.spend(&[Kind::Enroll], &quota), Err(Kind::Enroll));
    }
}
