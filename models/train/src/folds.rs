//! Cross-validation: a group (a person, a source) is in one fold as a whole, so that no one is
//! judged by a model that has seen them.

use sha2::{Digest, Sha256};

/// Returns the fold of a group, from 0 to `folds` − 1: by the hash of its name, so that it does not
/// change when photographs are added.
pub fn fold(group: &str, folds: u64) -> u64 {
    let digest = Sha256::digest(group.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) % folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_spread_over_the_folds_and_keep_their_fold() {
        let folds: Vec<u64> = (0..500).map(|i| fold(&format!("person {i}"), 5)).collect();
        for wanted in 0..5 {
            let n = folds.iter().filter(|&&fold| fold == wanted).count();
            assert!((60..140).contains(&n), "{n} in fold {wanted}");
        }
        assert_eq!(fold("0001", 5), fold("0001", 5));
    }
}
