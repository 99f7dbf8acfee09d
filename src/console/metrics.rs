//! Prometheus metrics: the books, sources, sinks, rules and gauges.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use event::RejectReason;

use super::Shared;
use crate::live::{Cause, Holder, holders};

pub async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || text(&shared) + &alarms(&shared))
        .await
        .unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// A label's value, escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One family of metrics.
struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut String, name: &'a str, kind: &str, help: &str) -> Self {
        let _ = writeln!(out, "# HELP portcullis_{name} {help}\n# TYPE portcullis_{name} {kind}");
        Self { out, name }
    }

    fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Prometheus writes infinity so.
        let value = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
        let _ = writeln!(self.out, "portcullis_{}{labels} {value}", self.name);
    }
}

fn roads(shared: &Shared, out: &mut String) {
    let help = "JSON deliveries by the road their decoding took, since the start.";
    let mut family = Family::new(out, "decoded_by_road_total", "counter", help);
    for (source, roads) in shared.live.roads() {
        for (road, count) in [("scanned", roads.scanned), ("parsed", roads.parsed)] {
            family.value(&[("source", &source), ("road", road)], count as f64);
        }
    }
}

/// What rules and facts cost, find and hold.
fn usage(shared: &Shared, out: &mut String) {
    let (plan, usage) = shared.live.usage();
    let figures: Vec<_> = holders(&plan)
        .zip(usage)
        .map(|(holder, usage)| match holder {
            Holder::Fact(name) => (("fact", name), usage.figures()),
            Holder::Rule(id) => (("rule", id), usage.figures()),
        })
        .collect();
    let families = [
        (
            "looked",
            "looked_total",
            "counter",
            "Events and changes of levels that were looked at since the start.",
        ),
        ("evaluated", "evaluated_total", "counter", "Conditions evaluated since the start."),
        ("detections", "detections_total", "counter", "By the rule that found them."),
        ("incidents", "incidents_total", "counter", "By the rule that opened them."),
        ("suppressed", "suppressed_total", "counter", "Detections held back, by their rule."),
        ("keys", "state_keys", "gauge", "Keys held."),
        ("runs", "state_runs", "gauge", "Runs that wait."),
        ("events", "state_events", "gauge", "Events held in windows, guards and runs."),
        ("state_bytes", "state_bytes", "gauge", "Bytes of keys, runs and events held."),
        ("keys_given_up", "keys_given_up_total", "counter", "Keys given up at a limit."),
        ("runs_given_up", "runs_given_up_total", "counter", "Runs given up at a limit."),
        ("events_given_up", "events_given_up_total", "counter", "Events given up at a limit."),
    ];
    for (figure, name, kind, help) in families {
        let mut family = Family::new(out, name, kind, help);
        for (label, figures) in &figures {
            // A fact finds nothing.
            let found = matches!(figure, "detections" | "incidents" | "suppressed");
            let value = figures.iter().find(|(name, _)| *name == figure).map(|(_, n)| *n);
            if let Some(value) = value.filter(|_| !found || label.0 == "rule") {
                family.value(&[*label], value as f64);
            }
        }
    }
    let help = "Given up because a limit was reached: a rule may be blind for it.";
    let mut family = Family::new(out, "engine_evicted", "counter", help);
    for (what, count) in shared.live.evicted().by_what() {
        family.value(&[("what", what)], count as f64);
    }
}

fn text(shared: &Shared) -> String {
    let mut out = reloads(shared);
    let books = shared.live.books();
    let mut family = Family::new(
        &mut out,
        "deliveries_total",
        "counter",
        "Deliveries by what became of them; in_flight is a level.",
    );
    for (source, books) in &books {
        let outcomes = [
            ("decoded", books.decoded),
            ("ignored", books.ignored),
            ("rejected", books.rejected_total()),
            ("in_flight", books.in_flight),
        ];
        for (outcome, count) in outcomes {
            family.value(&[("source", source), ("outcome", outcome)], count as f64);
        }
    }
    let help = "Deliveries refused, by reason.";
    let mut family = Family::new(&mut out, "rejected_total", "counter", help);
    for (source, books) in &books {
        for reason in RejectReason::ALL {
            let count = books.rejected[reason as usize];
            family.value(&[("source", source), ("reason", reason.as_str())], count as f64);
        }
    }
    roads(shared, &mut out);
    let help = "Events by what became of them; waiting is a level.";
    let mut family = Family::new(&mut out, "events_total", "counter", help);
    for (source, books) in &books {
        let outcomes = [
            ("accepted", books.accepted),
            ("duplicate", books.duplicate),
            ("late", books.late),
            ("quarantined", books.quarantined),
            ("deferred", books.deferred),
            ("waiting", books.waiting),
        ];
        for (outcome, count) in outcomes {
            family.value(&[("source", source), ("outcome", outcome)], count as f64);
        }
    }
    let help = "Events noted beside the books.";
    let mut family = Family::new(&mut out, "events_noted_total", "counter", help);
    for (source, books) in &books {
        for (what, count) in
            [("unknown_device", books.unknown_device), ("retained", books.retained)]
        {
            family.value(&[("source", source), ("what", what)], count as f64);
        }
    }
    let help = "1 while the source is connected.";
    let mut family = Family::new(&mut out, "source_up", "gauge", help);
    for (source, kind, state) in shared.live.sources() {
        let up = f64::from(u8::from(state.connected));
        family.value(&[("source", &source), ("type", kind)], up);
    }
    let sinks = shared.live.sinks();
    let help = "Notifications that wait.";
    let mut family = Family::new(&mut out, "sink_pending", "gauge", help);
    sinks.iter().for_each(|s| family.value(&[("sink", &s.name)], s.pending as f64));
    let help = "Notifications by what became of them.";
    let mut family = Family::new(&mut out, "notifications_total", "counter", help);
    for sink in &sinks {
        for (outcome, count) in [("delivered", sink.delivered), ("dead", sink.dead)] {
            family.value(&[("sink", &sink.name), ("outcome", outcome)], count as f64);
        }
    }
    usage(shared, &mut out);
    let (quantiles, count) = shared.live.visible_quantiles();
    let help =
        "From the newest delivery taken to its incident stored; slack and holds not counted.";
    let mut family = Family::new(&mut out, "visible_seconds", "summary", help);
    quantiles.iter().for_each(|(q, seconds)| family.value(&[("quantile", q)], *seconds));
    let _ = writeln!(out, "portcullis_visible_seconds_count {count}");
    pauses(shared, &mut out);
    for (name, help, value) in shared.live.gauges() {
        Family::new(&mut out, name, "gauge", help).value(&[], value);
    }
    out
}

/// For how long the engine's thread is at one thing.
fn pauses(shared: &Shared, out: &mut String) {
    let name = "engine_pause_seconds";
    let help =
        "What the engine's thread does at a stretch, by what it is: a detection waits for it.";
    Family::new(out, name, "histogram", help);
    for (cause, of) in Cause::ALL.iter().zip(shared.live.pauses()) {
        let (cause, count) = (("cause", cause.as_str()), of.count as f64);
        let mut buckets = Family { out, name: "engine_pause_seconds_bucket" };
        for (bound, within) in of.buckets() {
            buckets.value(&[cause, ("le", bound)], within as f64);
        }
        buckets.value(&[cause, ("le", "+Inf")], count);
        let mut one = |name, value| Family { out, name }.value(&[cause], value);
        one("engine_pause_seconds_sum", of.sum.as_secs_f64());
        one("engine_pause_seconds_count", count);
    }
    let help = "The longest of them since the start.";
    let mut family = Family::new(out, "engine_pause_longest_seconds", "gauge", help);
    for (cause, of) in Cause::ALL.iter().zip(shared.live.pauses()) {
        family.value(&[("cause", cause.as_str())], of.longest.as_secs_f64());
    }
    let help =
        "How often the engine's thread was fetched from a processor where it did not come on.";
    let fetched = shared.live.judge().fetched();
    Family::new(out, "engine_fetched_total", "counter", help).value(&[], fetched as f64);
}

/// How rulebooks took over, and who does not see all since.
fn reloads(shared: &Shared) -> String {
    let mut out = String::new();
    let help = "Attempts to let another configuration take over.";
    let mut family = Family::new(&mut out, "reloads_total", "counter", help);
    for (outcome, count) in shared.reloads.counts() {
        family.value(&[("outcome", outcome)], count as f64);
    }
    let help = "Until when a rule does not know all that it should, seconds since 1970; +Inf cannot be told.";
    let mut family = Family::new(&mut out, "rule_blind_until_seconds", "gauge", help);
    for (rule, until) in shared.live.blind() {
        let known = until != event::EventTime::MAX;
        family.value(&[("rule", &rule)], if known { until.0 as f64 / 1e6 } else { f64::INFINITY });
    }
    out
}

/// Figures of alarm management, over all that the store holds.
fn alarms(shared: &Shared) -> String {
    let (mut text, flood) = (String::new(), shared.live.flood_rule());
    let Ok(figures) = shared.store.alarm_figures(flood.as_deref()) else { return text };
    let out = &mut text;
    let help = "Detections that policies held back.";
    let mut family = Family::new(out, "suppressed_total", "counter", help);
    for (policy, count) in &figures.suppressed {
        family.value(&[("policy", policy)], *count as f64);
    }
    for (name, help, value) in [
        ("alarms_per_10_minutes", "Incidents opened, on average.", figures.per_10_minutes),
        ("alarms_per_day", "Incidents opened, on average.", figures.per_day),
        ("alarms_in_flood_ratio", "Share of the time in flood.", figures.in_flood),
        ("alarms_stale", "Incidents active for too long.", figures.stale as f64),
    ] {
        Family::new(out, name, "gauge", help).value(&[], value);
    }
    let help = "Share of each severity.";
    let mut family = Family::new(out, "alarms_severity_ratio", "gauge", help);
    for (severity, share) in &figures.shares {
        family.value(&[("severity", severity)], *share);
    }
    text
}
