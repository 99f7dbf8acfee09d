//! What a rulebook compiles to: facts, rules and policies over slots and symbols.

use std::sync::Arc;

use event::incident::Severity;
use event::model::Model;
use event::{FieldId, FieldType, KindId, Symbol, TimeSpan, Vocabulary};

use crate::calendar::{Calendar, ScheduleId};
use crate::condition::Condition;
use crate::engine::HeldBy;
use crate::lang::expr::Expr;
use crate::limits::{KEY_EVENTS_MAX, RULE_KEYS_MAX, RULE_RUNS_MAX};
pub use crate::policy::{Escalation, Flood, Inhibition, Policies};
use crate::value::Value;

/// A fact: an index into [`Plan::facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactId(pub u16);

/// A rule: an index into [`Plan::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// A place of an event that an expression or a key reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldRef {
    /// A slot of the vocabulary.
    Slot(FieldId, FieldType),
    /// The site.
    Site,
    /// The device.
    Device,
    /// The kind's name.
    Kind,
    /// `e.time`: when it occurred.
    Time,
    /// `e.recorded`: when we recorded it.
    Recorded,
    /// `e.quarantined`: whether its device's clock is off beyond its bound, so that its time is the
    /// one we recorded.
    Quarantined,
    /// What a table of the model says in a column of texts of a field's value: `door.interlock`.
    Joined {
        /// The field whose value is the row's key.
        of: Entity,
        /// The table.
        table: u16,
        /// The column.
        column: u16,
    },
}

/// A field whose values a table of the model may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A text of the vocabulary.
    Slot(FieldId),
    /// The device.
    Device,
    /// The site.
    Site,
}

impl Entity {
    /// The field itself.
    #[must_use]
    pub fn field(self) -> FieldRef {
        match self {
            Self::Slot(id) => FieldRef::Slot(id, FieldType::String),
            Self::Device => FieldRef::Device,
            Self::Site => FieldRef::Site,
        }
    }
}

/// A compiled rulebook. Rules and facts stand in the order of the files.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kinds and fields, with those the rulebook declared.
    pub vocabulary: Arc<Vocabulary>,
    /// Tables the expressions read.
    pub model: Arc<Model>,
    /// Schedules, holidays, zones.
    pub calendar: Calendar,
    /// Named state, updated before rules read.
    pub facts: Vec<Fact>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// How detections become incidents where a rule does not say.
    pub grouping: Grouping,
    /// Which incidents belong together.
    pub links: Vec<Link>,
    /// What keeps alarms few: see [`Policies`].
    pub policies: Policies,
    /// Hash of the rulebook's files, lists and tables.
    pub hash: u128,
}

impl Plan {
    /// The kind that a rule's detections are events of: behind those of the vocabulary.
    #[must_use]
    pub fn detection_kind(&self, rule: RuleId) -> KindId {
        KindId(self.vocabulary.kinds().len() as u16 + rule.0)
    }
}

impl Plan {
    /// The name of what holds a detection back.
    #[must_use]
    pub fn held_by(&self, by: HeldBy) -> &str {
        match by {
            HeldBy::Inhibition(policy) => &self.policies.inhibit[usize::from(policy)].id,
            HeldBy::Chattering(rule) => &self.rules[rule.0 as usize].id,
            HeldBy::Shelf => "shelf",
            HeldBy::Flood => {
                let flood = self.policies.flood.as_ref();
                flood.map_or("flood", |flood| &self.rules[flood.rule.0 as usize].id)
            }
        }
    }
}

/// Where state lives: in each site, or once across sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One state for each site.
    #[default]
    Site,
    /// The pseudo-site fed with the sites' admitted streams.
    Enterprise,
}

/// Kinds of event, and a condition on the current one.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Any of these kinds.
    pub kinds: Vec<KindId>,
    /// What must hold; `None` holds.
    pub condition: Option<Condition>,
}

impl Trigger {
    /// Whether it is about events of this kind.
    #[must_use]
    #[inline]
    pub fn is_of(&self, kind: KindId) -> bool {
        match self.kinds.as_slice() {
            [own] => *own == kind,
            kinds => kinds.contains(&kind),
        }
    }

    /// Whether fields of an event are all that its condition asks for.
    #[must_use]
    pub fn is_by_fields(&self) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds_by_fields().is_some())
    }
}

/// How much a fact or a rule may hold at one site; past it the oldest goes, and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys.
    pub keys: u32,
    /// Waiting runs.
    pub runs: u32,
    /// Events that one key remembers.
    pub events: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: RULE_KEYS_MAX, runs: RULE_RUNS_MAX, events: KEY_EVENTS_MAX }
    }
}

/// Named state kept by key.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its name in expressions.
    pub name: String,
    /// Site or enterprise.
    pub scope: Scope,
    /// The key: values of these fields of the event. An event without one of them leaves the fact
    /// alone.
    pub by: Vec<FieldRef>,
    /// What it keeps.
    pub kind: FactKind,
    /// Facts that its expressions read, and the one it counts.
    pub reads: Vec<FactId>,
    /// What makes it forget every key.
    pub reset: Option<Trigger>,
    /// How much it may hold.
    pub limits: Limits,
    /// Whose windows are kept, of one that rules keep for themselves and say so.
    pub whose: Option<Whose>,
}

/// Rules that count the same for keys of their own share what they keep: it is kept for whomever one of
/// them asks for, and a rule's own condition says whom that one asks for.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The part of the key.
    pub field: FieldRef,
    /// Its values, by their numbers: the fact's condition lets no other pass.
    pub values: Arc<[Symbol]>,
    /// What the fact's condition says beside.
    pub rest: Option<Condition>,
}

impl Whose {
    /// Whether a window is kept for it.
    #[must_use]
    pub fn has(&self, value: Symbol) -> bool {
        self.values.binary_search_by_key(&value.0, |one| one.0).is_ok()
    }
}

/// What a fact keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum FactKind {
    /// How many events within the window before (and with) the current one. Int.
    Count {
        /// What counts.
        on: Trigger,
        /// An event exactly this old is outside.
        within: TimeSpan,
    },
    /// How many distinct values of a field within the window. Int.
    Distinct {
        /// What counts.
        on: Trigger,
        /// The field (a text).
        of: FieldRef,
        /// An event exactly this old is outside.
        within: TimeSpan,
    },
    /// Ups minus downs since ever. Int.
    Balance {
        /// Adds one.
        up: Trigger,
        /// Takes one away.
        down: Trigger,
    },
    /// The value last set; kinds in the order written, the first that fits sets.
    Set {
        /// Trigger and value.
        on: Vec<(Trigger, Expr)>,
        /// Before the first setting; `Missing` where none was written.
        init: Value,
        /// Forgotten (back to `init`) this long after the last setting.
        ttl: Option<TimeSpan>,
    },
    /// How many keys of a `set` fact, of those ever set, have a value that meets a condition. Int.
    Tally {
        /// The fact that is counted.
        of: FactId,
        /// Where each part of this fact's key comes from.
        parts: Vec<TallyPart>,
        /// Over `value`; `None` counts every key.
        condition: Option<Condition>,
    },
}

/// Where a part of a tally's key comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TallyPart {
    /// From the counted fact's key.
    Key(FieldRef),
    /// It is the counted fact's value.
    Value,
}

impl Fact {
    /// What it is changed by.
    #[must_use]
    pub fn triggers(&self) -> Vec<&Trigger> {
        let mut triggers: Vec<&Trigger> = match &self.kind {
            FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => vec![on],
            FactKind::Balance { up, down } => vec![up, down],
            FactKind::Tally { .. } => Vec::new(),
            FactKind::Set { on, .. } => on.iter().map(|(trigger, _)| trigger).collect(),
        };
        triggers.extend(&self.reset);
        triggers
    }
}

/// Whether a rule pages people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Detections become incidents.
    #[default]
    Live,
    /// Detects and counts; opens nothing.
    Shadow,
    /// Not run.
    Off,
}

/// How often a condition that holds speaks, for each key of the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// At each event that meets it.
    #[default]
    Each,
    /// When it turns from false to true.
    Edge,
    /// At most once in this span, counted from the last detection.
    Once(TimeSpan),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id: enters detection ids, so renaming a rule makes new ids.
    pub id: String,
    /// A sentence for people; the id where none was written.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// Live, shadow or off.
    pub mode: Mode,
    /// Site or enterprise.
    pub scope: Scope,
    /// The key its state and detections are kept by; may be empty.
    pub by: Vec<FieldRef>,
    /// What it looks for.
    pub pattern: Pattern,
    /// How often it speaks.
    pub emit: Emit,
    /// Whether an event later than its source's slack fires it: what it says depends on that event
    /// alone.
    pub late: bool,
    /// What later expressions of the rule read of earlier events.
    pub captures: Vec<Capture>,
    /// Facts whose windows of this key are evidence, beside the rule's own events.
    pub evidence_of: Vec<FactId>,
    /// Most events cited, first and last included.
    pub evidence_max: u8,
    /// How much it may hold.
    pub limits: Limits,
    /// Bound values shown with a detection: label, expression over the completing event.
    pub why: Vec<(String, Expr)>,
    /// The facts its expressions read.
    pub reads: Vec<FactId>,
    /// The schedules they read.
    pub schedules: Vec<ScheduleId>,
    /// How its detections are grouped; `None`: as [`Plan::grouping`].
    pub grouping: Option<Grouping>,
    /// Duress, panic, fire, and what says so: no policy ever holds it back, nothing groups it.
    pub life_safety: bool,
    /// What its detection says of an incident, 0–4 (TMA AVS-01).
    pub verification: u8,
    /// Over detections: once it has spoken, those of its key are held back until there was none for
    /// so long.
    pub quiet: Option<TimeSpan>,
    /// Risk of the risk register it serves.
    pub risk: Option<String>,
    /// Control it implements.
    pub control: Option<String>,
    /// What to do, for the operator.
    pub procedure: Option<String>,
}

impl Rule {
    /// Kinds of event that step it; one may stand twice.
    #[must_use]
    pub fn kinds(&self) -> Vec<KindId> {
        let mut kinds = Vec::new();
        let mut of = |trigger: &Trigger| kinds.extend(trigger.kinds.iter().copied());
        match &self.pattern {
            Pattern::Event(on) | Pattern::Travel { on, .. } => of(on),
            Pattern::Sequence(sequence) => {
                for step in &sequence.steps {
                    step.parts.iter().map(|part| &part.on).chain(&step.without).for_each(&mut of);
                }
                let lead = sequence.lead.iter().map(|lead| &lead.on);
                lead.chain(&sequence.without).chain(&sequence.strict).for_each(of);
            }
            Pattern::Unless { on, guards } => {
                of(on);
                kinds.extend(guards.iter().flat_map(|g| g.kinds.iter().copied()));
            }
            Pattern::Passage { on, forgive, .. } => {
                of(on);
                forgive.iter().for_each(of);
            }
            Pattern::Session(session) => {
                of(&session.open);
                of(&session.close);
                session.aggregates.iter().map(|(_, aggregate)| &aggregate.on).for_each(of);
            }
            Pattern::Watch { .. } => {}
        }
        kinds
    }
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// One event under a condition (over facts, too).
    Event(Trigger),
    /// Steps in order, all of one key.
    Sequence(Sequence),
    /// An event unless others stand in windows around it; decided when the watermark passes the
    /// last window's end.
    Unless {
        /// The opening event.
        on: Trigger,
        /// Any satisfied guard keeps the rule silent.
        guards: Vec<Guard>,
    },
    /// A level of a fact that lasts. Key = the fact's key.
    Watch {
        /// The fact.
        fact: FactId,
        /// Over `value`, key parts and other facts; evaluated when any of `triggers` changes.
        condition: Condition,
        /// Must hold this long; `None` speaks at once.
        hold: Option<Expr>,
        /// All facts the condition reads.
        triggers: Vec<FactId>,
        /// When the level ends, the incident is cleared.
        clears: bool,
    },
    /// What begins, is counted for a while, and ends: judged as a whole. One at a time for a key.
    Session(Session),
    /// Anti-passback, soft: who is where, with Unknown. Key = `by` (a person or a credential).
    Passage {
        /// A passage.
        on: Trigger,
        /// The area it leads from (a text).
        from: Expr,
        /// The area it leads to (a text).
        to: Expr,
        /// Presence is Unknown again this long after the last passage.
        forget: TimeSpan,
        /// Sets presence to Unknown.
        forgive: Option<Trigger>,
    },
    /// The same key at another place sooner than one can get there.
    Travel {
        /// A sighting.
        on: Trigger,
        /// The place compared.
        place: FieldRef,
        /// Sooner than this is a detection; exactly this is not. A span.
        min_time: Expr,
    },
}

/// An opening, what comes with it, and its end.
#[derive(Clone, Debug)]
pub struct Session {
    /// A session is found by any of the key's fields that it has shown, and not by all of them.
    pub any: bool,
    /// Begins a session, unless one is open; ends the grace of the one before.
    pub open: Trigger,
    /// Ends it.
    pub close: Trigger,
    /// After the end, what comes so late still counts; then the session is judged.
    pub grace: TimeSpan,
    /// Judged, not closed, this long after it began.
    pub max: Option<TimeSpan>,
    /// Events of these kinds count for the session that begins less than so long after them,
    /// and never for one that has ended.
    pub before: Option<(Vec<KindId>, TimeSpan)>,
    /// What is counted, each in its place among the captured values.
    pub aggregates: Vec<(u8, Aggregate)>,
    /// What must hold of it.
    pub condition: Option<Condition>,
    /// Whether an end without a beginning is judged: the condition asks `s.orphan`.
    pub orphans: bool,
}

/// A count or a sum over the events of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Events that count.
    pub on: Trigger,
    /// The number that is added up; `None` counts events.
    pub sum: Option<Expr>,
}

/// What an expression asks of a session as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionField {
    /// Whether it has ended.
    Closed,
    /// Whether it is an end without a beginning.
    Orphan,
    /// From its beginning to its end, or until it is judged.
    Duration,
}

/// Steps in order. A run is one partial match; it goes one way only: an event that could both stay
/// with the step a run waits at and move it on moves it on, to the furthest step it reaches.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Must have been absent before the first step's event.
    pub lead: Option<Lead>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// From the first step's event to the last's; exactly this long is outside.
    pub within: TimeSpan,
    /// An event of the key that ends all waiting runs.
    pub without: Option<Trigger>,
    /// "Next" is judged on this stream: an event of it that a run has no use for ends the run.
    pub strict: Option<Trigger>,
    /// Which first events start runs.
    pub runs: Runs,
    /// What becomes of the other runs of the key when one matches.
    pub skip: Skip,
}

/// What a sequence must not have seen before its first step: `not … for`, first.
#[derive(Clone, Debug)]
pub struct Lead {
    /// What must be absent.
    pub on: Trigger,
    /// For so long before the first step's event; what is exactly so old is outside. Nothing is
    /// known from before the site's first event, so that counts as no absence.
    pub span: TimeSpan,
}

/// Which first events start runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// Each starts one, and one completing event completes all that wait.
    #[default]
    Each,
    /// Only when none waits for the key.
    First,
    /// Each starts one in place of the waiting one.
    Last,
    /// As `First`, and none once a run of the key has matched.
    Once,
}

/// What a match does to the key's other runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// They go on.
    #[default]
    None,
    /// They end, and the completing event starts none: matches do not overlap.
    PastLast,
}

/// One step: parts that are met by events, or by the absence of events.
#[derive(Clone, Debug)]
pub struct Step {
    /// One part, unless the step is `all` or `any`.
    pub parts: Vec<Part>,
    /// Whether all parts must be met, or one of them.
    pub join: Join,
    /// So many events at least, where the step has one part; 0 is optional.
    pub least: u8,
    /// So many at most.
    pub most: u8,
    /// Any of these ends a run that waits for this step.
    pub without: Vec<Trigger>,
}

/// How the parts of a step are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// In any order; one event meets every part that it fits.
    #[default]
    All,
    /// Whichever is met first.
    Any,
}

/// One part of a step.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its number in the sequence: what captures are of.
    pub number: u8,
    /// What meets it; or, with `absent`, what must not come.
    pub on: Trigger,
    /// Met when no such event has come for so long since the step was reached. A span.
    pub absent: Option<Expr>,
}

/// What an expression reads of an earlier event of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The part of a sequence; 0 for the opening event of `unless`.
    pub part: u8,
    /// Which of a repeated part's events, from 0; `None`: the latest.
    pub nth: Option<u8>,
    /// The field.
    pub field: FieldRef,
}

/// A guard of `unless`.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Kinds that count.
    pub kinds: Vec<KindId>,
    /// Fields that must be equal to the opening event's.
    pub same: Vec<FieldRef>,
    /// The condition when the guard event comes after the opening one: current = guard event,
    /// captured = opening event (indexes into [`Rule::captures`]).
    pub forward: Option<Condition>,
    /// The condition when it came before: current = opening event, captured = guard event (indexes
    /// into `captures` here).
    pub backward: Option<Condition>,
    /// What `backward` reads of guard events.
    pub captures: Vec<FieldRef>,
    /// Window around the opening event, `from` ≤ 0 ≤ `to`, both ends outside.
    pub from: TimeSpan,
    /// End of the window.
    pub to: TimeSpan,
    /// So many guard events satisfy it.
    pub at_least: u32,
}

/// What detections must share to be one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Any one of these dimensions in common, within one site; empty: each detection is its own
    /// incident.
    pub by: Vec<Dimension>,
    /// A detection this long after the incident's newest is outside.
    pub gap: TimeSpan,
    /// An incident takes no detection this long after its first.
    pub span_max: TimeSpan,
}

/// What detections can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The area.
    Area,
    /// The door.
    Door,
    /// The person.
    Person,
    /// The credential.
    Credential,
    /// The camera's track.
    Track,
    /// The whole site.
    Site,
    /// The same rule and key.
    Rule,
}

impl Dimension {
    /// All, in their order.
    pub const ALL: [Self; 7] = [
        Self::Area,
        Self::Door,
        Self::Person,
        Self::Credential,
        Self::Track,
        Self::Site,
        Self::Rule,
    ];
}

/// Incidents opened by these rules belong together.
#[derive(Clone, Debug)]
pub struct Link {
    /// Rules of the one side, and of the other.
    pub between: (Vec<RuleId>, Vec<RuleId>),
    /// Within this span of each other's newest detection, in one site.
    pub within: TimeSpan,
}
