//! Tests that rulebooks carry: given events in virtual time, expect detections.
//!
//! ```yaml
//! tests:
//! - name: a forced door is decided when no excuse can come any more
//!   given: [08:00:00 DoorOpened door=D1]
//!   expect: [08:00:02 door-forced D1]
//! ```

mod act;
mod copies;
mod read;

use std::sync::Arc;

use event::control::{Act, Change, Control, IncidentAct, RowChange, Shelf};
use event::identity::TimedId;
use event::vocabulary::{KIND_ADVANCE, KIND_TABLE};
use event::{
    EventBlock, EventFlags, EventTime, FieldId, Identity, Interner, KindId, Position, SourceId,
    StreamId, Symbol, TimeSpan,
};
use jiff::tz::TimeZone;

use crate::engine::{Effect, Engine, Findings, Input, Options, SourceOptions, restore_symbols};
use crate::plan::Plan;
use crate::probe::{Coverage, Probe};

use copies::Copies;
pub use read::{KEYS, read};

/// One test.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What it shows, in words.
    pub name: String,
    /// Where it stands: `file:line`.
    pub place: String,
    /// The site its events are of, unless they say.
    pub site: String,
    /// The day that its times are of, in the site's zone.
    pub day: jiff::civil::Date,
    /// How late an event may arrive.
    pub slack: TimeSpan,
    /// Events in the order of their arrival.
    pub given: Vec<Given>,
    /// Rows that are changed between them.
    pub rows: Vec<GivenRow>,
    /// Detections in any order.
    pub expect: Vec<Expected>,
    /// The rules that are looked at; every one where it says nothing of any.
    pub of: Vec<String>,
    /// Whether the input ends: time moves past the last deadline.
    pub ends: bool,
}

/// One event that is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// When it occurred.
    pub at: EventTime,
    /// Its kind; `Advance` is time that passes.
    pub kind: KindId,
    /// Its site.
    pub site: String,
    /// Its device.
    pub device: String,
    /// Its id, where it has one: the same id again is a redelivery.
    pub id: Option<String>,
    /// Whether it is old state, told again.
    pub retained: bool,
    /// When it was recorded, where that is another time.
    pub recorded: Option<EventTime>,
    /// Whether its device's clock is off beyond its bound.
    pub quarantined: bool,
    /// Its fields.
    pub fields: Vec<(FieldId, Field)>,
}

/// What somebody changes.
#[derive(Clone, Debug)]
pub struct GivenRow {
    /// So many events are given before it; the last of them moves time to the change.
    pub behind: usize,
    /// The change.
    pub change: GivenChange,
    /// Why.
    pub reason: String,
}

/// A change that is given.
#[derive(Clone, Debug)]
pub enum GivenChange {
    /// A row of a table.
    Row(RowChange),
    /// An act on the newest incident that a rule has opened.
    Act(String, Act),
    /// A rule is shelved, or taken up again.
    Shelf(Shelf),
}

/// A field's value.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as the field's type")]
pub enum Field {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(EventTime),
}

/// What a detection does, as far as a test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// It opens an incident.
    Opens,
    /// It joins one.
    Joins,
    /// Its rule is in shadow.
    Shadow,
    /// An incident's condition has gone. Of no rule.
    Clears,
    /// Two incidents belong together. Of no rule.
    Links,
    /// A policy keeps it from people.
    Suppressed,
    /// A policy has raised an incident. Of no rule.
    Escalates,
    /// Somebody has an incident, or is given it. Of no rule.
    Acknowledged,
    /// An operator has closed an incident. Of no rule.
    Closed,
    /// An operator has put an incident aside (of no rule), or a rule.
    Shelved,
    /// An incident's or a rule's shelf has ended.
    Unshelved,
    /// An incident has been active for long. Of no rule.
    Stale,
}

/// What is of an incident and of no rule: looked at where a test tells of any.
pub(crate) const OF_INCIDENTS: [Does; 8] = [
    Does::Clears,
    Does::Links,
    Does::Escalates,
    Does::Acknowledged,
    Does::Closed,
    Does::Shelved,
    Does::Unshelved,
    Does::Stale,
];

/// One thing that is expected.
#[derive(Clone, Debug)]
pub struct Expected {
    /// When.
    pub at: EventTime,
    /// The rule; empty for what is of no rule.
    pub rule: String,
    /// Its key, parts joined by `/`; `None` is any.
    pub key: Option<String>,
    /// What it does; `None` is anything that a detection does, but to be suppressed.
    pub does: Option<Does>,
    /// The policy that does it; `None` is any.
    pub by: Option<String>,
    /// Whether it must be found late; `false` is either.
    pub late: bool,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// When.
    pub at: EventTime,
    /// The rule; empty for what is of no rule.
    pub rule: String,
    /// Its key.
    pub key: String,
    /// What it does.
    pub does: Does,
    /// Its site; empty for what is of all.
    pub site: String,
    /// The policy that does it, where one does.
    pub by: Option<String>,
    /// Whether it was found of what came later than the slack.
    pub late: bool,
}

/// How a test went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Expected and not found, as it is written.
    pub missing: Vec<String>,
    /// Found and not expected.
    pub unexpected: Vec<String>,
    /// Detections of each rule.
    pub fired: Vec<usize>,
    /// Events that came for each rule.
    pub stepped: Vec<usize>,
}

impl Outcome {
    /// Whether it found what was expected, and nothing else.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

/// How a test is run: what it finds depends on none of this.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Events fed at once.
    pub batch: usize,
    /// Parts that sites are spread over.
    pub shards: usize,
    /// A snapshot and a restore after every so many batches; 0 is never.
    pub restore_every: usize,
    /// The same events at so many sites, shifted in time, with a rule across them beside; 1 is the
    /// test as it is.
    pub sites: usize,
}

impl Default for Way {
    fn default() -> Self {
        Self { batch: usize::MAX, shards: 1, restore_every: 0, sites: 1 }
    }
}

impl Trial {
    /// Runs it, and compares.
    pub fn run(&self, plan: &Arc<Plan>, interner: &Arc<Interner>, way: Way) -> Outcome {
        let copies = Copies::of(self, plan, interner, way.sites);
        let found = copies.trial.find(&copies.plan, interner, way);
        let mut outcome = Outcome::default();
        for nth in 0..copies.len() {
            self.judge(copies.of_site(nth, &found), plan, &mut outcome);
        }
        outcome.unexpected.extend(copies.fault_beside(&found));
        outcome.stepped = self.stepped(plan, &outcome.fired);
        outcome
    }

    /// Compares what was found at one site.
    fn judge(&self, mut found: Vec<Found>, plan: &Plan, outcome: &mut Outcome) {
        let of = |rule: &crate::plan::Rule| found.iter().filter(|f| f.rule == rule.id).count();
        outcome.fired = plan.rules.iter().map(of).collect();
        let told = |does| self.expect.iter().any(|e| e.does == Some(does));
        let looked_at = OF_INCIDENTS.map(told);
        found.retain(|found| match OF_INCIDENTS.iter().position(|does| *does == found.does) {
            Some(place) => looked_at[place],
            None => self.of.is_empty() || self.of.contains(&found.rule),
        });
        for expected in &self.expect {
            match found.iter().position(|found| expected.fits(found)) {
                Some(place) => drop(found.remove(place)),
                None => outcome.missing.push(self.written(expected, plan)),
            }
        }
        outcome.unexpected.extend(found.iter().map(|found| self.told(found, plan)));
    }

    /// What it finds, in the order of each site.
    pub fn find(&self, plan: &Arc<Plan>, interner: &Arc<Interner>, way: Way) -> Vec<Found> {
        self.find_with(plan, interner, way, &mut Findings::default())
    }

    /// Adds what it reaches of the branches of a rulebook.
    pub fn cover(&self, plan: &Arc<Plan>, interner: &Arc<Interner>, coverage: &mut Coverage) {
        let mut out = Findings::probed(Probe::of_everything(plan.rules.len()));
        self.find_with(plan, interner, Way::default(), &mut out);
        if let Some(probe) = out.probe() {
            coverage.take(probe, plan);
        }
    }

    fn find_with(
        &self,
        plan: &Arc<Plan>,
        interner: &Arc<Interner>,
        way: Way,
        out: &mut Findings,
    ) -> Vec<Found> {
        let sources = vec![SourceOptions { slack: self.slack }];
        let options =
            || Options { shards: way.shards, sources: sources.clone(), ..Options::default() };
        let mut engine = Engine::new(plan.clone(), interner.clone(), options());
        let mut found = Vec::new();
        let mut block = EventBlock::new(&plan.vocabulary);
        // What a program reads again from its log, for the repair of what came late.
        let mut heard = EventBlock::new(&plan.vocabulary);
        let batch = way.batch.clamp(1, self.given.len().max(1));
        let mut rows = self.rows.iter().peekable();
        let mut opened = Vec::new();
        let (mut from, mut number) = (0, 0);
        while from < self.given.len() {
            let next = rows.peek().map_or(self.given.len(), |row| row.behind);
            let until = next.min(from.saturating_add(batch));
            block.clear();
            for (place, given) in self.given[from..until].iter().enumerate() {
                given.push(&mut block, interner, (from + place) as u64);
            }
            block.iter().for_each(|event| heard.push_row(event));
            let mut next = 0;
            while next < block.len() {
                next = engine.feed_some(&block, next, out);
                engine.repair(&heard, true, out);
            }
            while let Some(row) = rows.next_if(|row| row.behind == until) {
                note_opened(out, plan, &mut opened);
                if let Some(control) = row.control(&self.site, &opened) {
                    engine.feed(Input::Control(&control, Position::NONE), out);
                }
            }
            note_opened(out, plan, &mut opened);
            collect(out, plan, interner, &mut found);
            if way.restore_every > 0 && number % way.restore_every == 0 {
                engine = restored(&mut engine, plan, interner, options());
            }
            (from, number) = (until, number + 1);
        }
        if self.ends {
            engine.feed(Input::EndOfInput, out);
            engine.repair(&heard, true, out);
        }
        collect(out, plan, interner, &mut found);
        found
    }

    /// Events of a kind that each rule looks at, or its facts.
    fn stepped(&self, plan: &Plan, fired: &[usize]) -> Vec<usize> {
        // Detections are events, too, of kinds behind the vocabulary's.
        let first = plan.vocabulary.kinds().len();
        let heard = |kind: &KindId| fired.get((kind.0 as usize).wrapping_sub(first));
        let came = |rule: &crate::plan::Rule| {
            let mut kinds = rule.kinds();
            let mut facts = rule.reads.clone();
            let mut place = 0;
            while let Some(fact) = facts.get(place).map(|fact| &plan.facts[fact.0 as usize]) {
                kinds.extend(fact.triggers().into_iter().flat_map(|t| t.kinds.iter().copied()));
                let new: Vec<_> =
                    fact.reads.iter().filter(|f| !facts.contains(f)).copied().collect();
                facts.extend(new);
                place += 1;
            }
            let rows = if kinds.contains(&KIND_TABLE) { self.rows.len() } else { 0 };
            self.given.iter().filter(|given| kinds.contains(&given.kind)).count()
                + rows
                + kinds.iter().filter_map(heard).sum::<usize>()
        };
        plan.rules.iter().map(came).collect()
    }

    fn told(&self, found: &Found, plan: &Plan) -> String {
        let does = format!("{:?}", found.does).to_lowercase();
        let by = found.by.as_ref().map_or(String::new(), |by| format!("by {by}"));
        let at = self.clock(found.at, plan);
        let late = if found.late { "late" } else { "" };
        let text = format!("{at} {} {} {does} {by} {late}", found.rule, found.key);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn written(&self, expected: &Expected, plan: &Plan) -> String {
        let key = expected.key.as_deref().unwrap_or_default();
        let does = expected.does.map_or(String::new(), |does| format!("{does:?}").to_lowercase());
        let by = expected.by.as_ref().map_or(String::new(), |by| format!("by {by}"));
        let at = self.clock(expected.at, plan);
        let late = if expected.late { "late" } else { "" };
        let text = format!("{at} {} {key} {does} {by} {late}", expected.rule);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A moment as the test writes it: on the next day hours go on from 24.
    fn clock(&self, at: EventTime, plan: &Plan) -> String {
        let zone = zone_of(plan, &self.site);
        let Ok(moment) = jiff::Timestamp::from_microsecond(at.0) else { return at.to_string() };
        let local = zone.to_datetime(moment);
        let days = self.day.until(local.date()).map_or(0, |span| span.get_days());
        if days < 0 {
            return at.to_string();
        }
        let hours = i64::from(days) * 24 + i64::from(local.hour());
        let mut text = format!("{hours:02}:{:02}:{:02}", local.minute(), local.second());
        let micros = local.subsec_nanosecond() / 1_000;
        if micros > 0 {
            text += format!(".{micros:06}").trim_end_matches('0');
        }
        text
    }
}

/// A site's zone, by its name.
fn zone_of(plan: &Plan, site: &str) -> TimeZone {
    let known = plan.calendar.zones_by_name.get(site);
    known.cloned().unwrap_or(TimeZone::UTC)
}

impl Expected {
    fn fits(&self, found: &Found) -> bool {
        let does = match self.does {
            Some(does) => does == found.does,
            None => !OF_INCIDENTS.contains(&found.does) && found.does != Does::Suppressed,
        };
        let by = self.by.is_none() || self.by == found.by;
        let key = self.key.as_ref().is_none_or(|key| *key == found.key);
        let late = !self.late || found.late;
        does && by && key && late && self.at == found.at && self.rule == found.rule
    }
}

impl Given {
    /// Time that passes at a site, to be made an event.
    fn bare(at: EventTime, site: &str) -> Self {
        Self {
            at,
            kind: KIND_ADVANCE,
            site: site.to_owned(),
            device: "test".to_owned(),
            id: None,
            retained: false,
            recorded: None,
            quarantined: false,
            fields: Vec::new(),
        }
    }

    fn push(&self, block: &mut EventBlock, interner: &Interner, number: u64) {
        let symbol = |text: &str| interner.intern(text).unwrap_or(Symbol::NONE);
        let identity = match &self.id {
            Some(id) => Identity::new(b"test", self.device.as_bytes(), id.as_bytes(), None),
            None => Identity::new(b"line", self.device.as_bytes(), &number.to_be_bytes(), None),
        };
        let (site, device) = (symbol(&self.site), symbol(&self.device));
        let fields: Vec<_> = self.fields.iter().map(|(id, value)| (*id, value)).collect();
        let mut row = block.push();
        row.times(self.at, self.recorded.unwrap_or(self.at));
        row.class(self.kind, EventFlags::default(), StreamId(0), SourceId(0));
        if self.retained {
            row.flag(EventFlags::RETAINED);
        }
        if self.quarantined {
            row.flag(EventFlags::QUARANTINED);
        }
        row.identity(identity);
        row.position(Position(number), 0);
        row.place(site, device);
        for (id, value) in fields {
            match value {
                Field::Text(text) => row.text(id, symbol(text)),
                Field::Int(n) => row.int(id, *n),
                Field::Float(x) => row.float(id, *x),
                Field::Bool(b) => row.bool(id, *b),
                Field::Time(at) => row.time(id, *at),
            }
        }
    }
}

impl GivenRow {
    /// As a control record; `None` where the rule has opened no incident yet.
    fn control(&self, site: &str, opened: &[(String, TimedId)]) -> Option<Control> {
        let change = match &self.change {
            GivenChange::Row(change) => Change::Row(change.clone()),
            GivenChange::Shelf(shelf) => Change::Shelf(shelf.clone()),
            GivenChange::Act(rule, act) => {
                let incident = opened.iter().rfind(|(opener, _)| opener == rule)?.1;
                Change::Incident(IncidentAct { site: site.to_owned(), incident, act: act.clone() })
            }
        };
        Some(Control { by: "test".to_owned(), reason: self.reason.clone(), change })
    }
}

/// The engine as it is after a restart: the texts are those of this process still.
fn restored(
    engine: &mut Engine,
    plan: &Arc<Plan>,
    interner: &Arc<Interner>,
    options: Options,
) -> Engine {
    let mut bytes = Vec::new();
    engine.snapshot(&mut bytes, true);
    let parts: [&[u8]; 1] = [&bytes];
    debug_assert!(restore_symbols(&bytes, interner).is_ok(), "the texts are known");
    Engine::restore(plan.clone(), interner.clone(), options, &parts)
        .unwrap_or_else(|error| panic!("a snapshot just written is restored: {error}"))
}

/// Incidents in the order of their opening, each with its rule.
fn note_opened(out: &Findings, plan: &Plan, opened: &mut Vec<(String, TimedId)>) {
    for finding in out.iter().filter(|finding| finding.effect == Effect::Opened) {
        let one = (plan.rules[finding.rule.0 as usize].id.clone(), finding.id);
        if !opened.contains(&one) {
            opened.push(one);
        }
    }
}

fn collect(out: &mut Findings, plan: &Plan, interner: &Interner, found: &mut Vec<Found>) {
    for finding in out.iter() {
        let does = match finding.effect {
            Effect::Opened => Does::Opens,
            Effect::Joined(_) => Does::Joins,
            Effect::Shadowed => Does::Shadow,
            Effect::Cleared(_) => Does::Clears,
            Effect::Linked(..) => Does::Links,
            Effect::Suppressed(..) => Does::Suppressed,
            Effect::Escalated(..) => Does::Escalates,
            Effect::Acted(_, number) => match &out.control(number).change {
                Change::Incident(act) => match act.act {
                    Act::Acknowledge | Act::Assign(_) => Does::Acknowledged,
                    Act::Close(_) => Does::Closed,
                    Act::Shelve(_) => Does::Shelved,
                    Act::Unshelve => Does::Unshelved,
                },
                _ => continue,
            },
            Effect::Shelf(Some(_), _) => Does::Shelved,
            Effect::Shelf(None, _) | Effect::ShelfEnded | Effect::Unshelved(_) => Does::Unshelved,
            Effect::Stale(_) => Does::Stale,
        };
        let by = match finding.effect {
            Effect::Suppressed(by, _) => Some(plan.held_by(by).to_owned()),
            Effect::Escalated(_, policy) => {
                Some(plan.policies.escalate[usize::from(policy)].id.clone())
            }
            _ => None,
        };
        let rule = plan.rules.get(finding.rule.0 as usize);
        let key: Vec<&str> =
            finding.key.iter().filter_map(|s| s.some()).map(|s| interner.text(s)).collect();
        found.push(Found {
            at: finding.at,
            rule: rule.map(|rule| rule.id.clone()).unwrap_or_default(),
            key: key.join("/"),
            does,
            site: finding.site.some().map_or_else(String::new, |s| interner.text(s).to_owned()),
            by,
            late: finding.late.is_some(),
        });
    }
    out.clear();
}
