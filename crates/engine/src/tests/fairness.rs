//! Many clients and long prompts, on a machine whose time the test owns: who gets what, and when.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fake::{Costs, FakeRunner},
    rig::{Reading, Rig, greedy},
};
use crate::{
    config::EngineConfig, core::Pass, error::SubmitError, params::GenerationRequest,
    queue::ClientId,
};

/// About a model of half a billion weights on two cores.
const COSTS: Costs = Costs { step_us: 20_000.0, token_us: 1500.0, position_us: 0.4 };

fn rig(costs: Costs, config: EngineConfig) -> Rig {
    let mut runner = FakeRunner::new(4096, 16);
    runner.max_model_len = 1 << 16;
    runner.costs = costs;
    Rig::new(runner, config)
}

fn of(client: u64, num_prompt_tokens: usize, max_tokens: usize) -> GenerationRequest {
    let prompt: Vec<u32> = (0..num_prompt_tokens).map(|it| 6 + (it % 20) as u32).collect();
    GenerationRequest { client: ClientId(client), ..greedy(&prompt, max_tokens) }
}

/// A request and when it came, got its tokens and ended.
struct Timed {
    reading: Reading,
    came: Duration,
    tokens_at: Vec<Duration>,
}

/// An engine with requests whose tokens are timed.
struct Trial {
    rig: Rig,
    live: Vec<(u64, Timed)>,
    done: BTreeMap<u64, Vec<Timed>>,
    refused: BTreeMap<u64, Vec<SubmitError>>,
}

impl Trial {
    fn new(costs: Costs, config: EngineConfig) -> Self {
        let (done, refused) = (BTreeMap::new(), BTreeMap::new());
        Self { rig: rig(costs, config), live: Vec::new(), done, refused }
    }

    fn now(&self) -> Duration {
        crate::clock::Clock::now(&*self.rig.clock)
    }

    /// Whether the request was taken.
    fn submit(&mut self, request: GenerationRequest) -> bool {
        let client = request.client.0;
        let came = self.now();
        match self.rig.submit(request) {
            Ok(reading) => {
                self.live.push((client, Timed { reading, came, tokens_at: Vec::new() }));
                true
            }
            Err(error) => {
                self.refused.entry(client).or_default().push(error);
                false
            }
        }
    }

    fn step(&mut self) {
        if self.rig.pass() != Pass::Stepped {
            self.rig.clock.advance_ms(1);
        }
        let now = self.now();
        for (_, timed) in &mut self.live {
            let seen = |it: &Timed| it.reading.choices.get(&0).map_or(0, |it| it.tokens.len());
            let before = seen(timed);
            timed.reading.read_all();
            timed.tokens_at.extend((before..seen(timed)).map(|_| now));
        }
        for (client, timed) in self.live.extract_if(.., |(_, it)| it.reading.is_over()) {
            assert_eq!(timed.reading.failed, None);
            self.done.entry(client).or_default().push(timed);
        }
    }

    fn run_until_done(&mut self, client: u64, num_requests: usize) -> &[Timed] {
        for _ in 0..100_000 {
            if self.done.get(&client).map_or(0, Vec::len) >= num_requests {
                return &self.done[&client];
            }
            self.step();
        }
        panic!("client {client} waits for ever: {:?}", self.rig.stats());
    }
}

impl Timed {
    fn first_token_ms(&self) -> u128 {
        (self.tokens_at[0] - self.came).as_millis()
    }
}

/// One client sends a hundred requests a second of `flood`, another asks 13 times, one after the other; each of its replies comes, and this
/// says how long the slowest took to begin.
fn flooded(costs: Costs, config: &EngineConfig, flood: (usize, usize)) -> (Trial, u128) {
    let mut trial = Trial::new(costs, EngineConfig { num_clients: 2, ..config.clone() });
    let (mut num_offered, mut num_asked) = (0, 0);
    for _ in 0..200_000 {
        let due = trial.now().as_millis() / 10;
        while num_offered < due {
            trial.submit(of(1, flood.0, flood.1));
            num_offered += 1;
        }
        let num_done = trial.done.get(&2).map_or(0, Vec::len);
        // The flood is there first.
        if num_done == 13 {
            assert_eq!(trial.refused.get(&2), None, "nobody else's fault");
            let slowest = trial.done[&2].iter().map(Timed::first_token_ms).max();
            return (trial, slowest.expect("13 are done"));
        }
        if num_asked == num_done && num_offered > 200 {
            assert!(trial.submit(of(2, 30, 20)), "{:?}", trial.refused[&2]);
            num_asked += 1;
        }
        trial.step();
    }
    panic!("the other client waits for ever: {:?}", trial.rig.stats());
}

#[test]
fn one_client_does_not_lock_out_another() {
    let bounds = |max_num_seqs, max_queued_requests| EngineConfig {
        max_num_seqs,
        max_queued_requests,
        ..EngineConfig::default()
    };
    for (config, flood, most_ms) in [
        (bounds(8, 64), (30, 20), 1000),
        (bounds(8, 64), (1000, 5), 1500),
        // All places are in use for as long as anybody would wait.
        (bounds(8, 64), (30, 10_000), 1000),
        (bounds(2, 64), (30, 10_000), 1000),
        // There is a place in the queue for each, however short it is.
        (bounds(8, 1), (30, 20), 1000),
        // With one place at work, what runs is waited for, and nothing else.
        (bounds(1, 64), (30, 20), 2000),
    ] {
        let (trial, slowest_ms) = flooded(COSTS, &config, flood);
        assert!(slowest_ms < most_ms, "{slowest_ms} ms with {config:?} and {flood:?}");
        let refused = &trial.refused[&1];
        let is_own = |it: &SubmitError| matches!(it, SubmitError::QueueFull { refusal, .. } if refusal.is_clients_own());
        assert!(refused.iter().all(is_own), "whoever sends too much hears so");
    }
}

/// Reads two prompts of 6,000 words, here 8,000 tokens each, beside a stream that runs when `has_stream`, and asks something
/// short in the middle of them. Gives the milliseconds to its first token, and the longest gap of the stream then.
fn behind_long_prompts(costs: Costs, has_stream: bool) -> (u128, u128) {
    let mut trial = Trial::new(costs, EngineConfig::default());
    if has_stream {
        trial.submit(of(0, 20, 4000));
        (0..20).for_each(|_| trial.step());
    }
    trial.submit(of(1, 8000, 1));
    trial.submit(of(1, 8000, 1));
    (0..30).for_each(|_| trial.step());
    let begun = trial.now();
    trial.submit(of(2, 20, 1));
    let short_ms = trial.run_until_done(2, 1)[0].first_token_ms();
    trial.run_until_done(1, 2);
    let Some((_, stream)) = trial.live.iter().find(|it| it.0 == 0) else { return (short_ms, 0) };
    let after: Vec<_> = stream.tokens_at.iter().filter(|at| **at > begun).collect();
    let gaps = after.windows(2).map(|pair| (*pair[1] - *pair[0]).as_millis());
    (short_ms, gaps.max().unwrap())
}

#[test]
fn long_prompts_hold_up_neither_first_tokens_nor_streams() {
    for (costs, most_ms, most_gap_ms) in [
        (COSTS, 200, 130),
        // In the end, attention takes five times as long as everything else.
        (Costs { position_us: 1.0, ..COSTS }, 250, 210),
        // Sixteen tokens take more than there is: they are read all the same.
        (Costs { step_us: 60_000.0, token_us: 9000.0, position_us: 0.0 }, 600, 215),
    ] {
        let (short_ms, gap_ms) = behind_long_prompts(costs, true);
        assert!(short_ms <= most_ms, "{short_ms} ms to the first token: {costs:?}");
        assert!(gap_ms <= most_gap_ms, "{gap_ms} ms between tokens: {costs:?}");
    }
    // Without streams, only the step that runs when it comes is waited for.
    let (short_ms, _) = behind_long_prompts(COSTS, false);
    let longest_step_ms = 20 + 512 * 1500 / 1000 + 512 * 8000 * 4 / 10_000;
    assert!(short_ms <= longest_step_ms, "{short_ms} ms");
}

#[test]
fn a_prompt_alone_is_read_in_the_largest_steps() {
    let mut trial = Trial::new(COSTS, EngineConfig::default());
    trial.submit(of(0, 5120, 1));
    trial.run_until_done(0, 1);
    assert_eq!(trial.rig.stats().num_steps, 10);
}

#[test]
fn short_prompts_without_end_do_not_stop_a_long_one() {
    let alone_ms = {
        let mut trial = Trial::new(COSTS, EngineConfig::default());
        trial.submit(of(1, 6000, 1));
        trial.run_until_done(1, 1)[0].first_token_ms()
    };
    for client_of_shorts in [1, 2] {
        let mut trial = Trial::new(COSTS, EngineConfig::default());
        trial.submit(of(1, 6000, 1));
        let is_long =
            |it: &Timed| it.reading.summary.is_some_and(|it| it.num_prompt_tokens == 6000);
        while !trial.done.get(&1).is_some_and(|done| done.iter().any(is_long)) {
            let num_waiting = trial.rig.stats().num_queued_requests;
            (num_waiting..4).for_each(|_| assert!(trial.submit(of(client_of_shorts, 40, 2))));
            trial.step();
            // Half of the time is for it, and the steps are shorter than it would take alone.
            let ms = trial.now().as_millis();
            assert!(ms < 4 * alone_ms, "{ms} ms instead of {alone_ms}");
        }
    }
}

/// Fills a queue with requests of 1 to 60 tokens, and compares what those that are refused hear with the time
/// after which everything that waited had begun.
#[test]
fn a_refusal_says_when_the_queue_will_have_drained() {
    for max_num_seqs in [1, 8] {
        let config =
            EngineConfig { max_num_seqs, max_queued_requests: 64, ..EngineConfig::default() };
        let mut trial = Trial::new(COSTS, config);
        let mut num_sent = 0;
        let mut fill = |trial: &mut Trial| {
            while trial.submit(of(0, 30, 1 + num_sent * 7 % 60)) {
                num_sent += 1;
            }
        };
        fill(&mut trial);
        while trial.done.get(&0).map_or(0, Vec::len) < 40 {
            trial.step();
            fill(&mut trial);
        }
        let refused = trial.refused[&0].last().cloned();
        let Some(SubmitError::QueueFull { wait, .. }) = refused else { panic!("{refused:?}") };
        let from = trial.now();
        while trial.rig.stats().num_queued_requests > 0 {
            trial.step();
        }
        let off = wait.as_secs_f64() / (trial.now() - from).as_secs_f64();
        assert!((1.0 / 1.5..1.5).contains(&off), "said {wait:?}, off by {off}");
    }
}
