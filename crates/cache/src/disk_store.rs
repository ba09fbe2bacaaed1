//! One SQLite file of records, which answers "nothing" to every kind of trouble.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use brisk_storage::{
    FileError, FileKind, Health, Layout, RESERVE_BYTES, Reserve, claim, give_back, is_full,
    lay_out, put_aside, write_back,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use tracing::warn;

use crate::{
    clock::{MAX_SKEW, from_micros, to_micros},
    config::{CacheError, DiskConfig},
    entry::{EntryInfo, Tier},
    key::{Digest, Key, Tenant},
    stats::Counters,
};

/// A file of ours of another version is put aside.
const LAYOUT: Layout = Layout { kind: FileKind::Replies, version: 1, tables: SCHEMA };

const SCHEMA: &str = "
    CREATE TABLE entries (
        slot BLOB NOT NULL UNIQUE,
        tenant BLOB NOT NULL,
        label TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        last_used INTEGER NOT NULL,
        num_bytes INTEGER NOT NULL,
        record BLOB NOT NULL
    );
    CREATE INDEX by_use ON entries (last_used, num_bytes);
    CREATE INDEX by_end ON entries (expires);
    CREATE INDEX by_tenant ON entries (tenant, created);
    CREATE TABLE epochs (tenant BLOB PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
";

/// What a row takes beside its record: the columns and their indices.
const ROW_BYTES: u64 = 512;

/// SQLite's page size when nothing else is said.
const PAGE_BYTES: u64 = 4096;

/// How long a lock of another process is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);

/// Rows deleted at a time when room is needed.
const EVICTION_ROWS: i64 = 32;

/// Pages that a flush gives back to the disk at most, as moving them takes time.
const RETURNED_PAGES: u32 = 4096;

/// What a row must be to be served: it has not ended, and its times are not those of a clock that was
/// ahead. `?2` is the present, `?3` and `?4` the latest times that an entry may have now.
const IS_GOOD: &str = "expires > ?2 AND created <= ?3 AND expires <= ?4";

/// A file, or the wish for one: while it is locked or lost, everything is a miss.
pub(crate) struct Store {
    config: DiskConfig,
    /// No entry lives longer.
    max_ttl: Duration,
    /// The file's real place.
    path: PathBuf,
    connection: Option<Connection>,
    reserve: Option<Reserve>,
    /// Bytes of all rows, as far as this process knows.
    num_bytes: u64,
    health: Arc<DiskHealth>,
    counters: Arc<Counters>,
}

/// Whether the file does what it is for.
#[derive(Debug)]
pub(crate) struct DiskHealth {
    writing: Health,
    reading: Health,
}

impl DiskHealth {
    pub(crate) fn new() -> Self {
        Self {
            writing: Health::new("cache_file takes no replies"),
            reading: Health::new("cache_file is out of service"),
        }
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.writing.is_degraded() || self.reading.is_degraded()
    }
}

impl Store {
    /// Opens the file. One of ours that is damaged or of another version is put aside; one that is
    /// locked, or whose disk is full, is tried again later.
    ///
    /// # Errors
    ///
    /// The file is not ours, or it or its folder cannot be created or written.
    pub(crate) fn open(
        config: DiskConfig,
        max_ttl: Duration,
        health: Arc<DiskHealth>,
        counters: Arc<Counters>,
    ) -> Result<Self, CacheError> {
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder)
                .map_err(|source| CacheError::DiskPath { path: config.path.clone(), source })?;
        }
        let path = claim(&config.path, FileKind::Replies)?;
        let (connection, reserve, num_bytes) = (None, None, 0);
        let mut store =
            Self { config, max_ttl, path, connection, reserve, num_bytes, health, counters };
        match store.connect() {
            Ok(()) => store.health.reading.worked(),
            Err(error) if error.is_passing() => store.fail(Purpose::Reading, &error),
            Err(error) => {
                let path = store.config.path.clone();
                return Err(CacheError::DiskPath { path, source: std::io::Error::other(error) });
            }
        }
        Ok(store)
    }

    /// The epochs of all tenants that were ever flushed.
    pub(crate) fn epochs(&mut self) -> Vec<(Tenant, u64)> {
        let epochs = self.with(Purpose::Reading, |connection| {
            let mut query = connection.prepare("SELECT tenant, epoch FROM epochs")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let epochs = epochs.unwrap_or_default().into_iter();
        epochs.map(|(tenant, epoch)| (Tenant::new(tenant), epoch.max(0) as u64)).collect()
    }

    /// The record of a slot, unless it has ended.
    pub(crate) fn get(&mut self, slot: &Digest, now: SystemTime) -> Option<Vec<u8>> {
        let [now, created, expires] = self.latest(now);
        let max_bytes = to_i64(self.config.max_bytes);
        let found = self.with(Purpose::Reading, |connection| {
            let values = params![slot, now, created, expires, max_bytes];
            let condition = format!("WHERE slot = ?1 AND {IS_GOOD} AND length(record) <= ?5");
            let marked = connection
                .prepare_cached(&format!(
                    "UPDATE entries SET last_used = ?2 {condition} RETURNING record"
                ))?
                .query_row(values, |row| row.get(0))
                .optional();
            match marked {
                // A full disk can still be read.
                Err(error) if is_full(&error) => connection
                    .prepare_cached(&format!("SELECT record FROM entries {condition}"))?
                    .query_row(values, |row| row.get(0))
                    .optional(),
                marked => marked,
            }
        })?;
        if found.is_none() {
            self.delete_ended(slot, [now, created, expires]);
        }
        found
    }

    /// Deletes the row of a slot that cannot be served any more, if there is one.
    fn delete_ended(&mut self, slot: &Digest, latest: [i64; 3]) {
        let [now, created, expires] = latest;
        let freed = self.with(Purpose::Reading, |connection| {
            let is_there = "SELECT count(*) FROM entries WHERE slot = ?1";
            let num_rows: i64 =
                connection.prepare_cached(is_there)?.query_row([slot], |row| row.get(0))?;
            if num_rows == 0 {
                return Ok(0); // reading alone: nobody's lock is waited for
            }
            let sql = format!(
                "DELETE FROM entries WHERE slot = ?1 AND NOT ({IS_GOOD}) RETURNING num_bytes"
            );
            match deleted(connection, &sql, params![slot, now, created, expires]) {
                Err(error) if is_full(&error) => Ok(0),
                freed => freed,
            }
        });
        self.num_bytes = self.num_bytes.saturating_sub(freed.unwrap_or(0));
    }

    /// The present, and the latest times of making and ending that an entry may have now.
    fn latest(&self, now: SystemTime) -> [i64; 3] {
        let after = |time| now.checked_add(time).map_or(i64::MAX, to_column);
        [to_column(now), after(MAX_SKEW), after(self.max_ttl.saturating_add(MAX_SKEW))]
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
        let [now, latest_created, latest_expires] = self.latest(now);
        let (held, max_bytes) = (self.num_bytes, self.config.max_bytes);
        let num_bytes = self.with(Purpose::Writing, |connection| {
            let change = connection.transaction()?;
            let mut num_bytes = held.saturating_sub(deleted(
                &change,
                "DELETE FROM entries WHERE slot = ?1 RETURNING num_bytes",
                params![key.slot],
            )?);
            if num_bytes + row_bytes > max_bytes {
                let ended = "DELETE FROM entries
                    WHERE expires <= ?1 OR created > ?2 OR expires > ?3 RETURNING num_bytes";
                let latest = params![now, latest_created, latest_expires];
                num_bytes = num_bytes.saturating_sub(deleted(&change, ended, latest)?);
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
        let freed = self.delete(|connection| {
            let sql = "DELETE FROM entries WHERE slot = ?1 AND tenant = ?2 RETURNING num_bytes";
            deleted(connection, sql, params![slot, tenant.as_bytes()])
        })?;
        self.num_bytes = self.num_bytes.saturating_sub(freed);
        Some(freed > 0)
    }

    /// Removes a tenant's records, and remembers that those of before `epoch` are gone. Whether it
    /// did.
    pub(crate) fn flush(&mut self, tenant: Tenant, epoch: u64) -> bool {
        let freed = self.delete(|connection| {
            let change = connection.transaction()?;
            let sql = "INSERT INTO epochs (tenant, epoch) VALUES (?1, ?2)
                ON CONFLICT (tenant) DO UPDATE SET epoch = max(epoch, excluded.epoch)";
            change.execute(sql, params![tenant.as_bytes(), to_i64(epoch)])?;
            let sql = "DELETE FROM entries WHERE tenant = ?1 RETURNING num_bytes";
            let freed = deleted(&change, sql, params![tenant.as_bytes()])?;
            change.commit()?;
            // What is free at the file's end goes back to the disk, where that can be done now.
            give_back(connection, RETURNED_PAGES).and_then(|()| write_back(connection)).ok();
            Ok(freed)
        });
        self.num_bytes = self.num_bytes.saturating_sub(freed.unwrap_or(0));
        freed.is_some()
    }

    /// Runs `work`, which deletes; on a full disk once more with the room of the reserve.
    fn delete<T>(
        &mut self,
        mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let mut reserve = self.reserve.take();
        let result = self.with(Purpose::Reading, |connection| match work(connection) {
            Err(error) if is_full(&error) => {
                if let Some(reserve) = &mut reserve {
                    reserve.release();
                }
                write_back(connection)?;
                let result = work(connection)?;
                write_back(connection)?;
                Ok(result)
            }
            result => result,
        });
        if let Some(reserve) = &mut reserve {
            reserve.fill();
        }
        self.reserve = reserve;
        result
    }

    /// Closes the file. SQLite brings everything into it when nobody else has it open.
    pub(crate) fn close(self) {
        if let Some(Err((_, error))) = self.connection.map(Connection::close) {
            warn!(path = %self.path.display(), %error, "the cache's file cannot be closed");
        }
    }

    /// A tenant's records that have not ended, the newest first.
    pub(crate) fn list(&mut self, tenant: Tenant, limit: usize, now: SystemTime) -> Vec<EntryInfo> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let [now, created, expires] = self.latest(now);
        let list = self.with(Purpose::Reading, |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT slot, label, created, expires, num_bytes FROM entries
                 WHERE tenant = ?1 AND {IS_GOOD} ORDER BY created DESC LIMIT ?5",
            ))?;
            let rows = query.query_map(
                params![tenant.as_bytes(), now, created, expires, limit],
                |row| {
                    Ok(EntryInfo {
                        slot: row.get(0)?,
                        label: row.get(1)?,
                        created: from_column(row.get(2)?),
                        expires: from_column(row.get(3)?),
                        num_bytes: row.get::<_, i64>(4)?.max(0) as u64,
                        num_hits: 0,
                        tier: Tier::Disk,
                    })
                },
            )?;
            rows.collect()
        });
        list.unwrap_or_default()
    }

    /// Runs `work` on the open file. `None` when that cannot be done now.
    fn with<T>(
        &mut self,
        purpose: Purpose,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        match self.try_with(work) {
            Ok(result) => {
                self.health.of(purpose).worked();
                Some(result)
            }
            Err(error) => {
                self.fail(purpose, &error);
                None
            }
        }
    }

    fn fail(&self, purpose: Purpose, error: &OpenError) {
        self.counters.disk.failures.count();
        self.health.of(purpose).failed(error);
    }

    fn try_with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, OpenError> {
        self.connect()?;
        let Some(connection) = &mut self.connection else {
            return Err(rusqlite::Error::InvalidQuery.into());
        };
        let result = work(connection);
        if result.as_ref().is_err_and(is_damage) {
            self.put_aside()?;
        }
        Ok(result?)
    }

    /// Opens the file of our version, after putting one aside that is damaged or of another version.
    fn connect(&mut self) -> Result<(), OpenError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let opened = match self.try_connect() {
            Err(OpenError::Database(error)) if is_damage(&error) => None,
            opened => opened?,
        };
        let (connection, num_bytes) = match opened {
            Some(opened) => opened,
            None => {
                self.put_aside()?;
                self.try_connect()?.ok_or(rusqlite::Error::InvalidQuery)?
            }
        };
        self.connection = Some(connection);
        self.num_bytes = num_bytes;
        match &mut self.reserve {
            Some(reserve) => reserve.fill(),
            None => self.reserve = Some(Reserve::beside(&self.path, RESERVE_BYTES)),
        }
        Ok(())
    }

    /// A connection and the bytes of its rows; `None` when the file is of another version.
    fn try_connect(&self) -> Result<Option<(Connection, u64)>, OpenError> {
        claim(&self.path, FileKind::Replies)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        if lay_out(&mut connection, &LAYOUT)? != LAYOUT.version {
            return Ok(None);
        }
        // The last writes may be lost with the power, never the file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // The write-ahead file stays small: what it holds must fit into the reserve.
        connection.pragma_update(None, "wal_autocheckpoint", 256)?;
        connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
        // Rows are counted; pages are a little more. This only stops a file that grows all the same.
        let max_pages = self.config.max_bytes / PAGE_BYTES * 2 + 64;
        connection.pragma_update(None, "max_page_count", to_i64(max_pages))?;
        // This reads the table, so that damage below the first page shows here too.
        let num_bytes = sum_of_bytes(&connection)?;
        Ok(Some((connection, num_bytes)))
    }

    /// Keeps a file that we cannot use under another name.
    fn put_aside(&mut self) -> Result<(), FileError> {
        self.connection = None;
        self.num_bytes = 0;
        let aside = put_aside(&self.path, FileKind::Replies)?;
        let (path, aside) = (self.path.display(), aside.display());
        warn!(%path, %aside, "the cache's file is damaged or of another version: moved aside");
        Ok(())
    }
}

/// What a call is for: that a file takes nothing more is another trouble than that it gives nothing.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Reading,
    Writing,
}

impl DiskHealth {
    fn of(&self, purpose: Purpose) -> &Health {
        match purpose {
            Purpose::Reading => &self.reading,
            Purpose::Writing => &self.writing,
        }
    }
}

/// Why the file does not serve now.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

impl OpenError {
    /// Whether it may be over at the next request: a lock, or a full disk.
    fn is_passing(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Database(error) => {
                let code = error.sqlite_error_code();
                matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
                    || is_full(error)
            }
        }
    }
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
