//! Sources: bytes, where they came from, how to acknowledge them.

pub mod file;
