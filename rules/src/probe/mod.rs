//! What looks on while the engine works, and changes nothing: which events reached a rule, what
//! each part of its conditions was, what became of its runs.
//!
//! The engine looks before a step and compares after it: what is told of a condition is told by the
//! evaluation that decides, and what became of a run is seen in the state.

mod answer;
mod coverage;
mod judged;

use std::collections::BTreeSet;

use event::identity::TimedId;
use event::{EventTime, Identity, KindId, Symbol};

use crate::engine::EvidenceRef;
use crate::plan::RuleId;

pub use answer::{Answer, Answered, Asked, Line};
pub use coverage::{Branch, Coverage};
pub use judged::{Joint, Judged};
pub(crate) use judged::{judge, judge_expr};

/// An event in a text, until somebody knows what it is called.
#[must_use]
pub fn mention(identity: Identity) -> String {
    format!("⟦{:032x}⟧", identity.0)
}

/// A run, by its site's symbol and its serial. It orders nothing that leaves.
pub(crate) type RunKey = (u32, u64);

/// Looks on.
#[derive(Debug, Default)]
pub struct Probe {
    /// By rule, whether it is looked at.
    rules: Vec<bool>,
    /// Events that are followed; detections that they are part of, too.
    pub(crate) events: BTreeSet<Identity>,
    /// Every event of the rules, and not only those.
    everything: bool,
    /// Runs that a followed event has begun or joined, by site.
    pub(crate) runs: BTreeSet<RunKey>,
    /// What was seen, in order.
    pub sightings: Vec<Sighting>,
    /// How followed events were admitted.
    pub admissions: Vec<Admission>,
    /// What facts made of followed events: event, site, what was looked at.
    pub facts: Vec<(Identity, Symbol, Vec<Look>)>,
    /// Detections that a policy has held back, and which.
    pub suppressed: Vec<(TimedId, String)>,
    /// Keys that facts and rules have given up at a limit: the latest of them.
    pub(crate) losses: std::collections::VecDeque<Loss>,
    /// Of the step at hand.
    pub(crate) spoke: Vec<Spoke>,
    pub(crate) held: Vec<String>,
    pub(crate) looks: Vec<Look>,
}

/// Losses kept: what was lost before so many others is forgotten here, and counted elsewhere.
const LOSSES_MAX: usize = 100_000;

/// A key that was given up at a limit.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// The fact or rule that held it, by its number behind the facts'.
    pub holder: u32,
    /// The site.
    pub site: Symbol,
    /// Its parts.
    pub key: Vec<Symbol>,
    /// When.
    pub at: EventTime,
}

/// What a rule made of an event, or of a time that has come.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The rule.
    pub rule: RuleId,
    /// The site; `Symbol::NONE` is the enterprise.
    pub site: Symbol,
    /// Event time.
    pub at: EventTime,
    /// The event; none where a time has come.
    pub event: Option<Cause>,
    /// The rule's key, parts joined by `/`; nothing where a part of it is missing.
    pub key: Option<String>,
    /// What was looked at.
    pub looks: Vec<Look>,
    /// Events that those mention.
    pub cited: Vec<EvidenceRef>,
    /// What became of runs.
    pub turns: Vec<Turn>,
    /// Detections.
    pub spoke: Vec<Spoke>,
    /// Why a detection was held back.
    pub held: Vec<String>,
    pub(crate) before: Vec<RunView>,
}

/// The event that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Where it stands.
    pub evidence: EvidenceRef,
    /// Who it is; of a detection that is heard, its id.
    pub identity: Identity,
    /// Its kind.
    pub kind: KindId,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// What it is for the rule.
    pub role: Role,
    /// In words.
    pub what: String,
    /// Whether it was met.
    pub met: bool,
    /// Its condition.
    pub judged: Option<Judged>,
    /// The run that it is of; 0 where none is.
    pub run: u64,
    /// What else is to be said.
    pub note: Option<String>,
}

/// What a thing that is looked at is for its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// What the rule speaks of: kinds and condition.
    On,
    /// A step of a sequence, and which of its parts.
    Step(u8, u8),
    /// What ends a run.
    Ends,
    /// What must not have come before a sequence.
    Lead,
    /// Which first events start runs.
    Runs,
    /// The span from the first step to the last.
    Window,
    /// An excuse, by its number.
    Guard(u8),
    /// A level.
    Level,
    /// What begins a session.
    Opens,
    /// What ends it.
    Closes,
    /// What a session counts, by its number.
    Counts(u8),
    /// What must hold of a session.
    Session,
    /// Where somebody was, and is.
    Place,
    /// What makes it unknown.
    Forgive,
    /// A part of the key.
    Key,
    /// How often a rule speaks.
    Emit,
    /// What a fact does with an event, by the fact.
    Fact(u16),
}

/// A run as it is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Tells it from others of its site.
    pub serial: u64,
    /// The step it waits at, from 0.
    pub step: u32,
    /// Events of the step, or of the guards.
    pub counts: u64,
    /// Events it holds, evidence left out included.
    pub events: u32,
    /// The first event's time.
    pub started: EventTime,
    /// When it is next decided; `MAX` where no time decides it.
    pub deadline: EventTime,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// It, before; of one that began, after.
    pub run: RunView,
    /// What became of it.
    pub to: To,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It began.
    Began,
    /// It went on, and waits at this step, from 0.
    Step(u32),
    /// It stays at its step, and has taken the event.
    Took,
    /// An excuse was counted for it, or one way on was barred.
    Counted,
    /// It is over.
    Ended,
}

/// A detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoke {
    /// Its id.
    pub id: TimedId,
    /// Its rule.
    pub rule: RuleId,
    /// The event that completed it, or the opening one before a deadline.
    pub event: Identity,
    /// The run that completed; 0 where none was.
    pub run: u64,
}

/// How an event was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Where it stands.
    pub event: EvidenceRef,
    /// Its kind.
    pub kind: KindId,
    /// The site.
    pub site: Symbol,
    /// The watermark when it came.
    pub watermark: EventTime,
    /// What was judged.
    pub verdict: Admitted,
    /// Old state told again.
    pub retained: bool,
    /// Judged by recorded time, its device's clock being off.
    pub quarantined: bool,
}

/// What admission made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It waits for the watermark, in order.
    InOrder,
    /// It had come before.
    Duplicate,
    /// It came later than its source's slack.
    Late,
    /// It came so late that it may have been judged before.
    TooLate,
}

impl Probe {
    /// A key was given up at a limit.
    pub(crate) fn lost(&mut self, loss: Loss) {
        if self.losses.len() == LOSSES_MAX {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
    }

    /// Follows these events through these rules, of so many.
    #[must_use]
    pub fn of(rules: &[RuleId], count: usize, events: impl IntoIterator<Item = Identity>) -> Self {
        let mut chosen = vec![false; count];
        rules.iter().for_each(|rule| chosen[rule.0 as usize] = true);
        Self { rules: chosen, events: events.into_iter().collect(), ..Self::default() }
    }

    /// Sees everything of every rule.
    #[must_use]
    pub fn of_everything(count: usize) -> Self {
        Self { rules: vec![true; count], everything: true, ..Self::default() }
    }

    pub(crate) fn follows(&self, event: Identity) -> bool {
        self.everything || self.events.contains(&event)
    }

    /// Whether a step of a rule at a site is to be looked at. What an earlier step left that was not
    /// looked at is forgotten.
    pub(crate) fn begins(&mut self, rule: RuleId, site: Symbol, event: Option<Identity>) -> bool {
        self.spoke.clear();
        self.held.clear();
        self.looks.clear();
        self.rules.get(rule.0 as usize).is_some_and(|chosen| *chosen)
            && (event.is_some_and(|event| self.follows(event))
                || self.everything
                || self.runs.range((site.0, 0)..=(site.0, u64::MAX)).next().is_some())
    }

    /// Takes a sighting that its step has completed.
    pub(crate) fn saw(&mut self, mut sighting: Sighting, after: &[RunView]) {
        sighting.turns = turns(&sighting.before, after);
        sighting.spoke = std::mem::take(&mut self.spoke);
        sighting.spoke.retain(|spoke| spoke.rule == sighting.rule);
        sighting.held = std::mem::take(&mut self.held);
        sighting.looks.append(&mut self.looks);
        let followed = sighting.event.is_some_and(|cause| self.follows(cause.identity));
        let mut touches = followed || self.everything;
        for turn in &sighting.turns {
            let run = (sighting.site.0, turn.run.serial);
            if followed && turn.to != To::Ended && turn.to != To::Counted {
                self.runs.insert(run);
            }
            touches |= self.runs.contains(&run);
            if turn.to == To::Ended && !self.everything {
                self.runs.remove(&run);
            }
        }
        if touches {
            self.sightings.push(sighting);
        }
    }
}

/// What became of each run, in the order of their beginnings.
fn turns(before: &[RunView], after: &[RunView]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for run in before {
        let to = match after.iter().find(|now| now.serial == run.serial) {
            None => To::Ended,
            Some(now) if now.step != run.step => To::Step(now.step),
            Some(now) if now.events != run.events => To::Took,
            Some(now) if now.counts != run.counts => To::Counted,
            Some(_) => continue,
        };
        turns.push(Turn { run: *run, to });
    }
    let new = after.iter().filter(|now| before.iter().all(|run| run.serial != now.serial));
    turns.extend(new.map(|run| Turn { run: *run, to: To::Began }));
    turns
}
