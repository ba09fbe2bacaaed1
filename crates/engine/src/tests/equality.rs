//! A request's bytes do not depend on who else runs, on preemption, or on how steps are cut.

use std::time::Duration;

use super::{
    Chance,
    fake::{Costs, EOS, FakeRunner, VOCAB_SIZE},
    rig::{Reading, Rig, run_alone},
};
use crate::{
    config::EngineConfig,
    params::{GenerationRequest, SamplingParams},
    queue::ClientId,
};

/// A request with any parameters there are. All have a seed: without one, two runs differ.
fn any_request(chance: &mut Chance, max_prompt_len: usize) -> GenerationRequest {
    let token = |chance: &mut Chance| 5 + chance.below(VOCAB_SIZE - 5) as u32;
    let prompt = (0..1 + chance.below(max_prompt_len)).map(|_| token(chance)).collect();
    let mut params = SamplingParams {
        temperature: if chance.once_in(3) { 0.0 } else { 0.1 + 1.9 * chance.unit() },
        seed: Some(chance.next()),
        max_tokens: Some(1 + chance.below(40)),
        ignore_eos: chance.once_in(2),
        top_logprobs: chance.once_in(4).then_some(3),
        ..SamplingParams::default()
    };
    if chance.once_in(3) {
        params.top_k = chance.below(50) as u32;
    }
    if chance.once_in(3) {
        params.top_p = 0.05 + 0.95 * chance.unit();
    }
    if chance.once_in(4) {
        params.min_p = chance.unit();
    }
    if chance.once_in(4) {
        params.typical_p = 0.05 + 0.95 * chance.unit();
    }
    if chance.once_in(3) {
        params.repetition_penalty = 0.5 + chance.unit();
        params.presence_penalty = 4.0 * chance.unit() - 2.0;
        params.frequency_penalty = 4.0 * chance.unit() - 2.0;
    }
    if chance.once_in(4) {
        params.no_repeat_ngram_size = 2 + chance.below(2) as u32;
    }
    if chance.once_in(4) {
        params.logit_bias = vec![(EOS, 2.0), (token(chance), 3.0)];
    }
    if chance.once_in(3) {
        let letter = |chance: &mut Chance| char::from(b'a' + chance.below(26) as u8);
        params.stop = (0..2).map(|_| String::from_iter([letter(chance), letter(chance)])).collect();
    }
    if chance.once_in(3) {
        params.soft_max_tokens = params.max_tokens.map(|max| 1 + chance.below(max));
    }
    let num_choices = if chance.once_in(3) { 1 + chance.below(3) } else { 1 };
    let client = ClientId(chance.below(3) as u64);
    GenerationRequest { prompt, params, num_choices, deadline: None, client }
}

/// Runs a victim beside others in an engine that is short of everything, and compares.
fn check(seed: u64) {
    let mut chance = Chance::new(seed);
    let block_size = [1, 2, 5, 16, 32][chance.below(5)];
    // Just enough for the longest sequence, or somewhat more.
    let num_blocks = 100usize.div_ceil(block_size) + chance.below(8);
    let config = EngineConfig {
        max_num_seqs: 1 + chance.below(6),
        max_num_batched_tokens: 1 + chance.below(60),
        max_step_time: Duration::from_millis(chance.below(50) as u64),
        num_clients: 1 + chance.below(3),
        max_buffered_events: 1 + chance.below(10),
        ..EngineConfig::default()
    };
    let mut runner = FakeRunner::new(num_blocks, block_size);
    // Time decides how steps are cut.
    runner.costs = Costs {
        step_us: 1e3 * chance.below(20) as f64,
        token_us: 1e2 * chance.below(20) as f64,
        position_us: chance.below(20) as f64,
    };
    let mut rig = Rig::new(runner, config.clone());
    let victims: Vec<_> = (0..3).map(|_| any_request(&mut chance, 60)).collect();

    let mut readings: Vec<Reading> = Vec::new();
    let mut others: Vec<Reading> = Vec::new();
    for victim in &victims {
        for _ in 0..chance.below(3) {
            others.push(rig.submit(any_request(&mut chance, 60)).unwrap());
        }
        readings.push(rig.submit(victim.clone()).unwrap());
        rig.passes(chance.below(4));
    }
    // Others read slowly or leave; victims read when they like.
    for _ in 0..chance.below(200) {
        rig.pass();
        for reading in readings.iter_mut().chain(&mut others) {
            if chance.once_in(3) {
                reading.read();
            }
        }
        if chance.once_in(10) && !others.is_empty() {
            others.swap_remove(chance.below(others.len()));
        }
    }
    readings.append(&mut others);
    rig.finish(&mut readings);

    for (victim, reading) in victims.into_iter().zip(&readings) {
        assert_eq!(reading.failed, None, "seed {seed}");
        let expected = run_alone(victim.clone());
        assert_eq!(reading.choices, expected, "seed {seed}, {config:?}, {victim:?}");
    }
    let stats = rig.stats();
    let ended = stats.num_finished + stats.num_failed + stats.num_cancelled;
    assert_eq!(stats.num_accepted, ended, "seed {seed}: every request ends once: {stats:?}");
    let left = (stats.num_running, stats.num_waiting, stats.num_blocks_used);
    assert_eq!(left, (0, 0, 0), "seed {seed}: nothing is left behind");
    assert_eq!(rig.num_entries(), 0, "seed {seed}: nobody is remembered");
}

#[test]
fn text_does_not_depend_on_company_preemption_or_chunks() {
    (0..300).for_each(check);
}

#[test]
fn the_rows_above_do_preempt() {
    // The property would hold trivially if blocks never ran out.
    let mut rig = Rig::new(FakeRunner::new(10, 4), EngineConfig::default());
    let requests: Vec<_> = (0..4).map(|it| super::rig::greedy(&[10 + it, 11, 12], 30)).collect();
    let mut readings: Vec<_> = requests.iter().map(|it| rig.submit(it.clone()).unwrap()).collect();
    rig.finish(&mut readings);
    assert!(rig.stats().num_preemptions > 3, "{:?}", rig.stats());
    for (request, reading) in requests.into_iter().zip(readings) {
        assert_eq!(reading.choices, run_alone(request));
    }
}

#[test]
fn a_seed_decides_and_without_one_chance_does() {
    let request = |seed| {
        let params = SamplingParams {
            seed,
            max_tokens: Some(30),
            ignore_eos: true,
            ..SamplingParams::default()
        };
        GenerationRequest { num_choices: 2, ..GenerationRequest::new(vec![9, 8, 7], params) }
    };
    let seeded = run_alone(request(Some(5)));
    assert_eq!(seeded, run_alone(request(Some(5))));
    assert_ne!(seeded[&0], seeded[&1], "choices differ");
    assert_eq!(seeded[&1], run_alone(request(Some(6)))[&0], "choice i uses seed + i");
    assert_ne!(run_alone(request(None)), run_alone(request(None)));
}
