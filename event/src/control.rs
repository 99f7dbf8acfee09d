//! Control records: what an operator, the interface, a watched file or the program itself changes.
//! Each is a record of the log, so that a replay changes the same at the same place (INV-LOG).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::TimedId;
use crate::incident::Disposition;
use crate::time::{EventTime, TimeSpan};

/// One control record. It takes effect at its place in the log, at the site's watermark there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Who made it: an operator's name, or the part of the program.
    pub by: String,
    /// Why, in their words; shelving and force-closing demand one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it changes.
    pub change: Change,
}

/// What a control record changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A row of a table of the site model is set or removed.
    Row(RowChange),
    /// An operator acts on an incident.
    Incident(IncidentAct),
    /// An operator shelves a rule, or takes it up again.
    Shelf(Shelf),
    /// Another rulebook takes over: the hash of the configuration, kept under it.
    Reload(String),
}

/// A row of a table, as it is from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowChange {
    /// The table.
    pub table: String,
    /// The row's key.
    pub row: String,
    /// Its cells by column; `None` removes the row.
    pub cells: Option<BTreeMap<String, serde_json::Value>>,
    /// When the change was made, where its origin says: an older one never undoes a newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<EventTime>,
}

/// What an operator does to an incident, and which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentAct {
    /// The incident's site, whose stream the act is a part of.
    pub site: String,
    /// The incident.
    pub incident: TimedId,
    /// What is done to it.
    pub act: Act,
}

/// What an operator does to an incident (ISA-18.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Somebody has it.
    Acknowledge,
    /// It is given to somebody.
    Assign(String),
    /// It is dealt with.
    Close(Disposition),
    /// Put aside for so long at most.
    Shelve(TimeSpan),
    /// Taken up again before its time.
    Unshelve,
}

/// A rule at a site, or one key of it, that an operator puts aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shelf {
    /// The site.
    pub site: String,
    /// The rule.
    pub rule: String,
    /// The parts of the rule's key; none: whatever its key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// For so long at most; `None` takes it up again.
    pub span: Option<TimeSpan>,
}

impl Control {
    /// As the payload of a record: JSON with its fields in one order.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match serde_json::to_vec(self) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("texts, numbers and maps of texts only: {error}"),
        }
    }

    /// Why an operator's act has no effect; `None` where nothing is missing.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let shelves = match &self.change {
            Change::Incident(act) => matches!(act.act, Act::Shelve(_)),
            Change::Shelf(shelf) => shelf.span.is_some(),
            _ => false,
        };
        if self.by.trim().is_empty() {
            return Some("nobody says that it is theirs: `by` is empty");
        }
        (shelves && self.reason.trim().is_empty()).then_some("what is shelved needs a reason")
    }

    /// Read from a record's payload; the error says what is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_record_is_read_as_it_was_written() {
        let cells = [("status".to_owned(), "stopped".into())].into_iter().collect();
        let changes = [
            Change::Row(RowChange {
                table: "credentials".into(),
                row: "C-77".into(),
                cells: Some(cells),
                at: Some(EventTime(7)),
            }),
            Change::Incident(IncidentAct {
                site: "north".into(),
                incident: TimedId(1 << 90),
                act: Act::Shelve(TimeSpan::from_secs(60)),
            }),
            Change::Shelf(Shelf {
                site: "north".into(),
                rule: "fence".into(),
                key: vec!["F1".into()],
                span: None,
            }),
            Change::Reload("ab12".into()),
        ];
        for change in changes {
            let control = Control { by: "ann".into(), reason: "lost".into(), change };
            assert_eq!(Control::parse(&control.payload()).ok(), Some(control));
        }
        assert!(Control::parse(b"{\"by\":\"ann\"}").is_err());
    }
}
