//! Finds out whose a file is before anything opens it for writing.

use std::{
    ffi::OsString,
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use crate::{FileError, reserve};

/// How a database of SQLite begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The header of a database; the mark of ownership lies in it.
const HEADER_BYTES: usize = 100;
const APPLICATION_ID: std::ops::Range<usize> = 68..72;
/// What SQLite puts beside a database.
pub(crate) const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a file of ours holds. Its mark is the `application_id` in the database's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Kept replies: `brkr`.
    Replies,
    /// Conversations: `brkc`.
    Conversations,
}

impl FileKind {
    const ALL: [Self; 2] = [Self::Replies, Self::Conversations];

    pub(crate) fn application_id(self) -> u32 {
        match self {
            Self::Replies => 0x6272_6b72,
            Self::Conversations => 0x6272_6b63,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Replies => "kept replies",
            Self::Conversations => "conversations",
        }
    }
}

/// The real place of a file that is ours, or that was absent and is an empty one now, readable by its
/// owner alone. Whatever else is there is neither opened for writing nor changed.
///
/// # Errors
///
/// Says what is in the way.
pub fn claim(path: &Path, kind: FileKind) -> Result<PathBuf, FileError> {
    let taken = SIDES.into_iter().chain([reserve::SIDE]);
    if let Some(side) = taken.clone().find(|side| path.to_string_lossy().ends_with(side)) {
        let what = format!("ends with {side}, as the files beside a database do");
        return Err(FileError::NotAFile { path: shown(path), what });
    }
    let real = real_path(path)?;
    let found = metadata_of(&real)?;
    let is_new = found.as_ref().is_none_or(|it| it.len() == 0);
    let mut left = Vec::new();
    for side in taken {
        let beside = with_side(&real, side);
        let Some(metadata) = metadata_of(&beside)? else { continue };
        if side == reserve::SIDE {
            reserve::check(&beside, &metadata)?;
        } else if is_new && metadata.len() > 0 {
            left.push(shown(&beside));
        }
    }
    if !left.is_empty() {
        return Err(FileError::LeftOver { path: shown(&real), side: left.join(" and ") });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match found {
        None => {
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.create_new(true);
        }
        Some(_) if is_new => {}
        Some(_) => check_owner(&real, kind)?,
    }
    match options.open(&real) {
        Ok(_) => Ok(real),
        // Another process has just made it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            check_owner(&real, kind).map(|()| real)
        }
        Err(error) => Err(cannot_open(&real, &error)),
    }
}

/// Whether two settings name one file, by links too. Neither needs to be there.
pub fn is_same_file(path: &Path, other: &Path) -> bool {
    let (Ok(path), Ok(other)) = (real_path(path), real_path(other)) else { return false };
    #[cfg(unix)]
    if let (Ok(one), Ok(two)) = (fs::metadata(&path), fs::metadata(&other)) {
        use std::os::unix::fs::MetadataExt;
        return (one.dev(), one.ino()) == (two.dev(), two.ino());
    }
    path == other
}

/// Fails unless the file has the mark of this kind.
pub(crate) fn check_owner(path: &Path, kind: FileKind) -> Result<(), FileError> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    File::open(path)
        .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut head))
        .map_err(|error| cannot_open(path, &error))?;
    let found = match owner_of(&head) {
        Owner::Ours(found) if found == kind => return Ok(()),
        // Two processes begin at the same time, and this one is the later.
        Owner::Nobody => return Ok(()),
        Owner::Ours(other) => format!("Brisk's file of {}", other.name()),
        Owner::Other(found) => found,
    };
    Err(FileError::NotOurs { path: shown(path), found, wanted: kind.name() })
}

enum Owner {
    Ours(FileKind),
    /// It is empty.
    Nobody,
    Other(String),
}

/// Whose file begins like this.
fn owner_of(head: &[u8]) -> Owner {
    let other = |what: &str| Owner::Other(what.to_owned());
    if head.is_empty() {
        return Owner::Nobody;
    }
    if head.starts_with(MAGIC) {
        let Some(id) = head.get(APPLICATION_ID).and_then(|id| <[u8; 4]>::try_from(id).ok()) else {
            return other("the beginning of a SQLite database");
        };
        let id = u32::from_be_bytes(id);
        if let Some(kind) = FileKind::ALL.into_iter().find(|it| it.application_id() == id) {
            return Owner::Ours(kind);
        }
        return match id {
            0 => other("a SQLite database without Brisk's mark"),
            _ => Owner::Other(format!(
                "another program's SQLite database (application id {id:#010x})"
            )),
        };
    }
    for (start, what) in [
        (&b"GGUF"[..], "a GGUF model"),
        (&[0x37, 0x7f, 0x06], "the write-ahead file of a SQLite database"),
        (&[0xd9, 0xd5, 0x05, 0xf9], "the journal of a SQLite database"),
    ] {
        if head.starts_with(start) {
            return other(what);
        }
    }
    // A character may be cut off at the end of what was read.
    let is_text = match str::from_utf8(head) {
        Ok(text) => is_printable(text),
        Err(error) if error.error_len().is_some() => false,
        Err(error) => str::from_utf8(&head[..error.valid_up_to()]).is_ok_and(is_printable),
    };
    other(if is_text { "a text" } else { "a file of another format" })
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(|it| it.is_control() && !it.is_ascii_whitespace())
}

/// Where the path leads: renaming and the files beside a database go by that. Its last part may be
/// absent.
fn real_path(path: &Path) -> Result<PathBuf, FileError> {
    let failed = |error: io::Error| cannot_open(path, &error);
    match fs::symlink_metadata(path) {
        Ok(metadata) => match fs::canonicalize(path) {
            Ok(real) => Ok(real),
            Err(error) if metadata.is_symlink() && error.kind() == ErrorKind::NotFound => {
                let what = "is a link to a file that does not exist".to_owned();
                Err(FileError::NotAFile { path: shown(path), what })
            }
            Err(error) => Err(failed(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| failed(error))?;
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            Ok(folder.join(name))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The facts of a file; `None` where there is none. Nothing else than a file is ever opened: a pipe
/// would wait for its other end.
fn metadata_of(path: &Path) -> Result<Option<Metadata>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(metadata) => {
            let what = format!("is {}", what_it_is(metadata.file_type()));
            Err(FileError::NotAFile { path: shown(path), what })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_open(path, &error)),
    }
}

fn what_it_is(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "a pipe";
        }
        if file_type.is_socket() {
            return "a socket";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
    }
    if file_type.is_dir() {
        "a folder"
    } else if file_type.is_symlink() {
        "a link"
    } else {
        "no file"
    }
}

pub(crate) fn with_side(path: &Path, side: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(side);
    name.into()
}

pub(crate) fn cannot_open(path: &Path, error: &io::Error) -> FileError {
    FileError::CannotOpen { path: shown(path), reason: error.to_string() }
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
