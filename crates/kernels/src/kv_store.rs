//! Holds the keys and values of past tokens in blocks, laid out for attention.
//!
//! One block holds [`BLOCK_SIZE`] tokens of all layers and heads. The part of a block that belongs
//! to one layer and one head is contiguous, and made of lines of 64 bytes. The parts of blocks that
//! follow each other do so too, as attention reads one head of a sequence after the other. As f16:
//!
//! ```text
//! keys    (head_dim, 32 tokens)          one line is one dimension of all tokens
//! values  (32 tokens, padded head_dim)   one line is 32 dimensions of one token
//! ```
//!
//! so that both products of attention read lines of 32 numbers in order. The last line of a token's
//! values is filled up with zeros. As codes of 8 bits: see [`q8_0`].

pub(crate) mod q8_0;

use std::{fmt, ops::Range, str::FromStr};

use half::{f16, slice::HalfFloatSliceExt};

use crate::{
    Compute, Error,
    memory::{Zero, Zeroed},
    pool::SharedSlice,
};

/// How many tokens a block holds.
pub const BLOCK_SIZE: usize = 32;

/// How many numbers a line of f16 has.
pub(crate) const LINE: usize = BLOCK_SIZE;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Numbers of 16 bits.
    #[default]
    F16,
    /// Codes of 8 bits with an f16 scale: one for every 32 numbers of a key, and one for a value.
    /// Takes 52 to 53 % of the memory where `head_dim` is a multiple of 32.
    Q8_0,
}

impl KvType {
    /// Every type, the default first.
    pub const ALL: [Self; 2] = [Self::F16, Self::Q8_0];

    fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KvType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kv_type| kv_type.name() == name)
            .ok_or_else(|| Error::UnknownKvType { name: name.to_owned() })
    }
}

/// The dimensions of a [`KvStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// How keys and values are stored.
    pub kv_type: KvType,
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
        self.num_lines().map_or(usize::MAX, |lines| lines.saturating_mul(LINE_BYTES))
    }

    fn num_lines(&self) -> Option<usize> {
        let Lines { keys, values } = self.lines_per_head()?;
        keys.checked_add(values)?
            .checked_mul(self.num_kv_heads)?
            .checked_mul(self.num_blocks)?
            .checked_mul(self.num_layers)
    }

    /// The lines of one block, layer and head. `None` where a number does not fit.
    fn lines_per_head(&self) -> Option<Lines> {
        let num_groups = self.head_dim.div_ceil(LINE);
        Some(match self.kv_type {
            KvType::F16 => {
                Lines { keys: self.head_dim, values: BLOCK_SIZE.checked_mul(num_groups)? }
            }
            KvType::Q8_0 => Lines {
                keys: q8_0::GROUP_LINES.checked_mul(num_groups)?,
                values: q8_0::CODE_LINES.checked_mul(num_groups)?.checked_add(1)?,
            },
        })
    }
}

const LINE_BYTES: usize = 64;

/// A count of lines.
#[derive(Debug, Clone, Copy)]
struct Lines {
    keys: usize,
    values: usize,
}

/// The keys and values of past tokens, in blocks that belong to whoever holds their index.
///
/// Memory is reserved at once and taken up as blocks are first written.
pub struct KvStore {
    shape: KvShape,
    lines: Lines,
    data: Data, // (num_layers, num_kv_heads, num_blocks, lines of a head)
}

enum Data {
    F16(Zeroed<[f16; LINE]>),
    Q8_0(Zeroed<q8_0::Line>),
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
        let KvShape { num_layers, num_blocks, num_kv_heads, head_dim, .. } = shape;
        let too_large = || {
            let factors = vec![num_layers, num_blocks, num_kv_heads, BLOCK_SIZE, head_dim, 4];
            Error::SizeOverflow { what: WHAT, factors }
        };
        let num_lines = shape.num_lines().ok_or_else(too_large)?;
        let lines = shape.lines_per_head().ok_or_else(too_large)?;
        let data = match shape.kv_type {
            KvType::F16 => Data::F16(Zeroed::new(num_lines, WHAT)?),
            KvType::Q8_0 => Data::Q8_0(Zeroed::new(num_lines, WHAT)?),
        };
        Ok(Self { shape, lines, data })
    }

    /// The dimensions it was made with.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// How much memory is reserved.
    pub fn num_bytes(&self) -> usize {
        self.shape.num_bytes()
    }

    /// Writes the keys and values of some tokens of one layer.
    ///
    /// `slots` names each token's place, `block * BLOCK_SIZE + offset`. `k` and `v` are
    /// `(slots.len(), num_kv_heads, head_dim)`. Numbers are rounded to what the store holds; those
    /// beyond the range of f16 become its largest, 65,504, so that a reused block never holds an
    /// infinity.
    pub fn write(&mut self, compute: &Compute, layer: usize, slots: &[u32], k: &[f32], v: &[f32]) {
        let KvShape { num_layers, num_blocks, num_kv_heads, head_dim, .. } = self.shape;
        let token_len = num_kv_heads * head_dim;
        assert!(layer < num_layers, "layer {layer} of a store of {num_layers}");
        assert_eq!(k.len(), slots.len() * token_len, "every token must bring its keys");
        assert_eq!(v.len(), slots.len() * token_len, "every token must bring its values");
        for &slot in slots {
            let block = slot as usize / BLOCK_SIZE;
            assert!(block < num_blocks, "slot {slot} is in block {block} of {num_blocks}");
        }

        let num_key_lines = self.lines.keys;
        let tokens = Tokens {
            slots,
            k,
            v,
            num_blocks,
            num_kv_heads,
            head_dim,
            layer_start: self.head_range(layer, 0, 0).start,
            head_len: self.head_len(),
        };
        match &mut self.data {
            Data::F16(data) => tokens.write(compute, data, |lines, offset, k, v| {
                let (keys, values) = lines.split_at_mut(num_key_lines);
                write_f16(keys, values, offset, k, v);
            }),
            Data::Q8_0(data) => tokens.write(compute, data, |lines, offset, k, v| {
                let (keys, values) = lines.split_at_mut(num_key_lines);
                q8_0::write(keys, values, offset, k, v);
            }),
        }
    }

    /// Copies a block, in all layers.
    pub fn copy_block(&mut self, source: u32, target: u32) {
        let KvShape { num_layers, num_blocks, num_kv_heads, .. } = self.shape;
        let (source, target) = (source as usize, target as usize);
        assert!(source < num_blocks, "block {source} of a store of {num_blocks}");
        assert!(target < num_blocks, "block {target} of a store of {num_blocks}");
        for head in 0..num_layers * num_kv_heads {
            let (layer, head) = (head / num_kv_heads, head % num_kv_heads);
            let source = self.head_range(layer, source, head);
            let target = self.head_range(layer, target, head).start;
            match &mut self.data {
                Data::F16(data) => data.as_mut_slice().copy_within(source, target),
                Data::Q8_0(data) => data.as_mut_slice().copy_within(source, target),
            }
        }
    }

    /// The lines of one block, layer and head of a store of f16.
    pub(crate) fn f16(&self, layer: usize, block: usize, head: usize) -> F16Block<'_> {
        let Data::F16(data) = &self.data else { unreachable!("a store of {}", self.shape.kv_type) };
        let range = self.head_range(layer, block, head);
        let (keys, values) = data.slice(range.start, range.len()).split_at(self.lines.keys);
        F16Block { keys, values }
    }

    /// The lines of one block, layer and head of a store of codes.
    pub(crate) fn q8_0(&self, layer: usize, block: usize, head: usize) -> q8_0::Block<'_> {
        let Data::Q8_0(data) = &self.data else {
            unreachable!("a store of {}", self.shape.kv_type)
        };
        let range = self.head_range(layer, block, head);
        let (keys, values) = data.slice(range.start, range.len()).split_at(self.lines.keys);
        q8_0::Block { keys, values }
    }

    /// Reads one token's key and value of a layer and head, each `head_dim` long.
    pub(crate) fn read(
        &self,
        layer: usize,
        slot: usize,
        head: usize,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        let (block, offset) = (slot / BLOCK_SIZE, slot % BLOCK_SIZE);
        match self.shape.kv_type {
            KvType::F16 => self.f16(layer, block, head).read(offset, key, value),
            KvType::Q8_0 => self.q8_0(layer, block, head).read(offset, key, value),
        }
    }

    /// How many lines a block has for one layer and head.
    fn head_len(&self) -> usize {
        self.lines.keys + self.lines.values
    }

    fn head_range(&self, layer: usize, block: usize, head: usize) -> Range<usize> {
        let KvShape { num_blocks, num_kv_heads, .. } = self.shape;
        let index = (layer * num_kv_heads + head) * num_blocks + block;
        index * self.head_len()..(index + 1) * self.head_len()
    }
}

impl fmt::Debug for KvStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStore").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Tokens to be written into one layer.
struct Tokens<'a> {
    slots: &'a [u32],
    k: &'a [f32], // (slots.len(), num_kv_heads, head_dim)
    v: &'a [f32], // (slots.len(), num_kv_heads, head_dim)
    num_blocks: usize,
    num_kv_heads: usize,
    head_dim: usize,
    /// The layer's first line.
    layer_start: usize,
    /// How many lines a block has for one layer and head.
    head_len: usize,
}

impl Tokens<'_> {
    /// Calls `write_token` with the lines of each token's block, one head at a time, the token's
    /// place in the block, its key and its value.
    fn write<T: Zero>(
        &self,
        compute: &Compute,
        data: &mut Zeroed<T>,
        write_token: impl Fn(&mut [T], usize, &[f32], &[f32]) + Sync,
    ) {
        let Self { slots, k, v, num_blocks, num_kv_heads, head_dim, layer_start, head_len } = *self;
        let data = SharedSlice::new(data.as_mut_slice());
        let write_head = |head: usize| {
            for (i, &slot) in slots.iter().enumerate() {
                let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
                let start = layer_start + (head * num_blocks + block) * head_len;
                // SAFETY: parts of two heads do not overlap, and one call handles a head's tokens
                // one after the other.
                let lines = unsafe { data.slice_mut(start..start + head_len) };
                let input = (i * num_kv_heads + head) * head_dim..;
                write_token(lines, offset, &k[input.clone()][..head_dim], &v[input][..head_dim]);
            }
        };
        // A few tokens take less time than handing them out.
        if slots.len() <= 4 {
            (0..num_kv_heads).for_each(write_head);
        } else {
            compute.pool.run(num_kv_heads, write_head);
        }
    }
}

/// Keys and values of one block, layer and head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct F16Block<'a> {
    pub(crate) keys: &'a [[f16; LINE]],   // (head_dim)
    pub(crate) values: &'a [[f16; LINE]], // (32, lines of a value)
}

impl F16Block<'_> {
    fn read(&self, offset: usize, key: &mut [f32], value: &mut [f32]) {
        for (key, line) in key.iter_mut().zip(self.keys) {
            *key = line[offset].to_f32();
        }
        let token = self.values.chunks_exact(self.values.len() / BLOCK_SIZE).nth(offset);
        for (value, stored) in value.iter_mut().zip(token.unwrap_or_default().as_flattened()) {
            *value = stored.to_f32();
        }
    }
}

fn write_f16(
    keys: &mut [[f16; LINE]],
    values: &mut [[f16; LINE]],
    offset: usize,
    k: &[f32],
    v: &[f32],
) {
    let mut halves = [f16::ZERO; LINE];
    for (lines, k) in keys.chunks_mut(LINE).zip(k.chunks(LINE)) {
        to_f16(k, &mut halves[..k.len()]);
        for (line, half) in lines.iter_mut().zip(&halves) {
            line[offset] = *half;
        }
    }
    let lines_per_value = values.len() / BLOCK_SIZE;
    for (line, v) in values[offset * lines_per_value..].iter_mut().zip(v.chunks(LINE)) {
        to_f16(v, &mut line[..v.len()]);
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
mod tests;
