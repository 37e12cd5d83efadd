//! Certificates of the HTTP interface: reads the configured one, makes one that no authority signed.
//! The provider is ring; a private key is readable by its owner alone.

use crate::secret::Secret;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// A file is not PEM.
    #[error("{path} holds no {wanted} in PEM: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// The parser's error.
        reason: String,
    },
    /// Certificate and key do not fit.
    #[error("http.tls_cert and http.tls_key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Returns the settings of TLS with a certificate and its key.
pub fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |path: &Path| {
        let failed = |reason| TlsError::File { path: path.to_owned(), reason };
        fs::read(path).map_err(failed)
    };
    let pem = |path: &Path, wanted: &'static str, reason: String| {
        let path = path.to_owned();
        TlsError::Pem { path, wanted, reason }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(cert)?).collect();
    let chain = chain.map_err(|error| pem(cert, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(pem(cert, "certificate", "it has none".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| pem(key, "private key", error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate that was made.
pub struct Made {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
    /// SHA-256 of the certificate, in the usual form with colons.
    pub fingerprint: String,
}

/// Makes a certificate for these names and this address in `folder`, and replaces an earlier one.
pub fn make(folder: &Path, names: &[String], address: IpAddr) -> Result<Made, TlsError> {
    let mut all: Vec<String> = names.to_vec();
    all.push("localhost".to_owned());
    if !address.is_unspecified() {
        all.push(address.to_string());
    }
    all.dedup();
    let key_pair = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(all)?;
    let name = names.first().map_or("doorward", String::as_str);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key_pair)?;
    let (cert, key) = (folder.join("http.pem"), folder.join("http.key"));
    let private = Secret::from(key_pair.serialize_pem());
    write(&key, private.reveal().as_bytes())?;
    write(&cert, certificate.pem().as_bytes())?;
    let fingerprint = fingerprint(certificate.der());
    Ok(Made { cert, key, fingerprint })
}

/// Writes a file that only its owner reads, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let failed = |reason| TlsError::File { path: path.to_owned(), reason };
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

fn fingerprint(der: &[u8]) -> String {
    let bytes = Sha256::digest(der);
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_made_certificate_is_usable_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let made =
            make(folder.path(), &["front".to_owned()], "192.0.2.7".parse().unwrap()).unwrap();
        server(&made.cert, &made.key).unwrap();
        let mode = fs::metadata(&made.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(made.fingerprint.len(), 32 * 3 - 1);
        // Another one replaces it, and does not fit the first one's key.
        let kept = folder.path().join("kept.key");
        fs::copy(&made.key, &kept).unwrap();
        let again = make(folder.path(), &["front".to_owned()], "::".parse().unwrap()).unwrap();
        assert_ne!(made.fingerprint, again.fingerprint);
        assert!(matches!(server(&again.cert, &kept), Err(TlsError::Pair(_))));
        assert!(matches!(server(&again.key, &again.key), Err(TlsError::Pem { .. })));
    }
}
