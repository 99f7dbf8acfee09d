//! What each fact and rule of a plan means, as a number: the same in two plans where nothing that
//! decides about its state differs, whatever stands around it and in whatever order.
//!
//! Ids are resolved to names, and what it reads goes in: a rule over a fact that was changed is
//! another rule. Every part is named without `..`, so that a new one does not compile before it is
//! decided whether state depends on it.

use event::model::Table;
use event::{Digest, FieldId, Interner, KindId, TimeSpan};

use crate::calendar::{Schedule, ScheduleId, Window};
use crate::lang::expr::Expr;
use crate::plan::{
    Aggregate, Capture, Entity, Fact, FactId, FactKind, FieldRef, Guard, Lead, Mode, Part, Pattern,
    Plan, Rule, Sequence, Session, Step, TallyPart, Trigger, Whose,
};
use crate::value::Value;

/// Numbers by fact and by rule.
#[derive(Debug)]
pub struct Meanings {
    /// By [`FactId`]. A fact's name is no part of it.
    pub facts: Vec<u128>,
    /// By [`RuleId`]. A rule's id is a part of it: detections carry it.
    pub rules: Vec<u128>,
}

/// What others read: a fact's number; behind the facts, a rule's.
type Item = usize;

impl Meanings {
    /// Of a whole plan.
    #[must_use]
    pub fn of(plan: &Plan, interner: &Interner) -> Self {
        let facts = plan.facts.iter().map(|fact| {
            let mut writer = Writer::new(plan, interner);
            writer.fact(fact);
            writer
        });
        let rules = plan.rules.iter().map(|rule| {
            let mut writer = Writer::new(plan, interner);
            writer.rule(rule);
            writer
        });
        let own: Vec<(u128, Vec<Item>)> =
            facts.chain(rules).map(|w| (Digest::of(&w.bytes), w.reads)).collect();
        let mut whole: Vec<u128> = (0..own.len()).map(|item| closed(&own, item)).collect();
        // Which of those it reads stands where: a few rounds tell any two apart that differ.
        for _ in 0..ROUNDS {
            whole = own.iter().map(|(own, reads)| in_order(*own, reads, &whole)).collect();
        }
        let (facts, rules) = whole.split_at(plan.facts.len());
        Self { facts: facts.to_vec(), rules: rules.to_vec() }
    }
}

/// Facts and rules read one another this deep and no deeper in any rulebook seen; what is deeper
/// still goes in, its order does not.
const ROUNDS: usize = 8;

fn in_order(own: u128, reads: &[Item], known: &[u128]) -> u128 {
    reads.iter().fold(Digest::default().number(own), |d, item| d.number(known[*item])).finish()
}

/// An item with all that it reads, and they: items may read one another.
fn closed(own: &[(u128, Vec<Item>)], item: Item) -> u128 {
    let mut known = vec![false; own.len()];
    known[item] = true;
    let mut reached = vec![item];
    let mut place = 0;
    while let Some(next) = reached.get(place) {
        let mut new = Vec::new();
        for other in &own[*next].1 {
            if !std::mem::replace(&mut known[*other], true) {
                new.push(*other);
            }
        }
        reached.append(&mut new);
        place += 1;
    }
    let mut others: Vec<u128> = reached[1..].iter().map(|other| own[*other].0).collect();
    others.sort_unstable();
    others.iter().fold(Digest::default().number(own[item].0), |d, n| d.number(*n)).finish()
}

/// Writes one part in names.
struct Writer<'a> {
    plan: &'a Plan,
    interner: &'a Interner,
    bytes: Vec<u8>,
    reads: Vec<Item>,
}

impl<'a> Writer<'a> {
    fn new(plan: &'a Plan, interner: &'a Interner) -> Self {
        Self { plan, interner, bytes: Vec::new(), reads: Vec::new() }
    }

    fn word(&mut self, word: &str) {
        self.bytes.extend_from_slice(&(word.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(word.as_bytes());
    }

    /// What holds no id of any kind.
    fn plain(&mut self, value: impl std::fmt::Debug) {
        self.word(&format!("{value:?}"));
    }

    fn span(&mut self, span: TimeSpan) {
        self.plain(span.0);
    }

    fn each<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.plain(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn maybe<T>(&mut self, item: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.plain(item.is_some());
        if let Some(item) = item {
            write(self, item);
        }
    }

    /// A fact that is read: what it means goes in behind, in this order; its name does not.
    fn reads_fact(&mut self, fact: FactId) {
        self.word("fact");
        self.reads.push(fact.0 as usize);
    }

    fn kind(&mut self, kind: KindId) {
        let kinds = self.plan.vocabulary.kinds();
        match kinds.get(kind.0 as usize) {
            Some(kind) => self.word(&kind.name),
            None => {
                let rule = kind.0 as usize - kinds.len();
                self.word("detection");
                self.word(&self.plan.rules[rule].id);
                self.reads.push(self.plan.facts.len() + rule);
            }
        }
    }

    fn slot(&mut self, id: FieldId) {
        self.word(&self.plan.vocabulary.field(id).name);
    }

    fn table(&mut self, table: u16) -> &'a Table {
        let table = &self.plan.model.tables[table as usize];
        self.word(&table.name);
        table
    }

    fn column(&mut self, table: u16, column: u16) {
        let table = self.table(table);
        self.plain(&table.columns[column as usize]);
    }

    fn field(&mut self, field: FieldRef) {
        match field {
            FieldRef::Slot(id, ty) => {
                self.slot(id);
                self.plain(ty);
            }
            FieldRef::Site => self.word(".site"),
            FieldRef::Device => self.word(".device"),
            FieldRef::Kind => self.word(".kind"),
            FieldRef::Time => self.word(".time"),
            FieldRef::Recorded => self.word(".recorded"),
            FieldRef::Quarantined => self.word(".quarantined"),
            FieldRef::Joined { of, table, column } => {
                self.word(".joined");
                match of {
                    Entity::Slot(id) => self.slot(id),
                    Entity::Device => self.word(".device"),
                    Entity::Site => self.word(".site"),
                }
                self.column(table, column);
            }
        }
    }

    fn fields(&mut self, fields: &[FieldRef]) {
        self.each(fields, |w, field| w.field(*field));
    }

    fn value(&mut self, value: Value) {
        match value {
            Value::Text(symbol) => {
                self.word("text");
                self.word(self.interner.text(symbol));
            }
            Value::List { table, row, column } => {
                self.column(table, column);
                self.word(self.interner.text(row));
            }
            Value::Missing
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Time(_)
            | Value::Span(_) => self.plain(value),
        }
    }

    fn schedule(&mut self, id: ScheduleId) {
        let calendar = &self.plan.calendar;
        let Schedule { name, windows } = &calendar.schedules[id.0 as usize];
        self.word(name);
        self.each(windows, |w, Window { days, from, to, holidays }| {
            w.plain((days, from, to, holidays));
        });
        self.plain(&calendar.holidays);
        let zones = calendar.zones_by_name.iter();
        let zones: Vec<_> = zones.map(|(site, zone)| (site, zone.iana_name())).collect();
        self.plain(zones);
    }

    fn trigger(&mut self, Trigger { kinds, condition }: &Trigger) {
        self.kinds(kinds);
        self.maybe(condition.as_deref(), Self::expr);
    }

    fn kinds(&mut self, kinds: &[KindId]) {
        self.each(kinds, |w, kind| w.kind(*kind));
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Constant(value) => self.value(*value),
            Expr::Field(field) => self.field(*field),
            Expr::Captured(index) => self.plain(("captured", index)),
            Expr::Fact(fact) => self.reads_fact(*fact),
            Expr::FactAt(fact, _) => {
                self.word("fact at");
                self.reads_fact(*fact);
            }
            Expr::Previous(fact) => {
                self.word("prev");
                self.reads_fact(*fact);
            }
            Expr::Watched => self.word("value"),
            Expr::Session(field) => self.plain(("session", field)),
            Expr::Schedule(schedule) => {
                self.word("schedule");
                self.schedule(*schedule);
            }
            Expr::Column(table, column, _) => {
                self.word("column");
                self.column(*table, *column);
            }
            Expr::HasRow(table, _) => {
                self.word("row of");
                self.table(*table);
            }
            Expr::HasInteger(table, _) => {
                self.word("integer of");
                self.table(*table);
            }
            Expr::OneOf(_, values) => {
                self.word("one of");
                self.each(values, |w, value| w.value(*value));
            }
            Expr::InList(..) => self.word("in"),
            Expr::Has(_) => self.word("has"),
            Expr::Holds(_) => self.word("holds"),
            Expr::Not(_) => self.word("!"),
            Expr::Negate(_) => self.word("-"),
            Expr::And(..) => self.word("&&"),
            Expr::Or(..) => self.word("||"),
            Expr::Compare(operator, ..) | Expr::Arithmetic(operator, ..) => self.plain(operator),
            Expr::If(..) => self.word("?"),
            Expr::Text(test, ..) => self.plain(test),
            Expr::Size(_) => self.word("size"),
            Expr::Absolute(_) => self.word("abs"),
            Expr::Distance(_) => self.word("distance_km"),
            Expr::Container(_) => self.word("iso6346"),
        }
        let operands = expr.operands();
        self.plain(operands.len());
        operands.into_iter().for_each(|operand| self.expr(operand));
    }

    fn fact(&mut self, fact: &Fact) {
        let Fact { name: _, scope, by, kind, reads, reset, limits: _, whose } = fact;
        self.plain(scope);
        self.fields(by);
        reads.iter().for_each(|fact| self.reads_fact(*fact));
        self.maybe(reset.as_ref(), Self::trigger);
        match kind {
            FactKind::Count { on, within } => {
                self.word("count");
                self.counted(on, whose.as_ref());
                self.span(*within);
            }
            FactKind::Distinct { on, of, within } => {
                self.word("distinct");
                self.counted(on, whose.as_ref());
                self.field(*of);
                self.span(*within);
            }
            FactKind::Balance { up, down } => {
                self.word("balance");
                self.trigger(up);
                self.trigger(down);
            }
            FactKind::Set { on, init, ttl } => {
                self.word("set");
                self.each(on, |w, (trigger, value)| {
                    w.trigger(trigger);
                    w.expr(value);
                });
                self.value(*init);
                self.plain(ttl);
            }
            FactKind::Tally { of, parts, condition } => {
                self.word("tally");
                self.reads_fact(*of);
                self.each(parts, |w, part| match part {
                    TallyPart::Key(field) => w.field(*field),
                    TallyPart::Value => w.word("value"),
                });
                self.maybe(condition.as_deref(), Self::expr);
            }
        }
    }

    /// What a window counts. Which keys it is kept for is said by the rules that share it.
    fn counted(&mut self, on: &Trigger, whose: Option<&Whose>) {
        let Some(Whose { field, values: _, rest }) = whose else { return self.trigger(on) };
        self.word("whose");
        self.kinds(&on.kinds);
        self.field(*field);
        self.maybe(rest.as_deref(), Self::expr);
    }

    fn rule(&mut self, rule: &Rule) {
        // What is said of a detection may change at any time; what is remembered does not hang on it.
        let Rule {
            id,
            title: _,
            severity: _,
            mode,
            scope,
            by,
            pattern,
            emit,
            late: _,
            captures,
            evidence_of: _,
            evidence_max: _,
            limits: _,
            why: _,
            reads,
            schedules: _,
            grouping: _,
            life_safety: _,
            verification: _,
            quiet,
            risk: _,
            control: _,
            procedure: _,
        } = rule;
        self.word(id);
        // A rule that was off has seen nothing.
        self.plain(*mode == Mode::Off);
        self.plain((scope, emit, quiet.is_some()));
        self.fields(by);
        reads.iter().for_each(|fact| self.reads_fact(*fact));
        self.each(captures, |w, Capture { part, nth, field }| {
            w.plain((part, nth));
            w.field(*field);
        });
        self.pattern(pattern);
    }

    fn pattern(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Event(on) => {
                self.word("event");
                self.trigger(on);
            }
            Pattern::Sequence(sequence) => self.sequence(sequence),
            Pattern::Unless { on, guards } => {
                self.word("unless");
                self.trigger(on);
                self.each(guards, Self::guard);
            }
            Pattern::Watch { fact, condition, hold, triggers: _, clears } => {
                self.word("watch");
                self.reads_fact(*fact);
                self.expr(condition);
                self.maybe(hold.as_ref(), Self::expr);
                self.plain(clears);
            }
            Pattern::Session(session) => self.session(session),
            Pattern::Passage { on, from, to, forget, forgive } => {
                self.word("passage");
                self.trigger(on);
                self.expr(from);
                self.expr(to);
                self.span(*forget);
                self.maybe(forgive.as_ref(), Self::trigger);
            }
            Pattern::Travel { on, place, min_time } => {
                self.word("travel");
                self.trigger(on);
                self.field(*place);
                self.expr(min_time);
            }
        }
    }

    fn sequence(&mut self, sequence: &Sequence) {
        let Sequence { lead, steps, within, without, strict, runs, skip } = sequence;
        self.word("sequence");
        self.maybe(lead.as_ref(), |w, Lead { on, span }| {
            w.trigger(on);
            w.span(*span);
        });
        self.each(steps, |w, Step { parts, join, least, most, without }| {
            w.each(parts, |w, Part { number, on, absent }| {
                w.plain(number);
                w.trigger(on);
                w.maybe(absent.as_ref(), Self::expr);
            });
            w.plain((join, least, most));
            w.each(without, Self::trigger);
        });
        self.span(*within);
        self.maybe(without.as_ref(), Self::trigger);
        self.maybe(strict.as_ref(), Self::trigger);
        self.plain((runs, skip));
    }

    fn guard(&mut self, guard: &Guard) {
        let Guard { kinds, same, forward, backward, captures, from, to, at_least } = guard;
        self.kinds(kinds);
        self.fields(same);
        self.maybe(forward.as_deref(), Self::expr);
        self.maybe(backward.as_deref(), Self::expr);
        self.fields(captures);
        self.span(*from);
        self.span(*to);
        self.plain(at_least);
    }

    fn session(&mut self, session: &Session) {
        let Session { any, open, close, grace, max, before, aggregates, condition, orphans } =
            session;
        self.plain(any);
        self.word("session");
        self.trigger(open);
        self.trigger(close);
        self.span(*grace);
        self.plain(max);
        self.maybe(before.as_ref(), |w, (kinds, span)| {
            w.kinds(kinds);
            w.span(*span);
        });
        self.each(aggregates, |w, (place, Aggregate { on, sum })| {
            w.plain(place);
            w.trigger(on);
            w.maybe(sum.as_ref(), Self::expr);
        });
        self.maybe(condition.as_deref(), Self::expr);
        self.plain(orphans);
    }
}
