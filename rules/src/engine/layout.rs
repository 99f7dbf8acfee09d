//! What the engine derives from a plan once: who is interested in which kind, and who owns which
//! state.

use std::sync::Arc;

use event::block::HEADER_WORDS;
use event::tables::Tables;
use event::vocabulary::{KIND_SCHEDULE, field};
use event::{
    EventBlock, EventFlags, EventMut, EventRef, EventTime, FieldId, Identity, Interner, KindId,
    Position, SourceId, StreamId, Symbol, TimeSpan,
};

use super::asked::Index;
use super::claims::claims_of_watch;
use super::correlation::{PolicyIndex, Spoken};
use super::findings::EvidenceRef;
use super::holdings::Bounds;
use super::interests::{Interest, interests};
use super::prepared::Prepared;
use super::seats::Seat;
use super::sequence::{Shape, shape_of};
use super::state::Owner;
use super::steps::{Roles, RuleForm};
use super::wanted::Wanted;
use crate::calendar::ScheduleId;
use crate::condition::Bound;
use crate::plan::{
    Dimension, Emit, Fact, FactId, FactKind, FieldRef, Grouping, Guard, Mode, Pattern, Plan, Rule,
    RuleId, Scope, Sequence, Session,
};

/// Numbers set aside for the dimensions of one grouping.
const DIMENSIONS_MAX: u32 = 8;

/// Who a detection is about: area, door, person, credential, track, device.
pub type Subject = [Symbol; 6];

/// Places in a [`Subject`].
pub const AREA: usize = 0;
/// The door.
pub const DOOR: usize = 1;
/// The person.
pub const PERSON: usize = 2;
/// The credential.
pub const CREDENTIAL: usize = 3;
/// The camera's track.
pub const TRACK: usize = 4;
/// The device.
pub const DEVICE: usize = 5;

/// What a cell of state belongs to: the one list of all that owns cells. Whoever adds to it decides
/// in [`super::reload`] where that goes on under another rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A fact.
    Fact(FactId),
    /// A rule.
    Rule(RuleId),
    /// A rule's memory, by its number among them.
    Memory(RuleId, u32),
    /// Incidents found by a dimension of a grouping.
    Dimension(usize, Dimension),
    /// Incidents on a side of a link policy.
    Side(usize, usize),
    /// Incidents that an operator has shelved, by their id.
    ShelvedIncident,
    /// Rules that an operator has shelved; the first part of the key is 1 + the rule's number.
    ShelvedRule,
    /// The openings that make a flood.
    Flood,
    /// Keys that a rule has found to chatter.
    Hush(RuleId),
    /// Detectors that an escalation has counted, by incident.
    Escalation(u16),
}

/// What a rule keeps beside its runs: what an owner's cells remember, and for how long.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    /// Runs that wait for a guard.
    Waiting,
    /// Guard events so far back.
    History(TimeSpan),
    /// When a sequence's lead was last seen.
    Lead(TimeSpan),
    /// Other names of sessions that are found by any of several: they go with their session.
    Names,
}

fn memories_of(rule: &Rule) -> Vec<Memory> {
    match &rule.pattern {
        Pattern::Unless { guards, .. } => {
            let both = |guard: &Guard| [Memory::Waiting, Memory::History(guard.from.negated())];
            guards.iter().flat_map(both).collect()
        }
        Pattern::Sequence(Sequence { lead: Some(lead), .. }) => vec![Memory::Lead(lead.span)],
        Pattern::Session(Session { any: true, .. }) => vec![Memory::Names],
        Pattern::Session(Session { before: Some((_, span)), .. }) => vec![Memory::History(*span)],
        _ => Vec::new(),
    }
}

/// One scope's view of a plan.
#[derive(Debug)]
pub struct Layout {
    by_kind: Vec<Interest>,
    /// Who is in a kind beyond these.
    nobody: Interest,
    watchers: Vec<Index<usize, RuleId>>,
    watched: Vec<Watched>,
    tallies: Vec<Vec<FactId>>,
    memory_base: Vec<u32>,
    memories: Vec<Memory>,
    groupings: Vec<Grouping>,
    grouping_of: Vec<usize>,
    dimension_base: u32,
    link_base: u32,
    policy_base: u32,
    track: Option<FieldId>,
    door_area: Option<(usize, usize)>,
    device_area: Option<(usize, usize)>,
    credential_person: Option<(usize, usize)>,
    /// Whether the model says any of these.
    joins: bool,
    /// Whether the enterprise hears a rule's detections, by rule.
    forwards: Vec<bool>,
    /// How the runs of each rule are kept, of those that are sequences.
    shapes: Vec<Shape>,
    schedule_watchers: Vec<Vec<RuleId>>,
    table_watchers: Vec<Vec<RuleId>>,
    hears_schedules: bool,
    first_detection: u16,
    /// Whether there are so many facts or rules that whom an event concerns is asked for ahead.
    pub(super) is_large: bool,
    /// What events of each kind look up.
    pub wanted: Wanted,
    /// What steps read of their facts and rules.
    pub prepared: Prepared,
    /// Policies of alarm management.
    pub policies: PolicyIndex,
    /// Who answers for what, and how much each may hold.
    pub bounds: Arc<Bounds>,
    /// Names of kinds, and of rules for their detections, as symbols.
    pub kind_names: Vec<Symbol>,
}

/// Watches of one fact that are gone through one by one.
const LEVELS_MAX: usize = 8;

/// The watches of a scope, of those that a test chooses.
fn watches(plan: &Plan, scope: Scope, chosen: impl Fn(&Rule) -> bool) -> Vec<RuleId> {
    let watches = rules_of(plan, scope)
        .filter(|(_, rule)| matches!(rule.pattern, Pattern::Watch { .. }) && chosen(rule));
    watches.map(|(id, _)| id).collect()
}

/// Whether the condition of a watch reads a table.
fn reads_table(rule: &Rule, table: u16) -> bool {
    matches!(&rule.pattern, Pattern::Watch { condition, .. } if condition.reads(table))
}

/// Whether the enterprise hears what each rule of a site detects.
fn forwards(plan: &Plan, scope: Scope) -> Vec<bool> {
    let mut forwards = vec![false; plan.rules.len()];
    let facts = plan.facts.iter().filter(|fact| fact.scope == Scope::Enterprise);
    let by_facts = facts.flat_map(Fact::triggers).flat_map(|trigger| trigger.kinds.clone());
    let rules = plan.rules.iter().filter(|rule| rule.scope == Scope::Enterprise);
    let kinds = by_facts.chain(rules.flat_map(Rule::kinds)).filter(|_| scope == Scope::Site);
    for kind in kinds {
        let rule = (kind.0 as usize).checked_sub(plan.vocabulary.kinds().len());
        rule.into_iter().for_each(|rule| forwards[rule] = true);
    }
    forwards
}

/// The rules of a scope that run.
pub(super) fn rules_of(plan: &Plan, scope: Scope) -> impl Iterator<Item = (RuleId, &Rule)> {
    let rules = plan.rules.iter().enumerate().map(|(number, rule)| (RuleId(number as u16), rule));
    rules.filter(move |(_, rule)| rule.scope == scope && rule.mode != Mode::Off)
}

/// Who watches each fact.
fn watchers(plan: &Plan, scope: Scope) -> Vec<Index<usize, RuleId>> {
    let mut watchers = vec![Vec::new(); plan.facts.len()];
    let by = |fact: &FactId| plan.facts[fact.0 as usize].by.as_slice();
    for (id, rule) in rules_of(plan, scope) {
        if let Pattern::Watch { fact, triggers, .. } = &rule.pattern {
            for changed in triggers.iter().chain([fact]) {
                let claims = claims_of_watch(rule, by(fact), by(changed));
                watchers[changed.0 as usize].push((id, claims));
            }
        }
    }
    let of_fact = |asks: &Vec<(RuleId, Vec<_>)>| {
        let asks: Vec<_> = asks.iter().map(|(rule, claims)| (*rule, &claims[..])).collect();
        Index::new(&asks)
    };
    watchers.iter().map(of_fact).collect()
}

/// Who looks when a fact has changed.
#[derive(Debug)]
pub enum Watched {
    /// Nobody.
    Not,
    /// Watches that say something of its value and of nothing else, where they are few and no other
    /// looks at it. It is a balance, which moves by events alone, each of which is judged: what is not
    /// so of its value before an event is no level.
    Levels(Vec<(RuleId, Bound)>),
    /// Others.
    Otherwise,
}

/// Who looks at each fact, of the watches of a scope and its policies.
fn watched(plan: &Plan, scope: Scope, policies: &PolicyIndex) -> Vec<Watched> {
    let by = |fact: &FactId| plan.facts[fact.0 as usize].by.as_slice();
    let level_of = |changed: FactId, id: RuleId, rule: &Rule| match &rule.pattern {
        Pattern::Watch { fact, hold: None, condition, .. } if *fact == changed => {
            let claims = claims_of_watch(rule, by(fact), by(fact));
            condition.level().filter(|_| claims.is_empty()).map(|bound| (id, bound))
        }
        _ => None,
    };
    let watches = |changed: FactId, rule: &Rule| match &rule.pattern {
        Pattern::Watch { fact, triggers, .. } => *fact == changed || triggers.contains(&changed),
        _ => false,
    };
    let of_fact = |number: usize| {
        let changed = FactId(number as u16);
        let watchers = rules_of(plan, scope).filter(|(_, rule)| watches(changed, rule));
        let levels = watchers.map(|(id, rule)| level_of(changed, id, rule));
        let levels = levels.take(LEVELS_MAX + 1).collect::<Option<Vec<_>>>();
        match levels.filter(|levels| !policies.reads(changed) && levels.len() <= LEVELS_MAX) {
            Some(levels) if levels.is_empty() => Watched::Not,
            Some(levels) if matches!(plan.facts[number].kind, FactKind::Balance { .. }) => {
                Watched::Levels(levels)
            }
            _ => Watched::Otherwise,
        }
    };
    (0..plan.facts.len()).map(of_fact).collect()
}

/// The names of kinds, those of detections behind them.
fn kind_names(plan: &Plan, interner: &Interner) -> Vec<Symbol> {
    let names = plan.vocabulary.kinds().iter().map(|kind| &kind.name);
    let names = names.chain(plan.rules.iter().map(|rule| &rule.id));
    names.map(|name| interner.intern(name).unwrap_or_default()).collect()
}

impl Layout {
    /// Who looks when a fact has changed.
    #[inline]
    pub fn watched(&self, fact: FactId) -> &Watched {
        &self.watched[fact.0 as usize]
    }

    /// The view of one scope.
    pub fn new(plan: &Plan, scope: Scope, interner: &Interner) -> Self {
        let watchers = watchers(plan, scope);
        let policies = PolicyIndex::new(plan, scope);
        let mut tallies = vec![Vec::new(); plan.facts.len()];
        for (number, fact) in plan.facts.iter().enumerate().filter(|(_, f)| f.scope == scope) {
            if let FactKind::Tally { of, .. } = &fact.kind {
                tallies[of.0 as usize].push(FactId(number as u16));
            }
        }
        let (mut groupings, mut grouping_of) = (Vec::<Grouping>::new(), Vec::new());
        let (mut memory_base, mut memories) = (Vec::new(), Vec::new());
        // Whose each memory is.
        let mut remembers = Vec::new();
        let first_memory = (plan.facts.len() + plan.rules.len()) as u32;
        for (number, rule) in plan.rules.iter().enumerate() {
            let grouping = rule.grouping.as_ref().unwrap_or(&plan.grouping);
            let known = groupings.iter().position(|g| g == grouping);
            grouping_of.push(known.unwrap_or(groupings.len()));
            if known.is_none() {
                groupings.push(grouping.clone());
            }
            memory_base.push(first_memory + memories.len() as u32);
            memories.extend(memories_of(rule));
            remembers.resize(memories.len(), number as u32);
        }
        let dimension_base = first_memory + memories.len() as u32;
        let link_base = dimension_base + DIMENSIONS_MAX * groupings.len() as u32;
        let policy_base = link_base + 2 * plan.links.len() as u32;
        let watched = watched(plan, scope, &policies);
        // Whoever counts its keys may be watched, too.
        let by_kind = interests(plan, scope, |FactId(fact)| {
            let fact = fact as usize;
            !matches!(watched[fact], Watched::Not) || !tallies[fact].is_empty()
        });
        let schedules = (0..plan.calendar.schedules.len() as u16).map(ScheduleId);
        let schedule_watchers: Vec<_> =
            schedules.map(|s| watches(plan, scope, |rule| rule.schedules.contains(&s))).collect();
        let tables = 0..plan.model.tables.len() as u16;
        let table_watchers =
            tables.map(|table| watches(plan, scope, |rule| reads_table(rule, table))).collect();
        let heard = |kind: &KindId| by_kind[usize::from(kind.0)].is_any();
        let hears_schedules = KIND_SCHEDULE.iter().any(heard)
            || schedule_watchers.iter().any(|w| !w.is_empty())
            || policies.reads_schedules();
        let column = |table: &str, column: &str| {
            let (index, table) = plan.model.table(table)?;
            Some((index, table.column(column)?))
        };
        let (door_area, device_area) = (column("doors", "area"), column("devices", "area"));
        let credential_person = column("credentials", "person");
        let looks = |fact: usize| (&watched[fact], !tallies[fact].is_empty());
        let prepared = Prepared::new(plan, scope, looks);
        let mut layout = Self {
            prepared,
            wanted: Wanted::default(),
            is_large: by_kind.iter().any(Interest::is_large),
            by_kind,
            nobody: Interest::default(),
            watched,
            watchers,
            tallies,
            memory_base,
            memories,
            groupings,
            grouping_of,
            dimension_base,
            link_base,
            policy_base,
            track: plan.vocabulary.field_named("track"),
            door_area,
            device_area,
            credential_person,
            joins: [door_area, device_area, credential_person] != [None; 3],
            kind_names: kind_names(plan, interner),
            schedule_watchers,
            table_watchers,
            forwards: forwards(plan, scope),
            shapes: plan.rules.iter().map(shape_of).collect(),
            hears_schedules,
            policies,
            first_detection: plan.vocabulary.kinds().len() as u16,
            bounds: Arc::default(),
        };
        layout.wanted = Wanted::new(plan, &layout, layout.by_kind.len());
        layout.bound(Bounds::new(plan, remembers.into_iter()));
        layout
    }

    /// Who has a seat, and for whom account is kept.
    fn bound(&mut self, mut bounds: Bounds) {
        bounds.seat(self.wanted.owners());
        bounds.keep_accounts(self.accounts(&bounds));
        self.prepared.seat(&bounds);
        self.by_kind.iter_mut().for_each(|interest| interest.prepare(&self.prepared));
        self.bounds = Arc::new(bounds);
    }

    /// Whose runs are asked for by events that are no concern of a rule otherwise, by number.
    fn accounts(&self, bounds: &Bounds) -> Vec<bool> {
        let mut accounts = vec![false; self.dimension_base as usize];
        for step in self.by_kind.iter().flat_map(|interest| interest.rules.all()) {
            let owner = self.rule(step.rule);
            // Most guards' events do end something: that is asked for the sake of many rules only. Where who has
            // a seat stands is known as soon.
            let asked = match step.form {
                RuleForm::Unless => Roles::HELD,
                _ if bounds.seat_of(owner) != Seat::NONE => Roles::HELD,
                _ => Roles::ALONE,
            };
            accounts[owner.0 as usize] |= step.roles.has(asked);
        }
        accounts
    }

    /// Who is interested in a kind.
    #[inline]
    pub fn interest(&self, kind: KindId) -> &Interest {
        self.by_kind.get(usize::from(kind.0)).unwrap_or(&self.nobody)
    }

    /// Whether any part of this scope needs a kind.
    #[inline]
    pub fn needs(&self, kind: KindId) -> bool {
        self.interest(kind).is_any()
    }

    /// The kind of a rule's detections.
    #[inline]
    pub fn detection_kind(&self, rule: RuleId) -> KindId {
        KindId(self.first_detection + rule.0)
    }

    /// Whether detections of a rule are heard by no rule, and no policy has to do with them.
    pub fn is_alone(&self, plan: &Plan, id: RuleId) -> bool {
        let heard = self.needs(self.detection_kind(id)) || self.forwards(id);
        let quiet = plan.rules[id.0 as usize].quiet.is_some() || plan.policies.flood.is_some();
        !heard && !quiet && self.policies.ignores(id)
    }

    /// Whether the enterprise hears a rule's detections.
    pub fn forwards(&self, rule: RuleId) -> bool {
        self.forwards[rule.0 as usize]
    }

    /// How the runs of a rule are kept, where it is a sequence.
    pub fn shape(&self, rule: RuleId) -> Shape {
        self.shapes[rule.0 as usize]
    }

    /// Watches whose condition reads a schedule.
    pub fn schedule_watchers(&self, schedule: ScheduleId) -> &[RuleId] {
        &self.schedule_watchers[schedule.0 as usize]
    }

    /// Watches whose condition reads a table.
    pub fn table_watchers(&self, table: usize) -> &[RuleId] {
        &self.table_watchers[table]
    }

    /// Whether anybody hears the edges of schedules.
    #[inline]
    pub fn hears_schedules(&self) -> bool {
        self.hears_schedules
    }

    /// Rules that watch a fact.
    #[inline]
    pub fn watchers(&self, fact: FactId) -> &Index<usize, RuleId> {
        &self.watchers[fact.0 as usize]
    }

    /// Facts that count the keys of a fact.
    #[inline]
    pub fn tallies(&self, fact: FactId) -> &[FactId] {
        &self.tallies[fact.0 as usize]
    }

    /// Whether anybody must know when a fact's value is forgotten.
    pub fn hears_expiry(&self, fact: FactId) -> bool {
        !matches!(self.watched(fact), Watched::Not) || !self.tallies(fact).is_empty()
    }

    /// The number of an owner.
    #[inline]
    pub fn owner(&self, held: Held) -> Owner {
        Owner(match held {
            Held::Fact(fact) => u32::from(fact.0),
            Held::Rule(rule) => self.watchers.len() as u32 + u32::from(rule.0),
            Held::Memory(rule, nth) => self.memory_base[rule.0 as usize] + nth,
            Held::Dimension(grouping, dimension) => {
                self.dimension_base + DIMENSIONS_MAX * grouping as u32 + dimension as u32
            }
            Held::Side(policy, side) => self.link_base + 2 * policy as u32 + side as u32,
            Held::ShelvedIncident => self.policy_base,
            Held::ShelvedRule => self.policy_base + 1,
            Held::Flood => self.policy_base + 2,
            Held::Hush(rule) => self.policy_base + 3 + u32::from(rule.0),
            Held::Escalation(policy) => {
                self.policy_base + 3 + self.memory_base.len() as u32 + u32::from(policy)
            }
        })
    }

    /// The owner of a number.
    pub fn held(&self, owner: Owner) -> Held {
        let (number, facts) = (owner.0, self.watchers.len() as u32);
        if number < facts {
            Held::Fact(FactId(number as u16))
        } else if number < facts + self.memory_base.len() as u32 {
            Held::Rule(RuleId((number - facts) as u16))
        } else if number < self.dimension_base {
            // The last rule whose memories begin here or before: one without any begins with the
            // next one's.
            let rule = self.memory_base.partition_point(|base| *base <= number) - 1;
            Held::Memory(RuleId(rule as u16), number - self.memory_base[rule])
        } else if number < self.link_base {
            let number = number - self.dimension_base;
            let dimension = Dimension::ALL[(number % DIMENSIONS_MAX) as usize];
            Held::Dimension((number / DIMENSIONS_MAX) as usize, dimension)
        } else if number < self.policy_base {
            let number = (number - self.link_base) as usize;
            Held::Side(number / 2, number % 2)
        } else {
            let rules = self.memory_base.len() as u32;
            match number - self.policy_base {
                0 => Held::ShelvedIncident,
                1 => Held::ShelvedRule,
                2 => Held::Flood,
                number if number - 3 < rules => Held::Hush(RuleId((number - 3) as u16)),
                number => Held::Escalation((number - 3 - rules) as u16),
            }
        }
    }

    /// Owner of a fact's cells.
    #[inline]
    pub fn fact(&self, fact: FactId) -> Owner {
        self.owner(Held::Fact(fact))
    }

    /// Owner of a rule's cells.
    #[inline]
    pub fn rule(&self, rule: RuleId) -> Owner {
        self.owner(Held::Rule(rule))
    }

    /// Owner of the lists of what waits for a guard: the rule itself, where that is all runs of a key.
    #[inline]
    pub fn guard_waiting(&self, rule: RuleId, guard: usize) -> Owner {
        match self.prepared.rule(rule).guard {
            Some(_) => self.rule(rule),
            None => self.owner(Held::Memory(rule, 2 * guard as u32)),
        }
    }

    /// Owner of a guard's history.
    pub fn guard_history(&self, rule: RuleId, guard: usize) -> Owner {
        self.owner(Held::Memory(rule, 2 * guard as u32 + 1))
    }

    /// Owner of a sequence's lead, or of what comes before a session.
    #[inline]
    pub fn memory_of(&self, rule: RuleId) -> Owner {
        self.owner(Held::Memory(rule, 0))
    }

    /// What an owner's cells remember, where the owner is a rule's memory.
    pub fn memory(&self, owner: Owner) -> Option<Memory> {
        let first = self.dimension_base - self.memories.len() as u32;
        self.memories.get(owner.0.checked_sub(first)? as usize).copied()
    }

    /// Whether an owner's cells say what was set last, and when: facts that are set, where somebody
    /// was, levels.
    pub fn is_last_known(&self, plan: &Plan, owner: Owner) -> bool {
        let number = owner.0 as usize;
        if let Some(fact) = plan.facts.get(number) {
            return matches!(fact.kind, FactKind::Set { .. });
        }
        let rule = plan.rules.get(number - plan.facts.len());
        rule.is_some_and(|rule| match rule.pattern {
            Pattern::Passage { .. } | Pattern::Travel { .. } | Pattern::Watch { .. } => true,
            _ => rule.emit == Emit::Edge,
        })
    }

    /// Whether an owner's cells are levels of a watch, whose lists are runs.
    pub fn is_level(&self, plan: &Plan, owner: Owner) -> bool {
        let number = (owner.0 as usize).checked_sub(plan.facts.len());
        let rule = number.and_then(|number| plan.rules.get(number));
        rule.is_some_and(|rule| matches!(rule.pattern, Pattern::Watch { .. }))
    }

    /// Whether an owner's cells are a rule's own.
    #[inline]
    pub fn is_rule(&self, owner: Owner) -> bool {
        let rules = self.memory_base.len() as u32;
        (owner.0.wrapping_sub(self.watchers.len() as u32)) < rules
    }

    /// A rule's grouping, and its number.
    pub fn grouping(&self, rule: RuleId) -> (usize, &Grouping) {
        let number = self.grouping_of[rule.0 as usize];
        (number, &self.groupings[number])
    }

    /// Owner of the incidents found by one dimension of a grouping.
    pub fn dimension(&self, grouping: usize, dimension: Dimension) -> Owner {
        self.owner(Held::Dimension(grouping, dimension))
    }

    /// Whether an owner's cells point at incidents.
    pub fn is_dimension(&self, owner: Owner) -> bool {
        (self.dimension_base..self.link_base).contains(&owner.0)
    }

    /// Owner of the incidents on one side of a link policy.
    pub fn link_side(&self, policy: usize, side: usize) -> Owner {
        self.owner(Held::Side(policy, side))
    }

    /// All groupings, by number.
    pub fn groupings(&self) -> &[Grouping] {
        &self.groupings
    }

    /// Who an event is about: its own fields first, then what the site model says of its door,
    /// device or credential.
    #[inline(always)]
    pub fn subject(&self, tables: &Tables, event: EventRef<'_>) -> Subject {
        let mut subject = [Symbol::NONE; 6];
        self.subject_to(tables, event, &mut subject);
        subject
    }

    /// The same, written where it is kept: put together elsewhere, it would be read before it was written.
    #[inline(always)]
    pub fn subject_to(&self, tables: &Tables, event: EventRef<'_>, to: &mut Subject) {
        // Most have none, and it stands in a line of memory that most do not have.
        let track = self.track.and_then(|field| event.text(field)).unwrap_or_default();
        // Of a row so long no field's place is looked at.
        *to = match event.words().first_chunk::<NAMED_WORDS>() {
            Some(row) => own_subject(EventRef::from_words(row), track),
            None => own_subject(event, track),
        };
        self.complete(tables, to);
    }

    /// Writes who a detection is about into the event that is made of it.
    fn describe(&self, row: &mut EventMut<'_>, subject: &Subject) {
        let fields = [
            (Some(field::AREA), AREA),
            (Some(field::DOOR), DOOR),
            (Some(field::PERSON), PERSON),
            (Some(field::CREDENTIAL), CREDENTIAL),
            (self.track, TRACK),
        ];
        for (field, place) in fields {
            if let (Some(field), Some(value)) = (field, subject[place].some()) {
                row.text(field, value);
            }
        }
    }

    /// Lays a detection out as the event that it is for those that hear it.
    pub fn lay_out(
        &self,
        plan: &Plan,
        block: &mut EventBlock,
        spoken: &Spoken,
        at: EventTime,
        trigger: Option<EvidenceRef>,
    ) {
        let (position, part) = trigger.map_or((Position::NONE, 0), |t| (t.position, t.part));
        let kind = self.detection_kind(spoken.rule);
        let mut row = block.push();
        row.times(at, at);
        row.class(kind, EventFlags::default(), StreamId(0), SourceId(0));
        row.identity(Identity(spoken.id.0));
        row.position(position, part);
        row.place(spoken.site, spoken.subject[DEVICE]);
        self.describe(&mut row, &spoken.subject);
        for (by, part) in plan.rules[spoken.rule.0 as usize].by.iter().zip(spoken.key) {
            if let (FieldRef::Slot(id, _), Some(part)) = (by, part.some()) {
                row.text(*id, part);
            }
        }
    }

    /// Fills in the area and the person from the site model.
    #[inline(always)]
    pub fn complete(&self, tables: &Tables, subject: &mut Subject) {
        if self.joins {
            self.look_up(tables, subject);
        }
    }

    #[inline(never)]
    fn look_up(&self, tables: &Tables, subject: &mut Subject) {
        let from_model = |place: Option<(usize, usize)>, key: Symbol| {
            let (table, column) = place?;
            match tables.cell(table, key, column)? {
                event::model::Cell::String(symbol) => Some(*symbol),
                _ => None,
            }
        };
        subject[AREA] = subject[AREA]
            .some()
            .or_else(|| from_model(self.door_area, subject[DOOR]))
            .or_else(|| from_model(self.device_area, subject[DEVICE]))
            .unwrap_or_default();
        subject[PERSON] = subject[PERSON]
            .some()
            .or_else(|| from_model(self.credential_person, subject[CREDENTIAL]))
            .unwrap_or_default();
    }
}

/// Words of a row that has at least the fields which every vocabulary begins with.
const NAMED_WORDS: usize = HEADER_WORDS + 4;
const _: () = assert!(field::AREA.0 < 4 && field::DOOR.0 < 4);
const _: () = assert!(field::CREDENTIAL.0 < 4 && field::PERSON.0 < 4);

/// Who an event itself says that it is about.
#[inline(always)]
fn own_subject(event: EventRef<'_>, track: Symbol) -> Subject {
    let text = |field| event.text_or_none(field);
    let (door, credential) = (text(field::DOOR), text(field::CREDENTIAL));
    [text(field::AREA), door, text(field::PERSON), credential, track, event.device()]
}
