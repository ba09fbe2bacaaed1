//! How requests begin, pause, break and end, pass by pass.

use std::time::Duration;

use super::{
    Chance,
    fake::{EOS, FULL_STOP, FakeRunner, POISON, tokenizer},
    rig::{Reading, Rig, greedy, run_alone},
};
use crate::{
    config::EngineConfig,
    core::Pass,
    error::GenerationError,
    params::{FinishReason, GenerationRequest, RepetitionDetection},
    sentence::ends_sentence,
    stats::EngineStats,
};

fn rig() -> Rig {
    Rig::new(FakeRunner::new(64, 4), EngineConfig::default())
}

fn prompt(len: usize) -> Vec<u32> {
    (0..len).map(|it| 6 + (it % 20) as u32).collect()
}

/// Submits a request that must be refused, with this message.
fn check_refused(rig: &Rig, change: impl FnOnce(&mut GenerationRequest), expected: &str) {
    let mut request = greedy(&prompt(4), 1);
    change(&mut request);
    let error = rig.submit(request).err().expect(expected);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_can_never_run_is_refused_at_the_door() {
    // 64 blocks of 4 hold less than the model's 4096 positions.
    let rig = rig();
    assert_eq!(rig.handle.model().max_model_len, 256);
    assert_eq!(rig.handle.model().vocab_size, 32);
    check_refused(&rig, |it| it.prompt.clear(), "the prompt is empty");
    check_refused(&rig, |it| it.prompt = prompt(257), "prompt has 257 tokens, the model holds 256");
    check_refused(
        &rig,
        |it| it.params.max_tokens = Some(253),
        "prompt has 4 tokens and 253 more were asked for, the model holds 256",
    );
    check_refused(
        &rig,
        |it| it.params.max_tokens = Some(usize::MAX),
        "prompt has 4 tokens and 18446744073709551615 more were asked for, the model holds 256",
    );
    // The model's rows are longer, but the tokenizer has no text for that id.
    check_refused(&rig, |it| it.prompt[1] = 32, "token id 32 is outside the vocabulary of 32");
    check_refused(&rig, |it| it.num_choices = 0, "n is 0, it must be from 1 to 8");
    check_refused(&rig, |it| it.num_choices = 9, "n is 9, it must be from 1 to 8");
    check_refused(
        &rig,
        |it| it.params.temperature = 3.0,
        "temperature is 3, it must be from 0 to 2",
    );
    let EngineStats { queue_interval, .. } = rig.stats();
    let expected =
        EngineStats { num_blocks: 64, block_size: 4, queue_interval, ..Default::default() };
    assert_eq!(rig.stats(), expected);
}

#[test]
fn the_longest_that_fits_runs_to_its_end() {
    let mut rig = rig();
    let mut open_ended = greedy(&prompt(100), 1);
    open_ended.params.max_tokens = None;
    // A prompt that fills the context gets the one token that needs no place.
    let mut full = greedy(&prompt(256), 1);
    full.params.max_tokens = None;
    let requests = [greedy(&prompt(4), 252), open_ended, full];
    let mut readings = requests.map(|it| rig.submit(it).unwrap());
    rig.finish(&mut readings);
    let lens = readings.map(|it| (it.choices[&0].tokens.len(), it.choices[&0].reason));
    let length = Some(FinishReason::Length);
    assert_eq!(lens, [(252, length), (156, length), (1, length)]);
}

#[test]
fn an_end_of_generation_token_ends_and_shows_nothing() {
    let mut rig = rig();
    let mut request = greedy(&prompt(4), 9);
    request.params.logit_bias = vec![(EOS, 100.0)];
    request.params.ignore_eos = false;
    let mut readings = [rig.submit(request).unwrap()];
    rig.finish(&mut readings);
    let seen = &readings[0].choices[&0];
    assert_eq!((&*seen.tokens, &*seen.text), (&[EOS][..], ""));
    assert_eq!(seen.reason, Some(FinishReason::Stop));
    assert_eq!(readings[0].summary.unwrap().num_completion_tokens, 1);
}

#[test]
fn a_reply_never_ends_in_half_a_character() {
    // Tokens 3 and 4 are the bytes of an é, token 5 begins a character of three.
    const FAVOURED: f32 = 50.0;
    for (forced, max_tokens, text) in [
        (3, 1, ""),
        (5, 1, ""),
        // Within a text, broken characters are shown.
        (5, 3, "\u{fffd}\u{fffd}"),
        (4, 2, "\u{fffd}\u{fffd}"),
        (6, 2, "aa"),
    ] {
        for stop in [&[][..], &["\u{fffd}\u{fffd}\u{fffd}"], &["ab"]] {
            let mut request = greedy(&prompt(4), max_tokens);
            request.params.logit_bias = vec![(forced, FAVOURED)];
            request.params.stop = stop.iter().map(|&it| it.to_owned()).collect();
            let seen = run_alone(request)[&0].clone();
            assert_eq!(seen.tokens, vec![forced; max_tokens]);
            assert_eq!((&*seen.text, seen.reason), (text, Some(FinishReason::Length)), "{forced}");
        }
    }
}

#[test]
fn a_stop_text_ends_and_is_not_shown() {
    let whole = run_alone(greedy(&prompt(4), 30))[&0].text.clone();
    let (at, _) = whole.char_indices().nth(8).unwrap();
    let stop: String = whole[at..].chars().take(3).collect();
    let mut request = greedy(&prompt(4), 30);
    request.params.stop = vec![stop.clone()];
    let seen = run_alone(request)[&0].clone();
    assert_eq!(Some(&*seen.text), whole.split(&stop).next());
    assert_eq!(seen.reason, Some(FinishReason::Stop));
}

#[test]
fn a_choice_that_repeats_itself_ends_and_shows_all_of_it() {
    let mut request = greedy(&prompt(4), 60);
    request.params.logit_bias = vec![(FULL_STOP, 100.0)];
    let plain = run_alone(request.clone())[&0].clone();
    assert_eq!(plain.reason, Some(FinishReason::Length));
    for (max_pattern_size, min_pattern_size, min_count, num_tokens) in
        [(1, 1, 2, 2), (4, 3, 5, 15), (64, 30, 2, 60), (64, 31, 2, 60)]
    {
        request.params.repetition_detection =
            Some(RepetitionDetection { max_pattern_size, min_pattern_size, min_count });
        let seen = run_alone(request.clone())[&0].clone();
        assert_eq!(seen.tokens, plain.tokens[..num_tokens]);
        // What ends with the last token that was asked for has its length.
        let is_early = num_tokens < 60;
        let reason = if is_early { FinishReason::Repetition } else { FinishReason::Length };
        assert_eq!(seen.reason, Some(reason));
        assert_eq!(seen.text, ".".repeat(num_tokens));
    }
    // The prompt's own repetitions do not count.
    let mut request = greedy(&[7; 100], 3);
    request.params.repetition_detection =
        Some(RepetitionDetection { max_pattern_size: 1, min_pattern_size: 1, min_count: 3 });
    request.params.logit_bias = vec![(7, 100.0)];
    assert_eq!(run_alone(request)[&0].tokens.len(), 3);
}

/// Runs a request that may end with a sentence, and compares with where its plain run first ends one.
fn check_soft_max(seed: u64, stop: &[&str]) -> FinishReason {
    let mut chance = Chance::new(seed);
    let max_tokens = 1 + chance.below(60);
    let soft = 1 + chance.below(max_tokens);
    let mut request = greedy(&prompt(1 + chance.below(20)), max_tokens);
    request.params.temperature = 1.0;
    request.params.seed = Some(seed);
    request.params.logit_bias = vec![(FULL_STOP, 2.5)];
    let plain = run_alone(request.clone())[&0].clone();
    request.params.soft_max_tokens = Some(soft);
    request.params.stop = stop.iter().map(|&it| it.to_owned()).collect();
    let seen = run_alone(request)[&0].clone();

    // Whole characters only; a begun one is no sentence's end.
    let text = |num_tokens: usize| -> String {
        let (tokenizer, mut decoder) = (tokenizer(), tokenizer().decoder());
        plain.tokens[..num_tokens].iter().map(|&token| decoder.push(&tokenizer, token)).collect()
    };
    let with_begun = |num_tokens: usize| tokenizer().decode(&plain.tokens[..num_tokens]);
    let end = (soft..=max_tokens).find(|&it| ends_sentence(&with_begun(it)));
    assert_eq!(seen.text, text(end.unwrap_or(max_tokens)), "seed {seed}");
    assert_eq!(seen.tokens, plain.tokens[..end.unwrap_or(max_tokens)], "seed {seed}");
    let reason = if end.is_some() { FinishReason::Stop } else { FinishReason::Length };
    assert_eq!(seen.reason, Some(reason), "seed {seed}");
    reason
}

#[test]
fn past_the_soft_maximum_a_whole_sentence_ends() {
    let reasons: Vec<_> = (0..200).map(|seed| check_soft_max(seed, &[])).collect();
    assert!(reasons.contains(&FinishReason::Stop) && reasons.contains(&FinishReason::Length));
    // A full stop that may become a stop text is held back, and is there in the end.
    (0..200).for_each(|seed| {
        check_soft_max(seed, &[".ab.ab"]);
    });
}

#[test]
fn a_soft_maximum_beyond_the_maximum_is_refused() {
    check_refused(
        &rig(),
        |it| it.params.soft_max_tokens = Some(2),
        "soft_max_tokens is 2, it must be at most max_tokens",
    );
}

#[test]
fn a_full_queue_is_an_answer() {
    let config = EngineConfig { max_queued_requests: 2, max_num_seqs: 1, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let mut readings = vec![rig.submit(greedy(&prompt(4), 3)).unwrap()];
    readings.push(rig.submit(greedy(&prompt(4), 3)).unwrap());
    let refused = "2 requests are waiting, the queue holds 2";
    check_refused(&rig, |_| (), refused);
    // The first runs now and has left the queue.
    rig.pass();
    assert_eq!((rig.stats().num_running, rig.stats().num_waiting), (1, 1));
    readings.push(rig.submit(greedy(&prompt(4), 3)).unwrap());
    check_refused(&rig, |_| (), refused);
    // Who leaves while waiting gives the place back.
    drop(readings.pop());
    rig.pass();
    readings.push(rig.submit(greedy(&prompt(4), 3)).unwrap());
    rig.finish(&mut readings);
    assert_eq!((rig.stats().num_finished, rig.stats().num_cancelled), (3, 1));
}

#[test]
fn the_queue_is_bounded_in_tokens_too() {
    let config = EngineConfig { max_queued_tokens: 10, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    // One prompt may always wait, however long.
    let first = rig.submit(greedy(&prompt(30), 3)).unwrap();
    check_refused(&rig, |_| (), "30 prompt tokens are waiting, the queue holds 10");
    rig.pass();
    let second = rig.submit(greedy(&prompt(6), 3)).unwrap();
    let third = rig.submit(greedy(&prompt(4), 3)).unwrap();
    check_refused(
        &rig,
        |it| it.prompt.truncate(1),
        "10 prompt tokens are waiting, the queue holds 10",
    );
    assert_eq!(rig.stats().num_queued_tokens, 10);
    rig.finish(&mut [first, second, third]);
    assert_eq!(rig.stats().num_queued_tokens, 0);
}

/// Drops a stream after `num_passes` of an engine that has computed `expected` tokens by then, and
/// looks that the next pass holds nothing and computes nothing.
fn check_dropped_after(num_passes: usize, expected: usize) {
    let config = EngineConfig { max_num_batched_tokens: 8, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let reading = rig.submit(greedy(&prompt(20), 50)).unwrap();
    rig.passes(num_passes);
    assert_eq!(rig.num_computed(), expected);
    drop(reading);
    assert_eq!(rig.pass(), Pass::Idle { until: None });
    let stats = rig.stats();
    assert_eq!(rig.num_computed(), expected);
    assert_eq!((stats.num_running, stats.num_waiting, stats.num_blocks_used), (0, 0, 0));
    assert_eq!((stats.num_cancelled, stats.num_queued_tokens), (1, 0));
}

#[test]
fn a_dropped_stream_is_gone_within_one_step() {
    check_dropped_after(0, 0); // waiting
    check_dropped_after(1, 8); // in the middle of its prefill
    check_dropped_after(3, 20); // after the first token
    check_dropped_after(10, 27); // decoding
}

#[test]
fn a_slow_reader_pauses_and_hurts_nobody() {
    let config = EngineConfig { max_buffered_events: 4, max_num_seqs: 1, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let mut slow = rig.submit(greedy(&prompt(4), 40)).unwrap();
    rig.passes(20);
    // Four events fill the stream, and the fifth is owed.
    assert_eq!((rig.num_computed(), rig.stats().num_generation_tokens), (8, 5));
    assert_eq!(rig.pass(), Pass::Idle { until: None });
    // There is one place to run: the paused sequence leaves it to others.
    let mut quick = [rig.submit(greedy(&prompt(5), 10)).unwrap()];
    rig.finish(&mut quick);
    assert_eq!(quick[0].choices, run_alone(greedy(&prompt(5), 10)));
    assert_eq!((rig.stats().num_preemptions, rig.stats().num_waiting), (1, 1));
    // When it reads again, it gets on as if nothing had been.
    assert!(slow.read());
    assert_eq!(rig.pass(), Pass::Stepped);
    let mut slow = [slow];
    rig.finish(&mut slow);
    assert_eq!(slow[0].choices, run_alone(greedy(&prompt(4), 40)));
}

#[test]
fn a_slow_reader_gets_the_end_too() {
    let config = EngineConfig { max_buffered_events: 1, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let mut reading = rig.submit(greedy(&prompt(4), 1)).unwrap();
    rig.passes(3);
    // Its blocks are free though it has read nothing.
    assert_eq!((rig.stats().num_finished, rig.stats().num_blocks_used), (1, 0));
    for num_events in 1..=3 {
        assert!(!reading.is_over());
        assert!(reading.read());
        assert!(!reading.read(), "one event fits the stream");
        assert_eq!(reading.num_events, num_events);
        rig.pass();
    }
    assert!(reading.is_over());
}

#[test]
fn a_deadline_that_passes_in_the_queue_costs_no_prefill() {
    let config = EngineConfig { max_num_seqs: 1, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let deadline = Some(Duration::from_millis(100));
    let mut readings = vec![rig.submit(greedy(&prompt(4), 20)).unwrap()];
    readings.push(rig.submit(GenerationRequest { deadline, ..greedy(&prompt(9), 2) }).unwrap());
    rig.pass();
    rig.clock.advance_ms(99);
    rig.pass();
    assert_eq!((rig.stats().num_waiting, rig.stats().num_expired), (1, 0));
    rig.clock.advance_ms(1);
    rig.finish(&mut readings);
    assert_eq!(readings[1].failed, Some(GenerationError::DeadlineExceeded { deadline_ms: 100 }));
    assert_eq!(readings[1].num_events, 1);
    assert_eq!(rig.num_computed(), 4 + 19, "the expired prompt was never computed");
    let stats = rig.stats();
    assert_eq!((stats.num_finished, stats.num_failed, stats.num_expired), (1, 1, 1));
}

#[test]
fn a_deadline_that_passes_while_running_ends_the_stream() {
    let mut rig = rig();
    let deadline = Some(Duration::from_millis(50));
    let request = GenerationRequest { deadline, ..greedy(&prompt(4), 20) };
    let mut readings = [rig.submit(request).unwrap()];
    assert_eq!(rig.pass(), Pass::Stepped);
    readings[0].read_all();
    rig.clock.advance_ms(50);
    assert_eq!(rig.pass(), Pass::Idle { until: None });
    readings[0].read_all();
    assert_eq!(readings[0].choices[&0].tokens.len(), 1);
    assert_eq!(readings[0].failed, Some(GenerationError::DeadlineExceeded { deadline_ms: 50 }));
    assert_eq!(rig.stats().num_blocks_used, 0);
}

#[test]
fn an_idle_engine_sleeps_until_the_next_deadline() {
    let config = EngineConfig { max_buffered_events: 1, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let deadline = Some(Duration::from_millis(70));
    let request = GenerationRequest { deadline, ..greedy(&prompt(4), 20) };
    let reading = rig.submit(request).unwrap();
    rig.passes(2);
    assert_eq!(rig.pass(), Pass::Idle { until: deadline }, "its reader is slow");
    drop(reading);
}

#[test]
fn logits_that_are_no_numbers_break_one_request_alone() {
    let mut rig = rig();
    let poisoned = greedy(&[POISON, 10, 11, 12], 20);
    let mut readings = [greedy(&prompt(4), 20), poisoned, greedy(&prompt(7), 20)]
        .map(|it| rig.submit(it).unwrap());
    rig.finish(&mut readings);
    assert_eq!(readings[1].failed, Some(GenerationError::NotFinite { position: 7 }));
    assert_eq!(readings[1].choices[&0].tokens.len(), 3);
    assert_eq!(readings[0].choices, run_alone(greedy(&prompt(4), 20)));
    assert_eq!(readings[2].choices, run_alone(greedy(&prompt(7), 20)));
    assert_eq!((rig.stats().num_finished, rig.stats().num_failed), (2, 1));
    assert_eq!(rig.stats().num_blocks_used, 0);
}

#[test]
fn a_request_without_a_token_left_breaks() {
    let mut rig = rig();
    let mut request = greedy(&prompt(4), 60);
    // No token twice: after all 32 there is none.
    request.params.no_repeat_ngram_size = 1;
    request.num_choices = 2;
    let mut readings = [rig.submit(request).unwrap()];
    rig.finish(&mut readings);
    assert_eq!(readings[0].failed, Some(GenerationError::NoTokenLeft { position: 32 }));
    assert_eq!(rig.stats().num_blocks_used, 0);
}

#[test]
fn the_summary_counts_and_times_each_phase() {
    let config = EngineConfig { max_num_batched_tokens: 8, ..Default::default() };
    let mut rig = Rig::new(FakeRunner::new(64, 4), config);
    let request = GenerationRequest { num_choices: 2, ..greedy(&prompt(20), 3) };
    let mut reading: Reading = rig.submit(request).unwrap();
    while !reading.is_over() {
        rig.clock.advance_ms(10);
        rig.pass();
        reading.read_all();
    }
    let summary = reading.summary.unwrap();
    assert_eq!((summary.num_prompt_tokens, summary.num_completion_tokens), (20, 6));
    // Steps at 10, 20, 30 prefill and give the first choice's first token; the second choice joins
    // at 40, a step later, and ends at 60.
    let phases = (summary.queue_ms, summary.prefill_ms, summary.decode_ms);
    assert_eq!(phases, (10.0, 20.0, 30.0));
    let stats = rig.stats();
    assert_eq!((stats.num_prompt_tokens, stats.num_generation_tokens), (20, 6));
    assert_eq!((stats.num_finished, stats.num_finished_length), (1, 2));
}
