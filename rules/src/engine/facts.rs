//! Facts first: named state, updated before any rule reads.

use event::{EventRef, EventTime, Symbol, TimeSpan};

use super::cells::{Entry, Key, KeyCell};
use super::pages::NIL;
use super::scope::{Changed, Context, Sight, fact_value, field_of, key_of, outside, value_in};
use super::site::Site;
use super::state::{Owner, State, pack, unpack};
use crate::condition::Condition;
use crate::plan::{FactId, FactKind, FieldRef, TallyPart, Trigger};
use crate::value::{Env, Value};

/// Drops what has left a fact's window for a key, so that its value is exact and cheap to read.
pub fn freshen(cx: Context<'_>, state: &mut State, fact: FactId, key: &Key, now: EventTime) {
    if let Some(cell) = state.find(cx.layout.fact(fact), key) {
        freshen_cell(cx, state, fact, cell, now);
    }
}

/// As [`freshen`], where the cell of the key is known.
#[inline]
pub fn freshen_cell(cx: Context<'_>, state: &mut State, fact: FactId, cell: u32, now: EventTime) {
    let within = match &cx.plan.facts[fact.0 as usize].kind {
        FactKind::Count { within, .. } | FactKind::Distinct { within, .. } => *within,
        FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => return,
    };
    while holds_outside(state.keys.get(cell), now, within) {
        drop_first(cx, state, fact, cell);
    }
}

/// Takes the first event off a key of a fact, and counts it out.
pub fn drop_first(cx: Context<'_>, state: &mut State, fact: FactId, cell: u32) {
    let Some(entry) = state.pop_front(cell) else { return };
    if let Some(first) = state.front(cell) {
        state.keys.get_mut(cell).time = first.time;
    }
    let counted_out = match &cx.plan.facts[fact.0 as usize].kind {
        FactKind::Count { .. } => true,
        FactKind::Distinct { .. } => {
            let key = state.keys.get(cell).key;
            release(state, cx.layout.fact(fact), &key, entry.words[0])
        }
        FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => false,
    };
    if counted_out {
        add(state, cell, -1);
    }
}

/// Takes every event off a key of a fact.
pub fn drain(cx: Context<'_>, state: &mut State, fact: FactId, cell: u32) {
    while state.keys.get(cell).head != NIL {
        drop_first(cx, state, fact, cell);
    }
}

fn add(state: &mut State, cell: u32, by: i64) -> i64 {
    let cell = state.keys.get_mut(cell);
    let before = match unpack(cell.value, cell.tag()) {
        Value::Int(n) => n,
        _ => 0,
    };
    let after = before.saturating_add(by);
    cell.set(pack(Value::Int(after)));
    after
}

/// Adds an event to a window. The cell knows when its first event occurred: whether any has left the
/// window takes no look at the events.
fn append(state: &mut State, cell: u32, entry: Entry) {
    let key = state.keys.get_mut(cell);
    if key.head == NIL {
        key.time = entry.time;
    }
    state.append(cell, entry);
}

/// Whether the first event of a window's cell has left it.
#[inline]
pub fn holds_outside(cell: &KeyCell, now: EventTime, within: TimeSpan) -> bool {
    cell.head != NIL && outside(now, cell.time, within)
}

fn of_value(key: &Key, value: u64) -> Key {
    [key[0], key[1], key[2], Symbol(value as u32)]
}

/// One entry of a value has left; whether it was the value's last.
fn release(state: &mut State, owner: Owner, key: &Key, value: u64) -> bool {
    let Some(cell) = state.find(owner, &of_value(key, value)) else { return true };
    if add(state, cell, -1) > 0 {
        return false;
    }
    state.remove(cell);
    true
}

impl Site {
    /// Updates every fact that is interested in the event, and notes what changed.
    pub fn update_facts(&mut self, cx: Context<'_>, event: EventRef<'_>) {
        self.changed.clear();
        for fact in cx.facts_asked(event) {
            let began = self.evaluated.get();
            let plan = &cx.plan.facts[fact.0 as usize];
            if let Some(reset) = &plan.reset
                && self.fits(cx, reset, event)
            {
                self.reset_fact(cx, fact, event.occurred());
            }
            if let Some(key) = key_of(cx, event, &plan.by) {
                self.update_fact(cx, event, fact, key);
            }
            self.worked(usize::from(fact.0), began);
        }
    }

    /// Forgets every key of a fact. Looks at every cell of the site: resets are rare.
    fn reset_fact(&mut self, cx: Context<'_>, fact: FactId, now: EventTime) {
        let owner = cx.layout.fact(fact).0 + 1;
        for cell in 0..self.state.keys.len() {
            let held = *self.state.keys.get(cell);
            if held.owner != owner {
                continue;
            }
            let before = fact_value(cx, &self.state, fact, &held.key, now);
            let set = self.state.value(cell);
            while self.state.pop_front(cell).is_some() {}
            self.state.remove(cell);
            // A cell of one counted value goes with the count.
            let of_value = matches!(cx.plan.facts[fact.0 as usize].kind, FactKind::Distinct { .. })
                && held.key[3] != Symbol::NONE;
            if !of_value {
                let known = (before == set).then_some(before);
                self.note_change(cx, fact, held.key, before, (known, None));
            }
        }
    }

    /// Notes that a fact has changed, and counts its key anew: from the value that it had been set
    /// to, to the one that it is set to now.
    pub fn note_change(
        &mut self,
        cx: Context<'_>,
        fact: FactId,
        key: Key,
        before: Value,
        (from, to): (Option<Value>, Option<Value>),
    ) {
        self.changed.push(Changed { fact, key, before });
        for tally in cx.layout.tallies(fact) {
            let from = from.and_then(|value| self.tally_key(cx, *tally, &key, value));
            let to = to.and_then(|value| self.tally_key(cx, *tally, &key, value));
            if from == to {
                continue;
            }
            for (key, by) in [(from, -1), (to, 1)] {
                let Some(key) = key else { continue };
                let cell = self.state.find_or_insert(cx.layout.fact(*tally), &key, Value::Int(0));
                let before = self.state.value(cell);
                if add(&mut self.state, cell, by) == 0 {
                    self.state.remove(cell);
                }
                self.changed.push(Changed { fact: *tally, key, before });
            }
        }
    }

    /// Counts a tally anew, from the keys of the fact it counts.
    pub(super) fn recount(&mut self, cx: Context<'_>, tally: FactId) {
        let FactKind::Tally { of, .. } = &cx.plan.facts[tally.0 as usize].kind else { return };
        let (counted, owner) = (cx.layout.fact(*of).0 + 1, cx.layout.fact(tally));
        for cell in 0..self.state.keys.len() {
            if self.state.keys.get(cell).owner == owner.0 + 1 {
                self.state.remove(cell);
            }
        }
        for cell in 0..self.state.keys.len() {
            let held = *self.state.keys.get(cell);
            if held.owner != counted {
                continue;
            }
            let value = self.state.value(cell);
            if let Some(key) = self.tally_key(cx, tally, &held.key, value) {
                let cell = self.state.find_or_insert(owner, &key, Value::Int(0));
                add(&mut self.state, cell, 1);
            }
        }
    }

    /// Under which key a tally counts a value of the fact it counts; `None` where it does not.
    fn tally_key(&self, cx: Context<'_>, tally: FactId, key: &Key, value: Value) -> Option<Key> {
        let FactKind::Tally { of, parts, condition } = &cx.plan.facts[tally.0 as usize].kind else {
            return None;
        };
        let by = &cx.plan.facts[of.0 as usize].by;
        let sight = Sight { value, ..Sight::of_key(cx, self, by, *key, self.now) };
        if condition.as_ref().is_some_and(|condition| !sight.holds(condition)) {
            return None;
        }
        let mut out = [Symbol::NONE; 4];
        for (place, part) in out.iter_mut().zip(parts) {
            let part = match part {
                TallyPart::Value => value,
                TallyPart::Key(field) => sight.field(*field),
            };
            match part {
                Value::Text(symbol) => *place = symbol.some()?,
                _ => return None,
            }
        }
        Some(out)
    }

    fn update_fact(&mut self, cx: Context<'_>, event: EventRef<'_>, fact: FactId, key: Key) {
        let now = event.occurred();
        let plan = &cx.plan.facts[fact.0 as usize];
        let owner = cx.layout.fact(fact);
        let known = self.state.find(owner, &key);
        if let Some(cell) = known {
            freshen_cell(cx, &mut self.state, fact, cell, now);
        }
        let before = value_in(&self.state, &plan.kind, known, now);
        let fits = |trigger: &Trigger| {
            let holds = |condition: &Condition| match condition.holds_of(event) {
                Some(holds) => self.evaluates(holds),
                None => self.sight_of_fact(cx, event, before).holds(condition),
            };
            trigger.is_of(event.kind()) && trigger.condition.as_ref().is_none_or(holds)
        };
        let (mut from, mut to) = (None, None);
        match &plan.kind {
            FactKind::Count { on, .. } => {
                if !fits(on) {
                    return;
                }
                let cell = self.state.use_or_insert(known, owner, &key, Value::Int(0));
                append(&mut self.state, cell, Entry::of(event, 0));
                add(&mut self.state, cell, 1);
            }
            FactKind::Distinct { on, of, .. } => {
                if !fits(on) {
                    return;
                }
                let Value::Text(value) = field_of(cx, event, *of) else { return };
                self.count_distinct(owner, &key, event, value);
            }
            FactKind::Balance { up, down } => {
                let by = i64::from(fits(up)) - i64::from(fits(down));
                if by == 0 {
                    return;
                }
                let cell = self.state.use_or_insert(known, owner, &key, Value::Int(0));
                add(&mut self.state, cell, by);
            }
            FactKind::Set { on, ttl, .. } => {
                let Some((_, value)) = on.iter().find(|(trigger, _)| fits(trigger)) else {
                    return;
                };
                let value = value.eval(&self.sight_of_fact(cx, event, before));
                if value == Value::Missing {
                    return;
                }
                let last = known.map(|cell| self.state.keys.get(cell).time);
                let lives = |set| ttl.is_none_or(|ttl| !outside(now, set, ttl));
                from = last.filter(|set| lives(*set)).map(|_| before);
                to = Some(value);
                let cell = self.state.use_or_insert(known, owner, &key, value);
                self.state.set_value(cell, value);
                self.state.keys.get_mut(cell).time = now.0;
                if let (Some(ttl), true) = (ttl, cx.layout.hears_expiry(fact)) {
                    self.watch_expiry(cx, fact, cell, event, now.plus(*ttl));
                }
            }
            // It changes with the fact it counts.
            FactKind::Tally { .. } => return,
        }
        self.note_change(cx, fact, key, before, (from, to));
    }

    /// What a fact's own expression sees: its value so far, too.
    fn sight_of_fact<'a>(
        &'a self,
        cx: Context<'a>,
        event: EventRef<'a>,
        value: Value,
    ) -> Sight<'a> {
        Sight { value, ..Sight::of(cx, self, event, &self.changed) }
    }

    /// What a late event sets, where nothing newer has: no level is judged by it.
    pub(super) fn set_late(&mut self, cx: Context<'_>, event: EventRef<'_>) {
        self.changed.clear();
        for fact in cx.facts_asked(event) {
            let plan = &cx.plan.facts[fact.0 as usize];
            let FactKind::Set { ttl, .. } = &plan.kind else { continue };
            let Some(key) = key_of(cx, event, &plan.by) else { continue };
            let cell = self.state.find(cx.layout.fact(fact), &key);
            let newer = cell.is_some_and(|c| self.state.keys.get(c).time >= event.occurred().0);
            let gone = ttl.is_some_and(|ttl| outside(self.now, event.occurred().0, ttl));
            if !newer && !gone {
                self.update_fact(cx, event, fact, key);
            }
        }
        self.changed.clear();
    }

    fn count_distinct(&mut self, owner: Owner, key: &Key, event: EventRef<'_>, value: Symbol) {
        if value == Symbol::NONE {
            return;
        }
        let cell = self.state.find_or_insert(owner, key, Value::Int(0));
        append(&mut self.state, cell, Entry::of(event, u64::from(value.0)));
        let of_value = of_value(key, u64::from(value.0));
        let counted = self.state.find_or_insert(owner, &of_value, Value::Int(0));
        if add(&mut self.state, counted, 1) == 1 {
            add(&mut self.state, cell, 1);
        }
    }

    /// Makes the facts exact that a rule reads bare, for the event's key.
    pub fn freshen_for(&mut self, cx: Context<'_>, event: EventRef<'_>, facts: &[FactId]) {
        for fact in facts {
            if let Some(key) = key_of(cx, event, &cx.plan.facts[fact.0 as usize].by) {
                freshen(cx, &mut self.state, *fact, &key, event.occurred());
            }
        }
    }
}

/// Where the parts of one key stand among the fields of another: a watch's key for a fact kept by
/// some of the same fields.
pub fn key_from(by: &[FieldRef], have: &[FieldRef], key: &Key) -> Option<Key> {
    let mut out = [Symbol::NONE; 4];
    for (part, field) in out.iter_mut().zip(by) {
        *part = key[have.iter().position(|f| f == field)?];
    }
    Some(out)
}
