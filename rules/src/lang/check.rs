//! Type-checks an expression against the vocabulary, the facts and the site model, and compiles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::config::{Node as Yaml, Reader, did_you_mean};
use event::model::{ColumnType, Model, TableKind};
use event::{FieldType, Interner, KindId, Vocabulary};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::expr::Expr;
use super::syntax::{Ast, Fault, Node, parse};
use crate::calendar::{Calendar, ScheduleId};
use crate::limits::CAPTURES_MAX;
use crate::plan::{Aggregate, Capture, Entity, FactId, FieldRef};
use crate::value::Value;

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// An integer.
    Int,
    /// A double.
    Float,
    /// A text.
    Text,
    /// A point in time.
    Time,
    /// A span of time.
    Span,
    /// A list of texts.
    Texts,
}

impl Type {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Span => "a span of time",
            Self::Texts => "a list of texts",
        }
    }

    /// Whether it is one of the two kinds of number.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    /// The type of a field.
    pub fn of_field(ty: FieldType) -> Self {
        match ty {
            FieldType::String => Self::Text,
            FieldType::Int => Self::Int,
            FieldType::Float => Self::Float,
            FieldType::Bool => Self::Bool,
            FieldType::Time => Self::Time,
        }
    }

    fn of_column(ty: ColumnType) -> Self {
        match ty {
            ColumnType::String => Self::Text,
            ColumnType::Int => Self::Int,
            ColumnType::Float => Self::Float,
            ColumnType::Bool => Self::Bool,
            ColumnType::Duration => Self::Span,
            ColumnType::Time => Self::Time,
            ColumnType::Strings => Self::Texts,
        }
    }
}

/// A fact as expressions see it.
#[derive(Clone, Debug)]
pub struct KnownFact {
    /// Its name.
    pub name: String,
    /// Its type; `None` while it is not known.
    pub ty: Option<Type>,
    /// How many fields it is kept by.
    pub parts: usize,
}

/// The captured value that is where a traveller was before.
pub const THERE: u8 = 0;

/// What names an expression may use.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Names of the current event.
    pub current: Vec<String>,
    /// Names of earlier events, and the part they are captured from.
    pub earlier: Vec<(String, u8)>,
    /// The part that the current event is to meet: its earlier events are `b[0]`, `b[last]`.
    pub own: Option<(String, u8)>,
    /// Type of `value`.
    pub value: Option<Type>,
    /// `s` is a session: its events are captured as parts 0 and 1.
    pub session: bool,
    /// Only these fields are at hand: the key of a watch, or what a detection has.
    pub key_only: Option<Vec<FieldRef>>,
    /// The fields are those of a detection.
    pub of_detection: bool,
    /// `there` is where a traveller was before: a value of this field.
    pub there: Option<FieldRef>,
}

/// What expressions are compiled against.
pub struct Compiler<'a> {
    /// Kinds and fields.
    pub vocabulary: &'a Vocabulary,
    /// Tables.
    pub model: &'a Model,
    /// Texts.
    pub interner: &'a Interner,
    /// Named parts of expressions.
    pub macros: BTreeMap<String, Arc<str>>,
    /// Macros being written out.
    pub expanding: Vec<String>,
    /// Schedules, as far as they are read.
    pub calendar: Calendar,
    /// Schedules read since this was last emptied.
    pub schedules: Vec<ScheduleId>,
    /// Facts.
    pub facts: Vec<KnownFact>,
    /// Their numbers by name.
    pub fact_numbers: BTreeMap<String, FactId>,
    /// Ids of all rules, and whether each is over detections: their kinds are behind the
    /// vocabulary's.
    pub rules: Vec<(String, bool)>,
    /// Their places by id.
    pub rule_places: HashMap<String, usize, FixedState>,
    /// Facts read bare since this was last emptied.
    pub reads: Vec<FactId>,
    /// Facts read in any way since this was last emptied: bare, by `prev()`, or of another key.
    pub touched: Vec<FactId>,
    /// What sessions count, asked for since this was last emptied.
    pub aggregates: Vec<(u8, Aggregate)>,
    /// Captures asked for since this was last emptied.
    pub captures: Vec<Capture>,
}

/// An expression with its type.
pub struct Typed {
    /// It, compiled.
    pub expr: Expr,
    /// What it yields.
    pub ty: Type,
    /// The table that knows its value: what `.column` looks up in.
    entity: Option<usize>,
}

/// An expression that no table knows more of.
pub fn typed(expr: Expr, ty: Type) -> Typed {
    Typed { expr, ty, entity: None }
}

/// What is wrong with a part of an expression.
pub fn fault(at: &Ast, message: String, help: Option<String>) -> Fault {
    Fault { from: at.from, width: (at.to - at.from).max(1), message, help }
}

impl<'a> Compiler<'a> {
    /// One that knows no facts and rules yet.
    pub fn new(vocabulary: &'a Vocabulary, model: &'a Model, interner: &'a Interner) -> Self {
        Self {
            vocabulary,
            model,
            interner,
            macros: BTreeMap::new(),
            expanding: Vec::new(),
            calendar: Calendar::default(),
            schedules: Vec::new(),
            facts: Vec::new(),
            fact_numbers: BTreeMap::new(),
            rules: Vec::new(),
            rule_places: HashMap::default(),
            aggregates: Vec::new(),
            reads: Vec::new(),
            touched: Vec::new(),
            captures: Vec::new(),
        }
    }
}

impl Compiler<'_> {
    /// Compiles the expression in a YAML scalar; a fault is reported at its column.
    pub fn expression(
        &mut self,
        reader: &mut Reader,
        node: &Yaml,
        names: &Names,
        wanted: Option<Type>,
    ) -> Option<(Expr, Type)> {
        let result = parse(reader.scalar(node)?).and_then(|ast| {
            let done = self.compile(&ast, names)?;
            match wanted {
                Some(wanted)
                    if wanted != done.ty && !(wanted == Type::Float && done.ty == Type::Int) =>
                {
                    let message = format!("this is {}, wanted {}", done.ty.name(), wanted.name());
                    Err(fault(&ast, message, None))
                }
                _ => Ok((done.expr, done.ty)),
            }
        });
        result
            .map_err(|fault| {
                let place = reader.place_in(node, fault.from);
                reader.error(place, fault.width as u32, fault.message, fault.help);
            })
            .ok()
    }

    /// The kinds of a rule's detections; of `*`, of every rule that is not over detections itself.
    pub fn detections(&self, name: &str) -> Vec<KindId> {
        let first = self.vocabulary.kinds().len();
        let kind = |number: usize| KindId((first + number) as u16);
        if name != "*" {
            return self.rule_places.get(name).map(|place| kind(*place)).into_iter().collect();
        }
        let rules = self.rules.iter().enumerate();
        rules.filter(|(_, (_, over))| !over).map(|(number, _)| kind(number)).collect()
    }

    /// A side of the event's access point, where the model has a table of them.
    pub fn access_point(&self, side: &str) -> Option<Expr> {
        let (table, known) = self.model.table("access_points")?;
        let column = known.column(side)?;
        let (field, _) = self.field_named("access_point")?;
        Some(Expr::Column(table as u16, column as u16, Box::new(Expr::Field(field))))
    }

    /// Compiles a part of an expression.
    pub fn compile(&mut self, ast: &Ast, names: &Names) -> Result<Typed, Fault> {
        match &ast.node {
            Node::Bool(b) => Ok(typed(Expr::Constant(Value::Bool(*b)), Type::Bool)),
            Node::Int(n) => Ok(typed(Expr::Constant(Value::Int(*n)), Type::Int)),
            Node::Float(x) => Ok(typed(Expr::Constant(Value::Float(*x)), Type::Float)),
            Node::Text(text) => self.text(ast, text),
            Node::Name(name) => self.name(ast, name, names),
            Node::Member(object, member) => self.member(ast, object, member, names),
            Node::Index(object, key) => self.index(ast, object, key, names),
            Node::Call(object, function, arguments) => {
                self.call(ast, object.as_deref(), function, arguments, names)
            }
            Node::List(_) => {
                let help = Some("use a list behind `in`: e.reason in ['lost', 'stolen']".into());
                Err(fault(ast, "a list stands alone".into(), help))
            }
            Node::Not(inner) => {
                let inner = self.of_type(inner, names, Type::Bool)?;
                Ok(typed(Expr::Not(Box::new(inner)), Type::Bool))
            }
            Node::Negate(inner) => {
                let done = self.compile(inner, names)?;
                if !done.ty.is_number() && done.ty != Type::Span {
                    return Err(fault(inner, format!("cannot negate {}", done.ty.name()), None));
                }
                // A negative number is a constant, also in a list.
                let negated = match done.expr {
                    Expr::Constant(Value::Int(n)) => Expr::Constant(Value::Int(n.saturating_neg())),
                    Expr::Constant(Value::Float(x)) => Expr::Constant(Value::Float(-x)),
                    other => Expr::Negate(Box::new(other)),
                };
                Ok(typed(negated, done.ty))
            }
            Node::Binary(operator, a, b) => self.binary(ast, *operator, a, b, names),
            Node::If(condition, yes, no) => {
                let condition = self.of_type(condition, names, Type::Bool)?;
                let (yes, other) = (self.compile(yes, names)?, self.compile(no, names)?);
                if yes.ty != other.ty {
                    let message =
                        format!("this is {}, the other way is {}", other.ty.name(), yes.ty.name());
                    return Err(fault(no, message, None));
                }
                let parts = (Box::new(condition), Box::new(yes.expr), Box::new(other.expr));
                Ok(typed(Expr::If(parts.0, parts.1, parts.2), yes.ty))
            }
        }
    }

    /// A text that stands there.
    #[inline]
    pub fn text(&self, ast: &Ast, text: &str) -> Result<Typed, Fault> {
        let symbol = self.interner.intern(text);
        let symbol = symbol.ok_or_else(|| fault(ast, "a text too long".into(), None))?;
        Ok(typed(Expr::Constant(Value::Text(symbol)), Type::Text))
    }

    /// As [`Self::compile`], of a certain type.
    pub fn of_type(&mut self, ast: &Ast, names: &Names, wanted: Type) -> Result<Expr, Fault> {
        let done = self.compile(ast, names)?;
        if done.ty == wanted {
            return Ok(done.expr);
        }
        Err(fault(ast, format!("this is {}, wanted {}", done.ty.name(), wanted.name()), None))
    }

    fn name(&mut self, ast: &Ast, name: &str, names: &Names) -> Result<Typed, Fault> {
        if let ("value", Some(ty)) = (name, names.value) {
            return Ok(typed(Expr::Watched, ty));
        }
        if let ("there", Some(place)) = (name, names.there) {
            let entity = self.table_of(place);
            return Ok(Typed { expr: Expr::Captured(THERE), ty: Type::Text, entity });
        }
        if let Some(body) = self.macros.get(name).cloned() {
            return self.expand(ast, name, &body, names);
        }
        if let Some(fact) = self.fact_named(name) {
            let ty = self.fact_type(ast, fact)?;
            if !self.reads.contains(&fact) {
                self.reads.push(fact);
            }
            self.touch(fact);
            return Ok(typed(Expr::Fact(fact), ty));
        }
        if names.current.iter().any(|n| n == name) || names.earlier.iter().any(|(n, _)| n == name) {
            let help = Some(format!("write a field: {name}.door"));
            return Err(fault(ast, format!("`{name}` is a whole event"), help));
        }
        if let Some((_, table)) = self.model.table(name) {
            let (what, help) = match table.kind {
                TableKind::Table => {
                    ("table", format!("write {name}[key].column, or key in {name}"))
                }
                _ => ("list", format!("write e.credential in {name}")),
            };
            return Err(fault(ast, format!("`{name}` is a whole {what}"), Some(help)));
        }
        if self.field_named(name).is_some() {
            return self.field(ast, name, name, names);
        }
        if name == "e" && names.current.is_empty() {
            let help = if names.session {
                "write s.open.door, s.close.door, or s.count(Kind, e.dir == 'in')"
            } else {
                "write `value`, a fact, or a field of the key such as door.held_limit"
            };
            return Err(fault(ast, "no event is at hand here".into(), Some(help.into())));
        }
        let known = self.facts.iter().map(|f| f.name.as_str());
        let known = known.chain(names.current.iter().map(String::as_str));
        let known = known.chain(self.model.by_name.keys().map(String::as_str));
        let known = known.chain(self.vocabulary.fields().iter().map(|f| f.name.as_str()));
        let known = known.chain(self.macros.keys().map(String::as_str));
        Err(fault(ast, format!("nothing is called `{name}`"), did_you_mean(name, known)))
    }

    /// Compiles a macro's expression where its name stands: a fault in it is told there.
    fn expand(&mut self, ast: &Ast, name: &str, body: &str, names: &Names) -> Result<Typed, Fault> {
        if self.expanding.iter().any(|outer| outer == name) {
            return Err(fault(ast, format!("the macro `{name}` stands in itself"), None));
        }
        self.expanding.push(name.to_owned());
        let done = parse(body).and_then(|body| self.compile(&body, names));
        self.expanding.pop();
        done.map_err(|inner| {
            fault(ast, format!("in the macro `{name}`: {}", inner.message), inner.help)
        })
    }

    /// The table that knows the values of a field: that of its `entity`; `devices`; `sites`.
    fn table_of(&self, field: FieldRef) -> Option<usize> {
        match field {
            FieldRef::Slot(id, _) => self.model.table_of(id).map(|(index, _)| index),
            FieldRef::Device => self.model.table("devices").map(|(index, _)| index),
            FieldRef::Site => self.model.table("sites").map(|(index, _)| index),
            FieldRef::Kind
            | FieldRef::Time
            | FieldRef::Recorded
            | FieldRef::Quarantined
            | FieldRef::Joined { .. } => None,
        }
    }

    /// A part of a key: a field of texts, or what a table says of one (`door.interlock`).
    pub fn key_field(&self, name: &str) -> Result<FieldRef, (String, Option<String>)> {
        let (base, column) = name.split_once('.').map_or((name, None), |(b, c)| (b, Some(c)));
        let Some((field, ty)) = self.field_named(base) else {
            let known = self.vocabulary.fields().iter().map(|f| f.name.as_str());
            let help = did_you_mean(base, known.chain(["site", "device", "kind"]));
            return Err((format!("no field `{base}`"), help));
        };
        if ty != Type::Text {
            return Err((format!("`{base}` is no text, so it is no part of a key"), None));
        }
        let Some(column) = column else { return Ok(field) };
        let of = match field {
            FieldRef::Slot(id, _) => Some(Entity::Slot(id)),
            FieldRef::Device => Some(Entity::Device),
            FieldRef::Site => Some(Entity::Site),
            _ => None,
        };
        let (Some(table), Some(of)) = (self.table_of(field), of) else {
            let help = Some(format!("give a table of the model `entity: {base}`"));
            return Err((format!("nothing is known of `{base}`"), help));
        };
        let known = &self.model.tables[table];
        match known.column(column).map(|index| (index, known.columns[index].1)) {
            Some((index, ColumnType::String)) => {
                Ok(FieldRef::Joined { of, table: table as u16, column: index as u16 })
            }
            Some(_) => Err((format!("`{name}` is no text, so it is no part of a key"), None)),
            None => {
                let help = did_you_mean(column, known.columns.iter().map(|(n, _)| n.as_str()));
                Err((format!("table `{}` has no column `{column}`", known.name), help))
            }
        }
    }

    /// Notes that a fact is read.
    pub fn touch(&mut self, fact: FactId) {
        if !self.touched.contains(&fact) {
            self.touched.push(fact);
        }
    }

    /// Adds a fact. The first of a name has it.
    pub fn know_fact(&mut self, fact: KnownFact) -> FactId {
        let id = FactId(self.facts.len() as u16);
        self.fact_numbers.entry(fact.name.clone()).or_insert(id);
        self.facts.push(fact);
        id
    }

    /// The fact of a name.
    pub fn fact_named(&self, name: &str) -> Option<FactId> {
        self.fact_numbers.get(name).copied()
    }

    /// The type of a fact; a fault where it is not known yet.
    pub fn fact_type(&self, ast: &Ast, fact: FactId) -> Result<Type, Fault> {
        let known = &self.facts[fact.0 as usize];
        known.ty.ok_or_else(|| {
            let help = Some("give it an `init`, or declare it above".to_owned());
            fault(ast, format!("the type of fact `{}` is not known yet", known.name), help)
        })
    }

    fn field_named(&self, name: &str) -> Option<(FieldRef, Type)> {
        Some(match name {
            "site" => (FieldRef::Site, Type::Text),
            "device" => (FieldRef::Device, Type::Text),
            "kind" => (FieldRef::Kind, Type::Text),
            "time" => (FieldRef::Time, Type::Time),
            "recorded" => (FieldRef::Recorded, Type::Time),
            "quarantined" => (FieldRef::Quarantined, Type::Bool),
            _ => {
                let id = self.vocabulary.field_named(name)?;
                let ty = self.vocabulary.field(id).ty;
                (FieldRef::Slot(id, ty), Type::of_field(ty))
            }
        })
    }

    /// A field of the event called `object`; the current one where `object` is the field itself.
    fn field(
        &mut self,
        ast: &Ast,
        object: &str,
        name: &str,
        names: &Names,
    ) -> Result<Typed, Fault> {
        let Some((field, ty)) = self.field_named(name) else {
            let known = self.vocabulary.fields().iter().map(|f| f.name.as_str());
            let known = known.chain(["site", "device", "kind", "time", "recorded", "quarantined"]);
            let message = format!("events have no field `{name}`");
            let help = did_you_mean(name, known)
                .or_else(|| Some("declare it under `fields:` of a rulebook or a mapping".into()));
            return Err(fault(ast, message, help));
        };
        let entity = self.table_of(field);
        if let Some((_, part)) = names.earlier.iter().find(|(n, _)| n == object) {
            let index = self.capture(ast, Capture { part: *part, nth: None, field })?;
            return Ok(Typed { expr: Expr::Captured(index), ty, entity });
        }
        let at_hand = |keys: &Vec<FieldRef>| {
            keys.contains(&field) || matches!(field, FieldRef::Site | FieldRef::Time)
        };
        if names.key_only.as_ref().is_some_and(|keys| !at_hand(keys)) {
            let (message, help) = if names.of_detection {
                let help =
                    "area, door, person, credential, track, device, kind and the rules' keys";
                (format!("detections have no `{name}`"), help)
            } else {
                (format!("`{name}` is no part of the key"), "a watch sees its fact's key only")
            };
            return Err(fault(ast, message, Some(help.to_owned())));
        }
        Ok(Typed { expr: Expr::Field(field), ty, entity })
    }

    /// The place of a captured value.
    pub fn capture(&mut self, ast: &Ast, capture: Capture) -> Result<u8, Fault> {
        if let Some(index) = self.captures.iter().position(|c| *c == capture) {
            return Ok(index as u8);
        }
        if self.captures.len() >= CAPTURES_MAX {
            let message = format!("more than {CAPTURES_MAX} fields of earlier events");
            return Err(fault(ast, message, None));
        }
        self.captures.push(capture);
        Ok(self.captures.len() as u8 - 1)
    }

    /// `schedule.office`, and `schedule.office.on`, which is the same.
    fn schedule(&mut self, object: &Ast, member: &str) -> Result<Option<Typed>, Fault> {
        let (ast, name) = match &object.node {
            Node::Name(_) => (object, member),
            Node::Member(inner, name) if member == "on" => (&**inner, *name),
            _ => return Ok(None),
        };
        if !matches!(&ast.node, Node::Name("schedule")) {
            return Ok(None);
        }
        let schedules = &self.calendar.schedules;
        let Some(number) = schedules.iter().position(|schedule| schedule.name == name) else {
            let help = did_you_mean(name, schedules.iter().map(|s| s.name.as_str()))
                .or_else(|| Some("declare it under `schedules:` of a rulebook".into()));
            return Err(fault(object, format!("no schedule `{name}`"), help));
        };
        let id = ScheduleId(number as u16);
        if !self.schedules.contains(&id) {
            self.schedules.push(id);
        }
        Ok(Some(typed(Expr::Schedule(id), Type::Bool)))
    }

    /// `b[0].door`, `b[last].door`: a field of one of a repeated step's earlier events.
    fn repeated(&mut self, ast: &Ast, part: u8, which: &Ast, member: &str) -> Result<Typed, Fault> {
        let nth = match &which.node {
            Node::Name("last") => None,
            Node::Int(n) if (0..255).contains(n) => Some(*n as u8),
            _ => {
                let help = Some("write b[0].door for the first, b[last].door".to_owned());
                return Err(fault(which, "which of the step's events".into(), help));
            }
        };
        self.captured(ast, part, nth, member)
    }

    /// A field of an earlier event.
    pub fn captured(
        &mut self,
        ast: &Ast,
        part: u8,
        nth: Option<u8>,
        member: &str,
    ) -> Result<Typed, Fault> {
        let Some((field, ty)) = self.field_named(member) else {
            let known = self.vocabulary.fields().iter().map(|f| f.name.as_str());
            let message = format!("events have no field `{member}`");
            return Err(fault(ast, message, did_you_mean(member, known)));
        };
        let entity = self.table_of(field);
        let index = self.capture(ast, Capture { part, nth, field })?;
        Ok(Typed { expr: Expr::Captured(index), ty, entity })
    }

    fn member(
        &mut self,
        ast: &Ast,
        object: &Ast,
        member: &str,
        names: &Names,
    ) -> Result<Typed, Fault> {
        if let Node::Name(name) = &object.node {
            let is_event = names.current.iter().any(|n| n == name)
                || names.earlier.iter().any(|(n, _)| n == name);
            if is_event {
                return self.field(ast, name, member, names);
            }
        }
        if let Some(done) = self.schedule(object, member)? {
            return Ok(done);
        }
        if names.session
            && let Some(done) = self.session_member(ast, object, member)?
        {
            return Ok(done);
        }
        if let Node::Index(of, which) = &object.node
            && let Node::Name(name) = &of.node
            && let Some((_, part)) = names.earlier.iter().chain(&names.own).find(|(n, _)| n == name)
        {
            return self.repeated(ast, *part, which, member);
        }
        if let Node::Index(table, key) = &object.node
            && let Node::Name(name) = &table.node
            && let Some((index, _)) = self.model.table(name)
        {
            let key = self.of_type(key, names, Type::Text)?;
            return self.column(ast, index, member, key);
        }
        // A fact of a field's name (`mode`) goes before the field; an entity goes by its field.
        let inner = match &object.node {
            Node::Name(name) if self.field_named(name).is_some() => {
                self.field(object, name, name, names)?
            }
            _ => self.compile(object, names)?,
        };
        let Some(index) = inner.entity else {
            let help = Some("give a table of the model `entity: <field>`".to_owned());
            return Err(fault(ast, format!("nothing is known of this by `.{member}`"), help));
        };
        self.column(ast, index, member, inner.expr)
    }

    fn column(&self, ast: &Ast, table: usize, name: &str, key: Expr) -> Result<Typed, Fault> {
        let known = &self.model.tables[table];
        let Some(column) = known.column(name) else {
            let message = format!("table `{}` has no column `{name}`", known.name);
            let columns = known.columns.iter().map(|(n, _)| n.as_str());
            return Err(fault(ast, message, did_you_mean(name, columns)));
        };
        let expr = Expr::Column(table as u16, column as u16, Box::new(key));
        // A column that is called like an entity's field may be looked further: door.area.risk.
        let entity = self.field_named(name).and_then(|(field, _)| self.table_of(field));
        Ok(Typed { expr, ty: Type::of_column(known.columns[column].1), entity })
    }

    fn index(&mut self, ast: &Ast, object: &Ast, key: &Ast, names: &Names) -> Result<Typed, Fault> {
        let Node::Name(name) = &object.node else {
            return Err(fault(ast, "only tables and facts take a key".into(), None));
        };
        if self.model.table(name).is_some() {
            let help = Some(format!("write {name}[key].column"));
            return Err(fault(ast, format!("this is a whole row of `{name}`"), help));
        }
        let Some(fact) = self.fact_named(name) else {
            let known = self.facts.iter().map(|f| f.name.as_str());
            let known = known.chain(self.model.by_name.keys().map(String::as_str));
            let help = did_you_mean(name, known);
            return Err(fault(object, format!("no table or fact is called `{name}`"), help));
        };
        let ty = self.fact_type(object, fact)?;
        if self.facts[fact.0 as usize].parts != 1 {
            let message = format!("`{name}` is not kept by one field, so it takes no key here");
            return Err(fault(ast, message, None));
        }
        self.touch(fact);
        let key = self.of_type(key, names, Type::Text)?;
        Ok(typed(Expr::FactAt(fact, Box::new(key)), ty))
    }
}
