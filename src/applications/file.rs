//! `applications.redb`: the applications and their usage.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `schema` | 1 |
//! | `applications` | app id | [`Record`] as JSON: written when an application is made or changed |
//! | `usage` | app id | [`Usage`] as JSON: written up to once a second |
//! | `live_usage` | app id | what was done in live mode, as JSON: written with `usage` |
//! | `old_keys` | app id | [`OldKey`] as JSON, while a rotated key stays valid |
//!
//! The last two are tables of their own, so that a doorward that does not know them opens the file:
//! to it an old key is invalid, and usage in live mode is not counted. An old key names the key
//! that replaced it and ends with that key, whichever doorward replaces it.
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
const LIVE_USAGE: TableDefinition<&str, &[u8]> = TableDefinition::new("live_usage");
const OLD_KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("old_keys");

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

/// A key that was replaced and stays valid for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OldKey {
    pub key: KeyHash,
    /// The key that replaced it.
    pub successor: KeyHash,
    /// Unix seconds. Before `from` the clock is wrong, and the key is not valid.
    pub from: u64,
    pub until: u64,
}

/// The usage of an application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    /// Counted against the quota of testing mode.
    pub used: Amounts,
    /// Done in live mode; in a table of its own.
    #[serde(skip)]
    pub live: Amounts,
    /// Days since 1970, UTC.
    pub last_used_day: Option<u64>,
}

/// An application as the file has it.
pub(super) struct Stored {
    pub record: Record,
    pub usage: Usage,
    pub old_key: Option<OldKey>,
}

/// All applications by id.
pub(super) type Loaded = BTreeMap<String, Stored>;

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
        old_key: Option<&OldKey>,
    ) -> Result<(), ApplicationsError> {
        self.write(revoked, |write| {
            write.open_table(APPLICATIONS)?.insert(id, encode(record)?.as_slice())?;
            let mut old_keys = write.open_table(OLD_KEYS)?;
            match old_key {
                Some(old_key) => drop(old_keys.insert(id, encode(old_key)?.as_slice())?),
                None => drop(old_keys.remove(id)?),
            }
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
            let mut live = write.open_table(LIVE_USAGE)?;
            for (id, usage) in usages {
                table.insert(id.as_str(), encode(usage)?.as_slice())?;
                live.insert(id.as_str(), encode(&usage.live)?.as_slice())?;
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
                for table in [APPLICATIONS, USAGE, LIVE_USAGE, OLD_KEYS] {
                    write.open_table(table)?.remove(id.as_str())?;
                }
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
            write.open_table(LIVE_USAGE)?;
            write.open_table(OLD_KEYS)?;
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
    let (live, old_keys) = (later_table(&read, LIVE_USAGE)?, later_table(&read, OLD_KEYS)?);
    let mut loaded = Loaded::new();
    for entry in read.open_table(APPLICATIONS)?.iter()? {
        let (id, record) = entry?;
        let id = id.value();
        let record: Record = decode(id, record.value())?;
        let mut usage = match usages.get(id)? {
            Some(usage) => decode(id, usage.value())?,
            None => Usage::default(),
        };
        if let Some(live) = stored(live.as_ref(), id)? {
            usage.live = live;
        }
        let old_key = stored::<OldKey>(old_keys.as_ref(), id)?;
        let old_key = old_key.filter(|old| old.successor == record.key);
        loaded.insert(id.to_owned(), Stored { record, usage, old_key });
    }
    Ok(loaded)
}

type Table = redb::ReadOnlyTable<&'static str, &'static [u8]>;

/// Opens a table that the file of an older doorward lacks.
fn later_table(
    read: &redb::ReadTransaction,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
) -> Result<Option<Table>, ApplicationsError> {
    match read.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stored<T: DeserializeOwned>(
    table: Option<&Table>,
    id: &str,
) -> Result<Option<T>, ApplicationsError> {
    let Some(table) = table else { return Ok(None) };
    table.get(id)?.map(|bytes| decode(id, bytes.value())).transpose()
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
