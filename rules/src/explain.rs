//! What a rule compiles to, in words: what it looks at, its key, its plan, the facts it reads, the
//! state it holds and how long it waits.

use std::fmt::Write;

use event::{Interner, KindId, TimeSpan};

use crate::engine::{ENTRY_BYTES, KEY_BYTES, run_bytes};
use crate::lang::expr::{Expr, TextTest};
use crate::lang::syntax::Operator;
use crate::plan::{
    Emit, Entity, FactId, FactKind, FieldRef, Join, Limits, Mode, Part, Pattern, Plan, Rule,
    RuleId, Runs, Scope, Sequence, Session, SessionField, Skip, Step, TallyPart, Trigger,
};
use crate::value::Value;

/// Of so many values that one is compared with all are told.
const LISTED_MAX: usize = 16;

/// Explains one rule.
#[must_use]
pub fn explain(plan: &Plan, interner: &Interner, id: RuleId) -> String {
    let words = Words { plan, interner, rule: &plan.rules[id.0 as usize] };
    let mut out = String::new();
    let rule = words.rule;
    let mode = match rule.mode {
        Mode::Live => "live",
        Mode::Shadow => "shadow: it detects and pages nobody",
        Mode::Off => "off: it is not run",
    };
    let scope = match rule.scope {
        Scope::Site => "each site by itself",
        Scope::Enterprise => "all sites at once",
    };
    let mut line = |label: &str, text: String| {
        if !text.is_empty() {
            writeln!(out, "  {label:<12}{text}").unwrap_or_default();
        }
    };
    line("mode", mode.to_owned());
    line("severity", rule.severity.as_str().to_owned());
    line("scope", scope.to_owned());
    let mut kinds = rule.kinds();
    kinds.sort_unstable();
    kinds.dedup();
    line("steps on", words.kinds(&kinds));
    line("key", words.key(&rule.by));
    let mut plan_lines = words.pattern().into_iter();
    line("plan", plan_lines.next().unwrap_or_default());
    plan_lines.for_each(|text| line("", text));
    line("speaks", words.emit());
    for (nth, fact) in rule.reads.iter().enumerate() {
        line(if nth == 0 { "reads" } else { "" }, words.fact(*fact));
    }
    for schedule in &rule.schedules {
        let name = &plan.calendar.schedules[schedule.0 as usize].name;
        line("schedule", format!("{name}, in the zone of the site"));
    }
    let hearers: Vec<&str> = plan
        .rules
        .iter()
        .filter(|other| other.kinds().contains(&plan.detection_kind(id)))
        .map(|other| other.id.as_str())
        .collect();
    line("heard by", hearers.join(", "));
    line("waits", words.waits());
    line("state", words.state());
    line("cost", words.cost());
    line("limits", words.limits());
    line("evidence", format!("the first, the last, and {} at most", rule.evidence_max));
    for (label, value) in &rule.why {
        line("shows", format!("{label}: {}", words.expr(value)));
    }
    for (label, text) in
        [("risk", &rule.risk), ("control", &rule.control), ("procedure", &rule.procedure)]
    {
        line(label, text.clone().unwrap_or_default());
    }
    format!("{}: {}\n{out}", rule.id, rule.title)
}

/// Words for what a plan holds.
pub(crate) struct Words<'a> {
    pub plan: &'a Plan,
    pub interner: &'a Interner,
    /// Whose earlier events are named.
    pub rule: &'a Rule,
}

impl Words<'_> {
    pub(crate) fn kind(&self, kind: KindId) -> String {
        let kinds = self.plan.vocabulary.kinds();
        match kinds.get(kind.0 as usize) {
            Some(known) => known.name.clone(),
            None => {
                let rule = &self.plan.rules[kind.0 as usize - kinds.len()];
                format!("detections of {}", rule.id)
            }
        }
    }

    pub(crate) fn kinds(&self, kinds: &[KindId]) -> String {
        kinds.iter().map(|kind| self.kind(*kind)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn field(&self, field: FieldRef) -> String {
        match field {
            FieldRef::Slot(id, _) => self.plan.vocabulary.field(id).name.clone(),
            FieldRef::Site => "site".to_owned(),
            FieldRef::Device => "device".to_owned(),
            FieldRef::Kind => "kind".to_owned(),
            FieldRef::Time => "time".to_owned(),
            FieldRef::Recorded => "recorded".to_owned(),
            FieldRef::Quarantined => "quarantined".to_owned(),
            FieldRef::Joined { of, table, column } => {
                let base = match of {
                    Entity::Slot(id) => self.plan.vocabulary.field(id).name.as_str(),
                    Entity::Device => "device",
                    Entity::Site => "site",
                };
                let column = &self.plan.model.tables[table as usize].columns[column as usize].0;
                format!("{base}.{column}")
            }
        }
    }

    fn key(&self, by: &[FieldRef]) -> String {
        if by.is_empty() {
            return "none: one state for all".to_owned();
        }
        by.iter().map(|field| self.field(*field)).collect::<Vec<_>>().join(", ")
    }

    fn trigger(&self, trigger: &Trigger) -> String {
        let kinds =
            trigger.kinds.iter().map(|kind| self.kind(*kind)).collect::<Vec<_>>().join(" or ");
        match &trigger.condition {
            Some(condition) => {
                let written = condition.part(condition.expr()).map(|written| written.text.clone());
                format!("{kinds} when {}", written.unwrap_or_else(|| self.expr(condition)))
            }
            None => kinds,
        }
    }

    fn emit(&self) -> String {
        match self.rule.emit {
            Emit::Each => "each time".to_owned(),
            Emit::Edge => "when it becomes true, once for each time it does".to_owned(),
            Emit::Once(span) => format!("at most once in {span} for each key"),
        }
    }

    fn fact(&self, id: FactId) -> String {
        let fact = &self.plan.facts[id.0 as usize];
        let what = match &fact.kind {
            FactKind::Count { on, within } => {
                format!("events within {within} of {}", self.trigger(on))
            }
            FactKind::Distinct { on, of, within } => {
                format!("values of {} within {within} of {}", self.field(*of), self.trigger(on))
            }
            FactKind::Balance { up, down } => {
                format!("{} less {}", self.trigger(up), self.trigger(down))
            }
            FactKind::Set { on, ttl, .. } => {
                let sets = on.iter().map(|(trigger, value)| {
                    format!("{} sets {}", self.trigger(trigger), self.expr(value))
                });
                let forgotten = ttl.map_or(String::new(), |ttl| format!("; forgotten after {ttl}"));
                sets.collect::<Vec<_>>().join("; ") + &forgotten
            }
            FactKind::Tally { of, parts, condition } => {
                let by_value = parts.contains(&TallyPart::Value);
                let of = &self.plan.facts[of.0 as usize].name;
                let when = condition.as_ref().map(|c| format!(" where {}", self.expr(c)));
                let by = if by_value { ", by the value" } else { "" };
                format!("keys of {of}{}{by}", when.unwrap_or_default())
            }
        };
        let reset = fact.reset.as_ref().map(|t| format!("; reset by {}", self.trigger(t)));
        format!("{} by {}: {what}{}", fact.name, self.key(&fact.by), reset.unwrap_or_default())
    }

    fn pattern(&self) -> Vec<String> {
        match &self.rule.pattern {
            Pattern::Event(on) => vec![format!("one event: {}", self.trigger(on))],
            Pattern::Sequence(sequence) => self.sequence(sequence),
            Pattern::Unless { on, guards } => {
                let mut lines = vec![self.trigger(on)];
                for guard in guards {
                    let condition = guard.forward.as_ref().or(guard.backward.as_ref());
                    let when = condition.map(|c| format!(" when {}", self.expr(c)));
                    let same = self.key(&guard.same);
                    let often = if guard.at_least > 1 {
                        format!(", {} times", guard.at_least)
                    } else {
                        String::new()
                    };
                    lines.push(format!(
                        "unless {}{} of the same {same} from {} to {}{often}",
                        self.kinds(&guard.kinds),
                        when.unwrap_or_default(),
                        guard.from,
                        guard.to
                    ));
                }
                lines
            }
            Pattern::Watch { fact, condition, hold, clears, .. } => {
                let name = &self.plan.facts[fact.0 as usize].name;
                let hold = hold.as_ref().map(|h| format!(" for {}", self.expr(h)));
                let clears = if *clears { "; its end clears the incident" } else { "" };
                vec![format!(
                    "the level {name}: {}{}{clears}",
                    self.expr(condition),
                    hold.unwrap_or_default()
                )]
            }
            Pattern::Session(session) => self.session(session),
            Pattern::Passage { on, from, to, forget, forgive } => {
                let forgive =
                    forgive.as_ref().map(|t| format!("; forgiven by {}", self.trigger(t)));
                vec![format!(
                    "{}: from {} to {}, not twice the same way; forgotten after {forget}{}",
                    self.trigger(on),
                    self.expr(from),
                    self.expr(to),
                    forgive.unwrap_or_default()
                )]
            }
            Pattern::Travel { on, place, min_time } => vec![format!(
                "{}: at another {} sooner than {}",
                self.trigger(on),
                self.field(*place),
                self.expr(min_time)
            )],
        }
    }

    fn sequence(&self, sequence: &Sequence) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(lead) = &sequence.lead {
            lines.push(format!("no {} for {} before", self.trigger(&lead.on), lead.span));
        }
        for (number, step) in sequence.steps.iter().enumerate() {
            let without = step.without.iter().map(|t| format!(", without {}", self.trigger(t)));
            let text =
                format!("{}. {}{}", number + 1, self.step(step), without.collect::<String>());
            lines.push(text);
        }
        let mut ends = Vec::new();
        if sequence.within < TimeSpan::MAX {
            ends.push(format!("within {}", sequence.within));
        }
        ends.extend(sequence.without.iter().map(|t| format!("without {}", self.trigger(t))));
        ends.extend(sequence.strict.iter().map(|t| format!("next on {}", self.trigger(t))));
        ends.push(
            match sequence.runs {
                Runs::Each => "every first event starts a run",
                Runs::First => "a run starts when none waits",
                Runs::Last => "a first event replaces the run that waits",
                Runs::Once => "one match for each key",
            }
            .to_owned(),
        );
        if sequence.skip == Skip::PastLast {
            ends.push("a match ends the other runs".to_owned());
        }
        lines.push(ends.join("; "));
        lines
    }

    pub(crate) fn step(&self, step: &Step) -> String {
        let part = |part: &Part| match &part.absent {
            Some(span) => format!("no {} for {}", self.trigger(&part.on), self.expr(span)),
            None => self.trigger(&part.on),
        };
        let parts: Vec<String> = step.parts.iter().map(part).collect();
        let times = match (step.least, step.most) {
            (1, 1) => String::new(),
            (0, 1) => ", optional".to_owned(),
            (least, most) if least == most => format!(", {least} times"),
            (least, 255) => format!(", {least} times or more"),
            (least, most) => format!(", {least} to {most} times"),
        };
        match (parts.as_slice(), step.join) {
            ([one], _) => format!("{one}{times}"),
            (_, Join::All) => format!("all of ({})", parts.join(" and ")),
            (_, Join::Any) => format!("any of ({})", parts.join(" or ")),
        }
    }

    fn session(&self, session: &Session) -> Vec<String> {
        let mut lines = vec![
            format!("begins: {}", self.trigger(&session.open)),
            format!("ends: {}; judged {} later", self.trigger(&session.close), session.grace),
        ];
        lines.extend(session.any.then(|| "found by any part of its key".to_owned()));
        lines.extend(session.max.map(|max| format!("judged after {max} if it has not ended")));
        lines.extend(
            session
                .before
                .as_ref()
                .map(|(kinds, span)| format!("{} up to {span} before it count", self.kinds(kinds))),
        );
        for (place, aggregate) in &session.aggregates {
            let on = self.trigger(&aggregate.on);
            lines.push(match &aggregate.sum {
                Some(sum) => format!("${place} adds up {} of {on}", self.expr(sum)),
                None => format!("${place} counts {on}"),
            });
        }
        lines.extend(session.condition.as_ref().map(|c| format!("when {}", self.expr(c))));
        lines
    }

    /// How long after its last event it may speak.
    fn waits(&self) -> String {
        match &self.rule.pattern {
            Pattern::Unless { guards, .. } => {
                let end = guards.iter().map(|g| g.to).max().unwrap_or_default();
                if end > TimeSpan::ZERO { format!("{end} for an excuse") } else { String::new() }
            }
            Pattern::Session(session) if session.grace > TimeSpan::ZERO => {
                format!("{} for what comes late", session.grace)
            }
            _ => String::new(),
        }
    }

    fn state(&self) -> String {
        let run = run_bytes(self.rule);
        match &self.rule.pattern {
            Pattern::Event(_) if self.rule.emit == Emit::Each && self.rule.reads.is_empty() => {
                "none; it fires for a late event, too".to_owned()
            }
            Pattern::Event(_) if self.rule.emit == Emit::Each => "that of its facts".to_owned(),
            Pattern::Event(_) | Pattern::Passage { .. } | Pattern::Travel { .. } => {
                format!("{KEY_BYTES} B for each key")
            }
            Pattern::Watch { .. } => {
                format!("{KEY_BYTES} B for each key whose level is up, {run} B while it waits")
            }
            _ => format!(
                "{KEY_BYTES} B for each key with a run, {run} B for each run, {ENTRY_BYTES} B for each event it keeps"
            ),
        }
    }

    /// What an event costs it: an event of another kind costs nothing, since rules are found by
    /// kind.
    fn cost(&self) -> String {
        match &self.rule.pattern {
            Pattern::Event(_) => "one condition for each event of its kinds".to_owned(),
            Pattern::Sequence(sequence) => {
                let parts = sequence.steps.iter().flat_map(|step| &step.parts).count();
                format!(
                    "for each event of its kinds each run of the key, {parts} conditions at most"
                )
            }
            Pattern::Unless { guards, .. } => format!(
                "for each event of its kinds the runs, or what is remembered, of {} guards' keys",
                guards.len()
            ),
            Pattern::Watch { triggers, .. } => format!(
                "one condition for each change of {} facts, for its key",
                triggers.len().max(1)
            ),
            Pattern::Session(session) => format!(
                "for each event of its kinds the key's session, {} counts; one condition at its end",
                session.aggregates.len()
            ),
            Pattern::Passage { .. } | Pattern::Travel { .. } => {
                "for each event of its kinds the key's last place".to_owned()
            }
        }
    }

    /// What it gives up, and when.
    fn limits(&self) -> String {
        let Limits { keys, runs, events } = self.rule.limits;
        let runs = match &self.rule.pattern {
            Pattern::Sequence(_) | Pattern::Unless { .. } | Pattern::Session(_) => {
                format!(", {runs} runs")
            }
            Pattern::Watch { hold: Some(_), .. } => format!(", {runs} runs"),
            _ => String::new(),
        };
        format!("{keys} keys{runs}, {events} events of a key at a site; past it the oldest goes")
    }

    /// A value, with the texts of a list.
    pub(crate) fn shown(&self, value: Value) -> String {
        let Value::List { table, row, column } = value else { return self.value(value) };
        match self.plan.model.tables[table as usize].cell(row, column as usize) {
            Some(event::model::Cell::Strings(texts)) => {
                let texts = texts.iter().map(|text| self.interner.text(*text));
                format!("[{}]", texts.collect::<Vec<_>>().join(", "))
            }
            _ => "missing".to_owned(),
        }
    }

    fn value(&self, value: Value) -> String {
        match value {
            Value::Missing | Value::List { .. } => "missing".to_owned(),
            Value::Bool(v) => v.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Float(v) => format!("{v:?}"),
            Value::Text(v) => format!("'{}'", self.interner.text(v)),
            Value::Time(v) => v.to_string(),
            Value::Span(v) => v.to_string(),
        }
    }

    /// An expression as it might have been written.
    pub(crate) fn expr(&self, expr: &Expr) -> String {
        let text = self.sides(expr);
        let outer = text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        // The parentheses that stand around all of it say nothing.
        match outer {
            Some(inner) if balanced(inner) => inner.to_owned(),
            _ => text,
        }
    }

    fn sides(&self, expr: &Expr) -> String {
        let fact = |id: &FactId| self.plan.facts[id.0 as usize].name.clone();
        let table = |number: &u16| &self.plan.model.tables[*number as usize];
        let two = |a: &Expr, sign: &str, b: &Expr| {
            format!("({} {sign} {})", self.sides(a), self.sides(b))
        };
        match expr {
            Expr::Constant(value) => self.value(*value),
            Expr::Field(field) => format!("e.{}", self.field(*field)),
            Expr::Captured(place) => self.captured(*place),
            Expr::Fact(id) => fact(id),
            Expr::FactAt(id, key) => format!("{}[{}]", fact(id), self.sides(key)),
            Expr::Previous(id) => format!("prev({})", fact(id)),
            Expr::Watched => "value".to_owned(),
            Expr::Session(SessionField::Closed) => "s.closed".to_owned(),
            Expr::Session(SessionField::Orphan) => "s.orphan".to_owned(),
            Expr::Session(SessionField::Duration) => "s.duration".to_owned(),
            Expr::Schedule(id) => {
                format!("schedule.{}", self.plan.calendar.schedules[id.0 as usize].name)
            }
            Expr::Column(number, column, key) => {
                let column = &table(number).columns[*column as usize].0;
                format!("{}[{}].{column}", table(number).name, self.sides(key))
            }
            Expr::HasRow(number, key) | Expr::HasInteger(number, key) => {
                format!("({} in {})", self.sides(key), table(number).name)
            }
            Expr::InList(a, b) => two(a, "in", b),
            Expr::OneOf(a, values) => {
                let more = values.len().saturating_sub(LISTED_MAX);
                let listed = values[..values.len() - more].iter().map(|v| self.value(*v));
                let listed = listed.collect::<Vec<_>>().join(", ");
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("({} in [{listed}{more}])", self.sides(a))
            }
            Expr::Has(a) => format!("has({})", self.expr(a)),
            Expr::Holds(a) => self.sides(a),
            Expr::Not(a) => format!("!{}", self.sides(a)),
            Expr::Negate(a) => format!("-{}", self.sides(a)),
            Expr::And(a, b) => two(a, "&&", b),
            Expr::Or(a, b) => two(a, "||", b),
            Expr::Compare(operator, a, b) | Expr::Arithmetic(operator, a, b) => {
                two(a, sign(*operator), b)
            }
            Expr::If(c, a, b) => {
                format!("({} ? {} : {})", self.sides(c), self.sides(a), self.sides(b))
            }
            Expr::Text(test, a, b) => {
                let name = match test {
                    TextTest::StartsWith => "startsWith",
                    TextTest::EndsWith => "endsWith",
                    TextTest::Contains => "contains",
                };
                format!("{}.{name}({})", self.sides(a), self.expr(b))
            }
            Expr::Size(a) => format!("size({})", self.expr(a)),
            Expr::Absolute(a) => format!("abs({})", self.expr(a)),
            Expr::Distance(degrees) => {
                let degrees: Vec<_> = degrees.iter().map(|d| self.expr(d)).collect();
                format!("distance_km({})", degrees.join(", "))
            }
            Expr::Container(a) => format!("iso6346({})", self.expr(a)),
        }
    }

    /// A value of an earlier event.
    fn captured(&self, place: u8) -> String {
        let Some(capture) = self.rule.captures.get(place as usize) else {
            let travels = matches!(self.rule.pattern, Pattern::Travel { .. });
            return if travels { "there".to_owned() } else { format!("${place}") };
        };
        let field = self.field(capture.field);
        match (&self.rule.pattern, capture.part, capture.nth) {
            (Pattern::Session(_), 0, _) => format!("s.open.{field}"),
            (Pattern::Session(_), 1, _) => format!("s.close.{field}"),
            (Pattern::Session(_), ..) => format!("${place}"),
            (Pattern::Sequence(_), part, None) => format!("${}.{field}", part + 1),
            (Pattern::Sequence(_), part, Some(nth)) => format!("${}[{nth}].{field}", part + 1),
            _ => format!("opening.{field}"),
        }
    }
}

/// Whether every parenthesis closes one that was opened before it.
fn balanced(text: &str) -> bool {
    let mut depth = 0_i32;
    for c in text.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Or => "||",
        Operator::And => "&&",
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterEqual => ">=",
        Operator::In => "in",
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Remainder => "%",
    }
}
