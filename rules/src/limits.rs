//! Every limit of the engine, with its arithmetic.

/// Parts of one key: a rule or fact is kept `by` at most this many fields.
pub const KEY_PARTS_MAX: usize = 3;

/// Values captured from earlier events of a run: they fill a run's cell (8 × 8 B).
pub const CAPTURES_MAX: usize = 8;

/// Steps of one sequence: a run's step is a `u8`, and evidence wants to stay readable.
pub const STEPS_MAX: usize = 16;

/// Parts of one `all` or `any` step: their marks share a word with another eight.
pub const PARTS_MAX: usize = 8;

/// Evidence kept of one detection, the first and the last included, unless a rule says less.
pub const EVIDENCE_MAX: usize = 16;

/// Bound values shown with one detection.
pub const WHY_MAX: usize = 8;

/// Cells of one page: the unit of a dirty mark and of an incremental snapshot (64 × 64 B = 4 KiB).
pub const PAGE_CELLS: usize = 64;

/// Live keys of one site's state, unless the configuration says otherwise: 4 M × 64 B = 256 MiB.
pub const KEYS_MAX: usize = 1 << 22;

/// Waiting runs of one site: 1 M × 184 B = 184 MiB.
pub const RUNS_MAX: usize = 1 << 20;

/// Window entries of one site: 8 M × 88 B = 704 MiB.
pub const ENTRIES_MAX: usize = 1 << 23;

/// Events in one site's reorder buffer: 1 M × ~300 B = 300 MiB. Past it the oldest is released
/// early, and counted.
pub const WAITING_MAX: usize = 1 << 20;

/// Incidents that one incident is linked to: a page of links is no longer read by anybody.
pub const LINKS_MAX: usize = 64;

/// Policies of one kind (`inhibit`, `escalate`): which have spoken of an incident is a word of bits.
pub const POLICIES_MAX: usize = 64;

/// Days ahead that the next edge of a schedule is looked for: leap years and yearly holidays.
pub const SCHEDULE_DAYS_MAX: i64 = 400;

/// Characters of one expression: more is a program, not a condition.
pub const EXPRESSION_CHARS_MAX: usize = 4_096;

/// Depth of one expression: evaluation recurses this deep at most.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
