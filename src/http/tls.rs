//! Certificates of the HTTP interface: reads the configured one, makes one that no authority
//! signed. The provider is ring; a private key that is made here is readable by its owner alone,
//! and one that all users can read is reported.

use crate::secret::Secret;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
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
    let mode = fs::metadata(key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        tracing::warn!("all users can read {}; chmod 640 it", key.display());
    }
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
    // Both are on disk before one takes the place of an earlier one.
    let new_key = write(&key, private.reveal().as_bytes())?;
    let new_cert = write(&cert, certificate.pem().as_bytes())?;
    for (new, path) in [(new_key, &key), (new_cert, &cert)] {
        let failed = |reason| TlsError::File { path: path.clone(), reason };
        fs::rename(new, path).map_err(failed)?;
    }
    let failed = |reason| TlsError::File { path: folder.to_owned(), reason };
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    let fingerprint = fingerprint(certificate.der());
    Ok(Made { cert, key, fingerprint })
}

/// Writes what is to become the file `path`, readable by its owner alone: the owner of the folder,
/// as which the daemon runs.
fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, TlsError> {
    let failed = |reason| TlsError::File { path: path.to_owned(), reason };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    if let Some(folder) = path.parent() {
        let owner = fs::metadata(folder).map_err(failed)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    }
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(new)
}

fn fingerprint(der: &[u8]) -> String {
    let bytes = Sha256::digest(der);
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

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
