//! Facts first: named state, updated before any rule reads.

use event::{EventRef, EventTime, Symbol, TimeSpan};

use super::asked::Index;
use super::cells::{Entry, Key, KeyCell};
use super::pages::NIL;
use super::prepared::{PreparedFact, When, key_of_text, text_of_key};
use super::scope::{
    Changed, Context, Sight, cell_of, fact_value, key_of, outside, part_of, text_of, value_in,
};
use super::site::Site;
use super::state::State;
use super::steps::{FactForm, FactStep, Roles};
use super::work::Cost;
use crate::plan::{Fact, FactId, FactKind, FieldRef, TallyPart, Trigger};
use crate::value::{Env, Value};

/// Drops what has left a fact's window for the key of a cell, so that its value is exact and cheap to
/// read.
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
    let Some(value) = state.leave_window(cell) else { return };
    let counted_out = match &cx.plan.facts[fact.0 as usize].kind {
        FactKind::Count { .. } => true,
        FactKind::Distinct { .. } => state.value_left(cell, value as u32),
        FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => false,
    };
    if counted_out {
        state.keys.get_mut(cell).add(-1);
    }
}

/// Takes off a key of a fact that counts events what has left its window; how many are left.
#[inline(never)]
pub fn drop_counted(state: &mut State, cell: u32, now: EventTime, within: TimeSpan) -> i64 {
    state.leave_counted(cell, |time| outside(now, time, within))
}

impl State {
    /// As where a cell is near, of a key whose cell is not: its cell, what it has counted, and whether any of that
    /// has left its window; and whether it held anything.
    #[inline(never)]
    fn enter_counted(
        &mut self,
        fact: &PreparedFact,
        text: Symbol,
        now: EventTime,
    ) -> (u32, (i64, bool), bool) {
        let known = self.look_text((fact.owner, fact.place), text);
        if let Ok(cell) = known {
            let held = self.keys.get(cell);
            return (cell, (held.number(), holds_outside(held, now, fact.within)), true);
        }
        (self.use_or_enter(known, fact.owner, &key_of_text(text), Value::Int(0)), (0, false), false)
    }

    /// The same of a balance: its cell, and what it was before and is now.
    #[inline(never)]
    fn enter_moved(&mut self, fact: &PreparedFact, text: Symbol, by: i64) -> (u32, (i64, i64)) {
        let known = self.look_text((fact.owner, fact.place), text);
        let cell = self.use_or_enter(known, fact.owner, &key_of_text(text), Value::Int(0));
        let held = self.keys.get_mut(cell);
        let moved = held.move_by(by);
        held.use_it(known.is_ok());
        (cell, moved)
    }
}

/// The same of a fact that counts each value once.
#[inline(never)]
pub fn drop_valued(state: &mut State, cell: u32, now: EventTime, within: TimeSpan) -> i64 {
    while holds_outside(state.keys.get(cell), now, within) {
        let value = state.leave_window(cell);
        if value.is_some_and(|value| state.value_left(cell, value as u32)) {
            state.keys.get_mut(cell).add(-1);
        }
    }
    state.keys.get(cell).number()
}

/// Takes every event off a key of a fact.
pub fn drain(cx: Context<'_>, state: &mut State, fact: FactId, cell: u32) {
    while state.keys.get(cell).head != NIL {
        drop_first(cx, state, fact, cell);
    }
}

/// Whether the first event of a window's cell has left it.
#[inline]
pub fn holds_outside(cell: &KeyCell, now: EventTime, within: TimeSpan) -> bool {
    cell.head != NIL && outside(now, cell.time, within)
}

impl Site {
    /// Updates every fact that is interested in the event, and notes what changed; whether anybody must
    /// look at that. All of them have these roles, too.
    #[inline(always)]
    pub(super) fn update_facts(
        &mut self,
        cx: Context<'_>,
        facts: &Index<FieldRef, FactStep>,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        let Some(steps) = facts.asked_of_one(|field| part_of(cx, event, field), |_| true) else {
            return self.update_several(cx, facts, more, event);
        };
        let mut looks = false;
        for step in steps {
            looks |= self.update_if(cx, step, more, event);
        }
        looks
    }

    #[inline(never)]
    fn update_several(
        &mut self,
        cx: Context<'_>,
        facts: &Index<FieldRef, FactStep>,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        let steps = facts.asked(|field| part_of(cx, event, field), |_| true);
        steps.fold(false, |looks, step| self.update_if(cx, &step, more, event) | looks)
    }

    #[inline(always)]
    fn update_if(
        &mut self,
        cx: Context<'_>,
        step: &FactStep,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        step.gate.passes(event, &self.counted)
            && self.update(cx, step, || cx.layout.prepared.fact(step.fact), more, event)
    }

    /// Whether anybody must look, where it may have changed by an event that its gate has let pass.
    #[inline(always)]
    pub(super) fn update<'a>(
        &mut self,
        cx: Context<'_>,
        step: &FactStep,
        fact: impl FnOnce() -> &'a PreparedFact,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        match step.form {
            FactForm::Count => self.count_one(cx, (step, fact()), more, event),
            FactForm::Balance => self.move_balance((step.fact, fact()), step.roles.or(more), event),
            FactForm::Distinct | FactForm::Other => self.update_other(cx, step, more, event),
        }
    }

    #[inline(never)]
    fn update_other(
        &mut self,
        cx: Context<'_>,
        step: &FactStep,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        self.on_account_of(cx.layout.fact(step.fact), |site| match step.form {
            FactForm::Distinct => site.count_value(cx, step, more, event),
            _ => site.update_by_kind(cx, *step, event),
        })
    }

    /// Counts an event that meets the condition, by a text of it; whether anybody must look.
    #[inline(always)]
    fn count_one(
        &mut self,
        cx: Context<'_>,
        (&FactStep { fact: id, roles, place, .. }, fact): (&FactStep, &PreparedFact),
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        let Some(text) = text_of_key(event, fact.key) else {
            self.work.add(fact.owner, Cost::of(0));
            return false;
        };
        self.work.add(fact.owner, Cost::of(fact.conditions));
        if !self.is_counted(cx, (id, fact), roles, event) {
            return false;
        }
        let (now, within) = (event.occurred(), fact.within);
        let (cell, mut before, used) = match self.state.near_mut((fact.owner, fact.place), text) {
            Some((cell, held)) => {
                let leaves = holds_outside(held, now, within);
                (cell, (held.number(), leaves), true)
            }
            None => self.state.enter_counted(fact, text, now),
        };
        if before.1 {
            before.0 = drop_counted(&mut self.state, cell, now, within);
        }
        let before = before.0;
        let limit = (fact.owner.0, fact.events_max);
        self.state.count_in(cell, limit, Entry::of(event, 0), 1, used);
        if let Some(place) = place {
            self.counted.set(place, before + 1);
        }
        if roles.or(more).has(Roles::WATCHED.or(Roles::READ)) {
            let (key, before) = (key_of_text(text), Value::Int(before));
            self.changed.push(Changed { fact: id, key, before, cell });
        }
        roles.has(Roles::WATCHED)
    }

    /// Whether a plain fact counts an event of its kind. What that evaluates stands in the fact.
    #[inline(always)]
    fn is_counted(
        &self,
        cx: Context<'_>,
        (FactId(id), fact): (FactId, &PreparedFact),
        roles: Roles,
        event: EventRef<'_>,
    ) -> bool {
        if roles.has(Roles::SURE) {
            return true;
        }
        // Of a window that rules share that is all: whose it is.
        if let Some((field, texts)) = &fact.among {
            return event.text(*field).is_some_and(|text| texts.has(text));
        }
        match &cx.plan.facts[usize::from(id)].kind {
            FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => {
                on.condition.as_ref().is_none_or(|c| c.holds_of(event) == Some(true))
            }
            FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => false,
        }
    }

    /// As [`Self::count_one`], of a fact that counts each value of a text once.
    fn count_value(
        &mut self,
        cx: Context<'_>,
        &FactStep { fact: id, roles, place, .. }: &FactStep,
        more: Roles,
        event: EventRef<'_>,
    ) -> bool {
        let fact = cx.layout.prepared.fact(id);
        let Some(of) = fact.of else { return false };
        let Some(text) = text_of_key(event, fact.key) else { return false };
        self.evaluated.set(u64::from(fact.conditions));
        if !self.is_counted(cx, (id, fact), roles, event) {
            return false;
        }
        let known = self.state.look_text((fact.owner, fact.place), text);
        let mut before = 0;
        if let Ok(cell) = known {
            let held = self.state.keys.get(cell);
            before = held.number();
            if holds_outside(held, event.occurred(), fact.within) {
                before = drop_valued(&mut self.state, cell, event.occurred(), fact.within);
            }
        }
        let value = text_of_key(event, of);
        let mut after = before;
        if let Some(value) = value {
            let key = (fact.owner, &key_of_text(text));
            let (cell, is_new) = self.state.count_value(known, key, event, value);
            after += i64::from(is_new);
            if roles.or(more).has(Roles::WATCHED.or(Roles::READ)) {
                let (key, before) = (key_of_text(text), Value::Int(before));
                self.changed.push(Changed { fact: id, key, before, cell });
            }
        }
        if let Some(place) = place {
            self.counted.set(place, after);
        }
        value.is_some() && roles.has(Roles::WATCHED)
    }

    /// Moves a balance by what stands in the row; whether anybody must look.
    #[inline(always)]
    fn move_balance(
        &mut self,
        (id, fact): (FactId, &PreparedFact),
        roles: Roles,
        event: EventRef<'_>,
    ) -> bool {
        let Some(text) = text_of_key(event, fact.key) else {
            self.work.add(fact.owner, Cost::of(0));
            return false;
        };
        let (by, conditions) = self.moves(fact, roles, event);
        self.work.add(fact.owner, Cost::of(conditions));
        if by == 0 {
            return false;
        }
        let near = self.state.near_mut((fact.owner, fact.place), text);
        let near = near.map(|(cell, held)| (cell, held.move_by(by)));
        let (cell, (before, now)) = match near {
            Some(moved) => moved,
            None => self.state.enter_moved(fact, text, by),
        };
        let looks = match fact.level {
            Some((rule, bound)) if near.is_some() => {
                !self.level_stands(rule, bound, text, (before, now))
            }
            Some((rule, bound)) => {
                !self.level_stays(rule, bound, || key_of_text(text), (before, now))
            }
            None => roles.has(Roles::WATCHED),
        };
        if looks || roles.has(Roles::READ) {
            let (key, before) = (key_of_text(text), Value::Int(before));
            self.changed.push(Changed { fact: id, key, before, cell });
        }
        looks
    }

    /// How much an event moves a balance, and how many conditions say so; one that would move it both ways
    /// moves it not at all.
    #[inline(always)]
    fn moves(&self, fact: &PreparedFact, roles: Roles, event: EventRef<'_>) -> (i64, u8) {
        let both = roles.has(Roles::UP) && roles.has(Roles::DOWN);
        if let (Some((field, [up, down])), true) = (fact.moves, both) {
            let Some(text) = event.text(field) else { return (0, 2) };
            return (i64::from(text.0 == up) - i64::from(text.0 == down), 2);
        }
        self.moves_one_way(fact, roles, event)
    }

    #[inline(never)]
    fn moves_one_way(&self, fact: &PreparedFact, roles: Roles, event: EventRef<'_>) -> (i64, u8) {
        let way = |role: Roles, when: When| {
            if !roles.has(role) {
                return (0, 0);
            }
            (i64::from(when.gate.passes(event, &self.counted)), when.conditions)
        };
        let (up, down) = (way(Roles::UP, fact.up), way(Roles::DOWN, fact.down));
        (up.0 - down.0, up.1 + down.1)
    }

    /// A fact that is set, or that the event may make forget.
    fn update_by_kind(&mut self, cx: Context<'_>, step: FactStep, event: EventRef<'_>) -> bool {
        let (id, fact) = (step.fact, &cx.plan.facts[step.fact.0 as usize]);
        if let Some(reset) = &fact.reset
            && self.fits(cx, reset, event)
        {
            self.reset_fact(cx, id, event.occurred());
        }
        match &fact.kind {
            FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => {
                if on.is_of(event.kind()) {
                    self.count(cx, step, event);
                }
            }
            FactKind::Balance { .. } => self.balance(cx, id, event),
            FactKind::Set { .. } => self.set_fact(cx, event, (id, fact)),
            // It changes with the fact it counts.
            FactKind::Tally { .. } => {}
        }
        step.roles.has(Roles::WATCHED)
    }

    /// Forgets every key of a fact. Looks at every cell of the site: resets are rare.
    fn reset_fact(&mut self, cx: Context<'_>, fact: FactId, now: EventTime) {
        let owner = cx.layout.fact(fact).0 + 1;
        for cell in 0..self.state.keys.len() {
            if self.state.keys.get(cell).owner != owner {
                continue;
            }
            let key = self.state.key(cell);
            let before = fact_value(cx, &self.state, fact, &key, now);
            let set = self.state.value(cell);
            while self.state.pop_front(cell).is_some() {}
            self.state.remove(cell);
            // A cell of one counted value goes with the count.
            let of_value = matches!(cx.plan.facts[fact.0 as usize].kind, FactKind::Distinct { .. })
                && key[3] != Symbol::NONE;
            if !of_value {
                let known = (before == set).then_some(before);
                let changed = Changed { fact, key, before, cell: NIL };
                self.note_change(cx, changed, (known, None));
            }
        }
    }

    /// Notes that a fact has changed, and counts its key anew: from the value that it had been set
    /// to, to the one that it is set to now.
    pub fn note_change(
        &mut self,
        cx: Context<'_>,
        changed: Changed,
        (from, to): (Option<Value>, Option<Value>),
    ) {
        let Changed { fact, key, .. } = changed;
        self.changed.push(changed);
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
                if self.state.keys.get_mut(cell).add(by) == 0 {
                    self.state.remove(cell);
                }
                self.changed.push(Changed { fact: *tally, key, before, cell: NIL });
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
            if self.state.keys.get(cell).owner != counted {
                continue;
            }
            let value = self.state.value(cell);
            if let Some(key) = self.tally_key(cx, tally, &self.state.key(cell), value) {
                let cell = self.state.find_or_insert(owner, &key, Value::Int(0));
                self.state.keys.get_mut(cell).add(1);
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

    /// Counts an event of the trigger's kinds in a window; of a field's values each once.
    fn count(
        &mut self,
        cx: Context<'_>,
        FactStep { fact, roles, place, .. }: FactStep,
        event: EventRef<'_>,
    ) {
        let plan = &cx.plan.facts[fact.0 as usize];
        let (on, within, of) = match &plan.kind {
            FactKind::Count { on, within } => (on, *within, None),
            FactKind::Distinct { on, of, within } => (on, *within, Some(*of)),
            FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => return,
        };
        let Some(key) = key_of(cx, event, &plan.by) else { return };
        let at_once = self.meets_at_once(on, roles, event);
        // What is decided takes no look at the key.
        if at_once == Some(false) {
            return;
        }
        let owner = cx.layout.fact(fact);
        let known = self.state.look(owner, &key);
        let mut before = 0;
        if let Ok(cell) = known {
            while holds_outside(self.state.keys.get(cell), event.occurred(), within) {
                drop_first(cx, &mut self.state, fact, cell);
            }
            // It has just been made exact.
            before = self.state.keys.get(cell).number();
        }
        let was = before;
        let before = Value::Int(was);
        if at_once.is_none() && !self.fits_fact(cx, event, before, on) {
            return;
        }
        let value = match of {
            None => None,
            Some(of) => match text_of(cx, event, of).and_then(Symbol::some) {
                None => {
                    if let Some(place) = place {
                        self.counted.set(place, was);
                    }
                    return;
                }
                some => some,
            },
        };
        let cell = match value {
            None => {
                let cell = self.state.use_or_enter(known, owner, &key, Value::Int(0));
                let limit = (owner.0, plan.limits.events);
                self.state.count_in(cell, limit, Entry::of(event, 0), 1, false);
                cell
            }
            Some(value) => self.state.count_value(known, (owner, &key), event, value).0,
        };
        if let Some(place) = place {
            self.counted.set(place, self.state.keys.get(cell).number());
        }
        self.changed.push(Changed { fact, key, before, cell });
    }

    /// Moves a balance up or down; an event of both moves nothing.
    fn balance(&mut self, cx: Context<'_>, fact: FactId, event: EventRef<'_>) {
        let plan = &cx.plan.facts[fact.0 as usize];
        let FactKind::Balance { up, down } = &plan.kind else { return };
        let Some(key) = key_of(cx, event, &plan.by) else { return };
        let owner = cx.layout.fact(fact);
        let known = self.state.look(owner, &key);
        let before = Value::Int(known.map_or(0, |cell| self.state.keys.get(cell).number()));
        let up = self.fits_fact(cx, event, before, up);
        let down = self.fits_fact(cx, event, before, down);
        if up == down {
            return;
        }
        let cell = self.state.use_or_enter(known, owner, &key, Value::Int(0));
        self.state.keys.get_mut(cell).add(if up { 1 } else { -1 });
        self.changed.push(Changed { fact, key, before, cell });
    }

    fn set_fact(&mut self, cx: Context<'_>, event: EventRef<'_>, (fact, plan): (FactId, &Fact)) {
        let now = event.occurred();
        let (Some(key), kind) = (key_of(cx, event, &plan.by), &plan.kind) else { return };
        let FactKind::Set { on, ttl, .. } = kind else { return };
        let known = self.state.find(cx.layout.fact(fact), &key);
        let before = value_in(&self.state, kind, known, now);
        let mut settings = on.iter();
        let fits = settings.find(|(trigger, _)| self.fits_fact(cx, event, before, trigger));
        let Some((_, value)) = fits else { return };
        let value = value.eval(&self.sight_of_fact(cx, event, before));
        if value == Value::Missing {
            return;
        }
        let last = known.map(|cell| self.state.keys.get(cell).time);
        let lives = |set| ttl.is_none_or(|ttl| !outside(now, set, ttl));
        let from = last.filter(|set| lives(*set)).map(|_| before);
        let cell = self.state.use_or_insert(known, cx.layout.fact(fact), &key, value);
        self.state.set_value(cell, value);
        self.state.keys.get_mut(cell).time = now.0;
        if let (Some(ttl), true) = (ttl, cx.layout.hears_expiry(fact)) {
            self.watch_expiry(cx, fact, cell, event, now.plus(*ttl));
        }
        self.note_change(cx, Changed { fact, key, before, cell }, (from, Some(value)));
    }

    /// Whether a trigger of a fact fits an event, where the fact has this value so far.
    #[inline(always)]
    fn fits_fact(
        &self,
        cx: Context<'_>,
        event: EventRef<'_>,
        before: Value,
        trigger: &Trigger,
    ) -> bool {
        let more = || match &trigger.condition {
            Some(condition) => self.sight_of_fact(cx, event, before).holds(condition),
            None => true,
        };
        trigger.is_of(event.kind())
            && self.meets_at_once(trigger, Roles::default(), event).unwrap_or_else(more)
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
        for step in cx.facts_asked(event) {
            let fact = step.fact;
            let plan = &cx.plan.facts[fact.0 as usize];
            let FactKind::Set { ttl, .. } = &plan.kind else { continue };
            let Some(key) = key_of(cx, event, &plan.by) else { continue };
            let cell = self.state.find(cx.layout.fact(fact), &key);
            let newer = cell.is_some_and(|c| self.state.keys.get(c).time >= event.occurred().0);
            let gone = ttl.is_some_and(|ttl| outside(self.now, event.occurred().0, ttl));
            if !newer && !gone {
                self.set_fact(cx, event, (fact, plan));
            }
        }
        self.changed.clear();
    }

    /// Makes the facts exact that a rule reads bare, for the event's key.
    #[inline]
    pub fn freshen_for(&mut self, cx: Context<'_>, event: EventRef<'_>, facts: &[FactId]) {
        for fact in facts {
            let key = key_of(cx, event, &cx.plan.facts[fact.0 as usize].by);
            let cell = key.and_then(|key| cell_of(cx, &self.state, &self.changed, *fact, &key));
            if let Some(cell) = cell {
                freshen_cell(cx, &mut self.state, *fact, cell, event.occurred());
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
