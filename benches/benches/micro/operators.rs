//! Rulebooks of one operator each: what is timed here, and what is watched for allocations (INV-HOT).

/// Rulebooks of one operator each. What they look for is rare, so that the looking is timed; how
/// much is found is printed.
pub const OPERATORS: [(&str, &str); 18] = [
    ("nothing", "rules: [{id: R, on: Fire}]"),
    ("one-event", "rules: [{id: R, on: AccessDenied, if: e.reason == 'nobody'}]"),
    (
        "count",
        "facts: {n: {count: AccessGranted, by: door, within: 60s}}\n\
         rules: [{id: R, on: AccessGranted, if: n >= 100000}]",
    ),
    (
        "distinct",
        "facts: {n: {distinct: credential, on: AccessGranted, by: zone, within: 60s}}\n\
         rules: [{id: R, on: AccessGranted, if: n >= 100000}]",
    ),
    (
        "set",
        "facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}\n\
         rules: [{id: R, on: AccessGranted, if: open && e.dir == 'nowhere'}]",
    ),
    (
        "balance",
        "facts: {n: {by: zone, up: {on: AccessGranted, if: e.dir == 'in'}, \
                     down: {on: AccessGranted, if: e.dir == 'out'}}}\n\
         rules: [{id: R, on: AccessGranted, if: n >= 100000}]",
    ),
    (
        "sequence",
        "rules: [{id: R, by: credential, within: 60s, runs: each, sequence: \
         [{a: AccessGranted, if: a.dir == 'in'}, {b: AccessDenied, if: b.reason == 'revoked'}]}]",
    ),
    ("unless", "rules: [{id: R, on: DoorOpened, unless: [{on: DoorClosed, same: door, to: 90s}]}]"),
    (
        "session",
        "rules: [{id: R, session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 5m}, \
         if: s.closed && s.count(AccessDenied) > 1000}]",
    ),
    (
        "passage",
        "rules: [{id: R, passage: {by: credential, on: AccessGranted, \
         from: \"e.dir == 'in' ? 'outside' : 'inside'\", \
         to: \"e.dir == 'in' ? 'inside' : 'outside'\"}}]\n\
         incidents: {stale: never}",
    ),
    (
        "travel",
        "rules: [{id: R, scope: enterprise, \
         travel: {by: credential, on: AccessGranted, min_time: 1ms}}]",
    ),
    (
        "watch",
        "facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}\n\
         rules: [{id: R, watch: open, if: value, for: 90s}]",
    ),
    (
        "tally",
        "facts: {was: {by: door, set: {DoorOpened: '\"open\"', DoorClosed: '\"shut\"'}}, \
                 open: {tally: was, by: {door: value}}}\n\
         rules: [{id: R, on: AccessGranted, if: \"open['open'] >= 100000\"}]",
    ),
    (
        "prev",
        "facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}\n\
         rules: [{id: R, on: DoorOpened, if: prev(open) && e.zone == 'nowhere'}]",
    ),
    (
        "schedule",
        "schedules: {shift: {from: '22:20', to: '22:50'}}\n\
         rules: [{id: R, on: AccessGranted, if: schedule.shift && e.dir == 'nowhere'}]",
    ),
    (
        // Each refusal is a detection, and heard as an event.
        "detections",
        "rules: [{id: R, on: AccessDenied}, \
         {id: Q, on: {detection: [R]}, count: {by: door, within: 30s, at_least: 60000}, emit: edge}]\n\
         incidents: {stale: never}",
    ),
    (
        "inhibition",
        "facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}\n\
         rules: [{id: R, on: AccessDenied, by: door}]\n\
         inhibit: [{id: I, while: open, hold: 5s, targets: [R]}]\n\
         incidents: {stale: never}",
    ),
    (
        // Each refusal is a detection: it opens an incident, or joins one of its door.
        "correlation",
        "rules: [{id: R, on: [AccessDenied, Panic]}, {id: Q, on: DoorForcedOpen}]\n\
         incidents: {by: [door], gap: 1m, stale: never, \
                     links: [{between: [[R], [Q]], within: 1m}]}",
    ),
];
