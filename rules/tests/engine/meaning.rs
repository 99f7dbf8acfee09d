//! What the forms of the rule language mean, edge by edge: a rulebook, a script of events, and
//! what must be found.

use event::TimeSpan;

use crate::script::{found, found_at_once, found_with};

const FORCED: &str = "
facts: {mode: {by: door, set: {DoorModeChanged: e.mode}, init: locked}}
rules:
- id: forced
  on: DoorOpened
  if: mode == 'locked'
  unless:
  - {on: [AccessGranted, RequestToExit], same: door, from: -10s, to: 2s}
  - {on: DoorClosed, same: door, to: 400ms}
";

#[test]
fn a_forced_door_is_decided_when_no_excuse_can_come_any_more() {
    let one = |script| found(FORCED, script);
    assert_eq!(one("100 DoorOpened door=D1"), ["102 forced D1 [1] opens 0"]);
    // The contact often reports before the grant or the request to exit.
    assert!(one("100 DoorOpened door=D1\n101.5 AccessGranted door=D1").is_empty());
    assert!(one("100 DoorOpened door=D1\n101 RequestToExit door=D1").is_empty());
    // Exactly at the end of a window is outside.
    assert_eq!(one("100 DoorOpened door=D1\n102 AccessGranted door=D1").len(), 1);
    assert_eq!(one("90 AccessGranted door=D1\n100 DoorOpened door=D1").len(), 1);
    assert!(one("90.1 AccessGranted door=D1\n100 DoorOpened door=D1").is_empty());
    // Another door's grant is no excuse; a contact that bounces is one.
    assert_eq!(one("99 AccessGranted door=D2\n100 DoorOpened door=D1").len(), 1);
    assert!(one("100 DoorOpened door=D1\n100.3 DoorClosed door=D1").is_empty());
    assert_eq!(one("100 DoorOpened door=D1\n100.4 DoorClosed door=D1").len(), 1);
    // Masked in unlocked mode.
    assert!(one("1 DoorModeChanged door=D1 mode=unlocked\n100 DoorOpened door=D1").is_empty());
}

const HELD: &str = "
facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}
rules:
- {id: held, watch: open, if: value, for: door.held_limit, resolve: DoorClosed}
- {id: tried, on: AccessDenied}
";

#[test]
fn a_held_door_speaks_at_its_own_limit_and_clears() {
    assert_eq!(
        found(HELD, "100 DoorOpened door=D1\n140 DoorClosed door=D1"),
        ["130 held D1 [1] opens 0", "140 clears 0"]
    );
    assert!(found(HELD, "100 DoorOpened door=D1\n129.9 DoorClosed door=D1").is_empty());
    // A timer due at the time of an event runs before it.
    assert_eq!(found(HELD, "100 DoorOpened door=D1\n130 DoorClosed door=D1").len(), 2);
    // A door without a limit in the site model is never held too long.
    assert!(found(HELD, "100 DoorOpened door=D9\n900 DoorClosed door=D9").is_empty());
}

#[test]
fn an_incident_clears_only_when_nothing_in_it_lasts() {
    let script = "
        100 DoorOpened door=D1 area=A
        135 AccessDenied door=D1 area=A
        140 DoorClosed door=D1 area=A";
    let together = HELD.replace("rules:", "incidents: {by: [area], gap: 10m}\nrules:");
    let lines = found(&together, script);
    assert_eq!(lines, ["130 held D1 [1] opens 0", "135 tried  [2] joins 0"], "a denial stays");
}

#[test]
fn travel_is_too_fast_only_below_the_time() {
    let rules = "rules: [{id: t, scope: enterprise, travel: {by: credential, on: AccessGranted, min_time: 5m}}]";
    let at = |second: &str| {
        let script = format!(
            "100 AccessGranted credential=C site=A\n{second} AccessGranted credential=C site=B"
        );
        found(rules, &script)
    };
    assert_eq!(at("399.999"), ["399.999 t C [1 2] opens 0"]);
    assert!(at("400").is_empty(), "exactly the time is possible");
    let same = "1 AccessGranted credential=C site=A\n2 AccessGranted credential=C site=A";
    assert!(found(rules, same).is_empty());
}

#[test]
fn anti_passback_knows_nobody_at_first_and_forgets() {
    let rules = "rules: [{id: p, passage: {by: credential, on: AccessTaken, from: \"e.dir == 'in' ? 'out' : e.area\", to: \"e.dir == 'in' ? e.area : 'out'\", forget: 1h, forgive: DoorModeChanged}}]";
    let go = |at: u32, dir: &str| format!("{at} AccessTaken credential=C area=A dir={dir}\n");
    let run = |steps: &[(u32, &str)]| {
        let script: String = steps.iter().map(|(at, dir)| go(*at, dir)).collect();
        found(rules, &script).len()
    };
    assert_eq!(run(&[(1, "in")]), 0, "the first passage makes Unknown known");
    assert_eq!(run(&[(1, "out")]), 0);
    assert_eq!(run(&[(1, "in"), (2, "out"), (3, "in")]), 0);
    assert_eq!(run(&[(1, "in"), (2, "in")]), 1);
    assert_eq!(run(&[(1, "in"), (3602, "in")]), 0, "forgotten after an hour");
    let forgiven = go(1, "in") + "2 DoorModeChanged credential=C\n" + &go(3, "in");
    assert!(found(rules, &forgiven).is_empty());
}

#[test]
fn escort_counts_hosts_and_not_other_visitors() {
    let rules = "rules: [{id: e, on: AccessTaken, if: e.person.visitor, unless: [{on: AccessTaken, same: door, if: x.person in e.person.hosts && !x.person.visitor, from: -30s, to: 30s}]}]";
    let run = |other: &str| found(rules, &format!("100 AccessTaken door=D1 person=guest\n{other}"));
    assert_eq!(run(""), ["130 e D1 [1] opens 0"]);
    assert!(run("110 AccessTaken door=D1 person=host").is_empty());
    assert_eq!(run("110 AccessTaken door=D1 person=stranger").len(), 1);
    let before = "90 AccessTaken door=D1 person=host\n100 AccessTaken door=D1 person=guest";
    assert!(found(rules, before).is_empty(), "the host may go first");
}

#[test]
fn windows_leave_out_what_is_exactly_as_old() {
    let rules = "
facts: {n: {count: AccessDenied, by: door, within: 60s}, d: {distinct: credential, on: AccessDenied, by: door, within: 60s}}
rules:
- {id: three, on: AccessDenied, if: n >= 3, emit: each}
- {id: cards, on: AccessDenied, if: d >= 2, emit: edge}
";
    let denied = |at: f64, card: &str| format!("{at} AccessDenied door=D1 credential={card}\n");
    let three = |a, b, c| {
        let lines = found(rules, &[denied(a, "C"), denied(b, "C"), denied(c, "C")].concat());
        lines.len()
    };
    assert_eq!(three(0.0, 30.0, 59.9), 1);
    assert_eq!(three(0.0, 30.0, 60.0), 0);
    let cards: String = [(0, "A"), (1, "B"), (2, "B"), (100, "B"), (101, "A")]
        .iter()
        .map(|(t, c)| denied(f64::from(*t), c))
        .collect();
    let edges: Vec<_> =
        found(rules, &cards).into_iter().filter(|l| l.contains(" cards ")).collect();
    assert_eq!(edges.len(), 2, "once for each rising edge: {edges:?}");
}

#[test]
fn a_sequence_waits_for_its_steps_and_its_end() {
    let rules = "rules: [{id: s, by: door, within: 30s, runs: each, sequence: [{a: AccessDenied}, {b: DoorOpened}], without: AccessGranted}]";
    let run = |script: &str| found(rules, script);
    assert_eq!(
        run("1 AccessDenied door=D1\n2 AccessDenied door=D1\n3 DoorOpened door=D1"),
        ["3 s D1 [1 3] opens 0", "3 s D1 [2 3] opens 1"],
        "one completing event completes all that wait"
    );
    assert!(run("1 AccessDenied door=D1\n31 DoorOpened door=D1").is_empty());
    let granted = "1 AccessDenied door=D1\n2 AccessGranted door=D1\n3 DoorOpened door=D1";
    assert!(run(granted).is_empty());
    assert!(run("1 AccessDenied door=D1\n2 DoorOpened door=D2").is_empty());
}

#[test]
fn what_is_said_once_is_said_again_after_its_time() {
    let rules = "rules: [{id: o, by: door, on: AccessDenied, emit: {once: 10m}, group: none}]";
    let at = |t: u32| format!("{t} AccessDenied door=D1\n");
    let times = [1, 2, 300, 600, 601, 700].map(at).concat();
    let lines = found(rules, &times);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("601 "), "{lines:?}");
}

#[test]
fn shadow_rules_detect_and_open_nothing() {
    let rules =
        "rules: [{id: s, on: AccessDenied, mode: shadow}, {id: off, on: AccessDenied, mode: off}]";
    assert_eq!(found(rules, "1 AccessDenied door=D1"), ["1 s  [1] shadow"]);
}

#[test]
fn detections_group_by_what_they_share_until_the_gap() {
    let rules = "
rules: [{id: a, on: AccessDenied}, {id: b, on: DoorForcedOpen}]
incidents: {by: [area, person], gap: 60s, span_max: 150s}
";
    let run = |script: &str| found(rules, script);
    let effects = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|l| l.split(']').nth(1).unwrap_or(l).trim().to_owned()).collect()
    };
    let near = run("1 AccessDenied area=A\n60.9 DoorForcedOpen area=A");
    assert_eq!(effects(near), ["opens 0", "joins 0"]);
    let late = run("1 AccessDenied area=A\n61 DoorForcedOpen area=A");
    assert_eq!(effects(late), ["opens 0", "opens 1"], "exactly the gap is outside");
    let long = run(
        "0 AccessDenied area=A\n50 AccessDenied area=A\n100 AccessDenied area=A\n150 AccessDenied area=A",
    );
    assert_eq!(
        effects(long),
        ["opens 0", "joins 0", "joins 0", "opens 1"],
        "no longer than the span"
    );
    // Two incidents that turn out to belong together are linked, never merged.
    let both =
        run("1 AccessDenied area=A\n2 AccessDenied person=P\n3 DoorForcedOpen area=A person=P");
    assert_eq!(both.len(), 4, "{both:?}");
    assert!(both.iter().any(|l| l == "3 link 1 0"), "{both:?}");
}

#[test]
fn events_of_one_time_are_ordered_by_rank_not_by_arrival() {
    let rules = "rules: [{id: s, by: door, within: 30s, sequence: [{a: AccessGranted}, {b: DoorOpened}, {c: AccessTaken}, {d: DoorClosed}]}]";
    let script = "
        5 DoorClosed door=D1
        5 AccessTaken door=D1
        5 DoorOpened door=D1
        5 AccessGranted door=D1";
    // Evidence of one time stands in the order of identities, the trigger last.
    assert_eq!(found(rules, script), ["5 s D1 [2 3 4 1] opens 0"]);
}

#[test]
fn nothing_is_released_before_the_watermark_has_passed_it() {
    let rules = "rules: [{id: a, on: AccessDenied}]";
    let slack = TimeSpan::from_secs(2);
    let open = |script| found_with(rules, script, slack, true).len();
    assert_eq!(open("10 AccessDenied door=D1\n12 Heartbeat"), 0, "equality does not release");
    assert_eq!(open("10 AccessDenied door=D1\n12.001 Heartbeat"), 1);
}

#[test]
fn a_late_event_fires_what_looks_at_it_alone() {
    let rules = r#"
facts:
  alarms: {count: Tamper, by: door, within: 60s}
rules:
- {id: alone, on: Tamper, by: door, group: {by: [door], gap: 30s}}
- {id: rows, on: Tamper, if: alarms >= 1, by: door}
- {id: remembers, on: Tamper, if: "prev(alarms) >= 0 && alarms['D1'] >= 0", by: door}
- {id: said-once, on: Tamper, by: door, emit: {once: 10s}}
- {id: then, by: door, within: 90s, sequence: [{a: Tamper}, {b: DoorOpened}]}"#;
    let only = |script| {
        let mut lines = found(rules, script);
        lines.retain(|line| line.contains(" alone "));
        lines
    };
    let script = "
        100 Tamper door=D1
        101 Heartbeat
        80 Tamper door=D1
        10 Tamper door=D1
        110 Tamper door=D1
        11 Tamper door=D1 retained
        111 DoorOpened door=D2";
    assert_eq!(
        only(script),
        [
            "100 alone D1 [1] opens 0",
            "80 alone D1 [3] joins 0",
            "10 alone D1 [4] opens 4",
            // The one that is open now goes on, whatever came late.
            "110 alone D1 [5] joins 0",
        ]
    );
    // Nothing else is touched by what came late: no count, no run.
    let quiet = found(rules, "100 Heartbeat door=D1\n90 Tamper door=D1\n120 DoorOpened door=D1");
    assert_eq!(quiet, ["90 alone D1 [2] opens 0"]);
}

#[test]
fn two_independent_detectors_confirm_each_other() {
    let rules = "
rules:
- {id: fence, on: FenceAlarm}
- {id: pir, on: MotionDetected}
- id: double-knock
  on: {detection: [fence, pir]}
  distinct: {of: device.group, by: area, within: 45m, at_least: 2}
- {id: many, on: {detection: '*'}, count: {by: area, within: 1m, at_least: 3}, emit: edge}
- {id: heard, mode: shadow, on: {detection: double-knock}}
incidents: {by: [area]}
";
    let run = |script: &str| {
        let lines = found(rules, script);
        lines.iter().map(|l| l.split(" [").next().unwrap_or(l).to_owned()).collect::<Vec<_>>()
    };
    let same = "1 FenceAlarm area=A device=fence-1\n2 FenceAlarm area=A device=fence-2";
    assert_eq!(run(same), ["1 fence ", "2 fence "], "one group is no second opinion");
    let both = "1 FenceAlarm area=A device=fence-1\n9 MotionDetected area=A device=camera-1";
    assert_eq!(run(both), ["1 fence ", "9 pir ", "9 double-knock A", "9 heard "]);
    let apart = both.replace("9 Motion", "2701 Motion");
    assert_eq!(run(&apart), ["1 fence ", "2701 pir "], "exactly the window is outside");
    let three = format!("{both}\n10 FenceAlarm area=A device=fence-1");
    assert_eq!(run(&three)[4..], ["10 fence ", "10 double-knock A", "10 many A", "10 heard "]);
}

#[test]
fn the_enterprise_hears_what_its_sites_detect() {
    let rules = "
rules:
- {id: left-open, by: door, sequence: [{a: DoorOpened}, {not: DoorClosed, for: 20s}]}
- {id: everywhere, scope: enterprise, on: {detection: left-open}, distinct: {of: site, within: 1m, at_least: 2}}
";
    let script = "
        1 DoorOpened door=D1 site=A
        5 DoorOpened door=D2 site=B
        60 Heartbeat site=A";
    let lines = found(rules, script);
    assert_eq!(lines[2], "25 everywhere  [1 2] opens 2", "{lines:?}");
    assert_eq!(lines.len(), 3);
    let later = script.replace("5 DoorOpened", "61 DoorOpened");
    assert_eq!(found(rules, &later).len(), 2, "a minute apart is outside");
}

#[test]
fn a_deadline_of_a_site_that_is_silent_speaks_in_time() {
    let rules = "
rules:
- {id: left-open, by: door, sequence: [{a: DoorOpened}, {not: DoorClosed, for: 1200s}]}
- {id: heard, scope: enterprise, on: {detection: left-open}}
- {id: beats, scope: enterprise, on: Heartbeat, distinct: {of: site, within: 1m, at_least: 2}}
";
    let heartbeats = (0..4800).map(|second| format!("{second} Heartbeat site=A\n"));
    let opened = |at| format!("{at}.5 DoorOpened door=D1 site=B\n");
    let lines = |at: usize| heartbeats.clone().take(at + 1).chain([opened(at)]);
    for at in [480, 960, 1600] {
        let script: String = lines(at).chain(heartbeats.clone().skip(at + 1)).collect();
        let (each, at_once) = (found(rules, &script), found_at_once(rules, &script));
        assert_eq!(each.len(), 2, "{each:?}");
        // A site is looked at only where something is due there.
        assert_eq!(at_once, each, "opened at {at}");
    }
}

#[test]
fn a_key_may_be_what_the_model_says_of_a_field() {
    let rules = "
facts: {changes: {count: DoorOpened, by: door.interlock, within: 10s}}
rules: [{id: lock, on: DoorOpened, if: changes >= 2, by: door.interlock}]
";
    let two = "1 DoorOpened door=D1\n2 DoorOpened door=D2\n3 DoorOpened door=D3";
    assert_eq!(found(rules, two), ["2 lock lock [1 2] opens 0"], "D3 is in no group");
}

/// Seconds of a moment, for a script.
fn second(text: &str) -> i64 {
    let moment: jiff::Timestamp = text.parse().expect("a moment");
    moment.as_second()
}

const OFFICE: &str = "
holidays: [2026-12-25]
schedules:
  office: {days: mon-fri, from: '07:00', to: '19:00'}
";

#[test]
fn after_hours_are_those_of_the_sites_own_clock() {
    let rules = format!("{OFFICE}rules: [{{id: late, on: AccessGranted, if: '!schedule.office'}}]");
    let at = |moment: &str, site: &str| {
        let script = format!("{} AccessGranted site={site}", second(moment));
        found(&rules, &script).len()
    };
    assert_eq!(at("2026-11-24T06:30:00Z", "berlin"), 0, "half past seven there");
    assert_eq!(at("2026-11-24T06:30:00Z", "elsewhere"), 1, "a site without a zone is on UTC");
    assert_eq!(at("2026-12-25T10:00:00Z", "berlin"), 1, "a holiday");
    assert_eq!(at("2026-11-28T10:00:00Z", "berlin"), 1, "a Saturday");
}

#[test]
fn the_edges_of_schedules_are_events() {
    let rules = format!(
        "{OFFICE}
facts:
  mode: {{by: door, set: {{DoorModeChanged: e.mode}}, init: locked}}
  chief: {{by: door, set: {{AccessTaken: 'true'}}, init: false, reset: {{on: ScheduleEnded, if: e.schedule == 'office'}}}}
rules:
- {{id: opens, on: [ScheduleStarted, ScheduleEnded], if: e.schedule == 'office'}}
- {{id: first-person, watch: mode, if: value == 'unlocked' && schedule.office.on && !chief, resolve: DoorModeChanged}}
incidents: {{stale: never}}
"
    );
    let (eve, seven) = (second("2026-11-24T05:00:00Z"), second("2026-11-24T06:00:00Z"));
    let script = format!(
        "{eve} DoorModeChanged site=berlin door=D1 mode=unlocked
        {} AccessTaken site=berlin door=D1
        {} Heartbeat site=berlin",
        seven + 600,
        seven + 86_400 + 1,
    );
    let nine = seven + 12 * 3_600;
    assert_eq!(
        found(&rules, &script),
        [
            format!("{seven} opens  [] opens 0"),
            format!("{seven} first-person D1 [] opens 1"),
            format!("{} clears 1", seven + 600),
            format!("{nine} opens  [] opens 2"),
            // The next morning nobody has come yet.
            format!("{} opens  [] opens 3", seven + 86_400),
            format!("{} first-person D1 [] opens 4", seven + 86_400),
        ]
    );
    // The input ends: no edge follows when nothing waits.
    let short = format!("{eve} Heartbeat site=berlin");
    assert!(found(&rules, &short).is_empty());
}

#[test]
fn two_badges_on_one_opening_are_not_tailgating() {
    let rules = "
rules:
- id: tailgating
  session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 5m, before: {on: AccessGranted, for: 10s}}
  if: s.sum(PeopleCounted, e.people) > s.count(AccessGranted)
  why: {people: 's.sum(PeopleCounted, e.people)', grants: s.count(AccessGranted), lasted: s.duration}
";
    let cycle = |grants: &str, people: &str| {
        found(rules, &format!("{grants}\n100 DoorOpened door=D1\n105 DoorClosed door=D1\n{people}"))
    };
    let one = "98 AccessGranted door=D1";
    let two = "97 AccessGranted door=D1\n98 AccessGranted door=D1";
    assert_eq!(cycle(one, "107 PeopleCounted door=D1 people=2").len(), 1, "a late camera count");
    assert!(cycle(two, "107 PeopleCounted door=D1 people=2").is_empty());
    assert!(cycle(one, "108 PeopleCounted door=D1 people=2").is_empty(), "the grace is over");
    let far = "90 AccessGranted door=D1";
    assert_eq!(cycle(far, "106 PeopleCounted door=D1 people=1").len(), 1, "too long before");
}

#[test]
fn occupancy_is_told_at_each_edge_and_never_for_each_event() {
    let rules = "
facts:
  where: {by: person, set: {AccessTaken: e.area}, ttl: 7d, reset: DoorModeChanged}
  occupancy: {tally: where, by: {area: value}}
rules:
- {id: full, watch: occupancy, if: value >= 2, resolve: AccessTaken}
- {id: alone, watch: occupancy, if: area == 'vault' && value == 1, for: 20s}
";
    let go =
        |at: u32, who: &str, area: &str| format!("{at} AccessTaken person={who} area={area}\n");
    let script = [
        go(1, "a", "vault"),
        go(2, "b", "vault"),
        go(3, "c", "vault"),
        go(4, "c", "yard"),
        go(5, "b", "yard"),
        go(6, "b", "vault"),
    ];
    let lines = found(rules, &script.concat());
    let short: Vec<_> = lines.iter().map(|l| l.split(" [").next().unwrap_or(l)).collect();
    assert_eq!(
        short,
        [
            "2 full vault",
            "5 clears 0",
            "5 full yard",
            "6 clears 0",
            "6 full vault",
            // Where somebody is, is forgotten after a week.
            "604801 clears 0"
        ],
        "{lines:?}"
    );
    // One stays behind; and a reset clears all.
    let left = found(rules, &(go(1, "a", "vault") + &go(2, "b", "vault") + &go(10, "b", "yard")));
    assert!(left.iter().any(|l| l.starts_with("30 alone vault")), "{left:?}");
    let cleared = go(1, "a", "vault") + &go(2, "b", "vault") + "9 DoorModeChanged door=D1";
    assert_eq!(found(rules, &cleared).last().map(String::as_str), Some("9 clears 0"));
}

#[test]
fn an_interlock_lets_one_door_of_a_group_be_open() {
    let rules = "
facts:
  open: {by: door, set: {[DoorOpened, DoorForcedOpen]: 'true', DoorClosed: 'false'}, init: false}
  doors_open: {tally: open, by: door.interlock, if: value}
rules: [{id: breach, watch: doors_open, if: value > 1, resolve: DoorClosed}]
";
    let rules = rules.replace(
        "[DoorOpened, DoorForcedOpen]: 'true'",
        "DoorOpened: 'true', DoorForcedOpen: 'true'",
    );
    let script = "1 DoorOpened door=D1\n2 DoorOpened door=D9\n3 DoorForcedOpen door=D2\n4 DoorClosed door=D1";
    assert_eq!(found(&rules, script), ["3 breach lock [3] opens 0", "4 clears 0"]);
    let again =
        "1 DoorOpened door=D1\n2 DoorOpened door=D1\n3 DoorClosed door=D1\n4 DoorOpened door=D2";
    assert!(found(&rules, again).is_empty(), "a door that says so twice is open once");
}

#[test]
fn an_exception_that_is_missing_excepts_nothing() {
    let rules = "
lists: {staff: [A, B]}
macros: {of_staff: e.credential in staff}
rules: [{id: r, on: AccessGranted, if: e.dir == 'in', exceptions: {staff: of_staff, chief: e.level > 8}}]
";
    let one = |fields: &str| found(rules, &format!("1 AccessGranted {fields}")).len();
    assert_eq!(one("dir=in"), 1, "neither credential nor level is known");
    assert_eq!(one("dir=in credential=C level=3"), 1);
    assert_eq!(one("dir=in credential=B"), 0);
    assert_eq!(one("dir=in level=9"), 0);
    assert_eq!(one("dir=out credential=C"), 0);
}

#[test]
fn an_edge_has_no_bytes_to_show_and_is_heard_all_the_same() {
    let rules = "
schedules: {shift: {from: '06:00', to: '07:00'}}
rules:
- {id: opened, on: DoorOpened}
- {id: begins, on: ScheduleStarted}
- {id: heard, on: {detection: begins}}
";
    let lines = found(rules, "100 DoorOpened door=D1\n21600 DoorOpened door=D1\n21601 Heartbeat");
    let began = lines.iter().position(|l| l.contains(" begins ")).expect("the shift begins");
    // The edge goes before the events of its time, and cites none of theirs.
    assert_eq!(lines[began], "21600 begins  [] opens 1");
    assert_eq!(lines[began + 1], "21600 heard  [] opens 2");
    assert!(lines[began + 2].contains(" opened  [2]"), "{lines:?}");
}

#[test]
fn a_rules_own_count_is_not_reset_with_a_fact_that_counts_the_same() {
    let rules = "
facts: {n: {count: AccessDenied, by: door, within: 60s, reset: AccessGranted}}
rules:
- {id: own, on: AccessDenied, count: {by: door, within: 60s, at_least: 3}}
- {id: fact, on: AccessDenied, if: n >= 3}
";
    let script = "
        1 AccessDenied door=D1
        2 AccessDenied door=D1
        3 AccessGranted door=D1
        4 AccessDenied door=D1";
    assert_eq!(found(rules, script), ["4 own D1 [1 2 4] opens 0"]);
}
