//! The clients' login for the embedded broker: made at the first start, kept in the data directory,
//! read by `doorward call`.

use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "broker-login.toml";
const USERNAME: &str = "doorward";
const PASSWORD_LENGTH: usize = 32;
/// 64 characters, so that six random bits choose one without bias: 192 bits per password.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Name and password for the embedded broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `doorward`; the terminal's own user name is another.
    pub username: String,
    /// 32 random characters.
    pub password: Secret,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No file: no daemon with an embedded broker has run on this directory.
    #[error("{0:?} does not exist: start `doorward run` first, it makes the login")]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("{path:?}: {source}; it must belong to the user that runs doorward")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file does not hold a login.
    #[error("{0:?} holds no login: delete it, the next start makes a new one")]
    Malformed(PathBuf),
    /// No randomness.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    username: String,
    password: String,
}

impl Login {
    /// Reads the login below `data_dir`.
    pub fn read(data_dir: &Path) -> Result<Self, LoginError> {
        let path = data_dir.join(FILE_NAME);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => LoginError::Missing(path.clone()),
            _ => LoginError::Io { path: path.clone(), source },
        })?;
        match toml::from_str::<Stored>(&text) {
            Ok(Stored { username, password }) if !username.is_empty() && !password.is_empty() => {
                Ok(Self { username, password: password.into() })
            }
            // The error of the parser would quote the line with the password.
            _ => Err(LoginError::Malformed(path)),
        }
    }

    /// Reads the login below `data_dir`, or makes one (file mode 0600) if there is none.
    pub fn read_or_make(data_dir: &Path) -> Result<Self, LoginError> {
        match Self::read(data_dir) {
            Err(LoginError::Missing(path)) => {
                let login = Self::random(USERNAME)?;
                login.write(&path).map_err(|source| LoginError::Io { path, source })?;
                Ok(login)
            }
            result => result,
        }
    }

    /// Makes a random login and does not store it.
    pub(crate) fn random(username: &str) -> Result<Self, LoginError> {
        let mut bytes = [0; PASSWORD_LENGTH];
        getrandom::fill(&mut bytes).map_err(LoginError::Random)?;
        let password: String =
            bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
        Ok(Self { username: username.into(), password: password.into() })
    }

    /// Writes the file whole or not at all: written next to the target, flushed to disk, then
    /// renamed.
    fn write(&self, path: &Path) -> io::Result<()> {
        let stored =
            Stored { username: self.username.clone(), password: self.password.reveal().into() };
        let text = toml::to_string(&stored).map_err(io::Error::other)?;
        let draft = path.with_extension("toml.new");
        // A draft left by a crash would keep its mode and owner.
        if let Err(error) = fs::remove_file(&draft)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_login_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Login::read(dir.path()), Err(LoginError::Missing(_))));
        let made = Login::read_or_make(dir.path()).unwrap();
        assert_eq!(made.username, "doorward");
        assert_eq!(made.password.reveal().len(), 32);
        assert_eq!(Login::read_or_make(dir.path()).unwrap(), made);
        assert_eq!(Login::read(dir.path()).unwrap(), made);
        let mode = fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(Login::random("a").unwrap(), Login::random("a").unwrap());
    }

    #[test]
    fn a_draft_left_by_a_crash_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broker-login.toml.new"), "half").unwrap();
        Login::read_or_make(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_malformed_file_is_an_error_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "username = \"doorward\"\npassword = 's3cr").unwrap();
        let error = Login::read_or_make(dir.path()).unwrap_err();
        assert!(matches!(error, LoginError::Malformed(_)));
        assert!(!error.to_string().contains("s3cr"));
    }
}
