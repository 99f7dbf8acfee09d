//! `portcullis.yaml`: what a configuration says beside its rules, mappings and tables.

use std::path::{Path, PathBuf};

use event::TimeSpan;
use event::config::{Node, Reader};
use ingest::source::settings::{Kind, SourceSettings};
use rules::engine::LateOptions;
use sinks::SinkSettings;

/// A configuration's top file, read.
#[derive(Clone, Debug)]
pub struct Config {
    /// Live time, or history.
    pub live: bool,
    /// Names and time zones; none: every site name is taken.
    pub sites: Vec<(String, String)>,
    /// The sources, by `SourceId`.
    pub sources: Vec<SourceSettings>,
    /// Where notifications go.
    pub sinks: Vec<SinkSettings>,
    /// Where the console listens.
    pub listen: String,
    /// The store's file, in the data folder.
    pub store: PathBuf,
    /// Bytes of log kept beyond what recovery needs, for evidence and replay.
    pub log_bytes_max: u64,
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
    /// Whether changed files are taken over while the program runs.
    pub watch: bool,
    /// What becomes of what comes later than the slack.
    pub late: LateOptions,
}

const KEYS: [&str; 14] = [
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
    "late",
    "sinks",
    "log",
    "reload",
];

/// Log kept for evidence and replay where the configuration does not say: 16 GiB, some 50 M
/// deliveries.
const LOG_BYTES_MAX: u64 = 16 << 30;

impl Config {
    /// What of it decides about incidents, as text: part of the configuration's hash.
    pub fn fingerprint(&self) -> String {
        let sources = self.sources.iter().map(|s| (&s.id, &s.mappings, &s.feed, &s.site, s.slack));
        let sources: Vec<_> = sources.collect();
        let admission = (self.duplicates_within, self.duplicates_max, self.clock_skew_max);
        format!("{:?}", (self.live, &self.sites, sources, admission, self.late))
    }

    /// What cannot change while the program runs, by the name of its key.
    pub fn fixed(&self) -> [(&'static str, String); 9] {
        let Self {
            live,
            sites: _,
            sources,
            sinks,
            listen,
            store,
            log_bytes_max,
            mappings: _,
            model: _,
            rules: _,
            duplicates_within,
            duplicates_max,
            clock_skew_max,
            watch,
            late: _,
        } = self;
        [
            ("time", live.to_string()),
            ("sources", format!("{sources:?}")),
            ("sinks", format!("{sinks:?}")),
            ("listen", listen.clone()),
            ("store", store.display().to_string()),
            ("log", log_bytes_max.to_string()),
            ("duplicates", format!("{:?}", (duplicates_within, duplicates_max))),
            ("clock_skew_max", format!("{clock_skew_max:?}")),
            ("reload", watch.to_string()),
        ]
    }

    /// Patterns of the file names that a source takes.
    pub fn files_of(source: &SourceSettings) -> &[String] {
        match &source.kind {
            Kind::File { files } => files,
            _ => &[],
        }
    }

    /// Reads the tree; faults stay in the reader. Without a folder the files that it names are
    /// not looked for: they are known already.
    pub fn read(dir: Option<&Path>, reader: &mut Reader, root: &Node) -> Self {
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
            sources.extend(SourceSettings::read(reader, node));
        }
        let mut sinks = Vec::new();
        for node in root.get("sinks").map(Node::items).unwrap_or_default() {
            sinks.extend(SinkSettings::read(reader, node));
        }
        for section in ["sources", "sinks"] {
            unique_ids(reader, root.get(section));
        }
        let store = root.get("store").and_then(|n| {
            reader.expect_keys(n, &["path"]);
            reader.optional_text(n, "path")
        });
        let log_bytes_max = root.get("log").and_then(|n| {
            reader.expect_keys(n, &["bytes_max"]);
            n.get("bytes_max").and_then(|n| reader.parsed(n, "a number of bytes"))
        });
        let watch = root.get("reload").and_then(|n| {
            reader.expect_keys(n, &["watch"]);
            n.get("watch").and_then(|n| reader.one_of(n, &[("true", true), ("false", false)]))
        });
        let listen = reader.optional_text(root, "listen");
        if let (Some(node), Some(text)) = (root.get("listen"), &listen)
            && text.parse::<std::net::SocketAddr>().is_err()
        {
            let help = Some("write an address and a port: 127.0.0.1:8080".to_owned());
            reader.error_with(node, format!("`{text}` is not an address to listen on"), help);
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
            sinks,
            listen: listen.unwrap_or_else(|| "127.0.0.1:8080".into()),
            store: store.unwrap_or_else(|| "incidents.db".into()).into(),
            log_bytes_max: log_bytes_max.unwrap_or(LOG_BYTES_MAX),
            mappings: files(dir, reader, root.get("mappings")),
            model: files(dir, reader, root.get("model")),
            rules: files(dir, reader, root.get("rules")),
            duplicates_within: duplicates_within.unwrap_or(TimeSpan::from_secs(86_400)),
            duplicates_max: duplicates_max.unwrap_or(1_000_000),
            clock_skew_max: reader
                .optional_span(root, "clock_skew_max")
                .unwrap_or(TimeSpan::from_secs(600)),
            watch: watch.unwrap_or(true),
            late: late(reader, root.get("late")),
        }
    }
}

/// `late: {live: 15m, recorded: 72h, settle: 10s}`, each with its default.
fn late(reader: &mut Reader, node: Option<&Node>) -> LateOptions {
    let mut late = LateOptions::default();
    let Some(node) = node else { return late };
    reader.expect_keys(node, &["live", "recorded", "settle"]);
    for (key, span) in
        [("live", &mut late.live), ("recorded", &mut late.recorded), ("settle", &mut late.settle)]
    {
        *span = reader.optional_span(node, key).unwrap_or(*span);
        if *span < TimeSpan::ZERO {
            reader.error_at(node.get(key).unwrap_or(node), "a time before now is no tier");
        }
    }
    if late.recorded < late.live {
        let help = Some("what is told to people is recorded, too: raise `recorded`".to_owned());
        reader.error_with(node, "`recorded` is shorter than `live`", help);
    }
    late
}

/// Ids keep books and offsets: each stands once.
fn unique_ids(reader: &mut Reader, list: Option<&Node>) {
    let nodes = list.map(Node::items).unwrap_or_default();
    for (place, node) in nodes.iter().enumerate() {
        let id = node.get("id").and_then(Node::text);
        let again = nodes[..place].iter().any(|n| n.get("id").and_then(Node::text) == id);
        if let (Some(at), true) = (node.get("id"), id.is_some() && again) {
            reader.error_at(at, "this id stands twice");
        }
    }
}

/// Files of a list of patterns (`rules/*.yaml`), sorted by name; one that matches nothing is a
/// fault.
fn files(dir: Option<&Path>, reader: &mut Reader, node: Option<&Node>) -> Vec<PathBuf> {
    let Some(dir) = dir else { return Vec::new() };
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
