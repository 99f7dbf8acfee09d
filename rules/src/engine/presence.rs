//! Who is where: anti-passback (soft, with Unknown) and impossible travel.

use event::{EventRef, Symbol, TimeSpan};

use super::cells::{Entry, Key, KeyCell};
use super::findings::Findings;
use super::prepared::{Place, PreparedRule, key_of_text, text_of_key};
use super::scope::{Context, Sight, key_of, outside, text_of};
use super::site::Site;
use super::state::{Kept, Owner, TEXT, Vacant, pack};
use super::steps::RuleStep;
use super::work::Cost;
use crate::lang::expr::Expr;
use crate::plan::{Pattern, Rule, RuleId};
use crate::value::Value;

impl KeyCell {
    /// Whether somebody was elsewhere shortly before.
    #[inline(always)]
    fn contradicts(&self, here: Symbol, event: EventRef<'_>, within: TimeSpan) -> bool {
        self.text().is_some_and(|there| there != here)
            && !outside(event.occurred(), self.time, within)
    }

    /// Notes where somebody is, by which event.
    #[inline(always)]
    fn place(&mut self, here: Symbol, event: EventRef<'_>) {
        self.use_it(true);
        self.set((u64::from(here.0), TEXT));
        self.note(event);
    }
}

impl Site {
    pub(super) fn step_passage(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        rule: &Rule,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Pattern::Passage { on, from, to, forget, forgive } = &rule.pattern else { return };
        let owner = cx.layout.rule(id);
        let forgives = forgive.as_ref().is_some_and(|trigger| self.fits(cx, trigger, event));
        let Some(key) = key_of(cx, event, &rule.by) else {
            if forgives {
                self.forgive_everybody(owner);
            }
            return;
        };
        if forgives {
            if let Some(cell) = self.state.find(owner, &key) {
                self.state.set_value(cell, Value::Missing);
            }
            return;
        }
        if !self.fits(cx, on, event) {
            return;
        }
        let sight = Sight::of(cx, self, event, &self.changed);
        let (from, to) = (sight.text(from), sight.text(to));
        let Some(to) = to else { return };
        let found = self.state.look(owner, &key);
        let cell = found.ok();
        let last = cell.and_then(|cell| self.last_place(cell));
        let known = last.filter(|(_, time)| !outside(event.occurred(), *time, *forget));
        if let Some((area, _)) = known {
            // Where the door does not say what it leads from, only re-entry can be told.
            let violates = from.map_or(area == to, |from| area != from);
            if let (true, Some(cell)) = (violates, cell) {
                self.conclude_with_last(cx, id, key, cell, event, out);
            }
        }
        self.note_place(owner, &key, found, to, event);
    }

    /// What forgives and names nobody forgives everybody. Looks at every cell of the site: it is
    /// rare.
    fn forgive_everybody(&mut self, owner: Owner) {
        for cell in 0..self.state.keys.len() {
            if self.state.keys.get(cell).owner == owner.0 + 1 {
                self.state.set_value(cell, Value::Missing);
            }
        }
    }

    /// Impossible travel, of which all stands in the row.
    #[inline(always)]
    pub(super) fn step_travel(
        &mut self,
        cx: Context<'_>,
        (id, rule): (RuleId, &PreparedRule),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Some(text) = text_of_key(event, rule.key) else {
            return self.work.add(rule.owner, Cost::of(0));
        };
        self.work.add(rule.owner, Cost::of(rule.first.conditions));
        if !rule.first.gate.lets_pass(event, &self.counted) {
            return;
        }
        let here = match rule.whereabouts {
            Place::Site => event.site(),
            Place::Text(field) => match event.text(field) {
                Some(here) => here,
                None => return,
            },
        };
        match self.state.near_mut((rule.owner, rule.place), text) {
            Some((_, held)) if !held.contradicts(here, event, rule.within) => {
                held.place(here, event);
            }
            _ => self.travel(cx, id, (text, here), event, out),
        }
    }

    /// Somebody is here: for the first time, or soon after having been elsewhere.
    #[cold]
    #[inline(never)]
    fn travel(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        (text, here): (Symbol, Symbol),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = cx.layout.prepared.rule(id);
        let (owner, key) = (rule.owner, key_of_text(text));
        let found = self.state.look_text((owner, rule.place), text);
        let Ok(cell) = found else {
            return self.note_place(owner, &key, found, here, event);
        };
        if self.state.keys.get(cell).contradicts(here, event, rule.within) {
            self.charge(owner, |site| site.conclude_with_last(cx, id, key, cell, event, out));
        }
        self.state.keys.get_mut(cell).place(here, event);
    }

    /// Any other.
    pub(super) fn step_travel_asking(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Travel { on, place, min_time } = &rule.pattern else { return };
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        if !self.meets(cx, on, event) {
            return;
        }
        let Some(here) = text_of(cx, event, *place) else { return };
        let owner = cx.layout.rule(id);
        let found = self.state.look(owner, &key);
        let last = found.ok().and_then(|cell| self.last_place(cell).zip(Some(cell)));
        if let Some(((there, time), cell)) = last.filter(|((there, _), _)| *there != here) {
            let min_time = match min_time {
                Expr::Constant(Value::Span(span)) => Some(*span),
                _ => {
                    let (word, tag) = pack(Value::Text(there));
                    let there = Kept { words: &[word], tags: u64::from(tag) };
                    Sight::of(cx, self, event, &self.changed).with(there).span(min_time)
                }
            };
            if min_time.is_some_and(|m| !outside(event.occurred(), time, m)) {
                self.conclude_with_last(cx, id, key, cell, event, out);
            }
        }
        self.note_place(owner, &key, found, here, event);
    }

    /// Where a late event says that somebody was, where nothing newer says otherwise.
    pub(super) fn place_late(&mut self, cx: Context<'_>, event: EventRef<'_>) {
        for RuleStep { rule: id, .. } in cx.rules_listed(event) {
            let rule = &cx.plan.rules[id.0 as usize];
            let Some(key) = key_of(cx, event, &rule.by) else { continue };
            let found = self.state.look(cx.layout.rule(id), &key);
            let cell = found.ok();
            let newer = cell.is_some_and(|c| self.state.keys.get(c).time >= event.occurred().0);
            if newer {
                continue;
            }
            let sight = Sight::of(cx, self, event, &self.changed);
            match &rule.pattern {
                Pattern::Passage { forgive: Some(forgive), .. } if sight.fits(forgive) => {
                    if let Some(cell) = cell {
                        self.state.set_value(cell, Value::Missing);
                    }
                }
                Pattern::Passage { on, to, .. } if sight.fits(on) => {
                    if let Some(to) = sight.text(to) {
                        self.note_place(cx.layout.rule(id), &key, found, to, event);
                    }
                }
                Pattern::Travel { on, place, .. } if sight.fits(on) => {
                    if let Some(here) = text_of(cx, event, *place) {
                        self.note_place(cx.layout.rule(id), &key, found, here, event);
                    }
                }
                _ => {}
            }
        }
    }

    fn last_place(&self, cell: u32) -> Option<(Symbol, i64)> {
        let cell = self.state.keys.get(cell);
        Some((cell.text()?, cell.time))
    }

    /// Remembers where a key was last, and by which event.
    #[inline(never)]
    fn note_place(
        &mut self,
        owner: Owner,
        key: &Key,
        known: Result<u32, Vacant>,
        place: Symbol,
        event: EventRef<'_>,
    ) {
        let cell = self.state.use_or_enter(known, owner, key, Value::Text(place));
        let held = self.state.keys.get_mut(cell);
        held.set(pack(Value::Text(place)));
        held.note(event);
    }

    /// A detection of an event and the one that placed the key before.
    #[inline(never)]
    fn conclude_with_last(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        cell: u32,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        cx.interner.expect_digest(key[0]);
        let mark = out.evidence_mark();
        let mut conclusion = self.conclusion_of(cx, id, key, event);
        let last = self.state.keys.get(cell).noted();
        debug_assert!(last.occurred <= event.occurred());
        out.push_evidence(last);
        let (word, tag) = pack(self.state.value(cell));
        let words = [word];
        conclusion.captured = Kept { words: &words, tags: u64::from(tag) };
        out.push_evidence(Entry::of(event, 0).evidence());
        self.conclude(cx, conclusion, mark, out);
    }
}
