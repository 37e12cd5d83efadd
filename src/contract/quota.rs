//! The kinds of request that are counted for an application in testing mode, and the quota syntax
//! of the command line.
//!
//! | request | uses |
//! |---|---|
//! | enroll, enroll_mode | enroll |
//! | verify, compare | verify |
//! | search | search |
//! | liveness, and any of the above that computes liveness | liveness |

use std::str::FromStr;
use strum::{IntoStaticStr, VariantArray};

/// A kind of request that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum QuotaKind {
    Enroll,
    Verify,
    Search,
    Liveness,
}

impl QuotaKind {
    /// Every kind.
    pub const ALL: &[QuotaKind] = QuotaKind::VARIANTS;

    /// Returns the name on the command line and in answers.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A number of requests for each named kind.
pub(crate) type Quota = Vec<(QuotaKind, u32)>;

/// An invalid quota.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuota {
    #[error("`{0}` is not KIND=NUMBER, as in search=100, with enroll, verify, search or liveness")]
    Form(String),
    #[error("`{0}` is given twice")]
    Twice(&'static str),
}

/// Returns the default quota of an application in testing mode.
pub(super) fn for_testing() -> Quota {
    QuotaKind::ALL.iter().map(|&kind| (kind, 100)).collect()
}

/// Reads `search=100`, `verify=50`, …
pub(super) fn parse(entries: &[impl AsRef<str>]) -> Result<Quota, BadQuota> {
    let mut quota = Quota::new();
    for entry in entries {
        let entry = entry.as_ref();
        let form = || BadQuota::Form(entry.to_owned());
        let (name, number) = entry.split_once('=').ok_or_else(form)?;
        let kind =
            QuotaKind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(form)?;
        if quota.iter().any(|(named, _)| *named == kind) {
            return Err(BadQuota::Twice(kind.name()));
        }
        quota.push((kind, u32::from_str(number).map_err(|_| form())?));
    }
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read() {
        let expected = vec![(QuotaKind::Search, 100), (QuotaKind::Verify, 0)];
        assert_eq!(parse(&["search=100", "verify=0"]), Ok(expected));
        for wrong in ["search", "search=", "search=-1", "search=1.5", "compare=1", "=1", ""] {
            assert_eq!(parse(&[wrong]), Err(BadQuota::Form(wrong.into())));
        }
        assert_eq!(parse(&["search=1", "search=2"]), Err(BadQuota::Twice("search")));
    }
}
