//! The rule language: rulebook files (YAML with CEL expressions) in, a [`crate::plan::Plan`] out.
//!
//! Every fault of every file is reported at once, with file, line, column and what to write.

mod check;
mod detections;
pub mod expr;
mod fact;
mod functions;
mod names;
mod operators;
mod pattern;
mod policy;
mod rulebook;
mod schedule;
pub mod schema;
mod sequence;
mod session;
mod shared;
pub mod syntax;

pub use rulebook::{SECTIONS, Source, compile, declare, parse, rule_keys};
