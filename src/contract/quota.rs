//! The kinds of request that are counted for an application in testing mode, and a quota of them as
//! the command line writes it.
//!
//! | request | spends |
//! |---|---|
//! | enroll, enroll_mode | enroll |
//! | verify, compare | verify |
//! | search | search |
//! | liveness, and any of the above that computes liveness | liveness |

use std::str::FromStr;

/// A kind of request that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaKind {
    Enroll,
    Verify,
    Search,
    Liveness,
}

impl QuotaKind {
    /// Every kind.
    pub const ALL: [QuotaKind; 4] =
        [QuotaKind::Enroll, QuotaKind::Verify, QuotaKind::Search, QuotaKind::Liveness];

    /// The name on the command line and in answers.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKind::Enroll => "enroll",
            QuotaKind::Verify => "verify",
            QuotaKind::Search => "search",
            QuotaKind::Liveness => "liveness",
        }
    }
}

/// A number of requests for each kind that is named.
pub(crate) type Quota = Vec<(QuotaKind, u32)>;

/// A quota that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuota {
    #[error("`{0}` is not KIND=NUMBER, as in search=100, with enroll, verify, search or liveness")]
    Form(String),
    #[error("`{0}` is given twice")]
    Twice(&'static str),
}

/// The quota of an application in testing mode for which none is given.
pub(super) fn for_testing() -> Quota {
    QuotaKind::ALL.map(|kind| (kind, 100)).to_vec()
}

/// Reads `search=100`, `verify=50`, …
pub(super) fn parse(entries: &[impl AsRef<str>]) -> Result<Quota, BadQuota> {
    let mut quota = Quota::new();
    for entry in entries {
        let entry = entry.as_ref();
        let form = || BadQuota::Form(entry.to_owned());
        let (name, number) = entry.split_once('=').ok_or_else(form)?;
        let kind = QuotaKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(form)?;
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
