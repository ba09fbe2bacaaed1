//! What the metadata of a GGUF file says about a decoder, checked once.

use std::fmt;

use brisk_formats::{GgufFile, Metadata, Value};
use brisk_kernels::RopeStyle;

use crate::{error::LoadError, rope::RopeScaling};

/// Width of all query heads together at most.
const MAX_Q_SIZE: usize = 1 << 17;

/// A model family as `general.architecture` names it. The flags that distinguish the families are
/// spelled out in [`ModelConfig`]; after loading, nothing asks for the family any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3.x, Mistral, `TinyLlama`, SmolLM.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3 (text).
    Gemma3,
    /// Phi-3 and Phi-3.5.
    Phi3,
}

impl Architecture {
    const ALL: [Self; 6] =
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma2, Self::Gemma3, Self::Phi3];
    pub(crate) const SUPPORTED: &'static str = "llama, qwen2, qwen3, gemma2, gemma3, phi3";

    /// The name in GGUF files, also the prefix of the family's keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The gate of the feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`: `SwiGLU`.
    Silu,
    /// The tanh approximation of GELU (Gemma).
    GeluTanh,
}

/// Sizes and switches of one decoder. Lengths are numbers of elements.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family, for display.
    pub architecture: Architecture,
    /// `general.name`, or the family's name.
    pub name: String,
    /// Decoder layers.
    pub num_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab_size: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary angles on global layers.
    pub rope_theta: f32,
    /// Base on sliding-window layers (differs in Gemma 3).
    pub rope_theta_local: f32,
    /// Dimensions of a head that are rotated; the rest passes through.
    pub num_rot: usize,
    /// Which dimensions form a pair.
    pub rope_style: RopeStyle,
    /// How positions beyond the training length are squeezed.
    pub rope_scaling: RopeScaling,
    /// Multiplies `q·k` before the softmax.
    pub attention_scale: f32,
    /// `cap * tanh(score / cap)` on attention scores (Gemma 2).
    pub attention_softcap: Option<f32>,
    /// The same on the final logits (Gemma 2).
    pub final_softcap: Option<f32>,
    /// Per layer: `Some(w)` where a token sees only the last `w` positions.
    pub windows: Vec<Option<u32>>,
    /// Gate of the feed-forward network.
    pub activation: Activation,
    /// Multiplies the embedding (Gemma: the square root of `hidden_size`).
    pub embedding_scale: f32,
    /// Whether q and k are normalized per head before `RoPE` (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// Whether each sub-layer's output is normalized before it is added (Gemma).
    pub post_norms: bool,
}

impl ModelConfig {
    /// Reads and checks the metadata of `file`.
    ///
    /// # Errors
    /// Names the key, what it holds and what it may hold. Sizes are bounded so that no product of
    /// two of them overflows.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let metadata = file.metadata();
        let name = metadata.require_str("general.architecture")?;
        let architecture = Architecture::ALL
            .into_iter()
            .find(|known| known.name() == name)
            .ok_or_else(|| LoadError::UnsupportedArchitecture {
                name: name.chars().take(64).collect(),
                supported: Architecture::SUPPORTED,
            })?;
        let keys = Keys { metadata, prefix: architecture.name() };

        let num_layers = keys.size("block_count", None, 1024)?;
        let hidden_size = keys.size("embedding_length", None, 1 << 20)?;
        let intermediate_size = keys.size("feed_forward_length", None, 1 << 22)?;
        let num_heads = keys.size("attention.head_count", None, 1 << 14)?;
        let num_kv_heads = keys.kv_heads(num_heads)?;
        if !num_heads.is_multiple_of(num_kv_heads) {
            return Err(keys.bad(
                "attention.head_count_kv",
                num_kv_heads,
                "a divisor of head_count",
            ));
        }
        let default_head_dim = hidden_size / num_heads;
        let head_dim = keys.size(
            "attention.key_length",
            (default_head_dim > 0).then_some(default_head_dim),
            1024,
        )?;
        let value_dim = keys.size("attention.value_length", Some(head_dim), 1024)?;
        if value_dim != head_dim {
            return Err(keys.bad("attention.value_length", value_dim, "equal to key_length"));
        }
        // The largest public models have 16,384; beyond this a file only asks for memory.
        if num_heads * head_dim > MAX_Q_SIZE {
            let expected = format!("at most {MAX_Q_SIZE} over all heads");
            return Err(keys.bad("attention.key_length", head_dim, &expected));
        }
        let num_rot = keys.size("rope.dimension_count", Some(head_dim), head_dim)?;
        if !num_rot.is_multiple_of(2) {
            return Err(keys.bad("rope.dimension_count", num_rot, "even"));
        }
        let embedding = file
            .tensor("token_embd.weight")
            .ok_or_else(|| LoadError::MissingTensor { name: "token_embd.weight".into() })?;
        let vocab_size = embedding.rows();
        let context_length = keys.size("context_length", Some(4096), 1 << 28)?;
        let rope_theta = keys.positive("rope.freq_base", Some(10_000.0))?;

        Ok(Self {
            architecture,
            name: metadata
                .str("general.name")?
                .filter(|name| !name.trim().is_empty())
                .map_or_else(|| architecture.name().to_owned(), str::to_owned),
            num_layers,
            hidden_size,
            intermediate_size,
            num_heads,
            num_kv_heads,
            head_dim,
            vocab_size,
            context_length,
            rms_norm_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            rope_theta,
            rope_theta_local: keys.positive(
                "rope.freq_base_swa",
                Some(if architecture == Architecture::Gemma3 { 10_000.0 } else { rope_theta }),
            )?,
            num_rot,
            rope_style: match architecture {
                // The converter permutes Llama's q and k rows, so that pairs stand side by side.
                Architecture::Llama => RopeStyle::Interleaved,
                _ => RopeStyle::HalfSplit,
            },
            rope_scaling: rope_scaling(
                &keys,
                context_length,
                file.tensor("rope_factors_long.weight").is_some(),
            )?,
            attention_scale: attention_scale(
                &keys,
                architecture,
                num_layers,
                hidden_size,
                num_heads,
                head_dim,
            )?,
            attention_softcap: keys.softcap("attn_logit_softcapping")?,
            final_softcap: keys.softcap("final_logit_softcapping")?,
            windows: windows(&keys, architecture, num_layers)?,
            activation: if architecture.is_gemma() {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            // GGUF parity: the f32 square root, where the original rounds it to bf16.
            embedding_scale: if architecture.is_gemma() {
                (hidden_size as f32).sqrt()
            } else {
                1.0
            },
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            post_norms: architecture.is_gemma(),
        })
    }

    /// Width of all query heads together.
    pub fn q_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }
}

/// Metadata under one architecture's prefix, with checks that name the key.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn bad(&self, key: &str, value: impl fmt::Display, expected: &str) -> LoadError {
        LoadError::BadValue {
            key: self.full(key),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// An integer from 1 to `max`.
    fn size(&self, key: &str, default: Option<usize>, max: usize) -> Result<usize, LoadError> {
        let full = self.full(key);
        let value = match (self.metadata.u64(&full)?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => return Ok(default),
            (None, None) => self.metadata.require_u64(&full)?,
        };
        usize::try_from(value)
            .ok()
            .filter(|value| (1..=max).contains(value))
            .ok_or_else(|| self.bad(key, value, &format!("from 1 to {max}")))
    }

    /// Key and value heads: one number, or a list with the same number for every layer.
    fn kv_heads(&self, num_heads: usize) -> Result<usize, LoadError> {
        const KEY: &str = "attention.head_count_kv";
        let full = self.full(KEY);
        let Some(Value::Array(_)) = self.metadata.get(&full) else {
            return self.size(KEY, Some(num_heads), 1 << 14);
        };
        let per_layer = self.metadata.usizes(&full)?.unwrap_or_default();
        match per_layer.first() {
            Some(&first) if first > 0 && per_layer.iter().all(|&it| it == first) => Ok(first),
            _ => Err(self.bad(KEY, "a list of different numbers", "the same for every layer")),
        }
    }

    /// A finite number above zero.
    fn positive(&self, key: &str, default: Option<f32>) -> Result<f32, LoadError> {
        let full = self.full(key);
        let value = match (self.metadata.f32(&full)?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => return Ok(default),
            (None, None) => self.metadata.require_f32(&full)?,
        };
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.bad(key, value, "a finite number above 0"))
        }
    }

    /// A cap, absent when the key is missing or zero.
    fn softcap(&self, key: &str) -> Result<Option<f32>, LoadError> {
        match self.metadata.f32(&self.full(key))? {
            None => Ok(None),
            Some(0.0) => Ok(None),
            Some(_) => self.positive(key, None).map(Some),
        }
    }
}

/// `has_long_factors`: the file has Phi-3's two tables of factors. Its converter names no scaling
/// type, so the tables themselves are the sign.
fn rope_scaling(
    keys: &Keys<'_>,
    context_length: usize,
    has_long_factors: bool,
) -> Result<RopeScaling, LoadError> {
    let original_context_length =
        keys.size("rope.scaling.original_context_length", Some(context_length), 1 << 28)?;
    let attention_factor = keys.positive("rope.scaling.attn_factor", Some(1.0))?;
    let long = RopeScaling::Long { original_context_length, attention_factor };
    if has_long_factors {
        return Ok(long);
    }
    let kind = keys.metadata.str(&keys.full("rope.scaling.type"))?.unwrap_or("none").to_owned();
    let has = |key: &str| keys.metadata.get(&keys.full(key)).is_some();
    match kind.as_str() {
        "none" if has("rope.scale_linear") => {
            Ok(RopeScaling::Linear { factor: keys.positive("rope.scale_linear", None)? })
        }
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: keys.positive("rope.scaling.factor", None)? }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor: keys.positive("rope.scaling.factor", None)?,
            original_context_length,
            attention_factor,
        }),
        "longrope" => Ok(long),
        other => Err(keys.bad(
            "rope.scaling.type",
            other.chars().take(64).collect::<String>(),
            "none, linear, yarn or longrope",
        )),
    }
}

fn attention_scale(
    keys: &Keys<'_>,
    architecture: Architecture,
    num_layers: usize,
    hidden_size: usize,
    num_heads: usize,
    head_dim: usize,
) -> Result<f32, LoadError> {
    // The 27B models of Gemma 2 (46 layers) and Gemma 3 (62) scale by hidden_size / num_heads
    // instead of the head's width, and no key in the file says so.
    let is_27b = matches!(
        (architecture, num_layers),
        (Architecture::Gemma2, 46) | (Architecture::Gemma3, 62)
    );
    let width = if is_27b { hidden_size as f32 / num_heads as f32 } else { head_dim as f32 };
    match keys.metadata.f32(&keys.full("attention.scale"))? {
        Some(0.0) | None => Ok(1.0 / width.sqrt()),
        Some(_) => keys.positive("attention.scale", None),
    }
}

/// Which layers see only a window. Mistral v0.1's and Phi-3's window keys are ignored, as
/// llama.cpp does: the windows are longer than the contexts they are served with.
fn windows(
    keys: &Keys<'_>,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Vec<Option<u32>>, LoadError> {
    let default_pattern = match architecture {
        Architecture::Gemma2 => 2,
        Architecture::Gemma3 => 6,
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Phi3 => {
            return Ok(vec![None; num_layers]);
        }
    };
    let default_window = if architecture == Architecture::Gemma2 { 4096 } else { 1024 };
    let window = keys.size("attention.sliding_window", Some(default_window), 1 << 28)?;
    let window = Some(window as u32);

    let pattern_key = keys.full("attention.sliding_window_pattern");
    if let Some(Value::Array(_)) = keys.metadata.get(&pattern_key) {
        let is_local = keys.metadata.bools(&pattern_key)?.unwrap_or_default();
        if is_local.len() < num_layers {
            return Err(keys.bad(
                "attention.sliding_window_pattern",
                format!("{} long", is_local.len()),
                &format!("at least {num_layers} long"),
            ));
        }
        return Ok(is_local[..num_layers].iter().map(|&local| window.filter(|_| local)).collect());
    }
    // Every `pattern`-th layer is global, the last of each group.
    let pattern = keys.size("attention.sliding_window_pattern", Some(default_pattern), 1024)?;
    Ok((0..num_layers).map(|layer| window.filter(|_| layer % pattern < pattern - 1)).collect())
}
