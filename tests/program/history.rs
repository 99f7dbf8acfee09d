//! `backtest` over recorded history: files, and the log of a program that runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::{data, portcullis, project};
use crate::server::Server;

/// What a command printed, and how it ended.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

fn run(args: &[&str], paths: &[&Path]) -> Said {
    let output = portcullis().args(args).args(paths).output().unwrap_or_else(|e| panic!("{e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    fn holds(&self, lines: &[&str]) {
        for line in lines {
            assert!(self.out.contains(line), "{line}\nis not in\n{}{}", self.out, self.err);
        }
    }
}

/// One canonical event of Harbour North, as a line.
fn event(minute: u64, second: f64, kind: &str, id: &str, fields: &str) -> String {
    format!(
        "{{\"kind\":\"{kind}\",\"occurred\":\"2026-03-02T22:{minute:02}:{second:06.3}Z\",\
         \"site\":\"harbour-north\",\"device\":\"ctl-1\",\"id\":\"{id}\"{fields}}}\n"
    )
}

/// A night: a door that a grant excuses a second later, one that nothing excuses, four refusals.
fn night() -> String {
    let mut text = String::new();
    text += &event(0, 0.0, "Heartbeat", "h0", "");
    text += &event(1, 0.0, "DoorOpened", "o1", ",\"door\":\"quay-1\"");
    text += &event(1, 1.0, "AccessGranted", "g1", ",\"door\":\"quay-1\",\"credential\":\"c-1\"");
    text += &event(1, 9.0, "DoorClosed", "x1", ",\"door\":\"quay-1\"");
    text += &event(20, 0.0, "DoorOpened", "o2", ",\"door\":\"quay-1\"");
    text += &event(20, 5.0, "DoorClosed", "x2", ",\"door\":\"quay-1\"");
    for n in 0..4 {
        let id = format!("d{n}");
        let fields = ",\"door\":\"gate-1\",\"credential\":\"c-9\",\"reason\":\"unknown\"";
        text += &event(40, f64::from(n) * 5.0, "AccessDenied", &id, fields);
    }
    text += &event(55, 0.0, "Heartbeat", "h1", "");
    text
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{e}"));
    path
}

/// The rules of Harbour North in a folder of their own, those of doors and badges changed.
fn changed_rulebook(dir: &Path) -> PathBuf {
    let title = "title: One badge was refused again and again\n  severity: ";
    let (medium, high) = (format!("{title}medium"), format!("{title}high"));
    let changes = [
        // The look ahead goes: a contact that reports before the grant is then an alarm.
        ("doors.yaml", "from: -10s, to: 2s}", "from: -10s}"),
        ("credentials.yaml", &medium, &high),
        ("credentials.yaml", "times: 5}", "times: 4}"),
    ];
    let (from, to) = (project().join("config/rules"), dir.join("changed"));
    std::fs::create_dir_all(&to).unwrap_or_else(|e| panic!("{e}"));
    for file in std::fs::read_dir(&from).unwrap_or_else(|e| panic!("{e}")).flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let mut text = std::fs::read_to_string(file.path()).unwrap_or_else(|e| panic!("{e}"));
        for (_, from, to) in changes.iter().filter(|(of, ..)| *of == name) {
            assert!(text.contains(from), "{from} is not in {name}");
            text = text.replacen(from, to, 1);
        }
        // Its tests are of the rules as they were.
        write(&to, &name, text.split("\ntests:").next().unwrap_or_default());
    }
    to
}

const HARBOUR: &str = "config/harbour-north";

#[test]
fn a_changed_rulebook_of_harbour_north_is_compared() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (rules, file) = (changed_rulebook(dir.path()), write(dir.path(), "n.ndjson", &night()));
    let rules = rules.display().to_string();
    let compare = ["backtest", "--config", HARBOUR, "--rules", &rules, "--json"];
    let said = run(&compare, &[&file]);
    let found = said.json();
    let of = |list: &str| -> Vec<String> {
        let all = found[list].as_array().unwrap_or_else(|| panic!("{found}"));
        let mut rules: Vec<_> =
            all.iter().map(|i| i["rule"].as_str().unwrap_or_default().to_owned()).collect();
        rules.sort();
        rules
    };
    assert!(of("appear").contains(&"door-forced".to_owned()), "{found:#}");
    assert!(of("appear").contains(&"repeated-refusals".to_owned()), "{found:#}");
    assert_eq!(found["rules"]["repeated-refusals"]["old"]["detections"], 0);
    assert_eq!(found["rules"]["repeated-refusals"]["new"]["detections"], 1);
    assert_eq!(found["differs"], true);
    // Nothing differs from itself, and only --exit-code says so by the code.
    let same = ["backtest", "--config", HARBOUR, "--rules", HARBOUR, "--exit-code"];
    let said = run(&same, &[&file]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.holds(&["0 incidents appear, 0 vanish, 0 change"]);
    let compare = ["backtest", "--config", HARBOUR, "--rules", &rules, "--exit-code"];
    assert_eq!(run(&compare, &[&file]).code, Some(3));
    assert_eq!(run(&compare[..5], &[&file]).code, Some(0));
}

#[test]
fn only_the_range_is_compared_and_what_is_before_fills_the_windows() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (rules, file) = (changed_rulebook(dir.path()), write(dir.path(), "n.ndjson", &night()));
    let rules = rules.display().to_string();
    let compare = |range: &str| {
        let args = ["backtest", "--config", HARBOUR, "--rules", &rules, "--json", range];
        let found = run(&args, &[&file]).json();
        found["appear"].as_array().map_or(0, Vec::len)
    };
    // The fourth refusal is at 22:40:15; the three before it are outside the range.
    let all = compare("..");
    assert_eq!(compare("2026-03-02T22:40:15Z.."), 1);
    assert_eq!(compare("-19m..-10m"), 1, "relative to the last event, 22:55");
    assert_eq!(compare("2026-03-02T22:40:16Z.."), 0);
    assert_eq!(compare("2026-03-02..2026-03-03"), all);
}

#[test]
fn the_log_of_a_running_program_is_history() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let config = dir.path().join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    write(
        &config,
        "portcullis.yaml",
        "time: history\nsources: [{id: h, type: http, mappings: [canonical]}]\nrules: [r.yaml]\n",
    );
    let rulebook = |least: u32| {
        format!(
            "facts: {{refusals: {{count: AccessDenied, by: credential, within: 2m}}}}\n\
             rules: [{{id: again, on: AccessDenied, if: refusals >= {least}}}]\n"
        )
    };
    write(&config, "r.yaml", &rulebook(4));
    let new = write(dir.path(), "r.yaml", &rulebook(3)).display().to_string();
    let (data, config) = (dir.path().join("data"), config.display().to_string());
    let mut server = Server::start(Path::new(&config), &data, &[], None);
    assert!(server.post(&night()));
    let listed = |v: &Value| v["items"].as_array().is_some_and(|items| items.len() == 1);
    assert!(server.wait_for("/api/v1/incidents", listed).is_some());
    let at = data.display().to_string();
    let compare = ["backtest", "--config", &config, "--rules", &new, "--data", &at, "--json"];
    let beside = run(&compare, &[]).json();
    assert_eq!(beside["rules"]["again"]["old"]["detections"], 1, "{beside:#}");
    assert_eq!(beside["rules"]["again"]["new"]["detections"], 2, "{beside:#}");
    // The old rules are those in force, where nothing else is said.
    let whole = dir.path().join("whole");
    std::fs::create_dir_all(&whole).unwrap_or_else(|e| panic!("{e}"));
    for name in ["portcullis.yaml", "r.yaml"] {
        let from = Path::new(&config).join(name);
        std::fs::copy(from, whole.join(name)).unwrap_or_else(|e| panic!("{e}"));
    }
    write(&whole, "r.yaml", &rulebook(3));
    let whole = whole.display().to_string();
    let against = run(&["backtest", "--rules", &whole, "--data", &at, "--json"], &[]).json();
    assert_eq!(against["rules"], beside["rules"], "against what is in force");
    assert!(server.terminate());
    let stopped = run(&compare, &[]).json();
    assert_eq!(beside["appear"], stopped["appear"], "running or not, the log is the same");
    let mut nowhere = compare;
    nowhere[6] = "/nowhere";
    let said = run(&nowhere, &[]);
    assert!(said.code == Some(1) && said.err.contains("the log in /nowhere"), "{}", said.err);
}

#[test]
fn the_badge_simulator_under_another_least_time_of_travel() {
    let Some(data) = data("aws-badge-sim") else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let config = "config/examples/aws-badge-sim";
    let path = project().join(config).join("rules/badges.yaml");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{e}"));
    let mut shorter = String::new();
    for line in text.lines() {
        let _ = writeln!(shorter, "{}", line.replace("min_time: 4h", "min_time: 1s"));
    }
    assert_ne!(text, shorter);
    let rules = write(dir.path(), "badges.yaml", &shorter).display().to_string();
    let compare = ["backtest", "--config", config, "--rules", &rules, "--json"];
    let found = run(&compare, &[&data.join("events.jsonl.gz")]).json();
    assert_eq!(found["rules"]["impossible-travel"]["old"]["incidents"], 4);
    assert_eq!(found["rules"]["impossible-travel"]["new"]["incidents"], 0);
    assert_eq!(found["vanish"].as_array().map(Vec::len), Some(4));
    assert_eq!(found["change"].as_array().map(Vec::len), Some(0));
}

/// A configuration of its own: the shipped one is tuned.
fn doors(dir: &Path) -> String {
    let top = "time: history\nsites: [{name: harbour-north}]\n\
        sources: [{id: h, type: http, mappings: [canonical]}]\nrules: [r.yaml]\n";
    let rules = "facts:\n\
        \x20 mode: {by: door, set: {DoorModeChanged: e.mode}, init: locked}\n\
        \x20 refusals: {count: AccessDenied, by: credential, within: 2m}\n\
        rules:\n\
        - id: door-forced\n  on: [DoorOpened, DoorForcedOpen]\n  if: mode == 'locked'\n\
        \x20 unless: [{on: [AccessGranted, RequestToExit], same: door, from: -10s, to: 2s}]\n\
        - {id: repeated-refusals, on: AccessDenied, if: refusals >= 5, by: credential}\n";
    write(dir, "portcullis.yaml", top);
    write(dir, "r.yaml", rules);
    dir.display().to_string()
}

fn explained(config: &str, args: &[&str], file: &Path) -> Said {
    let mut all = vec!["explain", "--config", config];
    all.extend(args);
    run(&all, &[file])
}

#[test]
fn a_rule_says_why_it_kept_silent() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    // The last refusal comes again, and something that is no event.
    let again = event(40, 15.0, "AccessDenied", "d3", ",\"credential\":\"c-9\"");
    let broken = event(41, 0.0, "AccessDenied", "broken", ",\"credential\":5");
    let file = write(dir.path(), "n.ndjson", &(night() + &again + &broken));
    let config = doors(dir.path());
    let why_not =
        |rule: &str, id: &str| explained(&config, &["--why-not", rule, "--event", id], &file);
    why_not("door-forced", "o1").holds(&[
        "door-forced kept silent about /ctl-1/o1",
        "22:01:01.000Z  excused (1): AccessGranted, RequestToExit, /ctl-1/g1 (1s after)",
        "✓ mode == 'locked'   where mode = 'locked'   (",
    ]);
    why_not("door-forced", "ctl-1/o2").holds(&["door-forced spoke of /ctl-1/o2", "detected "]);
    why_not("repeated-refusals", "d3").holds(&[
        "✗ refusals >= 5   where refusals = 4",
        "refusals within 2m: /ctl-1/d0, /ctl-1/d1, /ctl-1/d2, /ctl-1/d3",
        "/ctl-1/d3 came again, and is a duplicate",
    ]);
    why_not("repeated-refusals", "x2")
        .holds(&["the rule looks at AccessDenied, and this is DoorClosed"]);
    let said = why_not("door-forced", "o9");
    assert!(said.err.contains("no event `o9` in this history; did you mean"), "{}", said.err);
    let said = why_not("door-forced", "1");
    assert!(said.err.contains("`1` is the end of "), "{}", said.err);
    let said = why_not("door-forced", "broken");
    assert!(said.err.contains("was rejected (wrong_type)"), "{}", said.err);
    let said = why_not("dor-forced", "o1");
    assert!(said.err.contains("did you mean `door-forced`?"), "{}", said.err);
    let json = explained(&config, &["--why-not", "door-forced", "--event", "o1", "--json"], &file);
    let json = json.json();
    assert_eq!((&json["answer"], &json["event"]), (&"silent".into(), &"/ctl-1/o1".into()));
    assert_eq!(json["sections"][0]["title"], "why not");
}

#[test]
fn an_incident_of_a_real_run_says_why() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let config = dir.path().join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    let top =
        "time: history\nsources: [{id: h, type: http, mappings: [canonical]}]\nrules: [r.yaml]\n";
    write(&config, "portcullis.yaml", top);
    let rules = "facts: {refusals: {count: AccessDenied, by: credential, within: 2m}}\n\
        rules: [{id: again, title: Again, on: AccessDenied, if: refusals >= 4, by: credential}]\n";
    write(&config, "r.yaml", rules);
    let (data, config) = (dir.path().join("data"), config.display().to_string());
    let mut server = Server::start(Path::new(&config), &data, &[], None);
    assert!(server.post(&night()));
    let listed = |v: &Value| v["items"].as_array().is_some_and(|items| items.len() == 1);
    let list = server.wait_for("/api/v1/incidents", listed).unwrap_or_else(|| panic!("it died"));
    let id = list["items"][0]["id"].as_str().unwrap_or_default().to_owned();
    let at = data.display().to_string();
    // Beside the running program, and after it; by the whole id, and by the end of it.
    let beside = run(&["explain", "--config", &config, "--data", &at, "--why", &id], &[]);
    beside.holds(&[
        &format!("{id} again opens the incident, key c-9: Again"),
        "22:40:00.000Z  AccessDenied /ctl-1/d0, key c-9",
        "✗ refusals >= 4   where refusals = 1",
        "refusals within 2m: /ctl-1/d0, /ctl-1/d1, /ctl-1/d2\n",
        "22:40:15.000Z  AccessDenied /ctl-1/d3, key c-9",
        "✓ refusals >= 4   where refusals = 4",
        &format!("✓ detected {id}"),
    ]);
    assert!(server.terminate());
    let ends = &id[id.len() - 6..];
    let after = run(&["explain", "--config", &config, "--data", &at, "--why", ends], &[]);
    assert_eq!(beside.out, after.out);
    // The rulebook that was in force is asked, and not the one that is given now.
    write(Path::new(&config), "r.yaml", &rules.replace(">= 4", ">= 3"));
    let other = ["--data", &at, "--why-not", "again", "--event", "d1"];
    let mut args = vec!["explain", "--config", &config];
    args.extend(other);
    let then = ["note: the configuration given is another", "✗ refusals >= 4   where refusals = 2"];
    run(&args, &[]).holds(&then);
    let mut nowhere = id;
    nowhere.replace_range(..1, "Z");
    let said = run(&["explain", "--config", &config, "--data", &at, "--why", &nowhere], &[]);
    assert!(said.err.contains("did you mean"), "{}", said.err);
}

#[test]
fn tests_say_which_branches_they_did_not_reach() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let top = "sites: [{name: s}]\nsources: [{id: h, type: http, mappings: [canonical]}]\nrules: [r.yaml]\n";
    write(dir.path(), "portcullis.yaml", top);
    let rules = "facts: {open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}}\n\
        rules:\n\
        - id: denied\n  on: AccessDenied\n  if: open && (e.reason == 'lost' || e.reason == 'stolen')\n\
        \x20 exceptions: {the drill: e.area == 'hall'}\n\
        - {id: held, watch: open, if: value, for: 30s}\n\
        - id: forced\n  on: DoorForcedOpen\n  unless: [{on: AccessGranted, same: door, to: 2s}]\n\
        - {id: line, by: door, within: 60s, sequence: [{a: Panic}, {not: Fire, for: 5s}]}\n\
        tests:\n";
    let some = "- name: one\n  given: [08:00:00 DoorOpened door=D, '08:00:01 AccessDenied door=D reason=lost area=yard', \
        08:01:00 DoorForcedOpen door=D, 08:02:00 Panic door=D]\n\
        \x20 expect: [08:00:01 denied, 08:00:30 held, 08:01:02 forced, 08:02:05 line]\n";
    let rest = "- name: two\n  given: ['09:00:00 AccessDenied door=D reason=stolen area=hall', 09:00:01 DoorOpened door=D, \
        09:00:02 AccessDenied door=D reason=stolen area=hall, 09:00:03 AccessDenied door=D reason=stolen area=yard, \
        09:00:04 AccessDenied door=D reason=old area=yard, 09:00:05 DoorClosed door=D, 09:01:00 DoorForcedOpen door=D, \
        09:01:01 AccessGranted door=D, 09:02:00 Panic door=D, 09:02:01 Fire door=D]\n\
        \x20 expect: [09:00:03 denied]\n  of: [denied, held, forced, line]\n";
    let junit = dir.path().join("out.xml");
    let config = dir.path().display().to_string();
    let test = |tests: &str, least: &str| {
        write(dir.path(), "r.yaml", &format!("{rules}{tests}"));
        let args = ["test", "--config", &config, "--coverage-min", least, "--junit"];
        run(&args, &[&junit])
    };
    let said = test(some, "90");
    said.holds(&[
        "not reached:\n  denied\n",
        "never false    open ",
        "never false    e.reason == 'lost' ",
        "never reached  e.reason == 'stolen' ",
        "never false    exception `the drill`: e.area == 'hall' ",
        "never true     excuse 1: AccessGranted",
        "never false    step 2: no Fire",
        "  fact open\n    never true     open: DoorClosed",
    ]);
    assert!(
        said.code == Some(1) && said.err.contains("of the branches are reached, wanted 90 %"),
        "{}",
        said.err
    );
    let xml = std::fs::read_to_string(&junit).unwrap_or_else(|e| panic!("{e}"));
    assert!(
        xml.contains("<property name=\"branches.reached\"") && xml.contains("never reached"),
        "{xml}"
    );
    let said = test(&format!("{some}{rest}"), "100");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("branches reached (100 %)") && !said.out.contains("not reached"),
        "{}",
        said.out
    );
}
