//! What is answered without generating: kept replies, and generations that equal requests share.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use brisk_gateway::{
    CacheStatus, CacheUse, CompletionRequest, GatewayError, GenerationError, Prompt,
    SamplingParams, SubmitError, Tenant,
};
use tokio::task::JoinSet;

use common::{Answer, Fixture, options, question};

#[tokio::test]
async fn a_repeated_question_is_not_generated_again() {
    let fixture = Fixture::new().await;
    let first = fixture.ask(question("a")).await.unwrap();
    assert_eq!((first.status, &*first.text), (CacheStatus::Miss, "bcdefghi"));
    let num_generated = fixture.num_generated();
    let again = fixture.ask(question("a")).await.unwrap();
    assert_eq!(again.status, CacheStatus::Hit);
    assert_eq!((&again.pieces, again.key), (&first.pieces, first.key));
    assert_eq!(again.summary.num_completion_tokens, first.summary.num_completion_tokens);
    assert_eq!(again.summary.num_prompt_tokens, first.summary.num_prompt_tokens);
    assert!(again.summary.timings.decode_ms <= 0.0);
    let mut whole = fixture.gateway.chat(question("a")).await.unwrap();
    whole.in_one_piece();
    let whole = Answer::of(whole).await.unwrap();
    assert_eq!((&*whole.text, whole.pieces.len()), ("bcdefghi", 2));
    assert_eq!(fixture.num_generated(), num_generated);
}

#[tokio::test]
async fn what_means_the_same_is_the_same_request() {
    let fixture = Fixture::new().await;
    let mut request = question("a");
    request.options.params.temperature = -0.0;
    request.options.params.logit_bias = vec![(70, 1.0), (71, 0.0)];
    fixture.ask(request.clone()).await.unwrap();
    request.options.params.temperature = 0.0;
    request.options.params.logit_bias = vec![(71, -0.0), (70, 1.0)];
    request.options.model = Some("alphabet".into());
    request.options.deadline = Some(Duration::from_secs(60));
    assert_eq!(fixture.ask(request).await.unwrap().status, CacheStatus::Hit);
}

#[tokio::test]
async fn chance_is_kept_only_where_it_is_asked_for() {
    let fixture = Fixture::new().await;
    let sampled = |cache: CacheUse, num_choices| {
        let mut request = question("a");
        request.options.params.temperature = 1.0;
        request.options.cache = cache;
        request.options.num_choices = num_choices;
        request
    };
    let (openai, assistant) = (CacheUse::REPRODUCIBLE, CacheUse::ASSISTANT);
    for (cache, num_choices, statuses) in [
        (openai, 1, [CacheStatus::Bypass; 2]),
        (assistant, 1, [CacheStatus::Miss, CacheStatus::Hit]),
        (assistant, 2, [CacheStatus::Bypass; 2]),
    ] {
        for expected in statuses {
            let answer = fixture.ask(sampled(cache, num_choices)).await.unwrap();
            assert_eq!(answer.status, expected, "{num_choices} choices, {cache:?}");
        }
    }
}

#[tokio::test]
async fn a_client_says_what_the_cache_may_do() {
    let fixture = Fixture::new().await;
    let ask = async |cache: CacheUse| {
        let mut request = question("a");
        request.options.cache = cache;
        fixture.ask(request).await.unwrap().status
    };
    let all = CacheUse::REPRODUCIBLE;
    assert_eq!(ask(CacheUse::OFF).await, CacheStatus::Bypass);
    assert_eq!(ask(CacheUse { write: false, ..all }).await, CacheStatus::Miss);
    assert_eq!(ask(all).await, CacheStatus::Miss);
    assert_eq!(ask(CacheUse { write: false, ..all }).await, CacheStatus::Hit);
    assert_eq!(ask(CacheUse { read: false, ..all }).await, CacheStatus::Miss);
    assert_eq!(ask(CacheUse { max_age: Some(Duration::ZERO), ..all }).await, CacheStatus::Miss);
    assert_eq!(ask(CacheUse::OFF).await, CacheStatus::Bypass);
    assert_eq!(ask(all).await, CacheStatus::Hit);
}

#[tokio::test]
async fn spelling_does_not_matter_where_that_is_allowed() {
    let fixture = Fixture::new().await;
    let spelled = |content: &str| {
        let mut request = question(content);
        request.options.cache = CacheUse::ASSISTANT;
        request
    };
    let exactly = |content: &str| {
        let mut request = spelled(content);
        request.options.cache.exact = true;
        request
    };
    for (content, expected) in [
        ("What is a lease?", CacheStatus::Miss),
        ("what is a lease？", CacheStatus::HitNormalized),
        ("What is a lease?", CacheStatus::Hit),
        ("What is a lease", CacheStatus::Miss),
        ("What is a release?", CacheStatus::Miss),
        ("What is 1 lease?", CacheStatus::Miss),
        ("what is 1 lease?", CacheStatus::Miss),
    ] {
        assert_eq!(fixture.ask(spelled(content)).await.unwrap().status, expected, "{content}");
    }
    let lease = fixture.ask(exactly("What is a lease?")).await.unwrap();
    assert_eq!(lease.status, CacheStatus::Hit);
    let bad = fixture.ask(spelled(" what is a lease?")).await.unwrap();
    assert_eq!(bad.status, CacheStatus::HitNormalized);
    let slot = bad.key.unwrap();
    let other = fixture.ask(exactly(" what is a lease?")).await.unwrap();
    assert_eq!((other.status, other.key), (CacheStatus::Miss, bad.key));
    assert!(!fixture.gateway.cache_report_bad(Tenant::new([7; 32]), &slot).await.unwrap());
    assert!(fixture.gateway.cache_report_bad(Tenant::LOCAL, &slot).await.unwrap());
    for expected in [CacheStatus::Miss, CacheStatus::Hit] {
        let answer = fixture.ask(spelled("What is a lease?")).await.unwrap();
        assert_eq!(answer.status, expected);
    }
    let other = fixture.ask(spelled("what is a lease?")).await.unwrap();
    assert_eq!(other.status, CacheStatus::Miss);
}

#[tokio::test]
async fn entries_are_listed_removed_and_flushed_by_their_tenant_alone() {
    let fixture = Fixture::new().await;
    let (gateway, other) = (&fixture.gateway, Tenant::new([7; 32]));
    let answer = fixture.ask(question("a")).await.unwrap();
    let slot = answer.key.unwrap();
    assert_eq!(gateway.cache_entries(other, 10).await, []);
    let entries = gateway.cache_entries(Tenant::LOCAL, 10).await;
    assert_eq!((entries.len(), entries[0].slot, &*entries[0].label), (1, slot, "a"));
    assert!(!gateway.cache_remove(other, &slot).await.unwrap());
    gateway.cache_flush(other).await.unwrap();
    assert_eq!(fixture.ask(question("a")).await.unwrap().status, CacheStatus::Hit);
    assert!(gateway.cache_remove(Tenant::LOCAL, &slot).await.unwrap());
    assert_eq!(fixture.ask(question("a")).await.unwrap().status, CacheStatus::Miss);
    gateway.cache_flush(Tenant::LOCAL).await.unwrap();
    assert_eq!(fixture.ask(question("a")).await.unwrap().status, CacheStatus::Miss);
}

#[tokio::test]
async fn a_hundred_equal_requests_are_one_generation() {
    let fixture = Fixture::new().await;
    fixture.gate.close();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let gateway = fixture.gateway.clone();
        tasks.spawn(async move { Answer::of(gateway.chat(question("a")).await?).await });
    }
    // They all get as far as they can.
    while !fixture.gate.is_held() {
        tokio::task::yield_now().await;
    }
    fixture.gate.open();
    let mut num_leaders = 0;
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!((&*answer.text, answer.pieces.len()), ("bcdefghi", 9));
        num_leaders += u32::from(answer.status == CacheStatus::Miss);
    }
    assert_eq!((num_leaders, fixture.num_generated()), (1, 8));
}

#[tokio::test]
async fn of_those_who_share_a_generation_one_counts_it() {
    for leader_leaves in [false, true] {
        let fixture = Fixture::new().await;
        fixture.gate.close();
        let leader = fixture.gateway.chat(question("a")).await.unwrap();
        let followers =
            [0; 2].map(|_| async { fixture.gateway.chat(question("a")).await.unwrap() });
        let [second, third] = followers;
        let (second, third) = (second.await, third.await);
        let leader = (!leader_leaves).then_some(leader);
        fixture.gate.open();
        let mut num_counted = 0;
        for reply in leader.into_iter().chain([second, third]) {
            num_counted += u32::from(Answer::of(reply).await.unwrap().summary.is_counted);
        }
        assert_eq!(num_counted, 1);
        assert!(!fixture.ask(question("a")).await.unwrap().summary.is_counted);
    }
}

#[tokio::test]
async fn who_has_wishes_about_what_is_kept_generates_alone() {
    let wishes = [
        CacheUse { write: false, ..CacheUse::REPRODUCIBLE },
        CacheUse { ttl: Some(Duration::from_secs(5)), ..CacheUse::REPRODUCIBLE },
        CacheUse { read: false, ..CacheUse::REPRODUCIBLE },
    ];
    for cache in wishes {
        let fixture = Fixture::new().await;
        fixture.gate.close();
        let ask = async |cache| {
            let mut request = question("a");
            request.options.cache = cache;
            fixture.gateway.chat(request).await.unwrap()
        };
        let replies = [ask(cache).await, ask(CacheUse::REPRODUCIBLE).await, ask(cache).await];
        assert_eq!(replies.each_ref().map(|it| it.cache().status), [CacheStatus::Miss; 3]);
        fixture.gate.open();
        for reply in replies {
            assert_eq!(Answer::of(reply).await.unwrap().text, "bcdefghi");
        }
    }
}

#[tokio::test]
async fn a_shared_generation_ends_with_its_last_reader() {
    let fixture = Fixture::new().await;
    let long = || {
        let mut request = question("a");
        request.options.params.max_tokens = Some(50_000);
        request.options.params.ignore_eos = true;
        request
    };
    let mut first = fixture.gateway.chat(long()).await.unwrap();
    let mut second = fixture.gateway.chat(long()).await.unwrap();
    assert_eq!(second.cache().status, CacheStatus::Coalesced);
    first.next().await.unwrap().unwrap();
    drop(first);
    for _ in 0..100 {
        second.next().await.unwrap().unwrap();
    }
    assert_eq!(fixture.engine.stats().num_running, 1);
    drop(second);
    while fixture.engine.stats().num_running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.engine.stats().num_cancelled, 1);
    assert_eq!(fixture.gateway.cache_entries(Tenant::LOCAL, 10).await, []);
}

#[tokio::test]
async fn a_generation_that_nobody_reads_pauses() {
    let fixture = Fixture::new().await;
    let mut request = question("a");
    request.options.params.max_tokens = Some(20_000);
    request.options.params.ignore_eos = true;
    let mut reply = fixture.gateway.chat(request).await.unwrap();
    let mut other = fixture.gateway.chat(question("k")).await.unwrap();
    // Another request gets all its tokens meanwhile.
    while other.next().await.is_some() {}
    for num_read in 1..=1000 {
        reply.next().await.unwrap().unwrap();
        let num_ahead = fixture.num_generated() - num_read;
        // Here, in the engine's stream, and on the way between the two.
        assert!(num_ahead < 64 + 256 + 32, "{num_ahead} tokens ahead");
    }
}

#[tokio::test]
async fn an_error_is_the_leaders_and_the_next_in_line_is_served() {
    let not_finite = |position| GatewayError::from(GenerationError::NotFinite { position });
    for (num_faults, expected) in [(1, Ok("bcdefghi")), (2, Err(not_finite(1)))] {
        let fixture = Fixture::new().await;
        fixture.gate.close();
        let mut leader = fixture.gateway.chat(question("a")).await.unwrap();
        let follower = fixture.gateway.chat(question("a")).await.unwrap();
        assert_eq!(follower.cache().status, CacheStatus::Coalesced);
        fixture.num_faults.store(num_faults, Ordering::SeqCst);
        fixture.gate.open();
        assert_eq!(leader.next().await.unwrap().unwrap_err(), not_finite(1));
        assert!(leader.next().await.is_none());
        let answer = Answer::of(follower).await;
        assert_eq!(answer.as_ref().map(|it| &*it.text).map_err(Clone::clone), expected);
        let num_entries = fixture.gateway.cache_entries(Tenant::LOCAL, 10).await.len();
        assert_eq!(num_entries, usize::from(expected.is_ok()));
    }
}

#[tokio::test]
async fn a_prompt_that_cannot_be_served_is_refused_before_the_reply() {
    let fixture = Fixture::with_context(16).await;
    let error = fixture.ask(question("a very long question, this one")).await.unwrap_err();
    assert!(matches!(error, GatewayError::Submit(SubmitError::PromptTooLong { .. })), "{error}");
}

#[tokio::test]
async fn each_reader_has_its_own_deadline() {
    let fixture = Fixture::new().await;
    fixture.gate.close();
    let mut hasty = question("a");
    hasty.options.deadline = Some(Duration::from_millis(20));
    let mut hasty = fixture.gateway.chat(hasty).await.unwrap();
    let patient = fixture.gateway.chat(question("a")).await.unwrap();
    let error = hasty.next().await.unwrap().unwrap_err();
    assert_eq!(error, GenerationError::DeadlineExceeded { deadline_ms: 20 }.into());
    fixture.gate.open();
    assert_eq!(Answer::of(patient).await.unwrap().text, "bcdefghi");
}

#[tokio::test]
async fn logprobs_and_several_choices_are_replayed_as_they_were() {
    let fixture = Fixture::new().await;
    let request = || {
        let params = SamplingParams {
            temperature: 1.5,
            seed: Some(3),
            max_tokens: Some(20),
            top_logprobs: Some(2),
            ..SamplingParams::default()
        };
        let mut options = options(params);
        options.num_choices = 3;
        let prompts = vec![Prompt::Text("a".into()), Prompt::Text("k".into())];
        CompletionRequest { prompts, echo: true, default_max_tokens: 16, options }
    };
    let mut events = Vec::new();
    for expected in [CacheStatus::Miss, CacheStatus::Hit] {
        let mut reply = fixture.gateway.complete(request()).await.unwrap();
        reply.in_one_piece();
        assert_eq!((reply.cache().status, reply.num_choices()), (expected, 6));
        let mut all = Vec::new();
        while let Some(event) = reply.next().await {
            all.push(event.unwrap());
        }
        all.pop();
        events.push(all);
    }
    assert!(events[0].len() > 12);
    assert_eq!(events[0], events[1]);
}
