//! `applications.redb`: who may ask, and what they have used up.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `schema` | 1 |
//! | `applications` | app id | [`Record`] as JSON: written when an application is made or its key changed |
//! | `usage` | app id | [`Usage`] as JSON: written up to once a second |
//!
//! A file of its own beside the gallery's: counts change with every request, faces do not, and a
//! gallery can be copied, put back or scrubbed without giving spent quota back or reviving a revoked
//! key. Who opens it holds the gallery's lock; redb refuses a second one besides.

use super::ApplicationsError;
use super::key::KeyHash;
use super::quota::Amounts;
use crate::record_file::{Opening, begin_write, guarded, is_damage_of};
use crate::service::settings::Permission;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const SCHEMA: u64 = 1;
/// A few hundred applications of some hundred bytes each.
const CACHE_BYTES: usize = 1 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const APPLICATIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("applications");
const USAGE: TableDefinition<&str, &[u8]> = TableDefinition::new("usage");

/// What is decided about an application. An unknown field is damage, as in the gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub name: String,
    pub key: KeyHash,
    /// In testing mode; none in live mode.
    pub quota: Option<Amounts>,
    pub allow: BTreeSet<Permission>,
    /// Unix seconds.
    pub created: u64,
}

/// What changes as an application asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    pub used: Amounts,
    /// Days since 1970, UTC.
    pub last_used_day: Option<u64>,
}

/// All applications by id.
pub(super) type Loaded = BTreeMap<String, (Record, Usage)>;

/// The open file.
pub(super) struct ApplicationsFile {
    database: Database,
}

impl ApplicationsFile {
    /// Opens the file, or makes it in a folder that exists, and reads all of it.
    pub fn open(path: &Path) -> Result<(Self, Loaded), ApplicationsError> {
        let open = || {
            let opening = Opening { cache_bytes: CACHE_BYTES, verify: true };
            let database = opening.existing_or_made(path, |write| {
                write.open_table(META)?.insert("schema", SCHEMA)?;
                write.open_table(APPLICATIONS)?;
                write.open_table(USAGE)?;
                Ok(())
            })?;
            let loaded = load(&database)?;
            Ok((Self { database }, loaded))
        };
        guarded(open)
            .unwrap_or_else(|_| Err(damaged("it cannot be read")))
            .map_err(|error| opening_error(path, error))
    }

    /// Stores what is decided about an application; on disk when this returns.
    pub fn put(&self, id: &str, record: &Record) -> Result<(), ApplicationsError> {
        self.write(|write| {
            write.open_table(APPLICATIONS)?.insert(id, encode(record)?.as_slice())?;
            Ok(())
        })
    }

    /// Stores what applications have used up.
    pub fn put_usage(&self, usages: &[(String, Usage)]) -> Result<(), ApplicationsError> {
        self.write(|write| {
            let mut table = write.open_table(USAGE)?;
            for (id, usage) in usages {
                table.insert(id.as_str(), encode(usage)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// Removes an application.
    pub fn remove(&self, id: &str) -> Result<(), ApplicationsError> {
        self.write(|write| {
            write.open_table(APPLICATIONS)?.remove(id)?;
            write.open_table(USAGE)?.remove(id)?;
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), ApplicationsError>,
    ) -> Result<(), ApplicationsError> {
        let write = begin_write(&self.database)?;
        change(&write)?;
        Ok(write.commit()?)
    }
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
