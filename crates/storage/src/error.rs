//! Why a file is not used.

use thiserror::Error;

/// A file that stays as it is. Each of these is the operator's move.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileError {
    /// The place holds something that is no file, or a name that SQLite uses itself.
    #[error("{path} {what}: name a file instead")]
    NotAFile {
        /// The place.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file was made by somebody else, or for something else.
    #[error(
        "{path} is {found}, not Brisk's file of {wanted}: it stays as it is, name another file"
    )]
    NotOurs {
        /// The file.
        path: String,
        /// Whose it is, as far as can be seen.
        found: String,
        /// What was to be in it.
        wanted: &'static str,
    },
    /// A database is gone, but what SQLite kept beside it is still there.
    #[error("no database is in {path}, but what belongs to one: put it back, or move {side} away")]
    LeftOver {
        /// Where the database would be.
        path: String,
        /// What is left of it.
        side: String,
    },
    /// Two settings name one file.
    #[error("{path} and {other} are one file: kept replies and conversations each need their own")]
    SameFile {
        /// The one.
        path: String,
        /// The other.
        other: String,
    },
    /// Every name for a file that cannot be used is taken.
    #[error("{path} cannot be used, and {max} others were put aside before: move those away")]
    TooManyAside {
        /// The file.
        path: String,
        /// How many names there are.
        max: usize,
    },
    /// The system refuses.
    #[error("cannot open {path}: {reason}")]
    CannotOpen {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
}
