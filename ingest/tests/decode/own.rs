//! Canonical events, and what a mapping of one's own can say.

use std::sync::Arc;

use event::EventTime;
use event::control::RowChange;
use event::tables::{Applied, Tables};

use super::Bench;

#[test]
fn canonical_events_and_their_envelope() {
    let mut bench = Bench::new(&["canonical", "cloudevents"], "", "");
    let event = r#"{"kind":"AccessGranted","feed":"badge","device":"R1","id":"9","occurred":"2026-01-01T10:00:00+02:00","door":"D1","credential":"C1"}"#;
    let wanted = "AccessGranted badge/R1/9 2026-01-01T08:00:00.000Z door=D1 credential=C1";
    assert_eq!(bench.read("t", event), wanted);
    let data = &event[..event.len() - 1];
    let envelope = |data: &str| {
        format!(r#"{{"specversion":"1.0","type":"x","source":"y","id":"77","data":{data}}}"#)
    };
    assert_eq!(bench.read("t", envelope(event)), wanted);
    let faults = [
        (format!("{data},\"colour\":1}}"), "unknown_field"),
        (format!("{data},\"score\":\"high\"}}"), "wrong_type"),
        (format!("{data},\"door\":\"D2\"}}"), "duplicate_key"),
        (event.replace("AccessGranted", "Granted"), "unknown_kind"),
        (event.replace("2026-01-01T", "2026-13-01T"), "invalid_time"),
        (event.replace("\"device\":\"R1\",", ""), "missing_field"),
        (format!("[{event}]"), "wrong_type"),
        (format!("{event} x"), "invalid_json"),
        (format!("{}1{}", "[".repeat(200), "]".repeat(200)), "too_deep"),
    ];
    for (payload, wanted) in faults {
        let head: String = payload.chars().take(200).collect();
        assert_eq!(bench.read("t", payload), wanted, "{head}");
    }
    assert_eq!(bench.read("t", b"\"\xff\""), "invalid_utf8");
}

const DOORS: &str = "
fields: {dwell_s: float, tries: int, forced: bool}
kinds: [GuardTour]
mappings:
- name: doors
  topics: [site/+/doors]
  feed: badge
  require: [$.reads]
  zone: Europe/Oslo
  events:
  - each: $.reads
    kind: {path: $item.result, map: {ok: AccessGranted, no: AccessDenied, tour: GuardTour, test: null}}
    occurred: {path: $item.at, format: '%Y-%m-%d %H:%M:%S'}
    device: {join: [reader, $item.reader], with: '-'}
    id: $item.n
    fields:
      door: {path: $item.reader, table: readers, column: door, default: none}
      credential: {path: $item.card, slice: '-4..'}
      dir: {value: in}
      dwell_s: $item.dwell
      tries: $item.tries
      forced: $item.forced
- name: rows
  format: csv
  columns: [at, card, door, result]
  feed: badge
  events:
  - kind: {path: $.result, map: {Y: AccessGranted, '*': AccessDenied}}
    occurred: {path: $.at, format: epoch_s}
    device: $.door
    fields: {door: $.door, credential: $.card}
";

const READERS: &str = "
tables:
  readers:
    columns: {door: string}
    rows:
      '7': {door: D7}
";

#[test]
fn one_of_everything_a_mapping_can_say() {
    let mut bench = Bench::new(&["doors"], DOORS, READERS);
    let reads = |reads: &str| format!("{{\"reads\":[{reads}]}}");
    let summer = r#"{"n":1,"result":"ok","at":"2026-07-01 12:00:00","reader":7,"card":"00123456","dwell":2.5,"tries":3,"forced":false}"#;
    let winter = r#"{"n":2,"result":"no","at":"2026-01-01 12:00:00","reader":8,"card":"12"}"#;
    let tested = r#"{"n":3,"result":"test","at":"2026-01-01 12:00:00","reader":8}"#;
    let all = format!("{summer},{tested},{winter}");
    let wanted = "AccessGranted badge/reader-7/1 2026-07-01T10:00:00.000Z door=D7 credential=3456 \
                  dir=in dwell_s=2.5 tries=3 forced=false\n\
                  AccessDenied badge/reader-8/2 2026-01-01T11:00:00.000Z door=none credential=12 \
                  dir=in";
    assert_eq!(bench.read("site/a/doors", reads(&all)), wanted);
    assert_eq!(bench.read("site/a/doors", reads(tested)), "ignored");
    assert_eq!(bench.read("site/a/doors", reads("")), "ignored");
    let wrong = [
        (winter.replace("\"no\"", "\"maybe\""), "invalid_value"),
        (winter.replace("2026-01-01 12", "2026-01-01T12"), "invalid_time"),
        (winter.replace("\"card\"", "\"tries\":\"many\",\"card\""), "wrong_type"),
        (winter.replace("\"reader\":8,", ""), "missing_field"),
    ];
    for (read, wanted) in wrong {
        let payload = reads(&format!("{summer},{read}"));
        assert_eq!(bench.read("site/a/doors", payload), wanted, "{read}");
    }
    assert_eq!(bench.read("site/a/windows", reads(summer)), "no_mapping");
}

#[test]
fn rows_are_read_by_their_columns() {
    let mut bench = Bench::new(&["rows"], DOORS, READERS);
    assert_eq!(bench.read("f.csv", "at,card,door,result"), "ignored");
    let granted = bench.read("f.csv", "1700000001,\"C,1\",D1,Y");
    assert!(granted.starts_with("AccessGranted badge/D1/"), "{granted}");
    assert!(granted.ends_with(" 2023-11-14T22:13:21.000Z door=D1 credential=C,1"), "{granted}");
    assert_eq!(bench.read("f.csv", "1700000001,C1,D1"), "invalid_csv");
    assert_eq!(bench.read("f.csv", "soon,C1,D1,N"), "invalid_time");
}

const REGISTER: &str = "
mappings:
- name: register
  topics: [port/register/#]
  otherwise: reject
  events:
  - when: {$.read: {exists: true}}
    kind: SealRead
    occurred: $.at
    device: {value: gate}
    fields: {container: $.container, seal: $.read}
  rows:
  - each: $.list
    table: seals
    row: $item.container
    cells: {number: $item.seal, class: {value: H}}
  - when: {$.container: {exists: true}}
    table: seals
    row: {path: $.container, slice: ..11}
    cells: {number: $.seal, due: $.due, weight: $.kg}
    at: {path: $.at, format: epoch_s}
    remove: {$.state: [broken, gone]}
";

const SEALS: &str = "
tables:
  seals: {columns: {number: string, class: string, due: time, weight: float}}
  devices: {columns: {site: string}}
";

#[test]
fn a_delivery_changes_rows_of_tables() {
    let mut bench = Bench::new(&["register"], REGISTER, SEALS);
    let mut read = |payload: &str| bench.read("port/register/1", payload);
    let set = r#"{"container":"MSKU1234565-x","seal":"S1","due":"2026-03-02T08:00:00+02:00","kg":7,"at":1772438400}"#;
    let set_at = "row seals/MSKU1234565 due=\"2026-03-02T08:00:00+02:00\" number=\"S1\" weight=7 \
        at 2026-03-02T08:00:00.000Z";
    assert_eq!(read(set), set_at);
    let gone = r#"{"container":"MSKU1234565","state":"broken","seal":"S1"}"#;
    assert_eq!(read(gone), "row seals/MSKU1234565 gone");
    let list = r#"{"list":[{"container":"A","seal":"1"},{"container":"B"}]}"#;
    let rows = "row seals/A class=\"H\" number=\"1\"\nrow seals/B class=\"H\"";
    assert_eq!(read(list), rows);
    // Nothing of a delivery stays when one of its changes is none.
    let faulty = r#"{"list":[{"container":"A","seal":"1"},{"seal":"2"}]}"#;
    assert_eq!(read(faulty), "missing_field");
    assert_eq!(read(&set.replace("7,", "\"heavy\",")), "wrong_type");
    assert_eq!(read(&set.replace("\"2026-03-02T08:00:00+02:00\"", "\"soon\"")), "wrong_type");
    assert_eq!(read("{}"), "no_mapping");
}

#[test]
fn what_was_changed_is_joined_from_then_on() {
    let model = "tables: {devices: {columns: {site: string}}}";
    let mut bench = Bench::new(&["canonical"], "", model);
    let event = r#"{"kind":"Panic","device":"D","id":"1","occurred":"2026-01-01T08:00:00Z"}"#;
    assert!(!bench.read("t", event).contains("site="), "the source's own site");
    let mut tables = Tables::clone(bench.decoder.tables());
    let cells = [("site".to_owned(), "south".into())].into_iter().collect();
    let change =
        RowChange { table: "devices".into(), row: "D".into(), cells: Some(cells), at: None };
    let applied = tables.apply(&change, ("ann", ""), EventTime(0), &bench.interner);
    assert_eq!(applied, Ok(Applied::Changed));
    bench.decoder.know(&Arc::new(tables));
    assert!(bench.read("t", event).contains("site=south"), "{}", bench.read("t", event));
}
