//! Makes a database in an empty file, and brings its write-ahead file back into it.

use rusqlite::{Connection, Error, ErrorCode, TransactionBehavior, ffi};

use crate::FileKind;

/// What a database of ours begins with.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its mark.
    pub kind: FileKind,
    /// Its format, in `user_version`.
    pub version: i64,
    /// The statements that make its tables.
    pub tables: &'static str,
}

/// Makes the tables if there are none, and switches to a write-ahead file. The version that is found.
///
/// The mark is in the database's own header before anything is in a file beside it, so that one look
/// at the header always tells whose it is.
///
/// # Errors
///
/// SQLite's.
pub fn lay_out(connection: &mut Connection, layout: &Layout) -> rusqlite::Result<i64> {
    let number = |connection: &Connection, name| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    if number(connection, "page_count")? == 0 {
        // A process that ends here leaves no journal beside an empty file.
        connection.query_row("PRAGMA journal_mode = MEMORY", [], |_| Ok(()))?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    // Also shows that the file can be written and nobody has locked it.
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let num_tables: i64 =
        change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let mut version = number(&change, "user_version")?;
    if (version, num_tables) == (0, 0) {
        change.execute_batch(layout.tables)?;
        change.pragma_update(None, "application_id", layout.kind.application_id())?;
        change.pragma_update(None, "user_version", layout.version)?;
        version = layout.version;
    }
    change.commit()?;
    if version == layout.version {
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            // A file system without shared memory.
            connection.query_row("PRAGMA journal_mode = TRUNCATE", [], |_| Ok(()))?;
        }
    }
    Ok(version)
}

/// Writes everything of the write-ahead file into the database and empties it. Where another process
/// reads, some of it stays for later.
///
/// # Errors
///
/// SQLite's; the disk may have no room for pages that the database does not have yet.
pub fn write_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Gives free pages of the database back to the disk, at most so many.
///
/// # Errors
///
/// SQLite's.
pub fn give_back(connection: &Connection, max_pages: u32) -> rusqlite::Result<()> {
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({max_pages})"))?;
    // Each row is a page: SQLite goes on only while it is asked to.
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether the disk, a quota, a limit on the size of files or the file's own bound has no more room.
pub fn is_full(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(error, _) => {
            error.code == ErrorCode::DiskFull
                || matches!(
                    error.extended_code,
                    ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE
                )
        }
        _ => false,
    }
}
