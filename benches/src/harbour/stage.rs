//! The devices of the site: each says things in its own shape.

use std::collections::BTreeMap;

use event::{EventTime, TimeSpan};
use serde_json::{Map, Value, json};

use super::{Message, SITE};

/// splitmix64: all that is random about the site.
pub struct Random(u64);

impl Random {
    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % below
    }

    /// One of a list.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// What has been said so far.
pub struct Stage {
    /// The site's dice.
    pub random: Random,
    start: EventTime,
    messages: Vec<Message>,
    /// The next sequence number of each device.
    sequences: BTreeMap<String, u64>,
    last_ms: i64,
}

impl Stage {
    /// An empty night.
    pub fn new(seed: u64, start: EventTime) -> Self {
        let random = Random(seed ^ 0x4841_5242_4f55_524e);
        // Devices tell time in milliseconds: so does the night.
        let start = EventTime::from_millis(start.millis());
        Self { random, start, messages: Vec::new(), sequences: BTreeMap::new(), last_ms: 0 }
    }

    fn time(&self, ms: i64) -> EventTime {
        self.start.plus(TimeSpan::from_millis(ms))
    }

    fn sequence(&mut self, device: &str) -> u64 {
        let next = self.sequences.entry(device.to_owned()).or_insert(1_000);
        *next += 1;
        *next
    }

    fn publish(&mut self, ms: i64, topic: String, payload: &Value) {
        self.last_ms = self.last_ms.max(ms);
        // Controllers and cameras need 20 to 300 ms to say it.
        let delay = 20 + self.random.below(280) as i64;
        let payload = payload.to_string().into_bytes();
        self.messages.push(Message { at: self.time(ms + delay), topic, payload, retained: false });
    }

    /// One of our controllers says something, canonically.
    pub fn say(&mut self, ms: i64, feed: &str, device: &str, kind: &str, fields: Value) {
        // The sequence is the device's: it grows in the order of what happened there only if the
        // story is told in that order; the identity asks no more than that it does not repeat.
        let id = self.sequence(&format!("{feed}/{device}"));
        let mut event = Map::new();
        event.insert("kind".into(), kind.into());
        event.insert("occurred".into(), self.time(ms).to_string().into());
        event.insert("feed".into(), feed.into());
        event.insert("device".into(), device.into());
        event.insert("id".into(), id.into());
        event.insert("site".into(), SITE.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.publish(ms, format!("site/{SITE}/{feed}/{device}"), &Value::Object(event));
    }

    /// Frigate says that an object has entered a zone.
    pub fn frigate(&mut self, ms: i64, camera: &str, label: &str, track: &str, zones: &[&str]) {
        let entered = &zones[..zones.len().saturating_sub(1)];
        let seconds = self.time(ms).0 as f64 / 1e6;
        let score = 0.7 + self.random.below(29) as f64 / 100.0;
        let state = |entered: &[&str], time: f64| {
            json!({
                "id": track, "camera": camera, "frame_time": time, "label": label,
                "sub_label": null, "top_score": score, "score": score, "false_positive": false,
                "start_time": time, "end_time": null, "box": [424, 500, 536, 712],
                "current_zones": entered, "entered_zones": entered, "has_snapshot": true,
                "has_clip": true, "active": true, "stationary": false
            })
        };
        let update = json!({
            "type": if entered.is_empty() { "new" } else { "update" },
            "before": state(entered, seconds - 0.2),
            "after": state(zones, seconds),
        });
        self.publish(ms, "frigate/events".into(), &update);
    }

    /// An Axis camera's analytics says that a scenario has become active, or no longer is.
    pub fn axis(&mut self, ms: i64, serial: &str, profile: &str, active: bool) {
        let topic = format!("axis/{serial}/event/tnsaxis:CameraApplicationPlatform/FenceGuard/{profile}");
        let message = json!({
            "timestamp": self.time(ms).millis(),
            "topic": format!("tnsaxis:CameraApplicationPlatform/FenceGuard/{profile}"),
            "message": {"source": {}, "key": {}, "data": {"active": if active { "1" } else { "0" }}}
        });
        self.publish(ms, topic, &message);
    }

    /// A Zigbee door contact reports; `true` means closed.
    pub fn contact(&mut self, ms: i64, name: &str, closed: bool) {
        let quality = 100 + self.random.below(80);
        let at = self.time(ms).to_string();
        let report = json!({"contact": closed, "last_seen": at, "linkquality": quality, "battery": 87});
        self.publish(ms, format!("zigbee2mqtt/{name}"), &report);
    }

    /// The night in the order it is published, and time moved past its end.
    pub fn finish(mut self) -> Vec<Message> {
        self.messages.sort_by(|a, b| (a.at, &a.topic).cmp(&(b.at, &b.topic)));
        let end = self.time(self.last_ms + 2 * 3_600_000).to_string();
        let clock = json!({"kind": "Advance", "occurred": end, "id": "end", "site": SITE});
        self.messages.push(Message {
            at: self.time(self.last_ms + 1_000),
            topic: format!("site/{SITE}/clock"),
            payload: clock.to_string().into_bytes(),
            retained: false,
        });
        self.messages
    }
}
