//! Prometheus metrics: the books, sources, sinks, rules and gauges.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use event::RejectReason;

use super::Shared;

pub async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || text(&shared)).await.unwrap_or_default();
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

fn text(shared: &Shared) -> String {
    let mut out = String::new();
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
    let rules = shared.live.rules();
    for (name, pick) in [("detections_total", 1), ("incidents_total", 2)] {
        let help = "By the rule that found or opened them.";
        let mut family = Family::new(&mut out, name, "counter", help);
        for (rule, detections, incidents) in &rules {
            let count = if pick == 1 { *detections } else { *incidents };
            family.value(&[("rule", rule)], count as f64);
        }
    }
    let (quantiles, count) = shared.live.visible_quantiles();
    let help =
        "From the newest delivery taken to its incident stored; slack and holds not counted.";
    let mut family = Family::new(&mut out, "visible_seconds", "summary", help);
    quantiles.iter().for_each(|(q, seconds)| family.value(&[("quantile", q)], *seconds));
    let _ = writeln!(out, "portcullis_visible_seconds_count {count}");
    for (name, help, value) in shared.live.gauges() {
        Family::new(&mut out, name, "gauge", help).value(&[], value);
    }
    out
}
