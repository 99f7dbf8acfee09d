//! Detections become incidents: by what they share, within a gap, at most so long.

mod acts;
mod escalate;
mod flood;
mod held;
mod index;

use event::identity::TimedId;
use event::{EventTime, Identity, Symbol};

pub use index::PolicyIndex;

use super::cells::{CLEARED, CLOSED, Entry, IncidentCell, Key, halves, whole};
use super::findings::Effect;
use super::index::Index;
use super::layout::{AREA, CREDENTIAL, DOOR, Held as Owned, PERSON, Subject, TRACK};
use super::pages::Pages;
use super::scope::{Context, outside};
use super::state::{Owner, State};
use crate::limits::LINKS_MAX;
use crate::plan::{Dimension, Grouping, Pattern, Rule, RuleId};
use crate::value::Value;

/// Open incidents of one site, and the links found since they were last taken.
#[derive(Debug)]
pub struct Correlation {
    /// Incidents that may still take a detection or a link.
    pub incidents: Pages<IncidentCell>,
    /// Their cells by id.
    index: Index,
    /// How many there may be.
    most: usize,
    /// How many were let go for that.
    pub let_go: u64,
    /// How many were opened since the sweep last went on.
    pub(super) came: u32,
    links: Vec<(TimedId, TimedId)>,
}

/// A detection as policies and incidents take it: made just now, or held back until now.
#[derive(Clone, Copy, Debug)]
pub struct Spoken {
    /// The rule.
    pub rule: RuleId,
    /// The detection's id.
    pub id: TimedId,
    /// Its key.
    pub key: Key,
    /// Its time.
    pub at: EventTime,
    /// The event that made it.
    pub event: Identity,
    /// Who it is about.
    pub subject: Subject,
    /// The site of the event that made it.
    pub site: Symbol,
    /// Contributing events that are not kept as evidence.
    pub omitted: u32,
    /// The watch's key cell whose level it is, or `NIL`.
    pub level: u32,
}

/// The owner and key under which an incident is found by one dimension.
fn place_of(
    cx: Context<'_>,
    spoken: &Spoken,
    grouping: usize,
    dimension: Dimension,
) -> Option<(Owner, Key)> {
    let none = Symbol::NONE;
    let by_value = |value: Symbol| value.some().map(|value| [value, none, none, none]);
    let key = match dimension {
        Dimension::Area => by_value(spoken.subject[AREA]),
        Dimension::Door => by_value(spoken.subject[DOOR]),
        Dimension::Person => by_value(spoken.subject[PERSON]),
        Dimension::Credential => by_value(spoken.subject[CREDENTIAL]),
        Dimension::Track => by_value(spoken.subject[TRACK]),
        Dimension::Site => Some([none; 4]),
        Dimension::Rule => {
            let [a, b, c, _] = spoken.key;
            Some([a, b, c, Symbol(u32::from(spoken.rule.0) + 1)])
        }
    };
    key.map(|key| (cx.layout.dimension(grouping, dimension), key))
}

/// Incidents that are looked at where one must go.
const ROOM_SAMPLE: usize = 16;

/// What the index keeps of an id: its low words are a hash.
const fn tag_of(id: [u64; 2]) -> u32 {
    id[0] as u32
}

fn enter(index: &mut Index, incidents: &Pages<IncidentCell>, cell: u32) {
    let id = incidents.get(cell).id;
    // One id twice would be one incident that opened twice: both are kept, the first is found.
    index.insert(tag_of(id), cell);
}

impl Correlation {
    /// None yet, and at most so many.
    pub fn new(most: usize) -> Self {
        let incidents = Pages::default();
        Self { incidents, index: Index::default(), most, let_go: 0, came: 0, links: Vec::new() }
    }

    /// Finds or opens the incident of a detection, and where it is kept: one that nothing will ever
    /// look for is not.
    pub fn group(
        &mut self,
        cx: Context<'_>,
        state: &mut State,
        spoken: &Spoken,
        rule: &Rule,
    ) -> (Effect, Option<u32>) {
        let (number, grouping) = cx.layout.grouping(spoken.rule);
        let mut chosen: Option<u32> = None;
        let mut sought = cx.layout.policies.seeks(spoken.rule);
        for dimension in &grouping.by {
            let Some((owner, key)) = place_of(cx, spoken, number, *dimension) else { continue };
            sought = true;
            match (chosen, self.found_at(state, owner, &key, grouping, spoken.at)) {
                (Some(other), Some(found)) if other != found => {
                    // Both were told already: they are never merged, only linked.
                    chosen = Some(self.older(other, found));
                    self.link(self.id(other), self.id(found));
                }
                (_, found) => chosen = found.or(chosen),
            }
        }
        let (incident, effect) = match chosen {
            // What an operator has closed takes nothing any more; nor does one that is shelved, of
            // what is worse: it has a successor.
            Some(old) if self.is_closed(old) || self.is_worse(cx, state, old, rule) => {
                self.link(spoken.id, self.id(old));
                (self.open(cx, spoken, grouping), Effect::Opened)
            }
            Some(incident) => (incident, Effect::Joined(self.id(incident))),
            None if sought => (self.open(cx, spoken, grouping), Effect::Opened),
            None => return (Effect::Opened, None),
        };
        let cell = self.incidents.get_mut(incident);
        cell.flags &= !CLEARED;
        cell.updated = cell.updated.max(spoken.at.0);
        cell.severity = cell.severity.max(rule.severity as u32);
        cell.verification = cell.verification.max(u32::from(rule.verification));
        match rule.pattern {
            Pattern::Watch { clears: true, .. } => cell.holding += 1,
            _ => cell.lasting = 1,
        }
        for dimension in &grouping.by {
            if let Some((owner, key)) = place_of(cx, spoken, number, *dimension) {
                let cell = state.find_or_insert(owner, &key, Value::Missing);
                self.point(state, cell, incident);
            }
        }
        self.link_by_policy(cx, state, spoken, incident);
        (effect, Some(incident))
    }

    /// The incident that would take a detection, where there is one: the oldest.
    pub fn taker(&self, cx: Context<'_>, state: &State, spoken: &Spoken) -> Option<TimedId> {
        let (_, grouping) = cx.layout.grouping(spoken.rule);
        let found = grouping.by.iter().filter_map(|d| self.found_by(cx, state, spoken, *d));
        let found = found.filter(|incident| !self.is_closed(*incident));
        found.map(|incident| self.id(incident)).min()
    }

    /// The incident that would take a detection by one dimension.
    fn found_by(
        &self,
        cx: Context<'_>,
        state: &State,
        spoken: &Spoken,
        dimension: Dimension,
    ) -> Option<u32> {
        let (number, grouping) = cx.layout.grouping(spoken.rule);
        let (owner, key) = place_of(cx, spoken, number, dimension)?;
        self.found_at(state, owner, &key, grouping, spoken.at)
    }

    fn found_at(
        &self,
        state: &State,
        owner: Owner,
        key: &Key,
        grouping: &Grouping,
        at: EventTime,
    ) -> Option<u32> {
        let found = state.find(owner, key).and_then(|cell| self.incident_of(state, cell))?;
        self.takes(found, grouping, at).then_some(found)
    }

    /// One condition of an incident has ended; whether that clears it: no other one holds, and all
    /// its detections had one.
    pub fn ended(&mut self, incident: TimedId) -> bool {
        // While a condition holds its incident is kept, so it is always found.
        let Some(found) = self.cell_of(incident) else { return false };
        let cell = self.incidents.get_mut(found);
        cell.holding = cell.holding.saturating_sub(1);
        let over = cell.holding == 0 && cell.lasting == 0;
        cell.flags |= if over { CLEARED } else { 0 };
        over
    }

    /// A policy says that an incident's condition has gone.
    pub fn clear(&mut self, incident: TimedId) {
        if let Some(cell) = self.cell_of(incident) {
            self.incidents.get_mut(cell).flags |= CLEARED;
        }
    }

    /// How bad a live incident is.
    pub fn severity_of(&self, incident: TimedId) -> Option<u32> {
        self.cell_of(incident).map(|cell| self.incidents.get(cell).severity)
    }

    fn is_closed(&self, incident: u32) -> bool {
        self.incidents.get(incident).flags & CLOSED != 0
    }

    /// Whether a detection is worse than a shelved incident; no other comes here while it is shelved.
    fn is_worse(&self, cx: Context<'_>, state: &State, incident: u32, rule: &Rule) -> bool {
        let key = escalate::key_of_incident(self.id(incident));
        let shelved = state.find(cx.layout.owner(Owned::ShelvedIncident), &key).is_some();
        shelved && self.incidents.get(incident).severity < rule.severity as u32
    }

    /// It will never be known whether one condition of an incident has ended: it is not cleared.
    pub fn never_ends(&mut self, incident: TimedId) {
        if let Some(found) = self.cell_of(incident) {
            let cell = self.incidents.get_mut(found);
            cell.holding = cell.holding.saturating_sub(1);
            cell.lasting = 1;
        }
    }

    /// Frees an incident that can take nothing any more.
    pub fn forget(&mut self, incident: u32, now: EventTime) {
        if incident < self.incidents.len() {
            let cell = self.incidents.get(incident);
            let over = cell.holding == 0 && now.0.saturating_sub(cell.updated) >= cell.keep;
            if cell.live != 0 && over {
                self.remove(incident);
            }
        }
    }

    /// The live incident that a dimension's cell points at.
    pub fn incident_of(&self, state: &State, cell: u32) -> Option<u32> {
        let cell = state.keys.get(cell);
        self.live(cell.value as u32, [cell.aux, cell.spare])
    }

    /// The live incident of an id.
    pub fn cell_of(&self, incident: TimedId) -> Option<u32> {
        let id = halves(incident.0);
        self.index.find(tag_of(id), |cell| self.incidents.get(cell).id == id)
    }

    /// Builds the index from the cells: after a restore.
    pub fn reindex(&mut self) {
        self.index.clear();
        for cell in self.incidents.indexes() {
            enter(&mut self.index, &self.incidents, cell);
        }
    }

    fn live(&self, incident: u32, id: [u64; 2]) -> Option<u32> {
        let known = incident < self.incidents.len();
        let same = known && {
            let cell = self.incidents.get(incident);
            cell.live != 0 && cell.id == id
        };
        same.then_some(incident)
    }

    /// Lets a dimension's cell point at an incident, unless a late detection would take it from one
    /// that has moved on.
    fn point(&self, state: &mut State, cell: u32, incident: u32) {
        let (id, updated) = (self.incidents.get(incident).id, self.incidents.get(incident).updated);
        let standing = self.incident_of(state, cell);
        if standing.is_some_and(|other| self.incidents.get(other).updated > updated) {
            return;
        }
        let cell = state.keys.get_mut(cell);
        cell.value = u64::from(incident);
        (cell.aux, cell.spare) = (id[0], id[1]);
    }

    fn id(&self, incident: u32) -> TimedId {
        TimedId(whole(self.incidents.get(incident).id))
    }

    fn older(&self, a: u32, b: u32) -> u32 {
        if self.id(a) <= self.id(b) { a } else { b }
    }

    fn takes(&self, incident: u32, grouping: &Grouping, at: EventTime) -> bool {
        let cell = self.incidents.get(incident);
        // A late detection may stand before the incident was opened.
        let before = outside(EventTime(cell.opened), at.0, grouping.gap);
        let after = outside(at, cell.updated, grouping.gap);
        !before && !after && !outside(at, cell.opened, grouping.span_max)
    }

    /// Lets an incident go where there are too many: of some that the new one's id picks, the one
    /// that was quiet for longest, and rather one that no condition holds.
    fn make_room(&mut self, id: TimedId) {
        if self.incidents.live() < self.most {
            return;
        }
        let len = self.incidents.len();
        let start = (id.0 as u64 % u64::from(len.max(1))) as u32;
        let around = (start..len).chain(0..start);
        let some = around.filter(|cell| self.incidents.get(*cell).live != 0).take(ROOM_SAMPLE);
        let quietest = some.min_by_key(|cell| {
            let cell = self.incidents.get(*cell);
            (cell.holding != 0, cell.updated, cell.id)
        });
        if let Some(cell) = quietest {
            self.remove(cell);
            self.let_go += 1;
        }
    }

    fn remove(&mut self, incident: u32) {
        self.index.remove(tag_of(self.incidents.get(incident).id), incident);
        self.incidents.remove(incident);
    }

    fn open(&mut self, cx: Context<'_>, spoken: &Spoken, grouping: &Grouping) -> u32 {
        let links = cx.plan.links.iter().map(|link| link.within.0).max().unwrap_or(0);
        let stale = cx.plan.policies.stale.map_or(0, |stale| stale.0.saturating_add(1));
        self.make_room(spoken.id);
        let cell = self.incidents.insert(IncidentCell {
            live: 1,
            severity: 0,
            id: halves(spoken.id.0),
            opened: spoken.at.0,
            updated: spoken.at.0,
            keep: grouping.gap.0.max(links).max(stale),
            sides: 0,
            holding: 0,
            lasting: 0,
            escalated: 0,
            verification: 0,
            flags: 0,
        });
        enter(&mut self.index, &self.incidents, cell);
        self.came += 1;
        cell
    }

    fn link(&mut self, a: TimedId, b: TimedId) {
        let pair = (a.max(b), a.min(b));
        if a != b && !self.links.contains(&pair) {
            self.links.push(pair);
        }
    }

    fn link_by_policy(
        &mut self,
        cx: Context<'_>,
        state: &mut State,
        spoken: &Spoken,
        incident: u32,
    ) {
        for (policy, link) in cx.plan.links.iter().enumerate().take(32) {
            for (side, rules) in [&link.between.0, &link.between.1].into_iter().enumerate() {
                let bit = 1 << (2 * policy + side);
                let entered = self.incidents.get(incident).sides & bit != 0;
                if entered || !rules.contains(&spoken.rule) {
                    continue;
                }
                self.incidents.get_mut(incident).sides |= bit;
                let other = cx.layout.link_side(policy, 1 - side);
                self.link_with(state, other, link.within, spoken.at, incident);
                self.enter(state, cx.layout.link_side(policy, side), spoken, incident);
            }
        }
    }

    /// Links an incident with those that stand on the other side of a policy.
    fn link_with(
        &mut self,
        state: &State,
        side: Owner,
        within: event::TimeSpan,
        at: EventTime,
        incident: u32,
    ) {
        let Some(cell) = state.find(side, &[Symbol::NONE; 4]) else { return };
        for entry in state.list(state.keys.get(cell).head).take(LINKS_MAX) {
            let id = [entry.words[1], entry.words[2]];
            let Some(other) = self.live(entry.words[0] as u32, id) else { continue };
            let (opened, updated) =
                (self.incidents.get(other).opened, self.incidents.get(other).updated);
            let apart = outside(at, updated, within) || outside(EventTime(opened), at.0, within);
            if other != incident && !apart {
                self.link(self.id(incident), self.id(other));
            }
        }
    }

    /// Enters an incident on one side of a policy.
    fn enter(&self, state: &mut State, side: Owner, spoken: &Spoken, incident: u32) {
        let cell = state.find_or_insert(side, &[Symbol::NONE; 4], Value::Missing);
        while let Some(head) = state.front(cell) {
            let dead = self.live(head.words[0] as u32, [head.words[1], head.words[2]]).is_none();
            if !dead {
                break;
            }
            state.pop_front(cell);
        }
        let id = self.incidents.get(incident).id;
        let words = [u64::from(incident), id[0], id[1]];
        state.append(cell, Entry::noting(spoken.at, halves(spoken.event.0), words));
    }
}
