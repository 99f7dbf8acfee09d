//! Every limit of the vocabulary, with its arithmetic.

/// Fields of one vocabulary, built-in and declared: presence is one bit each in a `u64`.
pub const FIELDS_MAX: usize = 64;

/// Kinds of one vocabulary: a kind is a `u16`, and an index over kinds is a dense table.
pub const KINDS_MAX: usize = 1_024;

/// Bytes of one interned text. Longer texts are rejected: a key of this size is not a name.
pub const SYMBOL_BYTES_MAX: usize = 1_024;

/// Interned texts of one process: 16 M × (16 B digest + 24 B entry + ~20 B text) ≈ 1 GiB at worst.
pub const SYMBOLS_MAX: usize = 1 << 24;

/// Bytes of one delivery. 1 MiB carries any event payload that is not a picture.
pub const DELIVERY_BYTES_MAX: usize = 1 << 20;

/// Depth of nesting of one payload: simd-json's own stack grows with it.
pub const DEPTH_MAX: usize = 64;

/// Events that one delivery may turn into: `part` is a `u16`.
pub const EVENTS_PER_DELIVERY_MAX: usize = 4_096;

/// Rows changed at run time that are remembered: 128 Ki × ~500 B = 64 MiB. Past it a change of a
/// further row is refused, and counted: what was changed before stands.
pub const CHANGED_ROWS_MAX: usize = 1 << 17;
