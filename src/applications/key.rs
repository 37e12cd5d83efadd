//! API keys: how one is made, and what is kept of it.
//!
//! A key is 192 random bits, so one round of SHA-256 over a salt and the key is enough: there is
//! nothing to guess that a slow hash would have to protect. The salt makes equal keys, should a
//! copy of the file hold any, look different.

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every key begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "dwk_";
const KEY_BYTES: usize = 24;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// An API key in the clear: shown once, kept nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiKey(Secret);

impl ApiKey {
    /// A new one from the operating system's generator: `dwk_` and 32 characters of A–Z, a–z, 0–9,
    /// `-` and `_`.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()))
    }

    /// The key, for the one who asked for it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// What is kept of a key: a salt, and SHA-256 of salt and key. In the file as base64 of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct KeyHash {
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl KeyHash {
    /// The hash of no key: what the key of an unknown application is compared with, so that it takes
    /// as long as a wrong key of a known one.
    pub const NOBODY: Self = Self { salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };

    /// Of a key, with a salt of its own.
    pub fn of(key: &ApiKey) -> Result<Self, getrandom::Error> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Ok(Self { salt, hash: digest(&salt, key.reveal()) })
    }

    /// Whether this is the hash of `key`; takes the same time whatever the answer.
    pub fn is_of(&self, key: &str) -> bool {
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
    fn a_key_is_known_by_its_hash_and_no_other_is() {
        let (key, other) = (ApiKey::random().unwrap(), ApiKey::random().unwrap());
        assert_ne!(key, other);
        assert!(key.reveal().starts_with(PREFIX) && key.reveal().len() == 36, "{}", key.reveal());
        let hash = KeyHash::of(&key).unwrap();
        assert!(hash.is_of(key.reveal()));
        for wrong in [other.reveal(), "", &key.reveal()[1..], &format!("{}x", key.reveal())] {
            assert!(!hash.is_of(wrong), "{wrong}");
        }
        assert!(!KeyHash::NOBODY.is_of(key.reveal()) && !KeyHash::NOBODY.is_of(""));
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
    fn a_key_does_not_show_itself() {
        let key = ApiKey::random().unwrap();
        assert!(!format!("{key:?}").contains(&key.reveal()[PREFIX.len()..]));
    }
}
