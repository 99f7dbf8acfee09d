//! Looking on, for a probe: what a rule sees before a step. Reads only.

use event::identity::TimedId;
use event::{EventRef, EventTime, Identity, Symbol};

use super::Engine;
use super::cells::{Course, Entry, Key, Run};
use super::findings::{EvidenceRef, Findings, HeldBy};
use super::lens::Lens;
use super::scope::{Context, Setting, Sight, key_of};
use super::sequence::Shape;
use super::site::{Conclusion, Site};
use super::steps::{FactStep, RuleStep};
use crate::condition::Condition;
use crate::explain::Words;
use crate::plan::{Emit, Pattern, RuleId};
use crate::probe::{Admission, Admitted, Look, Loss, Role, RunView, Sighting, Spoke, judge};

impl RunView {
    pub(super) fn of(run: &Run, course: Option<&Course>, pattern: &Pattern, due: i64) -> Self {
        // A sequence's run without a course waits for its second event.
        let step = u32::from(matches!(pattern, Pattern::Sequence(_)));
        Self {
            serial: run.serial,
            step: course.map_or(step, |course| course.step),
            counts: course.map_or(0, |course| course.counts),
            events: 1 + course.map_or(0, |course| course.kept + course.omitted),
            started: EventTime(run.started),
            deadline: EventTime(due),
        }
    }
}

impl Site {
    /// What a probe sees of a rule before it takes an event.
    pub(super) fn look(
        &self,
        cx: Context<'_>,
        id: RuleId,
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> Option<Box<Sighting>> {
        if !out.probe_mut()?.begins(id, self.name, Some(event.identity())) {
            return None;
        }
        let mut lens = self.lens(cx, id, event.occurred());
        let key = key_of(cx, event, &lens.rule.by);
        if key.is_none() {
            lens.no_key(event);
        }
        lens.event(event, key);
        lens.windows(event);
        Some(lens.sighting(Some(event), key.as_ref()))
    }

    /// What a probe sees of rules that an event can mean nothing to.
    pub(super) fn look_unasked(&self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        if out.probe().is_none() {
            return;
        }
        let mut asked = cx.rules_listed(event).map(|step| step.rule).peekable();
        for RuleStep { rule: id, .. } in cx.layout.interest(event.kind()).rules.all() {
            if asked.next_if_eq(id).is_none() {
                let seen = self.look(cx, *id, event, out);
                self.saw(cx, seen, out);
            }
        }
    }

    /// What it sees before a run's deadline is judged.
    pub(super) fn look_due(
        &self,
        cx: Context<'_>,
        id: RuleId,
        run: &Run,
        at: EventTime,
        out: &mut Findings,
    ) -> Option<Box<Sighting>> {
        if !out.probe_mut()?.begins(id, self.name, None) {
            return None;
        }
        let key = self.state.key(run.key_cell);
        let mut lens = self.lens(cx, id, at);
        if let Pattern::Sequence(sequence) = &lens.rule.pattern {
            lens.window(sequence, run);
        }
        Some(lens.sighting(None, Some(&key)))
    }

    /// What it sees of a level that is judged.
    pub(super) fn look_level(
        &self,
        cx: Context<'_>,
        id: RuleId,
        key: &Key,
        sight: &Sight<'_>,
        event: Option<EventRef<'_>>,
        out: &mut Findings,
    ) -> Option<Box<Sighting>> {
        if !out.probe_mut()?.begins(id, self.name, event.map(|event| event.identity())) {
            return None;
        }
        let mut lens = self.lens(cx, id, sight.now);
        lens.level(key, sight);
        Some(lens.sighting(event, Some(key)))
    }

    /// Takes what was seen, with what has become of it.
    pub(super) fn saw(&self, cx: Context<'_>, sighting: Option<Box<Sighting>>, out: &mut Findings) {
        if let (Some(sighting), Some(probe)) = (sighting, out.probe_mut()) {
            let after = self.runs_of(cx, sighting.rule);
            probe.saw(*sighting, &after);
        }
    }

    /// Every run of a rule, in the order of their beginnings. Looks at all runs of the site.
    pub(super) fn runs_of(&self, cx: Context<'_>, rule: RuleId) -> Vec<RunView> {
        let pattern = &cx.plan.rules[rule.0 as usize].pattern;
        let all = self.state.runs.indexes().map(|index| self.state.runs.get(index));
        let own = all.filter(|run| run.owner == u32::from(rule.0) + 1);
        let view = |run: &Run| {
            RunView::of(run, self.state.course(run), pattern, self.deadline_of(cx, run))
        };
        let mut runs: Vec<RunView> = own.map(view).collect();
        if cx.layout.shape(rule) == Shape::Single {
            let keys = self.state.cells().filter_map(|cell| self.state.noted_run(cell));
            let own = keys.filter(|run| run.owner == u32::from(rule.0) + 1);
            runs.extend(own.map(|run| view(&run)));
        }
        runs.sort_unstable_by_key(|run| run.serial);
        runs
    }

    /// What must hold of a session, judged.
    pub(super) fn look_session(
        &self,
        cx: Context<'_>,
        id: RuleId,
        condition: &Condition,
        sight: &Sight<'_>,
        out: &mut Findings,
    ) {
        let judged = judge(&self.lens(cx, id, sight.now).words, condition, sight);
        let look = Look {
            role: Role::Session,
            what: "the session as a whole".to_owned(),
            met: judged.holds == Some(true),
            judged: Some(judged),
            run: 0,
            note: None,
        };
        if let Some(probe) = out.probe_mut() {
            probe.looks.push(look);
        }
    }

    fn lens<'a>(&'a self, cx: Context<'a>, id: RuleId, now: EventTime) -> Lens<'a> {
        let rule = &cx.plan.rules[id.0 as usize];
        let words = Words { plan: cx.plan, interner: cx.interner, rule };
        Lens { cx, site: self, id, rule, words, now, looks: Vec::new(), cited: Vec::new() }
    }
}

/// What a fact does with an event, for the rules that read it.
impl Site {
    /// Looks at the facts that a followed event may change, before it does.
    pub(super) fn look_facts(&self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        let Some(probe) = out.probe() else { return };
        if !probe.follows(event.identity()) || cx.plan.rules.is_empty() {
            return;
        }
        let mut lens = self.lens(cx, RuleId(0), event.occurred());
        for FactStep { fact: id, .. } in cx.layout.interest(event.kind()).facts.all() {
            let fact = &cx.plan.facts[id.0 as usize];
            let key = key_of(cx, event, &fact.by);
            let mut sight = Sight::of(cx, self, event, &[]);
            if let Some(key) = &key {
                sight.value = super::scope::fact_value(cx, &self.state, *id, key, sight.now);
            }
            let role = Role::Fact(id.0);
            for trigger in fact.triggers() {
                if Lens::is_of(event, trigger) {
                    let met = lens.trigger(role, 0, trigger, &sight);
                    if let Some(look) = lens.looks.last_mut() {
                        look.what = format!("{}: {}", fact.name, look.what);
                        let missing = key.is_none().then(|| "a part of its key is missing".into());
                        look.note = missing;
                        look.met = met && key.is_some();
                    }
                }
            }
        }
        let looks = lens.looks;
        if let Some(probe) = out.probe_mut() {
            probe.facts.push((event.identity(), self.name, looks));
        }
    }
}

impl Site {
    /// That a fact or rule gives up a key at a limit.
    pub(super) fn look_lost(&self, holder: u32, key: &Key, out: &mut Findings) {
        if let Some(probe) = out.probe_mut() {
            let key = key[..3].iter().filter_map(|part| part.some()).collect();
            probe.lost(Loss { holder, site: self.name, key, at: self.now });
        }
    }

    /// That `emit: once` holds a detection back.
    pub(super) fn look_held(&self, cx: Context<'_>, of: &Conclusion<'_>, out: &mut Findings) {
        let Some(probe) = out.probe_mut() else { return };
        let Emit::Once(span) = cx.plan.rules[of.rule.0 as usize].emit else { return };
        let cell = self.state.find(cx.layout.rule(of.rule), &of.key);
        let last = cell.map_or(of.at, |cell| EventTime(self.state.keys.get(cell).aux as i64));
        let ago = of.at.since(last);
        probe.held.push(format!(
            "held back by `emit: once: {span}`: the rule spoke for this key at {last}, {ago} before"
        ));
    }
}

impl Findings {
    /// A detection, for a probe; what it is made of is followed on in it.
    pub(super) fn look_spoken(&mut self, of: &Conclusion<'_>, id: TimedId, mark: u32) {
        let cites = |probe: &crate::probe::Probe, evidence: &[EvidenceRef]| {
            evidence.iter().any(|one| probe.events.contains(&one.identity))
        };
        let Some(probe) = self.probe() else { return };
        let follows = cites(probe, self.evidence_since(mark));
        if let Some(probe) = self.probe_mut() {
            if follows {
                probe.events.insert(Identity(id.0));
            }
            probe.spoke.push(Spoke { id, rule: of.rule, event: of.event, run: of.run });
        }
    }
}

impl Findings {
    /// That a policy holds a detection back.
    pub(super) fn look_suppressed(&mut self, cx: Context<'_>, id: TimedId, by: HeldBy) {
        let Some(probe) = self.probe_mut() else { return };
        let by = match by {
            HeldBy::Inhibition(place) => {
                let policy = &cx.plan.policies.inhibit[usize::from(place)];
                format!("detected as {id}, and inhibited: {}", policy.id)
            }
            HeldBy::Chattering(husher) => {
                let rule = &cx.plan.rules[husher.0 as usize].id;
                format!("detected as {id}, and held back, since it chatters: {rule}")
            }
            HeldBy::Shelf => format!("detected as {id}, and held back: an operator has shelved it"),
            HeldBy::Flood => {
                let flood = cx.plan.held_by(by);
                format!("detected as {id}, and folded into the flood: {flood}")
            }
        };
        probe.suppressed.push((id, by));
    }
}

impl Engine {
    /// Admits an event that a probe may follow.
    pub(super) fn admit_probed(&mut self, event: EventRef<'_>, out: &mut Findings) {
        let followed = out.probe().is_some_and(|probe| probe.events.contains(&event.identity()));
        if !followed {
            return self.admit(event, out);
        }
        let source = event.source().0 as usize;
        let before = (self.books[source].duplicate, self.books[source].late);
        let (occurred, quarantined) = self.judged_time(event);
        let watermark = self.streams.watermark();
        self.admit(event, out);
        let after = (self.books[source].duplicate, self.books[source].late);
        let verdict = if after.0 > before.0 {
            Admitted::Duplicate
        } else if after.1 == before.1 {
            Admitted::InOrder
        } else if self.options.late.tier(watermark.since(occurred)).is_some() {
            Admitted::Late
        } else {
            Admitted::TooLate
        };
        let admission = Admission {
            event: EvidenceRef { occurred, ..Entry::of(event, 0).evidence() },
            kind: event.kind(),
            site: event.site(),
            watermark,
            verdict,
            retained: event.flags().has(event::EventFlags::RETAINED),
            quarantined,
        };
        if let Some(probe) = out.probe_mut() {
            probe.admissions.push(admission);
        }
    }

    /// The runs of a rule that still wait, by site.
    #[must_use]
    pub fn waiting(&self, rule: crate::plan::RuleId) -> Vec<(Symbol, RunView)> {
        let sites = self.sites.iter().map(|a| &a.site);
        let (plan, tables, interner) = (&*self.plan, &*self.tables, &*self.interner);
        let cx = &Setting { plan, layout: &self.layout, tables, interner };
        let all = sites.chain([&self.enterprise]);
        let named = |site: &Site, runs: Vec<RunView>| {
            let name = site.name;
            runs.into_iter().map(move |run| (name, run))
        };
        all.flat_map(|site| named(site, site.runs_of(cx, rule))).collect()
    }
}
