//! Harbour North: a container terminal with a perimeter fence, two truck gates, a warehouse with
//! docks, an office, a bonded store, cameras and an alarm panel. A night shift of it, by a seed.
//!
//! Ten minutes of ordinary traffic; in the second minute somebody comes over the fence at F3 and
//! breaks into the bonded store while a forged seal leaves through gate 2. What the devices say
//! goes out as they say it: canonical JSON from our own controllers, Frigate's and Axis's shapes
//! from the cameras, Zigbee2MQTT's from a door contact. Some of it is said twice, as MQTT does.

mod incidents;
mod shift;
mod site;
mod stage;

use event::EventTime;

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it is published, in site time.
    pub at: EventTime,
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it.
    pub retained: bool,
}

/// The site's name in every event.
pub const SITE: &str = "harbour-north";

/// The whole night's messages, in the order they are published. The last one moves time two hours
/// on, past every deadline. The same seed and start give the same bytes.
#[must_use]
pub fn story(seed: u64, start: EventTime) -> Vec<Message> {
    let mut stage = stage::Stage::new(seed, start);
    shift::play(&mut stage);
    incidents::play(&mut stage);
    stage.finish()
}
