//! Reads little-endian fields from bytes that may lie about their own lengths.

use std::fmt::Display;

use crate::Error;

/// A place in a file's bytes. Every read checks what is left before it takes anything.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `num_bytes`, which `field` claims.
    pub(super) fn take(&mut self, field: &dyn Display, num_bytes: u64) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(num_bytes).ok().and_then(|it| rest.get(..it));
        let Some(taken) = taken else {
            return Err(Error::Truncated {
                field: field.to_string(),
                offset: self.offset(),
                needed: num_bytes,
                available: self.remaining(),
            });
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, field: &dyn Display) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, field: &dyn Display) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &dyn Display) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count of records that take at least `min_bytes` each in the rest of the file.
    pub(super) fn count(&mut self, field: &dyn Display, min_bytes: u64) -> Result<usize, Error> {
        let offset = self.offset();
        let count = self.u64(field)?;
        self.check_count(field, offset, count, min_bytes)
    }

    /// `count`, read at `offset`, if that many records of `min_bytes` fit into the rest.
    pub(super) fn check_count(
        &self,
        field: &dyn Display,
        offset: u64,
        count: u64,
        min_bytes: u64,
    ) -> Result<usize, Error> {
        let max = self.remaining() / min_bytes;
        match usize::try_from(count) {
            Ok(fits) if count <= max => Ok(fits),
            _ => Err(Error::Count { field: field.to_string(), offset, count, max }),
        }
    }

    /// A u64 length and that many bytes of UTF-8.
    pub(super) fn string(&mut self, field: &dyn Display) -> Result<&'a str, Error> {
        let length = self.u64(field)?;
        let offset = self.offset();
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { field: field.to_string(), offset })
    }

    /// A string of 1 to `max` bytes.
    pub(super) fn name(&mut self, field: &dyn Display, max: u64) -> Result<&'a str, Error> {
        let offset = self.offset();
        let length = self.clone().u64(field)?;
        // A length that the file cannot hold is a broken length, whatever names may be.
        if length <= self.remaining() && (length == 0 || length > max) {
            return Err(Error::NameLength { field: field.to_string(), offset, length, max });
        }
        self.string(field)
    }
}
