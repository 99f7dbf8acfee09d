//! The rule language: rulebook files in, a plan out. (Placeholder until builder L lands: overwrite.)

pub mod expr;
