//! A rulebook written out rule by rule, each bound to its own doors or zones of the bench's traffic;
//! and what each of its rules must find, by a plain program that takes them one at a time.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::badges::{BADGES, DOORS, ZONES};
use crate::random::Random;

const MAPPING: &str = include_str!("../../config/examples/ten-rules/mappings/workload.yaml");

const CONFIG: &str = "\
time: history
sources:
- {id: workload, type: file, files: ['*.ndjson', '-'], mappings: [workload], slack: 2s}
mappings: [mappings/workload.yaml]
rules: [rules/written.yaml]
duplicates: {within: 10m, max: 2000000}
";

/// Kinds of event at a door.
const AT_DOORS: &str = "[AccessGranted, AccessDenied, DoorOpened, DoorClosed, DoorForcedOpen]";

/// What a rule looks for at its doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A revoked badge.
    Revoked,
    /// One of a few badges.
    Badges,
    /// So many events within a minute.
    Count,
    /// So many badges within two minutes.
    Distinct,
    /// Refused, then forced open.
    Forced,
    /// Open, and not closed again.
    LeftOpen,
    /// A crowd in a zone.
    Crowd,
}

/// Of twenty rules: two are of zones, and the rest of doors.
const FORMS: [Form; 20] = [
    Form::Revoked,
    Form::Badges,
    Form::Count,
    Form::Revoked,
    Form::Distinct,
    Form::Revoked,
    Form::Crowd,
    Form::Revoked,
    Form::Forced,
    Form::Revoked,
    Form::Revoked,
    Form::Badges,
    Form::Count,
    Form::Revoked,
    Form::Distinct,
    Form::Revoked,
    Form::Crowd,
    Form::Count,
    Form::Forced,
    Form::LeftOpen,
];

/// One rule.
#[derive(Clone, Debug)]
struct Written {
    id: String,
    form: Form,
    /// Doors or zones.
    places: Vec<String>,
    badges: Vec<String>,
}

/// A rulebook of many rules.
#[derive(Clone, Debug)]
pub struct Rulebook(Vec<Written>);

/// An event as it comes.
#[derive(Debug, Deserialize)]
struct Line {
    id: u64,
    ts: u64,
    #[serde(rename = "type")]
    kind: String,
    zone: String,
    door: Option<String>,
    badge: Option<String>,
    result: Option<String>,
    reason: Option<String>,
    heads: Option<u64>,
}

/// `['D0001', 'D0002']` as `e.door in [...]`, one as `e.door == 'D0001'`.
fn one_of(field: &str, values: &[String]) -> String {
    match values {
        [value] => format!("e.{field} == '{value}'"),
        values => format!("e.{field} in ['{}']", values.join("', '")),
    }
}

impl Rulebook {
    /// So many rules, so that an event of the traffic concerns about so many of them.
    #[must_use]
    pub fn new(rules: usize, candidates: usize) -> Self {
        let mut random = Random::new(7);
        let of_zones = (0..rules).filter(|n| FORMS[n % FORMS.len()] == Form::Crowd).count();
        // What waits for openings hears no swipes, and the other way round: some more make it up.
        let doors = candidates * DOORS as usize * 20 / 19;
        let zones = candidates * ZONES as usize;
        let (mut door, mut zone) = (0, 0);
        let places = |count: usize, all: usize, rules: usize, of_all: u64, letter: char| {
            let until = (count + 1) * all / rules;
            let width = if letter == 'D' { 4 } else { 3 };
            // At least one, at most each once.
            let from = count * all / rules;
            let taken = from..until.clamp(from + 1, from + of_all as usize);
            taken.map(|n| format!("{letter}{:0width$}", n as u64 % of_all)).collect::<Vec<_>>()
        };
        let mut written = Vec::with_capacity(rules);
        for number in 0..rules {
            let form = FORMS[number % FORMS.len()];
            let places = if form == Form::Crowd {
                zone += 1;
                places(zone - 1, zones, of_zones, ZONES, 'Z')
            } else {
                door += 1;
                places(door - 1, doors, rules - of_zones, DOORS, 'D')
            };
            let badges = (0..3).map(|_| format!("B{:05}", random.below(BADGES)));
            let badges = if form == Form::Badges { badges.collect() } else { Vec::new() };
            written.push(Written { id: format!("W{number:05}"), form, places, badges });
        }
        Self(written)
    }

    /// Writes a folder of configuration.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir.join("rules"))?;
        std::fs::create_dir_all(dir.join("mappings"))?;
        std::fs::write(dir.join("portcullis.yaml"), CONFIG)?;
        std::fs::write(dir.join("mappings/workload.yaml"), MAPPING)?;
        std::fs::write(dir.join("rules/written.yaml"), self.yaml())
    }

    /// The rules, as they are written.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text = String::from("incidents: {stale: never}\nrules:\n");
        for rule in &self.0 {
            let Written { id, form, places, badges } = rule;
            let door = one_of("door", places);
            let body = match form {
                Form::Revoked => {
                    format!("on: {AT_DOORS}, if: \"{door} && e.reason == 'revoked'\"")
                }
                Form::Badges => {
                    format!("on: {AT_DOORS}, if: \"{door} && {}\"", one_of("credential", badges))
                }
                Form::Count => format!(
                    "on: {AT_DOORS}, if: \"{door}\", count: {{by: door, within: 1m, at_least: 14}}"
                ),
                Form::Distinct => format!(
                    "on: {AT_DOORS}, if: \"{door}\", distinct: {{of: credential, by: door, within: 2m, at_least: 17}}"
                ),
                Form::Forced => format!(
                    "by: door, within: 30s, sequence: [{{a: AccessDenied, if: \"{}\"}}, {{b: DoorForcedOpen}}], without: AccessGranted",
                    door.replace("e.door", "a.door")
                ),
                Form::LeftOpen => format!(
                    "on: DoorOpened, if: \"{door}\", unless: [{{on: DoorClosed, same: door, to: 20s}}]"
                ),
                Form::Crowd => format!(
                    "on: [PeopleCounted, Panic], if: \"{} && e.people >= 44\"",
                    one_of("zone", places)
                ),
            };
            let _ = writeln!(text, "- {{id: {id}, title: Rule {id}, severity: high, {body}}}");
        }
        text
    }

    /// A detection as [`Self::expected`] tells it, by its rule and the ids of the events it cites.
    #[must_use]
    pub fn told(&self, rule: &str, cited: &[u64]) -> String {
        let number = rule.strip_prefix('W').and_then(|number| number.parse::<usize>().ok());
        let form = number.and_then(|number| self.0.get(number)).map(|written| written.form);
        let ids = match (form, cited) {
            // Opened first, and told at the end of the wait.
            (Some(Form::LeftOpen), [first, ..]) => std::slice::from_ref(first),
            (Some(Form::Forced), all) => all,
            (_, [.., last]) => std::slice::from_ref(last),
            (_, []) => &[],
        };
        ids.iter().fold(rule.to_owned(), |text, id| format!("{text} {id}"))
    }

    /// What must be found in lines of traffic: rule and the ids of its events, sorted.
    pub fn expected(&self, traffic: &str) -> Result<Vec<String>, serde_json::Error> {
        let lines: Vec<Line> =
            traffic.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut at: HashMap<&str, Vec<&Line>> = HashMap::new();
        for line in &lines {
            at.entry(line.door.as_ref().unwrap_or(&line.zone)).or_default().push(line);
        }
        let mut found = Vec::new();
        for rule in &self.0 {
            let here = rule.places.iter().filter_map(|place| at.get(place.as_str()));
            let mut own: Vec<&Line> = here.flatten().copied().collect();
            own.sort_by_key(|line| line.ts);
            let ids = rule.found(&own);
            let told =
                |ids: Vec<u64>| ids.iter().fold(rule.id.clone(), |text, id| format!("{text} {id}"));
            found.extend(ids.into_iter().map(told));
        }
        found.sort();
        Ok(found)
    }
}

impl Written {
    /// The detections in the events of the rule's places: the ids of those that make each.
    fn found(&self, own: &[&Line]) -> Vec<Vec<u64>> {
        let within = |at: usize, span: u64| {
            let lines = own[..=at].iter().rev().take_while(move |line| own[at].ts - line.ts < span);
            lines.filter(move |line| line.door == own[at].door)
        };
        let mut found = Vec::new();
        for (at, line) in own.iter().enumerate() {
            let same_door = |other: &&&Line| other.door == line.door;
            match self.form {
                Form::Revoked => {
                    if line.reason.as_deref() == Some("revoked") {
                        found.push(vec![line.id]);
                    }
                }
                Form::Badges => {
                    if line.badge.as_ref().is_some_and(|badge| self.badges.contains(badge)) {
                        found.push(vec![line.id]);
                    }
                }
                Form::Count => {
                    if within(at, 60_000).count() >= 14 {
                        found.push(vec![line.id]);
                    }
                }
                Form::Distinct => {
                    let badges: BTreeSet<_> =
                        within(at, 120_000).filter_map(|line| line.badge.as_ref()).collect();
                    if badges.len() >= 17 {
                        found.push(vec![line.id]);
                    }
                }
                Form::Forced => {
                    if line.kind != "forced" {
                        continue;
                    }
                    for first in own[..at].iter().rev().filter(same_door) {
                        let granted = first.result.as_deref() == Some("granted");
                        if granted || line.ts - first.ts >= 30_000 || first.kind == "forced" {
                            break;
                        }
                        if first.result.as_deref() == Some("denied") {
                            found.push(vec![first.id, line.id]);
                        }
                    }
                }
                Form::LeftOpen => {
                    let soon = |other: &&&Line| other.ts - line.ts < 20_000;
                    let mut after = own[at + 1..].iter().take_while(soon).filter(same_door);
                    if line.kind == "open" && !after.any(|other| other.kind == "close") {
                        found.push(vec![line.id]);
                    }
                }
                Form::Crowd => {
                    if line.heads.is_some_and(|heads| heads >= 44) {
                        found.push(vec![line.id]);
                    }
                }
            }
        }
        found
    }
}
