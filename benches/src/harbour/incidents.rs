//! What is not ordinary about the night: two small matters at once, the fence and the forged seal
//! in the second minute, and a few small matters before morning.

use serde_json::{Value, json};

use super::shift::{Truck, badge, count, of_door, passage, truck};
use super::site::{BONDED_STORE, DOORS, Door, STOLEN, container};
use super::stage::Stage;

/// The one whose badge was cloned: in the workshop all the while.
const CLONED: u64 = 11;
/// The holders of badges that were revoked.
const REVOKED: [u64; 2] = [13, 17];
/// The guard on patrol.
const GUARD: u64 = 10;

/// Plays the incidents.
pub fn play(stage: &mut Stage) {
    early(stage);
    over_the_fence(stage);
    bonded_store(stage);
    forged_seal(stage);
    patrol(stage);
    late(stage);
}

fn door(name: &str) -> Door {
    DOORS.into_iter().find(|d| d.name == name).unwrap_or(BONDED_STORE)
}

/// Somebody tries a badge that was revoked yesterday; a dock door is wedged open.
fn early(stage: &mut Stage) {
    let office = door("office-main");
    for ms in [4_200, 7_100] {
        let tried = badge(&office, "in", REVOKED[0], "revoked");
        stage.say(ms, "badge", office.name, "AccessDenied", tried);
    }
    passage(stage, 1_500, &door("warehouse-dock-2"), 15, "in", 42_000);
}

fn knock(zone: &str, level: u8) -> Value {
    json!({"zone": zone, "area": "yard-north", "level": level, "code": "climb"})
}

/// The fence shakes at F3 and F4, the cameras see somebody come over, the panel feels them in the
/// yard.
fn over_the_fence(stage: &mut Stage) {
    for (ms, zone, level) in [(62_000, "F3", 2), (62_900, "F4", 2), (63_700, "F3", 3)] {
        stage.say(ms, "fence", "fence-ctl-2", "FenceAlarm", knock(zone, level));
    }
    stage.frigate(64_400, "cam-fence-3", "person", "fence-f3", None);
    stage.axis(65_000, "ACCC8E000001", "FenceGuard/Camera1Profile1", "", 4_000);
    stage.frigate(69_800, "cam-yard-1", "person", "yard", None);
    let pir = json!({"zone": "PIR-14", "area": "yard-north", "code": "131", "panel": "panel-1"});
    stage.say(74_300, "panel", "panel-1", "AlarmRaised", pir.clone());
    stage.say(118_000, "panel", "panel-1", "AlarmCleared", pir);
}

/// At the bonded store: a clone of a badge whose owner has just gone through another door, then a
/// revoked one, then a crowbar.
fn bonded_store(stage: &mut Stage) {
    let store = &BONDED_STORE;
    passage(stage, 60_500, &door("workshop"), CLONED, "in", 2_400);
    stage.axis(79_000, "ACCC8E000002", "LoiteringGuard/Camera1Profile1", "", 22_000);
    let clone = badge(store, "in", CLONED, "no_access_rights");
    stage.say(81_000, "badge", store.name, "AccessDenied", clone);
    for ms in [84_600, 86_900] {
        let tried = badge(store, "in", REVOKED[1], "revoked");
        stage.say(ms, "badge", store.name, "AccessDenied", tried);
    }
    stage.say(90_100, "badge", store.name, "DoorForcedOpen", of_door(store));
    stage.contact(90_400, "bonded-store-door", false);
    stage.frigate(97_000, "cam-yard-1", "person", "yard", None);
    stage.say(150_000, "badge", store.name, "DoorClosed", of_door(store));
    stage.contact(150_300, "bonded-store-door", true);
}

/// Meanwhile a container leaves through gate 2 with a seal that is not its own.
fn forged_seal(stage: &mut Stage) {
    let seal = format!("NH99{:04}", stage.random.below(10_000));
    let (gate, plate) = ("gate-2", "ZK 11904");
    let load = Truck { gate, leaves: true, plate, container: container(STOLEN), seal };
    truck(stage, 84_000, &load);
}

/// The guard looks at the yard and at the store: a person in a closed zone who belongs there.
fn patrol(stage: &mut Stage) {
    stage.frigate(178_000, "cam-yard-1", "person", "yard", None);
    passage(stage, 190_000, &BONDED_STORE, GUARD, "in", 3_000);
    passage(stage, 204_000, &BONDED_STORE, GUARD, "out", 3_000);
}

/// Small matters: two through one grant, a badge handed back, a camera turned away.
fn late(stage: &mut Stage) {
    let control = door("office-control-room");
    let person = 12;
    let who = badge(&control, "in", person, "ok");
    stage.say(252_000, "badge", control.name, "AccessGranted", who.clone());
    stage.say(252_700, "badge", control.name, "DoorOpened", of_door(&control));
    stage.say(253_600, "badge", control.name, "AccessTaken", who);
    count(stage, 256_100, &control, 2);
    stage.say(257_500, "badge", control.name, "DoorClosed", of_door(&control));
    let workshop = door("workshop");
    passage(stage, 150_000, &workshop, 14, "in", 2_500);
    passage(stage, 318_000, &workshop, 14, "in", 2_500);
    let turned = json!({"area": "quay", "camera": "cam-quay-1", "code": "scene_change"});
    stage.say(430_000, "camera", "cam-quay-1", "Tamper", turned);
}
