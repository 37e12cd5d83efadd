//! Errors of the outbox, and what the user can do about them.

use std::io;
use std::path::PathBuf;

/// Why the event file was not opened, or a record was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another process has the file open.
    #[error(
        "another doorward process has {path} open; stop it, or let it do the work: the commands of \
         `doorward` talk to a running daemon by themselves"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer doorward.
    #[error("{path} has schema version {found}; install the newer doorward that wrote it")]
    SchemaTooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The file is not an event file or is incomplete.
    #[error(
        "{path} is damaged or holds no events: {what}; restore a copy, or move the file away: the \
         audit log then starts empty and what was not yet delivered is only in the file you moved"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system returned an error.
    #[error("{path} cannot be opened: {source}; check the path, its owner and the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk or redb returned an error.
    #[error("nothing can be recorded in {path}: {what}; check the disk for space and faults")]
    Write {
        /// The file.
        path: PathBuf,
        /// Error from redb or the system.
        what: String,
    },
    /// The disk has not answered yet, or the writing thread has ended.
    #[error("the record in {path} waits for the disk, which does not answer; check the disk")]
    Silent {
        /// The file.
        path: PathBuf,
    },
    /// Too many records wait for the disk, so this one is not recorded.
    #[error("not recorded in {path}: {most} others of the kind wait for the disk; check the disk")]
    Full {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// The file is being opened again after a fault.
    #[error("{path} could not be written a moment ago and is tried again soon; check the disk")]
    Resting {
        /// The file.
        path: PathBuf,
    },
}
