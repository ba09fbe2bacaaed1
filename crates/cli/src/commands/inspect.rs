//! `brisk inspect`: what is in a model file and what it needs on this machine.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use anyhow::Result;
use brisk_formats::{GgufFile, Value};
use brisk_kernels::{Compute, Cpu};
use brisk_model::{MemoryPlan, ModelConfig, named_templates};
use brisk_tokenizer::Tokenizer;

use crate::{
    config::{Config, show_bytes},
    loading::{self, Opened, show_count, tensor_types},
    machine,
    output::{printable, write_pairs},
    template::{self, Chosen},
};

pub(crate) fn run(config: &Config, file: Option<&Path>) -> Result<()> {
    let mut config = config.clone();
    config.model = file.map(Path::to_owned).or(config.model);
    let opened = loading::open(&config)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let file = &opened.file;
    let num_weights: u64 = file.tensors().iter().map(|it| it.num_values() as u64).sum();
    let mut pairs = vec![
        pair("model", &opened.name),
        pair("file", format!("GGUF version {}, {}", file.version(), show_bytes(file.num_bytes()))),
        pair("parameters", show_count(num_weights)),
    ];
    if file.num_shards() > 1 {
        pairs.push(pair("shards", file.num_shards()));
    }
    write_pairs(&mut out, &pairs)?;
    write_tensors(&mut out, file)?;

    writeln!(out, "\narchitecture")?;
    match ModelConfig::from_gguf(file) {
        Ok(model) => {
            write_pairs(&mut out, &architecture(&model))?;
            writeln!(out, "\ntokenizer")?;
            write_pairs(&mut out, &tokenizer(&config, &opened))?;
            writeln!(out, "\nmemory here")?;
            write_pairs(&mut out, &memory(&config, file, &model))?;
        }
        Err(error) => {
            let name = file.metadata().str("general.architecture").ok().flatten();
            let pairs = [pair("  name", name.unwrap_or("none")), pair("  not usable", error)];
            write_pairs(&mut out, &pairs)?;
            writeln!(out, "\ntokenizer")?;
            write_pairs(&mut out, &tokenizer(&config, &opened))?;
        }
    }
    writeln!(out, "\nkeys")?;
    let keys: Vec<_> = file
        .metadata()
        .iter()
        .map(|(key, value)| pair(&format!("  {}", printable(key)), value))
        .collect();
    write_pairs(&mut out, &keys)?;
    out.flush()?;
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and texts stand at the call as they are"
)]
fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn write_tensors(out: &mut impl Write, file: &GgufFile) -> io::Result<()> {
    writeln!(out, "\ntensors")?;
    for (name, sum) in tensor_types(file) {
        writeln!(out, "  {name:8} {:>5}  {:>10}", sum.num_tensors, show_bytes(sum.num_bytes))?;
    }
    if file.tensors().is_empty() {
        writeln!(out, "  none: the file holds a vocabulary only")?;
    }
    Ok(())
}

fn architecture(model: &ModelConfig) -> Vec<(String, String)> {
    let num_windowed = model.windows.iter().filter(|it| it.is_some()).count();
    let mut pairs = vec![
        pair("  name", model.architecture),
        pair("  layers", model.num_layers),
        pair("  hidden size", model.hidden_size),
        pair("  intermediate size", model.intermediate_size),
        pair(
            "  heads",
            format!(
                "{} of {}, {} for keys and values",
                model.num_heads, model.head_dim, model.num_kv_heads
            ),
        ),
        pair("  vocabulary", model.vocab_size),
        pair("  context", model.context_length),
        pair("  rope theta", model.rope_theta),
    ];
    if num_windowed > 0 {
        pairs.push(pair("  sliding window", format!("on {num_windowed} layers")));
    }
    pairs
}

fn tokenizer(config: &Config, opened: &Opened) -> Vec<(String, String)> {
    let metadata = opened.file.metadata();
    let text = |key: &str| match metadata.get(key) {
        Some(Value::String(text)) => text.clone(),
        _ => "none".to_owned(),
    };
    let kind = format!("{} ({})", text("tokenizer.ggml.model"), text("tokenizer.ggml.pre"));
    let mut pairs = vec![pair("  model", kind)];
    match loading::tokenizer_of(opened) {
        Ok(tokenizer) => {
            let names = tokenizer.end_of_generation().iter().map(|&it| tokenizer.token_text(it));
            let bos = tokenizer.bos().map_or("none".to_owned(), |it| tokenizer.token_text(it));
            pairs.push(pair("  tokens", tokenizer.vocab_size()));
            pairs.push(pair("  begins with", bos));
            pairs.push(pair("  ends with", names.collect::<Vec<_>>().join(" ")));
            pairs.extend(chat_template(config, opened, &tokenizer));
        }
        Err(error) => pairs.push(pair("  not usable", format!("{error:#}"))),
    }
    pairs
}

/// Where the chat template comes from, and what it does with sample conversations.
fn chat_template(config: &Config, opened: &Opened, tokenizer: &Tokenizer) -> Vec<(String, String)> {
    let Chosen { template, origin, trial } = match template::choose(config, opened, tokenizer) {
        Ok(chosen) => chosen,
        Err(error) => return vec![pair("  chat template", format!("{error:#}"))],
    };
    let num_chars = template.source().chars().count();
    let mut pairs = vec![
        pair("  chat template", format!("{origin}, {num_chars} characters")),
        pair("    renders", format!("{} sample conversations", trial.num_rendered)),
    ];
    pairs.extend(template::shown_dates(&template).map(|dates| pair("    dates", dates)));
    let refused =
        trial.refused.iter().map(|(what, words)| ("    refuses", format!("{what}: {words}")));
    let failed =
        trial.failed.iter().map(|(what, error)| ("    fails on", format!("{what}: {error}")));
    let missing = trial.missing.iter().map(|what| ("    lacks", what.clone()));
    pairs.extend(refused.chain(failed).chain(missing).map(|(name, value)| pair(name, value)));
    let named: Vec<&str> = named_templates(&opened.file).map(|(name, _)| name).collect();
    if !named.is_empty() {
        pairs.push(pair("    others", named.join(", ")));
    }
    pairs
}

/// What `serve` would take with these settings, and whether it fits.
fn memory(config: &Config, file: &GgufFile, model: &ModelConfig) -> Vec<(String, String)> {
    let compute = Arc::new(Compute::new(Cpu::detect(), 1));
    let mut options = loading::load_options(config, file, model, compute, config.max_num_seqs);
    let available = options.available_bytes.take();
    // Without a limit only a sum that overflows is refused.
    let plan = match MemoryPlan::new(file, model, &options) {
        Ok(plan) => plan,
        Err(error) => return vec![pair("  not usable", error)],
    };
    let total = plan.num_bytes();
    let seqs = plan.num_kv_blocks * brisk_model::BLOCK_SIZE / plan.max_model_len.max(1);
    let mut pairs = vec![
        pair("  weights", show_bytes(plan.weight_bytes)),
        pair(
            "  KV cache",
            format!(
                "{} ({} tokens each, {seqs} at full length, {} per token as {})",
                show_bytes(plan.kv_cache_bytes),
                plan.max_model_len,
                show_bytes(model.kv_bytes_per_token(config.kv_cache_type)),
                config.kv_cache_type
            ),
        ),
        pair("  buffers", format!("about {}", show_bytes(plan.buffer_bytes))),
        pair("  together", show_bytes(total)),
    ];
    if let Some(available) = available {
        let verdict = if total <= available { "it fits" } else { "it does not fit" };
        pairs.push(pair("  free", format!("{}: {verdict}", show_bytes(available))));
    }
    pairs.push(pair(
        "  processor",
        format!(
            "{}, {} cores, {}",
            machine::cpu_name(),
            machine::num_physical_cores(),
            Cpu::detect()
        ),
    ));
    pairs
}
