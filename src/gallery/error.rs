//! Errors of the gallery, and what the user can do about them.

use super::tables::SCHEMA;
use crate::nn::LevelError;
use std::io;
use std::path::PathBuf;

/// The gallery was not opened; the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error(
        "another doorward process has the gallery {path} open; stop it, or let it do the work: \
         the commands of `doorward` talk to a running daemon by themselves"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The folder is missing.
    #[error("the folder {folder} of the gallery does not exist; make it, or correct the path")]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The file was written by a newer doorward.
    #[error(
        "the gallery {path} has schema version {found}, this doorward knows up to {SCHEMA}; \
         install the newer doorward that wrote it"
    )]
    SchemaTooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The file is not a gallery, or it has no trustworthy record and there is no copy.
    #[error(
        "the gallery {path} is damaged or not a gallery: {what}; restore a copy, or move the file \
         away to start with an empty gallery"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which record.
        what: String,
    },
    /// The operating system returned an error.
    #[error(
        "the gallery {path} cannot be opened: {source}; check the path, its owner and the disk"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The processor does not support the configured search level.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// An operation was not done; the gallery is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// The id is empty or too long.
    #[error("a subject id has 1 to 128 bytes, this one has {0}; choose another")]
    SubjectId(usize),
    /// The embedding would match everyone or no one.
    #[error("the embedding is not a finite vector of unit length; take another picture")]
    Embedding,
    /// The time is NaN or outside the range that the file stores.
    #[error("{0} is not a time in Unix seconds; set the clock or correct the request")]
    Time(f64),
    /// The subject may open doors and the caller may not give it a new face.
    #[error(
        "subject {0} has groups; only a caller with the permission `admin` may change its face"
    )]
    Grouped(String),
    /// The subject is disabled, which counts against anyone with its face; the caller may not give
    /// it another face.
    #[error(
        "subject {0} is not enabled; only a caller with the permission `admin` may change its face"
    )]
    Disabled(String),
    /// The subject would have too many templates.
    #[error(
        "subject {subject} has {templates} templates and may have {max}; enrol with mode \
         `replace`, or delete the subject first"
    )]
    TooManyTemplates {
        /// Subject id.
        subject: String,
        /// Number of its templates.
        templates: usize,
        /// Maximum number of its templates.
        max: usize,
    },
    /// The file contains a record that the gallery would not have written.
    #[error("the gallery file is damaged: {0}; stop doorward and put back a copy")]
    Damaged(String),
    /// The disk or redb returned an error.
    #[error(
        "the gallery file cannot be read or written: {0}; check the disk: the file is reopened \
         automatically"
    )]
    Storage(#[source] Box<redb::Error>),
    /// The remaining disk space is reserved for deletions and events.
    #[error(
        "the disk of the gallery has {free} MB left, and {needed} are kept for deletions and events: \
         make room, or delete subjects who have gone"
    )]
    NoRoom {
        /// MB.
        free: u64,
        /// MB.
        needed: u64,
    },
    /// The file failed a moment ago, or it is read-only.
    #[error("the gallery file is not written: {0}; nothing was changed, try again when it is")]
    NotWritten(String),
    /// A removal took effect in memory, but the disk refused it.
    #[error(
        "the removal from subject {subject} is in effect but not on disk: {why}; it is written as \
         soon as the file can be, and a restart before that loses it"
    )]
    NotOnDisk {
        /// Subject id.
        subject: String,
        /// Why the write failed.
        why: String,
    },
    /// The file could not be replaced by its scrubbed copy.
    #[error("the gallery cannot be scrubbed: {0}; check for free space, then scrub again")]
    Scrub(#[source] io::Error),
    /// The last good copy could not be made.
    #[error("the gallery's copy cannot be made: {0}; check for free space")]
    Copy(#[source] io::Error),
    /// A bug: a thread panicked while it changed the gallery.
    #[error("the gallery's state in memory is in doubt after a failure; restart doorward")]
    InDoubt,
}

impl From<redb::Error> for GalleryError {
    fn from(error: redb::Error) -> Self {
        Self::Storage(Box::new(error))
    }
}

/// Each of redb's error types converts by itself, so that `?` works on every call into redb.
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for GalleryError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        }
    )*};
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError, CompactionError);
