//! What happens at Harbour North.

use serde_json::json;

use super::stage::Stage;

/// Length of the night, in milliseconds.
const LENGTH: i64 = 600_000;

/// A badge door: its reader and contact are one controller.
struct Door {
    name: &'static str,
    area: &'static str,
}

const DOORS: [Door; 7] = [
    Door { name: "office-main", area: "office" },
    Door { name: "office-control-room", area: "office" },
    Door { name: "warehouse-east", area: "warehouse" },
    Door { name: "warehouse-dock-1", area: "warehouse" },
    Door { name: "warehouse-dock-3", area: "warehouse" },
    Door { name: "workshop", area: "workshop" },
    Door { name: "gatehouse", area: "gate" },
];

/// Containers on the books, with the seals they left with.
const CONTAINERS: [(&str, &str); 8] = [
    ("CSQU3054383", "H-771201"),
    ("MWCU6059784", "H-771202"),
    ("CBHU3202732", "H-771203"),
    ("MSKU2666542", "H-771204"),
    ("TGHU7599330", "H-771205"),
    ("HLXU6407841", "H-771206"),
    ("TEMU3021488", "H-771207"),
    ("OOLU1548378", "H-771208"),
];

/// The container whose seal is forged.
const STOLEN: &str = "MSKU2666542";

const PLATES: [&str; 6] = ["EK 38412", "DN 90217", "BT 55120", "EV 71803", "SU 20446", "PR 63377"];

/// The ordinary night: people through doors, trucks through gates, cameras that see them.
pub fn shift(stage: &mut Stage) {
    people(stage);
    trucks(stage);
    cameras(stage);
    devices(stage);
    // An early small matter: somebody tries a badge that was revoked yesterday …
    let tried = json!({
        "door": "office-main", "area": "office", "credential": "C-0113", "person": "P-0113",
        "reason": "revoked"
    });
    stage.say(4_200, "badge", "office-main", "AccessDenied", tried);
    // … and a dock door is wedged open.
    passage(stage, 1_500, "warehouse-dock-2", "warehouse", 5, "in", 38_000);
}

/// One person through one door.
fn passage(
    stage: &mut Stage,
    ms: i64,
    door: &str,
    area: &str,
    person: u64,
    dir: &str,
    open_for: i64,
) {
    let who = json!({
        "door": door, "area": area, "dir": dir, "reason": "ok",
        "credential": format!("C-{person:04}"), "person": format!("P-{person:04}"),
    });
    let what = json!({"door": door, "area": area});
    stage.say(ms, "badge", door, "AccessGranted", who.clone());
    stage.say(ms + 700, "badge", door, "DoorOpened", what.clone());
    stage.say(ms + 1_600, "badge", door, "AccessTaken", who);
    stage.say(ms + 700 + open_for, "badge", door, "DoorClosed", what);
}

/// Everybody keeps to a door of their own and goes in and out by turns: nobody is passed back.
fn people(stage: &mut Stage) {
    let mut inside = [false; 42];
    let mut next_free = [0_i64; DOORS.len()];
    let mut ms = 800;
    while ms < LENGTH {
        ms += 1_500 + stage.random.below(3_000) as i64;
        let person = 20 + stage.random.below(42);
        let index = person as usize % DOORS.len();
        let door = &DOORS[index];
        if next_free[index] > ms {
            continue;
        }
        next_free[index] = ms + 9_000;
        match stage.random.below(30) {
            0 => {
                let lost = json!({
                    "door": door.name, "area": door.area, "reason": "unknown_credential",
                    "credential": format!("X-{}", stage.random.below(9_000)),
                });
                stage.say(ms, "badge", door.name, "AccessDenied", lost);
            }
            1 | 2 => {
                let what = json!({"door": door.name, "area": door.area});
                stage.say(ms, "badge", door.name, "RequestToExit", what.clone());
                stage.say(ms + 900, "badge", door.name, "DoorOpened", what.clone());
                stage.say(ms + 4_000, "badge", door.name, "DoorClosed", what);
            }
            _ => {
                let dir = if inside[person as usize - 20] { "out" } else { "in" };
                inside[person as usize - 20] ^= true;
                let open_for = 2_000 + stage.random.below(3_000) as i64;
                passage(stage, ms, door.name, door.area, person, dir, open_for);
            }
        }
    }
}

/// A truck at a gate: its plate, its container, its seal, and the barrier.
fn truck(stage: &mut Stage, ms: i64, gate: &str, leaves: bool, load: (&str, &str), plate: &str) {
    let lane = format!("{gate}-lane");
    let ticket = format!("T-{}", 40_000 + stage.random.below(10_000));
    let (container, seal) = load;
    let area = gate;
    let plate = json!({"area": area, "plate": plate, "vehicle": plate, "ticket": ticket});
    stage.say(ms, "gate", &lane, "PlateRead", plate);
    let read = json!({"area": area, "container": container, "ticket": ticket});
    stage.say(ms + 3_000, "gate", &lane, "ContainerRead", read);
    let seal = json!({"area": area, "container": container, "seal": seal, "ticket": ticket});
    stage.say(ms + 6_000, "gate", &lane, "SealRead", seal);
    let kind = if leaves { "GateOut" } else { "GateIn" };
    let passed = json!({"area": area, "container": container, "ticket": ticket});
    stage.say(ms + 12_000, "gate", &lane, kind, passed);
}

fn trucks(stage: &mut Stage) {
    for (gate, leaves, first) in [("gate-1", false, 9_000), ("gate-2", true, 16_000)] {
        let mut ms = first;
        while ms < LENGTH - 20_000 {
            // Gate 2 is kept free for the story.
            let in_story = leaves && (70_000..120_000).contains(&ms);
            let load = *stage.random.one_of(&CONTAINERS);
            let plate = *stage.random.one_of(&PLATES);
            if !in_story && load.0 != STOLEN {
                truck(stage, ms, gate, leaves, load, plate);
            }
            ms += 24_000 + stage.random.below(9_000) as i64;
        }
    }
}

fn cameras(stage: &mut Stage) {
    let views = [
        ("cam-gate-1", "truck", "gate-1"),
        ("cam-gate-2", "truck", "gate-2"),
        ("cam-quay-1", "person", "quay"),
        ("cam-dock-1", "forklift", "dock"),
        ("cam-dock-1", "person", "dock"),
        ("cam-road-1", "truck", "road"),
    ];
    let mut ms = 300;
    let mut number = 0;
    while ms < LENGTH {
        let (camera, label, zone) = *stage.random.one_of(&views);
        let track = format!("{}.{:06}-bg{number:04}", 1_700_000_000 + ms / 1_000, ms % 1_000);
        stage.frigate(ms, camera, label, &track, &[zone]);
        number += 1;
        ms += 400 + stage.random.below(800) as i64;
    }
}

fn devices(stage: &mut Stage) {
    let controllers =
        [("fence", "fence-ctl-1"), ("fence", "fence-ctl-2"), ("panel", "panel-1"), ("gate", "gate-1-lane")];
    for (place, (feed, device)) in controllers.into_iter().enumerate() {
        let mut ms = 1_000 + 2_000 * place as i64;
        while ms < LENGTH {
            stage.say(ms, feed, device, "Heartbeat", json!({}));
            ms += 20_000;
        }
    }
    let mut ms = 2_500;
    while ms < LENGTH {
        // The sensor repeats its state; during the break-in it has something else to say.
        if !(80_000..170_000).contains(&ms) {
            stage.contact(ms, "bonded-store-contact", true);
        }
        ms += 30_000;
    }
}

/// Over the fence at F3, into the bonded store; meanwhile a forged seal leaves through gate 2.
pub fn intrusion(stage: &mut Stage) {
    for (ms, level) in [(62_000, 2), (63_100, 3), (64_000, 3)] {
        let knock = json!({"zone": "F3", "area": "yard-north", "level": level, "code": "climb"});
        stage.say(ms, "fence", "fence-ctl-2", "FenceAlarm", knock);
    }
    stage.frigate(64_400, "cam-fence-3", "person", "1700000064.40-intr01", &["fence-f3"]);
    stage.axis(65_000, "ACCC8E4F0A11", "Profile1", true);
    stage.frigate(69_800, "cam-yard-1", "person", "1700000069.80-intr02", &["yard-north"]);
    stage.axis(71_000, "ACCC8E4F0A11", "Profile1", false);
    let pir = json!({"zone": "PIR-14", "area": "yard-north", "code": "131", "panel": "panel-1"});
    stage.say(74_300, "panel", "panel-1", "AlarmRaised", pir.clone());
    for ms in [81_000, 83_400] {
        let tried = json!({
            "door": "bonded-store", "area": "yard-north", "credential": "C-0107",
            "person": "P-0107", "reason": "revoked"
        });
        stage.say(ms, "badge", "bonded-store", "AccessDenied", tried);
    }
    let door = json!({"door": "bonded-store", "area": "yard-north"});
    stage.say(88_100, "badge", "bonded-store", "DoorForcedOpen", door.clone());
    stage.contact(88_300, "bonded-store-contact", false);
    truck(stage, 84_000, "gate-2", true, (STOLEN, "H-990417"), "ZK 11904");
    stage.frigate(97_000, "cam-yard-1", "person", "1700000097.00-intr03", &["yard-north"]);
    stage.say(118_000, "panel", "panel-1", "AlarmCleared", pir);
    stage.say(150_000, "badge", "bonded-store", "DoorClosed", door);
    stage.contact(150_300, "bonded-store-contact", true);
}
