//! What operators do: acknowledge, assign, close, shelve. And what ends by itself: shelves, and the
//! time for which an incident may be active before it is stale.

use event::control::{Act, Control, IncidentAct, Shelf};
use event::identity::TimedId;
use event::{EventTime, Symbol, TimeSpan};

use super::Spoken;
use super::escalate::{incident_of_key, key_of_incident};
use crate::engine::cells::{CLEARED, CLOSED, Key, STALE};
use crate::engine::findings::{Effect, Finding, Findings};
use crate::engine::layout::Held as Owned;
use crate::engine::scope::Context;
use crate::engine::site::Site;
use crate::engine::state::Owner;
use crate::engine::timers::Due;
use crate::plan::{Plan, RuleId};
use crate::value::Value;

/// Rule and key of a shelf, as it is found: a key of no parts is whatever key.
fn key_of_shelf(rule: RuleId, key: &Key) -> Key {
    [Symbol(u32::from(rule.0) + 1), key[0], key[1], key[2]]
}

/// The longest that anything may be shelved.
fn at_most(plan: &Plan, span: TimeSpan) -> TimeSpan {
    span.min(plan.policies.shelve_max).max(TimeSpan::ZERO)
}

impl Site {
    /// An operator acts on an incident, at the time the site has reached.
    pub(in crate::engine) fn act(
        &mut self,
        cx: Context<'_>,
        control: &Control,
        IncidentAct { incident, act, .. }: &IncidentAct,
        out: &mut Findings,
    ) {
        let (at, incident) = (self.now, *incident);
        let owner = cx.layout.owner(Owned::ShelvedIncident);
        let shelf = self.state.find(owner, &key_of_incident(incident));
        let number = out.push_control(control);
        self.say_of_incident(Effect::Acted(incident, number), at, out);
        match act {
            Act::Acknowledge | Act::Assign(_) => {}
            Act::Close(_) => {
                if let Some(cell) = self.correlation.cell_of(incident) {
                    self.correlation.incidents.get_mut(cell).flags |= CLOSED;
                }
                shelf.into_iter().for_each(|cell| self.state.remove(cell));
            }
            Act::Shelve(span) => {
                let until = at.plus(at_most(cx.plan, *span));
                self.shelve(cx, owner, key_of_incident(incident), until);
            }
            Act::Unshelve => {
                shelf.into_iter().for_each(|cell| self.state.remove(cell));
                self.changed.clear();
                self.review(cx, at, out);
            }
        }
        self.hear(cx, out);
    }

    /// An operator shelves a rule and key, or takes them up again.
    pub(in crate::engine) fn act_on_rule(
        &mut self,
        cx: Context<'_>,
        control: &Control,
        rule: RuleId,
        shelf: &Shelf,
        out: &mut Findings,
    ) {
        let mut key = [Symbol::NONE; 4];
        for (part, text) in key.iter_mut().zip(&shelf.key).take(3) {
            *part = cx.interner.intern(text).unwrap_or_default();
        }
        let (at, owner) = (self.now, cx.layout.owner(Owned::ShelvedRule));
        let place = key_of_shelf(rule, &key);
        let until = shelf.span.map(|span| at.plus(at_most(cx.plan, span)));
        match (until, self.state.find(owner, &place)) {
            (Some(until), _) => self.shelve(cx, owner, place, until),
            (None, Some(cell)) => self.state.remove(cell),
            // Nothing is shelved there.
            (None, None) => return,
        }
        let number = out.push_control(control);
        self.say_of_rule(rule, &key, Effect::Shelf(until, number), at, out);
        if until.is_none() {
            self.changed.clear();
            self.review(cx, at, out);
        }
        self.hear(cx, out);
    }

    fn say_of_rule(
        &mut self,
        rule: RuleId,
        key: &Key,
        effect: Effect,
        at: EventTime,
        out: &mut Findings,
    ) {
        self.seq += 1;
        let key = [key[0], key[1], key[2]];
        let finding = Finding::of_incident(self.name, self.seq, effect, at);
        out.push_plain(Finding { rule, key, ..finding });
    }

    fn shelve(&mut self, cx: Context<'_>, owner: Owner, key: Key, until: EventTime) {
        let cell = self.state.find_or_insert(owner, &key, Value::Missing);
        self.serial += 1;
        let held = self.state.keys.get_mut(cell);
        (held.time, held.value) = (until.0, self.serial);
        self.arm_shelf(cx, cell);
    }

    /// A number for a shelf's place that no interned id enters.
    fn tie_of_shelf(&self, cx: Context<'_>, cell: u32) -> u128 {
        let key = self.state.key(cell);
        if cx.layout.held(Owner(self.state.keys.get(cell).owner - 1)) == Owned::ShelvedIncident {
            return incident_of_key(key).0;
        }
        let digest = event::Digest::default().number(u128::from(key[0].0));
        key[1..].iter().fold(digest, |d, part| d.number(cx.interner.digest(*part))).finish()
    }

    pub(super) fn arm_shelf(&mut self, cx: Context<'_>, cell: u32) {
        self.shelves = true;
        let held = *self.state.keys.get(cell);
        let tie = self.tie_of_shelf(cx, cell);
        self.upkeep.push(EventTime(held.time), held.owner, tie, held.value, Due::Shelf(cell));
    }

    /// A shelf ends by itself; what lasts still is told.
    pub(in crate::engine) fn shelf_due(
        &mut self,
        cx: Context<'_>,
        cell: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let held = *self.state.keys.get(cell);
        if held.owner == 0 || held.value != serial || held.time != at.0 {
            return;
        }
        let key @ [rule, a, b, c] = self.state.key(cell);
        match cx.layout.held(Owner(held.owner - 1)) {
            Owned::ShelvedIncident => {
                self.state.remove(cell);
                let incident = incident_of_key(key);
                self.say_of_incident(Effect::Unshelved(incident), at, out);
            }
            Owned::ShelvedRule => {
                self.state.remove(cell);
                let rule = RuleId((rule.0 - 1) as u16);
                self.say_of_rule(rule, &[a, b, c, Symbol::NONE], Effect::ShelfEnded, at, out);
            }
            _ => return,
        }
        self.changed.clear();
        self.review(cx, at, out);
    }

    /// Whether an operator has shelved a detection's rule, or rule and key, or the incident that
    /// would take it; what is worse than that incident breaks through.
    pub(super) fn is_shelved(&self, cx: Context<'_>, spoken: &Spoken, at: EventTime) -> bool {
        let lasts = |owner: Owner, key: &Key| {
            let cell = self.state.find(owner, key);
            cell.is_some_and(|cell| at.0 < self.state.keys.get(cell).time)
        };
        let owner = cx.layout.owner(Owned::ShelvedRule);
        let whole = key_of_shelf(spoken.rule, &[Symbol::NONE; 4]);
        if lasts(owner, &key_of_shelf(spoken.rule, &spoken.key)) || lasts(owner, &whole) {
            return true;
        }
        let taker = self.correlation.taker(cx, &self.state, spoken);
        let severity = cx.plan.rules[spoken.rule.0 as usize].severity as u32;
        taker.is_some_and(|incident| {
            let shelved =
                lasts(cx.layout.owner(Owned::ShelvedIncident), &key_of_incident(incident));
            shelved && self.correlation.severity_of(incident) >= Some(severity)
        })
    }

    /// An incident has opened: in a while it is stale, if it is active still.
    pub(super) fn arm_stale(&mut self, cx: Context<'_>, cell: u32) {
        let incident = *self.correlation.incidents.get(cell);
        let Some(after) = cx.plan.policies.stale else { return };
        if incident.live == 0 || incident.flags & (STALE | CLOSED) != 0 {
            return;
        }
        let at = EventTime(incident.opened).plus(after);
        if at <= self.now && self.now != EventTime::MAX {
            return;
        }
        let id = crate::engine::cells::whole(incident.id);
        self.upkeep.push(at, 0, id, incident.id[0], Due::Stale(cell));
    }

    /// An incident has been there for as long as it should not be.
    pub(in crate::engine) fn stale_due(
        &mut self,
        cell: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        if cell >= self.correlation.incidents.len() {
            return;
        }
        let incident = *self.correlation.incidents.get(cell);
        let over = incident.flags & (CLOSED | CLEARED | STALE) != 0;
        if incident.live == 0 || incident.id[0] != serial || over {
            return;
        }
        self.correlation.incidents.get_mut(cell).flags |= STALE;
        let id = TimedId(crate::engine::cells::whole(incident.id));
        self.say_of_incident(Effect::Stale(id), at, out);
    }
}
