//! `schedules` and `holidays` of a rulebook.

use event::Interner;
use event::config::{Node, Reader, Yaml};
use event::model::Model;
use jiff::tz::TimeZone;

use crate::calendar::{Calendar, Holidays, Schedule, Window, weekday};

/// Reads both sections of one file into the calendar.
pub fn read(reader: &mut Reader, root: &Node, calendar: &mut Calendar) {
    for day in root.get("holidays").map(Node::items).unwrap_or_default() {
        let Some(text) = reader.scalar(day) else { continue };
        match text.parse() {
            Ok(date) => drop(calendar.holidays.insert(date)),
            Err(_) => {
                let help = Some("write the day as 2026-12-25".to_owned());
                reader.error_with(day, format!("`{text}` is no day"), help);
            }
        }
    }
    for (name, node) in root.get("schedules").map(Node::entries).unwrap_or_default() {
        let Some(text) = reader.scalar(name).map(str::to_owned) else { continue };
        if calendar.schedules.iter().any(|s| s.name == text) {
            reader.error_at(name, format!("schedule `{text}` stands twice"));
        }
        let items = match &node.value {
            Yaml::Sequence(items) => items.iter().collect(),
            _ => vec![node],
        };
        let windows = items.into_iter().filter_map(|item| window(reader, item)).collect();
        calendar.schedules.push(Schedule { name: text, windows });
    }
}

/// The sites' zones.
pub fn zones(model: &Model, interner: &Interner, calendar: &mut Calendar) {
    for site in &model.sites {
        // A zone that is not known was told with the configuration.
        if let Ok(zone) = TimeZone::get(&site.time_zone) {
            calendar.zones_by_name.insert(interner.text(site.name).to_owned(), zone.clone());
            calendar.zones.insert(site.name, zone);
        }
    }
}

fn window(reader: &mut Reader, node: &Node) -> Option<Window> {
    reader.expect_keys(node, &["days", "from", "to", "holidays"]);
    let words =
        [("closed", Holidays::Closed), ("usual", Holidays::Usual), ("only", Holidays::Only)];
    let holidays = node.get("holidays").and_then(|n| reader.one_of(n, &words)).unwrap_or_default();
    let mut days = [node.get("days").is_none(); 7];
    for item in node.get("days").map(Node::items).unwrap_or_default() {
        let Some(text) = reader.scalar(item) else { continue };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (weekday(first.trim()), weekday(last.trim())) else {
            let help = Some("write mon-fri, or [mon, wed, sun]".to_owned());
            reader.error_with(item, format!("`{text}` is no day of the week"), help);
            continue;
        };
        let (mut day, last) = (first.to_monday_zero_offset(), last.to_monday_zero_offset());
        days[day as usize] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day as usize] = true;
        }
    }
    let mut minutes = |key: &str, example: &str| match node.get(key) {
        Some(time) => minutes(reader, time),
        None => {
            let help = Some(format!("write {key}: '{example}'"));
            reader.error_with(node, format!("`{key}` is missing"), help);
            None
        }
    };
    let (from, to) = (minutes("from", "07:00"), minutes("to", "19:00"));
    Some(Window { days, from: from?, to: to?, holidays })
}

/// `07:30`, up to `24:00`.
fn minutes(reader: &mut Reader, node: &Node) -> Option<u16> {
    let text = reader.scalar(node)?;
    let parsed = text.split_once(':').and_then(|(hours, minutes)| {
        let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
        (minutes < 60 && hours * 60 + minutes <= 1_440).then_some(hours * 60 + minutes)
    });
    if parsed.is_none() {
        let help = Some("write it as 07:30, from 00:00 to 24:00".to_owned());
        reader.error_with(node, format!("`{text}` is no time of day"), help);
    }
    parsed
}
