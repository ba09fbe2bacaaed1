//! The forward pass: one generic decoder layer, applied to a ragged batch of tokens.

use std::sync::Arc;

use brisk_formats::GgufFile;
use brisk_kernels::{
    AttentionSequence, AttentionSpec, Columns, Compute, KvStore, PackedMatrix, add, attention,
    gelu_tanh_mul, matmul, rms_norm, rms_norm_in_place, rope, scale, silu_mul, softcap,
};

use crate::{
    BLOCK_SIZE,
    config::{Activation, ModelConfig},
    error::LoadError,
    loader::{LoadOptions, Weights, load_weights},
    memory::MemoryPlan,
    weights::{GateUpProjection, Layer, QkvProjection},
};

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct BatchSequence<'a> {
    /// Token ids, each below the vocabulary's size. Never empty.
    pub tokens: &'a [u32],
    /// Position of the first of them: how many tokens of the sequence are already in the KV cache.
    pub start: usize,
    /// The sequence's blocks of the KV cache, enough for `start + tokens.len()` tokens.
    pub block_table: &'a [u32],
    /// Which logits to compute.
    pub logits: LogitsWanted,
}

/// After which of a [`BatchSequence`]'s tokens the next one is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// None: more of the prompt follows.
    None,
    /// The last: what generation needs.
    Last,
    /// All: for evaluation.
    All,
}

/// A loaded model with its KV cache.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    plan: MemoryPlan,
    compute: Arc<Compute>,
    weights: Weights,
    kv_store: KvStore,
    scratch: Scratch,
}

/// Buffers of one step, kept between steps. n is the number of tokens.
#[derive(Debug, Default)]
struct Scratch {
    positions: Vec<u32>,
    slots: Vec<u32>,
    cos_sin_global: Vec<f32>,
    cos_sin_local: Vec<f32>,
    hidden: Vec<f32>,   // (n, hidden_size), the residual stream
    normed: Columns,    // (n, hidden_size) or (n, q_size), input of the projections
    inner: Columns,     // (n, intermediate_size), input of the down projection
    fused: Vec<f32>,    // (n, rows of a fused projection)
    q: Vec<f32>,        // (n, num_heads, head_dim)
    k: Vec<f32>,        // (n, num_kv_heads, head_dim)
    v: Vec<f32>,        // (n, num_kv_heads, head_dim)
    attended: Vec<f32>, // (n, num_heads, head_dim), last layer only
    up: Vec<f32>,       // (n, intermediate_size)
    delta: Vec<f32>,    // (n, hidden_size), what a sub-layer adds
}

impl Model {
    /// Loads the model in `file`; `progress` is told the bytes packed so far and in all.
    ///
    /// # Errors
    /// Whatever in the file does not fit an architecture that is supported, by name and number.
    pub fn load(
        file: &Arc<GgufFile>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, LoadError> {
        let config = ModelConfig::from_gguf(file)?;
        let plan = MemoryPlan::new(file, &config, options)?;
        let compute = Arc::clone(&options.compute);
        let kv_store = KvStore::new(plan.kv_shape(&config))
            .map_err(|source| LoadError::Kernel { what: "the KV cache".to_owned(), source })?;
        let weights = load_weights(file, &config, plan.max_model_len, &compute, progress)?;
        Ok(Self { config, plan, compute, weights, kv_store, scratch: Scratch::default() })
    }

    /// Sizes and switches.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Memory in use, context to serve and blocks of the KV cache.
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// Where it computes.
    pub fn compute(&self) -> &Arc<Compute> {
        &self.compute
    }

    /// The matrices that every token meets, in the order in which a step comes to them.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        let layers = self.weights.layers.iter().flat_map(Layer::matrices);
        layers.chain([&self.weights.output])
    }

    /// Runs `batch` and appends one row of `vocab_size` logits per wanted token to `logits`, in
    /// the batch's order. Keys and values of every token are in the KV cache afterwards.
    ///
    /// A sequence's logits are the same bits whatever else is in the batch and however its tokens
    /// are cut into steps.
    ///
    /// # Panics
    /// When a token is outside the vocabulary, or a block table is too short.
    pub fn forward(&mut self, batch: &[BatchSequence<'_>], logits: &mut Vec<f32>) {
        let Self { config, compute, weights, kv_store, scratch, plan } = self;
        let mut step = Step { config, compute, weights, kv_store, scratch };
        let wanted = step.begin(batch, plan.max_model_len);
        let sequences: Vec<AttentionSequence<'_>> = batch
            .iter()
            .map(|sequence| AttentionSequence {
                num_tokens: sequence.tokens.len(),
                start: sequence.start,
                block_table: sequence.block_table,
            })
            .collect();
        let num_layers = config.num_layers;
        for layer in 0..num_layers {
            let rows = if layer + 1 == num_layers { Rows::Some(&wanted) } else { Rows::All };
            if !step.layer(layer, &sequences, rows) {
                return;
            }
        }
        step.head(logits);
    }
}

/// Which rows a layer carries on after its attention. The last layer drops the tokens whose
/// logits nobody wants, which saves most of a layer in prefill.
#[derive(Clone, Copy)]
enum Rows<'a> {
    All,
    Some(&'a [usize]),
}

/// The parts of a [`Model`] during one forward pass.
struct Step<'a> {
    config: &'a ModelConfig,
    compute: &'a Compute,
    weights: &'a Weights,
    kv_store: &'a mut KvStore,
    scratch: &'a mut Scratch,
}

impl Step<'_> {
    /// Lays out positions, slots, angles and embeddings; gives the rows whose logits are wanted.
    fn begin(&mut self, batch: &[BatchSequence<'_>], max_model_len: usize) -> Vec<usize> {
        let scratch = &mut *self.scratch;
        scratch.positions.clear();
        scratch.slots.clear();
        let mut wanted = Vec::new();
        let num_tokens: usize = batch.iter().map(|sequence| sequence.tokens.len()).sum();
        let hidden_size = self.config.hidden_size;
        resize(&mut scratch.hidden, num_tokens * hidden_size);
        let mut rows = scratch.hidden.chunks_exact_mut(hidden_size);
        for sequence in batch {
            let end = sequence.start + sequence.tokens.len();
            assert!(!sequence.tokens.is_empty(), "a sequence in a batch has no tokens");
            assert!(end <= max_model_len, "position {end} is beyond the context {max_model_len}");
            assert!(
                end.div_ceil(BLOCK_SIZE) <= sequence.block_table.len(),
                "{} blocks cannot hold {end} tokens",
                sequence.block_table.len()
            );
            let first = scratch.positions.len();
            for (position, (&token, row)) in
                (sequence.start..).zip(sequence.tokens.iter().zip(&mut rows))
            {
                assert!(
                    (token as usize) < self.config.vocab_size,
                    "token {token} is outside the vocabulary of {}",
                    self.config.vocab_size
                );
                self.weights.embedding.row(token, &self.weights.output, row);
                let block = sequence.block_table[position / BLOCK_SIZE];
                scratch.positions.push(position as u32);
                scratch.slots.push(block * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32);
            }
            match sequence.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => wanted.push(scratch.positions.len() - 1),
                LogitsWanted::All => wanted.extend(first..scratch.positions.len()),
            }
        }
        if self.config.embedding_scale.to_bits() != 1.0_f32.to_bits() {
            scale(self.compute, &mut scratch.hidden, self.config.embedding_scale);
        }
        self.weights.rope_global.cos_sin(&scratch.positions, &mut scratch.cos_sin_global);
        self.weights.rope_local.cos_sin(&scratch.positions, &mut scratch.cos_sin_local);
        wanted
    }

    /// One decoder layer. `false` when no row is left to carry on.
    fn layer(&mut self, index: usize, sequences: &[AttentionSequence<'_>], rows: Rows<'_>) -> bool {
        let layer = &self.weights.layers[index];
        self.project_qkv(layer);
        self.rotate_and_store(layer, index);
        if let Rows::Some([]) = rows {
            return false;
        }
        self.attend(index, sequences, rows);
        self.attention_output(layer);
        self.feed_forward(layer);
        true
    }

    /// Fills `q`, `k` and `v` from the normalized residual stream.
    fn project_qkv(&mut self, layer: &Layer) {
        let (config, compute) = (self.config, self.compute);
        let Scratch { hidden, normed, fused, q, k, v, positions, .. } = &mut *self.scratch;
        let num_tokens = positions.len();
        let input = normed.reset(num_tokens, config.hidden_size);
        rms_norm(compute, hidden, &layer.attention_norm, config.rms_norm_eps, input);
        let (q_size, kv_size) = (config.q_size(), config.kv_size());
        resize(q, num_tokens * q_size);
        resize(k, num_tokens * kv_size);
        resize(v, num_tokens * kv_size);
        match &layer.qkv {
            QkvProjection::Separate { q: wq, k: wk, v: wv } => {
                wq.apply(compute, normed, q);
                wk.apply(compute, normed, k);
                wv.apply(compute, normed, v);
            }
            QkvProjection::Fused(linear) => {
                resize(fused, num_tokens * (q_size + 2 * kv_size));
                linear.apply(compute, normed, fused);
                split_rows(fused, &mut [(q, q_size), (k, kv_size), (v, kv_size)]);
            }
        }
    }

    /// Normalizes heads where the family does, rotates q and k, and puts k and v into the cache.
    fn rotate_and_store(&mut self, layer: &Layer, index: usize) {
        let (config, compute) = (self.config, self.compute);
        let Scratch { q, k, v, slots, cos_sin_global, cos_sin_local, .. } = &mut *self.scratch;
        if let Some(weight) = &layer.q_norm {
            rms_norm_in_place(compute, q, weight, config.rms_norm_eps);
        }
        if let Some(weight) = &layer.k_norm {
            rms_norm_in_place(compute, k, weight, config.rms_norm_eps);
        }
        let cos_sin = if config.windows[index].is_some() { cos_sin_local } else { cos_sin_global };
        rope(compute, q, config.num_heads, config.head_dim, cos_sin, config.rope_style);
        rope(compute, k, config.num_kv_heads, config.head_dim, cos_sin, config.rope_style);
        self.kv_store.write(compute, index, slots, k, v);
    }

    /// Leaves the attended values of the rows to carry on in `normed`, and drops the other rows.
    fn attend(&mut self, index: usize, sequences: &[AttentionSequence<'_>], rows: Rows<'_>) {
        let config = self.config;
        let spec = AttentionSpec {
            num_heads: config.num_heads,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
            window: config.windows[index],
        };
        let q_size = config.q_size();
        let Scratch { normed, q, attended, hidden, positions, .. } = &mut *self.scratch;
        match rows {
            Rows::All => {
                let out = normed.reset(positions.len(), q_size);
                attention(self.compute, self.kv_store, index, &spec, sequences, q, out);
            }
            Rows::Some(wanted) => {
                resize(attended, positions.len() * q_size);
                attention(self.compute, self.kv_store, index, &spec, sequences, q, attended);
                let out = normed.reset(wanted.len(), q_size);
                for (out, &row) in out.chunks_exact_mut(q_size).zip(wanted) {
                    out.copy_from_slice(&attended[row * q_size..][..q_size]);
                }
                for (to, &row) in wanted.iter().enumerate() {
                    let width = config.hidden_size;
                    hidden.copy_within(row * width..(row + 1) * width, to * width);
                }
                hidden.truncate(wanted.len() * config.hidden_size);
            }
        }
    }

    fn attention_output(&mut self, layer: &Layer) {
        let Scratch { normed, delta, hidden, .. } = &mut *self.scratch;
        resize(delta, hidden.len());
        layer.attention_output.apply(self.compute, normed, delta);
        self.add_delta(layer.post_attention_norm.as_deref());
    }

    fn feed_forward(&mut self, layer: &Layer) {
        let (config, compute) = (self.config, self.compute);
        let Scratch { hidden, normed, inner, fused, up, delta, .. } = &mut *self.scratch;
        let num_rows = hidden.len() / config.hidden_size;
        let input = normed.reset(num_rows, config.hidden_size);
        rms_norm(compute, hidden, &layer.feed_forward_norm, config.rms_norm_eps, input);
        let width = config.intermediate_size;
        resize(up, num_rows * width);
        let gate = inner.reset(num_rows, width);
        match &layer.gate_up {
            GateUpProjection::Separate { gate: gate_weight, up: up_weight } => {
                gate_weight.apply(compute, normed, gate);
                up_weight.apply(compute, normed, up);
            }
            GateUpProjection::Fused(linear) => {
                resize(fused, num_rows * 2 * width);
                linear.apply(compute, normed, fused);
                split_rows(fused, &mut [(&mut *gate, width), (up, width)]);
            }
        }
        match config.activation {
            Activation::Silu => silu_mul(compute, gate, up),
            Activation::GeluTanh => gelu_tanh_mul(compute, gate, up),
        }
        resize(delta, hidden.len());
        layer.down.apply(compute, inner, delta);
        self.add_delta(layer.post_feed_forward_norm.as_deref());
    }

    /// Adds what a sub-layer computed to the residual stream, normalized first in Gemma.
    fn add_delta(&mut self, post_norm: Option<&[f32]>) {
        let Scratch { delta, hidden, .. } = &mut *self.scratch;
        if let Some(weight) = post_norm {
            rms_norm_in_place(self.compute, delta, weight, self.config.rms_norm_eps);
        }
        add(self.compute, hidden, delta);
    }

    /// Appends the logits of the rows that are left.
    fn head(&mut self, logits: &mut Vec<f32>) {
        let (config, compute) = (self.config, self.compute);
        let Scratch { hidden, normed, .. } = &mut *self.scratch;
        let num_rows = hidden.len() / config.hidden_size;
        let input = normed.reset(num_rows, config.hidden_size);
        rms_norm(compute, hidden, &self.weights.output_norm, config.rms_norm_eps, input);
        let first = logits.len();
        logits.resize(first + num_rows * config.vocab_size, 0.0);
        let out = &mut logits[first..];
        matmul(compute, &self.weights.output, normed, out);
        if let Some(cap) = config.final_softcap {
            softcap(compute, out, cap);
        }
    }
}

fn resize(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}

/// Cuts each row of `fused` into the parts, whose widths add up to the row's.
fn split_rows(fused: &[f32], parts: &mut [(&mut [f32], usize)]) {
    let width: usize = parts.iter().map(|(_, width)| width).sum();
    for (index, row) in fused.chunks_exact(width).enumerate() {
        let mut rest = row;
        for (part, width) in parts.iter_mut() {
            let (head, tail) = rest.split_at(*width);
            part[index * *width..][..*width].copy_from_slice(head);
            rest = tail;
        }
    }
}
