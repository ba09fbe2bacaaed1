//! Opens regular files and maps them into memory: the only `unsafe` of this crate.

use std::{
    fs::{self, File, FileType},
    io,
    path::Path,
};

use memmap2::{Mmap, MmapOptions};

use crate::Error;

/// Opens a regular file for reading.
///
/// The kind is checked before opening, because opening a pipe waits for a writer and a device may
/// never end; it is checked again afterwards, on the file that was really opened.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), Error> {
    let open_error = |source| Error::Open { path: path.to_owned(), source };
    let check = |metadata: &fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(Error::NotAFile { path: path.to_owned(), kind: kind(metadata.file_type()) }),
    };
    check(&fs::metadata(path).map_err(open_error)?)?;
    let file = File::open(path).map_err(open_error)?;
    let metadata = file.metadata().map_err(open_error)?;
    check(&metadata)?;
    Ok((file, metadata.len()))
}

/// Maps `len` bytes of `file` from `offset`, for reading.
///
/// # Contract
///
/// While a map lives, nobody may truncate or overwrite the file in place: reading a page that is
/// gone ends the process with SIGBUS, and changed bytes would be changed weights. Whoever updates a
/// model writes a new file and renames it over the old one; the map then keeps the old file's
/// pages. Package managers, `hf-hub` and `brisk` itself do so.
#[expect(unsafe_code, reason = "a file map is the one way to read weights without a second copy")]
pub(crate) fn map(file: &File, offset: u64, len: usize) -> io::Result<Mmap> {
    // SAFETY: the map is private to readers: no `&mut` to it is ever made, and every slice handed
    // out borrows the `Mmap`, so it cannot outlive the mapping. That the file's bytes stay as they
    // are is the contract above, which the documentation of `GgufFile::open` repeats to callers.
    unsafe { MmapOptions::new().offset(offset).len(len).map(file) }
}

fn kind(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "a pipe";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
        if file_type.is_socket() {
            return "a socket";
        }
    }
    if file_type.is_dir() { "a folder" } else { "something special" }
}
