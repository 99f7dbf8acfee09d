//! The rule language: rulebook files (YAML with CEL expressions) in, a [`crate::plan::Plan`] out.

mod check;
pub mod expr;
pub mod syntax;
