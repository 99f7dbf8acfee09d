//! What the store shows: the shapes of the API, by its names.

use std::collections::BTreeMap;

use event::EventTime;
use event::identity::TimedId;
use event::incident::{Evidence, IncidentState, Severity, Tier};
use serde::{Deserialize, Serialize};

/// Which incidents to list; what is `None` does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// In this state.
    pub state: Option<IncidentState>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// Of this site.
    pub site: Option<String>,
    /// Opened by this rule.
    pub rule: Option<String>,
    /// Active for longer than they should be.
    pub stale: Option<bool>,
    /// Whose title, rule, site, area, person or id contains this, in any case (ASCII).
    pub text: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// One incident as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentSummary {
    /// The id of the detection that opened it.
    pub id: TimedId,
    /// The rule that opened it.
    pub rule: String,
    /// That rule's title.
    pub title: String,
    /// The highest among its detections.
    pub severity: Severity,
    /// The site.
    pub site: String,
    /// The area, where one is known.
    pub area: Option<String>,
    /// The person, where one is known.
    pub person: Option<String>,
    /// Its state.
    pub state: IncidentState,
    /// Event time of the opening detection.
    pub opened_at: EventTime,
    /// Event time of the newest detection.
    pub updated_at: EventTime,
    /// How many detections.
    pub detections: u64,
    /// How many different events are kept as evidence.
    pub events: u64,
    /// How many more contributed and were not kept.
    pub evidence_omitted: u64,
    /// The feeds of those events, sorted.
    pub feeds: Vec<String>,
    /// The incidents it is linked with, either way, sorted.
    pub links: Vec<TimedId>,
    /// Hash of the configuration in force when it opened.
    pub config_hash: String,
    /// The store's revision of its last change.
    pub revision: u64,
    /// How far it is verified, 0–4 (TMA AVS-01).
    pub verification: u8,
    /// Detections that policies held back and that are shown on it.
    pub suppressed: u64,
    /// It was opened by what came later than the slack.
    pub late: Option<Tier>,
    /// Whom it was given to.
    pub assigned: Option<String>,
    /// What it was, where an operator has closed it.
    pub disposition: Option<String>,
    /// Since when it is stale.
    pub stale_at: Option<EventTime>,
}

/// One incident with all there is to see.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentDetail {
    /// The incident, with the full counts.
    pub incident: IncidentSummary,
    /// Its detections by time; at most [`crate::limits::DETAIL_ROWS_MAX`], as the lists below.
    pub detections: Vec<DetectionView>,
    /// Its evidence by time, each event once.
    pub events: Vec<Evidence>,
    /// What happened to it, in the order in which it became known.
    pub timeline: Vec<TimelineEntry>,
    /// The incidents it is linked with.
    pub links: Vec<LinkedIncident>,
    /// What policies held back and is shown on it, counted by policy.
    pub suppressed: BTreeMap<String, u64>,
}

/// That an incident was opened, and when that was known.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Its place in the order of storing.
    pub n: i64,
    /// The incident.
    pub id: TimedId,
    /// The rule that opened it.
    pub rule: String,
    /// Event time.
    pub opened_at: EventTime,
    /// Our own clock, when the engine had concluded it.
    pub concluded_at: Option<EventTime>,
}

/// One detection that a policy held back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SuppressedView {
    /// Its id.
    pub id: TimedId,
    /// The policy's name.
    pub by: String,
    /// The rule.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// How bad it would have been.
    pub severity: Severity,
    /// The site.
    pub site: String,
    /// The area, where one is known.
    pub area: Option<String>,
    /// The values the rule's state is kept by, joined by `/`.
    pub key: String,
    /// Event time.
    pub at: EventTime,
    /// The incident it is shown on, where there is one.
    pub incident: Option<TimedId>,
}

/// One detection of an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionView {
    /// Its id.
    pub id: TimedId,
    /// The rule.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// The values the rule's state is kept by, joined by `/`.
    pub key: String,
    /// Event time.
    pub at: EventTime,
    /// The contributing events' ids, the trigger last.
    pub events: Vec<String>,
    /// How many more contributed.
    pub evidence_omitted: u64,
    /// The bound values: why it fired.
    pub why: Vec<(String, String)>,
    /// Found of what came later than the slack.
    pub late: Option<Tier>,
}

/// One line of an incident's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// Event time.
    pub at: EventTime,
    /// `opened`, `joined`, `escalated`, `linked`, `cleared`, `returned`, `stale`; of what somebody did
    /// `acknowledged`, `assigned`, `closed`, `shelved`, `unshelved`.
    pub what: String,
    /// The detection or the linked incident.
    pub subject: Option<TimedId>,
    /// The same in a sentence.
    pub text: String,
    /// Who did it, where somebody did.
    pub by: Option<String>,
}

/// A rule at a site, or a key of it, that an operator has shelved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShelfView {
    /// The site.
    pub site: String,
    /// The rule.
    pub rule: String,
    /// Its key, parts joined by `/`; empty: whatever its key.
    pub key: String,
    /// Since when.
    pub at: EventTime,
    /// When it ends by itself.
    pub until: EventTime,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// The other end of a link. Only its id is known while its own site has not stored it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkedIncident {
    /// The other incident.
    pub id: TimedId,
    /// Event time of the detection that showed the link.
    pub at: EventTime,
    /// Its rule.
    pub rule: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// Its site.
    pub site: Option<String>,
}

/// A dead letter as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterView {
    /// `delivery` (came in) or `notification` (went out).
    pub class: String,
    /// The source, or the sink.
    pub source: String,
    /// Where the record stands in the log; a notification's number.
    pub position: u64,
    /// Why.
    pub reason: String,
    /// The bytes, cut after [`crate::limits::DEAD_LETTER_SHOWN_BYTES_MAX`]: text where they are
    /// UTF-8, else `base64:…`.
    pub raw: String,
    /// How many bytes there are.
    pub bytes: u64,
    /// When it was recorded.
    pub at: EventTime,
}

/// What the store holds, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Incidents.
    pub incidents: u64,
    /// Incidents by state.
    pub incidents_by_state: BTreeMap<String, u64>,
    /// Incidents by severity.
    pub incidents_by_severity: BTreeMap<String, u64>,
    /// Incidents by the rule that opened them.
    pub incidents_by_rule: BTreeMap<String, u64>,
    /// Detections of rules in mode `live`.
    pub detections: u64,
    /// Detections of rules in mode `shadow`.
    pub shadowed: u64,
    /// Detections that policies held back.
    pub suppressed: u64,
    /// Events kept as evidence, once for each incident that they are of.
    pub events: u64,
    /// Dead letters kept, by class.
    pub dead_letters: BTreeMap<String, u64>,
    /// Dead letters dropped because there were too many, by class.
    pub dead_letters_dropped: BTreeMap<String, u64>,
    /// The sinks of the configuration.
    pub sinks: Vec<SinkCounts>,
    /// The store's revision.
    pub revision: u64,
}

/// What became of the notifications of one sink, since the store was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkCounts {
    /// The sink's id.
    pub name: String,
    /// Waiting.
    pub pending: u64,
    /// Handed over.
    pub delivered: u64,
    /// Given up.
    pub dead: u64,
}
