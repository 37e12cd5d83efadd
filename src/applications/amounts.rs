//! Numbers of requests of each kind: the quota of an application in testing mode, and its usage.

use crate::contract::{Quota, QuotaKind};
use serde::{Deserialize, Serialize};

/// A number of requests for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amounts {
    enroll: u64,
    verify: u64,
    search: u64,
    liveness: u64,
}

impl From<&Quota> for Amounts {
    /// A kind that is not named gets 0.
    fn from(quota: &Quota) -> Self {
        let mut amounts = Self::default();
        for &(kind, number) in quota {
            *amounts.of_mut(kind) = number.into();
        }
        amounts
    }
}

impl Amounts {
    /// Returns the number of one kind.
    pub fn of(&self, kind: QuotaKind) -> u64 {
        match kind {
            QuotaKind::Enroll => self.enroll,
            QuotaKind::Verify => self.verify,
            QuotaKind::Search => self.search,
            QuotaKind::Liveness => self.liveness,
        }
    }

    fn of_mut(&mut self, kind: QuotaKind) -> &mut u64 {
        match kind {
            QuotaKind::Enroll => &mut self.enroll,
            QuotaKind::Verify => &mut self.verify,
            QuotaKind::Search => &mut self.search,
            QuotaKind::Liveness => &mut self.liveness,
        }
    }

    /// Adds one of each of `kinds`; if `quota` has none left of some kind, adds nothing and returns
    /// the first such kind.
    pub fn spend(&mut self, kinds: &[QuotaKind], quota: &Amounts) -> Result<(), QuotaKind> {
        if let Some(short) = kinds.iter().find(|&&kind| self.of(kind) >= quota.of(kind)) {
            return Err(*short);
        }
        self.add(kinds);
        Ok(())
    }

    /// Returns the sum with `others`.
    pub fn plus(self, others: &Amounts) -> Self {
        self.combined(others, u64::saturating_add)
    }

    /// Adds one of each of `kinds`.
    pub fn add(&mut self, kinds: &[QuotaKind]) {
        for &kind in kinds {
            *self.of_mut(kind) += 1;
        }
    }

    /// Subtracts `others`, never below 0.
    pub fn without(self, others: &Amounts) -> Self {
        self.combined(others, u64::saturating_sub)
    }

    fn combined(mut self, others: &Amounts, operation: fn(u64, u64) -> u64) -> Self {
        for &kind in QuotaKind::ALL {
            *self.of_mut(kind) = operation(self.of(kind), others.of(kind));
        }
        self
    }

    /// Subtracts one of each of `kinds`.
    pub fn give_back(&mut self, kinds: &[QuotaKind]) {
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
    fn a_kind_that_is_not_named_has_quota_zero() {
        let quota = Amounts::from(&vec![(QuotaKind::Search, 100), (QuotaKind::Verify, 0)]);
        let amounts: Vec<_> = QuotaKind::ALL.iter().map(|&kind| quota.of(kind)).collect();
        assert_eq!(amounts, [0, 0, 100, 0]);
    }

    #[test]
    fn all_kinds_are_spent_or_none() {
        let quota = Amounts::from(&vec![(QuotaKind::Search, 2), (QuotaKind::Liveness, 1)]);
        let both = [QuotaKind::Search, QuotaKind::Liveness];
        let mut used = Amounts::default();
        assert_eq!(used.spend(&both, &quota), Ok(()));
        assert_eq!(used.spend(&both, &quota), Err(QuotaKind::Liveness));
        assert_eq!((used.of(QuotaKind::Search), used.of(QuotaKind::Liveness)), (1, 1));
        assert_eq!(used.spend(&[QuotaKind::Search], &quota), Ok(()));
        // The kind that the request is named after is reported first.
        assert_eq!(used.spend(&both, &quota), Err(QuotaKind::Search));
        used.give_back(&both);
        assert_eq!(used.spend(&both, &quota), Ok(()));
        assert_eq!(used.spend(&[QuotaKind::Enroll], &quota), Err(QuotaKind::Enroll));
    }
}
