//! Holds the keys and values of past tokens in blocks, laid out for attention.
//!
//! One block holds [`BLOCK_SIZE`] tokens of all layers and heads. The part of a block that belongs
//! to one layer and one head is contiguous:
//!
//! ```text
//! keys    (head_dim, 32 tokens)          f16: one line is one dimension of all tokens
//! values  (32 tokens, padded head_dim)   f16: one line is 32 dimensions of one token
//! ```
//!
//! so that both products of attention read lines of 32 numbers in order. The last line of a token's
//! values is filled up with zeros.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use crate::{Compute, Error, memory::Zeroed, pool::SharedSlice};

/// How many tokens a block holds.
pub const BLOCK_SIZE: usize = 32;

/// How many numbers a line of keys or values has.
pub(crate) const LINE: usize = BLOCK_SIZE;

/// The dimensions of a [`KvStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// How many layers keep keys and values.
    pub num_layers: usize,
    /// How many blocks there are. Each holds [`BLOCK_SIZE`] tokens in every layer.
    pub num_blocks: usize,
    /// How many heads of keys and values a layer has.
    pub num_kv_heads: usize,
    /// How many numbers a key or a value has.
    pub head_dim: usize,
}

impl KvShape {
    /// How much memory a store of this shape takes once all of it has been written; `usize::MAX`
    /// where the number does not fit, which no budget allows.
    pub fn num_bytes(&self) -> usize {
        self.num_values().map_or(usize::MAX, |values| values.saturating_mul(size_of::<f16>()))
    }

    fn num_values(&self) -> Option<usize> {
        let padded = self.head_dim.checked_next_multiple_of(LINE)?;
        let head_len = self.head_dim.checked_add(padded)?.checked_mul(BLOCK_SIZE)?;
        head_len
            .checked_mul(self.num_kv_heads)?
            .checked_mul(self.num_blocks)?
            .checked_mul(self.num_layers)
    }

    /// The values of a token, filled up to whole lines.
    fn value_len(&self) -> usize {
        self.head_dim.next_multiple_of(LINE)
    }

    fn keys_len(&self) -> usize {
        self.head_dim * BLOCK_SIZE
    }

    /// Keys and values of one block, layer and head.
    fn head_len(&self) -> usize {
        self.keys_len() + self.value_len() * BLOCK_SIZE
    }
}

/// The keys and values of past tokens, as f16, in blocks that belong to whoever holds their index.
///
/// Memory is reserved at once and taken up as blocks are first written.
pub struct KvStore {
    shape: KvShape,
    data: Zeroed<f16>, // (num_layers, num_blocks, num_kv_heads, head_len)
}

impl KvStore {
    /// Reserves the memory.
    ///
    /// # Errors
    ///
    /// [`Error::SizeOverflow`] when the size cannot be expressed and [`Error::OutOfMemory`], which
    /// names the bytes, when the system refuses them.
    pub fn new(shape: KvShape) -> Result<Self, Error> {
        const WHAT: &str = "the KV cache";
        let KvShape { num_layers, num_blocks, num_kv_heads, head_dim } = shape;
        let num_values = shape.num_values().ok_or_else(|| {
            let factors = vec![num_layers, num_blocks, num_kv_heads, BLOCK_SIZE, head_dim, 4];
            Error::SizeOverflow { what: WHAT, factors }
        })?;
        Ok(Self { shape, data: Zeroed::new(num_values, WHAT)? })
    }

    /// The dimensions it was made with.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// How much memory is reserved.
    pub fn num_bytes(&self) -> usize {
        self.data.len() * size_of::<f16>()
    }

    /// Writes the keys and values of some tokens of one layer.
    ///
    /// `slots` names each token's place, `block * BLOCK_SIZE + offset`. `k` and `v` are
    /// `(slots.len(), num_kv_heads, head_dim)`. Numbers are rounded to f16; those beyond its range
    /// become its largest, 65,504, so that a reused block never holds an infinity.
    pub fn write(&mut self, compute: &Compute, layer: usize, slots: &[u32], k: &[f32], v: &[f32]) {
        let KvShape { num_layers, num_blocks, num_kv_heads, head_dim } = self.shape;
        let token_len = num_kv_heads * head_dim;
        assert!(layer < num_layers, "layer {layer} of a store of {num_layers}");
        assert_eq!(k.len(), slots.len() * token_len, "every token must bring its keys");
        assert_eq!(v.len(), slots.len() * token_len, "every token must bring its values");
        for &slot in slots {
            let block = slot as usize / BLOCK_SIZE;
            assert!(block < num_blocks, "slot {slot} is in block {block} of {num_blocks}");
        }

        let shape = self.shape;
        let layer_start = self.head_range(layer, 0, 0).start;
        let data = SharedSlice::new(self.data.as_mut_slice());
        let write_head = |head: usize| {
            let mut scratch = vec![f16::ZERO; head_dim];
            for (i, &slot) in slots.iter().enumerate() {
                let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
                let start = layer_start + (block * num_kv_heads + head) * shape.head_len();
                // SAFETY: parts of two heads do not overlap, and one call handles a head's tokens
                // one after the other.
                let part = unsafe { data.slice_mut(start..start + shape.head_len()) };
                let (keys, values) = part.split_at_mut(shape.keys_len());
                let input = i * token_len + head * head_dim..i * token_len + (head + 1) * head_dim;
                to_f16(&k[input.clone()], &mut scratch);
                for (line, key) in keys.as_chunks_mut::<LINE>().0.iter_mut().zip(&scratch) {
                    line[offset] = *key;
                }
                to_f16(&v[input], &mut values[offset * shape.value_len()..][..head_dim]);
            }
        };
        // A few tokens take less time than handing them out.
        if slots.len() <= 4 {
            (0..num_kv_heads).for_each(write_head);
        } else {
            compute.pool.run(num_kv_heads, write_head);
        }
    }

    /// Copies a block, in all layers.
    pub fn copy_block(&mut self, source: u32, target: u32) {
        let KvShape { num_layers, num_blocks, num_kv_heads, .. } = self.shape;
        let (source, target) = (source as usize, target as usize);
        assert!(source < num_blocks, "block {source} of a store of {num_blocks}");
        assert!(target < num_blocks, "block {target} of a store of {num_blocks}");
        let block_len = num_kv_heads * self.shape.head_len();
        for layer in 0..num_layers {
            let start = self.head_range(layer, source, 0).start;
            let target = self.head_range(layer, target, 0).start;
            self.data.as_mut_slice().copy_within(start..start + block_len, target);
        }
    }

    /// The keys, `(head_dim, 32)`, and values, `(32, padded head_dim)`, of one block, layer and head.
    pub(crate) fn keys_and_values(
        &self,
        layer: usize,
        block: usize,
        head: usize,
    ) -> (&[[f16; LINE]], &[[f16; LINE]]) {
        let range = self.head_range(layer, block, head);
        let (lines, _) = self.data.slice(range.start, range.len()).as_chunks::<LINE>();
        lines.split_at(self.shape.head_dim)
    }

    fn head_range(&self, layer: usize, block: usize, head: usize) -> Range<usize> {
        let KvShape { num_blocks, num_kv_heads, .. } = self.shape;
        let index = (layer * num_blocks + block) * num_kv_heads + head;
        index * self.shape.head_len()..(index + 1) * self.shape.head_len()
    }
}

impl std::fmt::Debug for KvStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvStore").field("shape", &self.shape).finish_non_exhaustive()
    }
}

fn to_f16(values: &[f32], out: &mut [f16]) {
    out.convert_from_f32_slice(values);
    // Rounding gives an infinity from 65,520 on; the comparison leaves NaN, which is stopped too:
    // a stale number in a reused block may meet a weight of zero, and the product must be zero.
    for value in out {
        let magnitude = value.to_bits() & 0x7FFF;
        if magnitude >= f16::INFINITY.to_bits() {
            *value = f16::from_bits(value.to_bits() & 0x8000 | f16::MAX.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::Cpu, test_data::Random};

    const SHAPE: KvShape = KvShape { num_layers: 2, num_blocks: 5, num_kv_heads: 3, head_dim: 40 };

    /// Reads a token back as `(num_kv_heads, head_dim)`.
    fn read(store: &KvStore, layer: usize, slot: u32) -> (Vec<f16>, Vec<f16>) {
        let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
        let KvShape { num_kv_heads, head_dim, .. } = store.shape();
        let (mut k, mut v) = (Vec::new(), Vec::new());
        for head in 0..num_kv_heads {
            let (keys, values) = store.keys_and_values(layer, block, head);
            k.extend(keys.iter().map(|line| line[offset]));
            let padded = store.shape().value_len();
            v.extend(&values.as_flattened()[offset * padded..][..head_dim]);
        }
        (k, v)
    }

    fn halves(values: &[f32]) -> Vec<f16> {
        values.iter().map(|&value| f16::from_f32(value)).collect()
    }

    #[test]
    fn a_token_is_found_where_it_was_written() {
        let token_len = SHAPE.num_kv_heads * SHAPE.head_dim;
        for slots in [vec![], vec![33], vec![159, 0, 32, 31, 64, 7], (0..160).rev().collect()] {
            let compute = Compute::new(Cpu::detect(), 3);
            let mut store = KvStore::new(SHAPE).unwrap();
            let mut random = Random::new(11);
            let k = random.values(slots.len() * token_len, 8.0);
            let v = random.values(slots.len() * token_len, 8.0);
            store.write(&compute, 1, &slots, &k, &v);
            for (i, &slot) in slots.iter().enumerate() {
                let part = i * token_len..(i + 1) * token_len;
                let expected = (halves(&k[part.clone()]), halves(&v[part]));
                assert_eq!(read(&store, 1, slot), expected, "slot {slot}");
                let zeros = vec![f16::ZERO; token_len];
                assert_eq!(read(&store, 0, slot), (zeros.clone(), zeros), "the other layer");
            }
        }
    }

    #[test]
    fn a_copied_block_holds_the_same_in_every_layer() {
        let compute = Compute::new(Cpu::detect(), 1);
        let mut store = KvStore::new(SHAPE).unwrap();
        let token_len = SHAPE.num_kv_heads * SHAPE.head_dim;
        let mut random = Random::new(12);
        for layer in 0..SHAPE.num_layers {
            let (k, v) = (random.values(token_len, 1.0), random.values(token_len, 1.0));
            store.write(&compute, layer, &[2 * 32 + 9], &k, &v);
        }
        store.copy_block(2, 4);
        for layer in 0..SHAPE.num_layers {
            assert_eq!(read(&store, layer, 4 * 32 + 9), read(&store, layer, 2 * 32 + 9));
        }
        assert_ne!(read(&store, 0, 4 * 32 + 9), read(&store, 1, 4 * 32 + 9));
    }

    #[test]
    fn what_is_stored_is_finite() {
        let compute = Compute::new(Cpu::detect(), 1);
        let shape = KvShape { num_layers: 1, num_blocks: 1, num_kv_heads: 1, head_dim: 6 };
        let mut store = KvStore::new(shape).unwrap();
        let wild = [f32::INFINITY, f32::NEG_INFINITY, 1e9, -65_520.0, f32::NAN, 65_504.0];
        store.write(&compute, 0, &[3], &wild, &wild);
        let (k, v) = read(&store, 0, 3);
        let is_largest = |value: &f16| [f16::MIN, f16::MAX].contains(value);
        assert!(k.iter().chain(&v).all(is_largest), "{k:?} {v:?}");
        assert_eq!(v[1], f16::MIN);
    }

    #[test]
    fn a_size_is_told_and_an_impossible_one_refused() {
        let bytes = 2 * 5 * 3 * 32 * (40 + 64) * 2;
        assert_eq!(SHAPE.num_bytes(), bytes);
        assert_eq!(KvStore::new(SHAPE).unwrap().num_bytes(), bytes);

        let large = KvShape { num_blocks: 1 << 40, ..SHAPE };
        let num_bytes = large.num_bytes();
        let error = KvStore::new(large).expect_err("a petabyte");
        assert_eq!(error, Error::OutOfMemory { what: "the KV cache", num_bytes });
        assert!(error.to_string().contains(&num_bytes.to_string()), "{error}");

        let impossible = KvShape { num_blocks: usize::MAX / 2, ..SHAPE };
        assert_eq!(impossible.num_bytes(), usize::MAX);
        assert!(matches!(KvStore::new(impossible), Err(Error::SizeOverflow { .. })));
    }

    #[test]
    #[should_panic(expected = "slot 160 is in block 5 of 5")]
    fn a_slot_beyond_the_last_block_is_a_bug() {
        let token = vec![0.0; SHAPE.num_kv_heads * SHAPE.head_dim];
        let compute = Compute::new(Cpu::detect(), 1);
        KvStore::new(SHAPE).unwrap().write(&compute, 0, &[160], &token, &token);
    }
}
