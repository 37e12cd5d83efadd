//! Errors of the applications, and what the user can do about them.

use crate::contract::Permission;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// Why applications cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationsError {
    /// The operating system returned an error.
    #[error("the applications {path} cannot be opened: {source}; check its owner and the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not a file of applications, is incomplete, or was written by a newer doorward.
    #[error(
        "the applications {path} cannot be read: {what}; restore a copy, or move the file away and \
         make the applications again"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file contains a record that doorward would not have written.
    #[error("the file of the applications is damaged: {0}")]
    Damaged(String),
    /// The disk or redb returned an error.
    #[error("the file of the applications cannot be written: {0}; check the disk")]
    Storage(#[source] Box<redb::Error>),
    /// The file failed or is read-only.
    #[error(
        "the file of the applications is not written: {0}; nothing was changed, try again when it is"
    )]
    NotWritten(String),
    /// A key was revoked in memory, but the disk refused it.
    #[error(
        "application {name} is revoked, but that is not on disk: {why}; it is written as soon as \
         the file can be, and a restart before that loses it"
    )]
    NotOnDisk {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Why the write failed.
        why: String,
    },
    /// The system provided no random numbers for a key.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Another application has the name.
    #[error("there is an application {0} already; choose another name, or revoke that one")]
    Taken(String),
    /// The sender would give, or take over by a new key, permissions that it has not itself.
    #[error(
        "this gives {permissions}, which you have not yourself; let the command line on the \
         terminal do it, or an application that has them",
        permissions = names(.0)
    )]
    Exceeds(BTreeSet<Permission>),
    /// An application would change its own permissions, quota or mode.
    #[error(
        "an application cannot change its own permissions, quota or mode; let another one with \
         admin do it, or the command line on the terminal"
    )]
    Own,
    /// No application has this name or id.
    #[error("there is no application {0}; `doorward app list` shows them")]
    Unknown(String),
}

fn names(permissions: &BTreeSet<Permission>) -> String {
    let names: Vec<_> = permissions.iter().map(|permission| permission.name()).collect();
    names.join(", ")
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
