//! The repair of what came later than the slack: the touched stretch of time is run again on the
//! side, with the late events and without them; what only the one run finds is told now, as late.
//! Nothing that was said is taken back, and the state that runs on takes over no more than what
//! was set last.

use std::collections::{BTreeMap, BTreeSet};

use event::incident::Tier;
use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventRef, EventTime, Identity, Position, Symbol, TimeSpan};

use super::cells::Entry;
use super::correlation::{PolicyIndex, Spoken};
use super::findings::{Effect, Finding, Findings};
use super::late::Due;
use super::merge::AT_SITES;
use super::pages::NIL;
use super::parts::Place;
use super::reorder::{Over, Waiting};
use super::scope::{Context, Setting};
use super::site::Site;
use super::state::Owner;
use super::{Engine, Options};
use crate::limits::WAITING_MAX;
use crate::plan::{Mode, Pattern};
use crate::value::Value;

impl Engine {
    /// The repair that is due now, if any. Whoever can read the log again reads what it names and
    /// calls [`Engine::repair`] before anything else is fed.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        let watermark = self.streams.watermark();
        if !self.repair_is_due() {
            return None;
        }
        let starts = self.late.rows.iter().map(|row| row.occurred().minus(self.reaches(row)));
        Some(self.late.needs(starts.min()?, watermark))
    }

    #[inline]
    pub(super) fn repair_is_due(&self) -> bool {
        self.late.is_due(self.streams.watermark(), self.options.live)
    }

    /// An event behind the watermark: what looks at it alone fires at once, the rest waits for the
    /// repair. All that stands before it in the log has its effect first, whatever the batches.
    pub(super) fn late(
        &mut self,
        event: EventRef<'_>,
        occurred: EventTime,
        place: Place,
        out: &mut Findings,
    ) {
        self.release(out);
        let came = self.streams.watermark().max(self.sites[place as usize].floor);
        let lateness = came.since(occurred);
        let Some(tier) = self.options.late.tier(lateness) else {
            self.late.counts.older += 1;
            return;
        };
        let Self { plan, interner, layout, enterprise_layout, tables, sites, scratch, .. } = self;
        scratch.clear();
        scratch.push_row(event);
        scratch.get_mut(0).times(occurred, event.recorded());
        let event = scratch.get(0);
        // Further back than identities are remembered it may have been judged before.
        let once = lateness < self.options.duplicates_within;
        if once {
            let before = out.len();
            let cx = &Setting { plan, layout, tables, interner };
            sites[place as usize].site.late(cx, event, tier, out);
            let cx = &Setting { plan, layout: enterprise_layout, tables, interner };
            self.enterprise.late(cx, event, tier, out);
            let found = out.iter().skip(before).filter(|finding| finding.is_detection());
            found.for_each(|_| self.late.counts.count(tier));
        }
        if !once || self.reach.of(event.kind()).is_some() {
            self.late.keep(event, came, self.options.late.settle);
        }
    }

    /// Runs a repair that is due: `history` are the events that [`Engine::due`] asks for, in the
    /// order of the log, and whatever else was read with them; `complete` is false where some of
    /// them are gone.
    pub fn repair(&mut self, history: &EventBlock, complete: bool, out: &mut Findings) {
        let Some(due) = self.due() else { return };
        let watermark = self.streams.watermark();
        let complete = complete && !due.cut;
        self.late.counts.repairs += 1;
        self.late.counts.incomplete += u64::from(!complete);
        let (with, read) = self.aside(history, true, due.from);
        self.late.has_read(read, watermark);
        let candidates: BTreeSet<_> =
            with.iter().filter(|f| f.is_detection()).map(|f| f.id).collect();
        let known: BTreeSet<_> = if candidates.is_empty() {
            BTreeSet::new()
        } else {
            self.aside(history, false, due.from).0.iter().map(|finding| finding.id).collect()
        };
        let cleared: BTreeSet<_> = with
            .iter()
            .filter_map(|finding| match finding.effect {
                Effect::Cleared(incident) => Some(incident),
                _ => None,
            })
            .collect();
        let came = self.late.came_last();
        for finding in with.iter().filter(|f| f.is_detection() && !known.contains(&f.id)) {
            if !self.reach.decides(finding.rule) {
                continue;
            }
            // What was found was true a while ago: how long ago is how late it is.
            let tier = self.options.late.tier(came.since(finding.at)).unwrap_or(Tier::Recorded);
            let cleared = cleared.contains(&finding.id);
            if self.tell_late(&with, finding, (tier, complete), cleared, out) {
                self.late.counts.count(tier);
            }
        }
        self.take_over(out);
        let reach = &self.reach;
        let until =
            |row: EventRef<'_>| row.occurred().plus(reach.of(row.kind()).unwrap_or_default());
        self.late.settle(until, watermark);
    }

    fn tell_late(
        &mut self,
        with: &Findings,
        finding: &Finding,
        how: (Tier, bool),
        cleared: bool,
        out: &mut Findings,
    ) -> bool {
        let Self { plan, interner, layout, enterprise_layout, tables, sites, places, .. } = self;
        let (site, layout) = match places.get(&finding.site) {
            Some(place) => (&mut sites[*place as usize].site, &*layout),
            None => (&mut self.enterprise, &*enterprise_layout),
        };
        site.tell_late(
            &Setting { plan, layout, tables, interner },
            with,
            finding,
            how,
            cleared,
            out,
        )
    }

    fn reaches(&self, row: EventRef<'_>) -> TimeSpan {
        self.reach.of(row.kind()).unwrap_or_default()
    }

    /// What an engine finds that is given these events in order, and, or not, the late ones; and how
    /// many those were.
    fn aside(&self, history: &EventBlock, late: bool, from: EventTime) -> (Findings, u64) {
        let options = Options {
            shards: 1,
            duplicates_within: TimeSpan::MAX,
            duplicates_max: WAITING_MAX,
            ..self.options.clone()
        };
        let mut side = Self::new(self.plan.clone(), self.interner.clone(), options);
        side.tables = self.tables.clone();
        // Whether what is found is held back is judged where it is told.
        side.layout.policies = PolicyIndex::none(&self.plan);
        side.enterprise_layout.policies = PolicyIndex::none(&self.plan);
        let mut out = Findings::default();
        let kept = self.late.rows.iter().map(|row| (row.identity(), row.position()));
        let kept: BTreeMap<Identity, Position> = kept.collect();
        for event in history.iter().filter(|event| event.kind() != KIND_ADVANCE) {
            // A redelivery of a late event is no event beside it.
            let again = kept.get(&event.identity()).is_some_and(|at| *at <= event.position());
            if !again && self.streams.has_heard(event) {
                side.hold(event, from);
            }
        }
        if late {
            self.late.rows.iter().for_each(|row| side.hold(row, from));
        }
        for admitted in &self.sites {
            let place = side.place(admitted.site.name);
            let Self { plan, interner, layout, tables, sites, .. } = &mut side;
            let site = &mut sites[place as usize].site;
            site.seed(&Setting { plan, layout, tables, interner }, &admitted.site, from);
        }
        let Self { plan, interner, enterprise_layout: layout, tables, enterprise, .. } = &mut side;
        enterprise.seed(&Setting { plan, layout, tables, interner }, &self.enterprise, from);
        let read = side.books.iter().map(|books| books.waiting).sum();
        side.streams.pass(self.streams.watermark());
        side.release(&mut out);
        (out, read)
    }

    /// Keeps an event until the side run lets all go in order.
    fn hold(&mut self, event: EventRef<'_>, from: EventTime) {
        let (occurred, quarantined) = self.judged_time(event);
        if occurred < from {
            return;
        }
        let (rank, over) = (self.kinds[event.kind().0 as usize].rank, Over::Unknown);
        let place = self.place(event.site());
        let admitted = &mut self.sites[place as usize];
        if !admitted.seen.is_new(event.identity(), occurred, EventTime::MIN) {
            return;
        }
        self.books[event.source().0 as usize].waiting += 1;
        let row = self.rows[AT_SITES].keep(event);
        let mut kept = self.rows[AT_SITES].get_mut(row);
        kept.times(occurred, event.recorded());
        if quarantined {
            kept.flag(EventFlags::QUARANTINED);
        }
        admitted.waiting.push(&self.rows, Waiting::new(occurred, rank, over, row));
    }

    /// What the late events set last is so from now on: where somebody was, what was switched.
    fn take_over(&mut self, out: &mut Findings) {
        let rows = std::mem::replace(&mut self.late.rows, EventBlock::new(&self.plan.vocabulary));
        let mut order: Vec<_> = rows.iter().skip(self.late.repaired).collect();
        order.sort_by_key(|row| {
            (row.occurred(), self.kinds[row.kind().0 as usize].rank, row.identity())
        });
        for row in order {
            let place = self.place(row.site());
            let Self { plan, interner, layout, enterprise_layout, tables, sites, .. } = self;
            let cx = &Setting { plan, layout, tables, interner };
            sites[place as usize].site.take_over(cx, row, out);
            let cx = &Setting { plan, layout: enterprise_layout, tables, interner };
            self.enterprise.take_over(cx, row, out);
        }
        self.late.rows = rows;
    }
}

impl Site {
    /// Says what a repair found, as late. Its condition is past: it neither holds an incident open
    /// nor is it heard by other rules, which the repair has run themselves. `false` where it was
    /// said before.
    fn tell_late(
        &mut self,
        cx: Context<'_>,
        found: &Findings,
        finding: &Finding,
        how: (Tier, bool),
        cleared: bool,
        out: &mut Findings,
    ) -> bool {
        if !self.said.all().is_new(Identity(finding.id.0), finding.at, finding.at) {
            return false;
        }
        let [a, b, c] = finding.key;
        let spoken = Spoken {
            rule: finding.rule,
            id: finding.id,
            key: [a, b, c, Symbol::NONE],
            at: finding.at,
            event: finding.event,
            subject: finding.subject,
            site: finding.site,
            omitted: finding.omitted,
            level: NIL,
        };
        let marks = (out.evidence_mark(), out.why_mark());
        found.evidence(finding).iter().for_each(|evidence| out.push_evidence(*evidence));
        for (nth, value) in found.why(finding).iter().enumerate() {
            match found.texts(finding, nth) {
                [] => out.push_why(*value),
                texts => out.push_texts(*value, texts),
            }
        }
        self.late = Some(how);
        self.changed.clear();
        let rule = &cx.plan.rules[finding.rule.0 as usize];
        if rule.mode == Mode::Shadow {
            self.say(cx, &spoken, Effect::Shadowed, marks, out);
        } else if let Some(incident) = self.speak(cx, &spoken, marks, out)
            && matches!(rule.pattern, Pattern::Watch { clears: true, .. })
        {
            let over = self.correlation.ended(incident);
            if over && cleared && incident == finding.id {
                self.say_of_incident(Effect::Cleared(incident), finding.at, out);
            }
        }
        self.settle(cx, out);
        self.late = None;
        true
    }

    /// What a late event set last is so from now on.
    fn take_over(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        self.set_late(cx, event);
        self.place_late(cx, event);
        self.settle(cx, out);
    }

    /// Begins a side run as another site stood at a time: what was set last before it, and where
    /// somebody was last. Windows fill themselves: the run begins that long before what it decides.
    fn seed(&mut self, cx: Context<'_>, other: &Self, at: EventTime) {
        if other.began >= at {
            return;
        }
        (self.began, self.now) = (other.began, at);
        for index in other.state.cells() {
            let cell = other.state.keys.get(index);
            let owner = Owner(cell.owner - 1);
            let known = cell.time < at.0 && cell.time != i64::MIN;
            if !known || !cx.layout.is_last_known(cx.plan, owner) {
                continue;
            }
            // Of rules only levels have a list: the run that waits for one to last, long decided.
            let (rule, level) = (cx.layout.is_rule(owner), cx.layout.is_level(cx.plan, owner));
            let first = (!rule).then(|| other.state.front(index)).flatten();
            let seeded = self.state.find_or_insert(owner, &other.state.key(index), Value::Missing);
            self.state.set_value(seeded, other.state.value(index));
            let copy = self.state.keys.get_mut(seeded);
            (copy.time, copy.aux) = (cell.time, cell.aux);
            if rule && !level {
                (copy.head, copy.tail, copy.spare) = (cell.head, cell.tail, cell.spare);
            }
            if let Some(entry) = first {
                self.state.append(seeded, Entry { next: NIL, ..entry });
            }
        }
        self.rearm(cx);
    }
}
