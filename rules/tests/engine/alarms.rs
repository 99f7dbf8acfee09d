//! Alarm management: what is held back, for how long, and what raises an incident.

use crate::script::found;

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
