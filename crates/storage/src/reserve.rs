//! Room beside a file that deletions may use when the disk has none left.
//!
//! SQLite writes what it deletes into its write-ahead file first, so on a full disk nobody could make
//! room. The reserve is a file of that size, which is given up for a deletion and filled again after it.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    FileError,
    owner::{cannot_open, shown, with_side},
};

/// What the reserve's name ends with.
pub(crate) const SIDE: &str = "-reserve";

/// How a reserve begins.
const MARK: &[u8; 16] = b"brisk's reserve\n";

/// Bytes of a reserve: more than the longest turn of a conversation, and than what the write-ahead file
/// holds of pages that the database does not have yet.
pub const RESERVE_BYTES: u64 = 4 << 20;

/// The smallest reserve that is worth a file.
const MIN_BYTES: u64 = 64 << 10;

/// Room that is set aside.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    max_bytes: u64,
    /// What it has; 0 when it was given up.
    num_bytes: u64,
    /// What it had when it was given up.
    num_released_bytes: u64,
}

impl Reserve {
    /// The reserve of the database at `path`, which was claimed. It is smaller than `max_bytes` where it
    /// would take more than half of the room that is left.
    pub fn beside(path: &Path, max_bytes: u64) -> Self {
        let path = with_side(path, SIDE);
        let num_bytes = len(&path);
        let wanted = max_bytes.min(free_bytes(&path).saturating_add(num_bytes) / 2);
        let mut reserve = Self { path, max_bytes, num_bytes, num_released_bytes: num_bytes };
        if num_bytes < wanted {
            // Of an earlier run, when there was less room.
            reserve.release();
            reserve.fill();
        }
        reserve
    }

    /// The room that there is: what waits in the write-ahead file must fit into it.
    pub fn num_bytes(&self) -> u64 {
        self.num_bytes
    }

    /// Sets the room aside again, if it was given up and the disk has it.
    pub fn fill(&mut self) {
        if self.num_bytes > 0 {
            return;
        }
        let free = free_bytes(&self.path);
        // What was given up is taken back, as far as it is still there: a deletion made free more.
        let released = self.num_released_bytes.min(free - free / 16);
        let num_bytes = released.max(free / 2).min(self.max_bytes);
        if num_bytes >= MIN_BYTES && self.try_fill(num_bytes) {
            self.num_bytes = len(&self.path);
        }
    }

    fn try_fill(&self, num_bytes: u64) -> bool {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&self.path) {
            Ok(file) => file,
            // Of an earlier run, or of another process on this database.
            Err(error) => return error.kind() == ErrorKind::AlreadyExists,
        };
        let is_filled = fill(file, num_bytes).is_ok();
        if !is_filled {
            fs::remove_file(&self.path).ok();
        }
        is_filled
    }

    /// Gives up the room beside the database at `path`, which was claimed and cannot be opened.
    pub fn release_beside(path: &Path) {
        fs::remove_file(with_side(path, SIDE)).ok();
    }

    /// Gives the room up.
    pub fn release(&mut self) {
        self.num_released_bytes = len(&self.path);
        fs::remove_file(&self.path).ok();
        self.num_bytes = 0;
    }
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |it| it.len())
}

/// The room that the disk has left, or plenty where nobody knows.
fn free_bytes(path: &Path) -> u64 {
    #[cfg(unix)]
    if let Some(folder) = path.parent()
        && let Ok(disk) = rustix::fs::statvfs(folder)
    {
        return disk.f_bavail.saturating_mul(disk.f_frsize);
    }
    u64::MAX
}

/// Bytes that no file system can compress: a reserve of zeros would be none.
fn fill(mut file: File, num_bytes: u64) -> std::io::Result<()> {
    let mut state = 0_u64;
    let mut block = MARK.to_vec();
    let mut num_left = num_bytes;
    while num_left > 0 {
        block.resize_with(4096, || {
            // The steps of splitmix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 56) as u8
        });
        file.write_all(&block)?;
        num_left = num_left.saturating_sub(4096);
        block.clear();
    }
    file.flush()
}

/// Fails unless the file is a reserve.
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut head))
        .map_err(|error| cannot_open(path, &error))?;
    if metadata.len() > 0 && head != MARK {
        let found = "no reserve that Brisk made".to_owned();
        return Err(FileError::NotOurs { path: shown(path), found, wanted: "reserved room" });
    }
    Ok(())
}
