//! `portcullis.yaml`: what a configuration says beside its rules, mappings and tables.

use std::path::{Path, PathBuf};

use event::TimeSpan;
use event::config::{Node, Reader};

/// A configuration's top file, read.
#[derive(Clone, Debug)]
pub struct Config {
    /// Live time, or history.
    pub live: bool,
    /// Names and time zones; none: every site name is taken.
    pub sites: Vec<(String, String)>,
    /// The sources, by `SourceId`.
    pub sources: Vec<Source>,
    /// Files of each kind, found.
    pub mappings: Vec<PathBuf>,
    /// Tables.
    pub model: Vec<PathBuf>,
    /// Rulebook.
    pub rules: Vec<PathBuf>,
    /// How long an identity is remembered.
    pub duplicates_within: TimeSpan,
    /// How many identities a site remembers.
    pub duplicates_max: usize,
    /// Live: a clock further off than this is quarantined.
    pub clock_skew_max: TimeSpan,
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in books and metrics.
    pub id: String,
    /// Mappings, tried in order.
    pub mappings: Vec<String>,
    /// The feed of events that name none.
    pub feed: Option<String>,
    /// The site of events that name none.
    pub site: Option<String>,
    /// How far behind a stream's newest an event may be.
    pub slack: TimeSpan,
    /// Patterns of file names that `replay` gives it.
    pub files: Vec<String>,
}

const KEYS: [&str; 12] = [
    "time",
    "sites",
    "sources",
    "mappings",
    "model",
    "rules",
    "store",
    "listen",
    "duplicates",
    "clock_skew_max",
    "sinks",
    "log",
];

impl Config {
    /// Reads the tree; faults stay in the reader.
    pub fn read(dir: &Path, reader: &mut Reader, root: &Node) -> Self {
        reader.expect_keys(root, &KEYS);
        let live = match root.get("time") {
            None => true,
            Some(node) => {
                reader.one_of(node, &[("live", true), ("history", false)]).unwrap_or(true)
            }
        };
        let mut sites = Vec::new();
        for site in root.get("sites").map(Node::items).unwrap_or_default() {
            reader.expect_keys(site, &["name", "time_zone"]);
            let zone = reader.optional_text(site, "time_zone").unwrap_or_else(|| "UTC".into());
            sites.extend(reader.required_text(site, "name").map(|name| (name, zone)));
        }
        let mut sources = Vec::new();
        for node in root.get("sources").map(Node::items).unwrap_or_default() {
            sources.extend(Source::read(reader, node));
        }
        let duplicates = root.get("duplicates");
        let duplicates_within = duplicates.and_then(|d| reader.optional_span(d, "within"));
        let duplicates_max = duplicates
            .and_then(|d| d.get("max"))
            .and_then(|n| reader.parsed(n, "a number of events"));
        Self {
            live,
            sites,
            sources,
            mappings: files(dir, reader, root.get("mappings")),
            model: files(dir, reader, root.get("model")),
            rules: files(dir, reader, root.get("rules")),
            duplicates_within: duplicates_within.unwrap_or(TimeSpan::from_secs(86_400)),
            duplicates_max: duplicates_max.unwrap_or(1_000_000),
            clock_skew_max: reader
                .optional_span(root, "clock_skew_max")
                .unwrap_or(TimeSpan::from_secs(600)),
        }
    }
}

impl Source {
    fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let texts = |reader: &mut Reader, key: &str| -> Vec<String> {
            let items = node.get(key).map(Node::items).unwrap_or_default();
            items.iter().filter_map(|n| reader.scalar(n).map(str::to_owned)).collect()
        };
        Some(Self {
            id: reader.required_text(node, "id")?,
            mappings: texts(reader, "mappings"),
            feed: reader.optional_text(node, "feed"),
            site: reader.optional_text(node, "site"),
            slack: reader.optional_span(node, "slack").unwrap_or(TimeSpan::from_secs(2)),
            files: texts(reader, "files"),
        })
    }
}

/// Files of a list of patterns (`rules/*.yaml`), sorted by name; one that matches nothing is a
/// fault.
fn files(dir: &Path, reader: &mut Reader, node: Option<&Node>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for pattern in node.map(Node::items).unwrap_or_default() {
        let Some(text) = reader.scalar(pattern).map(str::to_owned) else { continue };
        let path = dir.join(&text);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().unwrap_or(dir);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut matching: Vec<_> = entries
            .filter(|e| matches(&name, &e.file_name().to_string_lossy()))
            .map(|e| e.path())
            .filter(|p| p.is_file())
            .collect();
        matching.sort();
        if matching.is_empty() {
            reader.error_at(pattern, format!("no file matches `{text}`"));
        }
        found.append(&mut matching);
    }
    found
}

/// Whether a file name fits a pattern, where `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else {
        return false;
    };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_of_file_names() {
        assert!(matches("*.csv.gz", "a.csv.gz") && !matches("*.csv", "a.csv.gz"));
        assert!(matches("a*b*c", "a-b-c") && !matches("a*b*c", "a-c"));
        assert!(matches("exact", "exact") && !matches("exact", "exact2") && matches("*", ""));
    }
}
