//! Epochs: since when, by the log, a configuration's engine has run on this data folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use event::Position;
use serde_json::{Value, json};

/// One configuration's reign. A new one begins with empty state, so its sites' outputs are
/// numbered on from what the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Hash of the configuration.
    pub config: String,
    /// Where in the log it began.
    pub from: Position,
    /// What is added to the number of each site's outputs.
    pub bases: BTreeMap<String, u64>,
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
        let parsed = || {
            let config = value["config"].as_str()?.to_owned();
            Some(Self { config, from: Position(value["from"].as_u64()?), bases: bases.collect() })
        };
        parsed().map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it, durable and whole or not at all.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let value = json!({"config": self.config, "from": self.from.0, "bases": self.bases});
        write_whole(path, value.to_string().as_bytes()).with_context(|| path.display().to_string())
    }
}

/// Writes a file so that after a crash there is the old one or the new one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    file.write_all(head)?;
    if path.extension().is_some_and(|e| e == "snapshot") {
        crate::crash::point("snapshot-half");
    }
    file.write_all(tail)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
