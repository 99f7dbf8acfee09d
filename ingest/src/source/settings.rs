//! The `sources` of a configuration.

use std::time::Duration;

use event::TimeSpan;
use event::config::{Node, Reader};
use event::limits::DELIVERY_BYTES_MAX;

use super::intake::SourceError;

const SLACK: TimeSpan = TimeSpan(2_000_000);
const IDLE_AFTER: TimeSpan = TimeSpan(30_000_000);
const PAYLOAD_BYTES_MAX: usize = 262_144;
const MQTT_PORT: u16 = 1_883;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Deliveries taken from an MQTT broker and not yet acknowledged to it.
const INFLIGHT: u16 = 4_096;

/// One configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Its id: books, streams and offsets are kept by it.
    pub id: String,
    /// Where from.
    pub kind: Kind,
    /// The mappings tried on its deliveries, in order.
    pub mappings: Vec<String>,
    /// The feed of events whose mapping names none.
    pub feed: Option<String>,
    /// The site of events that name none.
    pub site: Option<String>,
    /// How far its streams may run out of order.
    pub slack: TimeSpan,
    /// Silence after which a drained stream is idle.
    pub idle_after: TimeSpan,
    /// Bytes of one delivery; a longer one is cut and rejected as oversize.
    pub payload_bytes_max: usize,
}

/// Where a source reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An MQTT 3.1.1 broker.
    Mqtt {
        /// The broker; an IPv6 address in brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Topic filters.
        topics: Vec<String>,
        /// The name of our session at the broker.
        client_id: String,
        /// Who we are, where the broker asks.
        username: Option<String>,
        /// The environment variable with the password.
        password_env: Option<String>,
        /// Between signs of life, in whole seconds.
        keep_alive: Duration,
        /// Deliveries taken and not yet acknowledged, at most: beyond that we stop reading.
        inflight: u16,
    },
    /// Topics of Apache Kafka, read as a member of a group.
    Kafka {
        /// `host:port`, several with commas.
        brokers: String,
        /// The topics.
        topics: Vec<String>,
        /// The group whose offsets are ours.
        group: String,
        /// The log keeps where payloads stand in the topic, and not the payloads.
        offsets: bool,
    },
    /// `POST /api/v1/events` of our own server.
    Http {
        /// The environment variable with the bearer token; without it anybody may post.
        token_env: Option<String>,
    },
    /// Files given to `replay`.
    File {
        /// Patterns of file names.
        files: Vec<String>,
    },
}

#[derive(Clone, Copy)]
enum Type {
    Mqtt,
    Kafka,
    Http,
    File,
}

const TYPES: [(&str, Type); 4] =
    [("mqtt", Type::Mqtt), ("kafka", Type::Kafka), ("http", Type::Http), ("file", Type::File)];

const COMMON: [&str; 8] =
    ["id", "type", "mappings", "feed", "site", "slack", "idle_after", "payload_bytes_max"];

const MQTT: [&str; 7] =
    ["url", "topics", "client_id", "username", "password_env", "keep_alive", "inflight"];
const KAFKA: [&str; 4] = ["brokers", "topics", "group", "log"];
const HTTP: [&str; 1] = ["token_env"];
const FILE: [&str; 1] = ["files"];

impl SourceSettings {
    /// Reads one entry of `sources`; faults go to the reader, all of them. That ids differ is for
    /// the caller to check: it sees all entries.
    pub fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let kind = match node.get("type") {
            Some(kind) => reader.one_of(kind, &TYPES),
            None => {
                let help = Some("write `type: mqtt`, `kafka`, `http` or `file`".to_owned());
                reader.error_with(node, "`type` is missing", help);
                None
            }
        };
        let own: &[&[&str]] = match kind {
            Some(Type::Mqtt) => &[&MQTT],
            Some(Type::Kafka) => &[&KAFKA],
            Some(Type::Http) => &[&HTTP],
            Some(Type::File) => &[&FILE],
            None => &[&MQTT, &KAFKA, &HTTP, &FILE],
        };
        let mut keys = [&COMMON[..], &own.concat()].concat();
        if let (Some(kind), Some(log)) = (kind, node.get("log"))
            && !matches!(kind, Type::Kafka)
        {
            let help = "leave it out: only what comes by `type: kafka` can be read there again";
            reader.error_with(log, "this source's payloads stand in the log", Some(help.into()));
            keys.push("log");
        }
        reader.expect_keys(node, &keys);
        let id = id(reader, node);
        let mappings = texts(reader, node, "mappings");
        let feed = reader.optional_text(node, "feed");
        let site = reader.optional_text(node, "site");
        let slack = span(reader, node, "slack", SLACK, TimeSpan(0));
        let idle_after = span(reader, node, "idle_after", IDLE_AFTER, TimeSpan(1_000));
        let most = DELIVERY_BYTES_MAX as u64;
        let bytes = number(reader, node, "payload_bytes_max", PAYLOAD_BYTES_MAX as u64, 1..=most);
        let kind = match kind? {
            Type::Mqtt => mqtt(reader, node, id.as_deref()),
            Type::Kafka => kafka(reader, node),
            Type::Http => Some(Kind::Http { token_env: reader.optional_text(node, "token_env") }),
            Type::File => texts(reader, node, "files").map(|files| Kind::File { files }),
        };
        Some(Self {
            id: id?,
            kind: kind?,
            mappings: mappings?,
            feed,
            site,
            slack: slack?,
            idle_after: idle_after?,
            payload_bytes_max: bytes? as usize,
        })
    }

    /// [`Self::idle_after`] as the system's clock counts.
    #[must_use]
    pub fn idle_after(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.idle_after.0).unwrap_or(0))
    }

    /// The secret that an environment variable holds.
    ///
    /// # Errors
    /// [`SourceError::SecretUnset`] when it is named and not set.
    pub(crate) fn secret(&self, variable: Option<&str>) -> Result<Option<String>, SourceError> {
        let Some(variable) = variable else { return Ok(None) };
        match std::env::var(variable) {
            Ok(secret) if !secret.is_empty() => Ok(Some(secret)),
            _ => Err(SourceError::SecretUnset {
                source_id: self.id.clone(),
                variable: variable.to_owned(),
            }),
        }
    }
}

fn mqtt(reader: &mut Reader, node: &Node, id: Option<&str>) -> Option<Kind> {
    let broker = broker(reader, node);
    let topics = texts(reader, node, "topics");
    for item in node.get("topics").map(Node::items).unwrap_or_default() {
        if item.text().is_some_and(|t| !t.is_empty() && !rumqttc::valid_filter(t)) {
            let help = Some(
                "`+` and `#` stand alone between slashes, `#` only at the end: site/+/badge/#"
                    .to_owned(),
            );
            reader.error_with(item, "this is not a topic filter of MQTT", help);
        }
    }
    let client_id = match reader.optional_text(node, "client_id") {
        Some(given) if given.is_empty() => {
            let help = Some("leave it out, or name the session".to_owned());
            reader.error_with(node.get("client_id")?, "a lasting session needs a name", help);
            None
        }
        given => given.or_else(|| id.map(|id| format!("portcullis-{id}"))),
    };
    let username = reader.optional_text(node, "username");
    let password_env = reader.optional_text(node, "password_env");
    if let (Some(password), None) = (node.get("password_env"), &username) {
        reader.error_at(password, "a password needs a `username`");
    }
    let default = TimeSpan(KEEP_ALIVE.as_micros() as i64);
    let keep_alive = span(reader, node, "keep_alive", default, TimeSpan(1_000_000));
    let inflight = number(reader, node, "inflight", u64::from(INFLIGHT), 1..=65_535);
    let (host, port) = broker?;
    Some(Kind::Mqtt {
        host,
        port,
        topics: topics?,
        client_id: client_id?,
        username,
        password_env,
        // The protocol counts whole seconds in 16 bits.
        keep_alive: Duration::from_secs((keep_alive?.0 / 1_000_000).clamp(1, 65_535) as u64),
        inflight: inflight? as u16,
    })
}

fn broker(reader: &mut Reader, node: &Node) -> Option<(String, u16)> {
    reader.required_text(node, "url")?;
    let value = node.get("url")?;
    let text = value.text()?;
    let fault = match text.split_once("://") {
        Some(("mqtt" | "tcp", rest)) => match address(rest.trim_end_matches('/')) {
            Some(address) => return Some(address),
            None if rest.contains('@') => "write `username` and `password_env`, not `user@`",
            None => "write `mqtt://host:port`",
        },
        Some(("mqtts" | "ssl" | "ws" | "wss", _)) => {
            "only plain MQTT is spoken: put a TLS proxy on this machine and write its `mqtt://` URL"
        }
        _ => "write `mqtt://host:port`",
    };
    reader.error_with(value, "this is not the URL of an MQTT broker", Some(fault.to_owned()));
    None
}

/// Host and port; `None` where the text is anything else.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, MQTT_PORT),
    };
    let plain = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '@', '[', ']', '?', '#', ' ']),
    };
    (plain && port != 0).then(|| (host.to_owned(), port))
}

fn kafka(reader: &mut Reader, node: &Node) -> Option<Kind> {
    let brokers = filled(reader, node, "brokers");
    let topics = texts(reader, node, "topics");
    let group = filled(reader, node, "group");
    let offsets = match node.get("log") {
        Some(log) => reader.one_of(log, &[("payloads", false), ("offsets", true)]),
        None => Some(false),
    };
    Some(Kind::Kafka { brokers: brokers?, topics: topics?, group: group?, offsets: offsets? })
}

fn id(reader: &mut Reader, node: &Node) -> Option<String> {
    let id = filled(reader, node, "id")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.chars().all(fits) {
        let help = Some("use letters, digits, `-`, `_` and `.`".to_owned());
        reader.error_with(node.get("id")?, format!("`{id}` is not an id"), help);
        return None;
    }
    Some(id)
}

/// A required text that is not empty.
fn filled(reader: &mut Reader, node: &Node, key: &str) -> Option<String> {
    let text = reader.required_text(node, key)?;
    if text.is_empty() {
        reader.error_at(node.get(key)?, format!("`{key}` is empty"));
        return None;
    }
    Some(text)
}

/// A required list of texts, each given once.
fn texts(reader: &mut Reader, node: &Node, key: &str) -> Option<Vec<String>> {
    let Some(list) = node.get(key) else {
        reader.error_at(node, format!("`{key}` is missing"));
        return None;
    };
    if list.items().is_empty() {
        reader.error_at(list, format!("`{key}` is empty"));
        return None;
    }
    let mut texts = Vec::new();
    for item in list.items() {
        match reader.scalar(item).map(str::to_owned) {
            Some(text) if text.is_empty() => {
                reader.error_at(item, format!("`{key}` has an empty entry"));
            }
            Some(text) if texts.contains(&text) => {
                reader.error_at(item, format!("`{text}` stands twice"));
            }
            Some(text) => texts.push(text),
            None => {}
        }
    }
    (texts.len() == list.items().len()).then_some(texts)
}

fn span(
    reader: &mut Reader,
    node: &Node,
    key: &str,
    default: TimeSpan,
    least: TimeSpan,
) -> Option<TimeSpan> {
    let Some(value) = node.get(key) else { return Some(default) };
    let span = reader.optional_span(node, key)?;
    if span < least {
        reader.error_at(value, format!("`{key}` is at least {}ms", least.0 / 1_000));
        return None;
    }
    Some(span)
}

fn number(
    reader: &mut Reader,
    node: &Node,
    key: &str,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Option<u64> {
    let Some(value) = node.get(key) else { return Some(default) };
    let number = reader.parsed::<u64>(value, "a whole number")?;
    if !range.contains(&number) {
        let (least, most) = range.into_inner();
        reader.error_at(value, format!("`{key}` lies between {least} and {most}"));
        return None;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<SourceSettings>, String) {
        let (mut reader, node) = Reader::parse("portcullis.yaml", text);
        let settings =
            node.items().iter().filter_map(|n| SourceSettings::read(&mut reader, n)).collect();
        let said = reader.diagnostics.iter().map(ToString::to_string).collect();
        (settings, said)
    }

    #[test]
    fn every_type_is_read() {
        let (settings, said) = read(
            "- {id: badge, type: mqtt, url: 'mqtt://[::1]:1884', topics: ['site/+/badge/#'], \
                mappings: [canonical], slack: 5s, keep_alive: 10s, inflight: 20}\n\
             - {id: k, type: kafka, brokers: '127.0.0.1:9092', topics: events, group: g, \
                mappings: [canonical], payload_bytes_max: 1000}\n\
             - {id: http, type: http, mappings: [canonical, cloudevents], token_env: T, feed: f}\n\
             - {id: files, type: file, files: ['*.ndjson', '*.csv.gz'], mappings: [prox-csv]}\n",
        );
        assert_eq!(said, "");
        assert_eq!(settings.len(), 4);
        let Kind::Mqtt { host, port, client_id, keep_alive, inflight, .. } = &settings[0].kind
        else {
            panic!("{settings:?}")
        };
        assert_eq!((host.as_str(), *port, client_id.as_str()), ("[::1]", 1884, "portcullis-badge"));
        assert_eq!((keep_alive.as_secs(), *inflight), (10, 20));
        assert_eq!(settings[0].slack, TimeSpan(5_000_000));
        assert_eq!(settings[0].idle_after(), Duration::from_secs(30));
        assert_eq!(settings[0].payload_bytes_max, 262_144);
        assert_eq!(settings[1].payload_bytes_max, 1_000);
        assert_eq!(settings[2].kind, Kind::Http { token_env: Some("T".to_owned()) });
        assert_eq!(settings[2].feed.as_deref(), Some("f"));
    }

    #[test]
    fn offsets_alone_are_kept_of_kafka_only() {
        let kafka = "brokers: 'b:1', topics: t, group: g, mappings: [m]";
        let (settings, said) = read(&format!(
            "- {{id: a, type: kafka, {kafka}, log: offsets}}\n\
             - {{id: b, type: kafka, {kafka}, log: payloads}}\n- {{id: c, type: kafka, {kafka}}}\n"
        ));
        assert_eq!(said, "");
        let kept = |s: &SourceSettings| matches!(s.kind, Kind::Kafka { offsets: true, .. });
        assert_eq!(settings.iter().map(kept).collect::<Vec<_>>(), [true, false, false]);
        let (settings, said) = read(&format!(
            "- {{id: a, type: http, mappings: [m], log: offsets}}\n\
             - {{id: b, type: kafka, {kafka}, log: ofsets}}\n"
        ));
        assert_eq!(settings.len(), 1, "{said}");
        assert!(said.contains("only what comes by `type: kafka`"), "{said}");
        assert!(said.contains("did you mean `offsets`?"), "{said}");
        assert!(!said.contains("unknown"), "{said}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let (settings, said) = read(
            "- {id: a, type: mqt, mappings: [x]}\n\
             - {type: mqtt, url: 'mqtts://x:8883', topics: ['a/#/b', c, c], slac: 1s}\n\
             - {id: 'a b', type: kafka, topics: [], mappings: [m], payload_bytes_max: 9999999}\n\
             - {id: h, mappings: [m], idle_after: 3}\n\
             - {id: m, type: mqtt, url: 'mqtt://u@h:1', topics: t, mappings: m, inflight: 0, \
                password_env: P, keep_alive: 1ms}\n\
             - {id: f, type: file, mappings: [m]}\n\
             - 7\n",
        );
        assert_eq!(settings, []);
        for part in [
            "did you mean `mqtt`?",
            "put a TLS proxy",
            "not a topic filter of MQTT",
            "`c` stands twice",
            "did you mean `slack`?",
            "`id` is missing",
            "`mappings` is missing",
            "`a b` is not an id",
            "`brokers` is missing",
            "`topics` is empty",
            "`group` is missing",
            "between 1 and 1048576",
            "`type` is missing",
            "`3` is not a span of time",
            "not `user@`",
            "between 1 and 65535",
            "a password needs a `username`",
            "`keep_alive` is at least 1000ms",
            "`files` is missing",
            "expected a mapping",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn addresses_are_hosts_and_ports() {
        for (text, wanted) in [
            ("h", Some(("h", 1883))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("[::1]", Some(("[::1]", 1883))),
            ("::1", None),
            ("h:0", None),
            ("h:65536", None),
            ("h/x", None),
            (":1883", None),
        ] {
            assert_eq!(address(text), wanted.map(|(h, p)| (h.to_owned(), p)), "{text}");
        }
    }
}
