//! The `sinks` of a configuration.

use std::time::Duration;

use event::config::{Node, Reader};

use crate::kafka::Kafka;
use crate::limits;
use crate::sink::Sink;
use crate::webhook::{Endpoint, Webhook};

/// One configured sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its id: what its place in the outbox is kept by, so a new id starts anew.
    pub id: String,
    /// Time one delivery may take.
    pub timeout: Duration,
    /// Times one notification is tried before it becomes a dead letter.
    pub attempts_max: u32,
    /// Where to.
    pub target: Target,
}

/// Where a sink delivers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HTTP POST of one JSON object.
    Webhook {
        /// The receiver. Its path and query may be secret: only its origin is ever shown.
        url: Endpoint,
        /// The environment variable with the bearer token, where one is wanted.
        token_env: Option<String>,
    },
    /// A topic of Apache Kafka, keyed by incident.
    Kafka {
        /// `host:port`, several with commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
}

/// Why a configured sink cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The variable is not in the environment.
    #[error("sink {sink}: the environment variable {variable} is not set: put the token into it")]
    TokenUnset {
        /// The sink.
        sink: String,
        /// The variable.
        variable: String,
    },
    /// The token cannot stand in a header.
    #[error("sink {sink}: the token in {variable} has characters that no header takes")]
    TokenUnfit {
        /// The sink.
        sink: String,
        /// The variable.
        variable: String,
    },
    /// librdkafka refused the settings.
    #[error("sink {sink}: {source}")]
    Kafka {
        /// The sink.
        sink: String,
        /// Its word.
        source: rdkafka::error::KafkaError,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Kafka,
}

const COMMON: [&str; 4] = ["id", "type", "timeout", "attempts_max"];

impl SinkSettings {
    /// Reads one entry of `sinks`; faults go to the reader, all of them.
    pub fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let Some(kind) = node.get("type") else {
            reader.expect_keys(node, &[&COMMON[..], &["url", "brokers", "topic"]].concat());
            reader.error_at(node, "`type` is missing");
            return None;
        };
        let kind = reader.one_of(kind, &[("webhook", Kind::Webhook), ("kafka", Kind::Kafka)])?;
        let own: &[&str] = match kind {
            Kind::Webhook => &["url", "token_env"],
            Kind::Kafka => &["brokers", "topic"],
        };
        reader.expect_keys(node, &[&COMMON[..], own].concat());
        let id = reader.required_text(node, "id").filter(|id| !id.is_empty());
        let timeout = timeout(reader, node);
        let attempts_max = attempts(reader, node);
        let target = match kind {
            Kind::Webhook => {
                let token_env = reader.optional_text(node, "token_env");
                endpoint(reader, node).map(|url| Target::Webhook { url, token_env })
            }
            Kind::Kafka => {
                let brokers = reader.required_text(node, "brokers");
                let topic = reader.required_text(node, "topic");
                brokers.zip(topic).map(|(brokers, topic)| Target::Kafka { brokers, topic })
            }
        };
        Some(Self { id: id?, timeout: timeout?, attempts_max: attempts_max?, target: target? })
    }

    /// Makes the sink. It connects when it first delivers, so a receiver may be down meanwhile.
    ///
    /// # Errors
    /// A token is missing, or librdkafka refuses the settings.
    pub fn sink(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(match &self.target {
            Target::Webhook { url, token_env } => {
                Box::new(Webhook::new(self, url.clone(), token_env.as_deref())?)
            }
            Target::Kafka { brokers, topic } => Box::new(Kafka::new(self, brokers, topic)?),
        })
    }
}

fn endpoint(reader: &mut Reader, node: &Node) -> Option<Endpoint> {
    reader.required_text(node, "url")?;
    let value = node.get("url")?;
    let url = value.text().and_then(Endpoint::parse);
    if url.is_none() {
        let help = Some("write `https://host/path` or `http://host:port/path`".to_owned());
        reader.error_with(value, "this is not the URL of a web server", help);
    }
    url
}

fn timeout(reader: &mut Reader, node: &Node) -> Option<Duration> {
    let Some(value) = node.get("timeout") else { return Some(limits::DELIVERY_TIMEOUT) };
    let span = reader.optional_span(node, "timeout")?;
    let timeout = Duration::from_micros(u64::try_from(span.0).unwrap_or(0));
    if timeout < Duration::from_millis(1) || timeout > limits::DELIVERY_TIMEOUT_MAX {
        let most = limits::DELIVERY_TIMEOUT_MAX.as_secs();
        reader.error_at(value, format!("a time-out lies between 1ms and {most}s"));
        return None;
    }
    Some(timeout)
}

fn attempts(reader: &mut Reader, node: &Node) -> Option<u32> {
    let Some(value) = node.get("attempts_max") else { return Some(limits::ATTEMPTS_MAX) };
    let attempts = reader.parsed(value, "a number")?;
    if attempts == 0 {
        reader.error_at(value, "at least one attempt is needed");
        return None;
    }
    Some(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<SinkSettings>, String) {
        let (mut reader, node) = Reader::parse("portcullis.yaml", text);
        let settings =
            node.items().iter().filter_map(|n| SinkSettings::read(&mut reader, n)).collect();
        let said = reader.diagnostics.iter().map(ToString::to_string).collect();
        (settings, said)
    }

    #[test]
    fn both_kinds_are_read() {
        let (settings, said) = read(
            "- {id: soc, type: webhook, url: 'https://soc.example/hook?key=s3cret', timeout: 5s}\n\
             - {id: bus, type: kafka, brokers: '127.0.0.1:9092', topic: incidents, attempts_max: 3}\n",
        );
        assert_eq!(said, "");
        assert_eq!(settings[0].timeout, Duration::from_secs(5));
        assert_eq!(settings[0].attempts_max, limits::ATTEMPTS_MAX);
        assert_eq!(settings[1].attempts_max, 3);
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let (settings, said) = read(
            "- {id: a, type: webhok}\n- {type: webhook, url: soc.example, timeout: 1h, topc: x}\n\
             - {id: k, type: kafka, brokers: b, attempts_max: 0}\n",
        );
        assert_eq!(settings, []);
        for part in [
            "did you mean `webhook`?",
            "`id` is missing",
            "not the URL of a web server",
            "between 1ms and 120s",
            "unknown key `topc`",
            "`topic` is missing",
            "at least one attempt",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
