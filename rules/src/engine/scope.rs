//! What an expression sees while the engine judges one event, or one key under a timer.

use std::cell::Cell;

use event::model;
use event::tables::Tables;
use event::{EventFlags, EventRef, EventTime, FieldType, Interner, Symbol, TimeSpan};

use super::cells::{Course, Key};
use super::facts::holds_outside;
use super::layout::Layout;
use super::site::Site;
use super::state::{Kept, State};
use crate::calendar::{Hours, ScheduleId};
use crate::condition::Condition;
use crate::plan::{FactId, FactKind, FieldRef, Plan, SessionField};
use crate::value::{Env, Value};

/// What does not change while an event is judged: lent, so that a step is handed a word.
pub type Context<'a> = &'a Setting<'a>;

/// What it is.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The rulebook.
    pub plan: &'a Plan,
    /// What was derived from it for this scope.
    pub layout: &'a Layout,
    /// The site model, with what was changed of it.
    pub tables: &'a Tables,
    /// Texts.
    pub interner: &'a Interner,
}

/// A fact that the current event changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    /// The fact.
    pub fact: FactId,
    /// Its key.
    pub key: Key,
    /// Its value before the event.
    pub before: Value,
    /// The cell of the key, where it is at hand; `NIL` where it is not.
    pub cell: u32,
}

/// A session as a whole.
#[derive(Clone, Copy, Debug)]
pub struct SessionView {
    /// Whether it has ended.
    pub closed: bool,
    /// Whether it is an end without a beginning.
    pub orphan: bool,
    /// How long it was; an orphan's is not known.
    pub duration: Option<TimeSpan>,
}

/// The lender of values: see [`Env`].
pub struct Sight<'a> {
    /// Plan, layout, texts.
    pub cx: Context<'a>,
    /// Keyed state, read only.
    pub state: &'a State,
    /// What is known of the schedules about now, by schedule.
    pub hours: &'a [Hours],
    /// The site.
    pub site: Symbol,
    /// The event being judged; none under a timer or a watch.
    pub event: Option<EventRef<'a>>,
    /// Where there is no event: the key, and which fields its parts are.
    pub key: (&'a [FieldRef], Key),
    /// Captured values.
    pub captured: Kept<'a>,
    /// The watched value.
    pub value: Value,
    /// What is known of the session as a whole.
    pub session: Option<SessionView>,
    /// What the event changed.
    pub changed: &'a [Changed],
    /// Event time.
    pub now: EventTime,
    /// Conditions evaluated at the site so far.
    pub evaluated: &'a Cell<u64>,
}

/// A field of an event.
#[inline]
pub fn field_of(cx: Context<'_>, event: EventRef<'_>, field: FieldRef) -> Value {
    let FieldRef::Slot(id, ty) = field else { return other_field(cx, event, field) };
    let value = match ty {
        FieldType::String => event.text(id).map(Value::Text),
        FieldType::Int => event.int(id).map(Value::Int),
        FieldType::Float => event.float(id).map(Value::Float),
        FieldType::Bool => event.bool(id).map(Value::Bool),
        FieldType::Time => event.time(id).map(Value::Time),
    };
    value.unwrap_or(Value::Missing)
}

/// A text of an event.
#[inline(always)]
pub fn text_of(cx: Context<'_>, event: EventRef<'_>, field: FieldRef) -> Option<Symbol> {
    match field {
        FieldRef::Slot(id, FieldType::String) => event.text(id),
        FieldRef::Site => Some(event.site()),
        _ => match field_of(cx, event, field) {
            Value::Text(text) => Some(text),
            _ => None,
        },
    }
}

/// What stands in no slot of a row.
fn other_field(cx: Context<'_>, event: EventRef<'_>, field: FieldRef) -> Value {
    match field {
        FieldRef::Slot(..) => Value::Missing,
        FieldRef::Site => Value::Text(event.site()),
        FieldRef::Device => Value::Text(event.device()),
        FieldRef::Kind => Value::Text(cx.layout.kind_names[event.kind().0 as usize]),
        FieldRef::Time => Value::Time(event.occurred()),
        FieldRef::Recorded => Value::Time(event.recorded()),
        FieldRef::Quarantined => Value::Bool(event.flags().has(EventFlags::QUARANTINED)),
        FieldRef::Joined { of, table, column } => match field_of(cx, event, of.field()) {
            Value::Text(row) => joined(cx, row, table, column),
            _ => Value::Missing,
        },
    }
}

/// What the model says of a row in a column of texts.
fn joined(cx: Context<'_>, row: Symbol, table: u16, column: u16) -> Value {
    match cx.tables.cell(table as usize, row, column as usize) {
        Some(model::Cell::String(symbol)) => Value::Text(*symbol),
        _ => Value::Missing,
    }
}

/// One part of a key; `None` where the event does not have it. Numbers and booleans are no names:
/// the compiler admits texts only.
#[inline]
pub fn key_part(cx: Context<'_>, event: EventRef<'_>, field: FieldRef) -> Option<Symbol> {
    match field {
        FieldRef::Slot(id, FieldType::String) => event.text(id)?.some(),
        FieldRef::Site => event.site().some(),
        FieldRef::Device => event.device().some(),
        FieldRef::Kind => cx.layout.kind_names[event.kind().0 as usize].some(),
        FieldRef::Joined { .. } => match field_of(cx, event, field) {
            Value::Text(symbol) => symbol.some(),
            _ => None,
        },
        FieldRef::Slot(..) | FieldRef::Time | FieldRef::Recorded | FieldRef::Quarantined => None,
    }
}

/// The same, where it mostly is a text of the row.
#[inline(always)]
pub fn part_of(cx: Context<'_>, event: EventRef<'_>, field: FieldRef) -> Option<Symbol> {
    match field {
        FieldRef::Slot(id, FieldType::String) => event.text(id)?.some(),
        _ => key_part(cx, event, field),
    }
}

/// The key of an event; `None` where it lacks a part.
#[inline(always)]
pub fn key_of(cx: Context<'_>, event: EventRef<'_>, by: &[FieldRef]) -> Option<Key> {
    // Nearly all: the site, a door, a zone, a badge.
    match by {
        [] => Some([Symbol::NONE; 4]),
        [FieldRef::Slot(id, FieldType::String)] => {
            Some([event.text(*id)?.some()?, Symbol::NONE, Symbol::NONE, Symbol::NONE])
        }
        _ => key_of_parts(cx, event, by),
    }
}

fn key_of_parts(cx: Context<'_>, event: EventRef<'_>, by: &[FieldRef]) -> Option<Key> {
    let mut key = [Symbol::NONE; 4];
    for (part, field) in key.iter_mut().zip(by) {
        *part = key_part(cx, event, *field)?;
    }
    Some(key)
}

/// Whether something `age` old is outside a window: exactly `within` old is outside.
#[inline(always)]
pub fn outside(now: EventTime, time: i64, within: TimeSpan) -> bool {
    match now.0.checked_sub(time) {
        Some(age) => age >= within.0,
        None => is_ages_ago(now, time, within),
    }
}

/// The same of what is further away than a number says.
#[cold]
#[inline(never)]
fn is_ages_ago(now: EventTime, time: i64, within: TimeSpan) -> bool {
    now.since(EventTime(time)) >= within
}

impl Sight<'_> {
    /// The cell of a fact's key.
    #[inline]
    fn cell(&self, fact: FactId, key: &Key) -> Option<u32> {
        cell_of(self.cx, self.state, self.changed, fact, key)
    }

    /// The key of a fact as this sight gives it.
    fn fact_key(&self, fact: FactId) -> Option<Key> {
        if let Some(event) = self.event {
            return key_of(self.cx, event, &self.cx.plan.facts[fact.0 as usize].by);
        }
        let mut key = [Symbol::NONE; 4];
        for (part, field) in key.iter_mut().zip(&self.cx.plan.facts[fact.0 as usize].by) {
            match self.field(*field) {
                Value::Text(symbol) if symbol != Symbol::NONE => *part = symbol,
                _ => return None,
            }
        }
        Some(key)
    }

    /// A field where no event is at hand: a part of the key, or what stands beside it.
    fn part(&self, field: FieldRef) -> Value {
        let (fields, key) = &self.key;
        match fields.iter().position(|f| *f == field) {
            // A session found by any of several fields has one of them only.
            Some(part) => key[part].some().map_or(Value::Missing, Value::Text),
            None if field == FieldRef::Site => Value::Text(self.site),
            None if field == FieldRef::Time => Value::Time(self.now),
            None => match field {
                FieldRef::Joined { of, table, column } => match self.field(of.field()) {
                    Value::Text(row) => joined(self.cx, row, table, column),
                    _ => Value::Missing,
                },
                _ => Value::Missing,
            },
        }
    }
}

/// The cell of a fact's key: what the event has changed is at hand.
#[inline]
pub fn cell_of(
    cx: Context<'_>,
    state: &State,
    changed: &[Changed],
    fact: FactId,
    key: &Key,
) -> Option<u32> {
    let owner = cx.layout.fact(fact);
    let known = changed.iter().find(|changed| changed.fact == fact).map(|changed| changed.cell);
    known.filter(|cell| state.is_of(*cell, owner, key)).or_else(|| state.find(owner, key))
}

/// A fact's value for the key of an event, then.
#[inline]
pub fn fact_of(
    cx: Context<'_>,
    state: &State,
    changed: &[Changed],
    event: EventRef<'_>,
    fact: FactId,
) -> Value {
    let plan = &cx.plan.facts[fact.0 as usize];
    let Some(key) = key_of(cx, event, &plan.by) else { return Value::Missing };
    value_in(state, &plan.kind, cell_of(cx, state, changed, fact, &key), event.occurred())
}

/// A fact's value for a key at a time. Reads only: what has left the window is counted out.
pub fn fact_value(
    cx: Context<'_>,
    state: &State,
    fact: FactId,
    key: &Key,
    now: EventTime,
) -> Value {
    value_in(
        state,
        &cx.plan.facts[fact.0 as usize].kind,
        state.find(cx.layout.fact(fact), key),
        now,
    )
}

/// As [`fact_value`], where the cell of the key is known, or that it has none.
#[inline]
pub fn value_in(state: &State, kind: &FactKind, cell: Option<u32>, now: EventTime) -> Value {
    match (kind, cell) {
        (FactKind::Set { init, .. }, None) => *init,
        (_, None) => Value::Int(0),
        (FactKind::Set { init, ttl, .. }, Some(cell)) => {
            let set = state.keys.get(cell).time;
            match ttl {
                Some(ttl) if outside(now, set, *ttl) => *init,
                _ => state.value(cell),
            }
        }
        (FactKind::Balance { .. } | FactKind::Tally { .. }, Some(cell)) => state.value(cell),
        (FactKind::Count { within, .. } | FactKind::Distinct { within, .. }, Some(cell)) => {
            if holds_outside(state.keys.get(cell), now, *within) {
                stale_value(state, kind, cell, now)
            } else {
                state.value(cell)
            }
        }
    }
}

/// The value of a window whose first events have left it, and are still there.
fn stale_value(state: &State, kind: &FactKind, cell: u32, now: EventTime) -> Value {
    let head = state.keys.get(cell).head;
    match kind {
        FactKind::Count { within, .. } => {
            let gone = state.list(head).take_while(|e| outside(now, e.time, *within)).count();
            match state.value(cell) {
                Value::Int(n) => Value::Int(n - gone as i64),
                other => other,
            }
        }
        FactKind::Distinct { within, .. } => {
            let inside = || state.list(head).skip_while(|e| outside(now, e.time, *within));
            // Off the hot path (rules freshen what they read): each value at its first entry.
            let first = |n: usize, e: &super::cells::Entry| {
                !inside().take(n).any(|o| o.words[0] == e.words[0])
            };
            Value::Int(inside().enumerate().filter(|(n, e)| first(*n, e)).count() as i64)
        }
        FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => {
            state.value(cell)
        }
    }
}

impl Env for Sight<'_> {
    #[inline]
    fn field(&self, field: FieldRef) -> Value {
        match self.event {
            Some(event) => field_of(self.cx, event, field),
            None => self.part(field),
        }
    }

    fn captured(&self, index: u8) -> Value {
        self.captured.get(index as usize)
    }

    fn fact(&self, fact: FactId, key: Option<Symbol>) -> Value {
        let key = match key {
            Some(symbol) => Some([symbol, Symbol::NONE, Symbol::NONE, Symbol::NONE]),
            None => self.fact_key(fact),
        };
        let Some(key) = key else { return Value::Missing };
        let kind = &self.cx.plan.facts[fact.0 as usize].kind;
        value_in(self.state, kind, self.cell(fact, &key), self.now)
    }

    fn previous(&self, fact: FactId) -> Value {
        let Some(key) = self.fact_key(fact) else { return Value::Missing };
        match self.changed.iter().find(|c| c.fact == fact && c.key == key) {
            Some(changed) => changed.before,
            None => fact_value(self.cx, self.state, fact, &key, self.now),
        }
    }

    fn value(&self) -> Value {
        self.value
    }

    fn session(&self, field: SessionField) -> Value {
        let Some(session) = self.session else { return Value::Missing };
        match field {
            SessionField::Closed => Value::Bool(session.closed),
            SessionField::Orphan => Value::Bool(session.orphan),
            SessionField::Duration => session.duration.map_or(Value::Missing, Value::Span),
        }
    }

    fn schedule(&self, schedule: ScheduleId) -> bool {
        match self.hours.get(schedule.0 as usize).filter(|hours| hours.covers(self.now)) {
            Some(hours) => hours.on,
            None => self.cx.plan.calendar.is_on(schedule, self.site, self.now),
        }
    }

    fn tables(&self) -> &Tables {
        self.cx.tables
    }

    fn interner(&self) -> &Interner {
        self.cx.interner
    }
}

impl<'a> Sight<'a> {
    /// The sight of an event.
    #[inline]
    pub fn of(
        cx: Context<'a>,
        site: &'a Site,
        event: EventRef<'a>,
        changed: &'a [Changed],
    ) -> Self {
        Self {
            cx,
            state: &site.state,
            hours: &site.hours,
            site: event.site(),
            event: Some(event),
            key: (&[], [Symbol::NONE; 4]),
            captured: Kept::NOTHING,
            value: Value::Missing,
            session: None,
            changed,
            now: event.occurred(),
            evaluated: &site.evaluated,
        }
    }

    /// The sight of a key, where no event is at hand: under a timer, a level, a session's end.
    pub fn of_key(
        cx: Context<'a>,
        site: &'a Site,
        by: &'a [FieldRef],
        key: Key,
        now: EventTime,
    ) -> Self {
        Self {
            cx,
            state: &site.state,
            hours: &site.hours,
            site: site.name,
            event: None,
            key: (by, key),
            captured: Kept::NOTHING,
            value: Value::Missing,
            session: None,
            changed: &[],
            now,
            evaluated: &site.evaluated,
        }
    }

    /// The sight of an event, with what was captured of earlier ones.
    pub fn with(mut self, captured: Kept<'a>) -> Self {
        self.captured = captured;
        self
    }

    /// The same moment, with what a run has captured so far.
    pub fn now_with<'b>(&self, course: &'b Course) -> Sight<'b>
    where
        'a: 'b,
    {
        Sight { captured: course.kept(), ..*self }
    }

    /// Whether a trigger's kind and condition fit the event.
    #[inline]
    pub fn fits(&self, trigger: &crate::plan::Trigger) -> bool {
        let Some(event) = self.event else { return false };
        trigger.is_of(event.kind()) && trigger.condition.as_ref().is_none_or(|c| self.holds(c))
    }

    /// Whether a condition holds: one unit of work.
    #[inline]
    pub fn holds(&self, condition: &Condition) -> bool {
        self.evaluated.set(self.evaluated.get() + 1);
        let Some(event) = self.event else { return condition.expr().holds(self) };
        condition.holds_of(event).unwrap_or_else(|| condition.rest().holds(self))
    }
}
