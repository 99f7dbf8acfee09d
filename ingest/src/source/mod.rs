//! Sources: bytes, where they came from, how to acknowledge them.

pub mod backoff;
pub mod file;
pub mod intake;
pub mod settings;
