//! The `validate_*` checks and their sum: the failed ones are the `n` of `FAIL_ON_n`.

/// The failed checks, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed(u8);

impl Failed {
    /// The face is not of a live person.
    pub const LIVENESS: Failed = Failed(1);
    /// Sunglasses or a mask.
    pub const ATTRIBUTE: Failed = Failed(2);
    /// Blur, darkness or missing colour.
    pub const QUALITY: Failed = Failed(4);
    /// More than one face.
    pub const NFACE: Failed = Failed(8);
    /// The faces are of different people; always alone, because it is checked after the others.
    pub const SIMILARITY: Failed = Failed(16);

    /// Checks that no check failed.
    pub fn none(self) -> bool {
        self.0 == 0
    }

    /// Adds a check if it failed.
    #[must_use]
    pub fn and(self, check: Failed, failed: bool) -> Failed {
        if failed { Failed(self.0 | check.0) } else { self }
    }

    /// Returns `FAIL_ON_n`.
    pub fn code(self) -> String {
        format!("FAIL_ON_{}", self.0)
    }

    /// Returns the meaning in words.
    pub fn message(self) -> &'static str {
        MESSAGES[usize::from(self.0)]
    }
}

/// The original's messages, which clients compare to the letter. Indexed by n = 1 liveness +
/// 2 attribute + 4 quality + 8 nface; 16 similarity, alone. The words follow no rule.
const MESSAGES: [&str; 17] = [
    "fail on nothing",
    "fail on liveness",
    "fail on attribute",
    "fail on liveness and attribute",
    "fail on quality",
    "fail on liveness and quality",
    "fail on attribute and quality",
    "fail on liveness, attribute, and quality",
    "fail on number of face (nface)",
    "fail on number of face (nface) and liveness",
    "fail on number of face (nface) and attribute",
    "fail on number of face (nface), attribute, and liveness",
    "fail on number of face (nface) and quality",
    "fail on number of face (nface), quality, and liveness",
    "fail on number of face (nface), quality, and attribute",
    "fail on number of face (nface), quality, attribute, and liveness",
    "fail on similarity status",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the original, written out a second time: a message that is edited by mistake
    /// breaks clients that compare it.
    #[test]
    fn every_message_is_the_originals() {
        let table = "\
            1 fail on liveness
            2 fail on attribute
            3 fail on liveness and attribute
            4 fail on quality
            5 fail on liveness and quality
            6 fail on attribute and quality
            7 fail on liveness, attribute, and quality
            8 fail on number of face (nface)
            9 fail on number of face (nface) and liveness
            10 fail on number of face (nface) and attribute
            11 fail on number of face (nface), attribute, and liveness
            12 fail on number of face (nface) and quality
            13 fail on number of face (nface), quality, and liveness
            14 fail on number of face (nface), quality, and attribute
            15 fail on number of face (nface), quality, attribute, and liveness
            16 fail on similarity status";
        assert_eq!(table.lines().count(), 16);
        for line in table.lines() {
            let (n, message) = line.trim().split_once(' ').unwrap();
            let failed = Failed(n.parse().unwrap());
            assert_eq!((failed.message(), failed.code()), (message, format!("FAIL_ON_{n}")));
        }
        assert_eq!(Failed::SIMILARITY.message(), "fail on similarity status");
    }

    #[test]
    fn checks_add_up() {
        let failed = Failed::default();
        assert!(failed.none());
        let failed = failed.and(Failed::QUALITY, true).and(Failed::NFACE, true);
        assert_eq!(failed.code(), "FAIL_ON_12");
        assert_eq!(failed.and(Failed::NFACE, false), failed);
    }
}
