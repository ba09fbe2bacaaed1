//! The sampler against a plain one that sorts everything, and rows for what moves logits.

use super::*;
use crate::tests::Chance;

fn any_logits(chance: &mut Chance, len: usize) -> Vec<f32> {
    let spread = 1.0 + 10.0 * chance.unit();
    // A coarse grid, so that there are ties.
    (0..len).map(|_| (chance.unit() * 64.0).round() / 64.0 * spread).collect()
}

fn choose(
    params: &SamplingParams,
    prompt: &[TokenId],
    completion: &[TokenId],
    logits: &[f32],
) -> Result<Sampled, GenerationError> {
    let seed = params.seed.unwrap_or(0);
    let mut choice = ChoiceSampler::new(Arc::new(params.clone()), seed, prompt);
    completion.iter().for_each(|&it| choice.push(it));
    let tokens = [prompt, completion].concat();
    Sampler::default().sample(&choice, &tokens, prompt.len(), &mut logits.to_vec())
}

/// What may be drawn and how likely it is, by the definitions and a full sort.
fn reference(logits: &[f32], params: &SamplingParams) -> Vec<(TokenId, f64)> {
    let scaled = logits.iter().map(|&it| f64::from(it) / f64::from(params.temperature));
    let mut all: Vec<(TokenId, f64)> = (0..).zip(scaled).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if params.top_k > 0 {
        all.truncate(params.top_k as usize);
    }
    let max = all[0].1;
    all.iter_mut().for_each(|it| it.1 = (it.1 - max).exp());
    normalize(&mut all);
    if params.typical_p < 1.0 {
        let entropy: f64 = all.iter().map(|it| -it.1 * it.1.ln()).sum();
        let distance = |it: &(TokenId, f64)| (-it.1.ln() - entropy).abs();
        all.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        keep_until(&mut all, f64::from(params.typical_p));
    }
    if params.top_p < 1.0 {
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        keep_until(&mut all, f64::from(params.top_p));
    }
    let max = all.iter().map(|it| it.1).fold(0.0, f64::max);
    all.retain(|it| it.1 >= f64::from(params.min_p) * max);
    normalize(&mut all);
    all
}

fn keep_until(all: &mut Vec<(TokenId, f64)>, mass: f64) {
    let mut sum = 0.0;
    let last = all.iter().position(|it| {
        sum += it.1;
        sum >= mass
    });
    all.truncate(last.map_or(all.len(), |it| it + 1));
    normalize(all);
}

fn normalize(all: &mut [(TokenId, f64)]) {
    let total: f64 = all.iter().map(|it| it.1).sum();
    all.iter_mut().for_each(|it| it.1 /= total);
}

/// The same by the sampler's own means.
fn kept(logits: &[f32], params: &SamplingParams) -> Vec<(TokenId, f64)> {
    let (_, max) = argmax(logits).unwrap();
    let mut candidates = vec![];
    let total = candidates::gather(&mut candidates, logits, max, params, &mut vec![]);
    candidates::filter(&mut candidates, max, total, params);
    let mut kept: Vec<_> = candidates.iter().map(|it| (it.token, f64::from(it.weight))).collect();
    normalize(&mut kept);
    kept
}

#[test]
fn filters_keep_what_the_definitions_keep() {
    for seed in 0..600 {
        let mut chance = Chance::new(seed);
        let len = [3, 60, 3000][chance.below(3)];
        let logits: Vec<f32> = (0..len).map(|_| 12.0 * chance.unit()).collect();
        let temperature = 0.2 + 1.8 * chance.unit();
        let mut params = SamplingParams { temperature, ..SamplingParams::default() };
        if chance.once_in(2) {
            params.top_k = chance.below(2 * len) as u32;
        }
        if chance.once_in(2) {
            params.top_p = 0.01 + 0.99 * chance.unit();
        }
        if chance.once_in(2) {
            params.min_p = chance.unit();
        }
        if chance.once_in(3) {
            params.typical_p = 0.01 + 0.99 * chance.unit();
        }
        let mut expected = reference(&logits, &params);
        let mut kept = kept(&logits, &params);
        expected.sort_by_key(|it| it.0);
        kept.sort_by_key(|it| it.0);
        // What is too unlikely to ever be drawn may be left out.
        expected.retain(|it| it.1 > 1e-14);
        kept.retain(|it| it.1 > 1e-14);
        let tokens = |of: &[(TokenId, f64)]| of.iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(tokens(&kept), tokens(&expected), "seed {seed}: {params:?}");
        for (kept, expected) in kept.iter().zip(&expected) {
            let difference = (kept.1 - expected.1).abs();
            assert!(difference < 1e-4 * expected.1, "seed {seed}: {kept:?}, not {expected:?}");
        }
    }
}

#[test]
fn the_best_k_are_found_without_a_sort_and_ties_go_to_the_lowest_ids() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let len = 1 + chance.below(2000);
        let logits = any_logits(&mut chance, len);
        let k = 1 + chance.below(100);
        let mut sorted: Vec<TokenId> = (0..logits.len() as TokenId).collect();
        sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        sorted.truncate(k);
        let mut found = vec![];
        candidates::select_top(&mut found, &logits, k);
        let found: Vec<TokenId> = found.iter().map(|it| it.token).collect();
        assert_eq!(found, sorted, "seed {seed}");
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [1.0, 3.0, 2.0, -1.0, 2.5];
    for (top_k, top_p) in [(0, 1.0), (3, 1.0), (0, 0.8)] {
        let params = SamplingParams { top_k, top_p, temperature: 0.9, ..Default::default() };
        let choice = ChoiceSampler::new(Arc::new(params.clone()), 11, &[]);
        let num_draws = 20_000;
        let mut counts = [0u32; 5];
        let mut sampler = Sampler::default();
        let mut tokens = vec![];
        for _ in 0..num_draws {
            let sampled = sampler.sample(&choice, &tokens, 0, &mut logits.clone()).unwrap();
            counts[sampled.token as usize] += 1;
            tokens.push(sampled.token);
        }
        for (token, probability) in reference(&logits, &params) {
            let share = f64::from(counts[token as usize]) / f64::from(num_draws);
            // Four standard deviations; the seed is fixed, so this holds forever or never.
            let tolerance = 4.0 * (probability * (1.0 - probability) / f64::from(num_draws)).sqrt();
            assert!((share - probability).abs() < tolerance, "{token}: {share} of {probability}");
            counts[token as usize] = 0;
        }
        assert_eq!(counts, [0; 5], "nothing else is drawn");
    }
}

#[test]
fn a_draw_depends_on_seed_and_position_alone() {
    let choice = |seed| ChoiceSampler::new(Arc::default(), seed, &[]);
    let forward: Vec<f64> = (0..20).map(|it| choice(3).draw(it)).collect();
    let mut backward: Vec<f64> = (0..20).rev().map(|it| choice(3).draw(it)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert!(forward.iter().all(|it| (0.0..1.0).contains(it)));
    let distinct: std::collections::BTreeSet<_> = forward.iter().map(|it| it.to_bits()).collect();
    assert_eq!(distinct.len(), 20);
    assert!((choice(3).draw(0) - choice(4).draw(0)).abs() > 0.0);
    // The stream is part of what a seed means: it may not change between versions.
    assert_eq!(forward[0].to_string(), "0.6229674639432577");
}

#[test]
fn cold_is_greedy_and_ties_go_to_the_lowest_id() {
    let check = |temperature, logits: &[f32], expected| {
        let params = SamplingParams { temperature, ..Default::default() };
        assert_eq!(choose(&params, &[0], &[], logits).unwrap().token, expected);
    };
    check(0.0, &[1.0, 2.0, 2.0], 1);
    check(-0.0, &[1.0, 2.0, 2.0], 1);
    check(1e-45, &[1.0, 2.0, 2.0], 1);
    check(0.0, &[-0.0, 0.0], 0);
    check(0.0, &[f32::MIN, f32::MIN], 0);
    check(1e-5, &[1.0, 2.0, 1.9], 1);
    check(1e-5, &[f32::MIN, f32::MAX], 1);
}

/// What greedy chooses from `logits` after a change of the parameters.
fn check_chosen(
    change: impl FnOnce(&mut SamplingParams),
    (prompt, completion): (&[TokenId], &[TokenId]),
    logits: &[f32],
    expected: TokenId,
) {
    let mut params = SamplingParams { temperature: 0.0, ..Default::default() };
    change(&mut params);
    assert_eq!(choose(&params, prompt, completion, logits).unwrap().token, expected, "{params:?}");
}

#[test]
fn penalties_and_biases_move_logits() {
    let nothing: (&[TokenId], &[TokenId]) = (&[], &[]);
    check_chosen(|p| p.logit_bias = vec![(2, 1.5)], nothing, &[1.0, 2.0, 1.0], 2);
    check_chosen(|p| p.logit_bias = vec![(1, -1.5)], nothing, &[1.0, 2.0, 1.0], 0);
    // Repetition looks at the prompt too; it divides above zero and multiplies below.
    check_chosen(|p| p.repetition_penalty = 2.0, (&[1], &[]), &[1.5, 2.0], 0);
    check_chosen(|p| p.repetition_penalty = 2.0, (&[], &[1]), &[1.5, 2.0], 0);
    check_chosen(|p| p.repetition_penalty = 2.0, (&[1], &[]), &[-1.5, -1.0], 0);
    check_chosen(|p| p.repetition_penalty = 0.5, (&[0], &[]), &[1.5, 2.0], 0);
    // Presence and frequency look at generated tokens alone.
    check_chosen(|p| p.presence_penalty = 1.0, (&[1], &[]), &[1.5, 2.0], 1);
    check_chosen(|p| p.presence_penalty = 1.0, (&[], &[1, 1]), &[1.5, 2.0], 0);
    check_chosen(|p| p.presence_penalty = 1.0, (&[], &[1, 1, 1]), &[0.5, 2.0], 1);
    check_chosen(|p| p.frequency_penalty = 0.6, (&[], &[1, 1, 1]), &[0.5, 2.0], 0);
    check_chosen(|p| p.frequency_penalty = -2.0, (&[], &[0]), &[1.5, 2.0], 0);
    // The smallest penalty there is does not make infinities.
    check_chosen(|p| p.repetition_penalty = 1e-45, (&[0], &[]), &[1.0, 2.0], 0);
}

#[test]
fn n_grams_do_not_repeat() {
    let falling = [5.0, 4.0, 3.0, 2.0];
    let check = |n, tokens: &[TokenId], expected| {
        check_chosen(|p| p.no_repeat_ngram_size = n, (tokens, &[]), &falling, expected);
        // Prompt and completion are one text.
        let (prompt, completion) = tokens.split_at(1);
        check_chosen(|p| p.no_repeat_ngram_size = n, (prompt, completion), &falling, expected);
    };
    check(1, &[0, 1], 2);
    check(2, &[1, 0, 1], 1);
    check(2, &[1, 2, 3], 0);
    check(3, &[1, 2, 0, 1, 2], 1);
    check(3, &[1, 2], 0);
    check(3, &[0, 0, 0, 0], 1);
    check(u32::MAX, &[1, 2], 0);
}

#[test]
fn logits_that_are_no_numbers_and_tokens_that_are_all_forbidden_are_errors() {
    let check = |n, logits: &[f32], expected| {
        let params = SamplingParams { no_repeat_ngram_size: n, ..Default::default() };
        assert_eq!(choose(&params, &[0, 1], &[0], logits), Err(expected));
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check(0, &[0.0, bad], GenerationError::NotFinite { position: 3 });
    }
    let mut late = vec![0.0; 5000];
    late[4999] = f32::NAN;
    check(0, &late, GenerationError::NotFinite { position: 3 });
    check(1, &[0.0, 1.0], GenerationError::NoTokenLeft { position: 3 });
}

#[test]
fn logprobs_are_those_of_the_model_before_any_change() {
    let logits = [1.0f32, 3.0, 2.0, 0.0];
    let sum: f32 = logits.iter().map(|it| it.exp()).sum();
    let logprob = |token: usize| logits[token] - sum.ln();
    let params = SamplingParams {
        logit_bias: vec![(3, 100.0)],
        temperature: 0.5,
        top_k: 1,
        top_logprobs: Some(2),
        ..Default::default()
    };
    let sampled = choose(&params, &[0], &[], &logits).unwrap();
    let logprobs = sampled.logprobs.unwrap();
    assert_eq!(sampled.token, 3);
    assert!((logprobs.logprob - logprob(3)).abs() < 1e-5);
    assert_eq!(logprobs.top.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2]);
    assert!(logprobs.top.iter().all(|it| (it.1 - logprob(it.0 as usize)).abs() < 1e-5));
    let none = SamplingParams { top_logprobs: Some(0), ..params };
    assert_eq!(choose(&none, &[0], &[], &logits).unwrap().logprobs.unwrap().top, []);
}
