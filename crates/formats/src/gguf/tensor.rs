//! The tensor types of GGUF and what a file says about each tensor.

use std::fmt;

/// How a tensor's values are stored: GGUF's names.
///
/// Quantized types pack blocks of values along a row; a row always holds whole blocks. Sizes are
/// those of ggml's block structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "the field's spelling")]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE half).
    F16,
    /// 16-bit floats with a 32-bit float's exponent.
    BF16,
    /// 4 bits, one scale for 32 values.
    Q4_0,
    /// 4 bits, scale and minimum for 32 values.
    Q4_1,
    /// 5 bits, one scale for 32 values.
    Q5_0,
    /// 5 bits, scale and minimum for 32 values.
    Q5_1,
    /// 8 bits, one scale for 32 values.
    Q8_0,
    /// 2 bits, scales and minima for 16 values, in blocks of 256.
    Q2_K,
    /// 3 bits, scales for 16 values, in blocks of 256.
    Q3_K,
    /// 4 bits, scales and minima for 32 values, in blocks of 256.
    Q4_K,
    /// 5 bits, scales and minima for 32 values, in blocks of 256.
    Q5_K,
    /// 6 bits, scales for 16 values, in blocks of 256.
    Q6_K,
    /// 4 bits through a table of 16 values, one scale for 32.
    IQ4_NL,
    /// 4 bits through a table of 16 values, scales for 32, in blocks of 256.
    IQ4_XS,
}

/// Type, id in the file, name, values in a block, bytes of a block.
const TYPES: [(TensorType, u32, &str, usize, usize); 15] = [
    (TensorType::F32, 0, "F32", 1, 4),
    (TensorType::F16, 1, "F16", 1, 2),
    (TensorType::BF16, 30, "BF16", 1, 2),
    (TensorType::Q4_0, 2, "Q4_0", 32, 18),
    (TensorType::Q4_1, 3, "Q4_1", 32, 20),
    (TensorType::Q5_0, 6, "Q5_0", 32, 22),
    (TensorType::Q5_1, 7, "Q5_1", 32, 24),
    (TensorType::Q8_0, 8, "Q8_0", 32, 34),
    (TensorType::Q2_K, 10, "Q2_K", 256, 84),
    (TensorType::Q3_K, 11, "Q3_K", 256, 110),
    (TensorType::Q4_K, 12, "Q4_K", 256, 144),
    (TensorType::Q5_K, 13, "Q5_K", 256, 176),
    (TensorType::Q6_K, 14, "Q6_K", 256, 210),
    (TensorType::IQ4_NL, 20, "IQ4_NL", 32, 18),
    (TensorType::IQ4_XS, 23, "IQ4_XS", 256, 136),
];

/// Ids of types that ggml knows, or knew, and that are not read here.
const OTHER_TYPES: [(u32, &str); 25] = [
    (4, "Q4_2 (removed from GGUF)"),
    (5, "Q4_3 (removed from GGUF)"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4 (removed from GGUF)"),
    (32, "Q4_0_4_8 (removed from GGUF)"),
    (33, "Q4_0_8_8 (removed from GGUF)"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4 (removed from GGUF)"),
    (37, "IQ4_NL_4_8 (removed from GGUF)"),
    (38, "IQ4_NL_8_8 (removed from GGUF)"),
    (39, "MXFP4"),
];

impl TensorType {
    /// Every type that is read and written.
    pub const ALL: [Self; 15] = {
        let mut all = [Self::F32; 15];
        let mut i = 0;
        while i < all.len() {
            all[i] = TYPES[i].0;
            i += 1;
        }
        all
    };

    fn row(self) -> &'static (Self, u32, &'static str, usize, usize) {
        // The table stands in the order of the enum; `the_table_follows_the_enum` holds it there.
        &TYPES[self as usize]
    }

    /// The type with this id, or the name of one that is known and not read, or nothing.
    pub(super) fn from_id(id: u32) -> Result<Self, Option<&'static str>> {
        match TYPES.iter().find(|it| it.1 == id) {
            Some(row) => Ok(row.0),
            None => Err(OTHER_TYPES.iter().find(|it| it.0 == id).map(|it| it.1)),
        }
    }

    pub(super) fn id(self) -> u32 {
        self.row().1
    }

    /// GGUF's name, such as `"Q4_K"`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Values in a block.
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of a row of `cols` values; `None` if it is no whole number of blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One tensor of a file, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, such as `blk.0.attn_q.weight`; unique in the model.
    pub name: String,
    /// Dimensions in ggml's order: `shape[0]` is the length of a row. One to four, none of them 0.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub tensor_type: TensorType,
    /// Which shard holds the data; 0 unless the model is split.
    pub(super) shard: usize,
    /// Where the data begins, in bytes from the shard's start.
    pub(super) offset: usize,
    /// How long the data is; checked to lie inside the shard.
    pub(super) num_bytes: usize,
}

impl TensorInfo {
    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.shape[0]
    }

    /// Rows, over all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Values in all.
    pub fn num_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of data.
    pub fn num_bytes(&self) -> usize {
        self.num_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enum() {
        for (i, tensor_type) in TensorType::ALL.into_iter().enumerate() {
            assert_eq!(tensor_type as usize, i);
            assert_eq!(TensorType::from_id(tensor_type.id()), Ok(tensor_type));
            assert_eq!(format!("{tensor_type:?}"), tensor_type.name());
        }
    }

    #[test]
    fn a_row_is_whole_blocks() {
        assert_eq!(TensorType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4_K.row_bytes(511), None);
        assert_eq!(TensorType::F32.row_bytes(usize::MAX), None);
    }
}
