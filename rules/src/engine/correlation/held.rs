//! What is held back: detections that a policy keeps from people, and those that wait for it.

use event::identity::TimedId;
use event::{EventTime, Identity};

use super::Spoken;
use crate::engine::cells::{Entry, Held, halves, whole};
use crate::engine::findings::{Effect, Findings, HeldBy};
use crate::engine::ids::id_of_later;
use crate::engine::layout::Held as Owned;
use crate::engine::pages::NIL;
use crate::engine::scope::{Context, Sight, key_of, outside};
use crate::engine::site::Site;
use crate::engine::state::{Kept, Owner, pack_into};
use crate::engine::timers::Due;
use crate::limits::WHY_MAX;
use crate::plan::{Pattern, RuleId};
use crate::value::Value;

/// Decided or held back, not waiting.
const NEVER: i64 = i64::MAX;

/// What the policies say of a detection.
enum Verdict {
    Tell,
    HoldBack(HeldBy),
}

impl Site {
    /// A detection has been made: it is told, held back, or waits until it is known which.
    pub(in crate::engine) fn speak(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        marks: (u32, u32),
        out: &mut Findings,
    ) -> Option<TimedId> {
        if cx.layout.is_alone(cx.plan, spoken.rule) && !self.shelves {
            return self.announce_alone(cx, spoken, marks, out);
        }
        let wait = cx.layout.policies.hold(spoken.rule);
        match self.verdict(cx, spoken, spoken.at) {
            Verdict::HoldBack(by) => {
                self.hold_back(cx, spoken, by, marks, out);
                None
            }
            // A late one is decided by what is known now.
            Verdict::Tell if wait.0 == 0 || self.late.is_some() || !self.has_room() => {
                self.announce(cx, spoken, marks, out)
            }
            Verdict::Tell => {
                let deadline = spoken.at.plus(wait);
                self.serial += 1;
                let serial = self.serial;
                let held = self.keep_back(spoken, deadline.0, serial, marks, out);
                out.forget_since(marks);
                let owner = u32::from(spoken.rule.0) + 1;
                self.timers.push(deadline, owner, spoken.id.0, serial, Due::Held(held));
                None
            }
        }
    }

    /// Whether one more may be held back; where not, that is counted.
    fn has_room(&mut self) -> bool {
        let room = self.held.live() < self.held_max;
        self.unheld += u64::from(!room);
        room
    }

    /// What the policies say of a detection at a moment. A rule of life safety none of them knows.
    fn verdict(&mut self, cx: Context<'_>, spoken: &Spoken, at: EventTime) -> Verdict {
        if cx.plan.rules[spoken.rule.0 as usize].life_safety {
            return Verdict::Tell;
        }
        if self.shelves && self.is_shelved(cx, spoken, at) {
            return Verdict::HoldBack(HeldBy::Shelf);
        }
        let index = &cx.layout.policies;
        let (inhibitors, hushers) = (index.inhibitors(spoken.rule), index.hushers(spoken.rule));
        if inhibitors.is_empty() && hushers.is_empty() {
            return Verdict::Tell;
        }
        let mut about = self.about.take();
        about.clear();
        cx.layout.lay_out(cx.plan, &mut about, spoken, at, None);
        let sight = Sight::of(cx, self, about.get(0), &self.changed);
        let inhibits =
            |policy: &&u16| cx.plan.policies.inhibit[usize::from(**policy)].condition.holds(&sight);
        let inhibited = inhibitors.iter().find(inhibits).map(|p| HeldBy::Inhibition(*p));
        let chatters = |husher: &&RuleId| {
            let rule = &cx.plan.rules[husher.0 as usize];
            let cell = key_of(cx, about.get(0), &rule.by)
                .and_then(|key| self.state.find(cx.layout.owner(Owned::Hush(**husher)), &key));
            cell.zip(rule.quiet)
                .is_some_and(|(cell, quiet)| !outside(at, self.state.keys.get(cell).time, quiet))
        };
        let chattering = || hushers.iter().find(chatters).map(|r| HeldBy::Chattering(*r));
        let by = inhibited.or_else(chattering);
        self.about = about;
        by.map_or(Verdict::Tell, Verdict::HoldBack)
    }

    /// Tells a detection that only people hear of, and that no policy looks at. Returns its incident.
    fn announce_alone(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        marks: (u32, u32),
        out: &mut Findings,
    ) -> Option<TimedId> {
        let rule = &cx.plan.rules[spoken.rule.0 as usize];
        let (effect, cell) = self.correlation.group(cx, &mut self.state, spoken, rule);
        self.say(cx, spoken, effect, marks, out);
        if let (Some(cell), Effect::Opened) = (cell, effect) {
            self.arm_stale(cx, cell);
        }
        self.say_links(spoken, out);
        match effect {
            Effect::Joined(incident) => Some(incident),
            _ => Some(spoken.id),
        }
    }

    /// Says which incidents belong together, as was found when a detection had its own.
    #[inline]
    fn say_links(&mut self, spoken: &Spoken, out: &mut Findings) {
        if self.correlation.links.is_empty() {
            return;
        }
        let mut links = std::mem::take(&mut self.correlation.links);
        for (newer, older) in links.drain(..) {
            self.say_of_incident(Effect::Linked(newer, older), spoken.at, out);
        }
        // Their room serves the next ones.
        self.correlation.links = links;
    }

    /// Tells a detection. Returns its incident.
    fn announce(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        marks: (u32, u32),
        out: &mut Findings,
    ) -> Option<TimedId> {
        let rule = &cx.plan.rules[spoken.rule.0 as usize];
        self.tell(cx, spoken, out.trigger(marks.0));
        if let Some(flood) = self.folded(cx, spoken) {
            let effect = Effect::Suppressed(HeldBy::Flood, Some(flood));
            self.say(cx, spoken, effect, marks, out);
            self.note_opening(cx, spoken, out);
            return None;
        }
        let (effect, cell) = self.correlation.group(cx, &mut self.state, spoken, rule);
        self.say(cx, spoken, effect, marks, out);
        if effect == Effect::Opened {
            cell.into_iter().for_each(|cell| self.arm_stale(cx, cell));
            if !rule.life_safety {
                self.note_opening(cx, spoken, out);
            }
        }
        self.say_links(spoken, out);
        let incident = match effect {
            Effect::Joined(incident) => incident,
            _ => spoken.id,
        };
        self.escalate(cx, spoken, incident, out);
        if rule.quiet.is_some() {
            self.hush(cx, spoken, incident);
        }
        Some(incident)
    }

    /// Keeps a detection from people. It is shown on the incident that would have taken it, or on
    /// the one that says why; a level is kept, and told when nothing holds it back any more.
    fn hold_back(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        by: HeldBy,
        marks: (u32, u32),
        out: &mut Findings,
    ) {
        out.look_suppressed(cx, spoken.id, by);
        let incident = match by {
            // It means nothing, so no rule hears it.
            HeldBy::Inhibition(_) => self.correlation.taker(cx, &self.state, spoken),
            HeldBy::Shelf | HeldBy::Flood => {
                self.tell(cx, spoken, out.trigger(marks.0));
                self.correlation.taker(cx, &self.state, spoken)
            }
            HeldBy::Chattering(husher) => {
                self.tell(cx, spoken, out.trigger(marks.0));
                self.still_chatters(cx, spoken, husher)
            }
        };
        if spoken.level != NIL && self.has_room() {
            self.keep_back(spoken, NEVER, 0, marks, out);
        }
        self.say(cx, spoken, Effect::Suppressed(by, incident), marks, out);
    }

    /// Keeps a detection with its evidence and bound values.
    fn keep_back(
        &mut self,
        spoken: &Spoken,
        deadline: i64,
        serial: u64,
        (mark, why): (u32, u32),
        out: &Findings,
    ) -> u32 {
        let cited = out.evidence_since(mark).iter().map(Entry::cited);
        let (mut bound, mut tags) = ([0; WHY_MAX], 0);
        for (place, value) in out.why_since(why).iter().enumerate().take(WHY_MAX) {
            pack_into(&mut bound, &mut tags, place, *value);
        }
        let head = self.state.keep_list(cited);
        self.held.insert(Held {
            owner: u32::from(spoken.rule.0) + 1,
            head,
            level: spoken.level,
            ended: 0,
            omitted: spoken.omitted,
            site: spoken.site,
            subject: spoken.subject,
            key: spoken.key,
            at: spoken.at.0,
            deadline,
            serial,
            id: halves(spoken.id.0),
            event: halves(spoken.event.0),
            why: bound,
            tags,
        })
    }

    /// A held detection with its evidence and bound values, pushed behind the marks returned.
    fn kept(&self, cx: Context<'_>, held: &Held, out: &mut Findings) -> (Spoken, (u32, u32)) {
        let marks = (out.evidence_mark(), out.why_mark());
        self.state.list(held.head).for_each(|entry| out.push_evidence(entry.evidence()));
        let rule = RuleId((held.owner - 1) as u16);
        let bound = cx.plan.rules[rule.0 as usize].why.len().min(WHY_MAX);
        let values = Kept { words: &held.why, tags: held.tags };
        (0..bound).for_each(|place| out.push_why(values.get(place)));
        let spoken = Spoken {
            rule,
            id: TimedId(whole(held.id)),
            key: held.key,
            at: EventTime(held.at),
            event: Identity(whole(held.event)),
            subject: held.subject,
            site: held.site,
            omitted: held.omitted,
            level: held.level,
        };
        (spoken, marks)
    }

    fn release(&mut self, held: u32) {
        self.state.remove_list(self.held.get(held).head);
        self.held.remove(held);
    }

    /// A detection has waited as long as it must.
    pub(in crate::engine) fn held_due(
        &mut self,
        cx: Context<'_>,
        index: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let known = index < self.held.len();
        let held = known.then(|| *self.held.get(index));
        if held.is_some_and(|h| h.owner != 0 && h.serial == serial && h.deadline == at.0) {
            self.decide(cx, index, at, out);
        }
    }

    /// Tells a detection that has waited, or holds it back.
    fn decide(&mut self, cx: Context<'_>, index: u32, at: EventTime, out: &mut Findings) {
        let held = *self.held.get(index);
        let (spoken, marks) = self.kept(cx, &held, out);
        self.release(index);
        self.changed.clear();
        if let Verdict::HoldBack(by) = self.verdict(cx, &spoken, at) {
            self.hold_back(cx, &spoken, by, marks, out);
            return;
        }
        let incident = self.announce(cx, &spoken, marks, out);
        if spoken.level != NIL {
            self.note_incident(spoken.level, incident);
        }
        let pattern = &cx.plan.rules[spoken.rule.0 as usize].pattern;
        let clears = matches!(pattern, Pattern::Watch { clears: true, .. });
        if let (true, true, Some(incident)) = (held.ended == 1, clears, incident) {
            self.clear_incident(incident, at, out);
        }
    }

    /// Another rulebook is about to take over: what waits was detected by this one, and is decided by
    /// what is known now.
    pub(in crate::engine) fn decide_held(&mut self, cx: Context<'_>, out: &mut Findings) {
        for index in 0..self.held.len() {
            let held = *self.held.get(index);
            if held.owner != 0 && held.deadline != NEVER {
                self.decide(cx, index, self.now, out);
            }
        }
        self.hear(cx, out);
    }

    /// What lasts and is held back goes on where its rule does.
    pub(in crate::engine) fn carry_held(&mut self, rule: impl Fn(RuleId) -> Option<RuleId>) {
        for index in 0..self.held.len() {
            let held = *self.held.get(index);
            if held.owner == 0 {
                continue;
            }
            match rule(RuleId((held.owner - 1) as u16)) {
                Some(rule) => {
                    let held = self.held.get_mut(index);
                    // The bound values were those that the old rulebook showed.
                    (held.owner, held.tags) = (u32::from(rule.0) + 1, 0);
                }
                None => self.release(index),
            }
        }
    }

    /// What inhibits may have begun or ended: what waits is held back by it, and a level that lasts
    /// is told once nothing holds it back.
    pub(in crate::engine) fn review(&mut self, cx: Context<'_>, at: EventTime, out: &mut Findings) {
        if self.held.live() == 0 {
            return;
        }
        for index in 0..self.held.len() {
            let held = *self.held.get(index);
            if held.owner == 0 {
                continue;
            }
            let (spoken, marks) = self.kept(cx, &held, out);
            match self.verdict(cx, &spoken, at) {
                Verdict::HoldBack(by) if held.deadline != NEVER => {
                    self.release(index);
                    self.hold_back(cx, &spoken, by, marks, out);
                }
                Verdict::Tell if held.deadline == NEVER => {
                    self.release(index);
                    let spoken = Spoken { id: id_of_later(cx, &spoken, at), at, ..spoken };
                    let incident = self.announce(cx, &spoken, marks, out);
                    self.note_incident(spoken.level, incident);
                }
                _ => out.forget_since(marks),
            }
        }
    }

    /// A level has ended: what was held back of it is told no more; what waits is told as it was.
    pub(in crate::engine) fn level_ended(&mut self, cell: u32) {
        if self.held.live() == 0 {
            return;
        }
        for index in 0..self.held.len() {
            let held = *self.held.get(index);
            if held.owner == 0 || held.level != cell {
                continue;
            }
            if held.deadline == NEVER {
                self.release(index);
            } else {
                let held = self.held.get_mut(index);
                (held.level, held.ended) = (NIL, 1);
            }
        }
    }

    /// A rule has found its key to chatter: what it heard is held back until it is quiet.
    fn hush(&mut self, cx: Context<'_>, spoken: &Spoken, incident: TimedId) {
        let owner = cx.layout.owner(Owned::Hush(spoken.rule));
        let known = self.state.find(owner, &spoken.key);
        let cell = self.state.find_or_insert(owner, &spoken.key, Value::Missing);
        let [low, high] = halves(incident.0);
        let key = self.state.keys.get_mut(cell);
        key.time = key.time.max(spoken.at.0);
        (key.aux, key.spare) = (low, high);
        if known.is_none() {
            self.serial += 1;
            self.state.keys.get_mut(cell).value = self.serial;
            self.arm_quiet(cx, cell);
        }
    }

    fn arm_quiet(&mut self, cx: Context<'_>, cell: u32) {
        let key = *self.state.keys.get(cell);
        let Owned::Hush(husher) = cx.layout.held(Owner(key.owner - 1)) else { return };
        if let Some(quiet) = cx.plan.rules[husher.0 as usize].quiet {
            let (tie, at) = (self.key_tie(cx, cell), EventTime(key.time).plus(quiet));
            self.upkeep.push(at, key.owner, tie, key.value, Due::Quiet(cell));
        }
    }

    /// Another one of a chattering key; returns the incident that says so.
    fn still_chatters(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        husher: RuleId,
    ) -> Option<TimedId> {
        let mut about = self.about.take();
        about.clear();
        cx.layout.lay_out(cx.plan, &mut about, spoken, spoken.at, None);
        let key = key_of(cx, about.get(0), &cx.plan.rules[husher.0 as usize].by);
        self.about = about;
        let cell = self.state.find(cx.layout.owner(Owned::Hush(husher)), &key?)?;
        let cell = self.state.keys.get_mut(cell);
        cell.time = cell.time.max(spoken.at.0);
        Some(TimedId(whole([cell.aux, cell.spare])))
    }

    /// Something that chattered may be quiet: its incident is cleared, and what lasts is told.
    pub(in crate::engine) fn quiet_due(
        &mut self,
        cx: Context<'_>,
        cell: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let key = *self.state.keys.get(cell);
        if key.owner == 0 || key.value != serial {
            return;
        }
        let Owned::Hush(husher) = cx.layout.held(Owner(key.owner - 1)) else { return };
        let quiet = cx.plan.rules[husher.0 as usize].quiet.unwrap_or_default();
        if !outside(at, key.time, quiet) {
            self.arm_quiet(cx, cell);
            return;
        }
        self.state.remove(cell);
        self.say_of_incident(Effect::Cleared(TimedId(whole([key.aux, key.spare]))), at, out);
        self.changed.clear();
        self.review(cx, at, out);
    }

    /// Puts the policies' deadlines back into the timers: after a restore.
    pub(in crate::engine) fn rearm_policies(&mut self, cx: Context<'_>) {
        self.upkeep.clear();
        for index in 0..self.held.len() {
            let held = *self.held.get(index);
            if held.owner != 0 && held.deadline != NEVER {
                let (at, id) = (EventTime(held.deadline), whole(held.id));
                self.timers.push(at, held.owner, id, held.serial, Due::Held(index));
            }
        }
        let cells: Vec<u32> = self.state.cells().collect();
        for cell in cells {
            match cx.layout.held(Owner(self.state.keys.get(cell).owner - 1)) {
                Owned::Hush(_) => self.arm_quiet(cx, cell),
                Owned::ShelvedIncident | Owned::ShelvedRule => self.arm_shelf(cx, cell),
                Owned::Flood => self.arm_flood(cx, cell),
                _ => {}
            }
        }
        (0..self.correlation.incidents.len()).for_each(|incident| self.arm_stale(cx, incident));
    }
}
