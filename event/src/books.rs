//! INV-BOOKS: what came in and what became of it, in two currencies for each source.

use crate::reject::{REASONS, RejectReason};

/// The books of one source. They balance at any moment: see [`SourceBooks::imbalance`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceBooks {
    /// Messages, lines, rows, batch elements: the smallest thing that can be refused alone.
    pub deliveries: u64,
    /// Deliveries that became events (none, one or several).
    pub decoded: u64,
    /// Deliveries that the mapping says to skip.
    pub ignored: u64,
    /// Deliveries refused, by reason.
    pub rejected: [u64; REASONS],
    /// Deliveries logged and not yet decoded.
    pub in_flight: u64,
    /// Events made by decoding.
    pub events: u64,
    /// Events released to the rules.
    pub accepted: u64,
    /// Events seen before.
    pub duplicate: u64,
    /// Events later than the slack.
    pub late: u64,
    /// Events of a device whose clock is off: kept, judged by recorded time.
    pub quarantined: u64,
    /// Events put off by shedding.
    pub deferred: u64,
    /// Events in the reorder buffer.
    pub waiting: u64,
    /// Noted, beside the books: events of devices that the site model does not know.
    pub unknown_device: u64,
    /// Noted, beside the books: retained messages (state only).
    pub retained: u64,
}

impl SourceBooks {
    /// Counts a refusal.
    pub fn reject(&mut self, reason: RejectReason) {
        self.rejected[reason as usize] += 1;
    }

    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.decoded += other.decoded;
        self.ignored += other.ignored;
        for (sum, count) in self.rejected.iter_mut().zip(&other.rejected) {
            *sum += count;
        }
        self.in_flight += other.in_flight;
        self.events += other.events;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.quarantined += other.quarantined;
        self.deferred += other.deferred;
        self.waiting += other.waiting;
        self.unknown_device += other.unknown_device;
        self.retained += other.retained;
    }

    /// All refusals.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// What does not add up: (deliveries, events), both 0 when the books balance.
    #[must_use]
    pub fn imbalance(&self) -> (i64, i64) {
        let deliveries = self.decoded + self.ignored + self.rejected_total() + self.in_flight;
        let events = self.accepted
            + self.duplicate
            + self.late
            + self.quarantined
            + self.deferred
            + self.waiting;
        (self.deliveries as i64 - deliveries as i64, self.events as i64 - events as i64)
    }

    /// Every figure with its name in metrics and JSON, rejects by reason behind `rejected_`.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 13] {
        [
            ("deliveries", self.deliveries),
            ("decoded", self.decoded),
            ("ignored", self.ignored),
            ("in_flight", self.in_flight),
            ("events", self.events),
            ("accepted", self.accepted),
            ("duplicate", self.duplicate),
            ("late", self.late),
            ("quarantined", self.quarantined),
            ("deferred", self.deferred),
            ("waiting", self.waiting),
            ("unknown_device", self.unknown_device),
            ("retained", self.retained),
        ]
    }
}

impl serde::Serialize for SourceBooks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.figures() {
            map.serialize_entry(name, &value)?;
        }
        let by_reason: std::collections::BTreeMap<_, _> = RejectReason::ALL
            .iter()
            .map(|r| (r.as_str(), self.rejected[*r as usize]))
            .filter(|(_, n)| *n > 0)
            .collect();
        map.serialize_entry("rejected", &by_reason)?;
        map.end()
    }
}
