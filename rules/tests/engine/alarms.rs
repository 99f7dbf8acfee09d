//! Alarm management: what is held back, for how long, and what raises an incident.

use event::Interner;
use rules::trial::{self, Way};

use crate::script::{compile, found};

const FIRE: &str = "
facts:
  evacuating: {by: area, set: {Fire: 'true', AlarmCleared: 'false'}, init: false}
  ajar: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}
rules:
- {id: held, watch: ajar, if: value, for: 30s, resolve: DoorClosed}
- {id: forced, on: DoorForcedOpen, by: door}
- {id: fire, on: Fire, by: area}
- {id: denied, on: AccessDenied, by: door}
inhibit:
- {id: fire-release, while: evacuating, targets: [held, forced]}
";

#[test]
fn a_condition_holds_detections_back_and_what_lasts_is_told_when_it_ends() {
    let script = "
        0 DoorOpened door=D1 area=yard
        10 Fire area=yard
        20 DoorForcedOpen door=D2 area=yard
        21 DoorForcedOpen door=D3 area=quay
        22 AccessDenied door=D2 area=yard
        50 AlarmCleared area=yard
        60 DoorForcedOpen door=D2 area=yard
        70 DoorClosed door=D1 area=yard";
    assert_eq!(
        found(FIRE, script),
        [
            "10 fire yard [2] opens 0",
            "20 forced D2 [3] suppressed by fire-release",
            "21 forced D3 [4] opens 1",
            "22 denied D2 [5] opens 2",
            "30 held D1 [1] suppressed by fire-release on 2",
            "50 held D1 [1] joins 2",
            "60 forced D2 [7] joins 2",
        ]
    );
}

#[test]
fn a_level_that_ended_while_it_was_held_back_is_not_told() {
    let script = "
        0 DoorOpened door=D1 area=yard
        10 Fire area=yard
        40 DoorClosed door=D1 area=yard
        50 AlarmCleared area=yard
        60 DoorOpened door=D1 area=yard
        95 DoorClosed door=D1 area=yard";
    let lines = found(FIRE, script);
    assert_eq!(
        lines[1..],
        ["30 held D1 [1] suppressed by fire-release", "90 held D1 [5] opens 1", "95 clears 1"]
    );
}

const PARENT: &str = "
facts:
  online: {by: device, set: {Heartbeat: 'true', LastWill: 'false'}, ttl: 90s, init: true}
  ajar: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}
rules:
- {id: forced, on: DoorForcedOpen, by: door, why: {who: e.device}}
- {id: held, watch: ajar, if: value, for: 5s, resolve: DoorClosed}
- {id: forced-twice, on: {detection: forced}, count: {by: door, within: 100s, at_least: 2}}
inhibit:
- {id: offline, while: '!online[devices[e.device].group]', hold: 45s, targets: [forced, held]}
";

#[test]
fn a_detection_waits_for_what_may_inhibit_it() {
    let forced = |script: &str| {
        let mut lines = found(PARENT, script);
        lines.retain(|line| line.contains(" forced"));
        lines
    };
    // The parent is known to be gone 44.9 s after the child spoke.
    let script = "
        0 DoorForcedOpen door=D1 device=fence-1
        44.9 LastWill device=fence
        60 Heartbeat device=x";
    assert_eq!(forced(script), ["0 forced D1 [1] suppressed by offline"]);
    // What is exactly the hold away is outside.
    let script = "
        0 DoorForcedOpen door=D1 device=fence-1
        45 LastWill device=fence";
    assert_eq!(forced(script), ["0 forced D1 [1] opens 0"]);
    // It was gone for a while only: the child was artefact all the same.
    let script = "
        0 DoorForcedOpen door=D1 device=fence-1
        10 LastWill device=fence
        20 Heartbeat device=fence";
    assert_eq!(forced(script), ["0 forced D1 [1] suppressed by offline"]);
    // A time to live runs out within the hold, and the parent comes back within it.
    let script = "
        0 Heartbeat device=fence
        60 DoorForcedOpen door=D1 device=fence-1
        95 Heartbeat device=fence";
    let gone =
        PARENT.replace("LastWill: 'false'}, ttl: 90s, init: true", "}, ttl: 90s, init: false");
    assert_eq!(found(&gone, script), ["60 forced D1 [2] suppressed by offline"]);
}

#[test]
fn what_waits_is_heard_when_it_is_decided_and_what_is_inhibited_by_nobody() {
    let script = "
        0 DoorForcedOpen door=D1 area=yard device=fence-1
        1 DoorForcedOpen door=D1 area=yard device=fence-1
        60 DoorForcedOpen door=D1 area=yard device=camera-1
        61 LastWill device=camera
        150 Heartbeat device=x";
    assert_eq!(
        found(PARENT, script),
        [
            "0 forced D1 [1] opens 0",
            "1 forced D1 [2] joins 0",
            "46 forced-twice D1 [1 2] joins 0",
            "60 forced D1 [3] suppressed by offline on 0",
        ]
    );
}

#[test]
fn a_level_that_ends_while_it_waits_is_told_and_cleared() {
    let script = "
        0 DoorOpened door=D1 device=fence-1
        20 DoorClosed door=D1 device=fence-1
        60 Heartbeat device=x";
    assert_eq!(found(PARENT, script), ["5 held D1 [1] opens 0", "50 clears 0"]);
}

const CHATTER: &str = "
rules:
- {id: fence, on: FenceAlarm, by: zone, severity: low}
- id: chattering
  title: A device chatters
  on: {detection: '*'}
  count: {by: [kind, device], within: 60s, at_least: 3}
  then: {shelve_until_quiet: 2m}
incidents: {by: [area], gap: 10m}
";

#[test]
fn a_device_that_chatters_is_one_incident_until_it_is_quiet() {
    let script = "
        0 FenceAlarm zone=F1 device=fence-1 area=yard
        10 FenceAlarm zone=F1 device=fence-1 area=yard
        20 FenceAlarm zone=F1 device=fence-1 area=yard
        30 FenceAlarm zone=F1 device=fence-1 area=yard
        40 FenceAlarm zone=F1 device=fence-2 area=yard
        149.9 FenceAlarm zone=F1 device=fence-1 area=yard
        269.9 FenceAlarm zone=F1 device=fence-1 area=yard";
    assert_eq!(
        found(CHATTER, script),
        [
            "0 fence F1 [1] opens 0",
            "10 fence F1 [2] joins 0",
            "20 fence F1 [3] joins 0",
            "20 chattering fence/fence-1 [1 2 3] opens 1",
            "30 fence F1 [4] suppressed by chattering on 1",
            "40 fence F1 [5] joins 0",
            "149.9 fence F1 [6] suppressed by chattering on 1",
            "269.9 clears 1",
            "269.9 fence F1 [7] joins 0",
        ]
    );
}

const KNOCK: &str = "
rules:
- {id: fence, on: FenceAlarm, severity: low}
- {id: seen, on: ObjectDetected, severity: low, verification: 2}
- {id: felt, on: MotionDetected, severity: low}
incidents:
  by: [area]
  escalate:
  - {id: double-knock, of: [fence, seen], independent: device.group, at_least: 2, within: 30s, severity: high, verification: 3}
  - {id: kinds, at_least: 3, within: 100s, severity: critical}
";

#[test]
fn independent_detectors_that_confirm_each_other_raise_the_incident() {
    let script = "
        0 FenceAlarm area=yard device=fence-1
        1 FenceAlarm area=yard device=fence-2
        2 ObjectDetected area=yard device=unknown
        31 ObjectDetected area=yard device=camera-1
        60 FenceAlarm area=yard device=fence-1
        61 ObjectDetected area=yard device=camera-1
        99 MotionDetected area=yard device=pir";
    let mut lines = found(KNOCK, script);
    lines.retain(|line| line.contains("raises"));
    // Fence and camera at 1 and 31 are exactly the span apart; the three kinds come within theirs.
    assert_eq!(
        lines,
        ["60 raises 0 by double-knock: high, 3", "99 raises 0 by kinds: critical, 3"]
    );
}

#[test]
fn life_safety_passes_all_of_it() {
    let rules = "
facts:
  ajar: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}
rules:
- {id: duress, on: Duress, by: person}
- {id: gas, on: AlarmRaised, life_safety: true}
- {id: opened, on: DoorOpened}
- id: chattering
  on: {detection: '*'}
  count: {by: [kind, device], within: 60s, at_least: 2}
  then: {shelve_until_quiet: 5m}
inhibit:
- {id: everything, while: 'true', targets: '*', except: life_safety}
";
    let script = "
        0 DoorOpened area=yard
        1 Duress person=P area=yard
        2 Duress person=P area=yard
        3 Duress person=P area=yard
        4 AlarmRaised area=yard
        5 AlarmRaised area=yard";
    let lines = found(rules, script);
    let opened = lines.iter().filter(|line| line.contains(" opens ")).count();
    assert_eq!(opened, 5, "each by itself: {lines:#?}");
    assert_eq!(lines[0], "0 opened  [1] suppressed by everything");
}

fn fails(rulebook: &str) -> Vec<String> {
    let interner = Interner::shared();
    let plan = compile(rulebook, &interner);
    let files = [("test.yaml".to_owned(), rulebook.to_owned())];
    let trials = trial::read(&files, &plan).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(!trials.is_empty());
    let ways = [
        Way::default(),
        Way { batch: 1, ..Way::default() },
        Way { batch: 1, shards: 3, restore_every: 1, ..Way::default() },
    ];
    let mut faults = Vec::new();
    for (trial, way) in trials.iter().flat_map(|trial| ways.map(|way| (trial, way))) {
        let outcome = trial.run(&plan, &interner, way);
        faults.extend(outcome.missing.iter().map(|line| format!("{}: missing {line}", trial.name)));
        let unexpected = outcome.unexpected.iter();
        faults.extend(unexpected.map(|line| format!("{}: unexpected {line}", trial.name)));
    }
    faults
}

#[test]
fn what_operators_do_has_its_effect_and_ends_by_itself() {
    let rulebook = "
facts:
  ajar: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}
rules:
- {id: held, severity: low, watch: ajar, if: value, for: 30s, resolve: DoorClosed}
- {id: fence, severity: low, on: FenceAlarm, by: zone}
- {id: person, severity: high, on: ObjectDetected, by: zone}
- {id: duress, on: Duress}
incidents: {by: [area], gap: 1h, shelve_max: 2h, stale: 24h}
tests:
- name: the first detection after an operator's close opens a linked successor
  given:
  - 08:00:00 FenceAlarm zone=F1 area=yard
  - 08:05:00 acknowledge fence
  - 08:10:00 close fence false-alarm
  - 08:20:00 FenceAlarm zone=F1 area=yard
  - 08:21:00 FenceAlarm zone=F1 area=yard
  expect: [08:00:00 fence F1 opens, 08:05:00 acknowledged, 08:10:00 closed, 08:20:00 fence opens, 08:20:00 links, 08:21:00 fence joins]
- name: a rule and key is shelved, others of the rule are told
  given:
  - 09:00:00 Heartbeat
  - 09:00:01 shelve fence F1 30m 'the fence is being painted'
  - 09:10:00 FenceAlarm zone=F1 area=yard
  - 09:11:00 FenceAlarm zone=F2 area=yard
  - 09:30:01 FenceAlarm zone=F1 area=yard
  expect: [09:00:01 fence F1 shelved, 09:10:00 fence F1 suppressed by shelf, 09:11:00 fence F2 opens, 09:30:01 fence F1 unshelved, 09:30:01 fence F1 joins]
- name: a level that lasts when the shelf ends is told then, and nothing is shelved longer than the longest
  given:
  - 10:00:00 DoorOpened door=D1 area=yard
  - 10:00:10 shelve held 10h 'the door is being repaired'
  - 12:30:00 passes
  expect: [10:00:10 held shelved, 10:00:30 held suppressed by shelf, 12:00:10 held unshelved, 12:00:10 held opens]
- name: a rule is taken up again before its time
  given:
  - 10:00:00 DoorOpened door=D1 area=yard
  - 10:00:10 shelve held 1h 'the door is being repaired'
  - 10:10:00 unshelve held
  - 11:30:00 passes
  expect: [10:00:10 held shelved, 10:00:30 held suppressed, 10:10:00 held unshelved, 10:10:00 held opens]
- name: a shelved incident takes no more, but what is worse breaks through, and duress passes
  given:
  - 11:00:00 FenceAlarm zone=F1 area=yard
  - 11:01:00 shelve incident fence 30m 'wind'
  - 11:02:00 FenceAlarm zone=F1 area=yard
  - 11:03:00 ObjectDetected zone=F1 area=yard
  - 11:04:00 Duress area=yard
  - 11:32:00 FenceAlarm zone=F1 area=yard
  expect: [11:00:00 fence opens, 11:01:00 shelved, 11:02:00 fence suppressed, 11:03:00 person opens, 11:03:00 links, 11:04:00 duress opens, 11:31:00 unshelved, 11:32:00 fence joins]
- name: an incident that is active for a day is stale, a closed or cleared one is not
  given:
  - 12:00:00 FenceAlarm zone=F1 area=yard
  - 13:00:00 ObjectDetected zone=F1 area=quay
  - 13:01:00 close person true-alarm
  - 14:00:00 DoorOpened door=D1 area=hall
  - 14:01:00 DoorClosed door=D1 area=hall
  - 48:00:00 passes
  expect: [12:00:00 fence, 13:00:00 person, 13:01:00 closed, 14:00:30 held, 36:00:00 stale]
";
    assert_eq!(fails(rulebook), Vec::<String>::new());
}

#[test]
fn a_flood_is_one_incident_that_the_lesser_ones_are_folded_into() {
    let rulebook = "
rules:
- {id: fence, severity: low, on: FenceAlarm, by: zone}
- {id: person, severity: high, on: ObjectDetected, by: zone}
- {id: panic, on: Panic}
incidents: {by: [area], gap: 1m, flood: {at_least: 4, within: 10m, until: 2, passes: high}}
tests:
- name: ten in ten minutes, here four
  given:
  - 08:00:00 FenceAlarm zone=F1 area=a1
  - 08:01:00 FenceAlarm zone=F2 area=a2
  - 08:02:00 Panic area=a9
  - 08:03:00 FenceAlarm zone=F3 area=a3
  - 08:04:00 FenceAlarm zone=F4 area=a4
  - 08:05:00 FenceAlarm zone=F5 area=a5
  - 08:05:30 FenceAlarm zone=F4 area=a4
  - 08:06:00 ObjectDetected zone=F6 area=a6
  - 08:06:30 FenceAlarm zone=F6 area=a6
  - 08:15:00 Panic area=a9
  - 08:18:00 FenceAlarm zone=F7 area=a7
  expect:
  - 08:00:00 fence F1 opens
  - 08:01:00 fence F2 opens
  - 08:02:00 panic opens
  - 08:03:00 fence F3 opens
  - 08:04:00 fence F4 opens
  - 08:04:00 flood opens
  - 08:05:00 fence F5 suppressed by flood
  - 08:05:30 fence F4 suppressed by flood
  - 08:06:00 person F6 opens
  - 08:06:30 fence F6 joins
  - 08:15:00 panic opens
  - 08:15:30 clears
  - 08:18:00 fence F7 opens
";
    assert_eq!(fails(rulebook), Vec::<String>::new());
}
