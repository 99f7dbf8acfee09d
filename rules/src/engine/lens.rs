//! One rule at one moment, as a probe sees it: each form looked at the way its step will. Reads only.

use event::{EventRef, EventTime, Symbol, TimeSpan};

use super::cells::{Course, Entry, Key, Run};
use super::findings::EvidenceRef;
use super::pages::NIL;
use super::scope::{Context, Sight, field_of, key_of, outside};
use super::sequence::may_leave;
use super::site::Site;
use super::state::{Kept, pack};
use crate::explain::Words;
use crate::plan::{
    Emit, FactKind, FieldRef, Guard, Pattern, Rule, RuleId, Runs, Sequence, Session, Trigger,
};
use crate::probe::{Cause, Look, Role, Sighting, judge, judge_expr, mention};
use crate::value::Value;

/// One rule at one moment.
pub(super) struct Lens<'a> {
    pub cx: Context<'a>,
    pub site: &'a Site,
    pub id: RuleId,
    pub rule: &'a Rule,
    pub words: Words<'a>,
    pub now: EventTime,
    pub looks: Vec<Look>,
    pub cited: Vec<EvidenceRef>,
}

impl Lens<'_> {
    pub(super) fn sighting(self, event: Option<EventRef<'_>>, key: Option<&Key>) -> Box<Sighting> {
        let parts = |key: &Key| {
            let parts = key[..self.rule.by.len().min(3)].iter();
            parts.map(|part| self.cx.interner.text(*part)).collect::<Vec<_>>().join("/")
        };
        Box::new(Sighting {
            rule: self.id,
            site: self.site.name,
            at: self.now,
            event: event.map(|event| Cause {
                evidence: Entry::of(event, 0).evidence(),
                identity: event.identity(),
                kind: event.kind(),
            }),
            key: key.map(parts),
            looks: self.looks,
            cited: self.cited,
            turns: Vec::new(),
            spoke: Vec::new(),
            held: Vec::new(),
            before: self.site.runs_of(self.cx, self.id),
        })
    }

    fn say(&mut self, role: Role, met: bool, run: u64, what: String, note: Option<String>) {
        self.looks.push(Look { role, what, met, judged: None, run, note });
    }

    /// Judges a trigger whose kind fits; whether it is met.
    pub(super) fn trigger(
        &mut self,
        role: Role,
        run: u64,
        trigger: &Trigger,
        sight: &Sight<'_>,
    ) -> bool {
        let met = sight.fits(trigger);
        let judged = trigger.condition.as_ref().map(|c| judge(&self.words, c, sight));
        let what = self.words.kinds(&trigger.kinds);
        self.looks.push(Look { role, what, met, judged, run, note: None });
        met
    }

    pub(super) fn is_of(event: EventRef<'_>, trigger: &Trigger) -> bool {
        trigger.kinds.contains(&event.kind())
    }

    /// An event without a part of the key is none of the rule's.
    pub(super) fn no_key(&mut self, event: EventRef<'_>) {
        let missing = self.rule.by.iter().filter(|f| key_of(self.cx, event, &[**f]).is_none());
        let missing: Vec<String> = missing.map(|field| self.words.field(*field)).collect();
        let what = format!("the event has no {}", missing.join(", no "));
        self.say(Role::Key, false, 0, what, None);
    }

    /// The events in the windows of the facts that the rule reads.
    pub(super) fn windows(&mut self, event: EventRef<'_>) {
        for fact in &self.rule.reads {
            let plan = &self.cx.plan.facts[fact.0 as usize];
            let (FactKind::Count { within, .. } | FactKind::Distinct { within, .. }) = &plan.kind
            else {
                continue;
            };
            let cell = key_of(self.cx, event, &plan.by)
                .and_then(|key| self.site.state.find(self.cx.layout.fact(*fact), &key));
            let Some(cell) = cell else { continue };
            let entries: Vec<Entry> =
                self.site.state.list(self.site.state.keys.get(cell).head).copied().collect();
            let inside = entries.iter().filter(|e| !outside(event.occurred(), e.time, *within));
            let events: Vec<String> = inside.map(|e| self.cite(e.evidence())).collect();
            let what = format!("{} within {within}: {}", plan.name, events.join(", "));
            self.say(Role::Fact(fact.0), true, 0, what, None);
        }
    }

    /// Mentions an event, and keeps where it stands.
    fn cite(&mut self, event: EvidenceRef) -> String {
        self.cited.push(event);
        mention(event.identity)
    }

    pub(super) fn event(&mut self, event: EventRef<'_>, key: Option<Key>) {
        let cx = self.cx;
        let sight = Sight::of(cx, self.site, event, &self.site.changed);
        match &self.rule.pattern {
            Pattern::Unless { on, guards } => self.unless(on, guards, event, &sight),
            Pattern::Event(on) => {
                let met = Self::is_of(event, on) && self.trigger(Role::On, 0, on, &sight);
                let up = key.and_then(|key| self.site.state.find(cx.layout.rule(self.id), &key));
                if met && self.rule.emit == Emit::Edge && up.is_some() {
                    let what = "it was true already, and `emit: edge` speaks when it becomes true";
                    self.say(Role::Emit, false, 0, what.to_owned(), None);
                }
            }
            Pattern::Sequence(sequence) => {
                if let Some(key) = key {
                    self.sequence(sequence, key, event, &sight);
                }
            }
            Pattern::Session(session) => {
                if let Some(key) = key {
                    self.session(session, key, event, &sight);
                }
            }
            Pattern::Passage { on, from, to, forget, forgive } => {
                if let Some(forgive) = forgive.as_ref().filter(|t| Self::is_of(event, t)) {
                    self.trigger(Role::Forgive, 0, forgive, &sight);
                }
                if Self::is_of(event, on) && self.trigger(Role::On, 0, on, &sight) {
                    let (from, to) = (sight.text(from), sight.text(to));
                    self.passage(key, from, to, *forget);
                }
            }
            Pattern::Travel { on, place, min_time } => {
                if Self::is_of(event, on) && self.trigger(Role::On, 0, on, &sight) {
                    let here = field_of(cx, event, *place);
                    self.travel(key, *place, here, min_time, &sight);
                }
            }
            Pattern::Watch { .. } => {}
        }
    }

    fn sequence(&mut self, of: &Sequence, key: Key, event: EventRef<'_>, sight: &Sight<'_>) {
        let state = &self.site.state;
        let cell = state.find(self.cx.layout.rule(self.id), &key);
        let runs = cell.map_or(Vec::new(), |cell| state.runs_at(cell));
        let waiting = runs.first().copied();
        for run in runs {
            if outside(self.now, run.started, of.within) {
                self.window(of, &run);
                continue;
            }
            let course = self.site.course_of(&run);
            let here = course.step as usize;
            let mut furthest = here;
            while may_leave(&of.steps[furthest], if furthest == here { course.counts } else { 0 })
                && furthest + 1 < of.steps.len()
            {
                furthest += 1;
            }
            let sight = sight.now_with(&course);
            for number in here..=furthest {
                self.step(of, number, run.serial, event, &sight);
            }
            let ends = of.steps[here..=furthest].iter().flat_map(|step| &step.without);
            for ends in ends.chain(&of.without).chain(&of.strict) {
                if Self::is_of(event, ends) {
                    self.trigger(Role::Ends, run.serial, ends, &sight);
                }
            }
        }
        self.start(of, key, event, sight, waiting);
        if let Some(lead) = of.lead.as_ref().filter(|lead| Self::is_of(event, &lead.on)) {
            self.trigger(Role::Lead, 0, &lead.on, sight);
        }
    }

    fn step(
        &mut self,
        of: &Sequence,
        number: usize,
        run: u64,
        event: EventRef<'_>,
        sight: &Sight<'_>,
    ) {
        for (place, part) in of.steps[number].parts.iter().enumerate() {
            let role = Role::Step(number as u8, place as u8);
            if Self::is_of(event, &part.on) {
                self.trigger(role, run, &part.on, sight);
            } else {
                let what = self.words.kinds(&part.on.kinds);
                self.say(role, false, run, what, Some("the event is of another kind".to_owned()));
            }
        }
    }

    /// Whether an event could start a run, and what keeps it from that.
    fn start(
        &mut self,
        of: &Sequence,
        key: Key,
        event: EventRef<'_>,
        sight: &Sight<'_>,
        waiting: Option<Run>,
    ) {
        let first = &of.steps[0];
        if !first.parts.iter().any(|part| Self::is_of(event, &part.on)) {
            if waiting.is_none() {
                let what = self.words.step(first);
                let note = "no run of this key was waiting, and the event starts none";
                self.say(Role::Step(0, 0), false, 0, what, Some(note.to_owned()));
            }
            return;
        }
        let fits = first.parts.iter().any(|part| sight.fits(&part.on));
        self.step(of, 0, 0, event, sight);
        if !fits {
            return;
        }
        let state = &self.site.state;
        let matched = state.find(self.cx.layout.rule(self.id), &key);
        let matched = matched.is_some_and(|cell| state.value(cell) == Value::Bool(true));
        match (of.runs, waiting) {
            (Runs::First | Runs::Once, Some(run)) => {
                let first = self.cite(run.opening());
                let since = EventTime(run.started);
                let what = format!("a run waited already since {since}, begun by {first}");
                self.say(Role::Runs, false, 0, what, None);
            }
            (Runs::Once, None) if matched => {
                let what = "`runs: once`, and a run of this key has matched before".to_owned();
                self.say(Role::Runs, false, 0, what, None);
            }
            _ => {}
        }
        let Some(lead) = &of.lead else { return };
        let seen = state.find(self.cx.layout.memory_of(self.id), &key);
        let since = seen.map_or(self.site.began.0, |cell| state.keys.get(cell).time);
        if !outside(self.now, since, lead.span) {
            let kinds = self.words.kinds(&lead.on.kinds);
            let since = EventTime(since);
            let what = match seen {
                Some(_) => format!("{kinds} came at {since}, {} before", self.now.since(since)),
                None => format!("nothing is known from before {since}"),
            };
            let note = format!("it must be absent for {}", lead.span);
            self.say(Role::Lead, false, 0, what, Some(note));
        }
    }

    /// That a run's window has closed, where it has.
    pub(super) fn window(&mut self, of: &Sequence, run: &Run) {
        let started = EventTime(run.started);
        if outside(self.now, run.started, of.within) {
            let ended = started.plus(of.within);
            let what = format!(
                "the window of {} since {started} closed at {ended}, {} before",
                of.within,
                self.now.since(ended)
            );
            self.say(Role::Window, false, run.serial, what, None);
        }
    }

    fn unless(&mut self, on: &Trigger, guards: &[Guard], event: EventRef<'_>, sight: &Sight<'_>) {
        for (number, guard) in guards.iter().enumerate() {
            if guard.to > TimeSpan::ZERO && guard.kinds.contains(&event.kind()) {
                self.excuses_after(number, guard, event, sight);
            }
        }
        if Self::is_of(event, on) && self.trigger(Role::On, 0, on, sight) {
            for (number, guard) in guards.iter().enumerate() {
                if guard.from < TimeSpan::ZERO {
                    self.excuses_before(number, guard, event, sight);
                }
            }
        }
    }

    /// The runs for which an event could be an excuse.
    fn excuses_after(
        &mut self,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
        sight: &Sight<'_>,
    ) {
        let Some(key) = key_of(self.cx, event, &guard.same) else { return };
        let owner = self.cx.layout.guard_waiting(self.id, number);
        let state = &self.site.state;
        let Some(cell) = state.find(owner, &key) else { return };
        let runs: Vec<Run> = match self.cx.layout.prepared.rule(self.id).guard {
            Some(_) => state.runs_at(cell),
            None => {
                let entries = state.list(state.keys.get(cell).head);
                let waiting = entries.filter_map(|entry| self.site.waiting_run(entry));
                waiting.map(|run| *state.runs.get(run)).collect()
            }
        };
        for run in runs {
            let inside = !outside(event.occurred(), run.started, guard.to);
            let course = self.site.state.course(&run).copied();
            let course = course.unwrap_or_else(|| Course::at(0, run.started));
            let sight = sight.now_with(&course);
            let judged = guard.forward.as_ref().map(|c| judge(&self.words, c, &sight));
            let holds = judged.as_ref().is_none_or(|judged| judged.holds == Some(true));
            let after = event.occurred().since(EventTime(run.started));
            let note = if inside {
                format!("{after} after")
            } else {
                format!("{after} after, outside: to {}", guard.to)
            };
            let excuse = self.cite(Entry::of(event, 0).evidence());
            self.looks.push(Look {
                role: Role::Guard(number as u8),
                what: format!("{}, {excuse}", self.words.kinds(&guard.kinds)),
                met: inside && holds,
                judged,
                run: run.serial,
                note: Some(note),
            });
        }
    }

    /// What came before an opening event, and may excuse it.
    fn excuses_before(
        &mut self,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
        sight: &Sight<'_>,
    ) {
        let Some(key) = key_of(self.cx, event, &guard.same) else { return };
        let owner = self.cx.layout.guard_history(self.id, number);
        let state = &self.site.state;
        let Some(cell) = state.find(owner, &key) else { return };
        let entries: Vec<_> = state.list(state.keys.get(cell).head).copied().collect();
        for entry in entries {
            let before = event.occurred().since(EventTime(entry.time));
            let inside = !outside(event.occurred(), entry.time, guard.from.negated());
            let sight = Sight::of(self.cx, self.site, event, sight.changed).with(entry.kept());
            let judged = guard.backward.as_ref().map(|c| judge(&self.words, c, &sight));
            let holds = judged.as_ref().is_none_or(|judged| judged.holds == Some(true));
            let outside = if inside { "" } else { ", outside" };
            let excuse = self.cite(entry.evidence());
            self.looks.push(Look {
                role: Role::Guard(number as u8),
                what: format!("{}, {excuse}", self.words.kinds(&guard.kinds)),
                met: inside && holds,
                judged,
                run: 0,
                note: Some(format!("{before} before{outside}: from {}", guard.from)),
            });
        }
    }

    fn session(&mut self, of: &Session, key: Key, event: EventRef<'_>, sight: &Sight<'_>) {
        let state = &self.site.state;
        let cell = state.find(self.cx.layout.rule(self.id), &key);
        let head = cell.map_or(NIL, |cell| state.keys.get(cell).head);
        let run = (head != NIL).then(|| *state.runs.get(head));
        let serial = run.map_or(0, |run| run.serial);
        if Self::is_of(event, &of.open) {
            let met = self.trigger(Role::Opens, serial, &of.open, sight);
            if let (true, Some(run)) =
                (met, run.filter(|run| state.course(run).is_none_or(|course| course.step == 0)))
            {
                let what = format!("a session was open already since {}", EventTime(run.started));
                self.say(Role::Runs, false, serial, what, None);
            }
        }
        if Self::is_of(event, &of.close) {
            let met = self.trigger(Role::Closes, serial, &of.close, sight);
            if met && run.is_none() && !of.orphans {
                let what = "no session of this key was open".to_owned();
                self.say(Role::Runs, false, 0, what, None);
            }
        }
        for (number, (_, aggregate)) in of.aggregates.iter().enumerate() {
            if Self::is_of(event, &aggregate.on) {
                self.trigger(Role::Counts(number as u8), serial, &aggregate.on, sight);
            }
        }
    }

    fn last_place(&self, key: Option<Key>) -> Option<(Symbol, EventTime)> {
        let state = &self.site.state;
        let cell = state.find(self.cx.layout.rule(self.id), &key?)?;
        match state.value(cell) {
            Value::Text(place) => Some((place, EventTime(state.keys.get(cell).time))),
            _ => None,
        }
    }

    fn named(&self, symbol: Option<Symbol>) -> String {
        symbol.map_or("unknown".to_owned(), |s| format!("'{}'", self.cx.interner.text(s)))
    }

    fn passage(
        &mut self,
        key: Option<Key>,
        from: Option<Symbol>,
        to: Option<Symbol>,
        forget: TimeSpan,
    ) {
        let way = format!("from {} to {}", self.named(from), self.named(to));
        let last = self.last_place(key);
        let (met, note) = match last {
            _ if to.is_none() => (false, "where it leads to is unknown".to_owned()),
            None => (false, "where it was before is not known".to_owned()),
            Some((_, at)) if outside(self.now, at.0, forget) => {
                (false, format!("it was seen last at {at}, and forgotten after {forget}"))
            }
            Some((area, at)) => {
                let to = to.unwrap_or(Symbol::NONE);
                let met = from.map_or(area == to, |from| area != from);
                (met, format!("it was in {} since {at}", self.named(Some(area))))
            }
        };
        self.say(Role::Place, met, 0, way, Some(note));
    }

    fn travel(
        &mut self,
        key: Option<Key>,
        place: FieldRef,
        here: Value,
        min_time: &crate::lang::expr::Expr,
        sight: &Sight<'_>,
    ) {
        let field = self.words.field(place);
        let Value::Text(here) = here else {
            return self.say(Role::Place, false, 0, format!("{field} is missing"), None);
        };
        let Some((there, at)) = self.last_place(key) else {
            let what = "it was not seen before".to_owned();
            return self.say(Role::Place, false, 0, what, None);
        };
        let (word, tag) = pack(Value::Text(there));
        let captured = Kept { words: &[word], tags: u64::from(tag) };
        let sight = Sight { captured, ..*sight };
        let least = sight.span(min_time);
        let took = self.now.since(at);
        let met = there != here && least.is_some_and(|least| took < least);
        let what = format!(
            "{field} {}, after {} at {at}",
            self.named(Some(here)),
            self.named(Some(there))
        );
        let note = match least {
            _ if there == here => "the same place".to_owned(),
            Some(least) => format!("{took} between; the least is {least}"),
            None => "the least time is missing".to_owned(),
        };
        self.say(Role::Place, met, 0, what, Some(note));
    }

    pub(super) fn level(&mut self, key: &Key, sight: &Sight<'_>) {
        let Pattern::Watch { fact, condition, hold, .. } = &self.rule.pattern else { return };
        let judged = judge(&self.words, condition, sight);
        let holds = judged.holds == Some(true);
        let state = &self.site.state;
        let cell = state.find(self.cx.layout.rule(self.id), key);
        let up = cell.is_some_and(|cell| state.value(cell) == Value::Bool(true));
        let name = &self.cx.plan.facts[fact.0 as usize].name;
        let what = format!("the level {name} = {}", self.words.shown(sight.value));
        let note = up.then(|| "it was up already".to_owned());
        let look = Look { role: Role::Level, what, met: holds, judged: Some(judged), run: 0, note };
        self.looks.push(look);
        if holds && up {
            let what = "the level was up already, and is told once".to_owned();
            self.say(Role::Emit, false, 0, what, None);
        }
        if let (true, false, Some(hold)) = (holds, up, hold) {
            let span = judge_expr(&self.words, hold, sight);
            if sight.span(hold).is_none() {
                let what = format!("how long it must last is missing: {}", span.text);
                self.say(Role::Window, false, 0, what, None);
            }
        }
    }
}
