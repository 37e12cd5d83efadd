//! The secret of a webhook, and the signature made with it: HMAC-SHA256 over
//! `id.timestamp.body`, as Standard Webhooks defines it.

use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// Shortest and longest key in bytes, by Standard Webhooks.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A checked secret; `Debug` shows a mask.
#[derive(Clone, Debug)]
pub(super) struct SigningKey(Secret);

impl SigningKey {
    /// Reads `whsec_` and base64; `None` for any other text.
    pub fn read(secret: &Secret) -> Option<Self> {
        let key = Self(secret.clone());
        key.bytes().filter(|bytes| KEY_BYTES.contains(&bytes.len())).map(|_| key)
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.0.reveal().strip_prefix(PREFIX)?).ok()
    }

    /// Returns the header `webhook-signature` of a message; `timestamp` in Unix seconds.
    pub fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let key = self.bytes().unwrap_or_default();
        let mac = Hmac::<Sha256>::new_from_slice(&key);
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let key = SigningKey::read(&secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = key.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn other_secrets_are_refused_and_none_is_printed() {
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        let key = SigningKey::read(&secret(&good)).unwrap();
        assert!(!format!("{key:?}").contains("Bwc"), "{key:?}");
        for (wrong, bytes) in [("whsec_", 0), ("", 32), ("whsec_", 23), ("whsec_", 65)] {
            let text = format!("{wrong}{}", STANDARD.encode(vec![7; bytes]));
            assert!(SigningKey::read(&secret(&text)).is_none(), "{text}");
        }
        assert!(SigningKey::read(&secret("whsec_not base64 at all, whatever it is")).is_none());
    }
}
