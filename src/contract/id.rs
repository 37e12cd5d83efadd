//! What names a subject, a group, an application or a client.

/// Longest `subject_id` and group, in characters.
const MAX_ID: usize = 128;
/// What an id is, for a message.
pub(crate) const ID: &str = "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ - : @";

/// Whether a text is fit to name a subject or a group.
pub(crate) fn is_id(text: &str) -> bool {
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'@');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed)
}
