//! Every limit of the engine, with its arithmetic.

/// Parts of one key: a rule or fact is kept `by` at most this many fields.
pub const KEY_PARTS_MAX: usize = 3;

/// Values captured from earlier events of a run: they fill a run's cell (6 × 8 B).
pub const CAPTURES_MAX: usize = 6;

/// Steps of one sequence: a run's step is a `u8`, and evidence wants to stay readable.
pub const STEPS_MAX: usize = 16;

/// Evidence kept of one detection, the first and the last included, unless a rule says less.
pub const EVIDENCE_MAX: usize = 16;

/// Bound values shown with one detection.
pub const WHY_MAX: usize = 8;
