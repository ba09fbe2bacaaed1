//! The tiles of each weight type, and how a kernel gets codes and scales out of them.
//!
//! The structs mirror `weights::tile`: the fields of a block in the same order, each unit 16 times.
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
    /// The value is the code, of 0 to 63, less `2^n`.
    ZeroAt(u32),
    /// The value is the code, of 0 to 63, and a minimum is taken away or added.
    WithMin,
}

/// Blocks of 256 weights in runs with integer scales.
pub(super) trait Format256: Tile {
    const CODES: Codes;
    /// Weights per run: 16 or 32.
    const RUN: usize;

    /// The codes of four weights.
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int;
    /// The scales of the whole block.
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S>;
}

/// The scales of a block of 256: a weight is `d * scale * code - dmin * min`.
pub(super) struct Scales<S: Simd> {
    /// Signed bytes, those of four runs in a lane.
    pub(super) scales: [S::Int; 4],
    /// Bytes of 0 to 127, those of four runs in a lane. Repeats the scales where there are no minima.
    pub(super) mins: [S::Int; 4],
    pub(super) d: S::Float,
    /// Repeats `d` where there are no minima.
    pub(super) dmin: S::Float,
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

tile! { Q2K { d: HalfLine, dmin: HalfLine, scales: [Line; 4], pairs: [Line; 16], } }
tile! { Q3K { d: HalfLine, scales: [Line; 3], third_bits: [Line; 8], pairs: [Line; 16], } }
tile! { Q4K { d: HalfLine, dmin: HalfLine, scales: [Line; 3], nibbles: [Line; 32], } }
tile! {
    Q5K { d: HalfLine, dmin: HalfLine, scales: [Line; 3], fifth_bits: [Line; 8], nibbles: [Line; 32], }
}
tile! { Q6K { d: HalfLine, scales: [Line; 4], pairs: [Line; 16], nibbles: [Line; 32], } }
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
    const CODES: Codes = Codes::WithMin;

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
    const CODES: Codes = Codes::WithMin;

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

/// Where the bit pairs of a run of 16 lie: eight runs make a half of 128 weights, in which the
/// quarters of two runs share eight lines, each a bit pair higher than the one before.
struct PairPlace {
    line: usize,
    bit: usize,
}

#[inline(always)]
fn pair_place(run: usize, group: usize) -> PairPlace {
    let (half, quarter, odd) = (run / 8, run % 8 / 2, run % 2);
    PairPlace { line: 8 * half + 4 * odd + group, bit: 2 * quarter }
}

impl Format256 for Q2K {
    const CODES: Codes = Codes::WithMin;
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        let place = pair_place(run, group);
        simd.take_bits(simd.words(&self.pairs[place.line], part), place.bit, 0, 0x03)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        let nibble =
            |i: usize, bit| simd.take_bits(simd.words(&self.scales[i], part), bit, 0, 0x0f);
        Scales {
            scales: [nibble(0, 0), nibble(1, 0), nibble(2, 0), nibble(3, 0)],
            mins: [nibble(0, 4), nibble(1, 4), nibble(2, 4), nibble(3, 4)],
            d: simd.half_floats(&self.d, part),
            dmin: simd.half_floats(&self.dmin, part),
        }
    }
}

impl Format256 for Q3K {
    const CODES: Codes = Codes::ZeroAt(2);
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        let place = pair_place(run, group);
        let low = simd.take_bits(simd.words(&self.pairs[place.line], part), place.bit, 0, 0x03);
        // All 256 weights share eight lines of third bits, each 32 weights a bit higher.
        let third_bits = simd.words(&self.third_bits[4 * (run % 2) + group], part);
        simd.or(low, simd.take_bits(third_bits, run / 2, 2, 0x04))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        let [low_a, low_b, high] = [0, 1, 2].map(|i| simd.words(&self.scales[i], part));
        let scale = |low, low_bit, high_bit| {
            let low = simd.take_bits(low, low_bit, 0, 0x0f);
            let scale = simd.or(low, simd.take_bits(high, high_bit, 4, 0x30));
            simd.sub_bytes(scale, simd.splat_byte(32))
        };
        let scales =
            [scale(low_a, 0, 0), scale(low_b, 0, 2), scale(low_a, 4, 4), scale(low_b, 4, 6)];
        let d = simd.half_floats(&self.d, part);
        Scales { scales, mins: scales, d, dmin: d }
    }
}

/// The 6-bit scales and minima of eight runs in 12 bytes, as `Q4_K` and `Q5_K` have them: four
/// scales, four minima, and the low nibbles of four more of both, whose high bits are in the first.
#[inline(always)]
fn six_bit_scales<S: Simd>(
    simd: S,
    part: usize,
    lines: &[Line; 3],
    d: &HalfLine,
    dmin: &HalfLine,
) -> Scales<S> {
    let [first_scales, first_mins, low] = [0, 1, 2].map(|i| simd.words(&lines[i], part));
    let scales_0 = simd.take_bits(first_scales, 0, 0, 0x3f);
    let mins_0 = simd.take_bits(first_mins, 0, 0, 0x3f);
    let scales_4 =
        simd.or(simd.take_bits(low, 0, 0, 0x0f), simd.take_bits(first_scales, 6, 4, 0x30));
    let mins_4 = simd.or(simd.take_bits(low, 4, 0, 0x0f), simd.take_bits(first_mins, 6, 4, 0x30));
    Scales {
        scales: [scales_0, scales_4, scales_0, scales_4],
        mins: [mins_0, mins_4, mins_0, mins_4],
        d: simd.half_floats(d, part),
        dmin: simd.half_floats(dmin, part),
    }
}

impl Format256 for Q4K {
    const CODES: Codes = Codes::WithMin;
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        nibbles_of_256(simd, part, &self.nibbles, run, group)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        six_bit_scales(simd, part, &self.scales, &self.d, &self.dmin)
    }
}

impl Format256 for Q5K {
    const CODES: Codes = Codes::WithMin;
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        let fifth = simd.take_bits(simd.words(&self.fifth_bits[group], part), run, 4, 0x10);
        simd.or(nibbles_of_256(simd, part, &self.nibbles, run, group), fifth)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        six_bit_scales(simd, part, &self.scales, &self.d, &self.dmin)
    }
}

impl Format256 for Q6K {
    const CODES: Codes = Codes::ZeroAt(5);
    const RUN: usize = 16;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        // A half has 16 lines of nibbles: four runs in the low ones, then four in the high ones.
        let (half, in_half) = (run / 8, run % 8);
        let nibbles = simd.words(&self.nibbles[16 * half + 4 * (in_half % 4) + group], part);
        let low = simd.take_bits(nibbles, 4 * (in_half / 4), 0, 0x0f);
        let place = pair_place(run, group);
        simd.or(low, simd.take_bits(simd.words(&self.pairs[place.line], part), place.bit, 4, 0x30))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        let scales = [0, 1, 2, 3].map(|i| simd.words(&self.scales[i], part));
        let d = simd.half_floats(&self.d, part);
        Scales { scales, mins: scales, d, dmin: d }
    }
}

impl Format256 for IQ4XS {
    const CODES: Codes = Codes::Signed;
    const RUN: usize = 32;

    #[inline(always)]
    fn codes<S: Simd>(&self, simd: S, part: usize, run: usize, group: usize) -> S::Int {
        let line = simd.words(&self.nibbles[4 * run + group % 4], part);
        simd.look_up(&IQ4_LEVELS, simd.take_bits(line, 4 * (group / 4), 0, 0x0f))
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, simd: S, part: usize) -> Scales<S> {
        let low = simd.words(&self.scales_low, part);
        let high = simd.halves(&self.scales_high, part);
        // Run `i` has bits `4i` of `low` and `2i` of `high`; its byte is number `i % 4`.
        let four = |first: usize| {
            let mut four = simd.splat(0);
            for byte in 0..4 {
                let run = first + byte;
                let low = simd.and(simd.shift_right(low, 4 * run), simd.splat(0x0f));
                let high = simd.and(simd.shift_right(high, 2 * run), simd.splat(0x03));
                let scale = simd.or(low, simd.shift_left(high, 4));
                four = simd.or(four, simd.shift_left(scale, 8 * byte));
            }
            simd.sub_bytes(four, simd.splat_byte(32))
        };
        let (scales_0, scales_4) = (four(0), four(4));
        let scales = [scales_0, scales_4, scales_0, scales_4];
        let d = simd.half_floats(&self.d, part);
        Scales { scales, mins: scales, d, dmin: d }
    }
}
