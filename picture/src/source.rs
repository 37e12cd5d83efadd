//! Parses the `image` field of a request: base64, a URL or the camera.
//!
//! Parsing allocates nothing and fetches nothing, so that a malformed request is refused before it
//! costs anything; only [`Base64::decode`] allocates.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Some clients pad and some do not, and some leave stray bits in the last character.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Where a picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The text holds the picture itself.
    Base64(Base64<'a>),
    /// An `http://` or `https://` address.
    Url(&'a str),
    /// `camera:`, the best frame the terminal sees.
    Camera,
}

/// Why a text is not a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Spaces where `+` was.
    #[error(
        "the base64 has spaces where `+` was: a form decodes `+` as a space; send JSON, or write + as %2B"
    )]
    LostPlus,
    /// Only white space, or a `data:` prefix without content.
    #[error("the image is empty: send base64, an http(s):// URL or camera:")]
    Empty,
    /// Neither base64 nor a known scheme.
    #[error(
        "the image is neither base64 (standard or URL-safe alphabet, data:…;base64, allowed) nor an http(s):// URL nor camera:"
    )]
    Unknown,
}

/// The base64 would decode to more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image has {bytes} bytes, the limit is {limit}: save it smaller or with a lower quality"
)]
pub struct TooLarge {
    /// Length after decoding.
    pub bytes: usize,
    /// The limit.
    pub limit: usize,
}

impl<'a> Source<'a> {
    /// Parses `text`. White space around it is ignored, and so is white space within base64, where
    /// mail programs and `base64(1)` break lines. The media type of a `data:` prefix is ignored:
    /// the content determines the kind of picture.
    pub fn parse(text: &'a str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text == "camera:" {
            return Ok(Self::Camera);
        }
        if has_prefix(text, "http://") || has_prefix(text, "https://") {
            return Ok(Self::Url(text));
        }
        let base64 = if has_prefix(text, "data:") {
            let (prefix, rest) = text.split_once(',').ok_or(SourceError::Unknown)?;
            let (_, encoding) = prefix.rsplit_once(';').ok_or(SourceError::Unknown)?;
            if !encoding.trim().eq_ignore_ascii_case("base64") {
                return Err(SourceError::Unknown);
            }
            rest
        } else {
            text
        };
        Base64::parse(base64).map(Self::Base64)
    }
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Text that was checked to be base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Base64<'a> {
    text: &'a str,
    /// Characters that carry six bits each: no white space, no padding.
    digits: usize,
    /// False if it has white space, or characters of the URL-safe alphabet.
    is_plain: bool,
}

impl<'a> Base64<'a> {
    fn parse(text: &'a str) -> Result<Self, SourceError> {
        let (mut digits, mut padding, mut is_plain) = (0, 0, true);
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {
                    digits += 1
                }
                b'-' | b'_' if padding == 0 => (digits, is_plain) = (digits + 1, false),
                b'=' => padding += 1,
                b' ' | b'\t' | b'\r' | b'\n' => is_plain = false,
                _ => return Err(SourceError::Unknown),
            }
        }
        if lost_plus(text) {
            return Err(SourceError::LostPlus);
        }
        match (digits, padding) {
            (0, 0) => Err(SourceError::Empty),
            _ if digits % 4 == 1 => Err(SourceError::Unknown),
            (_, 1 | 2) if (digits + padding) % 4 == 0 => Ok(Self { text, digits, is_plain }),
            (_, 0) => Ok(Self { text, digits, is_plain }),
            _ => Err(SourceError::Unknown),
        }
    }

    /// Returns the length after decoding, without decoding.
    pub fn decoded_len(&self) -> usize {
        self.digits / 4 * 3 + (self.digits % 4).saturating_sub(1)
    }

    /// Returns the bytes, if they are at most `limit`; allocates nothing for more.
    pub fn decode(&self, limit: usize) -> Result<Vec<u8>, TooLarge> {
        let bytes = self.decoded_len();
        if bytes > limit {
            return Err(TooLarge { bytes, limit });
        }
        let decoded = if self.is_plain {
            ENGINE.decode(self.text)
        } else {
            let dense = self.text.bytes().filter(|byte| !byte.is_ascii_whitespace());
            let standard = dense.map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            });
            ENGINE.decode(standard.collect::<Vec<u8>>())
        };
        // `parse` has checked every character, so decoding cannot fail. If it did, the result is
        // empty, and the picture decoder refuses it.
        debug_assert!(decoded.is_ok());
        Ok(decoded.unwrap_or_default())
    }
}

/// Checks for spaces that were `+`. Other spaces replace line breaks: then all lines but the last
/// have one length, a multiple of four.
fn lost_plus(text: &str) -> bool {
    let text = text.trim();
    if !text.contains(' ') || text.contains(['\r', '\n']) {
        return false;
    }
    let mut lines = text.split(' ');
    let first = lines.next().unwrap_or_default().len();
    let last = lines.next_back().unwrap_or_default().len();
    // Of one lost `+` alone, the groups of four do not come out even.
    let uneven = !first.is_multiple_of(4) || !last.is_multiple_of(4);
    uneven || first == 0 || last > first || lines.any(|line| line.len() != first)
}

impl std::fmt::Debug for Base64<'_> {
    /// Prints only the length: pictures of faces do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base64({} bytes)", self.decoded_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn bytes(text: &str) -> Result<Vec<u8>, SourceError> {
        match Source::parse(text)? {
            Source::Base64(base64) => {
                let bytes = base64.decode(100).unwrap();
                assert_eq!(bytes.len(), base64.decoded_len());
                Ok(bytes)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn base64_in_the_forms_clients_send() {
        for text in [
            "Zm9vYmE=",
            "Zm9vYmE",
            " Zm9v\r\nYmE=\n",
            "Zm9vYmF=",
            "data:image/jpeg;base64,Zm9vYmE=",
            "DATA:;BASE64,Zm9vYmE",
            "data:image/png;name=a.png;base64,\nZm9vYmE=",
            "Zm9v YmE=",
        ] {
            assert_eq!(bytes(text).unwrap(), b"fooba", "{text:?}");
        }
    }

    #[test]
    fn invalid_base64_is_refused() {
        for text in [
            "not base64!",
            "Zm9vY",
            "Zm9v=YmE",
            "Zm9vYmE==",
            "Zm9v====",
            "====",
            "data:image/jpeg,Zm9v",
            "data:image/jpeg;base64",
            "data:text/plain;charset=utf-8,hello",
            "data:;base64,%5A",
            "ftp://host/a.jpg",
            "file:///etc/passwd",
            "camera:1",
            "Zm\u{a0}9v",
            "http:/host",
        ] {
            assert_eq!(Source::parse(text), Err(SourceError::Unknown), "{text:?}");
        }
    }

    #[test]
    fn the_url_safe_alphabet_is_read_too() {
        let all: Vec<u8> = (0..=255).rev().collect();
        for engine in [base64::engine::general_purpose::URL_SAFE, URL_SAFE_NO_PAD] {
            let text = engine.encode(&all);
            let Ok(Source::Base64(base64)) = Source::parse(&text) else { panic!() };
            assert_eq!(base64.decode(256).unwrap(), all);
        }
    }

    /// 0xFB, 0xEF, 0xBE is `++++` in base64; a form turns it into four spaces.
    #[test]
    fn a_plus_that_a_form_decoded_is_named() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
        bytes[600..603].copy_from_slice(&[0xFB, 0xEF, 0xBE]);
        let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let posted = encoded.replace('+', " ");
        assert_eq!(Source::parse(&posted), Err(SourceError::LostPlus));
        assert_eq!(Source::parse("Zm9vYmFy fo="), Err(SourceError::LostPlus));
        assert_eq!(Source::parse("Zm9v  YmE="), Err(SourceError::LostPlus));
        // Lines that a shell joined by spaces stay readable.
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let joined = lines.join(" ");
        let Ok(Source::Base64(base64)) = Source::parse(&joined) else { panic!() };
        assert_eq!(base64.decode(3000).unwrap(), bytes);
    }

    #[test]
    fn empty_text_has_its_own_error() {
        for text in ["", " \n", "data:image/png;base64,", "data:;base64, \n"] {
            assert_eq!(Source::parse(text), Err(SourceError::Empty), "{text:?}");
        }
    }

    #[test]
    fn schemes() {
        assert_eq!(Source::parse(" camera: "), Ok(Source::Camera));
        assert_eq!(Source::parse("HTTPS://h/a.jpg"), Ok(Source::Url("HTTPS://h/a.jpg")));
        assert_eq!(Source::parse("http://h\n"), Ok(Source::Url("http://h")));
    }

    #[test]
    fn the_limit_is_on_decoded_bytes() {
        let text = "A".repeat(400) + "AAA=";
        let Ok(Source::Base64(base64)) = Source::parse(&text) else { panic!("base64") };
        assert_eq!(base64.decode(302).map(|b| b.len()), Ok(302));
        assert_eq!(base64.decode(301), Err(TooLarge { bytes: 302, limit: 301 }));
    }
}
