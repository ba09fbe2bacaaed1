//! The tiles of each weight type, and how a kernel gets codes and scales out of them.
//!
//! The structs mirror `weights::tile`: the fields of a block in the same order, each unit 16 times.
//! Vectors go through loops and calls here, not through iterators and closures: those are compiled
//! apart, without the vector instructions, wherever the compiler decides not to inline them.
//!
//! "Group" means four consecutive weights of a row; "run" means the weights that share a scale.

use super::simd::{HalfLine, Line, Simd};
use crate::weights::IQ4_LEVELS;

/// A tile that may be read from bytes.
///
/// # Safety
///
/// - The type must consist of bytes only, so that any bytes are a value of it at any address.
pub(super) unsafe trait Tile: Sized + Send + Sync {
    /// Reads a row of tiles from its bytes.
    fn from_bytes(bytes: &[u8]) -> &[Self] {
        let size = size_of::<Self>();
        assert!(
            align_of::<Self>() == 1 && bytes.len().is_multiple_of(size),
            "bytes of whole tiles"
        );
        // SAFETY: the slice covers exactly the borrowed bytes, its alignment is that of bytes, and
        // the implementation promises that any bytes will do.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size) }
    }
}

/// What a code stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Codes {
    /// A signed byte is the value.
    Signed,
    /// The value is the code, of `n + 1` bits, less `2^n`.
    ZeroAt(u32),
    /// The value is the code, of `n` bits, and a minimum is taken away or added.
    WithMin(u32),
}

impl Codes {
    /// The largest magnitude of a code.
    #[inline(always)]
    pub(super) const fn max(self) -> i32 {
        match self {
            Self::Signed => 128,
            Self::ZeroAt(bits) => (2 << bits) - 1,
            Self::WithMin(bits) => (1 << bits) - 1,
        }
    }
}

/// Blocks of 256 weights in runs with integer scales.
pub(super) trait Format256: Tile {
    const CODES: Codes;
    /// Weights per run: 16 or 32.
    const RUN: usize;

    /// The codes of four weights: those of a group of one run of an octet. (Runs of 16 make two
    /// octets, runs of 32 make one.)
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int;
    /// The integer scales of the eight runs of an octet, as signed bytes, those of four runs in a lane.
    fn scales<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2];
    /// What sums of activations are multiplied with to correct for a minimum, or for a zero point, as
    /// that is the same for all weights of a run: the minima of the runs, in the same way, or the scales.
    #[inline(always)]
    fn mins<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2] {
        self.scales(simd, part, octet)
    }
    /// The scale of all: a weight is `d * scale * code - dmin * min`.
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float;
    /// The scale of all minima, for [`Codes::WithMin`].
    fn dmin<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        self.d(simd, part)
    }
}

/// Blocks of 32 weights with one scale.
pub(super) trait Format32: Tile {
    const CODES: Codes;

    /// The codes of four weights.
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int;
    /// The scale: a weight is `d * code + m`.
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float;
    /// The minimum, for [`Codes::WithMin`].
    fn m<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        self.d(simd, part)
    }
}

/// Weights that are numbers without a scale; a tile is one weight of each row.
pub(super) trait FormatFloat: Tile {
    fn weights<S: Simd>(&self, simd: S, part: usize) -> S::Float;
}

/// Defines a tile type, whose fields must be arrays of bytes.
macro_rules! tile {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        pub(super) struct $name { $($field: $type,)* }
        // SAFETY: all fields are arrays of bytes, and `repr(C)` puts no padding between them.
        unsafe impl Tile for $name {}
    };
}

tile! { F32 { value: Line, } }
tile! { F16 { value: HalfLine, } }
tile! { BF16 { value: HalfLine, } }

tile! { Q4_0 { d: HalfLine, nibbles: [Line; 4], } }
tile! { Q4_1 { d: HalfLine, m: HalfLine, nibbles: [Line; 4], } }
tile! {
    /// Bit `g` of a byte of `fifth_bits` belongs to group `g`.
    Q5_0 { d: HalfLine, fifth_bits: Line, nibbles: [Line; 4], }
}
tile! {
    /// Bit `g` of a byte of `fifth_bits` belongs to group `g`.
    Q5_1 { d: HalfLine, m: HalfLine, fifth_bits: Line, nibbles: [Line; 4], }
}
tile! { Q8_0 { d: HalfLine, bytes: [Line; 8], } }
tile! { IQ4NL { d: HalfLine, nibbles: [Line; 4], } }

tile! { Q2K { d: HalfLine, dmin: HalfLine, scales: [Line; 4], pairs: [[Line; 8]; 2], } }
tile! {
    /// The bit pairs of the first octet take turns with the third bits of both.
    Q3K { d: HalfLine, scales: [Line; 3], third_bits_and_pairs: [[Line; 2]; 8], pairs: [Line; 8], }
}
tile! { Q4K { d: HalfLine, dmin: HalfLine, scales: [Line; 3], nibbles: [Line; 32], } }
tile! {
    /// The first eight lines of nibbles take turns with the fifth bits.
    Q5K {
        d: HalfLine,
        dmin: HalfLine,
        scales: [Line; 3],
        fifth_bits_and_nibbles: [[Line; 2]; 8],
        nibbles: [Line; 24],
    }
}
tile! {
    /// The first eight lines of nibbles take turns with the bit pairs.
    HalfOfQ6K { nibbles_and_pairs: [[Line; 2]; 8], nibbles: [Line; 8], }
}
tile! { Q6K { d: HalfLine, scales: [Line; 4], octets: [HalfOfQ6K; 2], } }
tile! { IQ4XS { d: HalfLine, scales_high: HalfLine, scales_low: Line, nibbles: [Line; 32], } }

impl FormatFloat for F32 {
    #[inline(always)]
    fn weights<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.as_float(simd.words(&self.value, part))
    }
}

impl FormatFloat for F16 {
    #[inline(always)]
    fn weights<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.value, part)
    }
}

impl FormatFloat for BF16 {
    #[inline(always)]
    fn weights<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.as_float(simd.shift_left(simd.halves(&self.value, part), 16))
    }
}

/// Group `group` of eight, whose lower four are in the low nibbles and upper four in the high ones.
#[inline(always)]
fn nibbles_of_32<S: Simd>(simd: S, part: usize, lines: &[Line; 4], group: usize) -> S::Int {
    simd.take_bits(simd.words(&lines[group % 4], part), 4 * (group / 4), 0, 0x0f)
}

/// Group `group` of run `run` of eight, of which two share lines of nibbles.
#[inline(always)]
fn nibbles_of_256<S: Simd>(
    simd: S,
    part: usize,
    lines: &[Line; 32],
    run: usize,
    group: usize,
) -> S::Int {
    simd.take_bits(simd.words(&lines[8 * (run / 2) + group], part), 4 * (run % 2), 0, 0x0f)
}

impl Format32 for Q4_0 {
    const CODES: Codes = Codes::ZeroAt(3);

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        nibbles_of_32(simd, part, &self.nibbles, group)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

impl Format32 for Q4_1 {
    const CODES: Codes = Codes::WithMin(4);

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        nibbles_of_32(simd, part, &self.nibbles, group)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }

    #[inline(always)]
    fn m<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.m, part)
    }
}

impl Format32 for Q5_0 {
    const CODES: Codes = Codes::ZeroAt(4);

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        let fifth = simd.take_bits(simd.words(&self.fifth_bits, part), group, 4, 0x10);
        simd.or(nibbles_of_32(simd, part, &self.nibbles, group), fifth)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

impl Format32 for Q5_1 {
    const CODES: Codes = Codes::WithMin(5);

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        let fifth = simd.take_bits(simd.words(&self.fifth_bits, part), group, 4, 0x10);
        simd.or(nibbles_of_32(simd, part, &self.nibbles, group), fifth)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }

    #[inline(always)]
    fn m<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.m, part)
    }
}

impl Format32 for Q8_0 {
    const CODES: Codes = Codes::Signed;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        simd.words(&self.bytes[group], part)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

impl Format32 for IQ4NL {
    const CODES: Codes = Codes::Signed;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, group: usize) -> S::Int {
        simd.look_up(&IQ4_LEVELS, nibbles_of_32(simd, part, &self.nibbles, group))
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

/// The bit pairs of a run of 16, moved to bit `to`. An octet has eight lines: its even runs share the
/// first four and its odd runs the others, each a bit pair higher than the one before.
#[inline(always)]
fn bit_pairs<S: Simd>(simd: S, part: usize, line: &Line, run: usize, to: usize) -> S::Int {
    simd.take_bits(simd.words(line, part), 2 * (run / 2), to, 0x03 << to)
}

impl Format256 for Q2K {
    const CODES: Codes = Codes::WithMin(2);
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        bit_pairs(simd, part, &self.pairs[octet][4 * (run % 2) + group], run, 0)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2] {
        let first = simd.words(&self.scales[2 * octet], part);
        let second = simd.words(&self.scales[2 * octet + 1], part);
        [simd.take_bits(first, 0, 0, 0x0f), simd.take_bits(second, 0, 0, 0x0f)]
    }

    #[inline(always)]
    fn mins<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2] {
        let first = simd.words(&self.scales[2 * octet], part);
        let second = simd.words(&self.scales[2 * octet + 1], part);
        [simd.take_bits(first, 4, 0, 0x0f), simd.take_bits(second, 4, 0, 0x0f)]
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }

    #[inline(always)]
    fn dmin<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.dmin, part)
    }
}

impl Format256 for Q3K {
    const CODES: Codes = Codes::ZeroAt(2);
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        let index = 4 * (run % 2) + group;
        let [third_bits, first_pairs] = &self.third_bits_and_pairs[index];
        let pairs = if octet == 0 { first_pairs } else { &self.pairs[index] };
        let low = bit_pairs(simd, part, pairs, run, 0);
        // Both octets share eight lines of third bits, the second four bits higher.
        let third_bits = simd.words(third_bits, part);
        let third_bits = simd.shift_right(third_bits, 4 * octet);
        simd.or(low, simd.take_bits(third_bits, run / 2, 2, 0x04))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2] {
        // The low nibbles of the first octet are below those of the second; the high bit pairs of
        // four runs each follow each other.
        let high = simd.shift_right(simd.words(&self.scales[2], part), 4 * octet);
        let mut scales = [high; 2];
        for (i, scales) in scales.iter_mut().enumerate() {
            let low = simd.shift_right(simd.words(&self.scales[i], part), 4 * octet);
            let low = simd.take_bits(low, 0, 0, 0x0f);
            let from_zero = simd.or(low, simd.take_bits(high, 2 * i, 4, 0x30));
            *scales = simd.sub_bytes(from_zero, simd.splat_byte(32));
        }
        scales
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

/// The 6-bit scales of eight runs, in the 12 bytes that hold their minima too in `Q4_K` and `Q5_K`: four
/// scales, four minima, and the low nibbles of four more of both, whose high bits are in the first.
#[inline(always)]
fn six_bit_scales<S: Simd>(simd: S, part: usize, lines: &[Line; 3]) -> [S::Int; 2] {
    six_bits(simd, simd.words(&lines[0], part), simd.words(&lines[2], part))
}

/// The minima of the same runs.
#[inline(always)]
fn six_bit_mins<S: Simd>(simd: S, part: usize, lines: &[Line; 3]) -> [S::Int; 2] {
    let low_of_last = simd.shift_right(simd.words(&lines[2], part), 4);
    six_bits(simd, simd.words(&lines[1], part), low_of_last)
}

/// Four numbers in the low six bits of `first`, and four whose high bits are above these and whose low
/// nibbles are in `low_of_last`.
#[inline(always)]
fn six_bits<S: Simd>(simd: S, first: S::Int, low_of_last: S::Int) -> [S::Int; 2] {
    let low = simd.take_bits(low_of_last, 0, 0, 0x0f);
    [simd.take_bits(first, 0, 0, 0x3f), simd.or(low, simd.take_bits(first, 6, 4, 0x30))]
}

impl Format256 for Q4K {
    const CODES: Codes = Codes::WithMin(4);
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        _octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        nibbles_of_256(simd, part, &self.nibbles, run, group)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, _octet: usize) -> [S::Int; 2] {
        six_bit_scales(simd, part, &self.scales)
    }

    #[inline(always)]
    fn mins<S: Simd>(&self, simd: S, part: usize, _octet: usize) -> [S::Int; 2] {
        six_bit_mins(simd, part, &self.scales)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }

    #[inline(always)]
    fn dmin<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.dmin, part)
    }
}

impl Format256 for Q5K {
    const CODES: Codes = Codes::WithMin(5);
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        _octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        let [fifth_bits, first_nibbles] = &self.fifth_bits_and_nibbles[group];
        let nibbles =
            if run < 2 { first_nibbles } else { &self.nibbles[8 * (run / 2 - 1) + group] };
        let low = simd.take_bits(simd.words(nibbles, part), 4 * (run % 2), 0, 0x0f);
        simd.or(low, simd.take_bits(simd.words(fifth_bits, part), run, 4, 0x10))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, _octet: usize) -> [S::Int; 2] {
        six_bit_scales(simd, part, &self.scales)
    }

    #[inline(always)]
    fn mins<S: Simd>(&self, simd: S, part: usize, _octet: usize) -> [S::Int; 2] {
        six_bit_mins(simd, part, &self.scales)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }

    #[inline(always)]
    fn dmin<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.dmin, part)
    }
}

impl Format256 for Q6K {
    const CODES: Codes = Codes::ZeroAt(5);
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        // An octet has 16 lines of nibbles: four runs in the low ones, then four in the high ones.
        let HalfOfQ6K { nibbles_and_pairs, nibbles } = &self.octets[octet];
        let low = if run % 4 < 2 {
            &nibbles_and_pairs[4 * (run % 4) + group][0]
        } else {
            &nibbles[4 * (run % 4 - 2) + group]
        };
        let low = simd.take_bits(simd.words(low, part), 4 * (run / 4), 0, 0x0f);
        let pairs = &nibbles_and_pairs[4 * (run % 2) + group][1];
        simd.or(low, bit_pairs(simd, part, pairs, run, 4))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, octet: usize) -> [S::Int; 2] {
        [simd.words(&self.scales[2 * octet], part), simd.words(&self.scales[2 * octet + 1], part)]
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}

impl Format256 for IQ4XS {
    const CODES: Codes = Codes::Signed;
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(
        &self,
        simd: S,
        part: usize,
        _octet: usize,
        run: usize,
        group: usize,
    ) -> S::Int {
        let line = simd.words(&self.nibbles[4 * run + group % 4], part);
        simd.look_up(&IQ4_LEVELS, simd.take_bits(line, 4 * (group / 4), 0, 0x0f))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize, _octet: usize) -> [S::Int; 2] {
        let low = simd.words(&self.scales_low, part);
        let high = simd.halves(&self.scales_high, part);
        // Run `i` has bits `4i` of `low` and `2i` of `high`; its byte is number `i % 4`.
        let mut scales = [simd.splat(0); 2];
        for run in 0..8 {
            let low = simd.and(simd.shift_right(low, 4 * run), simd.splat(0x0f));
            let high = simd.and(simd.shift_right(high, 2 * run), simd.splat(0x03));
            let from_zero = simd.or(low, simd.shift_left(high, 4));
            let in_place = simd.shift_left(from_zero, 8 * (run % 4));
            scales[run / 4] = simd.or(scales[run / 4], in_place);
        }
        let zero = simd.splat_byte(32);
        [simd.sub_bytes(scales[0], zero), simd.sub_bytes(scales[1], zero)]
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Float {
        simd.half_floats(&self.d, part)
    }
}
