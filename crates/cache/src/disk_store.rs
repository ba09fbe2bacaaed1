//! One SQLite file of records, which answers "nothing" to every kind of trouble.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tracing::warn;

use crate::{
    clock::{from_micros, to_micros},
    config::{CacheError, DiskConfig},
    entry::{EntryInfo, Tier},
    key::{Digest, Key, Tenant},
    stats::Counters,
};

/// Goes into the file's `user_version`. A file of another version is moved aside.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entries (
        slot BLOB NOT NULL UNIQUE,
        tenant BLOB NOT NULL,
        label TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        last_used INTEGER NOT NULL,
        num_bytes INTEGER NOT NULL,
        record BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS by_use ON entries (last_used, num_bytes);
    CREATE INDEX IF NOT EXISTS by_end ON entries (expires);
    CREATE INDEX IF NOT EXISTS by_tenant ON entries (tenant, created);
    CREATE TABLE IF NOT EXISTS epochs (tenant BLOB PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
";

/// What a row takes beside its record: the columns and their indices.
const ROW_BYTES: u64 = 512;

/// SQLite's page size when nothing else is said.
const PAGE_BYTES: u64 = 4096;

/// How long a lock of another process is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);

/// Rows deleted at a time when room is needed.
const EVICTION_ROWS: i64 = 32;

/// A file, or the wish for one: while it is locked or lost, everything is a miss.
pub(crate) struct Store {
    config: DiskConfig,
    connection: Option<Connection>,
    /// Bytes of all rows, as far as this process knows.
    num_bytes: u64,
    /// Whether the last call worked, so that a lasting trouble is logged once.
    is_well: bool,
    counters: Arc<Counters>,
}

impl Store {
    /// Opens the file. One that is damaged or of another version is moved aside; one that is
    /// locked is tried again later.
    ///
    /// # Errors
    ///
    /// The folder or the file cannot be created or written.
    pub(crate) fn open(config: DiskConfig, counters: Arc<Counters>) -> Result<Self, CacheError> {
        create(&config.path)
            .map_err(|source| CacheError::DiskPath { path: config.path.clone(), source })?;
        let mut store = Self { config, connection: None, num_bytes: 0, is_well: true, counters };
        store.with(|_| Ok(()));
        Ok(store)
    }

    /// The epochs of all tenants that were ever flushed.
    pub(crate) fn epochs(&mut self) -> Vec<(Tenant, u64)> {
        let epochs = self.with(|connection| {
            let mut query = connection.prepare("SELECT tenant, epoch FROM epochs")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let epochs = epochs.unwrap_or_default().into_iter();
        epochs.map(|(tenant, epoch)| (Tenant::new(tenant), epoch.max(0) as u64)).collect()
    }

    /// The record of a slot, unless it has ended.
    pub(crate) fn get(&mut self, slot: &Digest, now: SystemTime) -> Option<Vec<u8>> {
        let (now, max_bytes) = (to_column(now), to_i64(self.config.max_bytes));
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "UPDATE entries SET last_used = ?2
                 WHERE slot = ?1 AND expires > ?2 AND length(record) <= ?3 RETURNING record",
            )?;
            query.query_row(params![slot, now, max_bytes], |row| row.get(0)).optional()
        })
        .flatten()
    }

    /// Writes a record, and deletes ended and then long unused ones to make room. Whether it did.
    pub(crate) fn write(
        &mut self,
        key: &Key,
        label: &str,
        (created, expires): (SystemTime, SystemTime),
        record: &[u8],
        now: SystemTime,
    ) -> bool {
        let row_bytes = record.len() as u64 + ROW_BYTES;
        if row_bytes > self.config.max_bytes {
            self.counters.disk.too_large.count();
            return false;
        }
        let (now, held, max_bytes) = (to_column(now), self.num_bytes, self.config.max_bytes);
        let num_bytes = self.with(|connection| {
            let change = connection.transaction()?;
            let mut num_bytes = held.saturating_sub(deleted(
                &change,
                "DELETE FROM entries WHERE slot = ?1 RETURNING num_bytes",
                params![key.slot],
            )?);
            if num_bytes + row_bytes > max_bytes {
                let ended = "DELETE FROM entries WHERE expires <= ?1 RETURNING num_bytes";
                num_bytes = num_bytes.saturating_sub(deleted(&change, ended, params![now])?);
            }
            while num_bytes + row_bytes > max_bytes {
                let unused = "DELETE FROM entries WHERE slot IN
                    (SELECT slot FROM entries ORDER BY last_used LIMIT ?1) RETURNING num_bytes";
                let freed = deleted(&change, unused, params![EVICTION_ROWS])?;
                if freed == 0 {
                    num_bytes = 0; // the sum was wrong: nothing is left
                }
                num_bytes = num_bytes.saturating_sub(freed);
            }
            change
                .prepare_cached(
                    "INSERT INTO entries
                 (slot, tenant, label, created, expires, last_used, num_bytes, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    key.slot,
                    key.tenant.as_bytes(),
                    label,
                    to_column(created),
                    to_column(expires),
                    now,
                    to_i64(row_bytes),
                    record,
                ])?;
            change.commit()?;
            Ok(num_bytes + row_bytes)
        });
        if let Some(num_bytes) = num_bytes {
            self.num_bytes = num_bytes;
        }
        num_bytes.is_some()
    }

    /// Removes a record. Whether there was one; `None` when that cannot be done now.
    pub(crate) fn remove(&mut self, tenant: Tenant, slot: &Digest) -> Option<bool> {
        let freed = self.with(|connection| {
            let sql = "DELETE FROM entries WHERE slot = ?1 AND tenant = ?2 RETURNING num_bytes";
            deleted(connection, sql, params![slot, tenant.as_bytes()])
        })?;
        self.num_bytes = self.num_bytes.saturating_sub(freed);
        Some(freed > 0)
    }

    /// Removes a tenant's records, and remembers that those of before `epoch` are gone. Whether it
    /// did.
    pub(crate) fn flush(&mut self, tenant: Tenant, epoch: u64) -> bool {
        let freed = self.with(|connection| {
            let change = connection.transaction()?;
            let sql = "INSERT INTO epochs (tenant, epoch) VALUES (?1, ?2)
                ON CONFLICT (tenant) DO UPDATE SET epoch = max(epoch, excluded.epoch)";
            change.execute(sql, params![tenant.as_bytes(), to_i64(epoch)])?;
            let sql = "DELETE FROM entries WHERE tenant = ?1 RETURNING num_bytes";
            let freed = deleted(&change, sql, params![tenant.as_bytes()])?;
            change.commit()?;
            Ok(freed)
        });
        self.num_bytes = self.num_bytes.saturating_sub(freed.unwrap_or(0));
        freed.is_some()
    }

    /// A tenant's records that have not ended, the newest first.
    pub(crate) fn list(&mut self, tenant: Tenant, limit: usize, now: SystemTime) -> Vec<EntryInfo> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let list = self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT slot, label, created, expires, num_bytes FROM entries
                 WHERE tenant = ?1 AND expires > ?2 ORDER BY created DESC LIMIT ?3",
            )?;
            let rows =
                query.query_map(params![tenant.as_bytes(), to_column(now), limit], |row| {
                    Ok(EntryInfo {
                        slot: row.get(0)?,
                        label: row.get(1)?,
                        created: from_column(row.get(2)?),
                        expires: from_column(row.get(3)?),
                        num_bytes: row.get::<_, i64>(4)?.max(0) as u64,
                        num_hits: 0,
                        tier: Tier::Disk,
                    })
                })?;
            rows.collect()
        });
        list.unwrap_or_default()
    }

    /// Runs `work` on the open file. `None` when that cannot be done now.
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        match self.try_with(work) {
            Ok(result) => {
                self.is_well = true;
                Some(result)
            }
            Err(error) => {
                self.counters.disk.failures.count();
                if self.is_well {
                    let path = self.config.path.display();
                    warn!(%path, %error, "the cache's file is out of service");
                }
                self.is_well = false;
                None
            }
        }
    }

    fn try_with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let (connection, num_bytes) = connect(&self.config)?;
                self.num_bytes = num_bytes;
                self.connection.insert(connection)
            }
        };
        let result = work(connection);
        if result.as_ref().is_err_and(is_damage) {
            self.connection = None;
            self.num_bytes = 0;
            move_aside(&self.config.path);
        }
        result
    }
}

/// Makes sure that the file can be written, and read by nobody else: it holds what users asked.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// An open file of our version, in place of whatever else lies there, and the bytes of its rows.
fn connect(config: &DiskConfig) -> rusqlite::Result<(Connection, u64)> {
    match try_connect(config) {
        Ok(Some(opened)) => return Ok(opened),
        Ok(None) => {}
        Err(error) if is_damage(&error) => {}
        Err(error) => return Err(error),
    }
    move_aside(&config.path);
    try_connect(config)?.ok_or(rusqlite::Error::InvalidQuery)
}

/// `None` when the file is of another version.
fn try_connect(config: &DiskConfig) -> rusqlite::Result<Option<(Connection, u64)>> {
    let connection = Connection::open(&config.path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let num_tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if version != SCHEMA_VERSION && num_tables > 0 {
        return Ok(None);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The last writes may be lost with the power, never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
    // Rows are counted; pages are a little more. This only stops a file that grows all the same.
    let max_pages = config.max_bytes / PAGE_BYTES * 2 + 64;
    connection.pragma_update(None, "max_page_count", to_i64(max_pages))?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    // This reads the table, so that damage below the first page shows here too.
    let num_bytes = sum_of_bytes(&connection)?;
    Ok(Some((connection, num_bytes)))
}

/// Keeps a file that we cannot use under another name, in place of an earlier one.
fn move_aside(path: &Path) {
    let with_end = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = with_end(".aside");
    match fs::rename(path, &aside) {
        Ok(()) => {
            let (path, aside) = (path.display(), aside.display());
            warn!(%path, %aside, "the cache's file is damaged or of another version: moved aside");
        }
        Err(error) => warn!(path = %path.display(), %error, "cannot move the cache's file aside"),
    }
    // They belong to the moved file and would spoil the next one.
    for end in ["-wal", "-shm"] {
        fs::remove_file(with_end(end)).ok();
    }
    create(path).ok();
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    // A column of another type or a missing table is damage as well: the schema is ours alone.
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown))
        || matches!(error, rusqlite::Error::InvalidColumnType(..))
}

fn sum_of_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(num_bytes), 0) FROM entries";
    let sum: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(sum.max(0) as u64)
}

/// Runs a `DELETE … RETURNING num_bytes` and adds up what it freed.
fn deleted(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<u64> {
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(params)?;
    let mut freed = 0;
    while let Some(row) = rows.next()? {
        freed += row.get::<_, i64>(0)?.max(0) as u64;
    }
    Ok(freed)
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_column(time: SystemTime) -> i64 {
    to_i64(to_micros(time))
}

fn from_column(micros: i64) -> SystemTime {
    from_micros(micros.max(0) as u64)
}
