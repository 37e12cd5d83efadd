//! What can go wrong, and what the user can do about it.

use std::io;
use std::path::PathBuf;

/// Why the event file was not opened, or something was not recorded in it or read from it.
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
    /// The file is not one of events or not whole.
    #[error(
        "{path} is damaged or holds no events: {what}; put back a copy, or move the file away: the \
         audit log then begins anew and what was not yet delivered is only in the file you moved"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system refused.
    #[error("{path} cannot be opened: {source}; check the path, its owner and the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk did not take it, or redb gave up.
    #[error("nothing can be recorded in {path}: {what}; check the disk for space and faults")]
    Write {
        /// The file.
        path: PathBuf,
        /// What redb or the system says.
        what: String,
    },
    /// The disk has not answered yet, or the one who writes is gone.
    #[error("the record in {path} waits for the disk, which does not answer; check the disk")]
    Silent {
        /// The file.
        path: PathBuf,
    },
    /// So much waits for the disk that this is not recorded.
    #[error("not recorded in {path}: {most} others of the kind wait for the disk; check the disk")]
    Full {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
    /// The file is being opened again after a fault.
    #[error("{path} could not be written a moment ago and is tried again soon; check the disk")]
    Resting {
        /// The file.
        path: PathBuf,
    },
}
