//! The store keeps each output once, whatever is repeated, and shows it by the API's names.

mod story;

use std::collections::BTreeSet;

use event::incident::{Change, IncidentState, Severity, Tier};
use sinks::store::{Counts, StoreLimits};
use sinks::{DeadLetter, Filter, Reader, Store, StoreError};
use story::{SITE, at, detection, id, joined, opened, output};
use tempfile::TempDir;

fn fresh() -> (TempDir, Store, Reader) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("incidents.db")).expect("a store");
    let reader = Reader::open(store.path()).expect("a reader");
    (dir, store, reader)
}

/// Fence, then camera at the fence, then the seal at the gate, linked; fence clears and returns.
fn night() -> Vec<event::incident::Output> {
    let (fence, seal) = (id(100, "fence-climb"), id(160, "seal-forged"));
    let mut worse = joined(2, "person-on-camera", 120, fence);
    if let Change::Joined(d) = &mut worse.change {
        d.severity = Severity::High;
        d.evidence_omitted = 3;
        d.events[0] = story::evidence("camera", 99);
    }
    vec![
        opened(1, "fence-climb", 100),
        worse,
        opened(3, "seal-forged", 160),
        output(4, Change::Linked { incident: seal, to: fence, at: at(160) }),
        output(5, Change::Shadowed(detection("tailgate", 170, None))),
        output(6, Change::Cleared { incident: fence, at: at(180) }),
        joined(7, "fence-climb", 200, fence),
    ]
}

fn everything(reader: &Reader) -> (Vec<String>, Counts) {
    let page = reader.incidents(&Filter::default(), None, 100).expect("a page");
    let details = page.items.iter().map(|i| {
        let detail = reader.incident(i.id).expect("a read").expect("an incident");
        serde_json::to_string(&detail).expect("JSON")
    });
    (details.collect(), reader.counts().expect("counts"))
}

#[test]
fn a_night_is_shown_as_it_was() {
    let (_dir, mut store, reader) = fresh();
    store.commit(&night(), &[]).expect("a commit");
    let page = reader.incidents(&Filter::default(), None, 10).expect("a page");
    assert_eq!(page.next, None);
    let [seal, fence] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((seal.rule.as_str(), fence.rule.as_str()), ("seal-forged", "fence-climb"));
    assert_eq!((&seal.links, &fence.links), (&vec![fence.id], &vec![seal.id]));
    assert_eq!((fence.detections, fence.events, fence.evidence_omitted), (3, 5, 3));
    assert_eq!(fence.severity, Severity::High);
    assert_eq!(fence.state, IncidentState::Active);
    assert_eq!((fence.opened_at, fence.updated_at), (at(100), at(200)));
    assert_eq!(fence.feeds, ["camera", "fence"]);

    let detail = reader.incident(fence.id).expect("a read").expect("an incident");
    let what: Vec<_> = detail.timeline.iter().map(|t| t.what.as_str()).collect();
    assert_eq!(what, ["opened", "joined", "escalated", "linked", "cleared", "joined", "returned"]);
    assert_eq!(detail.links[0].title.as_deref(), Some("what seal-forged is about"));
    assert_eq!(detail.detections[0].events, ["camera/dev-1/99", "fence/dev-1/100"]);
    assert_eq!(detail.detections[0].why, [("count".to_owned(), "2".to_owned())]);

    let json = serde_json::to_value(&detail).expect("JSON");
    let event = json["events"][0].as_object().expect("an event");
    let keys: Vec<_> = event.keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "feed", "kind", "device", "occurred", "recorded", "raw"]);
    assert_eq!(event["raw"], "{\"n\":99}");
    assert_eq!(json["incident"]["severity"], "high");
    assert_eq!(json["incident"]["opened_at"], at(100).to_string());
    for key in ["id", "rule", "title", "site", "area", "state", "updated_at", "feeds", "links"] {
        assert!(json["incident"].get(key).is_some(), "{key}");
    }
    assert!(reader.incident(id(1, "nothing")).expect("a read").is_none());

    let counts = reader.counts().expect("counts");
    assert_eq!((counts.incidents, counts.detections, counts.shadowed), (2, 4, 1));
    assert_eq!(counts.incidents_by_severity["high"], 1);
    assert_eq!(counts.incidents_by_state["active"], 2);
}

#[test]
fn any_cut_and_any_repeat_gives_the_same_store() {
    let night = night();
    let (_dir, mut store, reader) = fresh();
    store.commit(&night, &[]).expect("a commit");
    let (all, counts) = everything(&reader);
    whole(store.path());
    for cut in 0..=night.len() {
        let (dir, mut store, reader) = fresh();
        store.commit(&night[..cut], &[]).expect("a commit");
        drop(store);
        // Restarted: the engine tells again from its snapshot what it had told before.
        let mut store = Store::open(dir.path().join("incidents.db")).expect("a store");
        let last = store.emitted_seq().expect("a read").get(SITE).copied().unwrap_or(0);
        assert_eq!(last, cut as u64);
        store.commit(&night[cut / 2..], &[]).expect("a commit");
        store.commit(&night, &[]).expect("a commit");
        let (details, again) = everything(&reader);
        // Revisions count changes per commit; all else is the same byte for byte.
        assert_eq!(without_revisions(&details), without_revisions(&all), "cut at {cut}");
        assert_eq!(Counts { revision: 0, ..again }, Counts { revision: 0, ..counts.clone() });
    }
}

fn without_revisions(details: &[String]) -> Vec<serde_json::Value> {
    let strip = |text: &String| {
        let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value["incident"]["revision"] = serde_json::Value::Null;
        value
    };
    details.iter().map(strip).collect()
}

#[test]
fn ids_stand_once_even_when_the_sequence_starts_again() {
    let (_dir, mut store, reader) = fresh();
    store.commit(&[opened(1, "fence-climb", 100)], &[]).expect("a commit");
    store.commit(&[opened(2, "fence-climb", 100)], &[]).expect("a commit");
    let counts = reader.counts().expect("counts");
    assert_eq!((counts.incidents, counts.detections, counts.events), (1, 1, 2));
}

#[test]
fn a_commit_that_fails_leaves_nothing() {
    let (_dir, mut store, reader) = fresh();
    let orphan = joined(2, "person-on-camera", 120, id(100, "nothing"));
    let error = store.commit(&[opened(1, "fence-climb", 100), orphan], &[]).expect_err("an orphan");
    assert!(matches!(error, StoreError::UnknownIncident { seq: 2, .. }), "{error}");
    assert!(!error.may_pass());
    assert_eq!(reader.counts().expect("counts").incidents, 0);
    assert!(store.emitted_seq().expect("a read").is_empty());
    // Its events are not taken for known either.
    store.commit(&[opened(1, "fence-climb", 100)], &[]).expect("a commit");
    let detail = reader.incident(id(100, "fence-climb")).expect("a read").expect("an incident");
    assert_eq!((detail.events.len(), reader.counts().expect("counts").events), (2, 2));
}

#[test]
fn an_event_that_two_detections_cite_is_one_of_their_incident() {
    let (dir, mut store, reader) = fresh();
    let incident = id(100, "fence-climb");
    let mut commit = |output| {
        store.commit(&[output], &[]).expect("a commit");
        let detail = reader.incident(incident).expect("a read").expect("an incident");
        (detail.incident.events, detail.events.len())
    };
    assert_eq!(commit(opened(1, "fence-climb", 100)), (2, 2));
    assert_eq!(commit(joined(2, "person-on-camera", 100, incident)), (2, 2));
    assert_eq!(commit(joined(3, "person-on-camera", 101, incident)), (4, 4));
    drop(store);
    // Of a store that is opened anew nothing is known without a look.
    let mut store = Store::open(dir.path().join("incidents.db")).expect("a store");
    store.commit(&[joined(4, "motion", 101, incident)], &[]).expect("a commit");
    let detail = reader.incident(incident).expect("a read").expect("an incident");
    assert_eq!((detail.incident.events, detail.incident.detections), (4, 4));
}

#[test]
fn pages_follow_one_another_while_incidents_arrive() {
    let (_dir, mut store, reader) = fresh();
    let many: Vec<_> = (1..=25_u32).map(|n| opened(n.into(), "r", i64::from(n) * 10)).collect();
    store.commit(&many, &[]).expect("a commit");
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = reader.incidents(&Filter::default(), cursor.as_deref(), 7).expect("a page");
        seen.extend(page.items.iter().map(|i| i.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        // Newer than the first page: it must not shift the pages behind it.
        let seq = 26 + seen.len() as u64;
        store.commit(&[opened(seq, "late", 1_000 + seen.len() as i64)], &[]).expect("a commit");
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|a, b| a > b));
    let error = reader.incidents(&Filter::default(), Some("x"), 7).expect_err("no cursor");
    assert!(error.to_string().contains("`x` is no cursor"), "{error}");
}

#[test]
fn filters_narrow() {
    let (_dir, mut store, reader) = fresh();
    store.commit(&night(), &[]).expect("a commit");
    let found = |filter: Filter| {
        let page = reader.incidents(&filter, None, 10).expect("a page");
        page.items.into_iter().map(|i| i.rule).collect::<Vec<_>>()
    };
    let none = Filter::default;
    assert_eq!(found(Filter { severity: Some(Severity::High), ..none() }), ["fence-climb"]);
    assert_eq!(found(Filter { rule: Some("seal-forged".into()), ..none() }), ["seal-forged"]);
    assert_eq!(found(Filter { state: Some(IncidentState::Closed), ..none() }), [""; 0]);
    assert_eq!(found(Filter { site: Some(SITE.into()), ..none() }).len(), 2);
    assert_eq!(found(Filter { text: Some("FENCE".into()), ..none() }), ["fence-climb"]);
    assert_eq!(found(Filter { text: Some("e%f".into()), ..none() }), [""; 0]);
    let filter: Filter =
        serde_json::from_str(r#"{"state":"active","severity":"medium"}"#).expect("a filter");
    assert_eq!(found(filter), ["seal-forged"]);
}

#[test]
fn changes_are_told_once_and_from_where_one_left() {
    let (_dir, mut store, reader) = fresh();
    store.commit(&night()[..3], &[]).expect("a commit");
    let (first, revision) = reader.changed_since(0).expect("changes");
    assert_eq!(first.len(), 2);
    assert_eq!(reader.changed_since(revision).expect("changes"), (Vec::new(), revision));
    store.commit(&night()[3..4], &[]).expect("a commit");
    let (linked, _) = reader.changed_since(revision).expect("changes");
    assert_eq!(linked.len(), 2, "a link changes both ends");
    assert!(linked.iter().all(|i| i.links.len() == 1));
}

#[test]
fn a_link_waits_for_an_incident_of_another_site() {
    let (_dir, mut store, reader) = fresh();
    let other = id(90, "elsewhere");
    let linked = Change::Linked { incident: id(100, "fence-climb"), to: other, at: at(100) };
    store.commit(&[opened(1, "fence-climb", 100), output(2, linked)], &[]).expect("a commit");
    let detail = reader.incident(id(100, "fence-climb")).expect("a read").expect("an incident");
    assert_eq!((detail.links[0].id, detail.links[0].title.as_ref()), (other, None));
}

fn letter(position: u64, raw: &[u8]) -> DeadLetter {
    DeadLetter {
        source: "badge".to_owned(),
        position,
        reason: "invalid_json".to_owned(),
        raw: raw.to_vec(),
        at: at(position as i64),
    }
}

#[test]
fn dead_letters_are_bounded_and_what_was_dropped_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits =
        StoreLimits { dead_letters_max: 5, dead_letter_bytes_max: 100, ..StoreLimits::default() };
    let mut store = Store::open_with(dir.path().join("incidents.db"), limits).expect("a store");
    let reader = Reader::open(store.path()).expect("a reader");
    let letters: Vec<_> = (0..8).map(|n| letter(n, b"{\xff")).collect();
    store.commit(&[], &letters).expect("a commit");
    // The same again: replaced, not added.
    store.commit(&[], &letters[4..]).expect("a commit");
    let shown = reader.dead_letters(10).expect("a read");
    let positions: BTreeSet<_> = shown.iter().map(|l| l.position).collect();
    assert_eq!(positions, (3..8).collect());
    assert_eq!(shown[0].raw, "base64:e/8=");
    let counts = reader.counts().expect("counts");
    assert_eq!((counts.dead_letters["delivery"], counts.dead_letters_dropped["delivery"]), (5, 3));
    // Bytes are bounded too.
    store.commit(&[], &[letter(20, &[b'x'; 95])]).expect("a commit");
    let shown = reader.dead_letters(10).expect("a read");
    assert_eq!(shown.iter().map(|l| l.bytes).collect::<Vec<_>>(), [95, 2, 2]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_dir, store, _) = fresh();
    let path = store.path().to_owned();
    drop(store);
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.pragma_update(None, "user_version", 9).expect("a newer program");
    for error in [Store::open(&path).err(), Reader::open(&path).err()] {
        let Some(error @ StoreError::NewerSchema { found: 9, known: 8, .. }) = error else {
            panic!("{error:?}")
        };
        assert!(error.to_string().contains("run the newer Portcullis again"), "{error}");
    }
    let version: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0)).expect("a read");
    assert_eq!(version, 9);
}

#[test]
fn a_new_store_has_long_pages() {
    let (_dir, store, _) = fresh();
    let db = rusqlite::Connection::open(store.path()).expect("a database");
    let bytes: u32 = db.pragma_query_value(None, "page_size", |r| r.get(0)).expect("a read");
    assert_eq!(bytes, sinks::limits::STORE_PAGE_BYTES);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("photos.db");
    let db = rusqlite::Connection::open(&path).expect("a database");
    db.execute_batch("CREATE TABLE photo (n INTEGER)").expect("a table");
    assert!(matches!(Store::open(&path), Err(StoreError::Foreign { .. })));
}

#[test]
fn what_is_recorded_late_is_stored_and_told_to_nobody() {
    let (_dir, mut store, reader) = fresh();
    store.register_sinks(&["soc"]).expect("a registration");
    let late = |seq, rule, second, tier| {
        let mut output = opened(seq, rule, second);
        output.late = Some(tier);
        if let Change::Opened(_, detection) = &mut output.change {
            detection.late = Some(tier);
        }
        output
    };
    let waiting = || reader.counts().expect("counts").sinks[0].pending;
    store.commit(&[late(1, "seal-forged", 100, Tier::Recorded)], &[]).expect("a commit");
    assert_eq!(waiting(), 0);
    store.commit(&[late(2, "fence-climb", 200, Tier::Live)], &[]).expect("a commit");
    assert_eq!(waiting(), 1);
    // What joins it in time is told, with all it joined.
    store.commit(&[joined(3, "seal-forged", 300, id(100, "seal-forged"))], &[]).expect("a commit");
    assert_eq!(waiting(), 2);
    let page = reader.incidents(&Filter::default(), None, 10).expect("a page");
    let tiers: Vec<_> = page.items.iter().map(|incident| incident.late).collect();
    assert_eq!(tiers, [Some(Tier::Live), Some(Tier::Recorded)]);
    let detail = reader.incident(id(100, "seal-forged")).expect("a read").expect("an incident");
    let tiers: Vec<_> = detail.detections.iter().map(|detection| detection.late).collect();
    assert_eq!(tiers, [Some(Tier::Recorded), None]);
}

/// Every row that refers to another stands beside it, though nobody enforces that while writing.
fn whole(path: &std::path::Path) {
    let db = rusqlite::Connection::open(path).expect("a database");
    let broken = db.prepare("PRAGMA foreign_key_check").expect("a check").exists([]);
    assert_eq!(broken, Ok(false));
}

#[test]
fn a_store_of_more_rows_is_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("incidents.db");
    let db = rusqlite::Connection::open(&path).expect("a database");
    for schema in ["0001_incidents", "0002_policies", "0003_late", "0004_acts"] {
        let file = format!("{}/src/store/schema/{schema}.sql", env!("CARGO_MANIFEST_DIR"));
        db.execute_batch(&std::fs::read_to_string(file).expect("a schema")).expect(schema);
    }
    let (incident, joined) = (id(100, "fence-climb").to_string(), id(120, "camera").to_string());
    let fact = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        db.execute(sql, values).unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    fact(
        "INSERT INTO incident (n, id, rule, title, severity, site, state, opened_at, updated_at,
             config_hash, detections, events) VALUES (1, ?1, 'fence-climb', 'Over the fence', 2,
             'harbour', 'active', 100000000, 120000000, 'h', 2, 2)",
        &[&incident],
    );
    for (n, id) in [(1, &incident), (2, &joined)] {
        fact(
            "INSERT INTO detection (n, id, incident, rule, title, severity, site, key, at,
                 evidence_omitted, why) VALUES (?1, ?2, 1, 'r', 't', 2, 'harbour', 'k',
                 ?1 * 100000000, 0, '[[\"count\", \"2\"]]')",
            &[&n, id],
        );
    }
    for (n, feed) in [(1, "fence"), (2, "camera")] {
        fact("INSERT INTO event VALUES (?1, 'e' || ?1, ?2, 'K', 'd', ?1, ?1, '{}')", &[&n, &feed]);
        fact("INSERT INTO incident_event VALUES (1, ?1)", &[&n]);
        fact("INSERT INTO incident_feed VALUES (1, ?1)", &[&feed]);
    }
    for (detection, place, event) in [(1, 0, 1), (2, 0, 2), (2, 1, 1)] {
        fact("INSERT INTO detection_event VALUES (?1, ?2, ?3)", &[&detection, &place, &event]);
    }
    for what in ["opened", "joined"] {
        fact("INSERT INTO timeline (incident, at, what, text) VALUES (1, 1, ?1, 'said')", &[&what]);
    }
    for (name, value) in [("events", 2), ("detections", 2), ("revision", 1)] {
        fact("INSERT INTO counter VALUES (?1, ?2)", &[&name, &value]);
    }
    fact("UPDATE incident SET revision = 1", &[]);
    db.pragma_update(None, "user_version", 4).expect("a version");
    db.pragma_update(None, "application_id", 0x504f_5254).expect("an application");
    drop(db);
    let mut store = Store::open(&path).expect("a store");
    store
        .commit(&[story::joined(1, "fence-climb", 200, id(100, "fence-climb"))], &[])
        .expect("more");
    let reader = Reader::open(&path).expect("a reader");
    let detail = reader.incident(id(100, "fence-climb")).expect("a read").expect("an incident");
    assert_eq!(detail.incident.feeds, ["camera", "fence"]);
    let cited: Vec<_> = detail.detections.iter().map(|d| d.events.clone()).collect();
    assert_eq!(cited[..2], [vec!["e1".to_owned()], vec!["e2".to_owned(), "e1".to_owned()]]);
    assert_eq!(detail.incident.detections, 3);
    let why = ("count".to_owned(), "2".to_owned());
    assert!(detail.detections.iter().all(|d| d.why == [why.clone()]));
    // Two stood there, two came with the third.
    let counts = reader.counts().expect("counts");
    assert_eq!((detail.incident.events, detail.events.len(), counts.events), (4, 4, 4));
    let (changed, _) = reader.changed_since(0).expect("changes");
    assert_eq!(changed.iter().map(|i| i.id).collect::<Vec<_>>(), [id(100, "fence-climb")]);
    let what: Vec<_> = detail.timeline.iter().map(|t| t.what.as_str()).collect();
    assert_eq!(what, ["opened", "joined", "joined"]);
    whole(&path);
}
