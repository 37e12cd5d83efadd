//! `applications.redb`: the applications and their usage.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `schema` | 1 |
//! | `applications` | app id | [`Record`] as JSON: written when an application is made or changed |
//! | `usage` | app id | [`Usage`] as JSON: written up to once a second |
//!
//! This file is separate from the gallery's. Counts change with every request, faces do not. A
//! gallery can be copied, restored or scrubbed without returning used quota or reviving a revoked
//! key. The process that opens this file holds the gallery's lock; redb also refuses a second
//! process.

use super::ApplicationsError::{self, NotWritten};
use super::amounts::Amounts;
use super::key::KeyHash;
use crate::contract::Permission;
use crate::record_file::{Handle, Opening, begin_write, guarded, is_damage_of};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SCHEMA: u64 = 1;
/// Enough for a few hundred applications of several hundred bytes each.
const CACHE_BYTES: usize = 1 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const APPLICATIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("applications");
const USAGE: TableDefinition<&str, &[u8]> = TableDefinition::new("usage");

/// The settings of an application. An unknown field is damage, as in the gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub name: String,
    pub key: KeyHash,
    /// Only in testing mode; `None` in live mode.
    pub quota: Option<Amounts>,
    pub allow: BTreeSet<Permission>,
    /// Unix seconds.
    pub created: u64,
}

/// The usage of an application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    pub used: Amounts,
    /// Days since 1970, UTC.
    pub last_used_day: Option<u64>,
}

/// All applications by id.
pub(super) type Loaded = BTreeMap<String, (Record, Usage)>;

/// The file, open or failed.
pub(super) struct ApplicationsFile {
    handle: Handle,
    path: PathBuf,
}

impl ApplicationsFile {
    /// Opens the file, or creates it in an existing folder, and reads all of it.
    pub fn open(path: &Path) -> Result<(Self, Loaded), ApplicationsError> {
        let (handle, loaded) = opened(path)?;
        Ok((Self { handle, path: path.to_owned() }, loaded))
    }

    /// Makes a file that could not be opened, to be tried again.
    pub fn failed(path: &Path, why: String) -> Self {
        Self { handle: Handle::failed(why), path: path.to_owned() }
    }

    /// Opens a failed file after its cooldown; returns its content.
    pub fn reopen(&mut self) -> Result<Option<Loaded>, ApplicationsError> {
        if !self.handle.is_due(&self.path) {
            return Ok(None);
        }
        match opened(&self.path) {
            Ok((handle, loaded)) => {
                self.handle = handle;
                Ok(Some(loaded))
            }
            Err(error) => {
                drop(self.handle.fail(error.to_string()));
                Err(error)
            }
        }
    }

    /// Returns why it cannot be read or written.
    pub fn fault(&self) -> Option<String> {
        self.handle.writable().err().map(str::to_owned)
    }

    /// Stores the settings of an application; on disk when this returns.
    pub fn put(
        &mut self,
        revoked: &BTreeSet<String>,
        id: &str,
        record: &Record,
    ) -> Result<(), ApplicationsError> {
        self.write(revoked, |write| {
            write.open_table(APPLICATIONS)?.insert(id, encode(record)?.as_slice())?;
            Ok(())
        })
    }

    /// Stores the usage of applications.
    pub fn put_usage(
        &mut self,
        revoked: &BTreeSet<String>,
        usages: &[(String, Usage)],
    ) -> Result<(), ApplicationsError> {
        self.write(revoked, |write| {
            let mut table = write.open_table(USAGE)?;
            for (id, usage) in usages {
                table.insert(id.as_str(), encode(usage)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// Removes applications.
    pub fn remove(&mut self, revoked: &BTreeSet<String>) -> Result<(), ApplicationsError> {
        self.write(revoked, |_| Ok(()))
    }

    /// Every write also removes the revoked applications. A file that fails is closed.
    fn write(
        &mut self,
        revoked: &BTreeSet<String>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), ApplicationsError>,
    ) -> Result<(), ApplicationsError> {
        let database = self.handle.writable().map_err(|why| NotWritten(why.to_owned()))?;
        let outcome = guarded(|| {
            let write = begin_write(database)?;
            for id in revoked {
                write.open_table(APPLICATIONS)?.remove(id.as_str())?;
                write.open_table(USAGE)?.remove(id.as_str())?;
            }
            change(&write)?;
            Ok(write.commit()?)
        });
        let error = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            // redb may panic on a damaged file instead of returning an error.
            Err(panic) => damaged(panic),
        };
        drop(self.handle.fail(error.to_string()));
        Err(error)
    }
}

fn opened(path: &Path) -> Result<(Handle, Loaded), ApplicationsError> {
    let open = || {
        let opening = Opening { cache_bytes: CACHE_BYTES, verify: true };
        let handle = opening.handle_or_made(path, |write| {
            write.open_table(META)?.insert("schema", SCHEMA)?;
            write.open_table(APPLICATIONS)?;
            write.open_table(USAGE)?;
            Ok(())
        })?;
        let loaded = load(handle.readable().map_err(|why| NotWritten(why.to_owned()))?)?;
        Ok((handle, loaded))
    };
    guarded(open)
        .unwrap_or_else(|_| Err(damaged("it cannot be read")))
        .map_err(|error| opening_error(path, error))
}

fn opening_error(path: &Path, error: ApplicationsError) -> ApplicationsError {
    let path = path.to_owned();
    match error {
        ApplicationsError::Storage(what) => match *what {
            redb::Error::Io(source) if !is_damage_of(&source) => {
                ApplicationsError::Io { path, source }
            }
            what => ApplicationsError::Open { path, what: what.to_string() },
        },
        ApplicationsError::Damaged(what) => ApplicationsError::Open { path, what },
        other => other,
    }
}

fn load(database: &Database) -> Result<Loaded, ApplicationsError> {
    let read = database.begin_read()?;
    match read.open_table(META)?.get("schema")?.map(|schema| schema.value()) {
        Some(SCHEMA) => {}
        found => return Err(damaged(format!("schema version {found:?}, known is {SCHEMA}"))),
    }
    let usages = read.open_table(USAGE)?;
    let mut loaded = Loaded::new();
    for entry in read.open_table(APPLICATIONS)?.iter()? {
        let (id, record) = entry?;
        let id = id.value();
        let usage = match usages.get(id)? {
            Some(usage) => decode(id, usage.value())?,
            None => Usage::default(),
        };
        loaded.insert(id.to_owned(), (decode(id, record.value())?, usage));
    }
    Ok(loaded)
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, ApplicationsError> {
    serde_json::to_vec(value).map_err(|error| damaged(error.to_string()))
}

fn decode<T: DeserializeOwned>(id: &str, bytes: &[u8]) -> Result<T, ApplicationsError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(format!("application {id:?}: {error}")))
}

fn damaged(what: impl Into<String>) -> ApplicationsError {
    ApplicationsError::Damaged(what.into())
}
