//! Reads the tests of rulebook files.

use std::collections::BTreeMap;

use event::config::{Diagnostic, Node, Reader, did_you_mean};
use event::control::RowChange;
use event::model::ColumnType;
use event::tables::check;
use event::vocabulary::KIND_ADVANCE;
use event::{EventTime, FieldType, Interner, TimeSpan};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::act;
use super::{Does, Expected, Field, Given, GivenChange, GivenRow, OF_INCIDENTS, Trial, zone_of};
use crate::plan::Plan;

/// Keys of a test.
pub const KEYS: &[&str] = &["name", "site", "day", "slack", "of", "ends", "given", "expect"];

/// A Monday that is no holiday anywhere.
const DAY: &str = "2026-03-02";

/// Reads `tests:` of files, given as (path, text); or every fault in them.
pub fn read(files: &[(String, String)], plan: &Plan) -> Result<Vec<Trial>, Vec<Diagnostic>> {
    let (mut trials, mut faults) = (Vec::new(), Vec::new());
    for (path, text) in files {
        let (mut reader, root) = Reader::parse(path, text);
        for node in root.get("tests").map(Node::items).unwrap_or_default() {
            trials.extend(trial(&mut reader, node, plan));
        }
        faults.append(&mut reader.diagnostics);
    }
    if faults.iter().any(|fault| !fault.warning) { Err(faults) } else { Ok(trials) }
}

/// How the times of a test are meant.
struct Clock {
    day: Date,
    zone: TimeZone,
}

fn trial(reader: &mut Reader, node: &Node, plan: &Plan) -> Option<Trial> {
    reader.expect_keys(node, KEYS);
    let name = reader.required_text(node, "name")?;
    let first = plan.calendar.zones_by_name.keys().next().cloned();
    let site = reader.optional_text(node, "site").or(first).unwrap_or_else(|| "site".to_owned());
    let day = match node.get("day") {
        None => DAY.parse().ok(),
        Some(day) => reader.parsed(day, "a day such as 2026-12-25"),
    }?;
    let clock = Clock { day, zone: zone_of(plan, &site) };
    let (mut given, mut rows, mut last) = (Vec::new(), Vec::new(), None);
    for item in node.get("given").map(Node::items).unwrap_or_default() {
        let Some((at, words)) = line(reader, item, &clock, last) else { continue };
        last = Some(at);
        let first = words.first().map(String::as_str).unwrap_or_default();
        if matches!(first, "row" | "no") || act::WORDS.contains(&first) {
            // Time goes on to the change, so that what came before is judged without it.
            let change = match first {
                "row" | "no" => {
                    let change = change_of(reader, item, plan, &words, &clock);
                    change.map(|change| (GivenChange::Row(change), String::new()))
                }
                _ => act::read(reader, item, plan, &site, &words),
            };
            given.extend(change.is_some().then(|| Given::bare(at, &site)));
            let behind = given.len();
            rows.extend(change.map(|(change, reason)| GivenRow { behind, change, reason }));
        } else {
            given.extend(given_of(reader, item, plan, &clock, words, Given::bare(at, &site)));
        }
    }
    let items = node.get("expect").map(Node::items).unwrap_or_default();
    let expect: Vec<Expected> =
        items.iter().filter_map(|item| expected(reader, item, plan, &clock)).collect();
    if node.get("expect").is_none() {
        let help = Some("write expect: [] when nothing must be found".to_owned());
        reader.error_with(node, "`expect` is missing", help);
    }
    let mut of: Vec<String> = Vec::new();
    for item in node.get("of").map(Node::items).unwrap_or_default() {
        let Some(text) = reader.scalar(item) else { continue };
        of.extend(rule(reader, item, plan, text));
    }
    if node.get("of").is_none() {
        of.extend(expect.iter().map(|e| e.rule.clone()).filter(|rule| !rule.is_empty()));
    }
    Some(Trial {
        name,
        place: format!("{}:{}", reader.file(), node.place.line),
        site,
        day,
        slack: reader.optional_span(node, "slack").unwrap_or_default(),
        given,
        rows,
        expect,
        of,
        ends: reader.optional_bool(node, "ends").unwrap_or(true),
    })
}

/// Words of a line; what stands in quotes is one, and keeps its spaces.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `08:00:00.5`, `26:00` (two in the night after), `+30s` after the line before, or RFC 3339.
fn moment(
    reader: &mut Reader,
    node: &Node,
    word: &str,
    clock: &Clock,
    last: Option<EventTime>,
) -> Option<EventTime> {
    let parsed = match word.strip_prefix('+') {
        Some(span) => TimeSpan::parse(span).zip(last).map(|(span, last)| last.plus(span)),
        None if word.contains('T') => EventTime::parse_rfc3339(word.as_bytes()),
        None => of_day(word, clock),
    };
    if parsed.is_none() {
        let help = Some("write 08:00:00, +30s after the line before, or RFC 3339".to_owned());
        reader.error_with(node, format!("`{word}` is no time"), help);
    }
    parsed
}

fn of_day(word: &str, clock: &Clock) -> Option<EventTime> {
    let mut parts = word.split(':');
    let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i8>().ok()?);
    let seconds = parts.next().unwrap_or("0").parse::<f64>().ok()?;
    if parts.next().is_some() || !(0.0..60.0).contains(&seconds) {
        return None;
    }
    let day = clock.day.checked_add(jiff::Span::new().try_days(hours / 24).ok()?).ok()?;
    let time = Time::new((hours % 24) as i8, minutes, 0, 0).ok()?;
    let local = jiff::civil::DateTime::from_parts(day, time);
    let moment = clock.zone.to_ambiguous_timestamp(local).compatible().ok()?;
    Some(EventTime(moment.as_microsecond() + (seconds * 1e6).round() as i64))
}

/// The time of a line, and its other words.
fn line(
    reader: &mut Reader,
    node: &Node,
    clock: &Clock,
    last: Option<EventTime>,
) -> Option<(EventTime, Vec<String>)> {
    let text = reader.scalar(node)?.to_owned();
    let mut words = words(&text);
    let first = if words.is_empty() { String::new() } else { words.remove(0) };
    Some((moment(reader, node, &first, clock, last)?, words))
}

/// `row credentials/C-77 status=stopped`, `no row seals/MSKU1`.
fn change_of(
    reader: &mut Reader,
    node: &Node,
    plan: &Plan,
    words: &[String],
    clock: &Clock,
) -> Option<RowChange> {
    let removed = words[0] == "no";
    let mut words = words.iter().skip(1 + usize::from(removed));
    let Some((table, row)) = words.next().and_then(|place| place.split_once('/')) else {
        let help = Some("write 08:00:00 row TABLE/KEY column=value, or no row TABLE/KEY".into());
        reader.error_with(node, "which row of which table", help);
        return None;
    };
    let mut cells = BTreeMap::new();
    for word in words {
        let Some((column, value)) = word.split_once('=') else {
            reader.error_at(node, format!("`{word}` is no column=value"));
            continue;
        };
        // A time may be one of the test's day.
        let known = plan.model.table(table).map(|(_, t)| t.columns.as_slice()).unwrap_or_default();
        let time = known.iter().any(|(name, ty)| name == column && *ty == ColumnType::Time);
        let value = match of_day(value, clock).filter(|_| time) {
            Some(at) => at.to_string(),
            None => value.to_owned(),
        };
        cells.insert(column.to_owned(), value.into());
    }
    let cells = (!removed).then_some(cells);
    let change = RowChange { table: table.to_owned(), row: row.to_owned(), cells, at: None };
    match check(&plan.model, &change, &Interner::default()) {
        Ok(()) => Some(change),
        Err(refused) => {
            reader.error_with(node, refused.message, refused.help);
            None
        }
    }
}

fn given_of(
    reader: &mut Reader,
    node: &Node,
    plan: &Plan,
    clock: &Clock,
    words: Vec<String>,
    mut given: Given,
) -> Option<Given> {
    let mut words = words.into_iter();
    let kind = words.next().unwrap_or_default();
    let id = match kind.as_str() {
        "passes" => Some(KIND_ADVANCE),
        kind => plan.vocabulary.kind_named(kind),
    };
    let Some(id) = id else {
        let known = plan.vocabulary.kinds().iter().map(|k| k.name.as_str());
        let help = did_you_mean(&kind, known)
            .or_else(|| Some("write 08:00:00 DoorOpened door=D1, or 08:00:00 passes".into()));
        reader.error_with(node, format!("no kind of event `{kind}`"), help);
        return None;
    };
    given.kind = id;
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            match word.as_str() {
                "retained" => given.retained = true,
                "quarantined" => given.quarantined = true,
                _ => reader.error_at(node, format!("`{word}` is no field=value")),
            }
            continue;
        };
        match name {
            "site" => given.site = value.to_owned(),
            "device" => given.device = value.to_owned(),
            "id" => given.id = Some(value.to_owned()),
            "recorded" => given.recorded = moment(reader, node, value, clock, Some(given.at)),
            _ => field(reader, node, plan, name, value, &mut given),
        }
    }
    Some(given)
}

fn field(
    reader: &mut Reader,
    node: &Node,
    plan: &Plan,
    name: &str,
    value: &str,
    given: &mut Given,
) {
    let Some(id) = plan.vocabulary.field_named(name) else {
        let known = plan.vocabulary.fields().iter().map(|f| f.name.as_str());
        let help = did_you_mean(name, known.chain(["site", "device", "id"]));
        reader.error_with(node, format!("events have no field `{name}`"), help);
        return;
    };
    let typed = match plan.vocabulary.field(id).ty {
        FieldType::String => Some(Field::Text(value.to_owned())),
        FieldType::Int => value.parse().ok().map(Field::Int),
        FieldType::Float => value.parse().ok().filter(|x: &f64| x.is_finite()).map(Field::Float),
        FieldType::Bool => value.parse().ok().map(Field::Bool),
        FieldType::Time => EventTime::parse_rfc3339(value.as_bytes()).map(Field::Time),
    };
    match typed {
        Some(typed) => given.fields.push((id, typed)),
        None => reader.error_at(node, format!("`{value}` does not fit the field `{name}`")),
    }
}

pub(super) fn rule(reader: &mut Reader, node: &Node, plan: &Plan, name: &str) -> Option<String> {
    if plan.rules.iter().any(|rule| rule.id == name) {
        return Some(name.to_owned());
    }
    let help = did_you_mean(name, plan.rules.iter().map(|rule| rule.id.as_str()));
    reader.error_with(node, format!("no rule `{name}`"), help);
    None
}

fn expected(reader: &mut Reader, node: &Node, plan: &Plan, clock: &Clock) -> Option<Expected> {
    let text = reader.scalar(node)?.to_owned();
    let mut words = words(&text);
    if words.len() < 2 {
        let help = Some("write 08:00:02 door-forced D1".to_owned());
        reader.error_with(node, "an expectation is a time and a rule", help);
        return None;
    }
    let at = moment(reader, node, &words.remove(0), clock, None)?;
    let does = [
        ("opens", Does::Opens),
        ("joins", Does::Joins),
        ("shadow", Does::Shadow),
        ("clears", Does::Clears),
        ("links", Does::Links),
        ("suppressed", Does::Suppressed),
        ("escalates", Does::Escalates),
        ("acknowledged", Does::Acknowledged),
        ("closed", Does::Closed),
        ("shelved", Does::Shelved),
        ("unshelved", Does::Unshelved),
        ("stale", Does::Stale),
    ];
    let late = words.len() > 1 && words.last().is_some_and(|word| word == "late");
    if late {
        words.pop();
    }
    // `… suppressed by POLICY`, `… escalates by POLICY`.
    let by = match &words[..] {
        [.., _, by, _] if by == "by" => {
            let name = words.pop();
            words.pop();
            name
        }
        _ => None,
    };
    let does = does.iter().find(|(word, _)| words.last().is_some_and(|w| w == word));
    if does.is_some() {
        words.pop();
    }
    let does = does.map(|(_, does)| *does);
    if words.is_empty() && does.is_some_and(|does| OF_INCIDENTS.contains(&does)) {
        return Some(Expected { at, rule: String::new(), key: None, does, by, late });
    }
    let name = if words.is_empty() { String::new() } else { words.remove(0) };
    let rule = rule(reader, node, plan, &name)?;
    let key = (!words.is_empty()).then(|| words.join(" "));
    Some(Expected { at, rule, key, does, by, late })
}
