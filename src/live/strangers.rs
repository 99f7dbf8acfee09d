//! Devices that speak and that the site model does not know: the engine's thread notes them, the
//! console shows them to whoever sets the site up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;
use event::{EventTime, Interner, SourceId, Symbol};
use serde_json::{Value, json};

/// Devices kept; what comes beyond is counted.
const STRANGERS_MAX: usize = 10_000;

/// What is known of one. The engine's thread alone writes it.
struct Stranger {
    events: AtomicU64,
    first: AtomicI64,
    last: AtomicI64,
}

/// By source and device, since the start.
#[derive(Default)]
pub struct Strangers {
    seen: DashMap<(String, String), Arc<Stranger>>,
    beyond: AtomicU64,
}

/// The engine's own way to those that it has noted: one that is known costs neither an allocation nor a lock
/// (INV-HOT), however many there are.
#[derive(Default)]
pub struct Noted(HashMap<(SourceId, Symbol), Arc<Stranger>>);

impl Noted {
    /// Notes an event of an unknown device; `name` gives its source's id and its own, when it is new.
    pub fn note<'a>(
        &mut self,
        strangers: &Strangers,
        of: (SourceId, Symbol),
        at: EventTime,
        name: impl FnOnce() -> (&'a str, &'a str),
    ) {
        let full = self.0.len() >= STRANGERS_MAX;
        let Some(stranger) = self.0.get(&of) else {
            if full {
                strangers.beyond.fetch_add(1, Ordering::Relaxed);
            } else {
                self.0.insert(of, strangers.begin(name(), at));
            }
            return;
        };
        stranger.events.fetch_add(1, Ordering::Relaxed);
        stranger.first.fetch_min(at.0, Ordering::Relaxed);
        stranger.last.fetch_max(at.0, Ordering::Relaxed);
    }

    /// Sources have other numbers from now on, those of their places here.
    pub fn renumber<'a>(
        &mut self,
        strangers: &Strangers,
        sources: impl Iterator<Item = &'a str>,
        interner: &Interner,
    ) {
        self.0.clear();
        let numbers: HashMap<_, _> = sources.zip(0..).collect();
        for one in &strangers.seen {
            let (source, device) = one.key();
            let number = numbers.get(source.as_str());
            if let (Some(number), Some(device)) = (number, interner.intern(device)) {
                self.0.insert((SourceId(*number), device), one.value().clone());
            }
        }
    }
}

impl Strangers {
    /// The first event of a device.
    fn begin(&self, (source, device): (&str, &str), at: EventTime) -> Arc<Stranger> {
        let of = Stranger { events: 1.into(), first: at.0.into(), last: at.0.into() };
        let of = Arc::new(of);
        self.seen.insert((source.to_owned(), device.to_owned()), of.clone());
        of
    }

    /// The list, by source and device, and how many events of further devices came.
    pub fn list(&self) -> Value {
        let time = |time: &AtomicI64| EventTime(time.load(Ordering::Relaxed));
        let mut items: Vec<_> = self
            .seen
            .iter()
            .map(|one| {
                let ((source, device), of) = (one.key(), one.value());
                let line = json!({
                    "source": source, "device": device, "events": of.events.load(Ordering::Relaxed),
                    "first": time(&of.first), "last": time(&of.last),
                });
                (one.key().clone(), line)
            })
            .collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let items: Vec<_> = items.into_iter().map(|(_, line)| line).collect();
        json!({"items": items, "beyond": self.beyond.load(Ordering::Relaxed)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counting::watch;

    const SOURCES: [&str; 2] = ["gate", "hall"];

    #[test]
    fn who_is_known_is_counted_without_an_allocation() {
        let (strangers, mut noted) = (Strangers::default(), Noted::default());
        let interner = Interner::shared();
        let devices: Vec<_> = (0..STRANGERS_MAX + 5).map(|n| format!("D{n}")).collect();
        let symbols: Vec<_> = devices.iter().filter_map(|name| interner.intern(name)).collect();
        let all = |noted: &mut Noted, source: usize, at| {
            for (symbol, device) in symbols.iter().zip(&devices) {
                let of = (SourceId(source as u16), *symbol);
                noted.note(&strangers, of, EventTime(at), || (SOURCES[source], device.as_str()));
            }
        };
        all(&mut noted, 0, 7);
        assert_eq!(watch(|| all(&mut noted, 0, 3)), 0, "of those that are known");
        assert_eq!(watch(|| all(&mut noted, 1, 9)), 0, "of those beyond them");
        // The sources change places: who was known is, under the other number.
        noted.renumber(&strangers, ["hall", "gate"].into_iter(), &interner);
        let of = (SourceId(1), symbols[0]);
        noted.note(&strangers, of, EventTime(11), || panic!("it is known"));
        let list = strangers.list();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(STRANGERS_MAX));
        assert_eq!(list["beyond"].as_u64(), Some(5 + 5 + devices.len() as u64));
        let first = json!({
            "source": "gate", "device": "D0", "events": 3,
            "first": EventTime(3), "last": EventTime(11),
        });
        assert_eq!(list["items"][0], first);
    }

    #[test]
    fn a_source_that_is_gone_keeps_its_place() {
        let (strangers, mut noted) = (Strangers::default(), Noted::default());
        let interner = Interner::shared();
        let device = interner.intern("D").unwrap_or_default();
        noted.note(&strangers, (SourceId(0), device), EventTime(1), || ("gate", "D"));
        noted.renumber(&strangers, ["hall"].into_iter(), &interner);
        noted.note(&strangers, (SourceId(0), device), EventTime(2), || ("hall", "D"));
        let list = strangers.list();
        let of =
            |n: usize| (list["items"][n]["source"].as_str(), list["items"][n]["events"].as_u64());
        assert_eq!([of(0), of(1)], [(Some("gate"), Some(1)), (Some("hall"), Some(1))]);
    }
}
