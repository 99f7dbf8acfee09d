//! A condition judged part by part: each with its words, its value, and those of its operands.

use crate::condition::Condition;
use crate::explain::Words;
use crate::lang::expr::Expr;
use crate::lang::syntax::{Ast, Node, Operator, parse};
use crate::value::{Env, Value};

/// How the parts of a judged expression make its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// `&&`.
    All,
    /// `||`.
    Any,
    /// `!`.
    Not,
    /// `a ? b : c`.
    Either,
    /// Its operands.
    Leaf,
}

/// One part of a condition, with what it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// As it was written, where it was; else as it might have been.
    pub text: String,
    /// What an exception is called.
    pub label: Option<String>,
    /// `file:line:column`, of what was written by itself.
    pub place: Option<String>,
    /// Its value, in words.
    pub value: String,
    /// True or false; nothing where it is missing, or no condition.
    pub holds: Option<bool>,
    /// Whether its value decided anything: what is behind a false `&&` does not.
    pub reached: bool,
    /// How its parts are joined.
    pub joint: Joint,
    /// Its parts, or the operands that are not constants.
    pub parts: Vec<Judged>,
}

struct Judge<'a, E> {
    words: &'a Words<'a>,
    condition: Option<&'a Condition>,
    env: &'a E,
}

/// Judges a condition.
pub(crate) fn judge(words: &Words<'_>, condition: &Condition, env: &impl Env) -> Judged {
    let judge = Judge { words, condition: Some(condition), env };
    judge.part(condition.expr(), None, true)
}

/// Judges an expression of which only the compiled form is at hand.
pub(crate) fn judge_expr(words: &Words<'_>, expr: &Expr, env: &impl Env) -> Judged {
    Judge { words, condition: None, env }.part(expr, None, true)
}

/// A text and its tree: what a part was written as.
type Source<'a> = Option<(&'a [char], &'a Ast<'a>)>;

impl<E: Env> Judge<'_, E> {
    fn part(&self, expr: &Expr, source: Source<'_>, reached: bool) -> Judged {
        if let Some(exception) = self.exception(expr, reached) {
            return exception;
        }
        let written = self.condition.and_then(|condition| condition.part(expr));
        if let (None, Some(written)) = (source, written) {
            let chars: Vec<char> = written.text.chars().collect();
            let ast = parse(&written.text).ok();
            let mut judged = self.known(expr, ast.as_ref().map(|ast| (&chars[..], ast)), reached);
            judged.text.clone_from(&written.text);
            judged.place = Some(written.place.to_string());
            judged.label.clone_from(&written.label);
            return judged;
        }
        self.known(expr, source, reached)
    }

    /// An exception: its words are those of what it holds, and it is met where that does not hold.
    fn exception(&self, expr: &Expr, reached: bool) -> Option<Judged> {
        let Expr::Not(holds) = expr else { return None };
        let Expr::Holds(inner) = &**holds else { return None };
        let condition = self.condition?;
        condition.part(inner)?.label.as_ref()?;
        let inner = self.part(inner, None, reached);
        Some(Judged { holds: Some(inner.holds != Some(true)), ..inner })
    }

    fn known(&self, expr: &Expr, source: Source<'_>, reached: bool) -> Judged {
        let value = expr.eval(self.env);
        let text = match source {
            Some((chars, ast)) => chars[ast.from..ast.to].iter().collect(),
            None => self.words.expr(expr),
        };
        let (joint, parts) = self.parts(expr, source, reached);
        // What a rulebook joins in other ways than by `&&` was never written as one text.
        let joined = source.is_none() && joint == Joint::All && self.condition.is_some();
        let text = if joined { "all of these".to_owned() } else { text };
        let holds = match value {
            Value::Bool(holds) => Some(holds),
            _ => None,
        };
        Judged {
            text,
            label: None,
            place: None,
            value: self.words.shown(value),
            holds,
            reached,
            joint,
            parts,
        }
    }

    fn parts<'s>(&self, expr: &Expr, source: Source<'s>, reached: bool) -> (Joint, Vec<Judged>) {
        let of = |node: Option<&'s Ast<'s>>| source.zip(node).map(|((chars, _), ast)| (chars, ast));
        let node = source.map(|(_, ast)| &ast.node);
        let sides = match node {
            Some(Node::Binary(_, a, b)) => [Some(&**a), Some(&**b)],
            Some(Node::Not(a)) => [Some(&**a), None],
            _ => [None, None],
        };
        match expr {
            Expr::And(a, b) | Expr::Or(a, b) => {
                let all = matches!(expr, Expr::And(..));
                let same = matches!(
                    (node, all),
                    (Some(Node::Binary(Operator::And, ..)), true)
                        | (Some(Node::Binary(Operator::Or, ..)), false)
                );
                let sides = if same { sides } else { [None, None] };
                let decides = Value::Bool(!all);
                let first = self.part(a, of(sides[0]), reached);
                let second = self.part(b, of(sides[1]), reached && a.eval(self.env) != decides);
                let joint = if all { Joint::All } else { Joint::Any };
                // `a && b && c` is one list of three, however it is bracketed.
                let flat = |judged: Judged| {
                    if judged.joint != joint {
                        return vec![judged];
                    }
                    let place = judged.place;
                    let at = |part: Judged| Judged { place: part.place.or(place.clone()), ..part };
                    judged.parts.into_iter().map(at).collect()
                };
                (joint, flat(first).into_iter().chain(flat(second)).collect())
            }
            Expr::Not(a) => (Joint::Not, vec![self.part(a, of(sides[0]), reached)]),
            Expr::Holds(a) => (Joint::Not, vec![self.part(a, source, reached)]),
            Expr::If(c, yes, no) => {
                let arms = match node {
                    Some(Node::If(c, yes, no)) => [Some(&**c), Some(&**yes), Some(&**no)],
                    _ => [None, None, None],
                };
                let chosen = c.eval(self.env);
                let parts = vec![
                    self.part(c, of(arms[0]), reached),
                    self.part(yes, of(arms[1]), reached && chosen == Value::Bool(true)),
                    self.part(no, of(arms[2]), reached && chosen == Value::Bool(false)),
                ];
                (Joint::Either, parts)
            }
            Expr::Compare(_, a, b) => {
                let sides = [(&**a, of(sides[0])), (&**b, of(sides[1]))];
                let operands = sides.into_iter().filter(|(side, _)| !is_constant(side));
                (Joint::Leaf, operands.map(|(side, at)| self.operand(side, at)).collect())
            }
            _ => {
                let operands = expr.operands().into_iter().filter(|side| !is_constant(side));
                (Joint::Leaf, operands.map(|side| self.operand(side, None)).collect())
            }
        }
    }

    /// An operand, and what it is made of in turn where it is no plain reading.
    fn operand(&self, expr: &Expr, source: Source<'_>) -> Judged {
        self.known(expr, source, true)
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Constant(_))
}

impl Judged {
    /// The parts that made it what it is not: those of an `&&` that do not hold, all of an `||`.
    #[must_use]
    pub fn failing(&self) -> Vec<&Judged> {
        match (self.joint, self.holds) {
            (_, Some(true)) => Vec::new(),
            (Joint::All, _) => self.parts.iter().flat_map(Self::failing).collect(),
            _ => vec![self],
        }
    }

    /// Its operands' values, in words: `refusals = 3, e.door = 'D1'`.
    #[must_use]
    pub fn operands(&self) -> String {
        let mut found: Vec<String> = Vec::new();
        self.collect_operands(&mut found);
        found.join(", ")
    }

    fn collect_operands(&self, found: &mut Vec<String>) {
        if self.parts.is_empty() && !self.text.is_empty() {
            let one = format!("{} = {}", self.text, self.value);
            if !found.contains(&one) {
                found.push(one);
            }
        }
        for part in &self.parts {
            part.collect_operands(found);
        }
    }
}
