//! What can go wrong, and what the user can do about it.

use super::tables::SCHEMA;
use crate::nn::LevelError;
use std::io;
use std::path::PathBuf;

/// The gallery was not opened; the file is as it was.
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
    /// The file is not a gallery, or nothing of it can be believed and there is no copy.
    #[error(
        "the gallery {path} is damaged or no gallery: {what}; put back a copy, or move the file \
         away to start with an empty gallery"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which record.
        what: String,
    },
    /// The operating system refused.
    #[error(
        "the gallery {path} cannot be opened: {source}; check the path, its owner and the disk"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The processor cannot search as it was told to.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// An operation was not done; the gallery is as it was.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// No id, or a too long one.
    #[error("a subject id has 1 to 128 bytes, this one has {0}; choose another")]
    SubjectId(usize),
    /// Storing it would make everybody or nobody similar.
    #[error("the embedding is not a finite vector of unit length; take another picture")]
    Embedding,
    /// Not a number, or beyond what the file keeps.
    #[error("{0} is not a time in Unix seconds; set the clock or correct the request")]
    Time(f64),
    /// The subject may open doors, the caller may not give it a new face.
    #[error(
        "subject {0} has groups; only a caller with the permission `admin` may change its face"
    )]
    Grouped(String),
    /// The subject is disabled, which speaks against whoever has its face; the caller may not give it
    /// another one.
    #[error(
        "subject {0} is not enabled; only a caller with the permission `admin` may change its face"
    )]
    Disabled(String),
    /// One more would be too many.
    #[error(
        "subject {subject} has {templates} templates and may have {max}; enrol with mode \
         `replace`, or delete the subject first"
    )]
    TooManyTemplates {
        /// Who.
        subject: String,
        /// How many it has.
        templates: usize,
        /// How many it may have.
        max: usize,
    },
    /// A record that the gallery would not have written.
    #[error("the gallery file is damaged: {0}; stop doorward and put back a copy")]
    Damaged(String),
    /// The disk or redb refused.
    #[error(
        "the gallery file cannot be read or written: {0}; check the disk: the file is opened again \
         by itself"
    )]
    Storage(#[source] Box<redb::Error>),
    /// What the disk has left is for deletions and events.
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
    /// The file failed a moment ago, or is not to be written.
    #[error("the gallery file is not written: {0}; nothing was changed, try again when it is")]
    NotWritten(String),
    /// Something was taken from a subject, which counts, and the disk did not take it.
    #[error(
        "what was taken from subject {subject} counts from here on and is not on disk: {why}; it is \
         written as soon as the file can be, and a restart before that forgets it"
    )]
    NotOnDisk {
        /// From whom.
        subject: String,
        /// Why not.
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
