//! The devices of the site: each says things in its own shape.

use std::collections::BTreeMap;

use crate::random::Random;
use event::{EventTime, TimeSpan};
use serde_json::{Map, Value, json};

use super::{Message, SITE};

/// One message in so many is delivered twice: MQTT's "at least once".
const REPEATED_ONE_IN: u64 = 90;

/// Something said, before it is numbered and published.
struct Said {
    ms: i64,
    topic: String,
    payload: Map<String, Value>,
    /// Whether its device numbers what it says.
    numbered: bool,
    retained: bool,
}

/// What has been said so far.
pub struct Stage {
    /// The site's dice.
    pub random: Random,
    start: EventTime,
    said: Vec<Said>,
}

impl Stage {
    /// An empty night.
    pub fn new(seed: u64, start: EventTime) -> Self {
        // Devices tell time in milliseconds: so does the night.
        let start = EventTime::from_millis(start.millis());
        Self { random: Random::new(seed ^ 0x4841_5242_4f55_524e), start, said: Vec::new() }
    }

    fn time(&self, ms: i64) -> EventTime {
        self.start.plus(TimeSpan::from_millis(ms))
    }

    fn keep(&mut self, ms: i64, topic: String, payload: Value, numbered: bool, retained: bool) {
        let Value::Object(payload) = payload else { return };
        self.said.push(Said { ms, topic, payload, numbered, retained });
    }

    /// One of our controllers says something, canonically.
    pub fn say(&mut self, ms: i64, feed: &str, device: &str, kind: &str, fields: Value) {
        let mut event = json!({
            "kind": kind, "occurred": self.time(ms).to_string(), "feed": feed, "device": device,
            "site": SITE
        });
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        self.keep(ms, format!("site/{SITE}/{feed}"), event, true, false);
    }

    /// Frigate follows an object that enters a zone after a moment, and tells its life: new, in the
    /// zone, moving about, gone. `plate` where it read one.
    pub fn frigate(&mut self, ms: i64, camera: &str, label: &str, zone: &str, plate: Option<&str>) {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let suffix: String =
            (0..6).map(|_| char::from(*self.random.one_of(letters.as_slice()))).collect();
        let seen = self.seconds(ms - 600);
        let track = format!("{seen:.6}-{suffix}");
        let score = 0.7 + self.random.below(29) as f64 / 100.0;
        let state = |zones: &[&str], time: f64, end: Option<f64>| {
            json!({
                "id": track, "camera": camera, "frame_time": time, "label": label,
                "sub_label": null, "top_score": score, "score": score, "false_positive": false,
                "start_time": seen, "end_time": end, "box": [424, 500, 536, 712],
                "current_zones": if end.is_some() { &[] } else { zones }, "entered_zones": zones,
                "has_snapshot": true, "has_clip": true, "active": true, "stationary": false,
                "recognized_license_plate": plate
            })
        };
        let entered = self.seconds(ms);
        let mut updates = vec![
            (ms - 600, "new", state(&[], seen, None), state(&[], seen, None)),
            (ms, "update", state(&[], seen, None), state(&[zone], entered, None)),
        ];
        let (mut last, mut before) = (ms, entered);
        for _ in 0..1 + self.random.below(3) {
            last += self.random.between(700, 2_500);
            let time = self.seconds(last);
            let state = (state(&[zone], before, None), state(&[zone], time, None));
            updates.push((last, "update", state.0, state.1));
            before = time;
        }
        let end = self.seconds(last + 3_000);
        let state = (state(&[zone], before, None), state(&[zone], before, Some(end)));
        updates.push((last + 3_000, "end", state.0, state.1));
        for (ms, kind, before, after) in updates {
            let update = json!({"type": kind, "before": before, "after": after});
            self.keep(ms, "frigate/events".into(), update, false, false);
        }
    }

    fn seconds(&self, ms: i64) -> f64 {
        self.time(ms).0 as f64 / 1e6
    }

    /// A scenario of an Axis camera's analytics becomes active, and ends `for_ms` later.
    /// `scenario` is application and profile: `FenceGuard/Camera1Profile1`.
    pub fn axis(&mut self, ms: i64, serial: &str, scenario: &str, class: &str, for_ms: i64) {
        for (ms, active) in [(ms, "1"), (ms + for_ms, "0")] {
            let topic =
                format!("axis/{serial}/event/tns:axis/CameraApplicationPlatform/{scenario}");
            let notice = json!({
                "timestamp": self.time(ms).millis(),
                "topic": format!("onvif:CameraApplicationPlatform/axis:{scenario}"),
                "message": {"source": {}, "key": {}, "data": {"active": active, "classTypes": class}}
            });
            self.keep(ms, topic, notice, false, false);
        }
    }

    /// A Zigbee door contact reports; `true` means closed. The gateway retains its last word.
    pub fn contact(&mut self, ms: i64, name: &str, closed: bool) {
        let quality = 100 + self.random.below(80);
        let report = json!({
            "contact": closed, "last_seen": self.time(ms).to_string(), "linkquality": quality,
            "battery": 87, "voltage": 2_955
        });
        self.keep(ms, format!("zigbee2mqtt/{name}"), report, false, true);
    }

    /// The night in the order it is published, and time moved past its end.
    pub fn finish(mut self) -> Vec<Message> {
        let start = self.start;
        let mut said = std::mem::take(&mut self.said);
        said.sort_by_key(|s| s.ms);
        let mut sequences: BTreeMap<String, u64> = BTreeMap::new();
        let mut messages = Vec::with_capacity(said.len() + said.len() / 50);
        let mut last = 0;
        for mut one in said {
            if one.numbered {
                // A device numbers what it says in the order that it happened.
                let device = one.payload["device"].as_str().unwrap_or_default().to_owned();
                let next = sequences.entry(device).or_insert(1_000);
                *next += 1;
                one.payload.insert("id".into(), (*next).into());
            }
            last = last.max(one.ms);
            // Controllers and cameras need 20 to 300 ms to say it.
            let at = one.ms + self.random.between(20, 300);
            let payload = Value::Object(one.payload).to_string().into_bytes();
            let publish = |at| Message {
                at: start.plus(TimeSpan::from_millis(at)),
                topic: one.topic.clone(),
                payload: payload.clone(),
                retained: one.retained,
            };
            messages.push(publish(at));
            if self.random.below(REPEATED_ONE_IN) == 0 {
                messages.push(publish(at + self.random.between(50, 900)));
            }
        }
        messages.sort_by_key(|m| m.at);
        // Past what the night left open, and not past the next heartbeat that devices owe.
        let end = start.plus(TimeSpan::from_millis(last + 50_000)).to_string();
        let clock = json!({"kind": "Advance", "occurred": end, "id": "end", "site": SITE});
        messages.push(Message {
            at: start.plus(TimeSpan::from_millis(last + 2_000)),
            topic: format!("site/{SITE}/clock"),
            payload: clock.to_string().into_bytes(),
            retained: false,
        });
        messages
    }
}
