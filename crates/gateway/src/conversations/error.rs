//! Why a conversation cannot be kept or read.

use brisk_storage::FileError;
use thiserror::Error;

/// A call or an opening that failed, by situation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConversationError {
    /// Caller's move: the user id is empty or too long.
    #[error("user_id has {num_bytes} bytes, it must have from 1 to {max_bytes}")]
    UserIdLength {
        /// Its bytes.
        num_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Caller's move: the user id holds a control character.
    #[error("user_id holds a control character at byte {position}")]
    UserIdControl {
        /// Where.
        position: usize,
    },
    /// Caller's move: a message is too long to be kept.
    #[error("the message has {num_bytes} bytes, a kept conversation takes {max_bytes}")]
    MessageTooLong {
        /// Its bytes.
        num_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Try later: too many calls wait for the database.
    #[error("{max_queued_calls} calls are waiting for the stored conversations")]
    QueueFull {
        /// The bound.
        max_queued_calls: usize,
    },
    /// Try later: another program has locked the file.
    #[error("the stored conversations are locked by another program")]
    Locked,
    /// Operator's move: the disk is full, or the file has reached its bound.
    #[error("there is no room for more conversations")]
    Full,
    /// Operator's move: the file was damaged while it was open.
    #[error("the stored conversations are damaged: {reason}")]
    Damaged {
        /// SQLite's words.
        reason: String,
    },
    /// Operator's move: the disk or the file has another problem.
    #[error("the stored conversations cannot be reached: {reason}")]
    Failed {
        /// SQLite's words.
        reason: String,
    },
    /// Our fault, or the program is going down: the store's thread has ended.
    #[error("the store of conversations has stopped")]
    Stopped,
    /// Operator's move, at the start: the system gives no thread.
    #[error("no thread for the stored conversations: {reason}")]
    NoThread {
        /// The system's words.
        reason: String,
    },
    /// Operator's move, at the start: the file cannot be opened, created or written.
    #[error("cannot open the conversations in {path}: {reason}")]
    CannotOpen {
        /// The file.
        path: String,
        /// The system's or SQLite's words.
        reason: String,
    },
    /// Operator's move, at the start: the file is not one of ours, or no file.
    #[error("cannot keep the conversations: {0}")]
    File(#[from] FileError),
    /// Operator's move, at the start: the file is ours and damaged. Nobody's conversations are dropped
    /// without being asked.
    #[error(
        "the conversations in {path} are damaged: {reason}; put a copy in its place, or move it away"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// Operator's move, at the start: a later version of this program wrote the file.
    #[error("{path} has format {found}, this version knows format {known} and older ones")]
    NewerFormat {
        /// The file.
        path: String,
        /// The file's format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
}
