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
use crate::service::settings::Permission;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const SCHEMA: u64 = 1;
/// A few hundred applications of some hundred bytes each.
const CACHE_BYTES: usize = 1 << 20;
/// Only the daemon's user reads who may ask.
const MODE: u32 = 0o600;

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
            let database = open_or_create(path)?;
            let loaded = load(&database)?;
            Ok((Self { database }, loaded))
        };
        // On a damaged file redb may panic where it would better return an error.
        catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|_| Err(damaged("it cannot be read")))
            .map_err(|error| match error {
                ApplicationsError::Storage(what) => {
                    ApplicationsError::Open { path: path.to_owned(), what: what.to_string() }
                }
                ApplicationsError::Damaged(what) => {
                    ApplicationsError::Open { path: path.to_owned(), what }
                }
                other => other,
            })
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

/// In two phases, as the gallery commits: otherwise redb takes a damaged last commit for one that
/// was never finished, and a revoked key would be good again.
fn begin_write(database: &Database) -> Result<WriteTransaction, ApplicationsError> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    Ok(write)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_or_create(path: &Path) -> Result<Database, ApplicationsError> {
    let io = |source| ApplicationsError::Io { path: path.to_owned(), source };
    if fs::exists(path).map_err(io)? {
        let database = builder().open(path)?;
        // Once it is known to be ours: a copy that was put back may have come with a wider mode.
        if fs::metadata(path).map_err(io)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io)?;
        }
        return Ok(database);
    }
    // Made beside its place and renamed when it is whole: a power cut leaves no half of it.
    let new = beside(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(MODE).open(&new).map_err(io)?;
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    let write = begin_write(&database)?;
    write.open_table(META)?.insert("schema", SCHEMA)?;
    write.open_table(APPLICATIONS)?;
    write.open_table(USAGE)?;
    write.commit()?;
    fs::rename(&new, path).map_err(io)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(database)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
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
