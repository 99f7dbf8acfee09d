//! Devices that speak and that the site model does not know: the engine's thread notes them, the
//! console shows them to whoever sets the site up.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use event::EventTime;
use serde_json::{Value, json};

/// Devices kept; what comes beyond is counted.
const STRANGERS_MAX: usize = 10_000;

/// What is known of one.
struct Stranger {
    events: u64,
    first: EventTime,
    last: EventTime,
}

/// By source and device, since the start.
#[derive(Default)]
pub struct Strangers {
    seen: DashMap<(String, String), Stranger>,
    beyond: AtomicU64,
}

impl Strangers {
    /// Notes an event of an unknown device.
    pub fn note(&self, source: &str, device: &str, at: EventTime) {
        let key = (source.to_owned(), device.to_owned());
        if self.seen.len() >= STRANGERS_MAX && !self.seen.contains_key(&key) {
            self.beyond.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut stranger =
            self.seen.entry(key).or_insert(Stranger { events: 0, first: at, last: at });
        stranger.events += 1;
        stranger.first = stranger.first.min(at);
        stranger.last = stranger.last.max(at);
    }

    /// The list, by source and device, and how many events of further devices came.
    pub fn list(&self) -> Value {
        let mut items: Vec<_> = self
            .seen
            .iter()
            .map(|one| {
                let ((source, device), of) = (one.key(), one.value());
                let line = json!({
                    "source": source, "device": device, "events": of.events,
                    "first": of.first, "last": of.last,
                });
                (one.key().clone(), line)
            })
            .collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let items: Vec<_> = items.into_iter().map(|(_, line)| line).collect();
        json!({"items": items, "beyond": self.beyond.load(Ordering::Relaxed)})
    }
}
