//! Writes the metrics in Prometheus' text format, under vLLM's names, OpenTelemetry's and our own.

use std::fmt::{Display, Write};

use brisk_gateway::{BreakerState, CacheStats, CacheStatus, EngineStats};

use super::{
    GenAi, Metrics, Phase, TIERS,
    endpoint::{Endpoint, Operation},
    histogram::Histogram,
};

/// What others than the server count.
#[derive(Debug, Default)]
pub(crate) struct Sources<'a> {
    /// The model's name; empty while it loads.
    pub(crate) model: &'a str,
    pub(crate) engine: EngineStats,
    /// None if there is no response cache.
    pub(crate) cache: Option<CacheStats>,
    /// What is kept in files, and whether that does not work now.
    pub(crate) stores: Vec<(&'static str, bool)>,
    /// Seconds since the server began.
    pub(crate) uptime_s: f64,
}

/// The text that Prometheus reads.
pub(crate) fn render(metrics: &Metrics, sources: &Sources<'_>) -> String {
    let model = escape(sources.model);
    let mut page = Page { text: String::with_capacity(48 << 10), labels: String::new() };
    page.labels = format!("model_name=\"{model}\"");
    engine(&mut page, &sources.engine);
    vllm_histograms(&mut page, metrics);
    requests(&mut page, metrics);
    response_cache(&mut page, metrics, &sources.cache.clone().unwrap_or_default());
    let name = "brisk_storage_degraded";
    page.family(name, "gauge", "1 while a file does not take or give what it should keep.");
    for (file, is_degraded) in &sources.stores {
        page.sample(name, &format!("file=\"{file}\""), u8::from(*is_degraded));
    }
    page.gauge("brisk_uptime_seconds", "Since the server began.", sources.uptime_s);
    page.labels = format!(
        "gen_ai_provider_name=\"brisk\",gen_ai_request_model=\"{model}\",gen_ai_response_model=\"{model}\""
    );
    gen_ai(&mut page, &metrics.histograms.gen_ai);
    page.text
}

fn engine(page: &mut Page, stats: &EngineStats) {
    let usage = stats.num_blocks_used as f64 / stats.num_blocks.max(1) as f64;
    let waiting = "Requests waiting for their first step.";
    page.gauge("vllm:num_requests_running", "Sequences being worked on.", stats.num_running);
    page.gauge("vllm:num_requests_waiting", waiting, stats.num_waiting);
    page.gauge("vllm:kv_cache_usage_perc", "Share of the KV blocks in use, 1 is all.", usage);
    page.counter("vllm:prompt_tokens_total", "Prompt tokens taken.", stats.num_prompt_tokens);
    let generated = stats.num_generation_tokens;
    page.counter("vllm:generation_tokens_total", "Tokens generated.", generated);
    let preempted = "Sequences put back for want of KV blocks.";
    page.counter("vllm:num_preemptions_total", preempted, stats.num_preemptions);
    let name = "vllm:request_success_total";
    page.family(name, "counter", "Ended choices by reason (abort and error: requests).");
    for (reason, value) in [
        ("stop", stats.num_finished_stop),
        ("length", stats.num_finished_length),
        ("repetition", stats.num_finished_repetition),
        ("abort", stats.num_cancelled),
        ("error", stats.num_failed),
    ] {
        page.sample(name, &format!("finished_reason=\"{reason}\""), value);
    }
}

fn vllm_histograms(page: &mut Page, metrics: &Metrics) {
    let all = &metrics.histograms;
    for (name, help, histogram) in [
        (
            "vllm:time_to_first_token_seconds",
            "From the request to its first token.",
            &all.time_to_first_token,
        ),
        (
            "vllm:inter_token_latency_seconds",
            "Between two tokens of a choice.",
            &all.inter_token_latency,
        ),
        (
            "vllm:e2e_request_latency_seconds",
            "From the request to its last token.",
            &all.e2e_request_latency,
        ),
        ("vllm:request_queue_time_seconds", "Waiting for the first step.", &all.queue_time),
        (
            "vllm:request_prefill_time_seconds",
            "From the first step to the first token.",
            &all.prefill_time,
        ),
        ("vllm:request_decode_time_seconds", "From the first token to the last.", &all.decode_time),
        ("inference_duration_seconds", "Prefill and decode of a request.", &all.inference_duration),
        (
            "tokens_per_second",
            "Tokens generated per second of inference, by request.",
            &all.tokens_per_second,
        ),
    ] {
        page.family(name, "histogram", help);
        page.histogram(name, "", histogram);
    }
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let name = "brisk_requests_total";
    page.family(name, "counter", "Requests that the model was asked, by how they ended.");
    for endpoint in Endpoint::ALL {
        let (failed, cancelled) = metrics.unfinished(endpoint);
        let finished: u64 = metrics.replies(endpoint).iter().sum();
        for (outcome, value) in [("ok", finished), ("failed", failed), ("cancelled", cancelled)] {
            let route = endpoint.route();
            page.sample(name, &format!("endpoint=\"{route}\",outcome=\"{outcome}\""), value);
        }
    }
    let name = "brisk_replies_total";
    page.family(name, "counter", "Replies that ended well, by what the response cache did.");
    for endpoint in Endpoint::ALL {
        for (status, value) in CacheStatus::ALL.into_iter().zip(metrics.replies(endpoint)) {
            let (route, status) = (endpoint.route(), status.name());
            page.sample(name, &format!("endpoint=\"{route}\",cache=\"{status}\""), value);
        }
    }
    let name = "brisk_reply_duration_seconds";
    page.family(name, "histogram", "From the request to its last token, by the cache's part.");
    for (status, histogram) in CacheStatus::ALL.into_iter().zip(&metrics.histograms.reply) {
        page.histogram(name, &format!("cache=\"{}\"", status.name()), histogram);
    }
    let name = "brisk_phase_duration_seconds";
    page.family(name, "histogram", "Parts of the time that a request takes.");
    for (phase, histogram) in Phase::ALL.into_iter().zip(&metrics.histograms.phases) {
        page.histogram(name, &format!("phase=\"{}\"", phase.name()), histogram);
    }
    let name = "http_responses_total";
    page.family(name, "counter", "Responses by route and status; 499 is a client that left.");
    metrics.responses.visit(|route, status, value| {
        page.sample(name, &format!("route=\"{}\",status=\"{status}\"", escape(route)), value);
    });
}

fn response_cache(page: &mut Page, metrics: &Metrics, stats: &CacheStats) {
    let name = "brisk_response_cache_requests_total";
    page.family(name, "counter", "Replies that ended well, by cache status and tier.");
    for status in CacheStatus::ALL {
        for (tier, tier_name) in TIERS.iter().enumerate() {
            // Hits come from a tier, and nothing else does.
            if status.is_hit() == (*tier_name == "none") {
                continue;
            }
            let labels = format!("status=\"{}\",tier=\"{tier_name}\"", status.name());
            page.sample(name, &labels, metrics.by_tier(status, tier));
        }
    }
    let totals = metrics.totals();
    let joins = "Requests answered along with an equal one that came before.";
    page.counter("brisk_single_flight_joins_total", joins, totals.num_coalesced);
    let saved = "Time that generating the kept replies again would have taken.";
    page.counter("brisk_response_cache_saved_seconds_total", saved, totals.saved_s);
    let entries = "Replies kept in memory.";
    page.gauge("brisk_response_cache_entries", entries, stats.num_entries);
    page.gauge("brisk_response_cache_bytes", "Bytes that they take.", stats.num_bytes);
    let lookups = "Lookups, those of requests that failed later too.";
    page.counter("brisk_response_cache_lookups_total", lookups, stats.num_lookups);
    let insertions = "Replies that were kept.";
    page.counter("brisk_response_cache_insertions_total", insertions, stats.num_insertions);
    let evictions = "Replies that memory let go, or did not take, for want of room.";
    page.counter("brisk_response_cache_evictions_total", evictions, stats.num_evictions);
    let expired = "Kept replies whose time was over.";
    page.counter("brisk_response_cache_expired_total", expired, stats.num_expired);
    let tiers = [("memory", stats.memory), ("disk", stats.disk), ("redis", stats.redis)];
    let name = "brisk_response_cache_writes_total";
    page.family(name, "counter", "Replies written to a tier behind a request.");
    for (tier, stats) in tiers {
        page.sample(name, &format!("tier=\"{tier}\""), stats.num_writes);
    }
    let name = "brisk_response_cache_dropped_writes_total";
    page.family(
        name,
        "counter",
        "Writes given up: the queue was full, or the tier out of service.",
    );
    for (tier, stats) in tiers {
        page.sample(name, &format!("tier=\"{tier}\""), stats.num_dropped_writes);
    }
    let name = "brisk_response_cache_refused_total";
    page.family(name, "counter", "What a tier gave or took that was not used, by reason.");
    for (tier, stats) in tiers {
        let errors = stats.errors;
        for (reason, value) in [
            ("bad_seal", errors.num_bad_seals),
            ("too_large", errors.num_too_large),
            ("wrong_key", errors.num_wrong_keys),
            ("undecodable", errors.num_undecodable),
            ("timeout", errors.num_timeouts),
            ("failure", errors.num_failures),
        ] {
            page.sample(name, &format!("tier=\"{tier}\",reason=\"{reason}\""), value);
        }
    }
    let name = "brisk_response_cache_breaker_state";
    page.family(name, "gauge", "1 for the state that the Redis tier's breaker is in.");
    for (state, state_name) in [
        (BreakerState::Closed, "closed"),
        (BreakerState::Open, "open"),
        (BreakerState::HalfOpen, "half_open"),
    ] {
        let is_in = u8::from(stats.redis_breaker == Some(state));
        page.sample(name, &format!("tier=\"redis\",state=\"{state_name}\""), is_in);
    }
}

fn gen_ai(page: &mut Page, operations: &[GenAi]) {
    let each = || Operation::ALL.into_iter().zip(operations);
    let label = |operation: Operation| format!("gen_ai_operation_name=\"{}\"", operation.name());
    let name = "gen_ai_server_request_duration_seconds";
    page.family(name, "histogram", "From the request to its last token.");
    for (operation, all) in each() {
        page.histogram(name, &label(operation), &all.duration);
        // The conventions' word for an error without a name of its own; the log line has the code.
        let failed = format!("{},error_type=\"_OTHER\"", label(operation));
        page.histogram(name, &failed, &all.failed_duration);
    }
    let name = "gen_ai_server_time_to_first_token_seconds";
    page.family(name, "histogram", "From the request to its first token.");
    for (operation, all) in each() {
        page.histogram(name, &label(operation), &all.first_token);
    }
    let name = "gen_ai_server_time_per_output_token_seconds";
    page.family(
        name,
        "histogram",
        "Mean time of a reply's tokens after the first, as it was generated.",
    );
    for (operation, all) in each() {
        page.histogram(name, &label(operation), &all.per_token);
    }
    let name = "gen_ai_client_token_usage";
    page.family(name, "histogram", "Tokens of a request and of its reply, kept replies included.");
    for (operation, all) in each() {
        for (kind, histogram) in [("input", &all.input_tokens), ("output", &all.output_tokens)] {
            let labels = format!("{},gen_ai_token_type=\"{kind}\"", label(operation));
            page.histogram(name, &labels, histogram);
        }
    }
}

/// A page of metrics being written.
struct Page {
    text: String,
    /// What stands on every sample.
    labels: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let written = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        written.expect("a string takes any text");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let comma = if labels.is_empty() { "" } else { "," };
        let written = writeln!(self.text, "{name}{{{}{comma}{labels}}} {value}", self.labels);
        written.expect("a string takes any text");
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(&bucket, &format!("{labels}{comma}le=\"{bound}\""), count);
            total = count;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.sample(&format!("{name}_count"), labels, total);
    }
}

/// A label's value as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brisk_gateway::{CacheReport, ReplySummary, ReplyTimings, Tier};

    use super::*;

    fn check(metrics: &Metrics, model: &str, lines: &[&str]) {
        let text = render(metrics, &Sources { model, ..Sources::default() });
        for line in lines {
            assert!(text.lines().any(|other| other == *line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_value_counts_in_its_bucket_and_every_larger_one() {
        let metrics = Metrics::default();
        for seconds in [0.01, 0.0101, 0.2, 99.0] {
            metrics.observe_inter_token(seconds);
        }
        let name = "vllm:inter_token_latency_seconds";
        let model = "model_name=\"a \\\"b\\\"\"";
        let lines = [
            format!("{name}_bucket{{{model},le=\"0.01\"}} 1"),
            format!("{name}_bucket{{{model},le=\"0.025\"}} 2"),
            format!("{name}_bucket{{{model},le=\"0.15\"}} 2"),
            format!("{name}_bucket{{{model},le=\"0.2\"}} 3"),
            format!("{name}_bucket{{{model},le=\"80\"}} 3"),
            format!("{name}_bucket{{{model},le=\"+Inf\"}} 4"),
            format!("{name}_sum{{{model}}} 99.2201"),
            format!("{name}_count{{{model}}} 4"),
        ];
        check(&metrics, "a \"b\"", &lines.each_ref().map(String::as_str));
    }

    #[test]
    fn responses_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.count_response("/v1/models", 200);
        metrics.count_response("/v1/models", 200);
        metrics.count_response("unmatched", 404);
        check(
            &metrics,
            "m",
            &[
                "http_responses_total{model_name=\"m\",route=\"/v1/models\",status=\"200\"} 2",
                "http_responses_total{model_name=\"m\",route=\"unmatched\",status=\"404\"} 1",
            ],
        );
    }

    /// Counts one reply of each cache status, all alike but for who stands for the generation.
    fn one_of_each() -> Metrics {
        let metrics = Metrics::default();
        let timings = ReplyTimings {
            cache_lookup_ms: 0.02,
            tokenize_ms: 1.0,
            queue_ms: 2.0,
            prefill_ms: 300.0,
            decode_ms: 700.0,
            time_to_first_token_ms: 303.0,
        };
        let (num_prompt_tokens, num_completion_tokens) = (100, 50);
        for status in CacheStatus::ALL {
            let is_counted = matches!(status, CacheStatus::Miss | CacheStatus::Bypass);
            let summary = ReplySummary {
                num_prompt_tokens,
                num_completion_tokens,
                is_counted,
                is_turn_kept: None,
                timings,
                ..ReplySummary::default()
            };
            let tier = status.is_hit().then_some(Tier::Redis);
            let saved = Duration::from_millis(if status.is_hit() { 1500 } else { 0 });
            let cache = CacheReport { status, tier, saved, ..CacheReport::default() };
            metrics.observe_reply(Endpoint::Query, &cache, &summary, 1.003);
        }
        metrics.observe_unfinished(Endpoint::Query, true, 2.0);
        metrics.observe_unfinished(Endpoint::Completions, false, 2.0);
        metrics
    }

    #[test]
    fn only_what_was_generated_counts_as_inference() {
        check(
            &one_of_each(),
            "m",
            &[
                "vllm:e2e_request_latency_seconds_count{model_name=\"m\"} 5",
                "vllm:request_prefill_time_seconds_count{model_name=\"m\"} 2",
                "inference_duration_seconds_sum{model_name=\"m\"} 2",
                "tokens_per_second_sum{model_name=\"m\"} 100",
                "brisk_phase_duration_seconds_count{model_name=\"m\",phase=\"cache_lookup\"} 4",
                "brisk_phase_duration_seconds_count{model_name=\"m\",phase=\"tokenize\"} 2",
                "brisk_phase_duration_seconds_sum{model_name=\"m\",phase=\"cache_lookup\"} 0.00008",
                "brisk_phase_duration_seconds_sum{model_name=\"m\",phase=\"queue\"} 0.004",
            ],
        );
    }

    #[test]
    fn replies_are_counted_by_what_the_cache_did() {
        let cache = "brisk_response_cache";
        let lines = [
            "brisk_requests_total{model_name=\"m\",endpoint=\"/api/query\",outcome=\"ok\"} 5",
            "brisk_requests_total{model_name=\"m\",endpoint=\"/api/query\",outcome=\"failed\"} 1",
            "brisk_requests_total{model_name=\"m\",endpoint=\"/v1/completions\",outcome=\"cancelled\"} 1",
            "brisk_replies_total{model_name=\"m\",endpoint=\"/api/query\",cache=\"hit-normalized\"} 1",
            "brisk_reply_duration_seconds_count{model_name=\"m\",cache=\"coalesced\"} 1",
            "brisk_single_flight_joins_total{model_name=\"m\"} 1",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("{cache}_requests_total{{model_name=\"m\",status=\"hit\",tier=\"redis\"}} 1"),
            format!("{cache}_requests_total{{model_name=\"m\",status=\"hit\",tier=\"memory\"}} 0"),
            format!("{cache}_requests_total{{model_name=\"m\",status=\"miss\",tier=\"none\"}} 1"),
            format!("{cache}_saved_seconds_total{{model_name=\"m\"}} 3"),
            format!("{cache}_breaker_state{{model_name=\"m\",tier=\"redis\",state=\"open\"}} 0"),
        ])
        .collect::<Vec<_>>();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        check(&one_of_each(), "m", &lines);
    }

    #[test]
    fn opentelemetrys_names_are_there_in_their_prometheus_form() {
        let labels =
            "gen_ai_provider_name=\"brisk\",gen_ai_request_model=\"m\",gen_ai_response_model=\"m\"";
        let chat = format!("{labels},gen_ai_operation_name=\"chat\"");
        let lines = [
            format!("gen_ai_server_request_duration_seconds_count{{{chat}}} 5"),
            format!("gen_ai_server_request_duration_seconds_bucket{{{chat},le=\"1.28\"}} 5"),
            format!(
                "gen_ai_server_request_duration_seconds_count{{{chat},error_type=\"_OTHER\"}} 1"
            ),
            format!("gen_ai_server_time_to_first_token_seconds_sum{{{chat}}} 1.515"),
            format!("gen_ai_server_time_per_output_token_seconds_bucket{{{chat},le=\"0.025\"}} 2"),
            format!("gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type=\"input\"}} 500"),
            format!("gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type=\"output\"}} 250"),
        ];
        check(&one_of_each(), "m", &lines.each_ref().map(String::as_str));
    }
}
