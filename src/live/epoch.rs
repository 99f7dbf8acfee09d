//! Epochs: since when, by the log, an engine has run on this data folder, and under which
//! configurations.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use event::{EventTime, Position};
use serde_json::{Value, json};

/// Since when a configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Hash of the configuration.
    pub config: String,
    /// The record with which it took over: what stands before it was judged by the one before.
    pub from: Position,
    /// Who let it take over, and why.
    pub by: String,
    pub reason: String,
    /// When that was recorded.
    pub recorded: EventTime,
}

/// One engine's life. A new one begins with empty state, so its sites' outputs are numbered on from
/// what the store holds; configurations come and go within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Where in the log it began.
    pub from: Position,
    /// What is added to the number of each site's outputs.
    pub bases: BTreeMap<String, u64>,
    /// All that were in force on this data folder, oldest first; one at least.
    pub reigns: Vec<Reign>,
}

impl Epoch {
    /// The one in force; `None` in a new folder.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| path.display().to_string())?,
        };
        let value: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let bases = value["bases"].as_object().cloned().unwrap_or_default();
        let bases = bases.into_iter().filter_map(|(site, n)| Some((site, n.as_u64()?)));
        let reign = |value: &Value| {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Some(Reign {
                config: value["config"].as_str()?.to_owned(),
                from: Position(value["from"].as_u64()?),
                by: text("by"),
                reason: text("reason"),
                recorded: EventTime(value["recorded"].as_i64()?),
            })
        };
        let parsed = || {
            let reigns: Option<Vec<_>> = value["reigns"].as_array()?.iter().map(reign).collect();
            let reigns = reigns.filter(|reigns| !reigns.is_empty())?;
            Some(Self { from: Position(value["from"].as_u64()?), bases: bases.collect(), reigns })
        };
        parsed().map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it, durable and whole or not at all.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let reigns = self.reigns.iter().map(|reign| {
            json!({
                "config": reign.config, "from": reign.from.0, "by": reign.by,
                "reason": reign.reason, "recorded": reign.recorded.0,
            })
        });
        let reigns: Vec<_> = reigns.collect();
        let value = json!({"from": self.from.0, "bases": self.bases, "reigns": reigns});
        write_whole(path, value.to_string().as_bytes()).with_context(|| path.display().to_string())
    }

    /// Which configuration judged what stands at a position of the log.
    pub fn at(&self, position: Position) -> &Reign {
        let after = self.reigns.partition_point(|reign| reign.from <= position);
        &self.reigns[after.saturating_sub(1)]
    }

    /// Another configuration takes over; it may be read of again after a restart.
    pub fn begin(&mut self, reign: Reign) {
        self.reigns.retain(|known| known.from < reign.from);
        self.reigns.push(reign);
    }
}

/// Writes a file, so that after a crash there is the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    replace(&beside, path)
}

/// Gives a durable file its name, under which another may have stood until then.
pub fn replace(beside: &Path, path: &Path) -> std::io::Result<()> {
    fs::rename(beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reign(config: &str, from: u64) -> Reign {
        let (by, reason) = ("ann".to_owned(), "why".to_owned());
        Reign { config: config.into(), from: Position(from), by, reason, recorded: EventTime(7) }
    }

    #[test]
    fn a_position_has_the_configuration_that_judged_it() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let path = dir.path().join("epoch.json");
        let bases = [("s".to_owned(), 3)].into_iter().collect();
        let mut epoch = Epoch { from: Position(0), bases, reigns: vec![reign("a", 0)] };
        epoch.begin(reign("b", 100));
        epoch.begin(reign("c", 200));
        let at = |epoch: &Epoch, n| epoch.at(Position(n)).config.clone();
        let all = |epoch: &Epoch| [0, 99, 100, 199, 200, 9_999].map(|n| at(epoch, n));
        assert_eq!(all(&epoch), ["a", "a", "b", "b", "c", "c"]);
        epoch.save(&path).unwrap_or_else(|e| panic!("{e}"));
        let loaded = Epoch::load(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.as_ref(), Some(&epoch));
        // A recovery from before both reads of both again.
        epoch.begin(reign("b", 100));
        epoch.begin(reign("c", 200));
        assert_eq!(loaded, Some(epoch));
    }
}
