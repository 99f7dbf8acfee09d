//! The ways in: a pipe, a Mosquitto, a Kafka.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use super::child::PATIENCE;

/// Messages under way to the MQTT broker and not acknowledged by it.
const INFLIGHT: u16 = 1_000;

/// Which way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lane {
    /// Lines through a pipe, each logged as it came.
    Stdin,
    /// Messages of QoS 1 through an MQTT broker: a Mosquitto of our own, or --broker.
    Mqtt,
    /// Records of one partition of the Kafka that --broker names.
    Kafka,
}

impl Lane {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Mqtt => "mqtt",
            Self::Kafka => "kafka",
        }
    }
}

const KAFKA_WHERE: &str = "--source kafka needs --broker host:port, a running Kafka: one process in \
                           KRaft mode is enough";

impl Lane {
    /// Whether a broker is given where one is needed, and nowhere else.
    pub fn check(self, broker: Option<&str>) -> anyhow::Result<()> {
        match (self, broker) {
            (Self::Kafka, None) => bail!("{KAFKA_WHERE}"),
            (Self::Stdin, Some(_)) => {
                bail!(
                    "--broker goes with --source mqtt or --source kafka: name one, or leave it out"
                )
            }
            _ => Ok(()),
        }
    }
}

/// A way in, prepared: what the configuration says of it, and what has to stand meanwhile.
pub enum Way {
    Stdin,
    Mqtt { host: String, port: u16, _broker: Option<Broker> },
    Kafka { brokers: String, topic: String },
}

/// A broker of our own; it ends with the value.
pub struct Broker(Child);

impl Broker {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program on the PATH, or where distributions put daemons.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|p| p.is_file())
}

impl Way {
    /// Prepares it; `name` keeps runs apart.
    pub fn prepare(
        lane: Lane,
        broker: Option<&str>,
        dir: &Path,
        name: &str,
    ) -> anyhow::Result<Self> {
        match (lane, broker) {
            (Lane::Stdin, _) => Ok(Self::Stdin),
            (Lane::Mqtt, Some(address)) => {
                let (host, port) = address
                    .trim_start_matches("mqtt://")
                    .rsplit_once(':')
                    .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
                    .with_context(|| format!("--broker {address}: write host:port"))?;
                Ok(Self::Mqtt { host, port, _broker: None })
            }
            (Lane::Mqtt, None) => mosquitto(dir),
            (Lane::Kafka, brokers) => {
                let brokers = brokers.context(KAFKA_WHERE)?;
                let topic = format!("portcullis-bench-{}-{name}", std::process::id());
                create_topic(brokers, &topic)?;
                Ok(Self::Kafka { brokers: brokers.to_owned(), topic })
            }
        }
    }

    /// The source's type and place, for the configuration. A stream that is silent for long has
    /// ended: nothing else follows.
    pub fn settings(&self) -> String {
        match self {
            Self::Stdin => "type: file, files: ['-', '*.ndjson']".to_owned(),
            Self::Mqtt { host, port, .. } => {
                format!("type: mqtt, url: 'mqtt://{host}:{port}', topics: [bench], idle_after: 2s")
            }
            Self::Kafka { brokers, topic } => format!(
                "type: kafka, brokers: '{brokers}', topics: ['{topic}'], group: '{topic}', \
                 idle_after: 2s"
            ),
        }
    }

    /// CPU seconds of a broker of our own.
    pub fn cpu(&self) -> f64 {
        match self {
            Self::Mqtt { _broker: Some(broker), .. } => super::machine::cpu_of(broker.pid()),
            _ => 0.0,
        }
    }

    /// What sends on it.
    pub fn sender(&self, stdin: Option<ChildStdin>) -> anyhow::Result<Sender> {
        match self {
            Self::Stdin => Ok(Sender::Stdin(stdin.context("the program has no standard input")?)),
            Self::Mqtt { host, port, .. } => publisher(host, *port),
            Self::Kafka { brokers, topic } => {
                let producer: BaseProducer = ClientConfig::new()
                    .set("bootstrap.servers", brokers)
                    .set("acks", "all")
                    .set("linger.ms", "1")
                    .set("queue.buffering.max.messages", "1000000")
                    .create()?;
                // Connected before the first event is due.
                producer.client().fetch_metadata(Some(topic), PATIENCE)?;
                Ok(Sender::Kafka { producer, topic: topic.clone() })
            }
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Self::Kafka { brokers, topic } = self {
            let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
            if let (Ok(admin), Ok(runtime)) = (admin(brokers), crate::run::runtime()) {
                let _ = runtime.block_on(admin.delete_topics(&[topic], &options));
            }
        }
    }
}

fn mosquitto(dir: &Path) -> anyhow::Result<Way> {
    let Some(path) = program("mosquitto") else {
        bail!(
            "no Mosquitto is installed: `apt-get install mosquitto`, or name a running broker with \
             --broker host:port"
        )
    };
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = dir.join("mosquitto.conf");
    // Its own default of 20 messages under way would be the measure.
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
         max_inflight_messages 0\npersistence false\nset_tcp_nodelay true\n"
    );
    std::fs::write(&file, text)?;
    let child = Command::new(path).arg("-c").arg(&file).stderr(Stdio::null()).spawn()?;
    let broker = Broker(child);
    let (deadline, at) = (Instant::now() + PATIENCE, SocketAddr::from(([127, 0, 0, 1], port)));
    while TcpStream::connect_timeout(&at, Duration::from_millis(100)).is_err() {
        if Instant::now() > deadline {
            bail!("the Mosquitto of {} does not listen", file.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Way::Mqtt { host: "127.0.0.1".to_owned(), port, _broker: Some(broker) })
}

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

/// One partition: one stream, so that it is known which event lets which incident be known.
fn create_topic(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let made = crate::run::runtime()?.block_on(admin(brokers)?.create_topics([&new], &options));
    match made?.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, code))) => bail!("the topic {topic} was not made at {brokers}: {code}"),
        None => bail!("the topic {topic} was not made at {brokers}"),
    }
}

fn publisher(host: &str, port: u16) -> anyhow::Result<Sender> {
    let mut options = MqttOptions::new("portcullis-bench-sender", host, port);
    options.set_inflight(INFLIGHT);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = Client::new(options, usize::from(INFLIGHT));
    let acked = Arc::new(AtomicU64::new(0));
    let ours = acked.clone();
    let (up, connected) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::PubAck(_))) => {
                    ours.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Event::Incoming(Packet::ConnAck(_))) => drop(up.try_send(())),
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return Ok(()),
                Ok(_) => {}
                Err(error) => bail!("the sender's connection to the broker: {error}"),
            }
        }
        Ok(())
    });
    // Connected before the first event is due.
    let fault = || format!("no MQTT broker answers at {host}:{port}: see --broker");
    connected.recv_timeout(PATIENCE).with_context(fault)?;
    Ok(Sender::Mqtt { client, acked, sent: 0, thread: Some(thread) })
}

/// What sends.
pub enum Sender {
    Stdin(ChildStdin),
    Mqtt {
        client: Client,
        acked: Arc<AtomicU64>,
        sent: u64,
        thread: Option<JoinHandle<anyhow::Result<()>>>,
    },
    Kafka {
        producer: BaseProducer,
        topic: String,
    },
}

impl Sender {
    /// Sends whole lines, as fast as they are taken.
    pub fn send(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdin(pipe) => Ok(pipe.write_all(lines)?),
            Self::Mqtt { client, sent, .. } => {
                for line in each(lines) {
                    client.publish("bench", QoS::AtLeastOnce, false, line)?;
                    *sent += 1;
                }
                Ok(())
            }
            Self::Kafka { producer, topic } => {
                for line in each(lines) {
                    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(line);
                    let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                    while let Err((error, again)) = producer.send(record) {
                        if error != full {
                            return Err(error.into());
                        }
                        record = again;
                        producer.poll(Duration::from_millis(1));
                    }
                }
                producer.poll(Duration::ZERO);
                Ok(())
            }
        }
    }

    /// Waits until the broker has all; a pipe is closed.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdin(pipe) => drop(pipe),
            Self::Mqtt { client, acked, sent, thread } => {
                let deadline = Instant::now() + PATIENCE;
                let ended = || thread.as_ref().is_none_or(JoinHandle::is_finished);
                while acked.load(Ordering::Relaxed) < sent && !ended() {
                    if Instant::now() > deadline {
                        bail!("the broker has acknowledged {acked:?} of {sent} messages");
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                client.disconnect()?;
                let end = thread.map(JoinHandle::join);
                return end.unwrap_or(Ok(Ok(()))).map_err(|_| anyhow!("the sender has failed"))?;
            }
            Self::Kafka { producer, .. } => producer.flush(PATIENCE)?,
        }
        Ok(())
    }
}

fn each(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}
