//! Escalation: independent detectors that confirm each other make an incident weigh more.

use event::identity::TimedId;
use event::incident::Severity;
use event::{EventTime, Symbol};

use super::Spoken;
use crate::engine::cells::{Entry, IncidentCell, Key, halves};
use crate::engine::findings::{Effect, Finding, Findings};
use crate::engine::layout::Held as Owned;
use crate::engine::pages::NIL;
use crate::engine::scope::{Context, field_of, outside};
use crate::engine::site::Site;
use crate::plan::Escalation;
use crate::value::Value;

/// An incident's id as a key: nothing is looked up in it.
pub(super) fn key_of_incident(incident: TimedId) -> Key {
    let part = |shift: u32| Symbol((incident.0 >> shift) as u32);
    [part(0), part(32), part(64), part(96)]
}

pub(super) fn incident_of_key(key: Key) -> TimedId {
    let part = |place: usize| u128::from(key[place].0) << (32 * place);
    TimedId(part(0) | part(1) | part(2) | part(3))
}

impl Site {
    /// A detection stands in an incident: every escalation that counts it may speak, once for each
    /// incident.
    pub(super) fn escalate(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        incident: TimedId,
        out: &mut Findings,
    ) {
        for policy in cx.layout.policies.escalations(spoken.rule) {
            let Some(cell) = self.correlation.cell_of(incident) else { return };
            let bit = 1 << policy;
            if self.correlation.incidents.get(cell).escalated & bit != 0 {
                continue;
            }
            let escalation = &cx.plan.policies.escalate[usize::from(*policy)];
            let Value::Text(detector) = self.detector(cx, spoken, escalation) else { continue };
            if self.confirm(cx, *policy, spoken, incident, detector) < escalation.at_least {
                continue;
            }
            let raised = self.correlation.incidents.get_mut(cell);
            raised.escalated |= bit;
            raise(raised, escalation);
            let (severity, verification) = (raised.severity, raised.verification);
            self.seq += 1;
            let effect = Effect::Escalated(incident, *policy);
            out.push_plain(Finding {
                severity: Severity::ALL[severity as usize],
                verification: verification as u8,
                ..Finding::of_incident(self.name, self.seq, effect, spoken.at)
            });
        }
    }

    /// What tells the detector of a detection from others.
    fn detector(&mut self, cx: Context<'_>, spoken: &Spoken, escalation: &Escalation) -> Value {
        let mut about = self.about.take();
        about.clear();
        cx.layout.lay_out(cx.plan, &mut about, spoken, spoken.at, None);
        let value = field_of(cx, about.get(0), escalation.independent);
        self.about = about;
        value
    }

    /// Notes a detector, and says how many have spoken within the span.
    fn confirm(
        &mut self,
        cx: Context<'_>,
        policy: u16,
        spoken: &Spoken,
        incident: TimedId,
        detector: Symbol,
    ) -> u32 {
        let within = cx.plan.policies.escalate[usize::from(policy)].within;
        let owner = cx.layout.owner(Owned::Escalation(policy));
        let cell = self.state.find_or_insert(owner, &key_of_incident(incident), Value::Missing);
        let (mut at, mut newest, mut known) = (self.state.keys.get(cell).head, spoken.at, NIL);
        while at != NIL {
            let entry = *self.state.entries.get(at);
            newest = newest.max(EventTime(entry.time));
            if entry.words[0] == u64::from(detector.0) {
                known = at;
            }
            at = entry.next;
        }
        if known == NIL {
            let words = [u64::from(detector.0), 0, 0];
            self.state.append(cell, Entry::noting(spoken.at, halves(spoken.event.0), words));
        } else {
            let entry = self.state.entries.get_mut(known);
            entry.time = entry.time.max(spoken.at.0);
        }
        let entries = self.state.list(self.state.keys.get(cell).head);
        entries.filter(|entry| !outside(newest, entry.time, within)).count() as u32
    }

    /// Forgets what was counted for an incident that can take nothing any more.
    pub(in crate::engine) fn sweep_escalation(&mut self, hand: u32) {
        let incident = incident_of_key(self.state.key(hand));
        if self.correlation.cell_of(incident).is_none() {
            while self.state.pop_front(hand).is_some() {}
            self.state.remove(hand);
        }
    }
}

fn raise(incident: &mut IncidentCell, escalation: &Escalation) {
    let severity = escalation.severity.map_or(0, |severity| severity as u32);
    incident.severity = incident.severity.max(severity);
    let verification = escalation.verification.map_or(0, u32::from);
    incident.verification = incident.verification.max(verification);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_found_again_by_its_key() {
        let id = TimedId(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978);
        assert_eq!(incident_of_key(key_of_incident(id)), id);
    }
}
