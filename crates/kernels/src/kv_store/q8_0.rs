//! Keys and values as codes of 8 bits, laid out for products of bytes.
//!
//! A group is 32 dimensions of the 32 tokens of a block. Its 1,024 codes are 16 lines of 64 bytes,
//! such that four bytes next to each other are what one step of a product of bytes adds up:
//!
//! ```text
//! keys    for each group: a line of 32 scales (f16), one per token;
//!                         codes (8, 32 tokens, 4 dimensions), each plus 128
//! values  a line of 32 scales (f16), one per token;
//!         for each group: codes (8, 32 dimensions, 4 tokens), signed
//! ```
//!
//! A number is its code times its scale, and a code is at most 127 in size. Keys have a scale for
//! every 32 dimensions, as some models have a few dimensions in which keys are much larger than in
//! the rest. Values have one scale per token, which attention folds into the token's weight. Key
//! codes are stored with 128 added because a product of bytes takes an unsigned and a signed
//! operand.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use half::f16;

use super::BLOCK_SIZE;

/// A cache line.
pub(crate) type Line = [u8; 64];

/// How many dimensions share a scale of a key, and how many tokens a block has.
pub(crate) const GROUP: usize = BLOCK_SIZE;

/// The lines of a group's codes.
pub(crate) const CODE_LINES: usize = GROUP * BLOCK_SIZE / size_of::<Line>();

/// The lines of a group of keys: their scales and their codes.
pub(crate) const GROUP_LINES: usize = 1 + CODE_LINES;

/// What stands for zero in the codes of keys.
pub(crate) const KEY_ZERO: u8 = 128;

/// The largest code.
pub(crate) const MAX_CODE: f32 = 127.0;

/// Adding this rounds to an integer, which then stands in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// Numbers up to here need no codes: no scale divides by less.
pub(crate) const NEGLIGIBLE: f32 = 1e-30;

/// Keys and values of one block, layer and head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) keys: &'a [Line],   // (groups, 1 + 16)
    pub(crate) values: &'a [Line], // 1 + (groups, 16)
}

impl Block<'_> {
    pub(super) fn read(&self, offset: usize, key: &mut [f32], value: &mut [f32]) {
        let groups = self.keys.chunks_exact(GROUP_LINES);
        for (key, lines) in key.chunks_mut(GROUP).zip(groups) {
            let (scale, codes) = (scale(&lines[0], offset), lines[1..].as_flattened());
            for (d, key) in key.iter_mut().enumerate() {
                *key = scale * f32::from(codes[place(d, offset)].wrapping_sub(KEY_ZERO) as i8);
            }
        }
        let scale = scale(&self.values[0], offset);
        let groups = self.values[1..].chunks_exact(CODE_LINES);
        for (value, lines) in value.chunks_mut(GROUP).zip(groups) {
            for (d, value) in value.iter_mut().enumerate() {
                *value = scale * f32::from(lines.as_flattened()[place(offset, d)] as i8);
            }
        }
    }
}

/// Where among a group's codes `(8, 32, 4)` the one stands whose place in the products' sums is
/// `inner` and among their results `outer`.
fn place(inner: usize, outer: usize) -> usize {
    (inner / 4 * GROUP + outer) * 4 + inner % 4
}

fn scale(line: &Line, offset: usize) -> f32 {
    f16::from_le_bytes(line.as_chunks().0[offset]).to_f32()
}

fn set_scale(line: &mut Line, offset: usize, scale: f16) {
    line.as_chunks_mut().0[offset] = scale.to_le_bytes();
}

/// Writes the key and the value of the token at `offset` of the block.
pub(super) fn write(keys: &mut [Line], values: &mut [Line], offset: usize, k: &[f32], v: &[f32]) {
    for (lines, k) in keys.chunks_exact_mut(GROUP_LINES).zip(k.chunks(GROUP)) {
        let scale = scale_for(k);
        set_scale(&mut lines[0], offset, scale);
        let to_code = coder(scale);
        let codes = lines[1..].as_flattened_mut();
        for (d, &k) in k.iter().enumerate() {
            codes[place(d, offset)] = (to_code(k) as u8).wrapping_add(KEY_ZERO);
        }
    }
    let scale = scale_for(v);
    set_scale(&mut values[0], offset, scale);
    let to_code = coder(scale);
    for (lines, v) in values[1..].chunks_exact_mut(CODE_LINES).zip(v.chunks(GROUP)) {
        let codes = lines.as_flattened_mut();
        for (d, &v) in v.iter().enumerate() {
            codes[place(offset, d)] = to_code(v) as u8;
        }
    }
}

/// The scale with which the largest number gets the largest code.
fn scale_for(values: &[f32]) -> f16 {
    // The comparison passes NaN over.
    let largest = values.iter().fold(0.0_f32, |a, b| if b.abs() > a { b.abs() } else { a });
    f16::from_f32(largest.min(f16::MAX.to_f32()) / MAX_CODE)
}

/// What turns a number into its code at this scale. NaN gets the code zero.
fn coder(scale: f16) -> impl Fn(f32) -> i8 {
    let inverse = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    move |value| {
        let value = value * inverse;
        let value = if value < -MAX_CODE { -MAX_CODE } else { value };
        let value = if value > MAX_CODE { MAX_CODE } else { value };
        round(value) as i8
    }
}

/// The nearest integer, the even one of two, for numbers up to a million.
#[inline(always)]
pub(crate) fn round(value: f32) -> i32 {
    (value + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}
