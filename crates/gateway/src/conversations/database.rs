//! The tables of the conversations, and all SQL that touches them.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use brisk_storage::{FileKind, Layout, Reserve, claim, give_back, is_full, lay_out, write_back};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::{ConversationConfig, ConversationError, ConversationInfo, StoredMessage};
use crate::request::{Message, Role};

const LAYOUT: Layout = Layout { kind: FileKind::Conversations, version: 1, tables: TABLES };
/// Turns that are deleted at a time on a full disk, and fewer where the write-ahead file has no room for
/// what that changes.
const DELETED_TURNS: u32 = 64;
/// Pages that are given back to the disk at a time, in the same way.
const RETURNED_AT_A_TIME: u32 = 64;
/// How often a deletion does that at most, as moving pages takes time: 4 MiB in all.
const RETURNED_STEPS: u32 = 16;
/// Bytes of appended turns after which the write-ahead file is written back, where the reserve is large
/// enough.
const WRITE_BACK_BYTES: u64 = 1 << 20;
/// What a turn writes beside its text: the pages that it lies on, and their parents.
const TURN_BYTES: usize = 32 << 10;
/// Times are milliseconds since 1970; a message's role is 0 for the user and 1 for the assistant.
const TABLES: &str = "
    CREATE TABLE tenants (
        tenant BLOB PRIMARY KEY,
        num_conversations INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY,
        tenant BLOB NOT NULL,
        user_id TEXT NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        UNIQUE (tenant, user_id)
    ) STRICT;
    CREATE INDEX conversations_by_age ON conversations (tenant, updated);
    CREATE TABLE messages (
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        role INTEGER NOT NULL,
        content TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (conversation, number)
    ) STRICT, WITHOUT ROWID;
";

/// The connection, and the bounds that are kept with each turn.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// Where there is a file.
    reserve: Option<Reserve>,
    /// Bytes that the write-ahead file has, as far as we know.
    num_unwritten_bytes: usize,
    /// Whether the write-ahead file holds pages that the disk has no room for. It takes no more of them
    /// then, so that those fit into the reserve.
    is_stuck: bool,
    max_messages: usize,
    max_conversations: usize,
    max_loaded_bytes: usize,
}

/// Tells a conversation from one that the same user begins after it was deleted: SQLite gives its
/// number to a later row, but not with the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConversationId {
    row: i64,
    /// In milliseconds since 1970.
    created: i64,
}

type Result<T> = std::result::Result<T, ConversationError>;

impl Database {
    pub(super) fn open(path: Option<&Path>, config: &ConversationConfig) -> Result<Self> {
        let name = path.map_or_else(|| "memory".to_owned(), |it| it.display().to_string());
        let place = path.map(|path| claim(path, FileKind::Conversations)).transpose()?;
        let connection = match &place {
            // On a full disk the reserve has room for what SQLite puts beside the file.
            Some(path) => open_file(path, config).or_else(|error| {
                if is_busy(&error) {
                    return Err(error);
                }
                Reserve::release_beside(path);
                open_file(path, config)
            }),
            None => Connection::open_in_memory().and_then(|it| lay_out_in(it, config)),
        };
        let (connection, found) = connection.map_err(|error| opening(&name, &error))?;
        check_format(&name, found)?;
        let reserve = place.map(|path| Reserve::beside(&path, config.reserve_bytes));
        let ConversationConfig { max_messages, max_conversations, max_loaded_bytes, .. } = *config;
        Ok(Self {
            connection,
            reserve,
            num_unwritten_bytes: 0,
            is_stuck: false,
            max_messages,
            max_conversations: max_conversations.max(1),
            max_loaded_bytes,
        })
    }

    /// Closes the file. SQLite brings everything into it when nobody else has it open.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the conversations' file cannot be closed");
        }
    }

    /// Appends a turn that continues this conversation, or nothing if that one is gone. Whether it did.
    pub(super) fn append(
        &mut self,
        tenant: &[u8; 32],
        user_id: &str,
        continued: Option<ConversationId>,
        turn: &[(Role, String)],
        at: SystemTime,
    ) -> Result<bool> {
        if self.is_stuck {
            self.write_back()?;
        }
        let is_kept = match self.try_append(tenant, user_id, continued, turn, at) {
            // The write-ahead file may have the room that is wanting.
            Err(ConversationError::Full) => {
                self.write_back()?;
                self.try_append(tenant, user_id, continued, turn, at)?
            }
            appended => appended?,
        };
        let num_bytes: usize = turn.iter().map(|(_, content)| content.len()).sum();
        self.num_unwritten_bytes += num_bytes + TURN_BYTES;
        let reserve_bytes = self.reserve.as_ref().map_or(u64::MAX, Reserve::num_bytes);
        if self.num_unwritten_bytes as u64 >= WRITE_BACK_BYTES.min(reserve_bytes / 4) {
            // The turn is kept all the same; where this fails, the next one is not.
            self.write_back().ok();
        }
        if let Some(reserve) = &mut self.reserve {
            reserve.fill();
        }
        Ok(is_kept)
    }

    fn try_append(
        &mut self,
        tenant: &[u8; 32],
        user_id: &str,
        continued: Option<ConversationId>,
        turn: &[(Role, String)],
        at: SystemTime,
    ) -> Result<bool> {
        let at = millis(at);
        let transaction = begin(&mut self.connection)?;
        let found = find(&transaction, tenant, user_id)?;
        if continued.is_some() && found != continued {
            return Ok(false);
        }
        let id = match found {
            Some(ConversationId { row: id, .. }) => {
                let sql = "UPDATE conversations SET updated = ?2 WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute(params![id, at])?;
                id
            }
            None => {
                make_room(&transaction, tenant, self.max_conversations)?;
                let sql = "INSERT INTO conversations (tenant, user_id, created, updated)
                    VALUES (?1, ?2, ?3, ?3)";
                transaction.prepare_cached(sql)?.execute(params![tenant, user_id, at])?;
                transaction.last_insert_rowid()
            }
        };
        let sql = "SELECT max(number) FROM messages WHERE conversation = ?1";
        let mut number: i64 = transaction
            .prepare_cached(sql)?
            .query_row([id], |row| row.get::<_, Option<i64>>(0))?
            .unwrap_or(0);
        for (role, content) in turn {
            let next = number.checked_add(1);
            number = next.ok_or_else(|| damaged("a message has the last number there is"))?;
            let sql = "INSERT INTO messages (conversation, number, role, content, at)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            let role = i64::from(*role != Role::User);
            let mut insert = transaction.prepare_cached(sql)?;
            insert.execute(params![id, number, role, content, at])?;
        }
        let sql = "DELETE FROM messages WHERE conversation = ?1 AND number <= ?2";
        let oldest = number.saturating_sub(to_i64(self.max_messages));
        transaction.prepare_cached(sql)?.execute(params![id, oldest])?;
        transaction.commit()?;
        Ok(true)
    }

    /// A conversation's newest messages below `before`, oldest first; `None` if there is none.
    pub(super) fn newest(
        &mut self,
        tenant: &[u8; 32],
        user_id: &str,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Option<(ConversationId, Vec<StoredMessage>)>> {
        // One view of both tables.
        let transaction = self.connection.transaction()?;
        let Some(id) = find(&transaction, tenant, user_id)? else {
            return Ok(None);
        };
        let sql = "SELECT number, role, content, at FROM messages
            WHERE conversation = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
        let before = before.map_or(i64::MAX, |it| i64::try_from(it).unwrap_or(i64::MAX));
        let mut messages = Vec::new();
        let mut num_bytes = 0;
        let mut select = transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![id.row, before, to_i64(limit)])?;
        while let Some(row) = rows.next()? {
            let content = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            num_bytes += content.len();
            if num_bytes > self.max_loaded_bytes && !messages.is_empty() {
                break;
            }
            let role = match row.get::<_, i64>(1)? {
                0 => Role::User,
                1 => Role::Assistant,
                other => return Err(damaged(&format!("a message has role {other}"))),
            };
            messages.push(StoredMessage {
                number: row.get::<_, i64>(0)?.unsigned_abs(),
                message: Message { role, content: content.to_owned() },
                at: time(row.get(3)?),
            });
        }
        messages.reverse();
        Ok(Some((id, messages)))
    }

    pub(super) fn list(
        &mut self,
        tenant: &[u8; 32],
        limit: usize,
        after: &str,
    ) -> Result<Vec<ConversationInfo>> {
        let sql = "SELECT user_id, created, updated,
                (SELECT count(*) FROM messages WHERE conversation = id)
            FROM conversations WHERE tenant = ?1 AND user_id > ?2 ORDER BY user_id LIMIT ?3";
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(params![tenant, after, to_i64(limit)], |row| {
            Ok(ConversationInfo {
                user_id: row.get(0)?,
                created: time(row.get(1)?),
                updated: time(row.get(2)?),
                num_messages: usize::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Deletes a conversation, and gives its room back to the disk. False if there is none.
    pub(super) fn delete(&mut self, tenant: &[u8; 32], user_id: &str) -> Result<bool> {
        let is_deleted = match self.try_delete(tenant, user_id) {
            Err(error) if is_full(&error) => {
                self.with_reserve(|it| it.delete_in_parts(tenant, user_id))?
            }
            deleted => deleted?,
        };
        if is_deleted {
            // The write-ahead file still holds the messages until it is written back. Where a reader
            // hinders that, the next time does it.
            let tidied = match self.tidy_up() {
                Err(error) if is_full(&error) => self.with_reserve(Self::tidy_up),
                tidied => tidied,
            };
            if let Err(error) = tidied {
                tracing::warn!(%error, "deleted messages are still in the write-ahead file");
            }
        }
        Ok(is_deleted)
    }

    /// Does `work` with the room that is set aside.
    fn with_reserve<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if let Some(reserve) = &mut self.reserve {
            reserve.release();
        }
        // Where even that cannot be done now, it can when something is deleted.
        self.write_back().ok();
        let result = work(self);
        if let Some(reserve) = &mut self.reserve {
            reserve.fill();
        }
        result
    }

    fn try_delete(&mut self, tenant: &[u8; 32], user_id: &str) -> rusqlite::Result<bool> {
        let transaction = begin(&mut self.connection)?;
        let sql = "DELETE FROM conversations WHERE tenant = ?1 AND user_id = ?2";
        let num_deleted = transaction.execute(sql, params![tenant, user_id])?;
        if num_deleted > 0 {
            add_to_count(&transaction, tenant, -1)?;
        }
        transaction.commit()?;
        Ok(num_deleted > 0)
    }

    /// As much at a time as fits into the write-ahead file. What was deleted when a later part fails is
    /// gone, and the rest is whole turns.
    fn delete_in_parts(&mut self, tenant: &[u8; 32], user_id: &str) -> rusqlite::Result<bool> {
        loop {
            let num_deleted = as_many_as_fit(DELETED_TURNS, |num_turns| {
                let transaction = begin(&mut self.connection)?;
                let Some(ConversationId { row: id, .. }) = find(&transaction, tenant, user_id)?
                else {
                    return Ok(0);
                };
                let sql =
                    "DELETE FROM messages WHERE conversation = ?1 AND number IN (SELECT number
                    FROM messages WHERE conversation = ?1 ORDER BY number LIMIT ?2)";
                let num_deleted = transaction.execute(sql, params![id, 2 * num_turns])?;
                transaction.commit()?;
                Ok(num_deleted)
            })?;
            self.tidy_up().ok();
            if num_deleted == 0 {
                return self.try_delete(tenant, user_id);
            }
        }
    }

    /// Gives free pages back to the disk, and empties the write-ahead file. In this order: a disk that
    /// has no room for the last pages may have it for fewer.
    fn tidy_up(&mut self) -> rusqlite::Result<()> {
        for _ in 0..RETURNED_STEPS {
            let num_free: u32 =
                self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if num_free == 0 {
                break;
            }
            as_many_as_fit(RETURNED_AT_A_TIME, |pages| give_back(&self.connection, pages))?;
            // Where this fails now, it may work when there are fewer pages.
            self.write_back().ok();
        }
        self.write_back()
    }

    /// Brings what the write-ahead file holds into the database.
    fn write_back(&mut self) -> rusqlite::Result<()> {
        let result = write_back(&self.connection);
        self.is_stuck = result.as_ref().is_err_and(is_full);
        if result.is_ok() {
            self.num_unwritten_bytes = 0;
        }
        result
    }
}

/// Does `work` with a number that becomes smaller while the disk is full.
fn as_many_as_fit<T>(
    mut number: u32,
    mut work: impl FnMut(u32) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    loop {
        match work(number) {
            Err(error) if is_full(&error) && number > 1 => number = (number / 4).max(1),
            result => return result,
        }
    }
}

/// A transaction that may write; a lock is waited for at its beginning, and only there.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn find(
    transaction: &Transaction<'_>,
    tenant: &[u8; 32],
    user_id: &str,
) -> rusqlite::Result<Option<ConversationId>> {
    let sql = "SELECT id, created FROM conversations WHERE tenant = ?1 AND user_id = ?2";
    let mut select = transaction.prepare_cached(sql)?;
    let found = select.query_row(params![tenant, user_id], |row| {
        Ok(ConversationId { row: row.get(0)?, created: row.get(1)? })
    });
    found.optional()
}

/// Counts one more conversation of a tenant, and deletes the oldest ones that are too many then.
fn make_room(transaction: &Transaction<'_>, tenant: &[u8; 32], max: usize) -> Result<()> {
    let num = add_to_count(transaction, tenant, 1)?;
    let num_too_many = num.saturating_sub(to_i64(max));
    if num_too_many > 0 {
        let sql = "DELETE FROM conversations WHERE id IN (SELECT id FROM conversations
            WHERE tenant = ?1 ORDER BY updated, id LIMIT ?2)";
        let num_deleted =
            transaction.prepare_cached(sql)?.execute(params![tenant, num_too_many])?;
        add_to_count(transaction, tenant, -to_i64(num_deleted))?;
    }
    Ok(())
}

/// Changes a tenant's number of conversations; counting them would take longer the more there are.
fn add_to_count(
    transaction: &Transaction<'_>,
    tenant: &[u8; 32],
    change: i64,
) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO tenants (tenant, num_conversations) VALUES (?1, ?2)
        ON CONFLICT DO UPDATE SET num_conversations = num_conversations + ?2
        RETURNING num_conversations";
    let mut update = transaction.prepare_cached(sql)?;
    update.query_row(params![tenant, change], |row| row.get(0))
}

/// A connection to a file that was claimed, and the format that it has.
fn open_file(path: &Path, config: &ConversationConfig) -> rusqlite::Result<(Connection, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    lay_out_in(Connection::open_with_flags(path, flags)?, config)
}

fn lay_out_in(
    mut connection: Connection,
    config: &ConversationConfig,
) -> rusqlite::Result<(Connection, i64)> {
    prepare(&connection, config)?;
    let found = lay_out(&mut connection, &LAYOUT)?;
    Ok((connection, found))
}

fn prepare(connection: &Connection, config: &ConversationConfig) -> rusqlite::Result<()> {
    connection.busy_timeout(config.busy_timeout)?;
    // A file from elsewhere is no reason to run what it says or to trust its pages.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    // Written back by us, who look whether it worked.
    connection.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let page_size: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // SQLite counts pages in 32 bits.
    let max_pages = (config.max_file_bytes / u64::from(page_size.max(1))).clamp(1, 0xffff_fffe);
    connection.query_row(&format!("PRAGMA max_page_count = {max_pages}"), [], |_| Ok(()))
}

/// Refuses a file that is too new, or damaged so that it has no format.
fn check_format(name: &str, found: i64) -> Result<()> {
    let (path, known) = (name.to_owned(), LAYOUT.version);
    if found > known {
        return Err(ConversationError::NewerFormat { path, found, known });
    }
    if found < known {
        return Err(unreadable(name, &format!("its format is {found}")));
    }
    Ok(())
}

/// What an error at the start means.
fn opening(name: &str, error: &rusqlite::Error) -> ConversationError {
    if is_busy(error) {
        return cannot_open(name, "another program has locked it");
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            unreadable(name, &error.to_string())
        }
        _ => cannot_open(name, &error.to_string()),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn cannot_open(name: &str, reason: &str) -> ConversationError {
    ConversationError::CannotOpen { path: name.to_owned(), reason: reason.to_owned() }
}

fn unreadable(name: &str, reason: &str) -> ConversationError {
    ConversationError::Unreadable { path: name.to_owned(), reason: reason.to_owned() }
}

fn damaged(reason: &str) -> ConversationError {
    ConversationError::Damaged { reason: reason.to_owned() }
}

/// What an error of a call means.
impl From<rusqlite::Error> for ConversationError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let is_damage = matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
        );
        match code {
            _ if is_full(&error) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                damaged(&error.to_string())
            }
            _ if is_damage => damaged(&error.to_string()),
            _ => Self::Failed { reason: error.to_string() },
        }
    }
}

/// Milliseconds since 1970; a clock before that reads 0.
fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
