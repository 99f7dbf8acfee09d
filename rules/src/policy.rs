//! Policies of alarm management, compiled.

use event::TimeSpan;
use event::incident::Severity;

use crate::calendar::ScheduleId;
use crate::lang::expr::Expr;
use crate::plan::{FactId, FieldRef, RuleId, Scope};

/// Policies of alarm management: what is held back, and what makes an incident weigh more.
#[derive(Clone, Debug)]
pub struct Policies {
    /// Conditions under which detections mean nothing, in the order of the files.
    pub inhibit: Vec<Inhibition>,
    /// What raises an incident.
    pub escalate: Vec<Escalation>,
    /// When so many incidents open that nobody can look at each.
    pub flood: Option<Flood>,
    /// An incident that is active for so long is stale; `None`: never.
    pub stale: Option<TimeSpan>,
    /// Nothing stays shelved for longer.
    pub shelve_max: TimeSpan,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            inhibit: Vec::new(),
            escalate: Vec::new(),
            flood: None,
            stale: Some(STALE),
            shelve_max: SHELVE_MAX,
        }
    }
}

/// What a flood is called where nothing is said.
pub const FLOOD_TITLE: &str = "More incidents than anybody can look at";

/// A day (the trade's own figure for stale alarms).
const STALE: TimeSpan = TimeSpan::from_secs(86_400);
/// A shift: the next one decides anew.
const SHELVE_MAX: TimeSpan = TimeSpan::from_secs(8 * 3_600);

/// More incidents than anybody can look at (EEMUA 191: 10 in 10 minutes).
#[derive(Clone, Debug)]
pub struct Flood {
    /// The rule, without a pattern, that the flood's incident is of.
    pub rule: RuleId,
    /// So many incidents opened …
    pub at_least: u32,
    /// … within this span begin a flood.
    pub within: TimeSpan,
    /// Fewer than so many end it.
    pub until: u32,
    /// Incidents below this severity are folded into the flood's.
    pub passes: Severity,
}

/// While a condition holds, detections of some rules mean nothing: they are kept, and told nobody.
#[derive(Clone, Debug)]
pub struct Inhibition {
    /// Its name.
    pub id: String,
    /// The scope of its rules and facts.
    pub scope: Scope,
    /// Over the fields that a detection has.
    pub condition: Expr,
    /// A detection waits so long for the condition to be known; zero decides at once.
    pub hold: TimeSpan,
    /// The rules it holds back, in ascending order; none of life safety.
    pub targets: Vec<RuleId>,
    /// The facts that the condition reads.
    pub reads: Vec<FactId>,
    /// The schedules that it reads.
    pub schedules: Vec<ScheduleId>,
}

/// So many independent detectors in one incident make it weigh more.
#[derive(Clone, Debug)]
pub struct Escalation {
    /// Its name.
    pub id: String,
    /// The rules whose detections count, in ascending order.
    pub of: Vec<RuleId>,
    /// What tells independent ones apart; a detection without it does not count.
    pub independent: FieldRef,
    /// So many different ones.
    pub at_least: u32,
    /// Within this span; exactly so old is outside.
    pub within: TimeSpan,
    /// The incident is as bad as this, at least.
    pub severity: Option<Severity>,
    /// And verified as far as this.
    pub verification: Option<u8>,
}
