//! The rules: language, meaning of every form, purity, and agreement with what others say.

mod alarms;
mod cel;
mod language;
mod late;
mod limits;
mod meaning;
mod oracle;
mod purity;
mod reload;
mod schema;
mod script;
mod siddhi;
#[path = "../../../tests/program/skipped.rs"]
mod skipped;
mod tables;
mod told;
mod why;
