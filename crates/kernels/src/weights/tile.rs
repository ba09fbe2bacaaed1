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

use super::{
    WeightType,
    turn::{self, CHUNK_BYTES, Chunk},
};

/// Rows per tile: the 32-bit lanes of a 512-bit register.
pub(crate) const TILE_ROWS: usize = 16;

/// Words of a block that make lines of a tile.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Where the field begins in the GGUF block.
    start: usize,
    /// The unit that rows take turns in.
    unit: Unit,
    /// Units per block.
    count: usize,
    /// Where the field's first line begins in the tile.
    target: usize,
    /// From one of its lines to the next.
    stride: usize,
}

/// How a field is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// 2 bytes: a half-precision scale.
    Half,
    /// 4 bytes: four codes, eight half codes, or four scales.
    Word,
    /// 4 bytes with one bit for each of 32 weights: bit `4g + j` goes to bit `g` of byte `j`, as if
    /// the bits stood in bytes below codes `4g + j` like the bits of other fields do.
    Bits,
}

impl Unit {
    const fn bytes(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Word | Self::Bits => 4,
        }
    }
}

/// The most fields that a tile has.
const MAX_FIELDS: usize = 8;

/// The fields of a tile, put together in the order in which their lines lie in it.
#[derive(Clone, Copy, Debug)]
struct Fields {
    fields: [Field; MAX_FIELDS],
    num_fields: usize,
    num_bytes: usize,
}

impl Fields {
    const fn new() -> Self {
        let none = Field { start: 0, unit: Unit::Word, count: 0, target: 0, stride: 0 };
        Self { fields: [none; MAX_FIELDS], num_fields: 0, num_bytes: 0 }
    }

    /// `count` half-precision numbers.
    const fn halves(self, start: usize, count: usize) -> Self {
        let line = TILE_ROWS * Unit::Half.bytes();
        self.and(start, Unit::Half, count, 0, line).end(count * line)
    }

    /// `count` words.
    const fn words(self, start: usize, count: usize) -> Self {
        let line = TILE_ROWS * Unit::Word.bytes();
        self.and(start, Unit::Word, count, 0, line).end(count * line)
    }

    /// A word of bits.
    const fn bits(self, start: usize) -> Self {
        let line = TILE_ROWS * Unit::Bits.bytes();
        self.and(start, Unit::Bits, 1, 0, line).end(line)
    }

    /// `count` words from each of two places, whose lines take turns.
    const fn turns(self, first: usize, second: usize, count: usize) -> Self {
        let line = TILE_ROWS * Unit::Word.bytes();
        self.and(first, Unit::Word, count, 0, 2 * line)
            .and(second, Unit::Word, count, line, 2 * line)
            .end(2 * count * line)
    }

    const fn and(
        mut self,
        start: usize,
        unit: Unit,
        count: usize,
        skip: usize,
        stride: usize,
    ) -> Self {
        let target = self.num_bytes + skip;
        self.fields[self.num_fields] = Field { start, unit, count, target, stride };
        self.num_fields += 1;
        self
    }

    const fn end(mut self, num_bytes: usize) -> Self {
        self.num_bytes += num_bytes;
        self
    }

    fn iter(&self) -> impl Iterator<Item = &Field> {
        self.fields[..self.num_fields].iter()
    }
}

/// The fields of a tile. The types of `matmul::formats` name them.
///
/// Lines lie in the order in which a kernel comes to them: processors fetch ahead what is read front
/// to back, and read it up to twice as fast as two fields side by side (measured for `Q6_K` on
/// Zen 4).
fn fields(ty: WeightType) -> &'static Fields {
    const NEW: Fields = Fields::new();
    match ty {
        WeightType::F32 => const { &NEW.words(0, 1) },
        WeightType::F16 | WeightType::BF16 => const { &NEW.halves(0, 1) },
        WeightType::Q4_0 | WeightType::IQ4_NL => const { &NEW.halves(0, 1).words(2, 4) },
        WeightType::Q4_1 => const { &NEW.halves(0, 2).words(4, 4) },
        WeightType::Q5_0 => const { &NEW.halves(0, 1).bits(2).words(6, 4) },
        WeightType::Q5_1 => const { &NEW.halves(0, 2).bits(4).words(8, 4) },
        WeightType::Q8_0 => const { &NEW.halves(0, 1).words(2, 8) },
        WeightType::Q2_K => const { &NEW.halves(80, 2).words(0, 4).words(16, 16) },
        WeightType::Q3_K => const { &NEW.halves(108, 1).words(96, 3).turns(0, 32, 8).words(64, 8) },
        WeightType::Q4_K => const { &NEW.halves(0, 2).words(4, 3).words(16, 32) },
        WeightType::Q5_K => const { &NEW.halves(0, 2).words(4, 3).turns(16, 48, 8).words(80, 24) },
        WeightType::Q6_K => {
            const {
                &NEW.halves(208, 1)
                    .words(192, 4)
                    .turns(0, 128, 8)
                    .words(32, 8)
                    .turns(64, 160, 8)
                    .words(96, 8)
            }
        }
        WeightType::IQ4_XS => const { &NEW.halves(0, 2).words(4, 1).words(8, 32) },
    }
}

impl Field {
    /// The bytes it takes of a block.
    fn bytes(&self) -> usize {
        self.unit.bytes() * self.count
    }
}

/// Writes GGUF rows, of which there are up to 16 of `row_bytes` in `rows`, into a row of tiles. Lanes
/// without a row are left as they are.
pub(crate) fn write_rows(ty: WeightType, rows: &[u8], row_bytes: usize, tiles: &mut [u8]) {
    assert_eq!(tiles.len(), TILE_ROWS * row_bytes, "a row of tiles holds 16 rows");
    // A plain number is a block of its own. All of a row are taken at once, as one field.
    let is_plain = ty.block_len() == 1;
    let block_bytes = if is_plain { row_bytes } else { ty.block_bytes() };
    let mut fields = *fields(ty);
    if is_plain {
        fields.fields[0].count = row_bytes / ty.block_bytes();
    }
    let num_rows = rows.len() / row_bytes;
    for (index, tile) in tiles.chunks_exact_mut(TILE_ROWS * block_bytes).enumerate() {
        let start = index * block_bytes;
        let mut blocks: [&[u8]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (block, row) in blocks.iter_mut().zip(rows.chunks_exact(row_bytes)) {
            *block = &row[start..start + block_bytes];
        }
        let blocks = &blocks[..num_rows];
        for field in fields.iter() {
            match field.unit {
                Unit::Half => write_field::<2>(field, blocks, tile, turn::halves, |unit| unit),
                Unit::Word => write_field::<4>(field, blocks, tile, turn::words, |unit| unit),
                Unit::Bits => write_units::<4>(field, 0, blocks, 0, tile, spread_bits),
            }
        }
    }
}

/// Writes a field: four rows by 16 bytes at a time as far as there are so many, then one by one.
#[inline(always)]
fn write_field<const UNIT: usize>(
    field: &Field,
    blocks: &[&[u8]],
    tile: &mut [u8],
    turn: impl Fn([Chunk; 4]) -> [Chunk; 4],
    as_it_is: impl Fn([u8; UNIT]) -> [u8; UNIT],
) {
    let bytes = field.start..field.start + field.bytes();
    let num_chunks = bytes.len() / CHUNK_BYTES;
    let (fours, rest) = blocks.as_chunks::<4>();
    if num_chunks > 0 {
        for (i, four) in fours.iter().enumerate() {
            let [a, b, c, d] = four.map(|block| block[bytes.clone()].as_chunks().0);
            let mut place = field.target + 4 * i * UNIT;
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                for lanes in turn([*a, *b, *c, *d]).as_flattened().chunks_exact(4 * UNIT) {
                    tile[place..place + 4 * UNIT].copy_from_slice(lanes);
                    place += field.stride;
                }
            }
        }
        write_units(field, 0, rest, 4 * fours.len(), tile, &as_it_is);
    }
    let num_done = num_chunks * CHUNK_BYTES / UNIT;
    if num_done < field.count {
        let blocks = if num_done == 0 { blocks } else { fours.as_flattened() };
        write_units(field, num_done, blocks, 0, tile, &as_it_is);
    }
}

/// Writes a field's units from number `first` on into the lanes from `first_lane` on.
#[inline(always)]
fn write_units<const UNIT: usize>(
    field: &Field,
    first: usize,
    blocks: &[&[u8]],
    first_lane: usize,
    tile: &mut [u8],
    change: impl Fn([u8; UNIT]) -> [u8; UNIT],
) {
    for unit in first..field.count {
        let source = field.start + unit * UNIT;
        let line = field.target + unit * field.stride + first_lane * UNIT;
        let lanes = tile[line..line + blocks.len() * UNIT].as_chunks_mut::<UNIT>().0;
        for (lane, block) in lanes.iter_mut().zip(blocks) {
            let unit = block[source..].first_chunk().expect("a block has all units");
            *lane = change(*unit);
        }
    }
}

/// Reads one row of GGUF bytes back out of its lane: the inverse of [`write_rows`].
pub(crate) fn read_lane(ty: WeightType, lane: usize, tiles: &[u8], row: &mut [u8]) {
    assert_eq!(tiles.len(), TILE_ROWS * row.len(), "a row of tiles holds 16 rows");
    let block_bytes = ty.block_bytes();
    for (block, tile) in
        row.chunks_exact_mut(block_bytes).zip(tiles.chunks_exact(TILE_ROWS * block_bytes))
    {
        for field in fields(ty).iter() {
            match field.unit {
                Unit::Half => read_field::<2>(field, tile, lane, block, |unit| unit),
                Unit::Word => read_field::<4>(field, tile, lane, block, |unit| unit),
                Unit::Bits => read_field::<4>(field, tile, lane, block, gather_bits),
            }
        }
    }
}

fn read_field<const UNIT: usize>(
    field: &Field,
    tile: &[u8],
    lane: usize,
    block: &mut [u8],
    change: impl Fn([u8; UNIT]) -> [u8; UNIT],
) {
    let units = block[field.start..][..field.bytes()].as_chunks_mut::<UNIT>().0;
    for (i, unit) in units.iter_mut().enumerate() {
        let place = field.target + i * field.stride + lane * UNIT;
        let slot = tile[place..].first_chunk().expect("a tile has room for each unit");
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
            let check = |mut ranges: Vec<std::ops::Range<usize>>, num_bytes: usize| {
                ranges.sort_by_key(|range| range.start);
                let end = ranges.iter().fold(0, |end, range| {
                    assert_eq!(range.start, end, "{ty}: a gap or an overlap");
                    range.end
                });
                assert_eq!(end, num_bytes, "{ty}");
            };
            let fields = fields(ty);
            let sources = fields.iter().map(|f| f.start..f.start + f.bytes());
            check(sources.collect(), ty.block_bytes());
            let lines = fields.iter().flat_map(|f| {
                let line_bytes = TILE_ROWS * f.unit.bytes();
                (0..f.count)
                    .map(move |i| f.target + i * f.stride)
                    .map(move |it| it..it + line_bytes)
            });
            check(lines.collect(), TILE_ROWS * ty.block_bytes());
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
