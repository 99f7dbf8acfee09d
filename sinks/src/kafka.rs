//! The Kafka topic: each notification is one message, keyed by its incident.
//!
//! One message is under way at a time: order and "delivered" then mean what they say, and
//! incidents are few.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::settings::{SinkError, SinkSettings};
use crate::sink::{Disposition, Notification, Sink};

/// Longer than `message.timeout.ms`, which librdkafka checks about once a second.
const REPORT_SLACK: Duration = Duration::from_secs(5);

/// One turn of librdkafka's events.
const POLL: Duration = Duration::from_millis(100);

/// Produces notifications to one topic.
pub struct Kafka {
    name: String,
    topic: String,
    timeout: Duration,
    attempts_max: u32,
    config: ClientConfig,
    /// `None` after a fatal error of the idempotent producer: the next delivery makes a new one.
    producer: Option<BaseProducer<Reports>>,
    sent: usize,
}

/// What became of the last message, by the number it was sent under.
#[derive(Default)]
struct Reports(Mutex<Option<(usize, Result<(), KafkaError>)>>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(fac, "librdkafka: {message}");
            }
            _ => tracing::warn!(fac, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "librdkafka: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, result));
    }
}

impl Reports {
    fn take(&self, number: usize) -> Option<Result<(), KafkaError>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|(of, _)| *of == number).map(|(_, result)| result)
    }
}

impl Kafka {
    pub(crate) fn new(
        settings: &SinkSettings,
        brokers: &str,
        topic: &str,
    ) -> Result<Self, SinkError> {
        let timeout_ms = settings.timeout.as_millis().to_string();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", format!("portcullis-{}", settings.id))
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            // As Java's clients do it, so that others find an incident's partition by its key.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", timeout_ms);
        let mut sink = Self {
            name: settings.id.clone(),
            topic: topic.to_owned(),
            timeout: settings.timeout,
            attempts_max: settings.attempts_max,
            config,
            producer: None,
            sent: 0,
        };
        let connected = sink.connect();
        connected.map_err(|source| SinkError::Kafka { sink: sink.name.clone(), source })?;
        Ok(sink)
    }

    fn connect(&mut self) -> Result<(), KafkaError> {
        if self.producer.is_none() {
            self.producer = Some(self.config.create_with_context(Reports::default())?);
        }
        Ok(())
    }

    /// Sends one message and waits for its report.
    fn produce(&mut self, notification: &Notification) -> Result<(), KafkaError> {
        self.connect()?;
        let Some(producer) = &self.producer else { return Err(KafkaError::Canceled) };
        self.sent += 1;
        let key = notification.incident.to_string();
        let id = Header { key: "id", value: Some(&notification.id) };
        let record = BaseRecord::with_opaque_to(&self.topic, self.sent)
            .key(&key)
            .payload(&notification.body)
            .headers(OwnedHeaders::new().insert(id));
        producer.send(record).map_err(|(error, _)| error)?;
        let deadline = Instant::now() + self.timeout + REPORT_SLACK;
        loop {
            producer.poll(POLL);
            if let Some(result) = producer.context().take(self.sent) {
                return result;
            }
            if Instant::now() >= deadline {
                return Err(KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut));
            }
        }
    }
}

impl Sink for Kafka {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, notification: &Notification) -> Result<(), Disposition> {
        let result = self.produce(notification);
        let broken = |p: &BaseProducer<Reports>| p.client().fatal_error().is_some();
        if self.producer.as_ref().is_some_and(broken) {
            self.producer = None;
        }
        result.map_err(|error| {
            let reason = format!("topic {}: {error}", self.topic);
            match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessage
                    | RDKafkaErrorCode::InvalidRecord,
                ) => Disposition::Reject(reason),
                Some(RDKafkaErrorCode::InvalidTopic) => Disposition::Fatal(reason),
                _ => Disposition::Retry(reason),
            }
        })
    }

    fn attempts_max(&self) -> u32 {
        self.attempts_max
    }
}
