//! Why a rule spoke of an event, or did not: what was seen, in the words of the rulebook.

use std::collections::BTreeSet;

use event::identity::TimedId;
use event::{EventTime, Identity, Interner, Symbol};

use super::{Admitted, Joint, Judged, Look, Probe, Role, RunKey, RunView, Sighting, To, mention};
use crate::explain::Words;
use crate::plan::{Mode, Pattern, Plan, RuleId};

/// What is told, as a tree of lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// When.
    pub at: Option<EventTime>,
    /// What; events stand in it as [`mention`] writes them.
    pub text: String,
    /// Whether what it tells was met; nothing where it only tells.
    pub met: Option<bool>,
    /// Where the rulebook says so.
    pub place: Option<String>,
    /// What it is made of.
    pub parts: Vec<Line>,
}

/// What became of an event at a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The rule spoke of it.
    Fired,
    /// A run that it is part of waits.
    Waits,
    /// The rule kept silent.
    Silent,
}

/// The answer to a question about one rule and one event.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In a word.
    pub answered: Answered,
    /// Why the rule kept silent; nothing where it spoke.
    pub reasons: Vec<Line>,
    /// All that was seen, in order.
    pub seen: Vec<Line>,
}

impl Line {
    fn told(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn at(at: EventTime, text: impl Into<String>) -> Self {
        Self { at: Some(at), text: text.into(), ..Self::default() }
    }
}

/// What is known beside the probe.
pub struct Asked<'a> {
    /// The rulebook in force.
    pub plan: &'a Plan,
    /// Its texts.
    pub interner: &'a Interner,
    /// The rule.
    pub rule: RuleId,
    /// Runs of the rule that still wait, by site.
    pub waiting: &'a [(Symbol, RunView)],
    /// The time that history has come to.
    pub until: EventTime,
}

impl Asked<'_> {
    fn words(&self) -> Words<'_> {
        let rule = &self.plan.rules[self.rule.0 as usize];
        Words { plan: self.plan, interner: self.interner, rule }
    }

    /// Why the rule spoke of an event that the probe has followed, or did not.
    #[must_use]
    pub fn answer(&self, probe: &Probe, event: Identity) -> Answer {
        let own = |sighting: &&Sighting| {
            sighting.rule == self.rule
                && sighting.event.is_some_and(|cause| probe.events.contains(&cause.identity))
        };
        let mut runs = BTreeSet::new();
        for sighting in probe.sightings.iter().filter(own) {
            let joined = sighting.turns.iter().filter(|t| !matches!(t.to, To::Ended | To::Counted));
            runs.extend(joined.map(|turn| (sighting.site.0, turn.run.serial)));
        }
        let of_rule: Vec<&Sighting> =
            probe.sightings.iter().filter(|sighting| sighting.rule == self.rule).collect();
        let spoke = of_rule.iter().flat_map(|sighting| {
            sighting.spoke.iter().filter(|spoke| {
                probe.events.contains(&spoke.event) && own(sighting)
                    || runs.contains(&(sighting.site.0, spoke.run))
                    || spoke.event == event
            })
        });
        let spoke: Vec<TimedId> = spoke.map(|spoke| spoke.id).collect();
        let mut seen: Vec<Line> = self.admissions(probe);
        seen.extend(self.facts(probe, event));
        seen.extend(of_rule.iter().map(|sighting| self.sighting(sighting)));
        let held = probe.suppressed.iter().filter(|(id, _)| spoke.contains(id));
        let held: Vec<Line> = held.map(|(_, by)| Line::told(by)).collect();
        if spoke.len() > held.len() {
            return Answer { answered: Answered::Fired, reasons: Vec::new(), seen };
        }
        if !held.is_empty() {
            return Answer { answered: Answered::Silent, reasons: held, seen };
        }
        let waits = self.waiting.iter().filter(|(site, run)| runs.contains(&(site.0, run.serial)));
        let waits: Vec<Line> = waits.map(|(_, run)| self.waits(run)).collect();
        if !waits.is_empty() {
            return Answer { answered: Answered::Waits, reasons: waits, seen };
        }
        let mut reasons = self.outside(probe, event);
        for sighting in &of_rule {
            reasons.extend(self.reasons(sighting, own(sighting), &runs));
        }
        for (site, serial) in &runs {
            reasons.extend(self.closed(&of_rule, *site, *serial));
        }
        reasons.extend(self.lost(probe, &of_rule, event));
        if reasons.is_empty() && !runs.is_empty() {
            reasons.push(self.given_up());
        }
        if reasons.is_empty() {
            reasons.push(self.unseen(probe, event));
        }
        Answer { answered: Answered::Silent, reasons, seen }
    }

    fn waits(&self, run: &RunView) -> Line {
        let at = match &self.plan.rules[self.rule.0 as usize].pattern {
            Pattern::Sequence(sequence) => {
                let step = &sequence.steps[run.step as usize];
                format!("waits at step {}: {}", run.step + 1, self.words().step(step))
            }
            _ => "waits".to_owned(),
        };
        let until = if run.deadline == EventTime::MAX {
            String::new()
        } else {
            format!("; it is decided at {}", run.deadline)
        };
        Line::at(run.started, format!("the run that began then {at}{until}"))
    }

    /// What kept the event from the rule before it got there.
    fn outside(&self, probe: &Probe, event: Identity) -> Vec<Line> {
        let rule = &self.plan.rules[self.rule.0 as usize];
        let mut reasons = Vec::new();
        if rule.mode == Mode::Off {
            reasons.push(Line::told("the rule is off: `mode: off`"));
        }
        let admitted = || probe.admissions.iter().filter(|a| a.event.identity == event);
        let in_order = admitted().any(|a| a.verdict == Admitted::InOrder);
        for admission in admitted() {
            let retained = admission.retained && admission.verdict == Admitted::InOrder;
            if retained || admission.verdict != Admitted::InOrder && !in_order {
                reasons.push(self.admission(admission));
            }
        }
        reasons
    }

    /// Why no step of the rule ever saw it.
    fn unseen(&self, probe: &Probe, event: Identity) -> Line {
        let rule = &self.plan.rules[self.rule.0 as usize];
        let Some(admission) = probe.admissions.iter().find(|a| a.event.identity == event) else {
            return Line::told("the event was not admitted in this history");
        };
        let words = self.words();
        let kind = words.kind(admission.kind);
        if let Pattern::Watch { fact, .. } = &rule.pattern {
            let name = &self.plan.facts[fact.0 as usize].name;
            return Line::told(format!(
                "it changed no fact that the level is made of: {kind} leaves {name} as it is"
            ));
        }
        let mut kinds = rule.kinds();
        kinds.sort_unstable();
        kinds.dedup();
        if !kinds.contains(&admission.kind) {
            let wanted = words.kinds(&kinds);
            return Line::told(format!("the rule looks at {wanted}, and this is {kind}"));
        }
        if probe.sightings.iter().any(|sighting| sighting.rule == self.rule) {
            return Line::told("it met nothing that the rule waited for");
        }
        Line::told("it still waits for the watermark to pass it")
    }

    /// A run that is gone, and that no event of the rule was seen to end: its window had closed.
    fn closed(&self, of_rule: &[&Sighting], site: u32, serial: u64) -> Option<Line> {
        let turns = || of_rule.iter().filter(|s| s.site.0 == site).flat_map(|s| &s.turns);
        let of_run = || turns().filter(|turn| turn.run.serial == serial);
        if of_run().any(|turn| turn.to == To::Ended) {
            return None;
        }
        let run = of_run().next()?.run;
        if let Pattern::Sequence(sequence) = &self.plan.rules[self.rule.0 as usize].pattern {
            let (within, closed) = (sequence.within, run.started.plus(sequence.within));
            if closed <= self.until {
                let text = format!("the window of {within} closed; nothing completed it");
                return Some(Line::at(closed, text));
            }
        }
        Some(self.given_up())
    }

    /// Keys of the event that the rule, or a fact that it reads, had given up by then.
    fn lost(&self, probe: &Probe, of_rule: &[&Sighting], event: Identity) -> Vec<Line> {
        let rule = &self.plan.rules[self.rule.0 as usize];
        let own = self.plan.facts.len() as u32 + u32::from(self.rule.0);
        let concerned = |holder: u32| {
            holder == own || rule.reads.iter().any(|fact| u32::from(fact.0) == holder)
        };
        let mut of_event = of_rule.iter().filter(|s| s.event.is_some_and(|c| c.identity == event));
        let Some(sighting) = of_event.next_back() else { return Vec::new() };
        let Some(key) = &sighting.key else { return Vec::new() };
        let parts: Vec<&str> = key.split('/').collect();
        let known = |symbol: &event::Symbol| parts.contains(&self.interner.text(*symbol));
        let losses = probe.losses.iter().filter(|loss| {
            let before = loss.site == sighting.site && loss.at <= sighting.at;
            before && concerned(loss.holder) && loss.key.iter().all(known)
        });
        let line = |loss: &super::Loss| {
            let fact = self.plan.facts.get(loss.holder as usize);
            let name = fact.map_or(rule.id.as_str(), |fact| fact.name.as_str());
            let key: Vec<_> = loss.key.iter().map(|part| self.interner.text(*part)).collect();
            let key = key.join("/");
            Line::at(loss.at, format!("`{name}` gave up what it held of {key}, at its limit"))
        };
        losses.map(line).collect()
    }

    fn given_up(&self) -> Line {
        Line::told("its run was given up: the rule holds no more of them (`limits`)")
    }

    fn admissions(&self, probe: &Probe) -> Vec<Line> {
        probe.admissions.iter().map(|admission| self.admission(admission)).collect()
    }

    fn admission(&self, admission: &super::Admission) -> Line {
        let event = mention(admission.event.identity);
        let behind = admission.watermark.since(admission.event.occurred);
        let text = match admission.verdict {
            Admitted::InOrder if admission.retained => {
                format!("{event} is old state told again: it sets facts, and fires nothing")
            }
            Admitted::InOrder => format!("{event} was admitted in order"),
            Admitted::Duplicate => format!("{event} came again, and is a duplicate"),
            Admitted::Late => format!(
                "{event} came {behind} later than its source's slack: what looks at it alone fires \
                 at once; for the rest the touched time is run again on the side"
            ),
            Admitted::TooLate => {
                format!("{event} came {behind} later than its source's slack: it fires nothing")
            }
        };
        let clock = if admission.quarantined {
            "; its device's clock is off, so it is judged by the time it was recorded"
        } else {
            ""
        };
        Line::at(admission.event.occurred, format!("{text}{clock}"))
    }

    /// What the facts that the rule reads did with the event.
    fn facts(&self, probe: &Probe, event: Identity) -> Vec<Line> {
        let admitted: Vec<_> = probe.admissions.iter().map(|admission| admission.event).collect();
        let of_event = probe.facts.iter().filter(|(identity, ..)| *identity == event);
        of_event.flat_map(|(_, _, looks)| self.of_facts(event, looks, &admitted)).collect()
    }

    /// A sighting as a line, with what was looked at.
    #[must_use]
    pub fn sighting(&self, sighting: &Sighting) -> Line {
        let words = self.words();
        let what = match sighting.event {
            Some(cause) => {
                let kind = words.kind(cause.kind).replace("detections of", "detection of");
                format!("{kind} {}", mention(cause.identity))
            }
            None => "the time had come".to_owned(),
        };
        let key = match &sighting.key {
            Some(key) if !key.is_empty() => format!(", key {key}"),
            _ => String::new(),
        };
        let mut line = Line::at(sighting.at, format!("{what}{key}"));
        line.parts.extend(sighting.looks.iter().map(|look| self.look(look)));
        line.parts.extend(sighting.turns.iter().map(|turn| Line::told(self.turn(turn))));
        line.parts.extend(sighting.held.iter().map(Line::told));
        for spoke in &sighting.spoke {
            line.parts
                .push(Line { met: Some(true), ..Line::told(format!("detected {}", spoke.id)) });
        }
        line
    }

    /// What facts that the rule reads made of an event which no step of it saw.
    #[must_use]
    pub fn of_facts(
        &self,
        event: Identity,
        looks: &[Look],
        evidence: &[crate::engine::EvidenceRef],
    ) -> Vec<Line> {
        let reads = &self.plan.rules[self.rule.0 as usize].reads;
        let read = looks.iter().filter(|look| match look.role {
            Role::Fact(fact) => reads.iter().any(|read| read.0 == fact),
            _ => false,
        });
        let at = evidence.iter().find(|one| one.identity == event).map(|one| one.occurred);
        let lines = read.map(|look| {
            let line = self.look(look);
            Line { at, text: format!("{}: {}", mention(event), line.text), ..line }
        });
        lines.collect()
    }

    fn turn(&self, turn: &super::Turn) -> String {
        let since = turn.run.started;
        let step = |number: u32| match &self.plan.rules[self.rule.0 as usize].pattern {
            Pattern::Sequence(sequence) => match sequence.steps.get(number as usize) {
                Some(step) => format!(" for step {}: {}", number + 1, self.words().step(step)),
                None => String::new(),
            },
            _ => String::new(),
        };
        match turn.to {
            To::Began => {
                let deadline = turn.run.deadline;
                let until = if deadline == EventTime::MAX {
                    String::new()
                } else {
                    format!(", decided at {deadline}")
                };
                format!("a run begins, and waits{}{until}", step(turn.run.step))
            }
            To::Step(number) => format!("the run since {since} goes on, and waits{}", step(number)),
            To::Took => {
                format!("the run since {since} takes it, and waits on{}", step(turn.run.step))
            }
            To::Counted => format!("it is counted for the run since {since}"),
            To::Ended => format!("the run since {since} is over"),
        }
    }

    fn look(&self, look: &Look) -> Line {
        let role = match look.role {
            Role::On => "of the rule".to_owned(),
            Role::Step(step, 0) => format!("step {}", step + 1),
            Role::Step(step, part) => format!("step {}, part {}", step + 1, part + 1),
            Role::Ends if look.met => "ends the run".to_owned(),
            Role::Ends => "does not end the run".to_owned(),
            Role::Lead => "not before".to_owned(),
            Role::Runs => "starts no run".to_owned(),
            Role::Window => "window".to_owned(),
            Role::Guard(number) if look.met => format!("excused ({})", number + 1),
            Role::Guard(number) => format!("no excuse ({})", number + 1),
            Role::Level => "level".to_owned(),
            Role::Opens => "begins".to_owned(),
            Role::Closes => "ends".to_owned(),
            Role::Counts(number) => format!("counts {}", number + 1),
            Role::Session => "judged".to_owned(),
            Role::Place => "place".to_owned(),
            Role::Forgive => "forgives".to_owned(),
            Role::Emit => "held back".to_owned(),
            Role::Fact(_) => "fact".to_owned(),
            Role::Key => "key".to_owned(),
        };
        let note = look.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        let mut line = Line::told(format!("{role}: {}{note}", look.what));
        // An excuse that is none is no failure, and what ends a run no success.
        line.met =
            (!matches!(look.role, Role::Guard(_) | Role::Ends | Role::Forgive)).then_some(look.met);
        line.parts = look.judged.iter().map(judged).collect();
        line
    }

    /// What in a sighting kept the rule silent.
    fn reasons(&self, sighting: &Sighting, own: bool, runs: &BTreeSet<RunKey>) -> Vec<Line> {
        let mut reasons = Vec::new();
        let ended = |serial: u64| {
            let of_run = sighting.turns.iter().find(|turn| turn.run.serial == serial);
            of_run.is_some_and(|turn| turn.to == To::Ended)
                && runs.contains(&(sighting.site.0, serial))
        };
        let joined = own
            && !sighting.turns.is_empty()
            && sighting.turns.iter().any(|t| !matches!(t.to, To::Ended | To::Counted));
        for look in &sighting.looks {
            let silences = match look.role {
                // These keep silent where they are met.
                Role::Guard(_) => look.met && (own || ended(look.run)),
                Role::Ends => look.met && ended(look.run),
                Role::Forgive => look.met && own,
                Role::Window => !look.met && (own || ended(look.run)),
                Role::Counts(_) | Role::Fact(_) => false,
                Role::Session => !look.met,
                Role::Level => {
                    !look.met && (own || sighting.turns.iter().any(|t| ended(t.run.serial)))
                }
                Role::Lead if look.note.is_none() => false,
                Role::Opens | Role::Closes => !look.met && own && !joined,
                _ => !look.met && own && !joined,
            };
            if silences {
                let mut line = self.look(look);
                line.at = Some(sighting.at);
                // Of a condition that failed, only what failed of it.
                let failing = look.judged.iter().filter(|j| j.holds != Some(true));
                let failing: Vec<Line> = failing.flat_map(Judged::failing).map(judged).collect();
                if !failing.is_empty() {
                    line.parts = failing;
                }
                reasons.push(line);
            }
        }
        if own {
            reasons.extend(sighting.held.iter().map(|held| Line::at(sighting.at, held)));
        }
        reasons
    }
}

/// A judged condition as lines.
fn judged(of: &Judged) -> Line {
    let applies = if of.holds == Some(true) { "does not apply" } else { "applies" };
    let label = of.label.as_ref();
    let label = label.map_or(String::new(), |label| format!("exception `{label}` {applies}: "));
    let text = match of.joint {
        Joint::Leaf => {
            let operands = of.operands();
            // What is a plain reading shows its value as itself.
            if of.parts.is_empty() || operands.is_empty() {
                format!("{label}{}", of.text)
            } else {
                format!("{label}{}   where {operands}", of.text)
            }
        }
        _ => format!("{label}{}", of.text),
    };
    let value = if of.holds.is_none() { format!("   is {}", of.value) } else { String::new() };
    let met = if of.holds.is_none() { Some(false) } else { of.holds };
    let parts =
        if of.joint == Joint::Leaf { Vec::new() } else { of.parts.iter().map(judged).collect() };
    Line { at: None, text: format!("{text}{value}"), met, place: of.place.clone(), parts }
}
