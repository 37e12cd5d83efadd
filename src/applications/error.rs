//! What can go wrong with applications, and what the user can do about it.

use std::io;
use std::path::PathBuf;

/// Why applications cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationsError {
    /// The operating system refused.
    #[error("the applications {path} cannot be opened: {source}; check its owner and the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is none of ours, not whole, or of a newer doorward.
    #[error(
        "the applications {path} cannot be read: {what}; put back a copy, or move the file away and \
         make the applications again"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A record that would not have been written.
    #[error("the file of the applications is damaged: {0}")]
    Damaged(String),
    /// The disk or redb refused.
    #[error("the file of the applications cannot be written: {0}; check the disk")]
    Storage(#[source] Box<redb::Error>),
    /// The file failed, or is not to be written.
    #[error(
        "the file of the applications is not written: {0}; nothing was changed, try again when it is"
    )]
    NotWritten(String),
    /// A key was revoked, which counts, and the disk did not take it.
    #[error(
        "application {name} is revoked from here on, and that is not on disk: {why}; it is written as \
         soon as the file can be, and a restart before that forgets it"
    )]
    NotOnDisk {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// No randomness for a key.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Another application has the name.
    #[error("there is an application {0} already; choose another name, or revoke that one")]
    Taken(String),
    /// Neither name nor id of an application.
    #[error("there is no application {0}; `doorward app list` shows them")]
    Unknown(String),
}

impl From<redb::Error> for ApplicationsError {
    fn from(error: redb::Error) -> Self {
        Self::Storage(Box::new(error))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for ApplicationsError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        }
    )*};
}

from_redb!(TransactionError, TableError, StorageError, CommitError);
