//! The tiled layout: 16 rows side by side, so that one vector register holds the same weights of
//! each.
//!
//! A *tile* is one block of 16 consecutive rows. It has the same bytes as the 16 GGUF blocks, in
//! another order: each block is cut into *units* of 2 or 4 bytes, and a unit of row 0 is followed by
//! the same unit of rows 1 to 15. Such a group of 16 units is a *line* of 32 or 64 bytes. A line
//! of codes gives each of 16 lanes four weights along the row, which is what the instructions for
//! products of bytes take, and sums stay in their lanes from the first block to the last.
//!
//! GGUF puts codes `k` and `k + 16` (or `k + 32`) into one byte, so that both halves of a line are
//! four consecutive weights and no code is ever moved within its unit.

use super::WeightType;

/// Rows per tile: the 32-bit lanes of a 512-bit register.
pub(crate) const TILE_ROWS: usize = 16;

/// A part of a block whose units are all treated alike.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Where the field begins in the GGUF block. (In a tile, fields follow each other without gaps.)
    start: usize,
    /// The unit that rows take turns in.
    unit: Unit,
    /// Units per block.
    count: usize,
}

/// How a field is cut.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// 2 bytes: a half-precision scale.
    Half,
    /// 4 bytes: four codes, eight half codes, or four scales.
    Word,
    /// 4 bytes with one bit for each of 32 weights: bit `4g + j` goes to bit `g` of byte `j`, as if
    /// the bits stood in bytes below codes `4g + j` like the bits of other fields do.
    Bits,
}

const fn halves(start: usize, count: usize) -> Field {
    Field { start, unit: Unit::Half, count }
}

const fn words(start: usize, count: usize) -> Field {
    Field { start, unit: Unit::Word, count }
}

const fn bits(start: usize) -> Field {
    Field { start, unit: Unit::Bits, count: 1 }
}

/// The fields of a block in their order within a tile. The types of `matmul::formats` name them.
fn fields(ty: WeightType) -> &'static [Field] {
    match ty {
        WeightType::F32 => const { &[words(0, 1)] },
        WeightType::F16 | WeightType::BF16 => const { &[halves(0, 1)] },
        WeightType::Q4_0 | WeightType::IQ4_NL => const { &[halves(0, 1), words(2, 4)] },
        WeightType::Q4_1 => const { &[halves(0, 2), words(4, 4)] },
        WeightType::Q5_0 => const { &[halves(0, 1), bits(2), words(6, 4)] },
        WeightType::Q5_1 => const { &[halves(0, 2), bits(4), words(8, 4)] },
        WeightType::Q8_0 => const { &[halves(0, 1), words(2, 8)] },
        WeightType::Q2_K => const { &[halves(80, 2), words(0, 4), words(16, 16)] },
        WeightType::Q3_K => const { &[halves(108, 1), words(96, 3), words(0, 8), words(32, 16)] },
        WeightType::Q4_K => const { &[halves(0, 2), words(4, 3), words(16, 32)] },
        WeightType::Q5_K => const { &[halves(0, 2), words(4, 3), words(16, 8), words(48, 32)] },
        // Each half of the block keeps its parts together, so that memory is read front to back.
        WeightType::Q6_K => {
            const {
                &[
                    halves(208, 1),
                    words(192, 4),
                    words(128, 8),
                    words(0, 16),
                    words(160, 8),
                    words(64, 16),
                ]
            }
        }
        WeightType::IQ4_XS => const { &[halves(0, 2), words(4, 1), words(8, 32)] },
    }
}

impl Field {
    fn bytes(self) -> usize {
        match self.unit {
            Unit::Half => 2 * self.count,
            Unit::Word | Unit::Bits => 4 * self.count,
        }
    }
}

/// Writes one GGUF row into its lane of a row of tiles, which has 16 times the row's bytes.
pub(crate) fn write_lane(ty: WeightType, lane: usize, row: &[u8], tiles: &mut [u8]) {
    assert_eq!(tiles.len(), TILE_ROWS * row.len(), "a row of tiles holds 16 rows");
    let block_bytes = ty.block_bytes();
    for (block, tile) in
        row.chunks_exact(block_bytes).zip(tiles.chunks_exact_mut(TILE_ROWS * block_bytes))
    {
        let mut rest = tile;
        for field in fields(ty) {
            let source = &block[field.start..][..field.bytes()];
            let (lines, after) = rest.split_at_mut(TILE_ROWS * field.bytes());
            match field.unit {
                Unit::Half => interleave::<2>(source, lane, lines, |unit| unit),
                Unit::Word => interleave::<4>(source, lane, lines, |unit| unit),
                Unit::Bits => interleave::<4>(source, lane, lines, spread_bits),
            }
            rest = after;
        }
    }
}

/// Reads one row of GGUF bytes back out of its lane: the inverse of [`write_lane`].
pub(crate) fn read_lane(ty: WeightType, lane: usize, tiles: &[u8], row: &mut [u8]) {
    assert_eq!(tiles.len(), TILE_ROWS * row.len(), "a row of tiles holds 16 rows");
    let block_bytes = ty.block_bytes();
    for (block, tile) in
        row.chunks_exact_mut(block_bytes).zip(tiles.chunks_exact(TILE_ROWS * block_bytes))
    {
        let mut rest = tile;
        for field in fields(ty) {
            let target = &mut block[field.start..][..field.bytes()];
            let (lines, after) = rest.split_at(TILE_ROWS * field.bytes());
            match field.unit {
                Unit::Half => deinterleave::<2>(lines, lane, target, |unit| unit),
                Unit::Word => deinterleave::<4>(lines, lane, target, |unit| unit),
                Unit::Bits => deinterleave::<4>(lines, lane, target, gather_bits),
            }
            rest = after;
        }
    }
}

fn interleave<const UNIT: usize>(
    source: &[u8],
    lane: usize,
    lines: &mut [u8],
    change: impl Fn([u8; UNIT]) -> [u8; UNIT],
) {
    let slots = lines.as_chunks_mut::<UNIT>().0.iter_mut().skip(lane).step_by(TILE_ROWS);
    for (unit, slot) in source.as_chunks::<UNIT>().0.iter().zip(slots) {
        *slot = change(*unit);
    }
}

fn deinterleave<const UNIT: usize>(
    lines: &[u8],
    lane: usize,
    target: &mut [u8],
    change: impl Fn([u8; UNIT]) -> [u8; UNIT],
) {
    let slots = lines.as_chunks::<UNIT>().0.iter().skip(lane).step_by(TILE_ROWS);
    for (unit, slot) in target.as_chunks_mut::<UNIT>().0.iter_mut().zip(slots) {
        *unit = change(*slot);
    }
}

/// Moves bit `4g + j` to bit `8j + g`: the five bits of the index are rotated by two.
fn spread_bits(word: [u8; 4]) -> [u8; 4] {
    unshuffle(unshuffle(u32::from_le_bytes(word))).to_le_bytes()
}

/// Undoes [`spread_bits`]: three more rotations make five, which is none.
fn gather_bits(word: [u8; 4]) -> [u8; 4] {
    unshuffle(unshuffle(unshuffle(u32::from_le_bytes(word)))).to_le_bytes()
}

/// Sends the even bits to the lower half and the odd bits to the upper half, which rotates the
/// index of each bit by one (Hacker's Delight, 7-2).
fn unshuffle(word: u32) -> u32 {
    let swap = |word: u32, mask: u32, by: u32| {
        let differing = (word ^ (word >> by)) & mask;
        word ^ differing ^ (differing << by)
    };
    let word = swap(word, 0x2222_2222, 1);
    let word = swap(word, 0x0c0c_0c0c, 2);
    let word = swap(word, 0x00f0_00f0, 4);
    swap(word, 0x0000_ff00, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_block_has_one_place_in_a_tile() {
        for ty in WeightType::ALL {
            let mut ranges: Vec<_> =
                fields(ty).iter().map(|f| f.start..f.start + f.bytes()).collect();
            ranges.sort_by_key(|range| range.start);
            let mut end = 0;
            for range in ranges {
                assert_eq!(range.start, end, "{ty}: a gap or an overlap");
                end = range.end;
            }
            assert_eq!(end, ty.block_bytes(), "{ty}");
        }
    }

    #[test]
    fn each_fifth_bit_goes_below_its_code() {
        for group in 0..8 {
            for j in 0..4 {
                let word = (1u32 << (4 * group + j)).to_le_bytes();
                let spread = spread_bits(word);
                assert_eq!(u32::from_le_bytes(spread), 1 << (8 * j + group));
                assert_eq!(gather_bits(spread), word);
            }
        }
    }
}
