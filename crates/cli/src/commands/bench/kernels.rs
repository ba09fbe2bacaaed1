//! `brisk bench --kernels`: what the machine can do at most, and how near the kernels come to it.
//!
//! Decoding one sequence multiplies each weight with one column and is bound by reading memory; from
//! a handful of columns on, arithmetic is the bound. So each type is measured twice: one column with
//! weights from memory, eight columns with weights from the cache.

use std::io::{self, Write};

use anyhow::Result;
use brisk_kernels::{
    Compute, WeightType,
    measure::{Ceilings, MatmulProbe, MatmulRate, WeightsIn},
};
use serde_json::{Value, json};

use super::{VERSION, machine_facts, machine_line};
use crate::{args::BenchArgs, config::Config, loading, output::write_pairs};

/// Runs of which the fastest counts: enough that one of them meets a quiet moment.
const NUM_RUNS: usize = 40;

/// As many columns as the widest kernel takes at once.
const NUM_COLUMNS: usize = 8;

/// What was measured of one type.
struct Row {
    weight_type: WeightType,
    /// One column, weights in memory.
    decode: MatmulRate,
    /// [`NUM_COLUMNS`] columns, weights in the cache.
    batch: MatmulRate,
}

impl Row {
    fn measure(compute: &Compute, weight_type: WeightType, num_runs: usize) -> Result<Self> {
        let rate = |place, num_columns| -> Result<MatmulRate> {
            Ok(MatmulProbe::new(compute, weight_type, place)?.rate(num_columns, num_runs))
        };
        let decode = rate(WeightsIn::Memory, 1)?;
        let batch = rate(WeightsIn::Cache, NUM_COLUMNS)?;
        Ok(Self { weight_type, decode, batch })
    }

    /// The part of the read bandwidth that decoding reaches.
    fn read_share(&self, ceilings: &Ceilings) -> f64 {
        self.decode.bytes_per_second / ceilings.read_bytes_per_second
    }

    /// The part of the arithmetic that a batch reaches.
    fn arithmetic_share(&self, ceilings: &Ceilings) -> Option<f64> {
        Some(self.batch.macs_per_second / ceilings.macs_per_second(self.weight_type)?)
    }
}

pub(super) fn run(config: &Config, args: &BenchArgs, weight_types: &[WeightType]) -> Result<()> {
    let compute = loading::compute(config)?;
    let num_runs = args.repeat.unwrap_or(NUM_RUNS);
    let ceilings = Ceilings::measure(&compute, num_runs)?;
    let row = |&weight_type| Row::measure(&compute, weight_type, num_runs);
    let rows = weight_types.iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", report(&compute, &ceilings, &rows))?;
        return Ok(());
    }
    let giga = |rate: f64, unit: &str| format!("{:.1} G{unit}/s", rate / 1e9);
    let macs = |rate: Option<f64>| {
        rate.map_or("no instructions for it".to_owned(), |rate| giga(rate, "MAC"))
    };
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let pairs = [
        pair("machine", machine_line(&compute)),
        pair("read, 1 thread", giga(ceilings.read_bytes_per_second_one_thread, "B")),
        pair("read, all threads", giga(ceilings.read_bytes_per_second, "B")),
        pair("int8 dot products", macs(ceilings.int8_macs_per_second)),
        pair("bf16 dot products", macs(ceilings.bf16_macs_per_second)),
        pair("f32 multiply-adds", macs(ceilings.f32_macs_per_second)),
    ];
    write_pairs(&mut out, &pairs)?;
    if !rows.is_empty() {
        write_table(&mut out, &ceilings, &rows)?;
    }
    Ok(())
}

fn write_table(out: &mut impl Write, ceilings: &Ceilings, rows: &[Row]) -> io::Result<()> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    writeln!(out, "\n        1 column, from memory   {NUM_COLUMNS} columns, from cache")?;
    writeln!(out, "type         GB/s  of reading       GMAC/s  of most")?;
    for row in rows {
        writeln!(
            out,
            "{:8} {:8.1} {:>11} {:12.1} {:>8}",
            row.weight_type,
            row.decode.bytes_per_second / 1e9,
            percent(row.read_share(ceilings)),
            row.batch.macs_per_second / 1e9,
            row.arithmetic_share(ceilings).map_or("-".to_owned(), percent),
        )?;
    }
    Ok(())
}

fn report(compute: &Compute, ceilings: &Ceilings, rows: &[Row]) -> Value {
    let rows = rows.iter().map(|row| {
        json!({
            "type": row.weight_type.name(),
            "one_column_bytes_per_second": row.decode.bytes_per_second,
            "one_column_share_of_read": row.read_share(ceilings),
            "eight_column_macs_per_second": row.batch.macs_per_second,
            "eight_column_share_of_arithmetic": row.arithmetic_share(ceilings),
        })
    });
    json!({
        "versions": VERSION,
        "machine": machine_facts(compute),
        "read_bytes_per_second_one_thread": ceilings.read_bytes_per_second_one_thread,
        "read_bytes_per_second": ceilings.read_bytes_per_second,
        "int8_macs_per_second": ceilings.int8_macs_per_second,
        "bf16_macs_per_second": ceilings.bf16_macs_per_second,
        "f32_macs_per_second": ceilings.f32_macs_per_second,
        "types": rows.collect::<Vec<_>>(),
    })
}
