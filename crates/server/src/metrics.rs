//! Counters and histograms in Prometheus' text format, under vLLM's names and our own.
//!
//! The registry is a plain value rather than a process-wide one, so two servers in one process, as
//! in tests, do not count for each other. Labels come from closed sets alone.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use brisk_gateway::{EngineStats, ReplySummary};

/// vLLM's buckets for the time to the first token, in seconds.
const TTFT_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// vLLM's buckets between two tokens, in seconds.
const ITL_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// vLLM's buckets for whole requests and their phases, in seconds.
const REQUEST_BUCKETS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// Tokens in a second, from a large model on a small machine to a small one on a large.
const SPEED_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0];
/// What a request is taken to last before the first one has ended.
const FIRST_GUESS_S: f64 = 2.0;
/// Weight of the newest request in the running mean.
const MEAN_WEIGHT: f64 = 0.1;

/// Everything this server counts itself; the rest comes from the engine.
#[derive(Debug)]
pub(crate) struct Metrics {
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    e2e_request_latency: Histogram,
    queue_time: Histogram,
    prefill_time: Histogram,
    decode_time: Histogram,
    inference_duration: Histogram,
    tokens_per_second: Histogram,
    prefix_cache_queries: AtomicU64,
    prefix_cache_hits: AtomicU64,
    /// By route and status.
    responses: Mutex<BTreeMap<(String, u16), u64>>,
    /// Running mean of a request's seconds; bits of a double, 0 while unknown.
    mean_request_s: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            time_to_first_token: Histogram::new(TTFT_BUCKETS),
            inter_token_latency: Histogram::new(ITL_BUCKETS),
            e2e_request_latency: Histogram::new(REQUEST_BUCKETS),
            queue_time: Histogram::new(REQUEST_BUCKETS),
            prefill_time: Histogram::new(REQUEST_BUCKETS),
            decode_time: Histogram::new(REQUEST_BUCKETS),
            inference_duration: Histogram::new(REQUEST_BUCKETS),
            tokens_per_second: Histogram::new(SPEED_BUCKETS),
            prefix_cache_queries: AtomicU64::new(0),
            prefix_cache_hits: AtomicU64::new(0),
            responses: Mutex::default(),
            mean_request_s: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Time between two tokens of one choice.
    pub(crate) fn observe_inter_token(&self, seconds: f64) {
        self.inter_token_latency.observe(seconds);
    }

    /// A reply that ended well after `seconds`.
    pub(crate) fn observe_reply(&self, summary: &ReplySummary, seconds: f64) {
        let timings = &summary.timings;
        self.time_to_first_token.observe(timings.time_to_first_token_ms / 1e3);
        self.e2e_request_latency.observe(seconds);
        self.queue_time.observe(timings.queue_ms / 1e3);
        self.prefill_time.observe(timings.prefill_ms / 1e3);
        self.decode_time.observe(timings.decode_ms / 1e3);
        let inference_s = (timings.prefill_ms + timings.decode_ms) / 1e3;
        self.inference_duration.observe(inference_s);
        if inference_s > 0.0 {
            self.tokens_per_second.observe(summary.num_completion_tokens as f64 / inference_s);
        }
        self.prefix_cache_queries.fetch_add(summary.num_prompt_tokens as u64, Ordering::Relaxed);
        self.prefix_cache_hits.fetch_add(summary.num_cached_tokens as u64, Ordering::Relaxed);
        let mean = match self.mean_request_s.load(Ordering::Relaxed) {
            0 => seconds,
            bits => f64::from_bits(bits) * (1.0 - MEAN_WEIGHT) + seconds * MEAN_WEIGHT,
        };
        // Two requests that end together may lose one of the two; the mean does not mind.
        self.mean_request_s.store(mean.to_bits(), Ordering::Relaxed);
    }

    /// A response that was sent, given up or never begun (499).
    pub(crate) fn count_response(&self, route: &str, status: u16) {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        *responses.entry((route.to_owned(), status)).or_default() += 1;
    }

    /// How long a request takes, by the latest ones.
    pub(crate) fn mean_request_s(&self) -> f64 {
        match self.mean_request_s.load(Ordering::Relaxed) {
            0 => FIRST_GUESS_S,
            bits => f64::from_bits(bits),
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, model: &str, stats: &EngineStats) -> String {
        let mut page = Page { text: String::with_capacity(16 << 10), model: escape(model) };
        let usage = stats.num_blocks_used as f64 / stats.num_blocks.max(1) as f64;
        page.one(
            "vllm:num_requests_running",
            "gauge",
            "Sequences being worked on.",
            stats.num_running as f64,
        );
        page.one(
            "vllm:num_requests_waiting",
            "gauge",
            "Requests waiting for their first step.",
            stats.num_waiting as f64,
        );
        page.one(
            "vllm:kv_cache_usage_perc",
            "gauge",
            "Share of the KV blocks in use, 1 is all.",
            usage,
        );
        page.one(
            "vllm:prompt_tokens_total",
            "counter",
            "Prompt tokens taken.",
            stats.num_prompt_tokens as f64,
        );
        page.one(
            "vllm:generation_tokens_total",
            "counter",
            "Tokens generated.",
            stats.num_generation_tokens as f64,
        );
        page.one(
            "vllm:num_preemptions_total",
            "counter",
            "Sequences put back for want of KV blocks.",
            stats.num_preemptions as f64,
        );
        let queries = self.prefix_cache_queries.load(Ordering::Relaxed);
        page.one(
            "vllm:prefix_cache_queries_total",
            "counter",
            "Prompt tokens looked up in the prefix cache.",
            queries as f64,
        );
        let hits = self.prefix_cache_hits.load(Ordering::Relaxed);
        page.one(
            "vllm:prefix_cache_hits_total",
            "counter",
            "Prompt tokens found in the prefix cache.",
            hits as f64,
        );
        page.family(
            "vllm:request_success_total",
            "counter",
            "Ended choices by reason (abort and error: requests).",
        );
        let reasons = [
            ("stop", stats.num_finished_stop),
            ("length", stats.num_finished_length),
            ("abort", stats.num_cancelled),
            ("error", stats.num_failed),
        ];
        for (reason, value) in reasons {
            page.sample(
                "vllm:request_success_total",
                &format!("finished_reason=\"{reason}\""),
                value as f64,
            );
        }
        page.histogram(
            "vllm:time_to_first_token_seconds",
            "From the request to its first token.",
            &self.time_to_first_token,
        );
        page.histogram(
            "vllm:inter_token_latency_seconds",
            "Between two tokens of a choice.",
            &self.inter_token_latency,
        );
        page.histogram(
            "vllm:e2e_request_latency_seconds",
            "From the request to its last token.",
            &self.e2e_request_latency,
        );
        page.histogram(
            "vllm:request_queue_time_seconds",
            "Waiting for the first step.",
            &self.queue_time,
        );
        page.histogram(
            "vllm:request_prefill_time_seconds",
            "From the first step to the first token.",
            &self.prefill_time,
        );
        page.histogram(
            "vllm:request_decode_time_seconds",
            "From the first token to the last.",
            &self.decode_time,
        );
        page.histogram(
            "inference_duration_seconds",
            "Prefill and decode of a request.",
            &self.inference_duration,
        );
        page.histogram(
            "tokens_per_second",
            "Tokens generated per second of inference, by request.",
            &self.tokens_per_second,
        );
        page.family(
            "http_responses_total",
            "counter",
            "Responses by route and status; 499 is a client that left.",
        );
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, status), count) in &*responses {
            page.sample(
                "http_responses_total",
                &format!("route=\"{}\",status=\"{status}\"", escape(route)),
                *count as f64,
            );
        }
        page.text
    }
}

/// A page of metrics being written.
struct Page {
    text: String,
    model: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let model = std::mem::take(&mut self.model);
        self.line(format_args!("{name}{{model_name=\"{model}\"{comma}{labels}}} {value}\n"));
        self.model = model;
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut total = 0;
        for (i, count) in histogram.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = histogram.bounds.get(i).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample(&format!("{name}_bucket"), &format!("le=\"{bound}\""), total as f64);
        }
        let sum = histogram.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        self.sample(&format!("{name}_sum"), "", sum);
        self.sample(&format!("{name}_count"), "", total as f64);
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes any text");
    }
}

/// Counts of values up to each bound, and beyond the last.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micros: AtomicU64::new(0) }
    }

    fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add((value * 1e6).max(0.0) as u64, Ordering::Relaxed);
    }
}

/// A label's value as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_its_bucket_and_every_larger_one() {
        let metrics = Metrics::default();
        for seconds in [0.01, 0.0101, 0.2, 99.0] {
            metrics.observe_inter_token(seconds);
        }
        let text = metrics.render("a \"b\"", &EngineStats::default());
        let name = "vllm:inter_token_latency_seconds";
        for (suffix, labels, value) in [
            ("_bucket", ",le=\"0.01\"", "1"),
            ("_bucket", ",le=\"0.025\"", "2"),
            ("_bucket", ",le=\"0.15\"", "2"),
            ("_bucket", ",le=\"0.2\"", "3"),
            ("_bucket", ",le=\"80\"", "3"),
            ("_bucket", ",le=\"+Inf\"", "4"),
            ("_sum", "", "99.2201"),
            ("_count", "", "4"),
        ] {
            let line = format!("{name}{suffix}{{model_name=\"a \\\"b\\\"\"{labels}}} {value}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn responses_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.count_response("/v1/models", 200);
        metrics.count_response("/v1/models", 200);
        metrics.count_response("unmatched", 404);
        let text = metrics.render("m", &EngineStats::default());
        assert!(text.contains(
            "http_responses_total{model_name=\"m\",route=\"/v1/models\",status=\"200\"} 2\n"
        ));
        assert!(text.contains(
            "http_responses_total{model_name=\"m\",route=\"unmatched\",status=\"404\"} 1\n"
        ));
    }
}
