//! Keeps a file that cannot be used under a name that nothing had before.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use crate::{
    FileError, FileKind,
    owner::{SIDES, cannot_open, check_owner, shown, with_side},
};

/// Names that a file may be kept under: a folder does not fill up unseen.
const MAX_ASIDE: usize = 16;

/// Moves a file of ours, and what SQLite has beside it, to `PATH.aside-1` or the next number that is
/// free. No connection may be open on it.
///
/// # Errors
///
/// It is not ours, every number is taken, or the system refuses. It is still in its place then.
pub fn put_aside(path: &Path, kind: FileKind) -> Result<PathBuf, FileError> {
    check_owner(path, kind)?;
    for number in 1..=MAX_ASIDE {
        let aside = with_side(path, &format!(".aside-{number}"));
        if SIDES.iter().any(|side| fs::symlink_metadata(with_side(&aside, side)).is_ok()) {
            continue;
        }
        // Whoever makes a file has its name, and renaming replaces that empty one alone.
        match OpenOptions::new().write(true).create_new(true).open(&aside) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(cannot_open(&aside, &error)),
        }
        let moved = move_to(path, &aside);
        return match moved {
            Ok(()) => Ok(aside),
            Err(error) => {
                fs::remove_file(&aside).ok();
                Err(cannot_open(&aside, &error))
            }
        };
    }
    Err(FileError::TooManyAside { path: shown(path), max: MAX_ASIDE })
}

/// What lies beside the file goes first: left behind, it would spoil the next one.
fn move_to(path: &Path, aside: &Path) -> io::Result<()> {
    for side in SIDES {
        match fs::rename(with_side(path, side), with_side(aside, side)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside)
}
