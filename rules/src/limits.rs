//! Every limit of the engine, with its arithmetic.

/// Parts of one key: a rule or fact is kept `by` at most this many fields.
pub const KEY_PARTS_MAX: usize = 3;

/// Values captured from earlier events of a run: they fill a run's course (8 × 8 B).
pub const CAPTURES_MAX: usize = 8;

/// Steps of one sequence: a run's step is a `u8`, and evidence wants to stay readable.
pub const STEPS_MAX: usize = 16;

/// Parts of one `all` or `any` step: their marks share a word with another eight.
pub const PARTS_MAX: usize = 8;

/// Evidence kept of one detection, the first and the last included, unless a rule says less.
pub const EVIDENCE_MAX: usize = 16;

/// Bound values shown with one detection.
pub const WHY_MAX: usize = 8;

/// Cells of one page: the unit of a dirty mark, of an incremental snapshot, and of what is put aside
/// when it changes while a snapshot is written (16 × 64 B = 1 KiB).
pub const PAGE_CELLS: usize = 16;

/// Live keys of one site's state: 4 M × 64 B = 256 MiB. Past it the fact or rule that holds the
/// most gives up its oldest, and counts it.
pub const KEYS_MAX: usize = 1 << 22;

/// Waiting runs of one site: 4 M × 96 B = 384 MiB, and 120 B for one that has come further than to
/// its second event. Past it as with keys.
pub const RUNS_MAX: usize = 1 << 22;

/// Events that one site remembers in windows, guards and runs: 8 M × 64 B = 512 MiB. Past it as
/// with keys.
pub const ENTRIES_MAX: usize = 1 << 23;

/// Keys of one fact or rule at one site, where `limits` says nothing: a quarter of the site's, so
/// that one of them alone never fills it (1 M × 64 B = 64 MiB).
pub const RULE_KEYS_MAX: u32 = 1 << 20;

/// Waiting runs of one rule at one site, where `limits` says nothing: a quarter of the site's (1 M ×
/// 96 B = 96 MiB), so that a rule by badge has one for each of a million.
pub const RULE_RUNS_MAX: u32 = 1 << 20;

/// Events that one key of a fact or rule remembers, where `limits` says nothing: a window counts no
/// further (64 Ki × 64 B = 4 MiB).
pub const KEY_EVENTS_MAX: u32 = 1 << 16;

/// Things given up before it is looked up anew which fact or rule holds the most: what that costs
/// (one look at each) is spread over so many.
pub const FULLEST_TURN: u32 = 1 << 10;

/// Events in one site's reorder buffer: 1 M × ~300 B = 300 MiB. Past it the oldest is released
/// early, and counted.
pub const WAITING_MAX: usize = 1 << 20;

/// Late events that wait for their repair: 64 k × ~300 B = 20 MB, in every snapshot while they wait.
pub const LATE_MAX: usize = 1 << 16;

/// Detections of one site that are remembered, so that no repair says one again: 64 k × 40 B = 3 MB.
pub const SAID_MAX: usize = 1 << 16;

/// Events that one repair reads again: 256 k × ~300 B, twice in memory, = 160 MB; below a second.
pub const REPAIR_EVENTS_MAX: usize = 1 << 18;

/// Incidents of one site that may still take something: 256 Ki × 72 B = 18 MiB. Past it, of sixteen
/// the one that was quiet for longest is let go, and counted: what would have joined it opens another.
pub const INCIDENTS_MAX: usize = 1 << 18;

/// Detections of one site that wait, or last while they are held back: 64 Ki × 208 B = 13 MiB, and
/// their evidence. Past it none waits: it is told, and counted; nor is one kept to be told later.
pub const HELD_MAX: usize = 1 << 16;

/// Incidents that one incident is linked to: a page of links is no longer read by anybody.
pub const LINKS_MAX: usize = 64;

/// Policies of one kind (`inhibit`, `escalate`): which have spoken of an incident is a word of bits.
pub const POLICIES_MAX: usize = 64;

/// Days ahead that the next edge of a schedule is looked for: leap years and yearly holidays.
pub const SCHEDULE_DAYS_MAX: i64 = 400;

/// Rules, and facts: they are numbered by `u16`, and so are kinds of event, of which each rule's
/// detections are one more.
pub const RULES_MAX: usize = 60_000;

/// Characters of one expression: more is a program, not a condition.
pub const EXPRESSION_CHARS_MAX: usize = 4_096;

/// Depth of one expression: evaluation recurses this deep at most.
pub const EXPRESSION_DEPTH_MAX: usize = 64;
