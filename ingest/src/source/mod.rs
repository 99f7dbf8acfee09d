//! Sources: bytes, where they came from, how to acknowledge them.

pub mod backoff;
pub mod file;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod mqtt;
pub mod settings;
pub mod stdin;
pub mod turns;
