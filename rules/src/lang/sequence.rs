//! The steps of a `sequence`.

use event::TimeSpan;
use event::config::{Node, Reader};

use super::check::Names;
use super::pattern::{condition, span_of, stream};
use super::rulebook::{Book, positive};
use crate::limits::{PARTS_MAX, STEPS_MAX};
use crate::plan::{FieldRef, Join, Lead, Part, Runs, Sequence, Skip, Step, Trigger};

/// Words of a step that are no name of one.
const WORDS: &[&str] = &["if", "times", "optional", "for"];

/// What is known while the steps are read.
#[derive(Default)]
struct Draft {
    lead: Option<Lead>,
    steps: Vec<Step>,
    /// Names of the parts so far.
    parts: Vec<String>,
    /// Where each step stands among the items.
    places: Vec<usize>,
    /// `not` without `for`: what ends a run that waits for the next step.
    without: Vec<Trigger>,
}

/// Reads a sequence; the key must be written.
pub fn read(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    by: &mut Option<Vec<FieldRef>>,
) -> Option<Sequence> {
    let steps_node = node.get("sequence")?;
    let mut draft = Draft::default();
    for (place, item) in steps_node.items().iter().enumerate() {
        step(book, reader, item, &mut draft);
        draft.places.resize(draft.steps.len(), place);
    }
    if draft.steps.is_empty() || draft.steps.len() > STEPS_MAX {
        let message = format!("a sequence has 1 to {STEPS_MAX} steps that an event meets");
        reader.error_at(steps_node, message);
        return None;
    }
    if !draft.without.is_empty() {
        let help = Some("write {not: DoorClosed, for: 30s}".to_owned());
        let message = "nothing follows this `not`: say for how long";
        reader.error_with(steps_node.items().last()?, message, help);
    }
    check_numbers(reader, steps_node, &draft);
    if by.is_none() {
        let help = Some("write by: door".to_owned());
        reader.error_with(node, "`by` is missing: what the steps have in common", help);
    }
    let within = match node.get("within") {
        Some(_) => positive(reader, node, "within")?,
        None => TimeSpan::MAX,
    };
    let runs =
        [("each", Runs::Each), ("first", Runs::First), ("last", Runs::Last), ("once", Runs::Once)];
    let skip = [("none", Skip::None), ("past-last", Skip::PastLast)];
    let names = draft.parts.iter().enumerate().map(|(n, name)| (name.clone(), n as u8));
    book.steps = names.collect();
    Some(Sequence {
        lead: draft.lead,
        steps: draft.steps,
        within,
        without: node.get("without").and_then(|n| stream(book, reader, n)),
        strict: node.get("strict").and_then(|n| stream(book, reader, n)),
        runs: node.get("runs").and_then(|n| reader.one_of(n, &runs)).unwrap_or_default(),
        skip: node.get("skip").and_then(|n| reader.one_of(n, &skip)).unwrap_or_default(),
    })
}

/// A run must know where it stands: it begins and ends with an event that must come, and what is
/// timed begins at one that surely is the last of its step.
fn check_numbers(reader: &mut Reader, node: &Node, draft: &Draft) {
    let steps = &draft.steps;
    let at = |number: usize| node.items().get(draft.places[number]).unwrap_or(node);
    if steps[0].parts.iter().any(|part| part.absent.is_some()) {
        let help = Some("write {not: …, for: …} alone as the first step".to_owned());
        reader.error_with(at(0), "a sequence begins with an event", help);
    }
    let ends = [(0, "first"), (steps.len() - 1, "last")];
    for (number, which) in ends.into_iter().filter(|(n, _)| steps[*n].least == 0) {
        reader.error_at(at(number), format!("the {which} step cannot be optional"));
    }
    let last = &steps[steps.len() - 1];
    if steps.len() > 1 && last.least != 0 && last.most != last.least {
        let help = Some(format!("write times: {}", last.least));
        let message = "the last step ends the match when it is met: say how often";
        reader.error_with(at(steps.len() - 1), message, help);
    }
    for (number, pair) in steps.windows(2).enumerate() {
        let timed = pair[1].parts.iter().any(|part| part.absent.is_some());
        if timed && pair[0].most != pair[0].least {
            let message = "`not … for` follows this: it must come a fixed number of times";
            reader.error_at(at(number), message);
        }
    }
}

fn step(book: &mut Book<'_>, reader: &mut Reader, node: &Node, draft: &mut Draft) {
    if let Some(absent) = node.get("not") {
        not_step(book, reader, node, absent, draft);
        return;
    }
    let groups = [("all", Join::All), ("any", Join::Any)];
    let group = groups.iter().find_map(|(word, join)| Some((node.get(word)?, *join)));
    let (parts, join) = match group {
        Some((items, join)) => {
            for (key, _) in node.entries().iter().skip(1) {
                reader.error_at(key, "`all` and `any` stand alone in their step");
            }
            (group_parts(book, reader, items, draft), join)
        }
        None => (one_part(book, reader, node, draft, 0).into_iter().collect(), Join::All),
    };
    if parts.is_empty() {
        return;
    }
    let (least, most) = times(reader, node);
    let without = std::mem::take(&mut draft.without);
    draft.parts.extend(parts.iter().map(|(_, name)| name.clone()));
    let parts = parts.into_iter().map(|(part, _)| part).collect();
    draft.steps.push(Step { parts, join, least, most, without });
}

fn not_step(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    absent: &Node,
    draft: &mut Draft,
) {
    reader.expect_keys(node, &["not", "if", "for"]);
    let on = absent_trigger(book, reader, node, absent, draft);
    let Some(span) = node.get("for") else {
        if draft.steps.is_empty() {
            let help = Some("write {not: DoorOpened, for: 10m}".to_owned());
            reader.error_with(node, "say how long before the first event", help);
        }
        draft.without.push(on);
        return;
    };
    if draft.steps.is_empty() {
        match positive(reader, node, "for") {
            Some(span) if draft.lead.is_none() => draft.lead = Some(Lead { on, span }),
            Some(_) => reader.error_at(node, "a sequence begins with one `not … for` at most"),
            None => {}
        }
        return;
    }
    let names = Names { earlier: earlier(draft), ..Names::default() };
    let Some(span) = span_of(book, reader, span, &names) else { return };
    let part = Part { number: draft.parts.len() as u8, on, absent: Some(span) };
    draft.parts.push(String::new());
    let without = std::mem::take(&mut draft.without);
    draft.steps.push(Step { parts: vec![part], join: Join::All, least: 1, most: 1, without });
}

fn earlier(draft: &Draft) -> Vec<(String, u8)> {
    let named = draft.parts.iter().enumerate().filter(|(_, name)| !name.is_empty());
    named.map(|(n, name)| (name.clone(), n as u8)).collect()
}

fn absent_trigger(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    kinds: &Node,
    draft: &Draft,
) -> Trigger {
    let names = Names { current: vec!["e".into()], earlier: earlier(draft), ..Names::default() };
    let kinds = book.kinds(reader, kinds);
    let condition = node.get("if").and_then(|c| condition(book, reader, c, &names));
    Trigger { kinds, condition }
}

fn group_parts(
    book: &mut Book<'_>,
    reader: &mut Reader,
    items: &Node,
    draft: &Draft,
) -> Vec<(Part, String)> {
    let mut parts = Vec::new();
    for (place, item) in items.items().iter().enumerate() {
        match item.get("not") {
            Some(absent) => {
                reader.expect_keys(item, &["not", "if", "for"]);
                let on = absent_trigger(book, reader, item, absent, draft);
                let names = Names { earlier: earlier(draft), ..Names::default() };
                let Some(span) = item.get("for") else {
                    let help = Some("or put {not: …} before this step".to_owned());
                    reader.error_with(item, "say for how long", help);
                    continue;
                };
                let number = (draft.parts.len() + place) as u8;
                let absent = span_of(book, reader, span, &names);
                parts.push((Part { number, on, absent }, String::new()));
            }
            None => parts.extend(one_part(book, reader, item, draft, place)),
        }
        for key in ["times", "optional"].iter().filter_map(|key| item.get(key)) {
            reader.error_at(key, "a part of `all` or `any` comes once");
        }
    }
    if !(2..=PARTS_MAX).contains(&items.items().len()) {
        reader.error_at(items, format!("`all` and `any` have 2 to {PARTS_MAX} parts"));
        parts.clear();
    }
    parts
}

/// `{a: AccessDenied, if: …}`: its name, kinds and condition.
fn one_part(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    draft: &Draft,
    place: usize,
) -> Option<(Part, String)> {
    let mut named =
        node.entries().iter().filter(|(k, _)| !WORDS.contains(&k.text().unwrap_or_default()));
    let (Some((name, kinds)), None) = (named.next(), named.next()) else {
        let help = Some("write {a: AccessDenied, if: a.reason == 'revoked'}".to_owned());
        reader.error_with(node, "a step names its event and kind", help);
        return None;
    };
    if let Some(span) = node.get("for") {
        reader.error_at(span, "`for` goes with `not`");
    }
    let text = reader.scalar(name)?.to_owned();
    if draft.parts.contains(&text) {
        reader.error_at(name, format!("step `{text}` stands twice"));
    }
    let number = (draft.parts.len() + place) as u8;
    let names = Names {
        current: vec![text.clone(), "e".into()],
        earlier: earlier(draft),
        own: Some((text.clone(), number)),
        ..Names::default()
    };
    let kinds = book.kinds(reader, kinds);
    let condition = node.get("if").and_then(|c| condition(book, reader, c, &names));
    Some((Part { number, on: Trigger { kinds, condition }, absent: None }, text))
}

/// `times: 3`, `times: 2..5`, `times: 1..`, `optional: true`.
fn times(reader: &mut Reader, node: &Node) -> (u8, u8) {
    let optional = reader.optional_bool(node, "optional").unwrap_or(false);
    let Some(times) = node.get("times") else { return (u8::from(!optional), 1) };
    let range = times.text().and_then(|text| {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let most = if most.is_empty() { 255 } else { most.trim().parse::<u8>().ok()? };
        let least = least.trim().parse::<u8>().ok()?;
        (least <= most && most > 0).then_some((least, most))
    });
    let Some((least, most)) = range else {
        let help = Some("write times: 3, times: 2..5 or times: 1..; 255 at most".to_owned());
        reader.error_with(times, "not how often a step comes", help);
        return (1, 1);
    };
    if optional && least > 1 {
        reader.error_at(times, "an optional step comes `0..` times");
    }
    (if optional { 0 } else { least }, most)
}
