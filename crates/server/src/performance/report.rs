//! The body of `GET /api/performance`.

use brisk_gateway::{BreakerState, CacheStats, CacheStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    metrics::{
        Metrics, Phase, TIERS,
        distribution::{Counts, Distribution},
        endpoint::Endpoint,
        samples::{kv_cache_usage, rounded},
    },
};

/// How the server does. Counts and times are since it began unless they say otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Performance {
    /// Replies that ended well, kept ones included.
    #[schema(example = 150)]
    total_queries: u64,
    /// Replies among them that were kept from earlier requests.
    #[schema(example = 95)]
    cache_hits: u64,
    /// Their share, for people.
    #[schema(example = "63.3%")]
    cache_hit_rate: String,
    /// Their share, from 0 to 1.
    #[schema(example = 0.6333)]
    cache_hit_ratio: f64,
    /// Mean response time of all replies, kept ones included, for people.
    #[schema(example = "1.45s")]
    avg_response_time: String,
    /// The same in seconds.
    #[schema(example = 1.452)]
    avg_response_time_s: f64,
    /// Whether requests can be answered now.
    model_loaded: bool,
    /// The model's name; null while it loads.
    model: Option<String>,
    /// Replies that the response cache keeps in memory.
    #[schema(example = 87)]
    cache_size: u64,
    /// Tokens generated per second of inference, counted by the tokenizer; for people.
    #[schema(example = "38.2")]
    tokens_per_second: String,
    /// Time that generating the kept replies again would have taken, for people.
    #[schema(example = "4m 12s")]
    time_saved: String,
    /// How long the server runs, for people.
    #[schema(example = "2h 5m")]
    uptime: String,
    /// The same in seconds.
    uptime_s: f64,
    /// How requests ended, by endpoint; endpoints that nobody asked are left out.
    endpoints: Vec<EndpointReport>,
    /// Response times.
    response_times: ResponseTimes,
    /// Where the time went.
    phases: Phases,
    /// Tokens and speed.
    tokens: Tokens,
    /// The response cache.
    response_cache: ResponseCacheReport,
    /// The engine as it is now.
    engine: EngineReport,
}

/// How the requests to one endpoint ended.
#[derive(Debug, Serialize, ToSchema)]
struct EndpointReport {
    /// Its path.
    endpoint: &'static str,
    /// Kept replies to the same request.
    hit: u64,
    /// Kept replies to a request that differs in the spelling of its question.
    hit_normalized: u64,
    /// Replies generated because none was kept.
    miss: u64,
    /// Replies generated without asking the cache.
    bypass: u64,
    /// Replies that came along with an equal request's.
    coalesced: u64,
    /// Replies that broke.
    failed: u64,
    /// Replies whose client left.
    cancelled: u64,
}

/// Response times: from the request's body to the reply's last token.
#[derive(Debug, Serialize, ToSchema)]
struct ResponseTimes {
    /// Of all replies.
    all: TimeReport,
    /// Of all replies of the last five minutes.
    recent: TimeReport,
    /// Of kept replies.
    hits: TimeReport,
    /// Of replies that were generated for their own request.
    generated: TimeReport,
    /// To the first token, of all replies.
    first_token: TimeReport,
}

/// Parts of the response time. All but the cache lookup are of generated replies.
#[derive(Debug, Serialize, ToSchema)]
struct Phases {
    /// Looking into the response cache.
    cache_lookup: TimeReport,
    /// Chat template and tokenizer.
    tokenize: TimeReport,
    /// From the queue's entrance to the first step.
    queue: TimeReport,
    /// From the first step to the first token.
    prefill: TimeReport,
    /// From the first token to the last.
    decode: TimeReport,
}

/// How durations are distributed; all but the count are null where there was none. Percentiles are
/// right to 3 %.
#[derive(Debug, Serialize, ToSchema)]
struct TimeReport {
    /// How many there were.
    count: u64,
    /// Their mean, in seconds.
    mean_s: Option<f64>,
    /// Seconds that half of them do not exceed.
    p50_s: Option<f64>,
    /// Seconds that 90 % of them do not exceed.
    p90_s: Option<f64>,
    /// Seconds that 99 % of them do not exceed.
    p99_s: Option<f64>,
}

/// Tokens of generated replies, as the engine counted them.
#[derive(Debug, Serialize, ToSchema)]
struct Tokens {
    /// Prompt tokens.
    prompt: u64,
    /// Tokens generated.
    completion: u64,
    /// Seconds of prefill and decode, summed over requests.
    inference_s: f64,
    /// Tokens generated per second of inference: what one reader sees. Null before the first reply.
    per_second: Option<f64>,
    /// Tokens that the engine generates per second now, for all requests together.
    per_second_now: f64,
}

/// What the response cache did and holds.
#[derive(Debug, Serialize, ToSchema)]
struct ResponseCacheReport {
    /// Whether there is one.
    enabled: bool,
    /// Replies kept in memory.
    entries: u64,
    /// Bytes that they take.
    bytes: u64,
    /// Kept replies sent, by tier.
    hits_by_tier: HitsByTier,
    /// Replies that came along with an equal request's, in one generation.
    single_flight_joins: u64,
    /// Seconds that generating the kept replies again would have taken.
    saved_s: f64,
    /// Replies that were kept.
    insertions: u64,
    /// Replies that memory let go, or did not take, for want of room.
    evictions: u64,
    /// Kept replies whose time was over.
    expired: u64,
    /// State of the Redis tier's breaker: `closed` is good; null without Redis.
    redis_breaker: Option<&'static str>,
}

/// Kept replies sent, by the tier that had them.
#[derive(Debug, Serialize, ToSchema)]
struct HitsByTier {
    /// This process.
    memory: TierReport,
    /// The file of this machine.
    disk: TierReport,
    /// The server shared with other instances.
    redis: TierReport,
}

/// Kept replies of one tier.
#[derive(Debug, Serialize, ToSchema)]
struct TierReport {
    /// To the same request.
    hit: u64,
    /// To a request that differs in the spelling of its question.
    hit_normalized: u64,
    /// Their share of all replies, from 0 to 1.
    ratio: f64,
}

/// The engine as it is now.
#[derive(Debug, Serialize, ToSchema)]
struct EngineReport {
    /// Sequences being worked on.
    running: usize,
    /// Requests that wait for their first step.
    waiting: usize,
    /// Share of the KV blocks in use, from 0 to 1.
    kv_cache_usage: f64,
    /// Sequences put back for want of KV blocks.
    preemptions: u64,
}

impl Performance {
    pub(crate) fn of(app: &App) -> Self {
        let Metrics { times, samples, .. } = &app.metrics;
        let totals = app.metrics.totals();
        let all = times.all.counts();
        let cache = app.gateway.cache_stats();
        let engine = app.gateway.stats();
        let hit_ratio = share(totals.num_hits, totals.num_replies);
        let mean_s = all.mean_s().unwrap_or(0.0);
        let per_second = (totals.inference_s > 0.0)
            .then(|| rounded(totals.num_completion_tokens as f64 / totals.inference_s));
        let latest = samples.latest();
        let per_second_now = latest
            .filter(|sample| sample.interval_s > 0.0)
            .map_or(0.0, |sample| sample.num_generated_tokens as f64 / sample.interval_s);
        let uptime_s = app.metrics.uptime_s();
        Self {
            total_queries: totals.num_replies,
            cache_hits: totals.num_hits,
            cache_hit_rate: format!("{:.1}%", 100.0 * hit_ratio),
            cache_hit_ratio: rounded(hit_ratio),
            avg_response_time: seconds_in_words(mean_s),
            avg_response_time_s: rounded(mean_s),
            model_loaded: app.gateway.is_ready(),
            model: app.gateway.model().map(|model| model.name.clone()),
            cache_size: cache.as_ref().map_or(0, |cache| cache.num_entries),
            tokens_per_second: format!("{:.1}", per_second.unwrap_or(0.0)),
            time_saved: time_in_words(totals.saved_s),
            uptime: time_in_words(uptime_s),
            uptime_s: rounded(uptime_s),
            endpoints: endpoints(&app.metrics),
            response_times: ResponseTimes {
                recent: TimeReport::of(&samples.recent(&all)),
                all: TimeReport::of(&all),
                hits: TimeReport::since_start(&times.hits),
                generated: TimeReport::since_start(&times.generated),
                first_token: TimeReport::since_start(&times.first_token),
            },
            phases: Phases {
                cache_lookup: phase(&app.metrics, Phase::CacheLookup),
                tokenize: phase(&app.metrics, Phase::Tokenize),
                queue: phase(&app.metrics, Phase::Queue),
                prefill: phase(&app.metrics, Phase::Prefill),
                decode: phase(&app.metrics, Phase::Decode),
            },
            tokens: Tokens {
                prompt: totals.num_prompt_tokens,
                completion: totals.num_completion_tokens,
                inference_s: rounded(totals.inference_s),
                per_second,
                per_second_now: rounded(per_second_now),
            },
            response_cache: ResponseCacheReport::of(&app.metrics, cache),
            engine: EngineReport {
                running: engine.num_running,
                waiting: engine.num_waiting,
                kv_cache_usage: kv_cache_usage(&engine),
                preemptions: engine.num_preemptions,
            },
        }
    }
}

impl TimeReport {
    fn since_start(distribution: &Distribution) -> Self {
        Self::of(&distribution.counts())
    }

    fn of(counts: &Counts) -> Self {
        let percentile_s = |share| counts.percentile_s(share).map(rounded);
        Self {
            count: counts.total(),
            mean_s: counts.mean_s().map(rounded),
            p50_s: percentile_s(0.5),
            p90_s: percentile_s(0.9),
            p99_s: percentile_s(0.99),
        }
    }
}

impl ResponseCacheReport {
    fn of(metrics: &Metrics, stats: Option<CacheStats>) -> Self {
        let totals = metrics.totals();
        let enabled = stats.is_some();
        let stats = stats.unwrap_or_default();
        let tier = |name| {
            let tier = TIERS.iter().position(|tier| *tier == name).unwrap_or(0);
            let hit = metrics.by_tier(CacheStatus::Hit, tier);
            let hit_normalized = metrics.by_tier(CacheStatus::HitNormalized, tier);
            let ratio = rounded(share(hit + hit_normalized, totals.num_replies));
            TierReport { hit, hit_normalized, ratio }
        };
        Self {
            enabled,
            entries: stats.num_entries,
            bytes: stats.num_bytes,
            hits_by_tier: HitsByTier {
                memory: tier("memory"),
                disk: tier("disk"),
                redis: tier("redis"),
            },
            single_flight_joins: totals.num_coalesced,
            saved_s: rounded(totals.saved_s),
            insertions: stats.num_insertions,
            evictions: stats.num_evictions,
            expired: stats.num_expired,
            redis_breaker: stats.redis_breaker.map(|state| match state {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
                BreakerState::HalfOpen => "half_open",
            }),
        }
    }
}

fn endpoints(metrics: &Metrics) -> Vec<EndpointReport> {
    let reports = Endpoint::ALL.into_iter().map(|endpoint| {
        let [hit, hit_normalized, miss, bypass, coalesced] = metrics.replies(endpoint);
        let (failed, cancelled) = metrics.unfinished(endpoint);
        let endpoint = endpoint.route();
        EndpointReport { endpoint, hit, hit_normalized, miss, bypass, coalesced, failed, cancelled }
    });
    let is_used = |it: &EndpointReport| {
        it.hit + it.hit_normalized + it.miss + it.bypass + it.coalesced + it.failed + it.cancelled
            > 0
    };
    reports.filter(is_used).collect()
}

fn phase(metrics: &Metrics, phase: Phase) -> TimeReport {
    TimeReport::since_start(&metrics.times.phases[phase as usize])
}

/// A part of a whole, 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Seconds with two decimals, or with two digits where those would all be zeros.
fn seconds_in_words(seconds: f64) -> String {
    if seconds >= 0.1 || seconds <= 0.0 {
        return format!("{:.2}s", seconds.max(0.0));
    }
    let num_decimals = (1 - seconds.log10().floor() as i32).clamp(2, 7) as usize;
    format!("{seconds:.num_decimals$}s")
}

/// The two largest units of a time.
fn time_in_words(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_two_digits() {
        for (seconds, words) in [
            (0.0, "0.00s"),
            (1.452, "1.45s"),
            (0.1, "0.10s"),
            (0.0123, "0.012s"),
            (0.000_151, "0.00015s"),
            (75.0, "75.00s"),
        ] {
            assert_eq!(seconds_in_words(seconds), words);
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, words) in
            [(0.4, "0s"), (59.9, "59s"), (252.0, "4m 12s"), (7500.0, "2h 5m"), (200_000.0, "2d 7h")]
        {
            assert_eq!(time_in_words(seconds), words);
        }
    }
}
