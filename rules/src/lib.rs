//! Language → plan → engine → correlation. Pure: no I/O, no clock, no threads, no random order.
//!
//! [`lang`] compiles a rulebook into a [`plan::Plan`]; [`engine::Engine`] runs it over blocks of
//! events and gives findings. The same log gives the same findings in any batch size, on any
//! number of shards, with a restart anywhere (INV-PURE).

pub mod calendar;
pub mod condition;
pub mod engine;
pub mod explain;
pub mod lang;
pub mod limits;
pub mod meaning;
pub mod plan;
mod policy;
pub mod probe;
mod texts;
pub mod trial;
pub mod value;
