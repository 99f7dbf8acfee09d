//! The ordinary night: people through doors, trucks through gates, cameras that see them, devices
//! that say they are there. Nothing here is an incident, though some of it looks like one.

use serde_json::{Value, json};

use super::site::{
    CONTAINERS, DOORS, Door, LENGTH_MS, LOADING_DOCK, PEOPLE, PLATES, RESERVED, STOLEN, container,
    seal,
};
use super::stage::Stage;

/// A passage through a door is over by then, in milliseconds.
const PASSAGE_MS: i64 = 6_500;

/// Plays the shift.
pub fn play(stage: &mut Stage) {
    people(stage);
    trucks(stage);
    loading(stage);
    cameras(stage);
    analytics(stage);
    devices(stage);
    nuisances(stage);
}

/// Somebody at one direction of a door, by badge.
pub fn badge(door: &Door, dir: &str, person: u64, reason: &str) -> Value {
    let name = door.name;
    json!({
        "door": name, "area": door.area, "access_point": format!("{name}/{dir}"), "dir": dir,
        "credential": format!("C-{person:04}"), "person": format!("P-{person:04}"),
        "reason": reason
    })
}

/// The door itself.
pub fn of_door(door: &Door) -> Value {
    json!({"door": door.name, "area": door.area})
}

/// One person through one door, which stays open so many milliseconds.
pub fn passage(stage: &mut Stage, ms: i64, door: &Door, person: u64, dir: &str, open_ms: i64) {
    let who = badge(door, dir, person, "ok");
    stage.say(ms, "badge", door.name, "AccessGranted", who.clone());
    stage.say(ms + 700, "badge", door.name, "DoorOpened", of_door(door));
    stage.say(ms + 1_600, "badge", door.name, "AccessTaken", who);
    stage.say(ms + 700 + open_ms, "badge", door.name, "DoorClosed", of_door(door));
    if door.counted && dir == "in" {
        count(stage, ms + 3_200, door, 1);
    }
}

/// The camera over a door tells how many came in during the last opening.
pub fn count(stage: &mut Stage, ms: i64, door: &Door, people: u64) {
    let counted = json!({"door": door.name, "area": door.area, "people": people});
    stage.say(ms, "counter", &format!("counter-{}", door.name), "PeopleCounted", counted);
}

/// Everybody keeps to a door of their own and goes in and out by turns: nobody is passed back.
fn people(stage: &mut Stage) {
    let everybody: Vec<u64> = PEOPLE.collect();
    let mut inside = [false; 80];
    let mut free_from = [0_i64; DOORS.len()];
    let mut ms = 500;
    while ms < LENGTH_MS {
        ms += stage.random.between(900, 1_900);
        let person = *stage.random.one_of(&everybody);
        let index = person as usize % DOORS.len();
        let door = &DOORS[index];
        let reserved = RESERVED
            .iter()
            .any(|(name, from, to)| *name == door.name && ms + PASSAGE_MS > *from && ms < *to);
        if reserved || free_from[index] > ms {
            continue;
        }
        free_from[index] = ms + PASSAGE_MS;
        match stage.random.below(36) {
            0 => {
                // Some other card from the purse.
                let card = format!("X-{:05}", stage.random.below(90_000));
                let refused = json!({
                    "door": door.name, "area": door.area, "credential": card,
                    "access_point": format!("{}/in", door.name), "dir": "in",
                    "reason": "unknown_credential"
                });
                stage.say(ms, "badge", door.name, "AccessDenied", refused);
                passage(stage, ms + 1_100, door, person, turn(&mut inside, person), 2_000);
            }
            // A visitor is let out by the button: no identity, no passage of anybody known.
            1 | 2 => {
                stage.say(ms, "badge", door.name, "RequestToExit", of_door(door));
                stage.say(ms + 900, "badge", door.name, "DoorOpened", of_door(door));
                stage.say(ms + 4_000, "badge", door.name, "DoorClosed", of_door(door));
            }
            _ => {
                let open_ms = stage.random.between(2_000, 5_000);
                passage(stage, ms, door, person, turn(&mut inside, person), open_ms);
            }
        }
    }
}

fn turn(inside: &mut [bool], person: u64) -> &'static str {
    let inside = &mut inside[person as usize];
    *inside = !*inside;
    if *inside { "in" } else { "out" }
}

/// A truck at a gate.
pub struct Truck<'a> {
    /// `gate-1` or `gate-2`.
    pub gate: &'a str,
    /// Whether it leaves.
    pub leaves: bool,
    /// Its plate.
    pub plate: &'a str,
    /// The container on it.
    pub container: String,
    /// The seal that the camera reads.
    pub seal: String,
}

/// A truck passes: the camera sees it, plate, container and seal are read, the barrier lets it go.
pub fn truck(stage: &mut Stage, ms: i64, truck: &Truck<'_>) {
    let Truck { gate, leaves, plate, container, seal } = truck;
    let (lane, camera) = (format!("{gate}-lane"), format!("cam-{gate}"));
    let ticket = format!("T-{}-{:05}", gate.trim_start_matches("gate-"), ms / 100);
    stage.frigate(ms - 900, &camera, "truck", gate, Some(plate));
    let driver = format!("D-{:03}", stage.random.below(400));
    let read = json!({
        "area": gate, "plate": plate, "vehicle": plate, "ticket": ticket, "driver": driver
    });
    stage.say(ms, "gate", &lane, "PlateRead", read);
    let read = json!({"area": gate, "container": container, "ticket": ticket});
    stage.say(ms + 3_000, "gate", &lane, "ContainerRead", read.clone());
    let sealed = json!({"area": gate, "container": container, "seal": seal, "ticket": ticket});
    stage.say(ms + 6_000, "gate", &lane, "SealRead", sealed);
    let kind = if *leaves { "GateOut" } else { "GateIn" };
    stage.say(ms + 12_000, "gate", &lane, kind, read);
}

/// Every container passes one gate once.
fn trucks(stage: &mut Stage) {
    let mut numbers: Vec<u64> = (0..CONTAINERS).filter(|n| *n != STOLEN).collect();
    stage.random.shuffle(&mut numbers);
    for (gate, leaves, first) in [("gate-1", false, 6_000), ("gate-2", true, 14_000)] {
        let mut ms = first;
        while ms < LENGTH_MS - 20_000 {
            // Gate 2 is the other story's for half a minute.
            if !(leaves && (64_000..104_000).contains(&ms)) {
                let Some(number) = numbers.pop() else { return };
                let plate = *stage.random.one_of(&PLATES);
                let (container, seal) = (container(number), seal(number));
                truck(stage, ms, &Truck { gate, leaves, plate, container, seal });
            }
            ms += stage.random.between(26_000, 36_000);
        }
    }
}

/// A dock is loaded: its door is unlocked and stands open for minutes, as it should.
fn loading(stage: &mut Stage) {
    let door = &LOADING_DOCK;
    let mode = |mode: &str| json!({"door": door.name, "area": door.area, "mode": mode});
    for (from, to) in [(22_000, 205_000), (290_000, 520_000)] {
        stage.say(from, "badge", door.name, "DoorModeChanged", mode("unlocked"));
        stage.say(from + 4_000, "badge", door.name, "DoorOpened", of_door(door));
        stage.say(to - 6_000, "badge", door.name, "DoorClosed", of_door(door));
        stage.say(to, "badge", door.name, "DoorModeChanged", mode("locked"));
    }
}

/// Trucks, forklifts and people where they belong.
fn cameras(stage: &mut Stage) {
    let views = [
        ("cam-quay-1", "person", "quay"),
        ("cam-quay-1", "truck", "quay"),
        ("cam-dock-1", "forklift", "dock"),
        ("cam-dock-1", "person", "dock"),
        ("cam-dock-2", "person", "dock"),
        ("cam-road-1", "truck", "road"),
        ("cam-road-1", "car", "road"),
    ];
    let mut ms = 1_200;
    while ms < LENGTH_MS - 12_000 {
        let (camera, label, zone) = *stage.random.one_of(&views);
        stage.frigate(ms, camera, label, zone, None);
        ms += stage.random.between(1_300, 2_700);
    }
}

/// Axis cameras over quay and road, and detectors of disarmed rooms, which only report.
fn analytics(stage: &mut Stage) {
    let mut ms = 2_000;
    while ms < LENGTH_MS - 12_000 {
        let serial = *stage.random.one_of(&["ACCC8E000004", "ACCC8E000005"]);
        let class = *stage.random.one_of(&["human", "vehicle"]);
        let open_ms = stage.random.between(1_500, 6_000);
        stage.axis(ms, serial, "ObjectAnalytics/Device1Scenario1", class, open_ms);
        let (room, area) = *stage.random.one_of(&[
            ("PIR-03", "warehouse"),
            ("PIR-05", "office"),
            ("PIR-08", "workshop"),
        ]);
        let moved = json!({"zone": room, "area": area, "panel": "panel-1", "active": true});
        stage.say(ms + 700, "panel", "panel-1", "MotionDetected", moved);
        ms += stage.random.between(4_000, 9_000);
    }
}

fn devices(stage: &mut Stage) {
    let controllers = [
        ("fence", "fence-ctl-1"),
        ("fence", "fence-ctl-2"),
        ("fence", "fence-ctl-3"),
        ("panel", "panel-1"),
        ("gate", "gate-1-lane"),
        ("gate", "gate-2-lane"),
        ("badge", "office-main"),
        ("badge", "office-control-room"),
        ("badge", "warehouse-east"),
        ("badge", "workshop"),
        ("badge", "gatehouse"),
        ("badge", "bonded-store"),
    ];
    for (place, (feed, device)) in controllers.into_iter().enumerate() {
        let mut ms = 1_000 + 2_300 * place as i64;
        while ms < LENGTH_MS {
            stage.say(ms, feed, device, "Heartbeat", json!({}));
            ms += 30_000;
        }
    }
    // The bonded store's contact repeats its state; during the break-in it has other things to say.
    let mut ms = 2_500;
    while ms < LENGTH_MS {
        if !(80_000..170_000).contains(&ms) {
            stage.contact(ms, "bonded-store-door", true);
        }
        ms += 25_000;
    }
}

/// What a good rulebook keeps quiet about.
fn nuisances(stage: &mut Stage) {
    // Wind: one zone of the fence, one light knock.
    let wind = [
        ("fence-ctl-1", "F1", "yard-south"),
        ("fence-ctl-3", "F5", "quay"),
        ("fence-ctl-3", "F6", "quay"),
    ];
    let mut ms = 140_000;
    while ms < LENGTH_MS {
        let (device, zone, area) = *stage.random.one_of(&wind);
        let knock = json!({"zone": zone, "area": area, "level": 1, "code": "vibration"});
        stage.say(ms, "fence", device, "FenceAlarm", knock);
        ms += stage.random.between(70_000, 95_000);
    }
    // A fox at the southern fence: the camera sees a line crossed, the fence feels nothing.
    stage.axis(31_000, "ACCC8E000003", "FenceGuard/Camera1Profile1", "", 900);
    // A lane controller drops out and is back before anybody need care.
    stage.say(380_000, "gate", "gate-1-lane", "LastWill", json!({"area": "gate-1"}));
    stage.say(394_000, "gate", "gate-1-lane", "DeviceOnline", json!({"area": "gate-1"}));
}
