//! `brisk bench`: how fast a model prefills and decodes on this machine, or what the machine and
//! the kernels can do (`--kernels`).
//!
//! It drives the model itself, without queue and sampler: each sequence's prompt, then greedy steps
//! in which all sequences ride together. The ids that come out are hashed, since a wrong answer is
//! not a fast one: runs must agree, and two builds can be compared.

mod kernels;

use std::{
    io::{self, Write},
    time::Instant,
};

use anyhow::{Result, bail};
use brisk_kernels::{Compute, PackedMatrix, measure};
use brisk_model::{BLOCK_SIZE, BatchSequence, LogitsWanted, Model, ModelConfig};
use serde_json::{Value, json};

use crate::{
    args::BenchArgs,
    config::{Config, show_bytes},
    loading, machine,
    output::write_pairs,
};

/// Runs of which the median counts.
const NUM_RUNS: usize = 3;

const VERSION: &str = concat!("brisk ", env!("CARGO_PKG_VERSION"));

/// Steps of decoding between two looks at how fast the weights can be read, as that changes from one
/// moment to the next on a machine that others use too.
const STEPS_PER_READ: usize = 8;

/// Speeds of one run.
#[derive(Clone, Copy, Debug)]
struct Speeds {
    /// Tokens per second over all sequences.
    prefill: f64,
    /// Likewise.
    decode: f64,
    /// Bytes of weights per second, when nothing is done but reading them.
    read: f64,
    /// The time that reading takes, of that of a step of decoding.
    read_share: f64,
}

pub(crate) fn run(config: &Config, args: &BenchArgs) -> Result<()> {
    match &args.kernels {
        Some(weight_types) => kernels::run(config, args, weight_types),
        None => run_model(config, args),
    }
}

fn run_model(config: &Config, args: &BenchArgs) -> Result<()> {
    let started = Instant::now();
    let opened = loading::open(config)?;
    let compute = loading::compute(config)?;
    let facts = ModelConfig::from_gguf(&opened.file)?;
    let num_blocks = (args.prompt_tokens + args.gen_tokens).div_ceil(BLOCK_SIZE);
    let wanted = config.max_model_len.unwrap_or(num_blocks * BLOCK_SIZE);
    let room = wanted.min(facts.context_length);
    if args.prompt_tokens + args.gen_tokens > room {
        bail!(
            "{} prompt and {} generated tokens were asked for, the model holds {room}",
            args.prompt_tokens,
            args.gen_tokens
        );
    }
    let mut config = config.clone();
    config.max_model_len = Some(room);
    let num_tokens = (args.sequences * num_blocks * BLOCK_SIZE) as u64;
    config.kv_cache_bytes =
        Some(num_tokens.saturating_mul(facts.kv_bytes_per_token(config.kv_cache_type)));
    // The tokenizer is not used here and loaded all the same: no first token comes without it.
    let (_tokenizer, mut model) =
        loading::load_beside(&config, &opened, &compute, args.sequences, || {
            loading::tokenizer_of(&opened)
        })?;
    let load_seconds = started.elapsed().as_secs_f64();

    let mut bench = Bench::new(&mut model, args, config.max_num_batched_tokens);
    bench.first_token();
    let first_token_seconds = started.elapsed().as_secs_f64();
    let num_runs = args.repeat.unwrap_or(NUM_RUNS);
    let mut runs = Vec::with_capacity(num_runs);
    let mut hash = None;
    for _ in 0..num_runs {
        let (speeds, ids) = bench.run();
        let found = hash_of(&ids);
        if *hash.get_or_insert(found) != found {
            bail!("two runs gave different tokens: the speeds mean nothing");
        }
        runs.push(speeds);
    }
    let median_of = |speed: fn(&Speeds) -> f64| median(runs.iter().map(speed).collect());
    let (prefill, decode) = (median_of(|it| it.prefill), median_of(|it| it.decode));
    let (read, read_share) = (median_of(|it| it.read), median_of(|it| it.read_share));
    let hash = hash.map(|it| it.to_hex().to_string()).unwrap_or_default();
    let peak_memory_bytes = machine::peak_memory_bytes();
    let description = loading::describe(&opened.file, &facts);

    let mut out = io::stdout().lock();
    if args.json {
        let report = json!({
            "versions": VERSION,
            "model": opened.name,
            "model_description": description,
            "model_file_bytes": opened.file.num_bytes(),
            "machine": machine_facts(&compute),
            "num_prompt_tokens": args.prompt_tokens,
            "num_gen_tokens": args.gen_tokens,
            "num_sequences": args.sequences,
            "prefill_tokens_per_second": prefill,
            "decode_tokens_per_second": decode,
            "read_bytes_per_second": read,
            "decode_read_share": read_share,
            "load_seconds": load_seconds,
            "first_token_seconds": first_token_seconds,
            "peak_memory_bytes": peak_memory_bytes,
            "greedy_ids_blake3": hash,
            "runs": runs
                .iter()
                .map(|it| json!({
                    "prefill_tokens_per_second": it.prefill,
                    "decode_tokens_per_second": it.decode,
                    "read_bytes_per_second": it.read,
                    "decode_read_share": it.read_share,
                }))
                .collect::<Vec<_>>(),
        });
        writeln!(out, "{report:#}")?;
        return Ok(());
    }
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let rows = [
        pair("model", format!("{} ({description})", opened.name)),
        pair("machine", machine_line(&compute)),
        pair("prefill", format!("{prefill:.1} tokens/s ({} tokens)", args.prompt_tokens)),
        pair("decode", format!("{decode:.1} tokens/s ({} tokens)", args.gen_tokens)),
        pair(
            "reading",
            format!(
                "{:.1} GB/s of weights, which takes {:.0} % of a decode step",
                read / 1e9,
                100.0 * read_share
            ),
        ),
        pair("sequences", args.sequences.to_string()),
        pair("load", format!("{load_seconds:.3} s")),
        pair("first token", format!("{first_token_seconds:.3} s after opening the file")),
        pair("peak memory", peak_memory_bytes.map_or("unknown".to_owned(), show_bytes)),
        pair("greedy ids", hash),
    ];
    write_pairs(&mut out, &rows)?;
    Ok(())
}

/// What the speeds were measured on.
fn machine_facts(compute: &Compute) -> Value {
    json!({
        "cpu": machine::cpu_name(),
        "num_physical_cores": machine::num_physical_cores(),
        "num_logical_cores": machine::num_logical_cores(),
        "num_threads": compute.pool.num_threads(),
        "kernels": compute.cpu.to_string(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// The same in one line.
fn machine_line(compute: &Compute) -> String {
    let (cpu, num_threads) = (machine::cpu_name(), compute.pool.num_threads());
    format!("{cpu}, {num_threads} threads, {}", compute.cpu)
}

/// A model and the sequences to run on it.
struct Bench<'a> {
    model: &'a mut Model,
    prompts: Vec<Vec<u32>>,
    block_tables: Vec<Vec<u32>>,
    num_gen_tokens: usize,
    max_num_batched_tokens: usize,
}

impl<'a> Bench<'a> {
    fn new(model: &'a mut Model, args: &BenchArgs, max_num_batched_tokens: usize) -> Self {
        let vocab_size = model.config().vocab_size;
        let num_blocks = (args.prompt_tokens + args.gen_tokens).div_ceil(BLOCK_SIZE);
        let prompts = (0..args.sequences).map(|it| prompt(it, args.prompt_tokens, vocab_size));
        let block_tables = (0..args.sequences)
            .map(|it| (it * num_blocks..(it + 1) * num_blocks).map(|it| it as u32).collect());
        Self {
            prompts: prompts.collect(),
            block_tables: block_tables.collect(),
            num_gen_tokens: args.gen_tokens,
            max_num_batched_tokens,
            model,
        }
    }

    /// The greedy token after a prompt of one. It touches every weight, so that the first run does
    /// not pay for that.
    fn first_token(&mut self) -> Vec<u32> {
        let sequence = BatchSequence {
            tokens: &self.prompts[0][..1],
            start: 0,
            block_table: &self.block_tables[0],
            logits: LogitsWanted::Last,
        };
        let mut logits = Vec::new();
        self.model.forward(&[sequence], &mut logits);
        self.greedy(&logits)
    }

    /// Prefills and decodes once; gives each sequence's generated ids.
    fn run(&mut self) -> (Speeds, Vec<Vec<u32>>) {
        let num_sequences = self.prompts.len();
        let num_prompt_tokens = self.prompts[0].len();
        let started = Instant::now();
        let mut ids: Vec<Vec<u32>> = Vec::with_capacity(num_sequences);
        for step in self.prefill_steps() {
            let batch: Vec<BatchSequence<'_>> = step
                .iter()
                .map(|&(sequence, start, end)| BatchSequence {
                    tokens: &self.prompts[sequence][start..end],
                    start,
                    block_table: &self.block_tables[sequence],
                    logits: match end == num_prompt_tokens {
                        true => LogitsWanted::Last,
                        false => LogitsWanted::None,
                    },
                })
                .collect();
            let mut logits = Vec::new();
            self.model.forward(&batch, &mut logits);
            // Sequences end their prompts in order.
            ids.extend(self.greedy(&logits).into_iter().map(|it| vec![it]));
        }
        let prefill_seconds = started.elapsed().as_secs_f64();

        let mut decode_seconds = 0.0;
        let mut read_seconds = Vec::new();
        let mut logits = Vec::new();
        for step in 0..self.num_gen_tokens {
            if step % STEPS_PER_READ == 0 {
                let model = &*self.model;
                read_seconds.push(measure::read_seconds(model.compute(), model.matrices()));
            }
            let started = Instant::now();
            let batch: Vec<BatchSequence<'_>> = ids
                .iter()
                .zip(&self.block_tables)
                .map(|(ids, block_table)| BatchSequence {
                    tokens: &ids[step..],
                    start: num_prompt_tokens + step,
                    block_table,
                    logits: LogitsWanted::Last,
                })
                .collect();
            logits.clear();
            self.model.forward(&batch, &mut logits);
            for (ids, next) in ids.iter_mut().zip(self.greedy(&logits)) {
                ids.push(next);
            }
            decode_seconds += started.elapsed().as_secs_f64();
        }
        // The last step's token was computed and belongs to nobody: as many count as were asked for.
        ids.iter_mut().for_each(|it| it.truncate(self.num_gen_tokens));
        let weight_bytes: usize = self.model.matrices().map(PackedMatrix::num_bytes).sum();
        let read_seconds = read_seconds.iter().sum::<f64>() / read_seconds.len() as f64;
        let speeds = Speeds {
            prefill: (num_sequences * num_prompt_tokens) as f64 / prefill_seconds,
            decode: (num_sequences * self.num_gen_tokens) as f64 / decode_seconds,
            read: weight_bytes as f64 / read_seconds,
            read_share: read_seconds / (decode_seconds / self.num_gen_tokens as f64),
        };
        (speeds, ids)
    }

    /// Cuts the prompts, one after the other, into steps of at most `max_num_batched_tokens`: lists
    /// of (sequence, start, end).
    fn prefill_steps(&self) -> Vec<Vec<(usize, usize, usize)>> {
        let mut steps = Vec::new();
        let mut step = Vec::new();
        let mut room = self.max_num_batched_tokens;
        for (sequence, prompt) in self.prompts.iter().enumerate() {
            let mut start = 0;
            while start < prompt.len() {
                let end = prompt.len().min(start + room);
                step.push((sequence, start, end));
                room -= end - start;
                start = end;
                if room == 0 {
                    steps.push(std::mem::take(&mut step));
                    room = self.max_num_batched_tokens;
                }
            }
        }
        if !step.is_empty() {
            steps.push(step);
        }
        steps
    }

    /// The likeliest token of each row of logits, the first one where several are.
    fn greedy(&self, logits: &[f32]) -> Vec<u32> {
        let rows = logits.chunks_exact(self.model.config().vocab_size);
        let likeliest = |row: &[f32]| {
            let best = row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &it)| {
                if it > best.1 { (i, it) } else { best }
            });
            best.0 as u32
        };
        rows.map(likeliest).collect()
    }
}

/// Ids that differ from one sequence to the next and are the same on every machine.
fn prompt(sequence: usize, num_tokens: usize, vocab_size: usize) -> Vec<u32> {
    // The multiplier is a prime: neighbours are far apart, and no short cycle appears.
    let id = |i: usize| ((i + 1) * 7919 + sequence * 104_729) % vocab_size;
    (0..num_tokens).map(|i| id(i) as u32).collect()
}

fn hash_of(ids: &[Vec<u32>]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for id in ids.iter().flatten() {
        hasher.update(&id.to_le_bytes());
    }
    hasher.finalize()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let check = |values: &[f64], expected: f64| {
            assert_eq!(median(values.to_vec()).to_bits(), expected.to_bits());
        };
        check(&[3.0], 3.0);
        check(&[9.0, 1.0, 5.0], 5.0);
        check(&[4.0, 1.0, 2.0, 9.0], 3.0);
    }
}
