//! Ids of subjects, groups, applications and clients.

/// Longest `subject_id` and group, in characters.
pub(crate) const MAX_ID: usize = 128;
/// The rule for an id, for a message.
pub(crate) const ID: &str = "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ - : @";

/// Checks whether a text is a valid id.
pub(crate) fn is_id(text: &str) -> bool {
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'@');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed)
}
