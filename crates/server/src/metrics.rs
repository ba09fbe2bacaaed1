//! Counts what the server does: for Prometheus, for `/api/performance` and for the dashboard.
//!
//! The registry is a plain value rather than a process-wide one, so two servers in one process, as
//! in tests, do not count for each other. Labels come from closed sets alone. Counting a reply is a
//! few dozen additions to atomics: no lock, no allocation, for a kept reply takes microseconds.

pub(crate) mod bounds;
pub(crate) mod distribution;
pub(crate) mod endpoint;
pub(crate) mod histogram;
pub(crate) mod page;
pub(crate) mod responses;
pub(crate) mod samples;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use brisk_gateway::{CacheReport, CacheStatus, ReplySummary, Tier};

use self::{
    distribution::Distribution,
    endpoint::{Endpoint, Operation},
    histogram::Histogram,
    responses::Responses,
    samples::Samples,
};

const NUM_STATUSES: usize = CacheStatus::ALL.len();
const NUM_ENDPOINTS: usize = Endpoint::ALL.len();
/// Where a reply came from that was not kept.
const NO_TIER: usize = TIERS.len() - 1;
/// The tiers as labels, and `none` for what no tier answered.
pub(crate) const TIERS: [&str; 4] = ["memory", "disk", "redis", "none"];

/// Everything this server counts itself; the rest comes from the engine and the response cache.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    /// Replies that ended well, by endpoint and cache status.
    replies: [[AtomicU64; NUM_STATUSES]; NUM_ENDPOINTS],
    /// Replies that broke, by endpoint.
    failed: [AtomicU64; NUM_ENDPOINTS],
    /// Replies whose client left, by endpoint.
    cancelled: [AtomicU64; NUM_ENDPOINTS],
    /// Replies that ended well, by cache status and tier.
    by_tier: [[AtomicU64; TIERS.len()]; NUM_STATUSES],
    saved_nanos: AtomicU64,
    /// Tokens and inference time of the replies that were generated for their own request.
    num_prompt_tokens: AtomicU64,
    num_completion_tokens: AtomicU64,
    inference_nanos: AtomicU64,
    responses: Responses,
    pub(crate) histograms: Histograms,
    pub(crate) times: Times,
    pub(crate) samples: Samples,
}

/// For Prometheus.
#[derive(Debug)]
pub(crate) struct Histograms {
    pub(crate) time_to_first_token: Histogram,
    pub(crate) inter_token_latency: Histogram,
    pub(crate) e2e_request_latency: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) prefill_time: Histogram,
    pub(crate) decode_time: Histogram,
    pub(crate) inference_duration: Histogram,
    pub(crate) tokens_per_second: Histogram,
    /// By cache status.
    pub(crate) reply: [Histogram; NUM_STATUSES],
    pub(crate) phases: [Histogram; Phase::ALL.len()],
    pub(crate) gen_ai: [GenAi; Operation::ALL.len()],
}

/// OpenTelemetry's conventions, of one operation.
#[derive(Debug)]
pub(crate) struct GenAi {
    pub(crate) duration: Histogram,
    pub(crate) failed_duration: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) per_token: Histogram,
    pub(crate) input_tokens: Histogram,
    pub(crate) output_tokens: Histogram,
}

/// For percentiles.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Of all replies.
    pub(crate) all: Distribution,
    /// Of kept ones.
    pub(crate) hits: Distribution,
    /// Of those that were generated for their own request.
    pub(crate) generated: Distribution,
    pub(crate) first_token: Distribution,
    pub(crate) phases: [Distribution; Phase::ALL.len()],
}

/// A part of the time that a reply takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    CacheLookup,
    Tokenize,
    Queue,
    Prefill,
    Decode,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] =
        [Self::CacheLookup, Self::Tokenize, Self::Queue, Self::Prefill, Self::Decode];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CacheLookup => "cache_lookup",
            Self::Tokenize => "tokenize",
            Self::Queue => "queue",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) num_replies: u64,
    pub(crate) num_hits: u64,
    pub(crate) num_coalesced: u64,
    pub(crate) num_failed: u64,
    pub(crate) num_cancelled: u64,
    pub(crate) saved_s: f64,
    pub(crate) num_prompt_tokens: u64,
    pub(crate) num_completion_tokens: u64,
    pub(crate) inference_s: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            replies: Default::default(),
            failed: Default::default(),
            cancelled: Default::default(),
            by_tier: Default::default(),
            saved_nanos: AtomicU64::new(0),
            num_prompt_tokens: AtomicU64::new(0),
            num_completion_tokens: AtomicU64::new(0),
            inference_nanos: AtomicU64::new(0),
            responses: Responses::default(),
            histograms: Histograms::default(),
            times: Times::default(),
            samples: Samples::default(),
        }
    }
}

impl Default for Histograms {
    fn default() -> Self {
        let request = || Histogram::of_seconds(bounds::REQUEST);
        let wide = |_| Histogram::of_seconds(bounds::WIDE);
        Self {
            time_to_first_token: Histogram::of_seconds(bounds::FIRST_TOKEN),
            inter_token_latency: Histogram::of_seconds(bounds::INTER_TOKEN),
            e2e_request_latency: request(),
            queue_time: request(),
            prefill_time: request(),
            decode_time: request(),
            inference_duration: request(),
            tokens_per_second: Histogram::of_numbers(bounds::SPEED),
            reply: std::array::from_fn(wide),
            phases: std::array::from_fn(wide),
            gen_ai: std::array::from_fn(|_| GenAi::default()),
        }
    }
}

impl Default for GenAi {
    fn default() -> Self {
        Self {
            duration: Histogram::of_seconds(bounds::GEN_AI_DURATION),
            failed_duration: Histogram::of_seconds(bounds::GEN_AI_DURATION),
            first_token: Histogram::of_seconds(bounds::GEN_AI_FIRST_TOKEN),
            per_token: Histogram::of_seconds(bounds::GEN_AI_PER_TOKEN),
            input_tokens: Histogram::of_numbers(bounds::GEN_AI_TOKENS),
            output_tokens: Histogram::of_numbers(bounds::GEN_AI_TOKENS),
        }
    }
}

impl Metrics {
    /// Time between two tokens of one choice, as they were generated.
    pub(crate) fn observe_inter_token(&self, seconds: f64) {
        self.histograms.inter_token_latency.observe(seconds);
    }

    /// A reply that ended well after `seconds`.
    pub(crate) fn observe_reply(
        &self,
        endpoint: Endpoint,
        cache: &CacheReport,
        summary: &ReplySummary,
        seconds: f64,
    ) {
        let status = cache.status as usize;
        let tier = cache.tier.map_or(NO_TIER, tier_index);
        count(&self.replies[endpoint as usize][status]);
        count(&self.by_tier[status][tier]);
        let Histograms { reply, e2e_request_latency, time_to_first_token, .. } = &self.histograms;
        let first_token_s = summary.timings.time_to_first_token_ms / 1e3;
        reply[status].observe(seconds);
        e2e_request_latency.observe(seconds);
        time_to_first_token.observe(first_token_s);
        self.times.all.observe(seconds);
        self.times.first_token.observe(first_token_s);
        self.observe_gen_ai(endpoint, summary, seconds);
        if cache.status != CacheStatus::Bypass {
            self.observe_phase(Phase::CacheLookup, summary.timings.cache_lookup_ms);
        }
        if cache.status.is_hit() {
            self.times.hits.observe(seconds);
            add(&self.saved_nanos, u64::try_from(cache.saved.as_nanos()).unwrap_or(0));
        }
        if summary.is_counted {
            self.observe_generation(summary, seconds);
        }
    }

    /// A reply that broke or whose client left, after `seconds`.
    pub(crate) fn observe_unfinished(&self, endpoint: Endpoint, has_failed: bool, seconds: f64) {
        if has_failed {
            count(&self.failed[endpoint as usize]);
            self.gen_ai(endpoint).failed_duration.observe(seconds);
        } else {
            count(&self.cancelled[endpoint as usize]);
        }
    }

    /// What the engine did for a reply.
    fn observe_generation(&self, summary: &ReplySummary, seconds: f64) {
        let timings = &summary.timings;
        let histograms = &self.histograms;
        self.times.generated.observe(seconds);
        histograms.queue_time.observe(timings.queue_ms / 1e3);
        histograms.prefill_time.observe(timings.prefill_ms / 1e3);
        histograms.decode_time.observe(timings.decode_ms / 1e3);
        self.observe_phase(Phase::Tokenize, timings.tokenize_ms);
        self.observe_phase(Phase::Queue, timings.queue_ms);
        self.observe_phase(Phase::Prefill, timings.prefill_ms);
        self.observe_phase(Phase::Decode, timings.decode_ms);
        let inference_s = (timings.prefill_ms + timings.decode_ms) / 1e3;
        histograms.inference_duration.observe(inference_s);
        if inference_s > 0.0 {
            let speed = summary.num_completion_tokens as f64 / inference_s;
            histograms.tokens_per_second.observe(speed);
        }
        add(&self.num_prompt_tokens, summary.num_prompt_tokens as u64);
        add(&self.num_completion_tokens, summary.num_completion_tokens as u64);
        add(&self.inference_nanos, (inference_s * 1e9) as u64);
    }

    fn observe_phase(&self, phase: Phase, ms: f64) {
        self.histograms.phases[phase as usize].observe(ms / 1e3);
        self.times.phases[phase as usize].observe(ms / 1e3);
    }

    fn observe_gen_ai(&self, endpoint: Endpoint, summary: &ReplySummary, seconds: f64) {
        let gen_ai = self.gen_ai(endpoint);
        let first_token_s = summary.timings.time_to_first_token_ms / 1e3;
        gen_ai.duration.observe(seconds);
        gen_ai.first_token.observe(first_token_s);
        gen_ai.input_tokens.observe(summary.num_prompt_tokens as f64);
        gen_ai.output_tokens.observe(summary.num_completion_tokens as f64);
        if summary.is_counted && summary.num_completion_tokens > 1 {
            let num_later = (summary.num_completion_tokens - 1) as f64;
            gen_ai.per_token.observe((seconds - first_token_s).max(0.0) / num_later);
        }
    }

    fn gen_ai(&self, endpoint: Endpoint) -> &GenAi {
        &self.histograms.gen_ai[endpoint.operation() as usize]
    }

    /// A response that was sent, given up or never begun (499).
    pub(crate) fn count_response(&self, route: &str, status: u16) {
        self.responses.count(route, status);
    }

    /// Seconds since the server began.
    pub(crate) fn uptime_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Replies of an endpoint that ended well, by cache status.
    pub(crate) fn replies(&self, endpoint: Endpoint) -> [u64; NUM_STATUSES] {
        std::array::from_fn(|status| get(&self.replies[endpoint as usize][status]))
    }

    /// Replies of an endpoint that broke, and those whose client left.
    pub(crate) fn unfinished(&self, endpoint: Endpoint) -> (u64, u64) {
        (get(&self.failed[endpoint as usize]), get(&self.cancelled[endpoint as usize]))
    }

    /// Replies that ended well, by cache status and by the index of a tier in [`TIERS`].
    pub(crate) fn by_tier(&self, status: CacheStatus, tier: usize) -> u64 {
        get(&self.by_tier[status as usize][tier])
    }

    pub(crate) fn totals(&self) -> Totals {
        let of_status = |status| (0..TIERS.len()).map(|tier| self.by_tier(status, tier)).sum();
        let sum = |counts: &[AtomicU64]| counts.iter().map(get).sum();
        let [hit, hit_normalized, miss, bypass, coalesced]: [u64; _] =
            CacheStatus::ALL.map(of_status);
        Totals {
            num_replies: hit + hit_normalized + miss + bypass + coalesced,
            num_hits: hit + hit_normalized,
            num_coalesced: coalesced,
            num_failed: sum(&self.failed),
            num_cancelled: sum(&self.cancelled),
            saved_s: get(&self.saved_nanos) as f64 / 1e9,
            num_prompt_tokens: get(&self.num_prompt_tokens),
            num_completion_tokens: get(&self.num_completion_tokens),
            inference_s: get(&self.inference_nanos) as f64 / 1e9,
        }
    }
}

/// The tier as a label.
pub(crate) fn tier_name(tier: Tier) -> &'static str {
    TIERS[tier_index(tier)]
}

fn tier_index(tier: Tier) -> usize {
    match tier {
        Tier::Memory => 0,
        Tier::Disk => 1,
        Tier::Redis => 2,
    }
}

fn count(counter: &AtomicU64) {
    add(counter, 1);
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
