//! One site's shard state: facts, runs, timers, correlation; stepped by admitted events.

use std::cell::Cell;

use event::identity::TimedId;
use event::incident::Tier;
use event::prefetch::prefetch;
use event::{EventBlock, EventFlags, EventRef, EventTime, Identity, Symbol};

use super::Options;
use super::ahead::Ahead;
use super::cells::{Course, Held, Key, Run};
use super::correlation::{Correlation, Spoken};
use super::eviction::Turn;
use super::findings::{Effect, EvidenceRef, Finding, Findings};
use super::ids::detection_id;
use super::interests::Interest;
use super::layout::{AREA, Layout, PERSON, Subject};
use super::pages::{NIL, Pages};
use super::scope::{Changed, Context, SessionView, Sight};
use super::seen::Noted;
use super::state::{Kept, Owner, State};
use super::timers::{Due, Timers};
use super::work::{Cost, Work};
use crate::calendar::Hours;
use crate::condition::Counted;
use crate::lang::expr::list_of;
use crate::limits::{SAID_MAX, WHY_MAX};
use crate::plan::{Emit, FieldRef, Mode, Pattern, Plan, Rule, RuleId, Scope};
use crate::value::{Env, Value};

/// Detections and incidents of one rule at one site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Detections, shadow ones included.
    pub detections: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Detections held back by a policy.
    pub suppressed: u64,
}

/// One site's state. Everything in it is a function of the configuration and the site's stream.
#[derive(Debug)]
pub struct Site {
    /// Its name; `Symbol::NONE` is the enterprise.
    pub name: Symbol,
    /// Keyed cells, entries, runs.
    pub state: State,
    /// Deadlines of rules and facts.
    pub timers: Timers,
    /// When policies look again. They never hold up the end of an input, which is no time of day.
    pub upkeep: Timers,
    /// Open incidents.
    pub correlation: Correlation,
    /// Detections that are not told, or not yet.
    pub held: Pages<Held>,
    /// Whether anything was ever shelved here: where nothing was, nobody looks for shelves.
    pub(super) shelves: bool,
    /// Outputs so far.
    pub seq: u64,
    /// Runs and deadlines so far.
    pub serial: u64,
    /// Event time the site has reached.
    pub now: EventTime,
    /// Its first event's time: nothing is known from before.
    pub began: EventTime,
    /// What the current event changed.
    pub changed: Vec<Changed>,
    /// And what counts have come to that it is one of.
    pub counted: Counted,
    /// The text of the current event by which rules are listed.
    pub(super) listed: Symbol,
    /// Counts by rule.
    pub counts: Vec<RuleCount>,
    /// Events let go before their time, because too many waited.
    pub early: u64,
    /// Keys, runs and events that it may hold.
    pub most: [usize; 3],
    /// Detections that it may hold back.
    pub held_max: usize,
    /// How many it did not hold back because of that.
    pub unheld: u64,
    /// Who gives up of them, where the site is full.
    pub turns: [Turn; 3],
    /// Conditions evaluated since [`Self::on_account_of`] last began to count.
    pub evaluated: Cell<u64>,
    /// What it cost since the start, by holder: events and levels looked at, conditions evaluated.
    pub work: Work,
    /// Whose memory is asked for before it is wanted.
    pub(super) ahead: Ahead,
    /// Where the sweep goes on: keys, runs, incidents.
    pub sweep: [u32; 3],
    /// Events since it last went on.
    pub unswept: u32,
    /// Detections that rules and facts of this site are still to hear, and those being heard.
    pub(super) heard: [EventBlock; 2],
    /// Detections that the enterprise is to hear; the engine takes them.
    pub told: EventBlock,
    /// What is known of each schedule about now.
    pub hours: Vec<Hours>,
    /// How long that holds; nothing does while nothing is known.
    pub hours_until: EventTime,
    /// Where a detection is laid out for the policies that look at it.
    pub(super) about: EventBlock,
    /// What has been detected here: a repair says nothing twice.
    pub said: Noted,
    /// A late event is judged: what it detects is heard by nobody. And whether all was at hand.
    pub(super) late: Option<(Tier, bool)>,
}

/// What a detection is made of.
pub struct Conclusion<'a> {
    /// The rule.
    pub rule: RuleId,
    /// Its key.
    pub key: Key,
    /// Event time: of the completing event, or of the deadline.
    pub at: EventTime,
    /// The completing event, or the opening one before a deadline.
    pub event: Identity,
    /// The first step's event, for a rule with `runs: each`.
    pub first: Option<Identity>,
    /// Contributing events that are not kept as evidence.
    pub omitted: u32,
    /// Who it is about.
    pub subject: Subject,
    /// The completing event, where it is at hand.
    pub row: Option<EventRef<'a>>,
    /// What the bound values read of earlier events.
    pub captured: Kept<'a>,
    /// The watched value.
    pub value: Value,
    /// The session as a whole.
    pub session: Option<SessionView>,
    /// The watch's key cell whose level it is, or `NIL`.
    pub level: u32,
    /// The serial of the run that completes; 0 where none does.
    pub run: u64,
}

impl Site {
    /// A site without state, within the bounds of the options.
    pub fn new(name: Symbol, plan: &Plan, layout: &Layout, options: &Options) -> Self {
        let block = || EventBlock::new(&plan.vocabulary);
        Self {
            name,
            state: State::new(layout.bounds.clone()),
            timers: Timers::default(),
            upkeep: Timers::default(),
            correlation: Correlation::new(options.open_max[0]),
            held: Pages::default(),
            shelves: false,
            about: block(),
            seq: 0,
            serial: 0,
            now: EventTime::MIN,
            began: EventTime::MAX,
            changed: Vec::new(),
            counted: Counted::default(),
            listed: Symbol::NONE,
            counts: vec![RuleCount::default(); plan.rules.len()],
            early: 0,
            most: options.state_max,
            held_max: options.open_max[1],
            unheld: 0,
            turns: [Turn::default(); 3],
            evaluated: Cell::new(0),
            work: Work::new(plan.facts.len() + plan.rules.len()),
            ahead: Ahead::default(),
            sweep: [0; 3],
            unswept: 0,
            heard: [block(), block()],
            told: block(),
            hours: Vec::new(),
            hours_until: EventTime::MIN,
            said: Noted::new(options.late.remembered(), SAID_MAX),
            late: None,
        }
    }

    /// Which facts and rules are its own.
    pub(super) fn scope(&self) -> Scope {
        if self.name == Symbol::NONE { Scope::Enterprise } else { Scope::Site }
    }

    /// Moves time to `to`: everything due at or before it speaks, in order.
    pub fn advance(&mut self, cx: Context<'_>, to: EventTime, out: &mut Findings) {
        // At the end of the input time moves past the last deadline, and no schedule further.
        let last = if to == EventTime::MAX { self.last_deadline(cx) } else { to };
        let upkeep_to = if to == EventTime::MAX { EventTime::MIN } else { to };
        loop {
            // Mostly there is nothing but deadlines of rules, and most are of what has ended before them.
            if cx.plan.calendar.schedules.is_empty() && !self.upkeep.is_due(upkeep_to) {
                if !self.timers.is_due(to) {
                    break;
                }
                let Some((at, serial, due)) = self.timers.pop(to) else { break };
                if is_awaited(&self.state.runs, due, serial) {
                    self.run_timer(cx, at, serial, due, out);
                }
                continue;
            }
            let edge = self.next_edge(cx).filter(|edge| *edge <= last);
            // Timers of a time run before everything else of it; the policies' after the rules'.
            let timer = self.timers.next().filter(|at| *at <= to && edge.is_none_or(|e| *at <= e));
            let sooner = |at: &EventTime| {
                *at <= upkeep_to && timer.is_none_or(|t| *at < t) && edge.is_none_or(|e| *at <= e)
            };
            let upkeep = self.upkeep.next().filter(sooner);
            if let Some((at, serial, due)) = upkeep.and_then(|at| self.upkeep.pop(at)) {
                self.run_timer(cx, at, serial, due, out);
            } else if let Some((at, serial, due)) = timer.and_then(|at| self.timers.pop(at)) {
                self.run_timer(cx, at, serial, due, out);
            } else if let Some(edge) = edge {
                self.now = self.now.max(edge);
                self.pass_edge(cx, edge, out);
                self.settle(cx, out);
            } else {
                break;
            }
        }
        self.now = self.now.max(to);
    }

    /// When something is due here that no event brings.
    pub fn next_due(&mut self, cx: Context<'_>) -> EventTime {
        let due = [self.timers.next(), self.upkeep.next(), self.next_edge(cx)];
        due.into_iter().flatten().min().unwrap_or(EventTime::MAX)
    }

    fn run_timer(
        &mut self,
        cx: Context<'_>,
        at: EventTime,
        serial: u64,
        due: Due,
        out: &mut Findings,
    ) {
        self.now = self.now.max(at);
        match due {
            Due::Run(run) => self.run_due(cx, run, serial, at, out),
            Due::Expiry(cell) => self.fact_expired(cx, cell, serial, at, out),
            Due::Held(held) => self.held_due(cx, held, serial, at, out),
            Due::Quiet(cell) => self.quiet_due(cx, cell, serial, at, out),
            Due::Shelf(cell) => self.shelf_due(cx, cell, serial, at, out),
            Due::Flood(cell) => self.flood_due(cx, cell, serial, at, out),
            Due::Stale(incident) => self.stale_due(incident, serial, at, out),
        }
        self.settle(cx, out);
    }

    /// Takes the next event of the site's ordered stream.
    #[inline(never)]
    pub fn event(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        self.event_here(cx, (event, cx.layout.interest(event.kind())), out);
    }

    /// The same, in the place of its caller, who knows whom an event of its kind concerns.
    #[inline(always)]
    pub(super) fn event_here(
        &mut self,
        cx: Context<'_>,
        (event, interest): (EventRef<'_>, &Interest),
        out: &mut Findings,
    ) {
        match event.short() {
            Some(event) => {
                self.come_to(cx, event, out);
                self.judge_short(cx, (event, interest), out);
            }
            None => {
                self.come_to(cx, event, out);
                self.judge_event(cx, event, out);
            }
        }
        self.settle(cx, out);
        self.sweep_some(cx);
    }

    /// Moves time to that of an event.
    #[inline(always)]
    fn come_to(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        let now = event.occurred();
        if self.timers.is_due(now) | self.upkeep.is_due(now) | (now >= self.hours_until) {
            self.stir(cx, now, out);
        }
        if now < self.now {
            self.behind_the_end();
        } else {
            self.now = now;
        }
    }

    /// An event from behind the site's time: only the end of an input is as far.
    #[cold]
    fn behind_the_end(&self) {
        assert!(self.now == EventTime::MAX, "INV-SITE: events come in order");
    }

    /// Deadlines are due: mostly of what has ended before them, as those behind them are. All these go at once, up to
    /// the first that somebody awaits.
    #[inline(never)]
    fn stir(&mut self, cx: Context<'_>, now: EventTime, out: &mut Findings) {
        let runs = &self.state.runs;
        let expect = |due: Due| {
            if let Due::Run(run) = due {
                prefetch(runs.cells(), run as usize);
            }
        };
        while self.timers.leave_out(|due, serial| is_awaited(runs, due, serial), expect) {}
        if self.timers.is_due(now) | self.upkeep.is_due(now) | (now >= self.hours_until) {
            self.wake(cx, now, out);
        }
    }

    /// Something is due before the next event, or the hours must be looked up: mostly nothing is.
    #[cold]
    fn wake(&mut self, cx: Context<'_>, now: EventTime, out: &mut Findings) {
        let due = self.timers.is_due(now) || self.upkeep.is_due(now);
        if due || self.next_edge(cx).is_some_and(|edge| edge <= now) {
            self.advance(cx, now, out);
        }
        self.now = self.now.max(now);
        self.began = self.began.min(now);
        self.refresh_hours(cx);
    }

    /// Gives the detections just made to those that hear them, in order, then theirs: the compiler
    /// has seen that this ends.
    #[inline]
    pub(super) fn hear(&mut self, cx: Context<'_>, out: &mut Findings) {
        if !self.is_heard_out() {
            self.hear_all(cx, out);
        }
    }

    fn hear_all(&mut self, cx: Context<'_>, out: &mut Findings) {
        while !self.heard[0].is_empty() {
            self.heard.swap(0, 1);
            for number in 0..self.heard[1].len() {
                // A row at a time is lent out of the site; its buffer goes back where it was.
                let block = self.heard[1].take();
                self.judge_event(cx, block.get(number), out);
                self.heard[1] = block;
            }
            self.heard[1].clear();
        }
    }

    /// Whether nothing is left to be heard.
    pub(super) fn is_heard_out(&self) -> bool {
        self.heard[0].is_empty()
    }

    /// What is heard next.
    pub(super) fn heard_next(&mut self) -> &mut EventBlock {
        self.state.room = -1;
        &mut self.heard[0]
    }

    /// What is evaluated meanwhile is counted as a holder's, which has looked already.
    pub(super) fn charge<T>(&mut self, holder: Owner, look: impl FnOnce(&mut Self) -> T) -> T {
        self.evaluated.set(0);
        let seen = look(self);
        self.work.add_much(holder, [0, self.evaluated.get()]);
        seen
    }

    /// A holder looks at something, and what is evaluated meanwhile is counted as its own.
    #[inline(always)]
    pub(super) fn on_account_of<T>(
        &mut self,
        holder: Owner,
        look: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.evaluated.set(0);
        let seen = look(self);
        self.account(holder);
        seen
    }

    /// A holder has looked, and what has been evaluated is its own.
    #[inline(always)]
    pub(super) fn account(&mut self, holder: Owner) {
        let evaluated = self.evaluated.get();
        match u8::try_from(evaluated) {
            Ok(few) => self.work.add(holder, Cost::of(few)),
            Err(_) => self.work.add_much(holder, [1, evaluated]),
        }
    }

    /// Makes a detection an event for those that hear it.
    pub(super) fn tell(&mut self, cx: Context<'_>, spoken: &Spoken, trigger: Option<EvidenceRef>) {
        let kind = cx.layout.detection_kind(spoken.rule);
        let (here, there) = (cx.layout.needs(kind), cx.layout.forwards(spoken.rule));
        if self.late.is_some() || !(here || there) {
            return;
        }
        self.state.room = -1;
        // One that was held is heard when it is decided: nobody hears of the past.
        let at = spoken.at.max(self.now);
        let blocks = [(here, &mut self.heard[0]), (there, &mut self.told)];
        for (_, block) in blocks.into_iter().filter(|(hears, _)| *hears) {
            cx.layout.lay_out(cx.plan, block, spoken, at, trigger);
        }
    }

    /// Takes an event from behind the site's time: rules that look at that event alone fire; no
    /// fact, level or run is touched.
    pub fn late(&mut self, cx: Context<'_>, event: EventRef<'_>, tier: Tier, out: &mut Findings) {
        if event.flags().has(EventFlags::RETAINED) {
            return;
        }
        self.late = Some((tier, true));
        // What the last event in order changed is no matter here.
        self.changed.clear();
        self.counted.clear();
        let probed = out.probe().is_some();
        let asked = if probed {
            cx.layout.interest(event.kind()).rules.whole()
        } else {
            cx.rules_listed(event)
        };
        for step in asked {
            let RuleId(rule) = step.rule;
            if cx.plan.rules[rule as usize].late {
                if probed {
                    self.step_probed(cx, step, event, out);
                } else {
                    self.step_rule(cx, &step, event, out);
                }
            }
        }
        self.settle(cx, out);
        self.late = None;
    }

    /// The conclusion drawn from one completing event.
    pub fn conclusion_of<'e>(
        &self,
        cx: Context<'_>,
        rule: RuleId,
        key: Key,
        event: EventRef<'e>,
    ) -> Conclusion<'e> {
        Conclusion {
            rule,
            key,
            at: event.occurred(),
            event: event.identity(),
            first: None,
            omitted: 0,
            subject: cx.layout.subject(cx.tables, event),
            row: Some(event),
            captured: Kept::NOTHING,
            value: Value::Missing,
            session: None,
            level: NIL,
            run: 0,
        }
    }

    /// Makes a detection: limits how often, derives its id, binds values, correlates.
    /// Evidence since `mark` has been pushed, the trigger last. Returns the incident.
    pub fn conclude(
        &mut self,
        cx: Context<'_>,
        conclusion: Conclusion<'_>,
        mark: u32,
        out: &mut Findings,
    ) -> Option<TimedId> {
        let rule = &cx.plan.rules[conclusion.rule.0 as usize];
        let max = usize::from(rule.evidence_max);
        let omitted = conclusion.omitted + out.trim_evidence(mark, max);
        if !self.may_speak(cx, &conclusion, rule) {
            self.look_held(cx, &conclusion, out);
            out.forget_evidence(mark);
            return None;
        }
        let spoken = Spoken {
            rule: conclusion.rule,
            id: detection_id(cx, rule, &conclusion),
            key: conclusion.key,
            at: conclusion.at,
            event: conclusion.event,
            subject: conclusion.subject,
            site: conclusion.row.map_or(self.name, |event| event.site()),
            omitted,
            level: conclusion.level,
        };
        self.said.note(Identity(spoken.id.0), spoken.at);
        out.look_spoken(&conclusion, spoken.id, mark);
        let marks = (mark, out.why_mark());
        self.bind(cx, rule, &conclusion, out);
        if rule.mode == Mode::Shadow {
            self.say(cx, &spoken, Effect::Shadowed, marks, out);
            return None;
        }
        self.speak(cx, &spoken, marks, out)
    }

    /// Puts a detection out, with evidence and bound values since the marks.
    pub(super) fn say(
        &mut self,
        cx: Context<'_>,
        spoken: &Spoken,
        effect: Effect,
        (mark, why): (u32, u32),
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[spoken.rule.0 as usize];
        let count = &mut self.counts[spoken.rule.0 as usize];
        count.detections += 1;
        count.incidents += u64::from(effect == Effect::Opened);
        count.suppressed += u64::from(matches!(effect, Effect::Suppressed(..)));
        let (tier, complete) = (self.late.map(|how| how.0), self.late.is_none_or(|how| how.1));
        self.seq += 1;
        let finding = Finding {
            event: spoken.event,
            subject: spoken.subject,
            late: tier,
            complete,
            severity: rule.severity,
            verification: rule.verification,
            id: spoken.id,
            rule: spoken.rule,
            key: [spoken.key[0], spoken.key[1], spoken.key[2]],
            area: spoken.subject[AREA],
            person: spoken.subject[PERSON],
            omitted: spoken.omitted,
            ..Finding::of_incident(self.name, self.seq, effect, spoken.at)
        };
        out.push(finding, mark, why);
    }

    /// Puts out what is of an incident alone.
    pub(super) fn say_of_incident(&mut self, effect: Effect, at: EventTime, out: &mut Findings) {
        self.seq += 1;
        let late = self.late.map(|how| how.0);
        out.push_plain(Finding { late, ..Finding::of_incident(self.name, self.seq, effect, at) });
    }

    /// `emit: once`: whether the rule's key has been silent long enough.
    fn may_speak(&mut self, cx: Context<'_>, conclusion: &Conclusion<'_>, rule: &Rule) -> bool {
        let Emit::Once(span) = rule.emit else { return true };
        let owner = cx.layout.rule(conclusion.rule);
        let mut key = conclusion.key;
        if matches!(rule.pattern, Pattern::Passage { .. } | Pattern::Travel { .. }) {
            // Its cell is full of who was where: the word is kept in another.
            key[3] = Symbol(1);
        }
        let cell = self.state.find_or_insert(owner, &key, Value::Missing);
        let last = self.state.keys.get(cell).aux as i64;
        let spoken = self.state.keys.get(cell).spare != 0;
        if spoken && conclusion.at.since(EventTime(last)) < span {
            return false;
        }
        let cell = self.state.keys.get_mut(cell);
        (cell.aux, cell.spare) = (conclusion.at.0 as u64, 1);
        true
    }

    fn bind(&self, cx: Context<'_>, rule: &Rule, conclusion: &Conclusion<'_>, out: &mut Findings) {
        if rule.why.is_empty() {
            return;
        }
        let fields: &[FieldRef] = match &rule.pattern {
            Pattern::Watch { fact, .. } => &cx.plan.facts[fact.0 as usize].by,
            _ => &rule.by,
        };
        let key = Sight::of_key(cx, self, fields, conclusion.key, conclusion.at);
        let sight = Sight {
            event: conclusion.row,
            value: conclusion.value,
            session: conclusion.session,
            changed: &self.changed,
            ..key.with(conclusion.captured)
        };
        for (_, expression) in rule.why.iter().take(WHY_MAX) {
            let value = expression.eval(&sight);
            match list_of(&sight, value) {
                Some(texts) => out.push_texts(value, texts),
                None => out.push_why(value),
            }
        }
    }

    /// A condition that a detection of an incident stood on has gone: says so when it was the last.
    pub fn clear_incident(&mut self, incident: TimedId, at: EventTime, out: &mut Findings) {
        if !self.correlation.ended(incident) {
            return;
        }
        self.say_of_incident(Effect::Cleared(incident), at, out);
    }
}

/// Whether somebody waits for a deadline, so far as that is known at once.
#[inline(always)]
fn is_awaited(runs: &Pages<Run>, due: Due, serial: u64) -> bool {
    let Due::Run(run) = due else { return true };
    let run = runs.get(run);
    run.owner != 0 && run.serial == serial
}

impl Sight<'_> {
    /// A span that an expression gives; `None` where it is missing or no span.
    pub fn span(&self, expression: &crate::lang::expr::Expr) -> Option<event::TimeSpan> {
        match expression.eval(self) {
            Value::Span(span) => Some(span),
            _ => None,
        }
    }

    /// A text that an expression gives.
    pub fn text(&self, expression: &crate::lang::expr::Expr) -> Option<Symbol> {
        match expression.eval(self) {
            Value::Text(symbol) => symbol.some(),
            _ => None,
        }
    }

    /// The values that a rule captures of the current event, as the `nth` (from 0) of a part.
    pub fn capture(&self, rule: &Rule, part: u8, nth: u8, course: &mut Course) {
        for (place, capture) in rule.captures.iter().enumerate() {
            if capture.part == part && capture.nth.is_none_or(|n| n == nth) {
                let value = self.field(capture.field);
                super::state::pack_into(&mut course.captures, &mut course.tags, place, value);
            }
        }
    }
}
