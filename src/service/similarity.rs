//! Formats the similarity in an answer.

/// Truncates to two decimals, without rounding, so that a value below a threshold is never shown as
/// reaching it. Decisions use the full value.
pub(super) fn shown(similarity: f64) -> f64 {
    (similarity * 100.0).floor() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_not_shown_as_a_pass() {
        assert_eq!(shown(81.999_9), 81.99);
        assert_eq!(shown(82.0), 82.0);
        assert_eq!(shown(100.0), 100.0);
    }
}
