//! What one run has shown, as it stands in the JSON.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::machine::{Disk, Machine, Noise};

/// Of so many values, up to an hour in microseconds (or its number of anything), to three digits.
pub fn micros() -> Histogram<u64> {
    match Histogram::new_with_max(3_600_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

/// The places of the percentile plot.
const PLOTTED: [f64; 16] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999,
    0.99999, 1.0,
];

/// Latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
    /// Quantile and value.
    pub curve: Vec<(f64, u64)>,
}

impl From<&Histogram<u64>> for Latency {
    fn from(all: &Histogram<u64>) -> Self {
        let at = |q: f64| all.value_at_quantile(q);
        Self {
            count: all.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: all.max(),
            curve: PLOTTED.iter().map(|q| (*q, at(*q))).collect(),
        }
    }
}

/// What a rule's incidents took.
#[derive(Clone, Debug, Serialize)]
pub struct OfRule {
    pub incidents: u64,
    pub p50: u64,
    pub p99: u64,
}

/// What went in, and what became of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Books {
    /// Deliveries that were sent.
    pub sent: u64,
    /// Deliveries that the program accounts for.
    pub accounted: u64,
    /// Incidents that `replay` finds in the same bytes.
    pub incidents_expected: u64,
    /// Incidents in the store.
    pub incidents_found: u64,
    /// Expected and not found, found and not expected.
    pub missing: u64,
    pub further: u64,
    /// Events that were late or not accepted: none, since the traffic is in order.
    pub not_accepted: u64,
    /// What does not balance; empty when all does.
    pub faults: Vec<String>,
}

/// The program's state at a moment of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the first event was due.
    pub at: f64,
    /// Events due, and accounted for.
    pub due: u64,
    pub accounted: u64,
    /// CPU seconds so far, and memory in bytes.
    pub cpu: f64,
    pub memory: u64,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub rate: f64,
    pub seconds: f64,
    pub events: u64,
    /// Net of slack and holds, from when the event was due that lets it be known.
    pub detection: Latency,
    pub visible: Latency,
    pub by_rule: BTreeMap<String, OfRule>,
    /// Incidents that only the end of the traffic has let be known: not timed.
    pub untimed: u64,
    /// How late we sent, in microseconds: part of the latencies.
    pub sent_late: Latency,
    /// Seconds that it was behind at the end: from the last event's time to its account, or from when
    /// the last incidents could be known until they were visible, whichever was more.
    pub behind: f64,
    /// Whether the program kept up.
    pub kept_up: bool,
    /// CPU of the program: nanoseconds an event, and cores.
    pub cpu_ns_per_event: f64,
    pub cores_used: f64,
    pub memory_max: u64,
    pub books: Books,
    pub noise: Noise,
    pub moments: Vec<Moment>,
    /// Second of the run, and visible latency in microseconds, of some of the incidents.
    pub sample: Vec<(f64, u64)>,
}

/// One step of the search for the greatest rate.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub rate: f64,
    pub kept_up: bool,
    pub behind: f64,
    pub visible_p50: u64,
    pub visible_p99: u64,
    pub cores_used: f64,
    pub cpu_ns_per_event: f64,
}

impl From<&Figures> for Step {
    fn from(run: &Figures) -> Self {
        Self {
            rate: run.rate,
            kept_up: run.kept_up,
            behind: run.behind,
            visible_p50: run.visible.p50,
            visible_p99: run.visible.p99,
            cores_used: run.cores_used,
            cpu_ns_per_event: run.cpu_ns_per_event,
        }
    }
}

/// All that the command tells.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pub version: &'static str,
    pub source: &'static str,
    pub configuration: String,
    pub seed: u64,
    pub at: String,
    pub machine: Machine,
    pub disk: Disk,
    /// The greatest rate that was kept up with, where it was looked for.
    pub throughput: Option<f64>,
    /// No greater one was tried.
    pub throughput_at_least: bool,
    pub steps: Vec<Step>,
    pub run: Figures,
    pub warnings: Vec<String>,
}
