//! Schedules: hours of the week in a site's own time zone, with its holidays. Pure: the zone
//! database is the bundled one.

use std::collections::BTreeSet;

use event::{EventTime, Symbol};
use hashbrown::HashMap;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::limits::SCHEDULE_DAYS_MAX;

/// A schedule: an index into [`Calendar::schedules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(pub u16);

/// What a window does on a holiday.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holidays {
    /// It does not begin.
    #[default]
    Closed,
    /// It begins as on any day.
    Usual,
    /// It begins on holidays that fall on its days, and on no other day.
    Only,
}

/// Hours of some days of the week.
#[derive(Clone, Debug)]
pub struct Window {
    /// The days it begins on, from Monday.
    pub days: [bool; 7],
    /// Minutes after midnight.
    pub from: u16,
    /// Minutes after midnight; at or before `from` it ends on the next day.
    pub to: u16,
    /// What it does on holidays.
    pub holidays: Holidays,
}

/// Named hours.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name in expressions, and the field `schedule` of its edges.
    pub name: String,
    /// It is on while any of these is.
    pub windows: Vec<Window>,
}

/// All schedules, holidays, and the sites' time zones.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    /// In the order of the files.
    pub schedules: Vec<Schedule>,
    /// Days on which windows may not begin.
    pub holidays: BTreeSet<Date>,
    /// By site; UTC for any other.
    pub zones: HashMap<Symbol, TimeZone, foldhash::fast::FixedState>,
    /// The same, by the sites' names.
    pub zones_by_name: std::collections::BTreeMap<String, TimeZone>,
}

/// Whether a schedule is on, and until when that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Known from here …
    pub from: EventTime,
    /// … until here, which is outside.
    pub until: EventTime,
    /// Whether it is on.
    pub on: bool,
}

impl Hours {
    /// Whether it says something of a moment.
    #[must_use]
    pub fn covers(&self, at: EventTime) -> bool {
        self.from <= at && at < self.until
    }
}

impl Calendar {
    /// Whether a schedule is on at a site, and until when. An edge is so far away at most that
    /// every holiday and weekday between has come; one further is none.
    #[must_use]
    pub fn hours(&self, schedule: ScheduleId, site: Symbol, at: EventTime) -> Hours {
        let zone = self.zone(site);
        let today = civil(&zone, at).map(DateTime::date);
        let day =
            |n: i64| today.and_then(|day| day.checked_add(Span::new().try_days(n).ok()?).ok());
        let mut spans = self.near(schedule, &zone, today);
        let on = is_on(&spans, at);
        for n in 2..=SCHEDULE_DAYS_MAX {
            // What begins two days later can change nothing before its own beginning.
            let known = day(n - 1).and_then(|day| instant(&zone, day, 0, false));
            let mut edges: Vec<EventTime> = spans.iter().flat_map(|(a, b)| [*a, *b]).collect();
            edges.sort_unstable();
            let change = edges.into_iter().find(|edge| *edge > at && is_on(&spans, *edge) != on);
            if let Some(until) = change.filter(|edge| known.is_none_or(|known| *edge < known)) {
                return Hours { from: at, until, on };
            }
            spans.extend(day(n).into_iter().flat_map(|day| self.spans(schedule, &zone, day)));
        }
        Hours { from: at, until: EventTime::MAX, on }
    }

    /// Whether a schedule is on at a site.
    #[must_use]
    pub fn is_on(&self, schedule: ScheduleId, site: Symbol, at: EventTime) -> bool {
        let zone = self.zone(site);
        let today = civil(&zone, at).map(DateTime::date);
        is_on(&self.near(schedule, &zone, today), at)
    }

    fn zone(&self, site: Symbol) -> TimeZone {
        self.zones.get(&site).cloned().unwrap_or(TimeZone::UTC)
    }

    /// Windows that begin yesterday (one may still be on), today and tomorrow.
    fn near(&self, schedule: ScheduleId, zone: &TimeZone, today: Option<Date>) -> Spans {
        let Some(today) = today else { return Vec::new() };
        let days = [today.yesterday(), Ok(today), today.tomorrow()].into_iter().flatten();
        days.flat_map(|day| self.spans(schedule, zone, day)).collect()
    }

    fn spans(&self, schedule: ScheduleId, zone: &TimeZone, day: Date) -> Spans {
        let windows = &self.schedules[schedule.0 as usize].windows;
        windows.iter().filter_map(|window| self.span(window, zone, day)).collect()
    }

    fn span(&self, window: &Window, zone: &TimeZone, day: Date) -> Option<(EventTime, EventTime)> {
        let holiday = self.holidays.contains(&day);
        let begins = match window.holidays {
            Holidays::Closed => !holiday,
            Holidays::Usual => true,
            Holidays::Only => holiday,
        };
        if !begins || !window.days[day.weekday().to_monday_zero_offset() as usize] {
            return None;
        }
        let last = if window.to <= window.from { day.tomorrow().ok()? } else { day };
        let from = instant(zone, day, window.from, false)?;
        Some((from, instant(zone, last, window.to, true)?))
    }
}

/// When windows begin and end.
type Spans = Vec<(EventTime, EventTime)>;

fn is_on(spans: &[(EventTime, EventTime)], at: EventTime) -> bool {
    spans.iter().any(|(from, to)| *from <= at && at < *to)
}

fn civil(zone: &TimeZone, at: EventTime) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_microsecond(at.0).ok()?))
}

/// A local time as a moment. What comes twice begins at the first and ends at the second; what the
/// clock leaps over is as long after the leap as it would have been.
fn instant(zone: &TimeZone, day: Date, minutes: u16, ends: bool) -> Option<EventTime> {
    let (day, minutes) = if minutes >= 1_440 { (day.tomorrow().ok()?, 0) } else { (day, minutes) };
    let time = Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).ok()?;
    let ambiguous = zone.to_ambiguous_timestamp(DateTime::from_parts(day, time));
    let moment = if ends { ambiguous.later() } else { ambiguous.compatible() };
    Some(EventTime(moment.ok()?.as_microsecond()))
}

/// A day of the week by its English name or its first three letters.
#[must_use]
pub fn weekday(name: &str) -> Option<Weekday> {
    const DAYS: [(&str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let name = name.to_ascii_lowercase();
    DAYS.iter().find(|(long, _)| *long == name || long[..3] == name).map(|(_, day)| *day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: Symbol = Symbol(1);

    fn calendar(zone: &str, windows: &[(&str, u16, u16, Holidays)], holidays: &[&str]) -> Calendar {
        let window = |(days, from, to, holidays): &(&str, u16, u16, Holidays)| {
            let mut on = [false; 7];
            for day in days.split(' ').filter_map(weekday) {
                on[day.to_monday_zero_offset() as usize] = true;
            }
            Window { days: on, from: *from, to: *to, holidays: *holidays }
        };
        let windows = windows.iter().map(window).collect();
        let mut zones = HashMap::default();
        zones.insert(SITE, TimeZone::get(zone).expect("a bundled zone"));
        Calendar {
            schedules: vec![Schedule { name: "s".into(), windows }],
            holidays: holidays.iter().map(|day| day.parse().expect("a day")).collect(),
            zones,
            ..Calendar::default()
        }
    }

    fn at(text: &str) -> EventTime {
        let moment: Timestamp = text.parse().expect("a moment");
        EventTime(moment.as_microsecond())
    }

    /// On or off at a moment, and the next edge.
    fn hours(calendar: &Calendar, text: &str) -> (bool, String) {
        let hours = calendar.hours(ScheduleId(0), SITE, at(text));
        let until = match hours.until {
            EventTime::MAX => "never".to_owned(),
            until => Timestamp::from_microsecond(until.0).expect("a moment").to_string(),
        };
        (hours.on, until)
    }

    const WEEK: &str = "mon tue wed thu fri";

    #[test]
    fn office_hours_are_those_of_the_site() {
        let office =
            calendar("Europe/Berlin", &[(WEEK, 420, 1_140, Holidays::Closed)], &["2026-12-25"]);
        assert_eq!(hours(&office, "2026-11-24T05:59:59Z"), (false, "2026-11-24T06:00:00Z".into()));
        assert_eq!(hours(&office, "2026-11-24T06:00:00Z"), (true, "2026-11-24T18:00:00Z".into()));
        // Over the weekend, and over a holiday that is a Friday.
        assert_eq!(hours(&office, "2026-11-27T18:00:00Z"), (false, "2026-11-30T06:00:00Z".into()));
        assert_eq!(hours(&office, "2026-12-24T18:00:00Z"), (false, "2026-12-28T06:00:00Z".into()));
    }

    #[test]
    fn hours_over_midnight_begin_on_their_day() {
        let nights = calendar("Europe/Berlin", &[("fri", 1_320, 360, Holidays::Closed)], &[]);
        assert_eq!(hours(&nights, "2026-11-27T20:59:00Z"), (false, "2026-11-27T21:00:00Z".into()));
        assert_eq!(hours(&nights, "2026-11-28T03:00:00Z"), (true, "2026-11-28T05:00:00Z".into()));
        assert_eq!(hours(&nights, "2026-11-28T05:00:00Z"), (false, "2026-12-04T21:00:00Z".into()));
    }

    #[test]
    fn the_hour_that_comes_twice_belongs_to_both() {
        // The clock goes back from 03:00 to 02:00 on 2026-10-25, 01:00 UTC.
        let early = calendar("Europe/Berlin", &[("sun", 0, 150, Holidays::Usual)], &[]);
        assert_eq!(hours(&early, "2026-10-24T22:00:00Z"), (true, "2026-10-25T01:30:00Z".into()));
        let late = calendar("Europe/Berlin", &[("sun", 150, 300, Holidays::Usual)], &[]);
        assert_eq!(hours(&late, "2026-10-25T00:00:00Z"), (false, "2026-10-25T00:30:00Z".into()));
        // It leaps from 02:00 to 03:00 on 2026-03-29, 01:00 UTC.
        assert_eq!(hours(&late, "2026-03-29T00:00:00Z"), (false, "2026-03-29T01:30:00Z".into()));
        assert_eq!(hours(&early, "2026-03-28T23:00:00Z"), (true, "2026-03-29T01:30:00Z".into()));
    }

    #[test]
    fn windows_that_touch_have_no_edge_between_them() {
        let day = [("sat sun", 0, 720, Holidays::Usual), ("sat sun", 720, 1_440, Holidays::Usual)];
        let weekend = calendar("UTC", &day, &[]);
        assert_eq!(hours(&weekend, "2026-11-28T00:00:00Z"), (true, "2026-11-30T00:00:00Z".into()));
        let always =
            calendar("UTC", &[("mon tue wed thu fri sat sun", 0, 1_440, Holidays::Usual)], &[]);
        assert_eq!(hours(&always, "2026-11-28T00:00:00Z"), (true, "never".into()));
    }

    #[test]
    fn some_hours_are_those_of_holidays_only() {
        let rest = calendar(
            "UTC",
            &[("mon tue wed thu fri sat sun", 480, 960, Holidays::Only)],
            &["2026-12-25"],
        );
        assert_eq!(hours(&rest, "2026-11-28T10:00:00Z"), (false, "2026-12-25T08:00:00Z".into()));
        assert_eq!(hours(&rest, "2026-12-25T16:00:00Z"), (false, "never".into()));
    }

    #[test]
    fn every_minute_agrees_with_the_clock_on_the_wall() {
        let office =
            calendar("America/New_York", &[(WEEK, 1_200, 430, Holidays::Closed)], &["2026-07-03"]);
        let zone = TimeZone::get("America/New_York").expect("a bundled zone");
        let start = at("2026-06-29T00:00:00Z");
        for minute in 0..14 * 1_440_i64 {
            let now = EventTime(start.0 + minute * 60_000_000);
            let local = civil(&zone, now).expect("a date");
            let of_day = i64::from(local.hour()) * 60 + i64::from(local.minute());
            let begun = |day: Date| {
                let weekday = day.weekday().to_monday_zero_offset();
                weekday < 5 && day != "2026-07-03".parse::<Date>().expect("a day")
            };
            let yesterday = local.date().yesterday().expect("a day");
            let on = of_day >= 1_200 && begun(local.date()) || of_day < 430 && begun(yesterday);
            let hours = office.hours(ScheduleId(0), SITE, now);
            assert_eq!(hours.on, on, "{local}");
            let next = office.hours(ScheduleId(0), SITE, hours.until);
            assert_ne!(next.on, hours.on, "{local}");
        }
    }
}
