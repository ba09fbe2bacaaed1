//! From the tensors of a GGUF file to packed weights: every name, shape and type checked.

use std::{collections::HashSet, sync::Arc};

use brisk_formats::{GgufFile, TensorInfo, TensorType};
use brisk_kernels::{Compute, KvType, PackedMatrix, WeightType, dequantize_row};

use crate::{
    config::ModelConfig,
    error::LoadError,
    rope::{RopeScaling, RopeTable},
    weights::{Embedding, GateUpProjection, Layer, Linear, QkvProjection},
};

/// What the caller decides about a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where and how to compute.
    pub compute: Arc<Compute>,
    /// Context to serve; `None` takes the model's own. Never more than the model's own.
    pub max_model_len: Option<usize>,
    /// Tokens that the KV cache holds over all sequences; `None` is one full context.
    pub num_kv_cache_tokens: Option<usize>,
    /// How the KV cache stores numbers.
    pub kv_cache_type: KvType,
    /// Tokens of one step at most, which sizes the activations.
    pub max_num_batched_tokens: usize,
    /// Rows of logits of one step at most.
    pub max_num_logits: usize,
    /// Refuse to load what needs more than this.
    pub available_bytes: Option<u64>,
}

/// Everything of a model that is read from its file.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) layers: Vec<Layer>,
    pub(crate) embedding: Embedding,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) output: PackedMatrix,
    pub(crate) rope_global: RopeTable,
    pub(crate) rope_local: RopeTable,
}

/// Loads all tensors; `progress` is told the bytes done and the bytes in all.
pub(crate) fn load_weights(
    file: &Arc<GgufFile>,
    config: &ModelConfig,
    max_model_len: usize,
    compute: &Compute,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Weights, LoadError> {
    let mut loader = Loader {
        file,
        config,
        compute,
        seen: HashSet::new(),
        bytes_done: 0,
        bytes_total: file.tensors().iter().map(|tensor| tensor.num_bytes() as u64).sum(),
        progress,
    };
    let hidden = config.hidden_size;
    let (embedding, output) = if loader.has("output.weight") {
        let tensor = loader.tensor("token_embd.weight", &[hidden, config.vocab_size])?;
        let embedding = Embedding::Rows {
            file: Arc::clone(file),
            tensor: tensor.clone(),
            weight_type: weight_type(tensor.tensor_type),
        };
        (embedding, loader.matrix("output.weight", config.vocab_size, hidden)?)
    } else {
        (Embedding::Tied, loader.matrix("token_embd.weight", config.vocab_size, hidden)?)
    };
    let output_norm = loader.vector("output_norm.weight", hidden)?;
    let factors = loader.rope_factors(max_model_len)?;
    let rope_global =
        RopeTable::new(config.num_rot, config.rope_theta, config.rope_scaling, factors.as_deref());
    // Windowed layers never see far, so their angles are not scaled (Gemma 3).
    let has_local_base = config.rope_theta_local.to_bits() != config.rope_theta.to_bits();
    let rope_local = if has_local_base {
        RopeTable::new(config.num_rot, config.rope_theta_local, RopeScaling::None, None)
    } else {
        rope_global.clone()
    };
    let layers =
        (0..config.num_layers).map(|index| loader.layer(index)).collect::<Result<Vec<_>, _>>()?;
    loader.check_nothing_is_left()?;
    Ok(Weights { layers, embedding, output_norm, output, rope_global, rope_local })
}

struct Loader<'a> {
    file: &'a Arc<GgufFile>,
    config: &'a ModelConfig,
    compute: &'a Compute,
    seen: HashSet<String>,
    bytes_done: u64,
    bytes_total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Loader<'a> {
    fn layer(&mut self, index: usize) -> Result<Layer, LoadError> {
        let config = self.config;
        let (hidden, q_size, kv_size) = (config.hidden_size, config.q_size(), config.kv_size());
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm.weight"), hidden)?,
            qkv: if self.has(&name("attn_qkv.weight")) {
                QkvProjection::Fused(self.linear(
                    &name("attn_qkv"),
                    q_size + 2 * kv_size,
                    hidden,
                )?)
            } else {
                QkvProjection::Separate {
                    q: self.linear(&name("attn_q"), q_size, hidden)?,
                    k: self.linear(&name("attn_k"), kv_size, hidden)?,
                    v: self.linear(&name("attn_v"), kv_size, hidden)?,
                }
            },
            q_norm: self.vector_if(config.qk_norm, &name("attn_q_norm.weight"), config.head_dim)?,
            k_norm: self.vector_if(config.qk_norm, &name("attn_k_norm.weight"), config.head_dim)?,
            attention_output: self.linear(&name("attn_output"), hidden, q_size)?,
            post_attention_norm: self.vector_if(
                config.post_norms,
                &name("post_attention_norm.weight"),
                hidden,
            )?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), hidden)?,
            gate_up: if self.has(&name("ffn_gate.weight")) {
                GateUpProjection::Separate {
                    gate: self.linear(&name("ffn_gate"), config.intermediate_size, hidden)?,
                    up: self.linear(&name("ffn_up"), config.intermediate_size, hidden)?,
                }
            } else {
                let fused = self.linear(&name("ffn_up"), 2 * config.intermediate_size, hidden)?;
                GateUpProjection::Fused(fused)
            },
            down: self.linear(&name("ffn_down"), hidden, config.intermediate_size)?,
            post_feed_forward_norm: self.vector_if(
                config.post_norms,
                &name("post_ffw_norm.weight"),
                hidden,
            )?,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// Finds a tensor and checks its shape (row length first).
    fn tensor(&mut self, name: &str, expected: &[usize]) -> Result<&'a TensorInfo, LoadError> {
        let tensor = self
            .file
            .tensor(name)
            .ok_or_else(|| LoadError::MissingTensor { name: name.to_owned() })?;
        if tensor.shape != expected {
            return Err(LoadError::TensorShape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        self.seen.insert(name.to_owned());
        self.bytes_done += tensor.num_bytes() as u64;
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<PackedMatrix, LoadError> {
        let tensor = self.tensor(name, &[cols, rows])?;
        // A map of its own, dropped right after packing: the file's pages are given back, so the
        // weights are never resident twice.
        let data = self
            .file
            .map_data(tensor)
            .map_err(|source| LoadError::Unreadable { name: name.to_owned(), source })?;
        let weight_type = weight_type(tensor.tensor_type);
        let packed = PackedMatrix::pack(self.compute, weight_type, rows, cols, &data)
            .map_err(|source| LoadError::Kernel { what: format!("tensor \"{name}\""), source })?;
        (self.progress)(self.bytes_done, self.bytes_total);
        Ok(packed)
    }

    /// `name.weight` and, where the file has it, `name.bias`.
    fn linear(&mut self, name: &str, rows: usize, cols: usize) -> Result<Linear, LoadError> {
        let bias_name = format!("{name}.bias");
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), rows, cols)?,
            bias: self.vector_if(self.has(&bias_name), &bias_name, rows)?,
        })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensor(name, &[len])?;
        let mut values = vec![0.0; len];
        dequantize_row(weight_type(tensor.tensor_type), self.file.data(tensor), &mut values);
        Ok(values)
    }

    fn vector_if(
        &mut self,
        wanted: bool,
        name: &str,
        len: usize,
    ) -> Result<Option<Vec<f32>>, LoadError> {
        if wanted { self.vector(name, len).map(Some) } else { Ok(None) }
    }

    /// Divisors of the rotary frequencies: Llama 3's, or the one of Phi-3's two tables that fits
    /// the context.
    fn rope_factors(&mut self, max_model_len: usize) -> Result<Option<Vec<f32>>, LoadError> {
        let num_pairs = self.config.num_rot / 2;
        if let RopeScaling::Long { original_context_length, .. } = self.config.rope_scaling {
            let short = self.vector("rope_factors_short.weight", num_pairs)?;
            let long = self.vector("rope_factors_long.weight", num_pairs)?;
            return Ok(Some(if max_model_len <= original_context_length { short } else { long }));
        }
        self.vector_if(self.has("rope_freqs.weight"), "rope_freqs.weight", num_pairs)
    }

    /// A tensor that nothing used means that the model computes something this decoder does not.
    fn check_nothing_is_left(&self) -> Result<(), LoadError> {
        match self.file.tensors().iter().find(|tensor| !self.seen.contains(&tensor.name)) {
            Some(tensor) => Err(LoadError::UnexpectedTensor {
                name: tensor.name.clone(),
                architecture: self.config.architecture,
            }),
            None => Ok(()),
        }
    }
}

/// The kernels' word for a file's tensor type: two crates that do not know each other.
pub(crate) fn weight_type(tensor_type: TensorType) -> WeightType {
    match tensor_type {
        TensorType::F32 => WeightType::F32,
        TensorType::F16 => WeightType::F16,
        TensorType::BF16 => WeightType::BF16,
        TensorType::Q4_0 => WeightType::Q4_0,
        TensorType::Q4_1 => WeightType::Q4_1,
        TensorType::Q5_0 => WeightType::Q5_0,
        TensorType::Q5_1 => WeightType::Q5_1,
        TensorType::Q8_0 => WeightType::Q8_0,
        TensorType::Q2_K => WeightType::Q2_K,
        TensorType::Q3_K => WeightType::Q3_K,
        TensorType::Q4_K => WeightType::Q4_K,
        TensorType::Q5_K => WeightType::Q5_K,
        TensorType::Q6_K => WeightType::Q6_K,
        TensorType::IQ4_NL => WeightType::IQ4_NL,
        TensorType::IQ4_XS => WeightType::IQ4_XS,
    }
}
