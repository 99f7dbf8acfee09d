//! Operators of two sides: what may be compared, added, and looked for in what.

use std::sync::Arc;

use event::model::TableKind;

use super::check::{Compiler, Names, Type, Typed, fault, typed};
use super::expr::Expr;
use super::syntax::{Ast, Fault, Node, Operator};

impl Compiler<'_> {
    /// Compiles `a operator b`.
    pub fn binary(
        &mut self,
        ast: &Ast,
        operator: Operator,
        a: &Ast,
        b: &Ast,
        names: &Names,
    ) -> Result<Typed, Fault> {
        match operator {
            Operator::And | Operator::Or => {
                let left = Box::new(self.of_type(a, names, Type::Bool)?);
                let right = Box::new(self.of_type(b, names, Type::Bool)?);
                let expr = match operator {
                    Operator::And => Expr::And(left, right),
                    _ => Expr::Or(left, right),
                };
                Ok(typed(expr, Type::Bool))
            }
            Operator::In => self.membership(a, b, names),
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => self.arithmetic(ast, operator, a, b, names),
            _ => {
                let (left, right) = (self.compile(a, names)?, self.compile(b, names)?);
                let same = left.ty == right.ty || left.ty.is_number() && right.ty.is_number();
                let ordered = !matches!(left.ty, Type::Bool | Type::Texts);
                let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
                if !same || left.ty == Type::Texts || !(ordered || equality) {
                    let message =
                        format!("cannot compare {} with {}", left.ty.name(), right.ty.name());
                    return Err(fault(ast, message, None));
                }
                let sides = (Box::new(left.expr), Box::new(right.expr));
                Ok(typed(Expr::Compare(operator, sides.0, sides.1), Type::Bool))
            }
        }
    }

    fn membership(&mut self, item: &Ast, of: &Ast, names: &Names) -> Result<Typed, Fault> {
        if let Node::List(items) = &of.node {
            let done = self.compile(item, names)?;
            let mut values = Vec::with_capacity(items.len());
            for one in items {
                let value = match &one.node {
                    Node::Text(text) => self.text(one, text)?,
                    _ => self.compile(one, names)?,
                };
                let Expr::Constant(constant) = value.expr else {
                    return Err(fault(one, "a list holds constants only".into(), None));
                };
                if value.ty != done.ty && !(value.ty.is_number() && done.ty.is_number()) {
                    let message = format!("this is {}, wanted {}", value.ty.name(), done.ty.name());
                    return Err(fault(one, message, None));
                }
                values.push(constant);
            }
            return Ok(typed(Expr::OneOf(Box::new(done.expr), Arc::from(values)), Type::Bool));
        }
        if let Node::Name(name) = &of.node
            && let Some((table, known)) = self.model.table(name)
            && known.kind == TableKind::Integers
        {
            let item = Box::new(self.of_type(item, names, Type::Int)?);
            return Ok(typed(Expr::HasInteger(table as u16, item), Type::Bool));
        }
        let item = Box::new(self.of_type(item, names, Type::Text)?);
        if let Node::Name(name) = &of.node
            && let Some((table, _)) = self.model.table(name)
        {
            return Ok(typed(Expr::HasRow(table as u16, item), Type::Bool));
        }
        let list = self.of_type(of, names, Type::Texts)?;
        Ok(typed(Expr::InList(item, Box::new(list)), Type::Bool))
    }

    fn arithmetic(
        &mut self,
        ast: &Ast,
        operator: Operator,
        a: &Ast,
        b: &Ast,
        names: &Names,
    ) -> Result<Typed, Fault> {
        use Operator::{Add, Multiply, Subtract};
        let (left, right) = (self.compile(a, names)?, self.compile(b, names)?);
        let ty = match (operator, left.ty, right.ty) {
            (_, Type::Int, Type::Int) => Type::Int,
            (Operator::Remainder, ..) => {
                return Err(fault(ast, "% is for integers".into(), None));
            }
            (_, a, b) if a.is_number() && b.is_number() => Type::Float,
            (Add | Subtract, Type::Time, Type::Span) | (Add, Type::Span, Type::Time) => Type::Time,
            (Subtract, Type::Time, Type::Time)
            | (Add | Subtract, Type::Span, Type::Span)
            | (Multiply, Type::Span, Type::Int | Type::Float)
            | (Multiply, Type::Int | Type::Float, Type::Span) => Type::Span,
            (_, a, b) => {
                let message = format!("no such arithmetic of {} and {}", a.name(), b.name());
                return Err(fault(ast, message, None));
            }
        };
        let sides = (Box::new(left.expr), Box::new(right.expr));
        Ok(typed(Expr::Arithmetic(operator, sides.0, sides.1), ty))
    }
}
