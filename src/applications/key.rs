//! API keys: generating and hashing them.
//!
//! A key is 192 random bits, so one round of SHA-256 over a salt and the key is enough: a slow hash
//! protects only keys that can be guessed. The salt makes equal keys look different if a copy of
//! the file contains any.

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Prefix of every key, so that people and secret scanners recognise one.
const PREFIX: &str = "dwk_";
const KEY_BYTES: usize = 24;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// An API key in plain text: shown once, stored nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiKey(Secret);

impl ApiKey {
    /// Generates a key with the operating system's generator: `dwk_` and 32 characters of A–Z, a–z,
    /// 0–9, `-` and `_`.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()))
    }

    /// Returns the key, to be shown to the client that requested it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// The stored form of a key: a salt, and SHA-256 of salt and key. In the file as base64 of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct KeyHash {
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl KeyHash {
    /// A hash that no key has. The key of an unknown application is compared with it, so that it
    /// takes as long as a wrong key of a known one.
    pub const NO_KEY: Self = Self { salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };

    /// Hashes a key with a new salt.
    pub fn of(key: &ApiKey) -> Result<Self, getrandom::Error> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Ok(Self { salt, hash: digest(&salt, key.reveal()) })
    }

    /// Checks in constant time whether this is the hash of `key`.
    pub fn matches(&self, key: &str) -> bool {
        digest(&self.salt, key).ct_eq(&self.hash).into()
    }
}

fn digest(salt: &[u8; SALT_BYTES], key: &str) -> [u8; HASH_BYTES] {
    Sha256::new().chain_update(salt).chain_update(key).finalize().into()
}

impl From<KeyHash> for String {
    fn from(KeyHash { salt, hash }: KeyHash) -> Self {
        STANDARD.encode([&salt[..], &hash[..]].concat())
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        bytes
            .split_at_checked(SALT_BYTES)
            .and_then(|(salt, hash)| {
                Some(Self { salt: salt.try_into().ok()?, hash: hash.try_into().ok()? })
            })
            .ok_or("not the base64 of a salt and a hash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_matches_its_hash() {
        let (key, other) = (ApiKey::random().unwrap(), ApiKey::random().unwrap());
        assert_ne!(key, other);
        assert!(key.reveal().starts_with(PREFIX) && key.reveal().len() == 36, "{}", key.reveal());
        let hash = KeyHash::of(&key).unwrap();
        assert!(hash.matches(key.reveal()));
        for wrong in [other.reveal(), "", &key.reveal()[1..], &format!("{}x", key.reveal())] {
            assert!(!hash.matches(wrong), "{wrong}");
        }
        assert!(!KeyHash::NO_KEY.matches(key.reveal()) && !KeyHash::NO_KEY.matches(""));
    }

    #[test]
    fn equal_keys_have_different_hashes_and_both_survive_the_file() {
        let key = ApiKey::random().unwrap();
        let (one, two) = (KeyHash::of(&key).unwrap(), KeyHash::of(&key).unwrap());
        assert_ne!(one, two);
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains(&key.reveal()[PREFIX.len()..]));
        assert_eq!(serde_json::from_str::<KeyHash>(&text).unwrap(), one);
        for wrong in ["\"\"", "\"aGk=\"", "\"?\"", "7"] {
            assert!(serde_json::from_str::<KeyHash>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        let key = ApiKey::random().unwrap();
        assert!(!format!("{key:?}").contains(&key.reveal()[PREFIX.len()..]));
    }
}
