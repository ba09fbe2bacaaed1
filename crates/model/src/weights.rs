//! The tensors of a decoder, packed for the kernels.

use std::sync::Arc;

use brisk_formats::{GgufFile, TensorInfo};
use brisk_kernels::{Columns, Compute, PackedMatrix, WeightType, add_bias, dequantize_row, matmul};

/// A matrix with an optional bias: `y = W x + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: PackedMatrix,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    /// `out` is (num_columns, rows).
    pub(crate) fn apply(&self, compute: &Compute, input: &mut Columns, out: &mut [f32]) {
        matmul(compute, &self.weight, input, out);
        if let Some(bias) = &self.bias {
            add_bias(compute, out, bias);
        }
    }
}

/// The projections to queries, keys and values: three matrices, or one with their rows stacked.
#[derive(Debug)]
pub(crate) enum QkvProjection {
    Separate { q: Linear, k: Linear, v: Linear },
    Fused(Linear),
}

/// The projections to the gate and the value of the feed-forward network, likewise.
#[derive(Debug)]
pub(crate) enum GateUpProjection {
    Separate { gate: Linear, up: Linear },
    Fused(Linear),
}

/// One decoder layer. Norms are (hidden_size) or, for q and k, (head_dim).
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) qkv: QkvProjection,
    pub(crate) q_norm: Option<Vec<f32>>,
    pub(crate) k_norm: Option<Vec<f32>>,
    pub(crate) attention_output: Linear,
    pub(crate) post_attention_norm: Option<Vec<f32>>,
    pub(crate) feed_forward_norm: Vec<f32>,
    pub(crate) gate_up: GateUpProjection,
    pub(crate) down: Linear,
    pub(crate) post_feed_forward_norm: Option<Vec<f32>>,
}

impl Layer {
    /// Its matrices, in the order in which a step comes to them.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        let qkv = match &self.qkv {
            QkvProjection::Separate { q, k, v } => vec![q, k, v],
            QkvProjection::Fused(all) => vec![all],
        };
        let gate_up = match &self.gate_up {
            GateUpProjection::Separate { gate, up } => vec![gate, up],
            GateUpProjection::Fused(both) => vec![both],
        };
        let in_order = [qkv, vec![&self.attention_output], gate_up, vec![&self.down]];
        in_order.into_iter().flatten().map(|linear| &linear.weight)
    }
}

/// Where a token's embedding is read.
#[derive(Debug)]
pub(crate) enum Embedding {
    /// From the output matrix, which is the same tensor: nothing is resident twice.
    Tied,
    /// From the file's own mapping, one row at a time.
    Rows { file: Arc<GgufFile>, tensor: TensorInfo, weight_type: WeightType },
}

impl Embedding {
    /// Writes the embedding of `token` into `out` (hidden_size).
    pub(crate) fn row(&self, token: u32, output: &PackedMatrix, out: &mut [f32]) {
        match self {
            Self::Tied => output.dequantize_row(token as usize, out),
            Self::Rows { file, tensor, weight_type } => {
                let data = file.data(tensor);
                let row_bytes = data.len() / tensor.rows();
                let row = &data[token as usize * row_bytes..][..row_bytes];
                dequantize_row(*weight_type, row, out);
            }
        }
    }
}
