//! Expressions. (Placeholder until builder L lands: overwrite.)

use crate::value::{Env, Value};

/// A compiled expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A constant.
    Constant(Value),
}

impl Expr {
    /// Its value.
    pub fn eval(&self, _env: &impl Env) -> Value {
        match self {
            Self::Constant(value) => *value,
        }
    }

    /// Whether it is true.
    pub fn holds(&self, env: &impl Env) -> bool {
        self.eval(env) == Value::Bool(true)
    }
}
