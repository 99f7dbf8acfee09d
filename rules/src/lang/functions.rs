//! Functions: what may be called on what.

use event::TimeSpan;
use event::config::did_you_mean;

use super::check::{Compiler, Names, Type, Typed, fault, typed};
use super::expr::{Expr, TextTest};
use super::syntax::{Ast, Fault, Node};
use crate::value::Value;

/// All there are.
const FUNCTIONS: [&str; 10] = [
    "has",
    "prev",
    "duration",
    "size",
    "abs",
    "iso6346",
    "distance_km",
    "startsWith",
    "endsWith",
    "contains",
];

impl Compiler<'_> {
    /// Compiles `function(…)` and `object.function(…)`.
    pub fn call(
        &mut self,
        ast: &Ast,
        object: Option<&Ast>,
        function: &str,
        arguments: &[Ast],
        names: &Names,
    ) -> Result<Typed, Fault> {
        if names.session && object.is_some_and(is_session) {
            return self.aggregate(ast, function, arguments);
        }
        match (object, function, arguments) {
            (None, "has", [inner]) => {
                let inner = self.compile(inner, names)?.expr;
                Ok(typed(Expr::Has(Box::new(inner)), Type::Bool))
            }
            (None, "prev", [inner]) => {
                let fact = match &inner.node {
                    Node::Name("value") if names.value.is_some() => {
                        return self.compile(inner, names);
                    }
                    Node::Name(name) => self.fact_named(name),
                    _ => None,
                };
                let Some(fact) = fact else {
                    return Err(fault(inner, "prev() takes the name of a fact".into(), None));
                };
                self.touch(fact);
                Ok(typed(Expr::Previous(fact), self.fact_type(inner, fact)?))
            }
            (None, "duration", [inner]) => {
                let span = match &inner.node {
                    Node::Text(text) => TimeSpan::parse(text),
                    _ => None,
                };
                let Some(span) = span else {
                    let help = Some("write duration('90d')".to_owned());
                    return Err(fault(inner, "not a span of time".into(), help));
                };
                Ok(typed(Expr::Constant(Value::Span(span)), Type::Span))
            }
            (None, "size", [inner]) | (Some(inner), "size", []) => {
                let done = self.compile(inner, names)?;
                if !matches!(done.ty, Type::Text | Type::Texts) {
                    return Err(fault(inner, format!("{} has no size", done.ty.name()), None));
                }
                Ok(typed(Expr::Size(Box::new(done.expr)), Type::Int))
            }
            (None, "abs", [inner]) => {
                let done = self.compile(inner, names)?;
                if !done.ty.is_number() && done.ty != Type::Span {
                    return Err(fault(inner, format!("{} has no sign", done.ty.name()), None));
                }
                Ok(typed(Expr::Absolute(Box::new(done.expr)), done.ty))
            }
            (None, "distance_km", [_, _, _, _]) => {
                let degrees = arguments.iter().map(|degrees| self.number(degrees, names));
                Ok(typed(Expr::Distance(degrees.collect::<Result<_, _>>()?), Type::Float))
            }
            (None, "iso6346", [inner]) => {
                let number = self.of_type(inner, names, Type::Text)?;
                Ok(typed(Expr::Container(Box::new(number)), Type::Bool))
            }
            (Some(object), "startsWith" | "endsWith" | "contains", [part]) => {
                let test = match function {
                    "startsWith" => TextTest::StartsWith,
                    "endsWith" => TextTest::EndsWith,
                    _ => TextTest::Contains,
                };
                let object = self.of_type(object, names, Type::Text)?;
                let part = self.of_type(part, names, Type::Text)?;
                Ok(typed(Expr::Text(test, Box::new(object), Box::new(part)), Type::Bool))
            }
            _ => {
                let message = format!("no function `{function}` of {} arguments", arguments.len());
                let help = did_you_mean(function, FUNCTIONS.into_iter())
                    .or_else(|| Some(format!("there are {}", FUNCTIONS.join(", "))));
                Err(fault(ast, message, help))
            }
        }
    }

    fn number(&mut self, ast: &Ast, names: &Names) -> Result<Expr, Fault> {
        let done = self.compile(ast, names)?;
        if !done.ty.is_number() {
            return Err(fault(ast, format!("this is {}, wanted a number", done.ty.name()), None));
        }
        Ok(done.expr)
    }
}

fn is_session(ast: &Ast) -> bool {
    matches!(&ast.node, Node::Name("s"))
}
