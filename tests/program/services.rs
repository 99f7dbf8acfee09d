//! Real brokers, each on free ports in a temporary folder, for as long as the value lives.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;

use crate::place::{project, skipped};

const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
    listener.local_addr().map(|a| a.port()).unwrap_or_default()
}

/// Waits until something accepts connections.
pub fn wait_for_port(port: u16, what: &str) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        assert!(Instant::now() < deadline, "{what} does not listen on {port}");
        std::thread::yield_now();
    }
}

/// A program on the PATH, or where distributions put daemons.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// A process that ends with the value.
struct Daemon {
    child: Child,
    _dir: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An MQTT broker: Mosquitto, or the in-process stand-in where there is none.
pub struct Mqtt {
    /// Its port on loopback.
    pub port: u16,
    _daemon: Option<Daemon>,
}

impl Mqtt {
    /// Starts it.
    pub fn start() -> Self {
        let port = free_port();
        let Some(mosquitto) = program("mosquitto") else {
            skipped("Mosquitto is not there: the same runs against rumqttd");
            stand_in(port);
            return Self { port, _daemon: None };
        };
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let file = dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
             max_inflight_messages 1000\npersistence false\n"
        );
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{e}"));
        let child = Command::new(mosquitto).arg("-c").arg(&file).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("{e}"));
        wait_for_port(port, "Mosquitto");
        Self { port, _daemon: Some(Daemon { child, _dir: dir }) }
    }
}

/// rumqttd on its own thread, until the process ends.
fn stand_in(port: u16) {
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 1_000,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "v4".into(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let config = rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 1_000,
            max_segment_size: 10 << 20,
            max_segment_count: 20,
            ..Default::default()
        },
        v4: Some([("v4".to_owned(), server)].into()),
        ..Default::default()
    };
    let mut broker = rumqttd::Broker::new(config);
    std::thread::spawn(move || drop(broker.start()));
    wait_for_port(port, "rumqttd");
}

/// Apache Kafka, one process in KRaft mode, or librdkafka's mock cluster where there is none.
pub struct Kafka {
    /// `host:port`.
    pub brokers: String,
    standing: Cluster,
}

enum Cluster {
    Real(#[expect(dead_code, reason = "its drop ends the process")] Daemon),
    Mock(MockCluster<'static, DefaultProducerContext>),
}

impl Kafka {
    /// Starts it. The jars are put in place by `./test`.
    pub fn start() -> Self {
        let jars = project().join(".cache/kafka-4.1.0");
        let (Some(java), true) = (program("java"), jars.join("kafka_2.13-4.1.0.jar").is_file())
        else {
            skipped("Apache Kafka is not there: the same runs against librdkafka's mock cluster");
            let mock = MockCluster::new(1).unwrap_or_else(|e| panic!("{e}"));
            return Self { brokers: mock.bootstrap_servers(), standing: Cluster::Mock(mock) };
        };
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let (port, controller) = (free_port(), free_port());
        let text = properties(dir.path(), port, controller);
        let file = dir.path().join("server.properties");
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{e}"));
        let class_path = format!("{}/*", jars.display());
        let tool = |arguments: &[&str]| {
            let mut command = Command::new(&java);
            command.args(["-Xmx512m", "-cp", &class_path]).args(arguments);
            command.current_dir(dir.path()).stderr(Stdio::null());
            command
        };
        let uuid = tool(&["kafka.tools.StorageTool", "random-uuid"]).output();
        let uuid = uuid.unwrap_or_else(|e| panic!("{e}")).stdout;
        let uuid = String::from_utf8_lossy(&uuid).trim().to_owned();
        let format = ["kafka.tools.StorageTool", "format", "--standalone", "-t", &uuid, "-c"];
        let formatted = tool(&format).arg(&file).stdout(Stdio::null()).status();
        assert!(formatted.is_ok_and(|s| s.success()), "the storage was not formatted");
        let child = tool(&["kafka.Kafka"]).arg(&file).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("{e}"));
        let daemon = Daemon { child, _dir: dir };
        wait_for_port(port, "Kafka");
        Self { brokers: format!("127.0.0.1:{port}"), standing: Cluster::Real(daemon) }
    }

    /// Deletes what stands before an offset in each partition; `false` where only the real one can.
    pub fn delete_before(&self, topic: &str, partitions: i32, offset: i64) -> bool {
        if let Cluster::Mock(_) = &self.standing {
            return false;
        }
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(topic, partition, Offset::Offset(offset));
            added.unwrap_or_else(|e| panic!("{e}"));
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = runtime().block_on(self.admin().delete_records(&list, &options));
        assert!(deleted.is_ok(), "nothing was deleted: {deleted:?}");
        true
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let admin = ClientConfig::new().set("bootstrap.servers", &self.brokers).create();
        admin.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Makes a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        if let Cluster::Mock(mock) = &self.standing {
            return mock.create_topic(name, partitions, 1).unwrap_or_else(|e| panic!("{e}"));
        }
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = runtime().block_on(self.admin().create_topics([&topic], &options));
        assert!(made.is_ok_and(|all| all.iter().all(Result::is_ok)), "the topic was not made");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|e| panic!("{e}"))
}

fn properties(dir: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        dir.join("data").display()
    )
}

/// Publishes messages, topic and payload, at QoS 1; returns when the broker has acknowledged all.
pub fn publish(port: u16, messages: Vec<(String, Vec<u8>)>, retained: bool) {
    let mut options = MqttOptions::new("publisher", "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_inflight(500);
    let (client, mut connection) = Client::new(options, 1_000);
    let total = messages.len();
    let acked = std::thread::spawn(move || {
        let mut acked = 0;
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::PubAck(_))) => acked += 1,
                Ok(_) => {}
                Err(error) => panic!("the publisher's connection: {error}"),
            }
            if acked == total {
                return;
            }
        }
    });
    for (topic, payload) in messages {
        let sent = client.publish(topic, QoS::AtLeastOnce, retained, payload);
        sent.unwrap_or_else(|e| panic!("{e}"));
    }
    acked.join().unwrap_or_else(|_| panic!("not every message was acknowledged"));
}
