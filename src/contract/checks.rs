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

/// Indexed by n = 1 liveness + 2 attribute + 4 quality + 8 nface; 16 similarity, alone.
///
/// The two examples that the contract quotes from the original order their words differently: a
/// pair in ascending order of the bits, three in descending order. Pairs here are ascending, three
/// and four descending.
const MESSAGES: [&str; 17] = [
    "fail on nothing",
    "fail on liveness",
    "fail on attribute",
    "fail on liveness and attribute",
    "fail on quality",
    "fail on liveness and quality",
    "fail on attribute and quality",
    "fail on quality, attribute, and liveness",
    "fail on number of face (nface)",
    "fail on liveness and number of face (nface)",
    "fail on attribute and number of face (nface)",
    "fail on number of face (nface), attribute, and liveness",
    "fail on quality and number of face (nface)",
    "fail on number of face (nface), quality, and liveness",
    "fail on number of face (nface), quality, and attribute",
    "fail on number of face (nface), quality, attribute, and liveness",
    "fail on similarity",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_follows_the_rule() {
        const WORDS: [&str; 4] = ["liveness", "attribute", "quality", "number of face (nface)"];
        for n in 1u8..16 {
            let up: Vec<&str> =
                (0..4).filter(|bit| n & (1 << bit) != 0).map(|bit| WORDS[bit]).collect();
            let expected = match up.as_slice() {
                [one] => format!("fail on {one}"),
                [a, b] => format!("fail on {a} and {b}"),
                [last, rest @ ..] => {
                    let rest: Vec<&str> = rest.iter().rev().copied().collect();
                    format!("fail on {}, and {last}", rest.join(", "))
                }
                [] => unreachable!(),
            };
            assert_eq!(Failed(n).message(), expected, "n = {n}");
        }
    }

    #[test]
    fn the_contracts_own_examples() {
        assert_eq!(Failed(3).message(), "fail on liveness and attribute");
        assert_eq!(Failed(13).message(), "fail on number of face (nface), quality, and liveness");
        assert_eq!(Failed::SIMILARITY.message(), "fail on similarity");
        assert_eq!(Failed::SIMILARITY.code(), "FAIL_ON_16");
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
