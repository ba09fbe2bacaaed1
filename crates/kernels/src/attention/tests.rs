//! Attention on every level equals its definition, and a query's result is its own.

use super::*;
use crate::{
    KvShape,
    test_data::{Random, assert_close},
};

/// Scores up to 4 in f32: their error, some 1e-6, is the relative error of a weight; sums of
/// hundreds of them add less.
const F16_TOLERANCE: f32 = 1e-5;

/// Queries up to 3 as codes up to 127: an error of up to 0.012 for each dimension, some 0.005 in a
/// score and so in a weight. Those of a few keys that share a result's weight remain.
const Q8_0_TOLERANCE: f32 = 1.2e-2;

#[derive(Debug, Clone)]
struct Case {
    kv_type: KvType,
    head_dim: usize,
    num_kv_heads: usize,
    group_len: usize,
    softcap: Option<f32>,
    window: Option<u32>,
    /// Of each sequence: how many tokens are new, and how many come before.
    sequences: Vec<(usize, usize)>,
}

impl Case {
    fn tolerance(&self) -> f32 {
        match self.kv_type {
            KvType::F16 => F16_TOLERANCE,
            KvType::Q8_0 => Q8_0_TOLERANCE,
        }
    }
}

/// A case with its random numbers, and the blocks of all sequences shuffled.
struct Setup {
    case: Case,
    store: KvStore,
    spec: AttentionSpec,
    block_tables: Vec<Vec<u32>>,
    /// Of each sequence `(tokens, num_kv_heads, head_dim)`, as stored.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    q: Vec<f32>,
}

const NUM_LAYERS: usize = 2;
const LAYER: usize = 1;

impl Setup {
    fn new(case: &Case, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let Case { head_dim, num_kv_heads, group_len, softcap, window, .. } = *case;
        let lens: Vec<usize> = case.sequences.iter().map(|(new, start)| new + start).collect();
        let num_blocks: usize = lens.iter().map(|len| len.div_ceil(BLOCK_SIZE) + 1).sum();
        let kv_type = case.kv_type;
        let shape = KvShape { kv_type, num_layers: NUM_LAYERS, num_blocks, num_kv_heads, head_dim };
        let mut store = KvStore::new(shape).unwrap();

        let mut free: Vec<u32> = (0..num_blocks as u32).collect();
        let mut take = |random: &mut Random| free.swap_remove(random.below(free.len()));
        let block_tables: Vec<Vec<u32>> = lens
            .iter()
            .map(|len| (0..len.div_ceil(BLOCK_SIZE) + 1).map(|_| take(&mut random)).collect())
            .collect();

        let compute = Compute::new(Cpu::detect(), 1);
        let token_len = num_kv_heads * head_dim;
        let stale = random.values(num_blocks * BLOCK_SIZE * token_len, 9e4);
        let all_slots: Vec<u32> = (0..(num_blocks * BLOCK_SIZE) as u32).collect();
        store.write(&compute, LAYER, &all_slots, &stale, &stale);

        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (len, table) in lens.iter().zip(&block_tables) {
            let (k, v) = (random.values(len * token_len, 1.0), random.values(len * token_len, 2.0));
            let slots: Vec<u32> = (0..*len)
                .map(|p| table[p / BLOCK_SIZE] * BLOCK_SIZE as u32 + (p % BLOCK_SIZE) as u32)
                .collect();
            store.write(&compute, LAYER, &slots, &k, &v);
            let (mut k, mut v) = (vec![0.0; k.len()], vec![0.0; v.len()]);
            let tokens = k.chunks_mut(head_dim).zip(v.chunks_mut(head_dim));
            for (i, (k, v)) in tokens.enumerate() {
                store.read(LAYER, slots[i / num_kv_heads] as usize, i % num_kv_heads, k, v);
            }
            keys.push(k);
            values.push(v);
        }
        let num_heads = num_kv_heads * group_len;
        let num_new: usize = case.sequences.iter().map(|(new, _)| new).sum();
        let q = random.values(num_new * num_heads * head_dim, 3.0);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let spec = AttentionSpec { num_heads, scale, softcap, window };
        Self { case: case.clone(), store, spec, block_tables, keys, values, q }
    }

    fn sequences(&self) -> Vec<AttentionSequence<'_>> {
        let sequences = self.case.sequences.iter().zip(&self.block_tables);
        sequences
            .map(|(&(num_tokens, start), block_table)| AttentionSequence {
                num_tokens,
                start,
                block_table,
            })
            .collect()
    }

    fn attend(&self, cpu: Cpu, num_threads: usize) -> Vec<f32> {
        let compute = Compute::new(cpu, num_threads);
        let mut out = vec![f32::NAN; self.q.len()];
        let sequences = self.sequences();
        attention(&compute, &self.store, LAYER, &self.spec, &sequences, &self.q, &mut out);
        out
    }

    /// What the products in plain code give, on one thread.
    fn attend_in_plain_code(&self) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let sequences = self.sequences();
        let heads = check(&self.store, LAYER, &self.spec, &sequences, &self.q, &out);
        let (mut q, mut rest) = (self.q.as_slice(), out.as_mut_slice());
        for sequence in &sequences {
            let len = sequence.num_tokens * heads.token_len();
            let (out, later) = rest.split_at_mut(len);
            for kv_head in 0..heads.num_kv_heads {
                let work = ColumnWork {
                    store: &self.store,
                    layer: LAYER,
                    spec: &self.spec,
                    heads,
                    sequence,
                    kv_head,
                    columns: 0..sequence.num_tokens * heads.group_len(),
                    view: View::new(&heads, &self.spec, sequence),
                    q: &q[..len],
                };
                if work.columns.is_empty() {
                    continue;
                }
                let mut emit = |column, result: &[f32]| {
                    out[work.place(column)].copy_from_slice(result);
                };
                match self.case.kv_type {
                    KvType::F16 => {
                        columns::attend(plain::PlainF16, &work, Emit::Results(&mut emit));
                    }
                    KvType::Q8_0 => {
                        columns::attend(plain::PlainQ8, &work, Emit::Results(&mut emit));
                    }
                }
            }
            (q, rest) = (&q[len..], later);
        }
        out
    }

    /// The definition, in f64, without blocks.
    fn expected(&self) -> Vec<f32> {
        let Case { head_dim, num_kv_heads, group_len, softcap, window, .. } = self.case;
        let mut out = Vec::with_capacity(self.q.len());
        let mut queries = self.q.chunks_exact(head_dim);
        for (i, &(num_tokens, start)) in self.case.sequences.iter().enumerate() {
            for position in start..start + num_tokens {
                for head in 0..num_kv_heads * group_len {
                    let query = queries.next().unwrap();
                    let vector = |of: &[f32], p: usize| -> Vec<f64> {
                        let start = (p * num_kv_heads + head / group_len) * head_dim;
                        of[start..start + head_dim].iter().map(|&x| f64::from(x)).collect()
                    };
                    let is_visible = |p: &usize| window.is_none_or(|w| position - p < w as usize);
                    let visible: Vec<usize> = (0..=position).filter(is_visible).collect();
                    let scores = visible.iter().map(|&p| {
                        let key = vector(&self.keys[i], p);
                        let dot: f64 = query.iter().zip(&key).map(|(&q, k)| f64::from(q) * k).sum();
                        let score = dot / (head_dim as f64).sqrt();
                        softcap
                            .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    });
                    let weights: Vec<f64> = scores.map(f64::exp).collect();
                    let total: f64 = weights.iter().sum();
                    let mut result = vec![0.0; head_dim];
                    for (weight, &p) in weights.iter().zip(&visible) {
                        for (result, value) in result.iter_mut().zip(vector(&self.values[i], p)) {
                            *result += weight / total * value;
                        }
                    }
                    out.extend(result.iter().map(|&x| x as f32));
                }
            }
        }
        out
    }
}

fn cases() -> Vec<Case> {
    let f16 = f16_cases();
    let q8_0 = f16.clone().into_iter().map(|case| Case { kv_type: KvType::Q8_0, ..case });
    f16.iter().cloned().chain(q8_0).collect()
}

fn f16_cases() -> Vec<Case> {
    let plain = Case {
        kv_type: KvType::F16,
        head_dim: 64,
        num_kv_heads: 2,
        group_len: 4,
        softcap: None,
        window: None,
        sequences: vec![(1, 0), (70, 0), (1, 99), (0, 40), (33, 31)],
    };
    let mut cases = vec![plain.clone()];
    for head_dim in [1, 20, 32, 80, 96, 128, 256] {
        cases.push(Case { head_dim, num_kv_heads: 1, sequences: vec![(40, 50)], ..plain.clone() });
    }
    for group_len in [1, 2, 7, 13] {
        cases.push(Case { group_len, sequences: vec![(21, 30), (1, 63)], ..plain.clone() });
    }
    for (softcap, window) in
        [(Some(0.8), None), (None, Some(1)), (None, Some(33)), (Some(5.0), Some(50))]
    {
        cases.push(Case { softcap, window, ..plain.clone() });
    }
    cases.push(Case { sequences: vec![], ..plain.clone() });
    // Several spans: the last one full, just begun, cut by a window, seen by some columns only.
    let one_head = Case { num_kv_heads: 1, group_len: 3, head_dim: 40, ..plain.clone() };
    for (window, sequences) in [
        (None, vec![(1, 3 * SPAN - 1), (2, 5), (1, 2 * SPAN)]),
        (None, vec![(40, 2 * SPAN - 20)]),
        (Some(SPAN as u32), vec![(1, 3 * SPAN - 1), (30, 2 * SPAN - 10), (1, 2 * SPAN + 7)]),
        (Some(300), vec![(25, 2 * SPAN + 40)]),
        (Some(3), vec![(5, 2 * SPAN - 2)]),
    ] {
        cases.push(Case { window, sequences, ..one_head.clone() });
    }
    let mut random = Random::new(2024);
    for _ in 0..6 {
        cases.push(Case {
            kv_type: KvType::F16,
            head_dim: [32, 64, 80, 96, 128, 256][random.below(6)],
            num_kv_heads: 1 + random.below(3),
            group_len: [1, 2, 4, 7][random.below(4)],
            softcap: [None, Some(2.5)][random.below(2)],
            window: [None, Some(1 + random.below(80) as u32)][random.below(2)],
            sequences: (0..3).map(|_| (random.below(40), random.below(130))).collect(),
        });
    }
    cases
}

#[test]
fn every_level_agrees_with_the_definition() {
    for (seed, case) in cases().iter().enumerate() {
        let setup = Setup::new(case, seed as u64);
        let expected = setup.expected();
        for cpu in Cpu::every_level() {
            let out = setup.attend(cpu, 2);
            assert_close(&out, &expected, case.tolerance(), &format!("{case:?} on {cpu}"));
        }
    }
}

#[test]
fn the_products_in_plain_code_agree_with_the_definition() {
    for (seed, case) in cases().iter().enumerate() {
        let setup = Setup::new(case, seed as u64);
        let out = setup.attend_in_plain_code();
        assert_close(&out, &setup.expected(), case.tolerance(), &format!("{case:?}"));
    }
}

/// Codes are whole numbers, which no order of adding rounds, and the rest is the same code.
#[test]
fn codes_give_the_same_bits_at_every_level_with_vectors() {
    for (seed, case) in cases().iter().enumerate().filter(|(_, it)| it.kv_type == KvType::Q8_0) {
        let setup = Setup::new(case, seed as u64);
        let expected = bits(&setup.attend_in_plain_code());
        for cpu in Cpu::every_level().filter(|cpu| cpu.level() != CpuLevel::Reference) {
            assert_eq!(bits(&setup.attend(cpu, 2)), expected, "{case:?} on {cpu}");
        }
    }
}

#[test]
fn a_result_does_not_depend_on_the_threads() {
    for (seed, case) in cases().iter().enumerate() {
        let setup = Setup::new(case, seed as u64);
        for cpu in Cpu::every_level() {
            let one = bits(&setup.attend(cpu, 1));
            for num_threads in [2, 3, 16] {
                let out = bits(&setup.attend(cpu, num_threads));
                assert_eq!(out, one, "{case:?} on {num_threads} threads, {cpu}");
            }
        }
    }
}

#[test]
fn a_result_does_not_depend_on_the_batch() {
    for (seed, case) in cases().iter().enumerate() {
        let setup = Setup::new(case, seed as u64);
        let token_len = setup.spec.num_heads * case.head_dim;
        for cpu in Cpu::every_level() {
            let compute = Compute::new(cpu, 2);
            let together = setup.attend(cpu, 2);
            let (mut queries, mut results) =
                (setup.q.chunks(token_len), together.chunks(token_len));
            for sequence in setup.sequences() {
                for start in sequence.start..sequence.start + sequence.num_tokens {
                    let one = AttentionSequence { num_tokens: 1, start, ..sequence };
                    let q = queries.next().unwrap();
                    let mut alone = vec![f32::NAN; token_len];
                    attention(&compute, &setup.store, LAYER, &setup.spec, &[one], q, &mut alone);
                    let expected = bits(results.next().unwrap());
                    assert_eq!(bits(&alone), expected, "{case:?} position {start} on {cpu}");
                }
            }
        }
    }
}

#[test]
fn a_query_that_is_no_number_harms_no_other() {
    for kv_type in KvType::ALL {
        let case = Case { kv_type, sequences: vec![(3, 300)], ..cases()[0].clone() };
        let mut setup = Setup::new(&case, 78);
        for cpu in Cpu::every_level() {
            let before = setup.attend(cpu, 2);
            let good = [setup.q[0], setup.q[5 * case.head_dim]];
            (setup.q[0], setup.q[5 * case.head_dim]) = (f32::NAN, f32::INFINITY);
            let after = setup.attend(cpu, 2);
            [setup.q[0], setup.q[5 * case.head_dim]] = good;
            let heads = before.chunks(case.head_dim).zip(after.chunks(case.head_dim));
            for (head, (before, after)) in heads.enumerate() {
                let is_same = bits(before) == bits(after);
                assert!(is_same || [0, 5].contains(&head), "{kv_type} on {cpu}: head {head}");
            }
        }
    }
}

#[test]
fn a_result_does_not_depend_on_what_a_block_held_before() {
    for kv_type in KvType::ALL {
        let case = Case { kv_type, head_dim: 48, sequences: vec![(3, 20)], ..cases()[0].clone() };
        let mut setup = Setup::new(&case, 77);
        for cpu in Cpu::every_level() {
            let before = bits(&setup.attend(cpu, 1));
            let beyond = setup.block_tables[0][0] * BLOCK_SIZE as u32 + 23;
            for (slot, number) in [(beyond, f32::INFINITY), (beyond + 1, f32::NEG_INFINITY)] {
                let token = vec![number; case.num_kv_heads * case.head_dim];
                setup.store.write(&Compute::new(cpu, 1), LAYER, &[slot], &token, &token);
            }
            assert_eq!(bits(&setup.attend(cpu, 1)), before, "{kv_type} on {cpu}");
        }
    }
}

#[test]
#[should_panic(expected = "60 + 5 tokens need 3 blocks, the table has 2")]
fn a_block_table_that_is_too_short_is_a_bug() {
    attend_with_table(60, &[0, 1]);
}

#[test]
#[should_panic(expected = "block 9 of a store of 4")]
fn a_block_that_does_not_exist_is_a_bug() {
    attend_with_table(20, &[9]);
}

fn attend_with_table(start: usize, block_table: &[u32]) {
    let kv_type = KvType::F16;
    let shape = KvShape { kv_type, num_layers: 1, num_blocks: 4, num_kv_heads: 1, head_dim: 8 };
    let store = KvStore::new(shape).unwrap();
    let spec = AttentionSpec { num_heads: 1, scale: 1.0, softcap: None, window: None };
    let sequence = AttentionSequence { num_tokens: 5, start, block_table };
    let (q, mut out) = ([0.0; 40], [0.0; 40]);
    attention(&Compute::new(Cpu::detect(), 1), &store, 0, &spec, &[sequence], &q, &mut out);
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
