//! The engine on its own thread: streams, shutdown, and a model that panics.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    time::Duration,
};

use super::{
    fake::{BOMB, FakeRunner, tokenizer},
    rig::{Reading, greedy, model_info, run_alone, template},
};
use crate::{
    config::EngineConfig,
    engine::Engine,
    error::{GenerationError, SubmitError},
    handle::{EngineHandle, TokenStream},
};

const LONG: Duration = Duration::from_secs(3600);

fn start() -> EngineHandle {
    start_with(FakeRunner::new(64, 4))
}

fn start_with(runner: FakeRunner) -> EngineHandle {
    let tokenizer = tokenizer();
    let template = template(&tokenizer);
    Engine::start(runner, tokenizer, template, model_info(), EngineConfig::default())
}

/// An engine whose steps each wait for a message, until the sender is dropped.
fn start_gated() -> (EngineHandle, SyncSender<()>) {
    let (permits, gate) = sync_channel(1000);
    let mut runner = FakeRunner::new(64, 4);
    runner.gate = Some(gate);
    (start_with(runner), permits)
}

fn read_to_end(stream: TokenStream) -> Reading {
    let mut reading = Reading::new(stream);
    while let Some(event) = reading.stream.blocking_next() {
        reading.take(event);
    }
    assert!(reading.is_over(), "a stream never ends silently");
    reading
}

#[test]
fn many_threads_get_their_own_text() {
    let engine = start();
    let requests: Vec<_> = (0..8).map(|it| greedy(&[6 + it, 9, 12], 50)).collect();
    let texts: Vec<_> = std::thread::scope(|scope| {
        let submit = |request| read_to_end(engine.submit(request).unwrap()).choices;
        let threads: Vec<_> =
            requests.iter().map(|it| scope.spawn(move || submit(it.clone()))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for (request, choices) in requests.into_iter().zip(texts) {
        assert_eq!(choices, run_alone(request));
    }
}

#[tokio::test]
async fn a_task_gets_its_text() {
    let engine = start();
    let mut reading = Reading::new(engine.submit(greedy(&[6, 7], 20)).unwrap());
    while let Some(event) = reading.stream.next().await {
        reading.take(event);
    }
    assert_eq!(reading.choices, run_alone(greedy(&[6, 7], 20)));
    assert_eq!(reading.stream.next().await, None);
    engine.shutdown(LONG);
    engine.stopped().await;
    assert!(!engine.is_alive());
}

#[tokio::test]
async fn dropped_streams_leave_nothing_behind() {
    let (engine, permits) = start_gated();
    for round in 0..50 {
        let stream = engine.submit(greedy(&[6, 7], 200)).unwrap();
        if round % 2 == 0 {
            permits.send(()).unwrap();
        }
        drop(stream);
    }
    drop(permits);
    engine.shutdown(LONG);
    engine.stopped().await;
    let stats = engine.stats();
    assert_eq!((stats.num_blocks_used, stats.num_running, stats.num_queued_tokens), (0, 0, 0));
    assert_eq!(stats.num_accepted, stats.num_cancelled + stats.num_finished + stats.num_failed);
}

#[test]
fn a_shutdown_lets_what_was_taken_finish() {
    let (engine, permits) = start_gated();
    let stream = engine.submit(greedy(&[6, 7], 20)).unwrap();
    engine.shutdown(LONG);
    assert!(!engine.is_accepting());
    let refused = engine.submit(greedy(&[6, 7], 20)).err();
    assert_eq!(refused, Some(SubmitError::ShuttingDown));
    drop(permits);
    assert_eq!(read_to_end(stream).choices, run_alone(greedy(&[6, 7], 20)));
}

#[tokio::test]
async fn when_the_grace_ends_so_do_the_streams() {
    let (engine, permits) = start_gated();
    let mut stream = engine.submit(greedy(&[6, 7], 20)).unwrap();
    permits.send(()).unwrap();
    assert!(stream.next().await.is_some());
    engine.shutdown(LONG);
    engine.shutdown(Duration::ZERO);
    drop(permits);
    engine.stopped().await;
    let reading = tokio::task::spawn_blocking(|| read_to_end(stream)).await.unwrap();
    assert_eq!(reading.failed, Some(GenerationError::ShuttingDown));
    assert_eq!(engine.stats().num_failed, 1);
}

#[test]
fn without_handles_the_engine_finishes_and_ends() {
    let engine = start();
    let stream = engine.submit(greedy(&[6, 7], 20)).unwrap();
    drop(engine);
    assert_eq!(read_to_end(stream).choices, run_alone(greedy(&[6, 7], 20)));
}

#[tokio::test]
async fn a_panic_fails_the_live_requests_and_refuses_new_ones() {
    let (engine, permits) = start_gated();
    let streams =
        [greedy(&[6, 7], 20), greedy(&[BOMB, 7], 20)].map(|it| engine.submit(it).unwrap());
    drop(permits);
    engine.stopped().await;
    for stream in streams {
        let reading = tokio::task::spawn_blocking(|| read_to_end(stream)).await.unwrap();
        let reason = "the bomb went off".to_owned();
        assert_eq!(reading.failed, Some(GenerationError::EngineStopped { reason }));
    }
    assert!(!engine.is_alive());
    let refused = engine.submit(greedy(&[6, 7], 20)).err();
    assert_eq!(refused, Some(SubmitError::ShuttingDown));
    assert_eq!((engine.stats().num_running, engine.stats().num_blocks_used), (0, 0));
}
