//! Files of SQLite that belong to this program alone, and what to do when their disk is full.
//!
//! - [`claim`] looks at a file before anything opens it for writing, and refuses whatever is not ours.
//! - [`lay_out`] makes the tables and the mark of ownership in an empty file.
//! - [`put_aside`] keeps a file of ours that cannot be used, under a name that nothing had.
//! - [`Reserve`] is room that deletions may use when the disk has none.
//! - [`Health`] says whether a file takes what it is given, and logs when that changes.

mod aside;
mod error;
mod health;
mod layout;
mod owner;
mod reserve;

pub use aside::put_aside;
pub use error::FileError;
pub use health::Health;
pub use layout::{Layout, give_back, is_full, lay_out, write_back};
pub use owner::{FileKind, claim, is_same_file};
pub use reserve::{RESERVE_BYTES, Reserve};
