//! The way in: sources, the log, decoding and mappings, the site model.
//!
//! A source hands over [`event::RecordBlock`]s; the log makes them durable; a [`decode::Decoder`]
//! turns each delivery into events by a [`mapping::Mappings`], or says why not.

pub mod decode;
pub mod limits;
pub mod log;
pub mod mapping;
pub mod model;
pub mod registry;
pub mod source;
