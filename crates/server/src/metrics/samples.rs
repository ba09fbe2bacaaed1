//! Looks at the figures once a second, keeps the latest minutes, and tells those who listen.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use brisk_gateway::EngineStats;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{
    Totals,
    distribution::{Counts, Window},
};

/// Ten minutes of samples.
pub(crate) const MAX_SAMPLES: usize = 600;
/// Listeners at a time; each costs a few kilobytes and one write a second.
pub(crate) const MAX_LISTENERS: usize = 32;
/// Events that a listener may be behind before it is let go.
const MAX_EVENTS_BEHIND: usize = 16;
/// Snapshots of the short window, one a second: few enough to be live, and enough that a graph is not
/// made of gaps.
const SHORT_WINDOW: usize = 10;
/// The long window has a snapshot every so many samples,
const LONG_INTERVAL: u64 = 15;
/// and so many of them, which is five minutes.
const LONG_WINDOW: usize = 20;

/// One moment's figures.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Sample {
    /// When it was taken, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// Seconds since the sample before.
    pub(crate) interval_s: f64,
    /// Replies that ended well within the interval.
    pub(crate) num_replies: u64,
    /// Those among them that were kept from earlier requests.
    pub(crate) num_hits: u64,
    /// Those that came along with an equal request's.
    pub(crate) num_coalesced: u64,
    /// Replies that broke within the interval.
    pub(crate) num_failed: u64,
    /// Tokens generated within the interval.
    pub(crate) num_generated_tokens: u64,
    /// Prompt tokens of the requests that began within the interval.
    pub(crate) num_prompt_tokens: u64,
    /// Response time in milliseconds that half of the replies of the last 10 seconds do not exceed;
    /// null if there was none.
    pub(crate) p50_ms: Option<f64>,
    /// The same for 90 % of them.
    pub(crate) p90_ms: Option<f64>,
    /// The same for 99 % of them.
    pub(crate) p99_ms: Option<f64>,
    /// Sequences being worked on.
    pub(crate) num_running: usize,
    /// Requests that wait for their first step.
    pub(crate) num_waiting: usize,
    /// Share of the KV blocks in use, from 0 to 1.
    pub(crate) kv_cache_usage: f64,
    /// Replies that the response cache keeps in memory.
    pub(crate) num_cache_entries: u64,
    /// Bytes that they take.
    pub(crate) cache_bytes: u64,
    /// Replies since the server began.
    pub(crate) total_replies: u64,
    /// Kept replies since the server began.
    pub(crate) total_hits: u64,
    /// Seconds of generating that the response cache saved since the server began.
    pub(crate) total_saved_s: f64,
    /// Response time in milliseconds that half of the replies of the last five minutes do not exceed;
    /// null if there was none.
    pub(crate) recent_p50_ms: Option<f64>,
    /// The same for 99 % of them.
    pub(crate) recent_p99_ms: Option<f64>,
}

/// What a sample is taken of.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) unix_ms: u64,
    /// On a clock that never jumps.
    pub(crate) monotonic: Duration,
    pub(crate) totals: Totals,
    /// Response times of all replies.
    pub(crate) times: Counts,
    pub(crate) engine: EngineStats,
    pub(crate) num_cache_entries: u64,
    pub(crate) cache_bytes: u64,
}

/// The latest samples and who listens to the next.
#[derive(Debug)]
pub(crate) struct Samples(Mutex<State>);

#[derive(Debug)]
struct State {
    samples: VecDeque<Sample>,
    num_taken: u64,
    last: Option<Reading>,
    short: Window,
    long: Window,
    listeners: Vec<mpsc::Sender<Bytes>>,
    is_closed: bool,
}

/// Why nobody can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenError {
    /// [`MAX_LISTENERS`] do already.
    Full,
    /// The server stops.
    Closed,
}

impl Default for Samples {
    fn default() -> Self {
        Self(Mutex::new(State {
            samples: VecDeque::new(),
            num_taken: 0,
            last: None,
            short: Window::new(SHORT_WINDOW),
            long: Window::new(LONG_WINDOW),
            listeners: Vec::new(),
            is_closed: false,
        }))
    }
}

impl Samples {
    /// Takes a sample and sends it to everyone who listens. The first reading only begins the first
    /// interval.
    pub(crate) fn take(&self, reading: Reading) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        if let Some(sample) = state.next(&reading) {
            let event = event(&sample);
            // Who is too far behind is let go; the page comes back for what it has missed.
            state.listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
            if state.samples.len() == MAX_SAMPLES {
                state.samples.pop_front();
            }
            state.samples.push_back(sample);
        }
        state.last = Some(reading);
    }

    /// All samples taken after `after_ms`, as events, and those to come.
    pub(crate) fn listen(
        &self,
        after_ms: u64,
    ) -> Result<(Bytes, mpsc::Receiver<Bytes>), ListenError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(ListenError::Closed);
        }
        state.listeners.retain(|listener| !listener.is_closed());
        if state.listeners.len() == MAX_LISTENERS {
            return Err(ListenError::Full);
        }
        let (sender, receiver) = mpsc::channel(MAX_EVENTS_BEHIND);
        state.listeners.push(sender);
        let missed = state.samples.iter().filter(|sample| sample.time_ms > after_ms);
        let events: Vec<u8> = missed.flat_map(event).collect();
        Ok((events.into(), receiver))
    }

    /// Response times of the last five minutes, given those since the start.
    pub(crate) fn recent(&self, now: &Counts) -> Counts {
        self.lock().long.latest(now)
    }

    /// The latest sample.
    pub(crate) fn latest(&self) -> Option<Sample> {
        self.lock().samples.back().cloned()
    }

    /// Ends every stream: the server stops.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.listeners.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self, reading: &Reading) -> Option<Sample> {
        let last = self.last.as_ref()?;
        let (now, then) = (&reading.totals, &last.totals);
        let engine = &reading.engine;
        let short = self.short.latest(&reading.times);
        let long = self.long.latest(&reading.times);
        let ms = |counts: &Counts, share| counts.percentile_s(share).map(|s| rounded(s * 1e3));
        let sample = Sample {
            time_ms: reading.unix_ms,
            interval_s: rounded((reading.monotonic - last.monotonic).as_secs_f64()),
            num_replies: now.num_replies - then.num_replies,
            num_hits: now.num_hits - then.num_hits,
            num_coalesced: now.num_coalesced - then.num_coalesced,
            num_failed: now.num_failed - then.num_failed,
            num_generated_tokens: engine.num_generation_tokens - last.engine.num_generation_tokens,
            num_prompt_tokens: engine.num_prompt_tokens - last.engine.num_prompt_tokens,
            p50_ms: ms(&short, 0.5),
            p90_ms: ms(&short, 0.9),
            p99_ms: ms(&short, 0.99),
            num_running: engine.num_running,
            num_waiting: engine.num_waiting,
            kv_cache_usage: kv_cache_usage(engine),
            num_cache_entries: reading.num_cache_entries,
            cache_bytes: reading.cache_bytes,
            total_replies: now.num_replies,
            total_hits: now.num_hits,
            total_saved_s: rounded(now.saved_s),
            recent_p50_ms: ms(&long, 0.5),
            recent_p99_ms: ms(&long, 0.99),
        };
        self.num_taken += 1;
        self.short.push(reading.times.clone());
        if self.num_taken.is_multiple_of(LONG_INTERVAL) {
            self.long.push(reading.times.clone());
        }
        Some(sample)
    }
}

/// Share of the KV blocks in use.
pub(crate) fn kv_cache_usage(engine: &EngineStats) -> f64 {
    rounded(engine.num_blocks_used as f64 / engine.num_blocks.max(1) as f64)
}

/// Four significant digits: more would be noise on the wire.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    // Large numbers are whole already; the scale of tiny ones would be infinite.
    if scale < 1.0 || !scale.is_finite() { value.round() } else { (value * scale).round() / scale }
}

fn event(sample: &Sample) -> Bytes {
    let mut event = format!("id: {}\ndata: ", sample.time_ms).into_bytes();
    serde_json::to_writer(&mut event, sample).expect("numbers always serialize");
    event.extend_from_slice(b"\n\n");
    event.into()
}
