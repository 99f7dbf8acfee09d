//! Floods: so many incidents open that nobody can look at each (EEMUA 191). The lesser ones are
//! folded into the flood's own incident: kept, counted, told as one.

use event::identity::{Digest, TimedId};
use event::{EventTime, Symbol};

use super::Spoken;
use crate::engine::cells::{Entry, halves, whole};
use crate::engine::findings::{Effect, Findings};
use crate::engine::layout::Held as Owned;
use crate::engine::pages::NIL;
use crate::engine::scope::{Context, outside};
use crate::engine::site::Site;
use crate::engine::timers::Due;
use crate::plan::{Flood, Scope};
use crate::value::Value;

const SITE: [Symbol; 4] = [Symbol::NONE; 4];

impl Site {
    fn flood_policy<'a>(&self, cx: Context<'a>) -> Option<&'a Flood> {
        // Its incident is of a rule of the site's; the enterprise links and does not page twice.
        let flood = cx.plan.policies.flood.as_ref()?;
        (self.name != Symbol::NONE && cx.plan.rules[flood.rule.0 as usize].scope == Scope::Site)
            .then_some(flood)
    }

    /// The incident of the flood that a detection is folded into, where it would open one.
    pub(super) fn folded(&mut self, cx: Context<'_>, spoken: &Spoken) -> Option<TimedId> {
        let flood = self.flood_policy(cx)?;
        let rule = &cx.plan.rules[spoken.rule.0 as usize];
        if rule.life_safety
            || rule.severity >= flood.passes
            || self.correlation.taker(cx, &self.state, spoken).is_some()
        {
            return None;
        }
        let cell = self.state.find(cx.layout.owner(Owned::Flood), &SITE)?;
        let key = self.state.keys.get(cell);
        let incident = TimedId(whole([key.aux, key.spare]));
        (incident != TimedId::default()).then_some(incident)
    }

    /// An incident has opened, or would have: the one that makes so many begins a flood.
    pub(super) fn note_opening(&mut self, cx: Context<'_>, spoken: &Spoken, out: &mut Findings) {
        let Some(flood) = self.flood_policy(cx) else { return };
        let now = spoken.at.max(self.now);
        let cell = self.state.find_or_insert(cx.layout.owner(Owned::Flood), &SITE, Value::Missing);
        self.drop_openings(cell, flood, now);
        self.state.append(cell, Entry::noting(now, halves(spoken.event.0), [0; 3]));
        let held = *self.state.keys.get(cell);
        let quiet = [held.aux, held.spare] == [0; 2];
        let count = self.state.list(held.head).count() as u32;
        if !quiet || count < flood.at_least {
            return;
        }
        let name = &cx.plan.rules[flood.rule.0 as usize].id;
        let hash = Digest::default().part(name.as_bytes()).number(spoken.id.0).finish();
        let opening = Spoken {
            rule: flood.rule,
            id: TimedId::new(now, hash),
            key: SITE,
            at: now,
            subject: [Symbol::NONE; 6],
            omitted: 0,
            level: NIL,
            ..*spoken
        };
        self.serial += 1;
        let serial = self.serial;
        let key = self.state.keys.get_mut(cell);
        [key.aux, key.spare] = halves(opening.id.0);
        key.value = serial;
        self.arm_flood(cx, cell);
        let marks = (out.evidence_mark(), out.why_mark());
        self.tell(cx, &opening, None);
        let rule = &cx.plan.rules[flood.rule.0 as usize];
        let (effect, incident) = self.correlation.group(cx, &mut self.state, &opening, rule);
        self.say(cx, &opening, effect, marks, out);
        incident.into_iter().for_each(|incident| self.arm_stale(cx, incident));
    }

    fn drop_openings(&mut self, cell: u32, flood: &Flood, now: EventTime) {
        while self.state.front(cell).is_some_and(|e| outside(now, e.time, flood.within)) {
            self.state.pop_front(cell);
        }
    }

    /// A flood is looked at when the oldest of its openings leaves the window.
    pub(super) fn arm_flood(&mut self, cx: Context<'_>, cell: u32) {
        let Some(flood) = self.flood_policy(cx) else { return };
        let key = *self.state.keys.get(cell);
        if [key.aux, key.spare] == [0; 2] {
            return;
        }
        if let Some(oldest) = self.state.front(cell) {
            let at = EventTime(oldest.time).plus(flood.within);
            self.upkeep.push(at, key.owner, 0, key.value, Due::Flood(cell));
        }
    }

    /// A flood may be over: its incident is cleared.
    pub(in crate::engine) fn flood_due(
        &mut self,
        cx: Context<'_>,
        cell: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let key = *self.state.keys.get(cell);
        let Some(flood) = self.flood_policy(cx) else { return };
        let ours = key.owner == cx.layout.owner(Owned::Flood).0 + 1;
        if !ours || key.value != serial || [key.aux, key.spare] == [0; 2] {
            return;
        }
        self.drop_openings(cell, flood, at);
        let count = self.state.list(self.state.keys.get(cell).head).count() as u32;
        if count >= flood.until {
            self.arm_flood(cx, cell);
            return;
        }
        let held = self.state.keys.get_mut(cell);
        [held.aux, held.spare] = [0; 2];
        let incident = TimedId(whole([key.aux, key.spare]));
        self.correlation.clear(incident);
        self.say_of_incident(Effect::Cleared(incident), at, out);
    }
}
