//! The vector operations that the matmul kernels are written in, one implementation per processor
//! level.
//!
//! A [`Simd`] value is a token: one exists only where its instructions were detected, which is why
//! its operations are safe to call. They become single instructions once they are inlined into a
//! function that is compiled for these instructions, and [`Simd::vectorize`] is such a function.

use crate::weights::TILE_ROWS;

/// A line of a tile: four bytes of each of 16 rows.
pub(super) type Line = [u8; 4 * TILE_ROWS];

/// Half a line: two bytes of each of 16 rows.
pub(super) type HalfLine = [u8; 2 * TILE_ROWS];

/// Work that is compiled for each level.
pub(super) trait Kernel {
    /// Does the work. Implementations are `#[inline(always)]`, as all that they call must be.
    fn run<S: Simd>(self, simd: S);
}

/// Vectors of 32-bit lanes, a row of the matrix in each lane.
pub(super) trait Simd: Copy + Send + Sync {
    /// A register of integers: one of 32 bits, two of 16, or four of 8 in each lane.
    type Int: Copy;
    /// A register of `f32`.
    type Float: Copy;

    /// Registers that 16 rows take.
    const NUM_PARTS: usize;
    /// Columns that a kernel can work on at once before it runs out of registers.
    const MAX_COLUMNS: usize;
    /// If [`dot_signed`](Self::dot_signed) adds a zero point of `2^n` to the codes, this is `n`.
    const SIGNED_ZERO: Option<u32>;

    /// Runs `kernel`, compiled for this level.
    fn vectorize<K: Kernel>(self, kernel: K);

    /// Part `part` of a line.
    fn words(self, line: &Line, part: usize) -> Self::Int;
    /// Part `part` of half a line, each lane's 16 bits extended with zeros.
    fn halves(self, line: &HalfLine, part: usize) -> Self::Int;
    /// Part `part` of half a line of half-precision numbers.
    fn half_floats(self, line: &HalfLine, part: usize) -> Self::Float;

    /// `value` in each lane.
    fn splat(self, value: i32) -> Self::Int;
    /// `value` in each lane.
    fn splat_float(self, value: f32) -> Self::Float;

    fn and(self, a: Self::Int, b: Self::Int) -> Self::Int;
    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int;
    fn add(self, a: Self::Int, b: Self::Int) -> Self::Int;
    fn sub(self, a: Self::Int, b: Self::Int) -> Self::Int;
    /// Subtracts byte from byte.
    fn sub_bytes(self, a: Self::Int, b: Self::Int) -> Self::Int;
    /// The lower 32 bits of each product.
    fn mul(self, a: Self::Int, b: Self::Int) -> Self::Int;
    fn shift_left(self, a: Self::Int, bits: usize) -> Self::Int;
    /// Shifts zeros in.
    fn shift_right(self, a: Self::Int, bits: usize) -> Self::Int;
    /// Shifts copies of the sign in.
    fn shift_right_signed(self, a: Self::Int, bits: usize) -> Self::Int;
    /// Replaces each byte, which must be below 16, by that entry of the table.
    fn look_up(self, table: &[i8; 16], bytes: Self::Int) -> Self::Int;

    /// Of each lane's signed bytes, those at 0 and 2, widened to 16 bits.
    fn even_bytes(self, a: Self::Int) -> Self::Int;
    /// Of each lane's signed bytes, those at 1 and 3, widened to 16 bits.
    fn odd_bytes(self, a: Self::Int) -> Self::Int;

    /// Multiplies four codes of each lane, of 0 to 63, with four activation codes, and adds the
    /// products to `sums`: to one sum of 32 bits, or to two of 16 bits that are added up by
    /// [`gather`](Self::gather) before they overflow.
    fn dot(self, sums: Self::Int, codes: Self::Int, activations: i32) -> Self::Int;
    /// How many times [`dot`](Self::dot) can add to the same sums that began as zeros, where codes
    /// are `max_code` at most; `None` where a lane's 32 bits hold whatever there is to add.
    fn dots_per_gather(max_code: i32) -> Option<usize>;
    /// The same, computed here and now as far as the compiler knows.
    fn pin(self, a: Self::Int) -> Self::Int;
    /// Adds the two sums of 16 bits that [`dot`](Self::dot) made in each lane, times the lane's two
    /// factors, to its sum of 32 bits.
    fn gather(self, _totals: Self::Int, _sums: Self::Int, _factors: Self::Int) -> Self::Int {
        unreachable!("where `dots_per_gather` is `None` nothing is gathered")
    }
    /// Adds to each lane the products of its four codes, of -128 to 127, plus the zero point of
    /// [`SIGNED_ZERO`](Self::SIGNED_ZERO), with four activation codes of -127 to 127.
    fn dot_signed(self, sums: Self::Int, codes: Self::Int, activations: i32) -> Self::Int;
    /// Adds to each lane the products of its two 16-bit numbers with those of `activations`.
    fn dot_pairs(self, sums: Self::Int, pairs: Self::Int, activations: i32) -> Self::Int;

    fn to_float(self, a: Self::Int) -> Self::Float;
    /// The same bits, read as `f32`.
    fn as_float(self, bits: Self::Int) -> Self::Float;
    fn mul_floats(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn add_floats(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// `c - a * b`, rounded once.
    fn neg_mul_add(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// Writes the lanes to part `part` of 16 rows' values.
    fn store(self, a: Self::Float, rows: &mut [f32; TILE_ROWS], part: usize);

    /// Asks for the cache line at an address, which will be read soon. Any address will do: where
    /// there is no memory, nothing happens.
    fn prefetch(self, address: *const u8);

    /// `byte` in each of the four bytes of each lane.
    #[inline(always)]
    fn splat_byte(self, byte: u8) -> Self::Int {
        self.splat(i32::from_le_bytes([byte; 4]))
    }

    /// Moves bit `from` of each byte to bit `to`, its upper neighbors along with it, and keeps the
    /// bits of `mask`. (What crosses from one byte to the next must be outside the mask.)
    #[inline(always)]
    fn take_bits(self, a: Self::Int, from: usize, to: usize, mask: u8) -> Self::Int {
        let moved =
            if to < from { self.shift_right(a, from - to) } else { self.shift_left(a, to - from) };
        self.and(moved, self.splat_byte(mask))
    }

    /// The lower half of each lane in both its halves.
    #[inline(always)]
    fn twice(self, a: Self::Int) -> Self::Int {
        self.or(self.and(a, self.splat(0xffff)), self.shift_left(a, 16))
    }

    /// The signed byte `index` of each lane, widened to 32 bits.
    #[inline(always)]
    fn widen_byte(self, a: Self::Int, index: usize) -> Self::Int {
        self.shift_right_signed(self.shift_left(a, 24 - 8 * index), 24)
    }
}

/// Defines operations of a level. The bodies are calls of intrinsics.
macro_rules! operations {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe, reason = "a level that every processor has needs no proof")]
        fn $name(self, $($arg: $type),*) $(-> $result)? {
            // SAFETY: the token `self` was made where these instructions had been detected. Memory
            // is only reached through references to arrays as long as what is loaded or stored;
            // a prefetch reaches none and never faults.
            unsafe { $body }
        }
    )*};
}

pub(super) use operations;
