//! Weight types: how a GGUF row of weights is laid out in bytes, and what the bytes mean.

mod dequantize;
mod packed;
mod quantize;
mod tile;
mod turn;

#[cfg(test)]
mod tests;

use std::fmt;

pub use dequantize::dequantize_row;
pub use packed::PackedMatrix;
pub use quantize::quantize_row_q8_0;

pub(crate) use dequantize::IQ4_LEVELS;
pub(crate) use tile::TILE_ROWS;

/// The number formats a weight matrix may be stored in, named as GGUF names them.
///
/// Rows are cut into blocks of [`block_len`](Self::block_len) weights that share their scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    non_camel_case_types,
    reason = "the names are GGUF's own, known to everyone who quantizes"
)]
pub enum WeightType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// 4 bits, `d * (q - 8)`.
    Q4_0,
    /// 4 bits, `d * q + m`.
    Q4_1,
    /// 5 bits, `d * (q - 16)`.
    Q5_0,
    /// 5 bits, `d * q + m`.
    Q5_1,
    /// 8 bits, `d * q`.
    Q8_0,
    /// 2 bits, scale and minimum of 4 bits per 16.
    Q2_K,
    /// 3 bits, scale of 6 bits per 16.
    Q3_K,
    /// 4 bits, scale and minimum of 6 bits per 32.
    Q4_K,
    /// 5 bits, scale and minimum of 6 bits per 32.
    Q5_K,
    /// 6 bits, scale of 8 bits per 16.
    Q6_K,
    /// 4 bits that choose one of 16 uneven levels.
    IQ4_NL,
    /// 4 bits that choose one of 16 uneven levels, scale of 6 bits per 32.
    IQ4_XS,
}

impl WeightType {
    /// Every weight type, in the order of the enum.
    pub const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
    ];

    /// Weights per block: 1, 32 or 256.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::IQ4_NL => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => 256,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_XS => 136,
        }
    }

    /// Bytes of a row of `cols` weights; `None` if the row ends inside a block or is too long to count.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// GGUF's name of the type, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
