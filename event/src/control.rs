//! Control records: what an operator, the interface, a watched file or the program itself changes.
//! Each is a record of the log, so that a replay changes the same at the same place (INV-LOG).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::TimedId;
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
    Incident(TimedId, Act),
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

/// What an operator does to an incident (ISA-18.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Somebody has it.
    Acknowledge,
    /// It is dealt with: true alarm, false alarm, near miss, test, drill, duplicate.
    Close(String),
    /// Put aside for so long at most.
    Shelve(TimeSpan),
    /// Taken up again before its time.
    Unshelve,
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
            Change::Incident(TimedId(1 << 90), Act::Shelve(TimeSpan::from_secs(60))),
            Change::Reload("ab12".into()),
        ];
        for change in changes {
            let control = Control { by: "ann".into(), reason: "lost".into(), change };
            assert_eq!(Control::parse(&control.payload()).ok(), Some(control));
        }
        assert!(Control::parse(b"{\"by\":\"ann\"}").is_err());
    }
}
