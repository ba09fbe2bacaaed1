//! Conversations that the gateway keeps.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use std::sync::atomic::Ordering;

use brisk_gateway::{CacheStatus, HistoryReport, SamplingParams, Tenant, TurnRequest};

use common::{Answer, Fixture, options};

fn turn(user_id: &str, message: &str) -> TurnRequest {
    let params =
        SamplingParams { temperature: 0.0, max_tokens: Some(4), ..SamplingParams::default() };
    TurnRequest {
        user_id: user_id.to_owned(),
        message: message.to_owned(),
        system: None,
        max_context_tokens: None,
        default_max_tokens: 4,
        options: options(params),
    }
}

async fn say(fixture: &Fixture, request: TurnRequest) -> Answer {
    Answer::of(fixture.gateway.converse(request).await.unwrap()).await.unwrap()
}

async fn stored(fixture: &Fixture, tenant: Tenant, user_id: &str) -> String {
    let messages = fixture.gateway.read_conversation(tenant, user_id, 100, None).await.unwrap();
    let messages = messages.unwrap_or_default().into_iter().map(|stored| stored.message);
    let lines = messages.map(|it| format!("{}:{}", it.role.name(), it.content));
    lines.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_turn_sees_the_turns_before_it() {
    let fixture = Fixture::new().await;
    let first = say(&fixture, turn("ann", "a")).await;
    assert_eq!((&*first.text, first.summary.num_prompt_tokens), ("bcde", 1));
    let second = say(&fixture, turn("ann", "k")).await;
    assert_eq!((&*second.text, second.summary.num_prompt_tokens), ("lmno", 6));
    assert_eq!(second.history, Some(HistoryReport::default()));
    let expected = "user:a assistant:bcde user:k assistant:lmno";
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, expected);
    // Another user and another tenant begin anew.
    assert_eq!(say(&fixture, turn("bob", "a")).await.status, CacheStatus::Hit);
    let mut request = turn("ann", "a");
    request.options.tenant = Tenant::new([1; 32]);
    assert_eq!(say(&fixture, request).await.summary.num_prompt_tokens, 1);
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, expected);
    assert!(fixture.gateway.delete_conversation(Tenant::LOCAL, "ann").await.unwrap());
    assert!(!fixture.gateway.delete_conversation(Tenant::LOCAL, "ann").await.unwrap());
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, "");
    assert_eq!(stored(&fixture, Tenant::LOCAL, "bob").await, "user:a assistant:bcde");
}

#[tokio::test]
async fn the_system_prompt_and_the_newest_turns_stay() {
    let fixture = Fixture::with_context(64).await;
    for _ in 0..8 {
        say(&fixture, turn("ann", "a")).await;
    }
    let mut request = turn("ann", "k");
    request.system = Some("s".into());
    request.max_context_tokens = Some(20);
    let answer = say(&fixture, request).await;
    let history = answer.history.unwrap();
    assert!(history.num_messages_left_out > 0 && history.num_messages_left_out % 2 == 0);
    assert!(answer.summary.num_prompt_tokens <= 20);
    // The prompt's beginning is the system prompt, its end the newest message.
    let num_kept = 16 - history.num_messages_left_out;
    assert_eq!(answer.summary.num_prompt_tokens, 1 + num_kept / 2 * 5 + 1);
}

#[tokio::test]
async fn a_conversation_that_is_deleted_while_a_turn_runs_stays_deleted() {
    let fixture = Fixture::new().await;
    say(&fixture, turn("ann", "a")).await;
    fixture.gate.close();
    let reply = fixture.gateway.converse(turn("ann", "k")).await.unwrap();
    assert!(fixture.gateway.delete_conversation(Tenant::LOCAL, "ann").await.unwrap());
    fixture.gate.open();
    assert_eq!(Answer::of(reply).await.unwrap().text, "lmno");
    let read = fixture.gateway.read_conversation(Tenant::LOCAL, "ann", 100, None).await;
    assert_eq!(read.unwrap(), None);
    say(&fixture, turn("ann", "b")).await;
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, "user:b assistant:cdef");
}

#[tokio::test]
async fn a_turn_that_fails_or_is_left_is_not_kept() {
    let fixture = Fixture::new().await;
    fixture.num_faults.store(1, Ordering::SeqCst);
    let reply = fixture.gateway.converse(turn("ann", "a")).await.unwrap();
    Answer::of(reply).await.unwrap_err();
    fixture.gate.close();
    drop(fixture.gateway.converse(turn("ann", "b")).await.unwrap());
    fixture.gate.open();
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, "");
    say(&fixture, turn("ann", "a")).await;
    assert_eq!(stored(&fixture, Tenant::LOCAL, "ann").await, "user:a assistant:bcde");
}
