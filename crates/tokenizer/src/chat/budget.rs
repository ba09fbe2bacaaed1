//! Counts the bytes that one rendering makes and reads, and stops it when they are too many.
//!
//! A step can double a text or compare two values that share their parts a thousandfold. So every
//! operation whose work grows with its values is charged here before it works. A rendering has a
//! thread of its own, and so has its count.

use super::fault::{Fault, Outcome};
use std::cell::Cell;

/// Steps of one rendering. A conversation of a thousand messages takes 20,000 to 150,000.
pub(crate) const MAX_STEPS: u64 = 300_000;
/// Bytes one rendering may make and read. A conversation of 1 MB takes 3 to 20 MB of it.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// Bytes of the prompt.
pub(crate) const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// What an entry of a list counts for: its value, the room that a growing list keeps free, and that
/// looking at a value takes longer than reading its bytes.
pub(crate) const ENTRY_BYTES: u64 = 64;
/// One text among the parts of another: a value, an allocation, and their list.
pub(crate) const PART_BYTES: u64 = 96;
/// How deep values nest, and expressions, statements and calls together.
pub(crate) const MAX_DEPTH: usize = 256;

thread_local! {
    static BYTES_LEFT: Cell<u64> = const { Cell::new(MAX_BYTES) };
    static STEPS_LEFT: Cell<u64> = const { Cell::new(MAX_STEPS) };
}

/// Starts a rendering on this thread.
pub(crate) fn begin() {
    BYTES_LEFT.set(MAX_BYTES);
    STEPS_LEFT.set(MAX_STEPS);
}

/// Takes `num_bytes` off the budget. Once one charge fails, every later one does.
pub(crate) fn charge(num_bytes: u64) -> Outcome<()> {
    if num_bytes == 0 {
        return Ok(());
    }
    let left = BYTES_LEFT.get().checked_sub(num_bytes);
    BYTES_LEFT.set(left.unwrap_or(0));
    left.map(|_| ()).ok_or_else(|| Box::new(Fault::OutOfBytes))
}

/// Charges `num_entries` entries of a list.
pub(crate) fn charge_entries(num_entries: usize) -> Outcome<()> {
    charge((num_entries as u64).saturating_mul(ENTRY_BYTES))
}

/// Takes one step.
pub(crate) fn step() -> Outcome<()> {
    let left = STEPS_LEFT.get().checked_sub(1);
    STEPS_LEFT.set(left.unwrap_or(0));
    left.map(|_| ()).ok_or_else(|| Box::new(Fault::OutOfSteps))
}

/// A text in the making, whose bytes are charged before they are written.
#[derive(Debug, Default)]
pub(crate) struct Writer(String);

impl Writer {
    pub(crate) fn text(&mut self, text: &str) -> Outcome<()> {
        charge(text.len() as u64)?;
        self.0.push_str(text);
        Ok(())
    }

    pub(crate) fn character(&mut self, character: char) -> Outcome<()> {
        charge(character.len_utf8() as u64)?;
        self.0.push(character);
        Ok(())
    }

    /// `character` so many times.
    pub(crate) fn repeat(&mut self, character: char, times: usize) -> Outcome<()> {
        charge((times as u64).saturating_mul(character.len_utf8() as u64))?;
        self.0.extend(std::iter::repeat_n(character, times));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}
