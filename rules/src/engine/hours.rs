//! Edges of schedules are events of the site: due like deadlines, judged like anything else.

use event::identity::Digest;
use event::vocabulary::KIND_SCHEDULE;
use event::{EventBlock, EventFlags, EventTime, Identity, Position, SourceId, StreamId, Symbol};

use super::findings::Findings;
use super::scope::Context;
use super::site::Site;
use crate::calendar::{Hours, ScheduleId};

impl Site {
    /// When the next edge of any schedule is, that somebody hears; none before the first event.
    pub(super) fn next_edge(&mut self, cx: Context<'_>) -> Option<EventTime> {
        if self.hours.is_empty() && !cx.plan.calendar.schedules.is_empty() {
            self.know_hours(cx);
        }
        if !cx.layout.hears_schedules() {
            return None;
        }
        self.hours.iter().map(|hours| hours.until).min().filter(|edge| *edge < EventTime::MAX)
    }

    /// Looks up every schedule, once time has begun here. The enterprise has no hours of its own.
    fn know_hours(&mut self, cx: Context<'_>) {
        if self.began == EventTime::MAX || self.name == Symbol::NONE {
            return;
        }
        let schedules = 0..cx.plan.calendar.schedules.len();
        let hours = schedules.map(|n| self.hours_of(cx, ScheduleId(n as u16), self.now));
        self.hours = hours.collect();
    }

    /// Looks up anew what time has passed, where no edge does it; and how long all of it holds.
    pub(super) fn refresh_hours(&mut self, cx: Context<'_>) {
        for number in 0..self.hours.len() {
            if self.hours[number].until <= self.now {
                self.hours[number] = self.hours_of(cx, ScheduleId(number as u16), self.now);
            }
        }
        let never = self.name == Symbol::NONE || cx.plan.calendar.schedules.is_empty();
        let unknown = if never { EventTime::MAX } else { EventTime::MIN };
        self.hours_until = self.hours.iter().map(|hours| hours.until).min().unwrap_or(unknown);
    }

    fn hours_of(&self, cx: Context<'_>, schedule: ScheduleId, at: EventTime) -> Hours {
        cx.plan.calendar.hours(schedule, self.name, at)
    }

    /// Every schedule that begins or ends now says so, in the order of the rulebook.
    pub(super) fn pass_edge(&mut self, cx: Context<'_>, at: EventTime, out: &mut Findings) {
        for number in 0..self.hours.len() {
            if self.hours[number].until != at {
                continue;
            }
            let schedule = ScheduleId(number as u16);
            self.hours[number] = self.hours_of(cx, schedule, at);
            let block = self.edge(cx, schedule, at);
            self.judge_event(cx, block.get(0), out);
            self.watch_all(cx, cx.layout.schedule_watchers(schedule), block.get(0), out);
            if cx.layout.policies.reads_schedule(schedule) {
                self.review(cx, at, out);
            }
            self.hear(cx, out);
        }
    }

    fn edge(&self, cx: Context<'_>, schedule: ScheduleId, at: EventTime) -> EventBlock {
        let name = &cx.plan.calendar.schedules[schedule.0 as usize].name;
        let kind = KIND_SCHEDULE[usize::from(self.hours[schedule.0 as usize].on)];
        let identity = Digest::default()
            .part(b"schedule")
            .part(name.as_bytes())
            .number(cx.interner.digest(self.name))
            .number(at.0 as u128);
        let mut block = EventBlock::new(&cx.plan.vocabulary);
        let mut row = block.push();
        row.times(at, at);
        row.class(kind, EventFlags::default(), StreamId(0), SourceId(0));
        row.identity(Identity(identity.finish()));
        row.position(Position::NONE, 0);
        row.place(self.name, Symbol::NONE);
        if let (Some(field), Some(name)) =
            (cx.plan.vocabulary.field_named("schedule"), cx.interner.intern(name))
        {
            row.text(field, name);
        }
        block
    }
}
