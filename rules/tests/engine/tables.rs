//! Tables and lists that change: what rules see of it, as rulebooks' own tests, run in every way.

use std::sync::Arc;

use event::Interner;
use rules::trial::{Way, read};

use crate::script::compile;

const RULEBOOK: &str = "
lists: {known: [A, B], grades: [1, 2]}
facts:
  was: {by: door, set: {DoorOpened: \"'open'\", DoorClosed: \"'shut'\"}, init: shut}
  changes: {count: TableChanged, by: table, within: 1h}
rules:
- {id: stranger, on: AccessGranted, by: credential, if: '!(e.credential in known)'}
- {id: grade, on: AccessGranted, by: credential, if: e.level in grades}
- {id: visitor, on: AccessGranted, by: person, if: e.person.visitor}
- {id: held, by: door, watch: was, if: value == 'open' && door.held_limit > duration('20s'), resolve: DoorClosed}
- {id: left, by: door, watch: was, if: value == 'open', for: door.held_limit}
- {id: told, on: TableChanged, by: [table, row], if: '!e.removed'}
- {id: gone, on: TableChanged, by: row, if: e.removed}
- {id: door-told, on: TableChanged, by: door}
- {id: busy, on: TableChanged, by: table, if: changes >= 3}
tests:
- name: a list is changed key by key, one of integers too
  given:
  - 08:00:00 AccessGranted credential=A level=3
  - 08:00:01 no row known/A
  - 08:00:02 row grades/3
  - 08:00:03 AccessGranted credential=A level=3
  - 08:00:04 row known/A
  - 08:00:05 no row grades/3
  - 08:00:06 AccessGranted credential=A level=3
  expect: [08:00:03 stranger A, 08:00:03 grade A]
- name: a row is set whole, and what it does not say is not known
  given:
  - 08:00:00 AccessGranted person=guest
  - 08:00:01 row persons/guest hosts=host
  - 08:00:02 AccessGranted person=guest
  - 08:00:03 row persons/guest visitor=true
  - 08:00:04 AccessGranted person=guest
  - 08:00:05 no row persons/guest
  - 08:00:06 AccessGranted person=guest
  expect: [08:00:00 visitor guest, 08:00:04 visitor guest]
- name: a level that reads a table is judged when the table changes
  given:
  - 08:00:00 row doors/D1 held_limit=10s
  - 08:00:01 DoorOpened door=D1
  - 08:00:05 row doors/D1 held_limit=30s
  - 08:00:08 row doors/D1 held_limit=15s
  - 08:00:09 DoorClosed door=D1
  expect: [08:00:05 held D1, 08:00:08 clears]
  of: held
- name: a limit that was changed holds for the next opening
  given:
  - 08:00:00 row doors/D1 held_limit=10s
  - 08:00:01 DoorOpened door=D1
  - 08:00:05 row doors/D1 held_limit=40s
  - 08:00:11 DoorClosed door=D1
  - 08:00:12 DoorOpened door=D1
  - 08:00:53 DoorClosed door=D1
  expect: [08:00:11 left D1, 08:00:52 left D1]
  of: left
- name: what was changed is told once, and what is as it was is not
  given:
  - 08:00:00 Heartbeat
  - 08:00:01 row doors/D9 held_limit=10s
  - 08:00:02 row doors/D9 held_limit=10s
  - 08:00:03 no row doors/D9
  - 08:00:04 no row doors/D9
  - 08:00:05 row doors/D9 held_limit=20s
  expect:
  - 08:00:01 told doors/D9
  - 08:00:01 door-told D9
  - 08:00:03 gone D9
  - 08:00:03 door-told D9
  - 08:00:05 told doors/D9
  - 08:00:05 door-told D9
  - 08:00:05 busy doors
- name: a change goes before the events of its time, and behind those before
  given:
  - 08:00:00 AccessGranted credential=C
  - 08:00:01 AccessGranted credential=C
  - 08:00:01 row known/C
  - 08:00:01 AccessGranted credential=C
  expect: [08:00:00 stranger C]
  of: stranger
- name: before anything has come nobody is told, and rules see it all the same
  given: [08:00:00 row known/C, 08:00:01 AccessGranted credential=C]
  expect: []
  of: [told, stranger]
";

const WAYS: [Way; 4] = [
    Way { batch: usize::MAX, shards: 1, restore_every: 0, sites: 1 },
    Way { batch: 1, shards: 1, restore_every: 0, sites: 1 },
    Way { batch: 2, shards: 3, restore_every: 0, sites: 8 },
    Way { batch: 1, shards: 8, restore_every: 1, sites: 1 },
];

#[test]
fn rules_see_what_was_changed_and_hear_of_it() {
    let interner = Arc::new(Interner::default());
    let plan = compile(RULEBOOK, &interner);
    let files = [("tables.yaml".to_owned(), RULEBOOK.to_owned())];
    let trials = read(&files, &plan).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(trials.len(), 7);
    for trial in &trials {
        for way in WAYS {
            let outcome = trial.run(&plan, &interner, way);
            let (missing, other) = (&outcome.missing, &outcome.unexpected);
            assert!(outcome.passed(), "{} {way:?}: {missing:?} {other:?}", trial.name);
        }
    }
}

#[test]
fn a_row_that_cannot_be_given_is_told() {
    let interner = Interner::default();
    let plan = compile(RULEBOOK, &interner);
    let text = "tests:
- name: odd
  given: [08:00:00 row door/D1, 08:00:00 row doors/D1 limit=3s, 08:00:00 row doors/D1 held_limit=red,
    08:00:00 row grades/x, 08:00:00 no row, 08:00:00 row doors/D1 held]
  expect: []
";
    let faults = read(&[("t.yaml".to_owned(), text.to_owned())], &plan).expect_err("six faults");
    let told: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let wanted = [
        "no table or list `door`",
        "table `doors` has no column `limit`",
        "\"red\" in column `held_limit` of table `doors`",
        "`x` is not an integer",
        "which row of which table",
        "`held` is no column=value",
    ];
    assert_eq!(told, wanted);
}
