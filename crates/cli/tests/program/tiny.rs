//! A tiny model with random weights, made anew for each test: real in everything but sense.

use std::{fs::File, io::BufWriter, path::Path};

use brisk_formats::{Array, GgufWriter, TensorType, Value};

const HIDDEN: usize = 64;
const CONTEXT: usize = 256;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;
const FFN: usize = 96;

const CONTROLS: [&str; 4] = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"];
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' \
                        + message.content + '<|end|>' }}{% endfor %}\
                        {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// The 256 letters of a byte-level vocabulary (GPT-2), the control tokens behind them.
fn tokens() -> Vec<String> {
    let is_visible = |it: u32| matches!(it, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let letters = (0..256u32).map(|byte| {
        let code = if is_visible(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap().to_string()
    });
    letters.chain(CONTROLS.map(str::to_owned)).collect()
}

pub(crate) fn vocab_size() -> usize {
    256 + CONTROLS.len()
}

/// Weights between -0.5 and 0.5 times `scale`, from a small fixed generator.
fn random(count: usize, scale: f32, seed: &mut u64) -> Vec<u8> {
    let values = (0..count).map(|_| {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * scale
    });
    values.flat_map(f32::to_le_bytes).collect()
}

/// Writes the model to `path`.
pub(crate) fn write(path: &Path) {
    write_model(path, CONTEXT, Some(257), &[("tokenizer.chat_template", TEMPLATE)]);
}

/// Writes the model to `path` with these texts beside its own, its template not among them.
pub(crate) fn write_with(path: &Path, texts: &[(&str, &str)]) {
    write_model(path, CONTEXT, Some(257), texts);
}

/// Writes a model that has no token for an end, and a context of this many tokens.
pub(crate) fn write_endless(path: &Path, context: usize) {
    write_model(path, context, None, &[("tokenizer.chat_template", TEMPLATE)]);
}

fn write_model(path: &Path, context: usize, end: Option<usize>, texts: &[(&str, &str)]) {
    let mut writer = GgufWriter::new();
    let text = |it: &str| Value::String(it.to_owned());
    let size = |it: usize| Value::U32(it as u32);
    let types = (0..vocab_size()).map(|it| if it < 256 { 1 } else { 3 }).collect();
    let mut tokens = tokens();
    if end.is_none() {
        // Its usual name would tell what it is for.
        "<|nothing|>".clone_into(&mut tokens[257]);
    }
    let keys = [
        ("general.architecture", text("llama")),
        ("general.name", text("tiny")),
        ("llama.block_count", size(LAYERS)),
        ("llama.context_length", size(context)),
        ("llama.embedding_length", size(HIDDEN)),
        ("llama.feed_forward_length", size(FFN)),
        ("llama.attention.head_count", size(HEADS)),
        ("llama.attention.head_count_kv", size(KV_HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", size(HEAD_DIM)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
        ("tokenizer.ggml.merges", Value::Array(Array::String(Vec::new()))),
        ("tokenizer.ggml.bos_token_id", size(256)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
    ];
    let texts = texts.iter().map(|&(key, value)| (key, text(value)));
    let end = end.map(|it| ("tokenizer.ggml.eos_token_id", size(it)));
    for (key, value) in keys.into_iter().chain(texts).chain(end) {
        writer.add_metadata(key, value).unwrap();
    }

    let mut seed = 7;
    let mut add = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let data = match shape {
            [_] => [1.0f32.to_le_bytes()].concat().repeat(count),
            _ => random(count, 0.4, &mut seed),
        };
        writer.add_tensor(name, shape, TensorType::F32, data).unwrap();
    };
    add("token_embd.weight", &[HIDDEN, vocab_size()]);
    add("output_norm.weight", &[HIDDEN]);
    add("output.weight", &[HIDDEN, vocab_size()]);
    for layer in 0..LAYERS {
        let mut add =
            |name: &str, shape: &[usize]| add(&format!("blk.{layer}.{name}.weight"), shape);
        add("attn_norm", &[HIDDEN]);
        add("attn_q", &[HIDDEN, HEADS * HEAD_DIM]);
        add("attn_k", &[HIDDEN, KV_HEADS * HEAD_DIM]);
        add("attn_v", &[HIDDEN, KV_HEADS * HEAD_DIM]);
        add("attn_output", &[HEADS * HEAD_DIM, HIDDEN]);
        add("ffn_norm", &[HIDDEN]);
        add("ffn_gate", &[HIDDEN, FFN]);
        add("ffn_up", &[HIDDEN, FFN]);
        add("ffn_down", &[FFN, HIDDEN]);
    }
    writer.write_to(BufWriter::new(File::create(path).unwrap())).unwrap();
}
