//! A test at several sites at once: the same events at each, shifted in time, with a rule across
//! the sites beside. What each site finds must be what the test expects, by its own time.

use std::sync::Arc;

use event::vocabulary::KIND_ADVANCE;
use event::{EventTime, Interner, KindId, Symbol, TimeSpan};

use super::{Found, Given, Trial, zone_of};
use crate::calendar::ScheduleId;
use crate::lang::expr::Expr;
use crate::lang::syntax::Operator;
use crate::plan::{
    Emit, Fact, FactId, FactKind, FieldRef, Grouping, Limits, Mode, Pattern, Plan, Rule, Scope,
    Trigger,
};
use crate::value::Value;

/// What the rule beside is called: no rulebook can name it.
const BESIDE: &str = "across the sites";

/// Each site is so much later than the one before it, where no schedule minds. No window and no
/// limit is a multiple of it.
const STEP: TimeSpan = TimeSpan(7_300_001);

const WEEK: TimeSpan = TimeSpan(7 * 86_400 * 1_000_000);

/// A longer test is about days and not about hours.
const LONG_WEEKS: i64 = 4;

/// Weeks away that hours like the test's own are looked for.
const WEEKS_MAX: i64 = 60;

/// The test as it is run, and how its findings are read.
pub struct Copies {
    /// What is run.
    pub trial: Trial,
    /// Under which plan.
    pub plan: Arc<Plan>,
    /// Name and shift of each site; one alone is the test as it is.
    sites: Vec<(String, TimeSpan)>,
    /// Where sites are weeks apart, time goes on at each for the sake of the others: what a site finds
    /// behind the last moment of the test is of no test.
    until: EventTime,
    /// How often the rule beside must speak.
    beside: Option<usize>,
}

impl Copies {
    /// The test at so many sites; as it is where it is of several sites itself, or looks at rules
    /// that are.
    pub fn of(trial: &Trial, plan: &Arc<Plan>, interner: &Interner, sites: usize) -> Self {
        let across = |rule: &Rule| rule.scope == Scope::Enterprise && trial.of.contains(&rule.id);
        // A row that is changed is changed for every site at once.
        let several =
            !trial.rows.is_empty() || trial.given.iter().any(|given| given.site != trial.site);
        if sites <= 1 || several || trial.given.is_empty() || plan.rules.iter().any(across) {
            let sites = vec![(trial.site.clone(), TimeSpan::ZERO)];
            let (trial, plan) = (trial.clone(), plan.clone());
            return Self { trial, plan, sites, until: EventTime::MAX, beside: None };
        }
        let name = |nth: usize| match nth {
            0 => trial.site.clone(),
            nth => format!("{}~{nth}", trial.site),
        };
        let shifts = shifts(trial, plan, interner, sites);
        let apart = shifts.iter().any(|shift| shift.0.abs() >= WEEK.0);
        let until = if apart {
            span(trial).map_or(EventTime::MAX, |(_, last)| last)
        } else {
            EventTime::MAX
        };
        let sites: Vec<_> = shifts.into_iter().enumerate().map(|(n, s)| (name(n), s)).collect();
        let mut copy = trial.clone();
        copy.given = merged(trial, &sites);
        let counted = counted(trial);
        let mut wide = Plan::clone(plan);
        let zone = zone_of(plan, &trial.site);
        for (site, _) in &sites {
            let symbol = interner.intern(site).unwrap_or(Symbol::NONE);
            wide.calendar.zones.insert(symbol, zone.clone());
            wide.calendar.zones_by_name.insert(site.clone(), zone.clone());
        }
        if let Some((kind, _)) = counted {
            add_beside(&mut wide, kind, sites.len());
        }
        // It speaks at each event from the one on that makes as many as there are sites.
        let beside = counted.map(|(_, events)| events * sites.len() - (sites.len() - 1));
        Self { trial: copy, plan: Arc::new(wide), sites, until, beside }
    }

    /// How many sites there are.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// What was found at one of the sites, in the test's own names and times.
    pub fn of_site(&self, nth: usize, found: &[Found]) -> Vec<Found> {
        let (name, shift) = &self.sites[nth];
        if self.sites.len() == 1 {
            return found.to_vec();
        }
        let own = found.iter().filter(|found| found.site == *name).cloned();
        own.map(|mut found| {
            let parts = found.key.split('/');
            let parts = parts.map(|part| if part == name { &self.sites[0].0 } else { part });
            found.key = parts.collect::<Vec<_>>().join("/");
            found.at = found.at.minus(*shift);
            found
        })
        .filter(|found| found.at <= self.until)
        .collect()
    }

    /// What is wrong with what the rule beside has said.
    pub fn fault_beside(&self, found: &[Found]) -> Option<String> {
        let wanted = self.beside?;
        let told = found.iter().filter(|found| found.rule == BESIDE).count();
        (told != wanted).then(|| format!("{BESIDE}: {told} detections, wanted {wanted}"))
    }
}

/// Events in the order that they arrive in: each site's own stays as it is.
fn merged(trial: &Trial, sites: &[(String, TimeSpan)]) -> Vec<Given> {
    let mut all: Vec<(EventTime, Given)> = Vec::new();
    for (name, shift) in sites {
        let mut arrived = EventTime::MIN;
        for given in &trial.given {
            let mut given = given.clone();
            given.site.clone_from(name);
            given.at = given.at.plus(*shift);
            given.recorded = given.recorded.map(|at| at.plus(*shift));
            arrived = arrived.max(given.at);
            all.push((arrived, given));
        }
    }
    all.sort_by_key(|(arrived, _)| *arrived);
    all.into_iter().map(|(_, given)| given).collect()
}

/// The first moment that a test speaks of, and the last.
fn span(trial: &Trial) -> Option<(EventTime, EventTime)> {
    let times = trial.given.iter().map(|given| given.at);
    let times = times.chain(trial.expect.iter().map(|expected| expected.at));
    Some((times.clone().min()?, times.max()?))
}

/// How much later each site is. A test whose input does not end is not shifted: the others' time
/// would go on for it. One out of order is shifted by weeks, lest another's events make its own
/// late; and so is one near an edge of a schedule, to weeks with the same hours.
fn shifts(trial: &Trial, plan: &Plan, interner: &Interner, sites: usize) -> Vec<TimeSpan> {
    if !trial.ends {
        return vec![TimeSpan::ZERO; sites];
    }
    let Some((first, last)) = span(trial) else { return vec![TimeSpan::ZERO; sites] };
    let in_order = trial.given.is_sorted_by_key(|given| given.at);
    let by_step = (0..sites).map(|n| TimeSpan(STEP.0 * n as i64)).collect();
    let site = interner.intern(&trial.site).unwrap_or(Symbol::NONE);
    let edges = |shift: TimeSpan, until: EventTime| {
        let schedules = 0..plan.calendar.schedules.len();
        let of = |n| edges(plan, ScheduleId(n as u16), site, first.plus(shift), until.plus(shift));
        let relative = |(at, on): (EventTime, bool)| (at.minus(shift), on);
        schedules.map(|n| of(n).into_iter().map(relative).collect()).collect::<Vec<Vec<_>>>()
    };
    let until = last.plus(TimeSpan(STEP.0 * sites as i64));
    // A test of months is about days, and looks for no hour.
    let long = last.since(first) > TimeSpan(WEEK.0 * LONG_WEEKS);
    let quiet = long || edges(TimeSpan::ZERO, until).iter().all(|edges| edges.len() == 1);
    if quiet && in_order {
        return by_step;
    }
    let own = edges(TimeSpan::ZERO, until);
    let apart = 1 + last.since(first).0 / WEEK.0;
    let weeks = (1..WEEKS_MAX).flat_map(|n| [-n * apart, n * apart]);
    let alike = weeks.map(|n| TimeSpan(WEEK.0 * n)).filter(|shift| edges(*shift, until) == own);
    let mut found: Vec<_> = [TimeSpan::ZERO].into_iter().chain(alike.take(sites - 1)).collect();
    // Where no week is like the test's own, sites share it.
    found.resize(sites, TimeSpan::ZERO);
    found
}

/// Whether a schedule is on at a time, and each change until another.
fn edges(
    plan: &Plan,
    schedule: ScheduleId,
    site: Symbol,
    from: EventTime,
    until: EventTime,
) -> Vec<(EventTime, bool)> {
    let hours = plan.calendar.hours(schedule, site, from);
    let (mut found, mut next) = (vec![(from, hours.on)], hours.until);
    while next <= until {
        let hours = plan.calendar.hours(schedule, site, next);
        found.push((next, hours.on));
        next = hours.until;
    }
    found
}

/// A kind that every event of is told once, in time and to be heard; and how many there are.
fn counted(trial: &Trial) -> Option<(KindId, usize)> {
    if !trial.given.is_sorted_by_key(|given| given.at) {
        return None;
    }
    let of = |kind: KindId| trial.given.iter().filter(move |given| given.kind == kind);
    let plain = |given: &Given| given.id.is_none() && !given.retained;
    let kinds = trial.given.iter().map(|given| given.kind);
    let kind = kinds.filter(|kind| *kind != KIND_ADVANCE).find(|kind| of(*kind).all(plain))?;
    Some((kind, of(kind).count()))
}

/// Adds a rule that counts a kind over all sites.
fn add_beside(plan: &mut Plan, kind: KindId, sites: usize) {
    let on = Trigger { kinds: vec![kind], condition: None };
    let fact = FactId(plan.facts.len() as u16);
    let by = vec![FieldRef::Kind];
    plan.facts.push(Fact {
        limits: Limits::default(),
        name: BESIDE.to_owned(),
        scope: Scope::Enterprise,
        by: by.clone(),
        kind: FactKind::Count { on: on.clone(), within: TimeSpan(WEEK.0 * 10_000) },
        reads: Vec::new(),
        reset: None,
        whose: None,
    });
    let least = Box::new(Expr::Constant(Value::Int(sites as i64)));
    let enough = Expr::Compare(Operator::GreaterEqual, Box::new(Expr::Fact(fact)), least);
    plan.rules.push(Rule {
        limits: Limits::default(),
        id: BESIDE.to_owned(),
        title: BESIDE.to_owned(),
        severity: event::incident::Severity::Info,
        mode: Mode::Live,
        scope: Scope::Enterprise,
        by,
        pattern: Pattern::Event(Trigger { condition: Some(enough.into()), ..on }),
        emit: Emit::Each,
        late: false,
        captures: Vec::new(),
        evidence_of: Vec::new(),
        evidence_max: 2,
        why: Vec::new(),
        reads: vec![fact],
        schedules: Vec::new(),
        grouping: Some(Grouping { by: Vec::new(), gap: TimeSpan::ZERO, span_max: TimeSpan::ZERO }),
        life_safety: false,
        verification: 0,
        quiet: None,
        risk: None,
        control: None,
        procedure: None,
    });
}
