//! INV-BOUND: what a site gives up at a limit, in which order, counted and told.
//!
//! Nothing is given up in the middle of a step: whoever grows over a limit is noted, and the site
//! settles once the event has been judged. So a limit is passed by what one event adds at most, and
//! no step has its state pulled from under it.

use event::identity::Digest;
use event::vocabulary::KIND_LIMIT_REACHED;
use event::{EventFlags, EventTime, Identity, Position, SourceId, StreamId, Symbol, TimeSpan};

use super::cells::KeyCell;
use super::facts::drain;
use super::findings::Findings;
use super::holdings::Over;
use super::pages::NIL;
use super::scope::{Changed, Context, fact_value};
use super::site::Site;
use crate::limits::FULLEST_TURN;
use crate::plan::{FactId, Pattern, RuleId};

/// What is given up, in the order of [`super::holdings::Holding::gave`].
const WHAT: [&str; 3] = ["keys", "runs", "events"];

/// That a fact or rule gives up is told once in so long a time.
const TELL_EVERY: TimeSpan = TimeSpan::from_secs(3_600);

/// Who gives up for the site, and how often before that is looked up anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// The holder.
    pub holder: u32,
    /// Times left.
    pub left: u32,
}

/// The owner of a cell, taken apart.
enum Owned {
    Fact(FactId),
    Rule(RuleId),
    /// What a rule remembers beside its runs, or what points at incidents.
    Other,
}

fn owned(cx: Context<'_>, cell: &KeyCell) -> Owned {
    let (facts, rules) = (cx.plan.facts.len(), cx.plan.rules.len());
    match cell.owner as usize - 1 {
        owner if owner < facts => Owned::Fact(FactId(owner as u16)),
        owner if owner < facts + rules => Owned::Rule(RuleId((owner - facts) as u16)),
        _ => Owned::Other,
    }
}

impl Site {
    /// Lets what was detected be heard, gives up what has grown over a limit, and says so to those that
    /// hear it. Whoever has something to be heard leaves no room: then all that may be is looked at.
    #[inline]
    pub(super) fn settle(&mut self, cx: Context<'_>, out: &mut Findings) {
        if self.state.room < 0 {
            self.settle_grown(cx, out);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_grown(&mut self, cx: Context<'_>, out: &mut Findings) {
        if !self.state.over.is_empty() || !self.is_heard_out() || self.room() < 0 {
            self.settle_all(cx, out);
        }
        self.state.room = self.room();
    }

    /// How many keys, runs or events there may be more, whichever are the fewest; less than none where there
    /// are too many.
    fn room(&self) -> i64 {
        let live = [self.state.held(), self.state.waiting(), self.state.entries.live()];
        let rooms = live.into_iter().zip(self.most).map(|(live, most)| most as i64 - live as i64);
        rooms.min().unwrap_or_default()
    }

    fn settle_all(&mut self, cx: Context<'_>, out: &mut Findings) {
        self.hear(cx, out);
        loop {
            while let Some(over) = self.state.over.pop() {
                self.relieve(cx, over, out);
            }
            let live = [self.state.held(), self.state.waiting(), self.state.entries.live()];
            if let Some(what) = (0..3).find(|what| live[*what] > self.most[*what])
                && self.relieve_site(cx, what, out)
            {
                continue;
            }
            if self.is_heard_out() {
                return;
            }
            self.hear(cx, out);
        }
    }

    fn relieve(&mut self, cx: Context<'_>, over: Over, out: &mut Findings) {
        let (Over::Keys(holder) | Over::Runs(holder) | Over::Events(holder, _)) = over;
        let (holding, limits) = (self.state.holdings.get(holder), self.state.bounds.limits(holder));
        // What has grown may have shrunk since.
        let (what, stays) = match over {
            Over::Keys(_) => (0, holding.keys <= limits.keys),
            Over::Runs(_) => (1, holding.runs <= limits.runs),
            Over::Events(_, cell) => {
                let cell = self.state.keys.get(cell);
                let gone = cell.owner == 0 || self.state.bounds.holder(cell.owner()) != holder;
                (2, gone || cell.events() <= limits.events)
            }
        };
        if stays {
            return;
        }
        self.give_up(cx, holder, what, |site| match over {
            Over::Keys(_) => site.give_up_key(cx, holder, out),
            Over::Runs(_) => site.give_up_run(holder),
            Over::Events(_, cell) => site.give_up_event(cx, cell, out),
        });
    }

    /// The site is full: whoever holds the most gives up. Whether anybody could.
    fn relieve_site(&mut self, cx: Context<'_>, what: usize, out: &mut Findings) -> bool {
        let Some(holder) = self.fullest(what) else { return false };
        let runs = self.state.holdings.get(holder).runs;
        self.give_up(cx, holder, what, |site| match what {
            0 => site.give_up_key(cx, holder, out),
            _ if runs > 0 => site.give_up_run(holder),
            _ => site.give_up_key(cx, holder, out),
        });
        true
    }

    /// Who holds the most; the first of the rulebook among equals.
    fn fullest(&mut self, what: usize) -> Option<u32> {
        let (holdings, bounds) = (&self.state.holdings, &self.state.bounds);
        let held = |holder: u32| holdings.get(holder).held()[what];
        let turn = &mut self.turns[what];
        if turn.left == 0 || held(turn.holder) == 0 {
            let all = (0..bounds.holders()).filter(|h| bounds.limits(*h).keys < u32::MAX);
            let most = all.max_by_key(|holder| (held(*holder), std::cmp::Reverse(*holder)))?;
            *turn = Turn { holder: most, left: FULLEST_TURN };
        }
        turn.left -= 1;
        (held(turn.holder) > 0).then_some(turn.holder)
    }

    /// Counts what a holder gives up, and tells it.
    fn give_up(&mut self, cx: Context<'_>, holder: u32, what: usize, by: impl FnOnce(&mut Self)) {
        let before = self.state.holdings.get(holder).held();
        by(self);
        let holding = self.state.holdings.get_mut(holder);
        let after = holding.held();
        assert!(after != before, "INV-BOUND: who must give up does");
        for (gave, (before, after)) in holding.gave.iter_mut().zip(before.into_iter().zip(after)) {
            *gave += u64::from(before.saturating_sub(after));
        }
        self.tell_given_up(cx, holder, what);
    }

    /// Gives up a holder's oldest key, with all that hangs on it.
    fn give_up_key(&mut self, cx: Context<'_>, holder: u32, out: &mut Findings) {
        let Some(mut cell) = self.state.oldest_key(holder) else { return };
        let held = *self.state.keys.get(cell);
        let key = self.state.key(cell);
        self.look_lost(holder, &key, out);
        match owned(cx, &held) {
            Owned::Fact(fact) => {
                // A cell of one counted value goes with the count.
                let [a, b, c, _] = key;
                let whole = self.state.find(held.owner(), &[a, b, c, Symbol::NONE]);
                cell = whole.unwrap_or(cell);
                self.lose_fact(cx, fact, cell, out, |site| {
                    drain(cx, &mut site.state, fact, cell);
                    site.state.remove(cell);
                });
            }
            Owned::Rule(rule) => {
                match &cx.plan.rules[rule.0 as usize].pattern {
                    Pattern::Event(_) => {}
                    Pattern::Passage { .. } | Pattern::Travel { .. } => {
                        self.state.keys.get_mut(cell).forget_noted();
                    }
                    Pattern::Watch { .. } => {
                        self.drop_runs(cell);
                        self.let_incident_go(cx, rule, cell);
                        self.state.levels_stand = false;
                    }
                    Pattern::Sequence(_) if held.is_run() => self.state.forget_run(cell),
                    Pattern::Sequence(_) | Pattern::Unless { .. } | Pattern::Session(_) => {
                        self.drop_runs(cell);
                    }
                }
                self.state.remove(cell);
            }
            Owned::Other => {
                self.drain_events(cell);
                self.state.remove(cell);
            }
        }
    }

    fn drain_events(&mut self, cell: u32) {
        while self.state.pop_front(cell).is_some() {}
    }

    /// Gives up the run of a rule that started first: the first of its key.
    fn give_up_run(&mut self, holder: u32) {
        let Some(run) = self.state.first_run(holder) else {
            // The rule's keys are its runs.
            let Some(oldest) = self.state.first_key(holder) else { return };
            self.state.forget_run(oldest);
            return self.state.remove(oldest);
        };
        let cell = self.state.runs.get(run).key_cell;
        self.unlink_run(run);
        self.drop_if_idle(cell);
    }

    /// Gives up the oldest event of the list that has grown: a flood of one key costs no other.
    fn give_up_event(&mut self, cx: Context<'_>, cell: u32, out: &mut Findings) {
        match owned(cx, self.state.keys.get(cell)) {
            Owned::Fact(fact) => self.lose_fact(cx, fact, cell, out, |site| {
                super::facts::drop_first(cx, &mut site.state, fact, cell);
            }),
            Owned::Rule(_) | Owned::Other => drop(self.state.pop_front(cell)),
        }
    }

    /// Takes from a fact what it can hold no longer. Levels over it and counts of it follow, and
    /// nobody is told that they rose or fell: it is not known.
    fn lose_fact(
        &mut self,
        cx: Context<'_>,
        fact: FactId,
        cell: u32,
        out: &mut Findings,
        lose: impl FnOnce(&mut Self),
    ) {
        let key = self.state.key(cell);
        let before = fact_value(cx, &self.state, fact, &key, self.now);
        let set = self.state.value(cell);
        lose(self);
        self.changed.clear();
        let from = (before == set).then_some(before);
        self.note_change(cx, Changed { fact, key, before, cell: NIL }, (from, None));
        self.follow_loss(cx, out);
    }

    /// Makes it an event of the site that a fact or rule has given something up, once in a while.
    fn tell_given_up(&mut self, cx: Context<'_>, holder: u32, what: usize) {
        let now = self.now;
        let holding = self.state.holdings.get(holder);
        if now == EventTime::MAX || holding.told > now.minus(TELL_EVERY).0 {
            return;
        }
        self.state.holdings.get_mut(holder).told = now.0;
        if !cx.layout.needs(KIND_LIMIT_REACHED) {
            return;
        }
        let (facts, number) = (cx.plan.facts.len(), holder as usize);
        let fact = cx.plan.facts.get(number).map(|fact| fact.name.as_str());
        let rule = || cx.plan.rules.get(number - facts).map(|rule| rule.id.as_str());
        let name = fact.or_else(rule).unwrap_or("incidents");
        let identity = Digest::default()
            .part(b"limit")
            .part(name.as_bytes())
            .part(WHAT[what].as_bytes())
            .number(cx.interner.digest(self.name))
            .number(now.0 as u128);
        let site = self.name;
        let mut row = self.heard_next().push();
        row.times(now, now);
        row.class(KIND_LIMIT_REACHED, EventFlags::default(), StreamId(0), SourceId(0));
        row.identity(Identity(identity.finish()));
        row.position(Position::NONE, 0);
        row.place(site, Symbol::NONE);
        for (field, text) in [("rule", name), ("limit", WHAT[what])] {
            let field = cx.plan.vocabulary.field_named(field);
            if let (Some(field), Some(text)) = (field, cx.interner.intern(text)) {
                row.text(field, text);
            }
        }
    }
}
