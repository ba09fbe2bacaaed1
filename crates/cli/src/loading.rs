//! From settings to a model in memory: finds the file, sizes the KV cache, shows progress.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use brisk_engine::{Engine, EngineConfig, EngineHandle, ModelInfo};
use brisk_formats::{Error, GgufFile};
use brisk_kernels::{Compute, Cpu};
use brisk_model::{
    BLOCK_SIZE, BatchSequence, LoadOptions, LogitsWanted, Model, ModelConfig, load_tokenizer,
};
use brisk_tokenizer::Tokenizer;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    config::{Config, show_bytes},
    machine, template,
};

/// Context where nobody asks for another: models promise 128 Ki tokens and more, whose keys and
/// values would not fit in the memory of the machines that this is for.
const DEFAULT_MAX_MODEL_LEN: usize = 8192;
/// What loads faster than this shows no progress bar: it would only flash.
const PROGRESS_DELAY: Duration = Duration::from_millis(300);
/// The part of the free memory that a KV cache of default size may take.
const KV_CACHE_SHARE: u64 = 2;

#[cfg(feature = "demo-model")]
static DEMO_MODEL: &[u8] = include_bytes!("../../../demo/brisk-demo.gguf");

/// A model file that is open, and the name that clients know it by.
pub(crate) struct Opened {
    pub(crate) file: Arc<GgufFile>,
    pub(crate) name: String,
}

/// Opens the model that the settings name, or the built-in one.
pub(crate) fn open(config: &Config) -> Result<Opened> {
    let Some(path) = &config.model else { return open_demo(config) };
    let file = open_file(path)?;
    let name = config.model_name.clone().unwrap_or_else(|| name_of(path));
    Ok(Opened { file: Arc::new(file), name })
}

/// Opens a GGUF file, or says kindly why this is none.
pub(crate) fn open_file(path: &Path) -> Result<GgufFile> {
    let is_safetensors = path.extension().is_some_and(|it| it == "safetensors");
    if is_safetensors || fs::metadata(path).is_ok_and(|it| it.is_dir()) {
        bail!(
            "{} is not a GGUF file: safetensors folders are not read yet, give a .gguf file",
            path.display()
        );
    }
    GgufFile::open(path).map_err(|error| match error {
        // These name the path themselves.
        Error::Open { .. } | Error::NotAFile { .. } => error.into(),
        _ => anyhow::Error::new(error).context(format!("reading model {}", path.display())),
    })
}

#[cfg(feature = "demo-model")]
fn open_demo(config: &Config) -> Result<Opened> {
    let file = GgufFile::from_bytes(DEMO_MODEL.into()).context("opening the built-in model")?;
    let name = config.model_name.clone().unwrap_or_else(|| "brisk-demo".to_owned());
    Ok(Opened { file: Arc::new(file), name })
}

#[cfg(not(feature = "demo-model"))]
fn open_demo(_config: &Config) -> Result<Opened> {
    bail!("no model given: brisk serve --model FILE")
}

/// The file's name without `.gguf` and without the number of a shard.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let is_shard = |it: &str| it.len() == 5 && it.bytes().all(|it| it.is_ascii_digit());
    if let Some((rest, count)) = stem.rsplit_once("-of-")
        && let Some((name, number)) = rest.rsplit_once('-')
        && is_shard(count)
        && is_shard(number)
    {
        return name.to_owned();
    }
    stem
}

/// The instructions to compute with.
pub(crate) fn cpu(config: &Config) -> Result<Cpu> {
    Ok(match config.cpu {
        Some(level) => Cpu::forced(level)?,
        None => Cpu::detect(),
    })
}

/// Starts the threads that compute.
pub(crate) fn compute(config: &Config) -> Result<Arc<Compute>> {
    let cpu = cpu(config)?;
    let num_threads = config.threads.unwrap_or_else(machine::num_physical_cores);
    tracing::info!(kernels = %cpu, num_threads, "computing");
    Ok(Arc::new(Compute::new(cpu, num_threads)))
}

/// What to load: context and KV cache for `max_num_seqs` sequences, from settings, model and
/// free memory.
pub(crate) fn load_options(
    config: &Config,
    file: &GgufFile,
    model: &ModelConfig,
    compute: Arc<Compute>,
    max_num_seqs: usize,
) -> LoadOptions {
    let context = model.context_length;
    let max_model_len = match config.max_model_len {
        Some(wanted) if wanted > context => {
            tracing::warn!(
                max_model_len = wanted,
                context_length = context,
                "the model holds fewer tokens than asked for"
            );
            context
        }
        Some(wanted) => wanted,
        None => context.min(DEFAULT_MAX_MODEL_LEN),
    };
    let available_bytes = machine::available_bytes();
    let weight_bytes: u64 = file.tensors().iter().map(|it| it.num_bytes() as u64).sum();
    let token_bytes = model.kv_bytes_per_token(config.kv_cache_type);
    let kv_bytes = config.kv_cache_bytes.unwrap_or_else(|| {
        let wanted =
            (max_num_seqs as u64).saturating_mul(max_model_len as u64).saturating_mul(token_bytes);
        match available_bytes {
            Some(free) => wanted.min(free.saturating_sub(weight_bytes) / KV_CACHE_SHARE),
            None => wanted,
        }
    });
    let num_tokens = usize::try_from(kv_bytes / token_bytes).unwrap_or(usize::MAX);
    LoadOptions {
        compute,
        max_model_len: Some(max_model_len),
        num_kv_cache_tokens: Some(num_tokens),
        kv_cache_type: config.kv_cache_type,
        max_num_batched_tokens: config.max_num_batched_tokens,
        max_num_logits: max_num_seqs,
        available_bytes,
    }
}

/// Loads the weights, with a progress bar on a terminal.
pub(crate) fn load(
    config: &Config,
    opened: &Opened,
    compute: &Arc<Compute>,
    max_num_seqs: usize,
) -> Result<Model> {
    let Opened { file, name } = opened;
    let context = || format!("loading model {name}");
    let started = Instant::now();
    let facts = ModelConfig::from_gguf(file).with_context(context)?;
    let options = load_options(config, file, &facts, Arc::clone(compute), max_num_seqs);
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("loading {bar:30} {bytes}/{total_bytes}")
            .expect("the template is right, as a test shows"),
    );
    let result = Model::load(file, &options, &mut |done, total| {
        if started.elapsed() < PROGRESS_DELAY {
            return;
        }
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let model = result.with_context(context)?;
    let plan = model.plan();
    tracing::info!(
        model = name,
        weight_bytes = plan.weight_bytes,
        kv_cache_bytes = plan.kv_cache_bytes,
        max_model_len = plan.max_model_len,
        num_kv_blocks = plan.num_kv_blocks,
        load_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "loaded"
    );
    Ok(model)
}

/// Loads the weights and, at the same time, what `tokenizer` does: that of a large vocabulary takes as
/// long as the weights of a small model.
pub(crate) fn load_beside<T: Send>(
    config: &Config,
    opened: &Opened,
    compute: &Arc<Compute>,
    max_num_seqs: usize,
    tokenizer: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Model)> {
    let (tokenizer, model) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(tokenizer);
        let model = load(config, opened, compute, max_num_seqs);
        (tokenizer.join(), model)
    });
    let tokenizer = tokenizer.unwrap_or_else(|it| std::panic::resume_unwind(it))?;
    Ok((tokenizer, model?))
}

/// Whether the first request finds every buffer in place, or the first reply begins sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarmUp {
    /// Compute a few tokens before anybody asks: for a server.
    Yes,
    /// Begin at once: for a command that answers one person.
    No,
}

/// Loads everything and starts the engine.
pub(crate) fn start_engine(
    config: &Config,
    opened: &Opened,
    warm_up: WarmUp,
) -> Result<EngineHandle> {
    let compute = compute(config)?;
    let ((tokenizer, template), mut model) =
        load_beside(config, opened, &compute, config.max_num_seqs, || {
            let tokenizer = tokenizer_of(opened)?;
            let template = template::load(config, opened, &tokenizer)?;
            Ok((tokenizer, template))
        })?;
    if warm_up == WarmUp::Yes {
        compute_a_little(&mut model);
    }
    let info = ModelInfo {
        name: opened.name.clone(),
        description: describe(&opened.file, model.config()),
        max_model_len: model.plan().max_model_len,
        vocab_size: model.config().vocab_size,
    };
    let bounds = EngineConfig {
        max_num_seqs: config.max_num_seqs,
        max_num_batched_tokens: config.max_num_batched_tokens,
        max_queued_requests: config.max_queued_requests,
        max_step_time: config.max_step_time,
        num_clients: config.num_clients(),
        ..EngineConfig::default()
    };
    Ok(Engine::start(model, Arc::new(tokenizer), template, info, bounds))
}

/// Runs a few tokens through the model: threads, scratch memory and code are then in place. What
/// they leave in the KV cache belongs to nobody and is overwritten.
fn compute_a_little(model: &mut Model) {
    let num_tokens = BLOCK_SIZE.min(16).min(model.plan().max_model_len);
    let sequence = BatchSequence {
        tokens: &vec![0; num_tokens],
        start: 0,
        block_table: &[0],
        logits: LogitsWanted::Last,
    };
    model.forward(&[sequence], &mut Vec::new());
}

/// The tokenizer of an open file.
pub(crate) fn tokenizer_of(opened: &Opened) -> Result<Tokenizer> {
    load_tokenizer(&opened.file)
        .with_context(|| format!("loading the tokenizer of {}", opened.name))
}

/// One line for people: architecture, size, type of most weights.
pub(crate) fn describe(file: &GgufFile, model: &ModelConfig) -> String {
    let num_weights: u64 = file.tensors().iter().map(|it| it.num_values() as u64).sum();
    let types = tensor_types(file);
    let most = types.iter().max_by_key(|it| it.1.num_bytes).map_or("no weights", |it| *it.0);
    format!(
        "{}, {} parameters, {most}, {}",
        model.architecture,
        show_count(num_weights),
        show_bytes(file.num_bytes())
    )
}

/// How many tensors of one type there are, and how large they are together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TypeSum {
    pub(crate) num_tensors: usize,
    pub(crate) num_bytes: u64,
}

/// The tensors of a file by the name of their type.
pub(crate) fn tensor_types(file: &GgufFile) -> BTreeMap<&'static str, TypeSum> {
    let mut types: BTreeMap<&'static str, TypeSum> = BTreeMap::new();
    for tensor in file.tensors() {
        let sum = types.entry(tensor.tensor_type.name()).or_default();
        sum.num_tensors += 1;
        sum.num_bytes += tensor.num_bytes() as u64;
    }
    types
}

/// A count for people: `997`, `12.3 k`, `1.24 B`.
pub(crate) fn show_count(count: u64) -> String {
    let (divisor, unit) = match count {
        1_000_000_000.. => (1e9, " B"),
        1_000_000.. => (1e6, " M"),
        1_000.. => (1e3, " k"),
        _ => return count.to_string(),
    };
    format!("{:.3}", count as f64 / divisor)
        .chars()
        .take(4)
        .collect::<String>()
        .trim_end_matches('.')
        .to_owned()
        + unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_like_its_file() {
        let check = |path: &str, expected: &str| assert_eq!(name_of(Path::new(path)), expected);
        check("/models/Llama-3.2-1B-Q4_K_M.gguf", "Llama-3.2-1B-Q4_K_M");
        check("big-00001-of-00003.gguf", "big");
        check("a-of-b.gguf", "a-of-b");
        check("model", "model");
    }

    #[test]
    fn counts_are_shown_for_people() {
        let check = |count, expected: &str| assert_eq!(show_count(count), expected);
        check(0, "0");
        check(999, "999");
        check(12_345, "12.3 k");
        check(1_235_814_432, "1.23 B");
        check(134_515_008, "134 M");
    }

    #[test]
    fn what_is_no_gguf_file_is_refused_kindly() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_file(folder.path()).unwrap_err().to_string();
        assert!(error.contains("safetensors folders are not read yet"), "{error}");
        let error = open_file(Path::new("model.safetensors")).unwrap_err().to_string();
        assert!(error.contains("give a .gguf file"), "{error}");
        let broken = folder.path().join("broken.gguf");
        fs::write(&broken, b"GGUF\x03\0\0\0").unwrap();
        let error = format!("{:#}", open_file(&broken).unwrap_err());
        assert!(error.contains("broken.gguf: tensor count at byte 8"), "{error}");
    }

    #[test]
    fn the_progress_template_is_right() {
        assert!(ProgressStyle::with_template("loading {bar:30} {bytes}/{total_bytes}").is_ok());
    }
}
