//! What leaves the engine, in words: detections, incidents, their evidence and their life.

use serde::{Deserialize, Serialize};

use crate::control::IncidentAct;
pub use crate::evidence::{Cited, Evidence, Said};
use crate::identity::TimedId;
use crate::time::EventTime;

/// How bad it is, lowest first (EEMUA 191 asks for about 80 / 15 / 5 % of the upper three).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Severity {
    /// For the record.
    #[default]
    Info,
    /// Look at it this shift.
    Low,
    /// Look at it now.
    Medium,
    /// Send somebody.
    High,
    /// Life or the whole site is at stake.
    Critical,
}

impl Severity {
    /// All, lowest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word in files and outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// How late something was found: what it came to depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Late, and still worth a call: people are told.
    Live,
    /// Late, and for the record: stored and correlated, and nobody is told.
    Recorded,
}

impl Tier {
    /// The word in the store and in outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Recorded => "recorded",
        }
    }

    /// The tier of a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Recorded].into_iter().find(|tier| tier.as_str() == text)
    }
}

/// The life of an incident (ISA-18.2, OPC UA part 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// The condition holds, nobody has acknowledged it.
    #[default]
    Active,
    /// Somebody has it.
    Acknowledged,
    /// The condition has gone.
    Cleared,
    /// An operator closed it with a disposition.
    Closed,
    /// Put aside by an operator for a time, with a reason.
    Shelved,
    /// Held back by a rule; counted, shown.
    Suppressed,
}

impl IncidentState {
    /// The word in the store and in outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Acknowledged => "acknowledged",
            Self::Cleared => "cleared",
            Self::Closed => "closed",
            Self::Shelved => "shelved",
            Self::Suppressed => "suppressed",
        }
    }
}

/// What an incident was, as the operator who closes it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// It was what it said.
    TrueAlarm,
    /// It was nothing.
    FalseAlarm,
    /// It could have become something.
    NearMiss,
    /// Somebody tried whether it works.
    Test,
    /// An exercise.
    Drill,
    /// Another incident tells it.
    Duplicate,
}

impl Disposition {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::TrueAlarm,
        Self::FalseAlarm,
        Self::NearMiss,
        Self::Test,
        Self::Drill,
        Self::Duplicate,
    ];

    /// The word in the store, in tests and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrueAlarm => "true-alarm",
            Self::FalseAlarm => "false-alarm",
            Self::NearMiss => "near-miss",
            Self::Test => "test",
            Self::Drill => "drill",
            Self::Duplicate => "duplicate",
        }
    }

    /// The disposition of a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == text)
    }
}

/// One rule's finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Derived: 48 bits of event time, 80 bits of hash.
    pub id: TimedId,
    /// The rule's id in the rulebook.
    pub rule: String,
    /// What the rule is about, in a sentence.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// The site; `enterprise` for the pseudo-site.
    pub site: String,
    /// The area, where one is known.
    pub area: Option<String>,
    /// The person, where one is known.
    pub person: Option<String>,
    /// The values the rule's state is kept by, joined by `/`.
    pub key: String,
    /// Event time: of the completing event, or of the deadline.
    pub at: EventTime,
    /// Contributing events, the trigger last.
    pub events: Vec<Evidence>,
    /// Contributing events that `evidence_max` left out.
    pub evidence_omitted: u64,
    /// The bound values: why it fired.
    pub why: Vec<(String, String)>,
    /// The incident it belongs to; `None` for rules in mode `shadow`. Of one that was held back, the
    /// incident it is shown on, where there is one.
    pub incident: Option<TimedId>,
    /// How far it verifies its incident: 0 no call, 1 little known, 2 a person is present, 3 a threat
    /// to property, 4 to life (TMA AVS-01).
    pub verification: u8,
    /// Found of what came later than the slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Tier>,
}

/// Detections grouped by what an operator would call one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The id of the detection that opened it.
    pub id: TimedId,
    /// The rule that opened it.
    pub rule: String,
    /// The opening rule's title.
    pub title: String,
    /// The highest among its detections.
    pub severity: Severity,
    /// The site.
    pub site: String,
    /// The area of the opening detection.
    pub area: Option<String>,
    /// The person of the opening detection.
    pub person: Option<String>,
    /// Its state.
    pub state: IncidentState,
    /// Event time of the opening detection.
    pub opened_at: EventTime,
    /// Event time of the newest detection.
    pub updated_at: EventTime,
    /// Hash of the configuration in force when it opened.
    pub config_hash: String,
    /// Incidents it is linked to.
    pub links: Vec<TimedId>,
}

/// One output of the engine, in the order of its site. `seq` counts from 1 for each site and is
/// what makes the store idempotent: an output at or below the site's `emitted_seq` stands already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The site whose sequence this is.
    pub site: String,
    /// Its number there.
    pub seq: u64,
    /// It comes of what came later than the slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Tier>,
    /// What our own clock said when the engine had concluded it: no part of what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concluded: Option<EventTime>,
    /// What happened.
    pub change: Change,
}

/// What an output says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A detection opened an incident.
    Opened(Box<Incident>, Box<Detection>),
    /// A detection joined an open incident, whose severity and time may have moved.
    Joined(Box<Detection>),
    /// A detection of a rule in mode `shadow`.
    Shadowed(Box<Detection>),
    /// A detection that a policy holds back from people: kept, counted, shown.
    Suppressed {
        /// It.
        detection: Box<Detection>,
        /// The policy's name.
        by: String,
    },
    /// A policy has raised an incident.
    Escalated {
        /// Which incident.
        incident: TimedId,
        /// Event time of the detection that decided it.
        at: EventTime,
        /// How bad it is now.
        severity: Severity,
        /// How far it is verified now.
        verification: u8,
        /// The policy's name.
        by: String,
    },
    /// Two incidents belong together; `at` is the event time of the detection that showed it.
    Linked {
        /// The newer incident.
        incident: TimedId,
        /// The older one.
        to: TimedId,
        /// Event time.
        at: EventTime,
    },
    /// An operator acted on an incident.
    Acted {
        /// Event time that the site had reached.
        at: EventTime,
        /// Which incident, and what was done.
        act: IncidentAct,
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
    },
    /// An incident's shelf has ended by itself.
    Unshelved {
        /// Which incident.
        incident: TimedId,
        /// Event time.
        at: EventTime,
    },
    /// An operator shelved a rule until a time, or took it up again (`until` is `None`).
    Shelf {
        /// The rule.
        rule: String,
        /// Its key, parts joined by `/`; empty: whatever its key.
        key: String,
        /// Event time.
        at: EventTime,
        /// When it ends by itself.
        until: Option<EventTime>,
        /// Who did it; empty where the shelf ended by itself.
        by: String,
        /// Why.
        reason: String,
    },
    /// An incident has been active for longer than it should be.
    Stale {
        /// Which incident.
        incident: TimedId,
        /// Event time.
        at: EventTime,
    },
    /// The condition has gone (door closed, gap passed).
    Cleared {
        /// Which incident.
        incident: TimedId,
        /// Event time.
        at: EventTime,
    },
}
