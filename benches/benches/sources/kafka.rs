//! A real Apache Kafka: what `portcullis run` spends on its way from a topic to incidents in SQLite,
//! beside a consumer that only counts bytes.

#![allow(unsafe_code, reason = "the bare consumer takes messages in batches, as only C offers")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use workload::badges::Badges;

use crate::cpu::{self, Threads};

const PATIENCE: Duration = Duration::from_secs(900);
const TOPIC: &str = "events";
const MUST: f64 = 0.6;

/// Ways to read them.
const WAYS: [&str; 4] = [
    "a consumer that counts bytes, one message after the other",
    "a consumer that counts bytes, in batches",
    "portcullis run, log: payloads",
    "portcullis run, log: offsets",
];

/// Reads `messages` of one partition in all ways in turns: what the machine does meanwhile is the same for each.
pub fn run(messages: u64, compression: &str, rounds: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap_or_else(|e| panic!("{e}"));
    let kafka = Kafka::start(dir.path());
    let (brokers, bytes) = (&kafka.brokers, produce(&kafka.brokers, messages, compression));
    println!("Kafka, {messages} messages of {} B, compression {compression}", bytes / messages);
    let rounds: Vec<_> = (0..rounds.max(1))
        .map(|round| {
            let ours = |log| ours(brokers, messages, &dir.path().join(round.to_string()), log);
            [
                bare(brokers, messages, bytes, one_by_one),
                bare(brokers, messages, bytes, in_batches),
                ours("payloads"),
                ours("offsets"),
            ]
        })
        .collect();
    for (way, name) in WAYS.into_iter().enumerate() {
        println!("{name}, median of {}:", rounds.len());
        let all: Vec<_> = rounds.iter().map(|round| round[way].clone()).collect();
        cpu::print_median(&all, messages);
        if way >= 2 {
            let is_source = |name: &str| name.starts_with("kafka-") || name.starts_with("rdk:");
            share(&rounds, way, "all threads", |_| true);
            println!("  of which the first must be {:.0} %", MUST * 1e2);
            share(&rounds, way, "the source and librdkafka alone", is_source);
        }
    }
}

/// How much of a round's bare consumers' time some threads of ours take: the median of all rounds, from the
/// least to the most.
fn share(rounds: &[[Spent; 4]], way: usize, what: &str, ours: impl Fn(&str) -> bool) {
    for bare in 0..2 {
        let share = |round: &[Spent; 4]| {
            let spent = round[way].iter().filter(|(name, _)| ours(name)).map(|(_, time)| time);
            round[bare].values().sum::<u64>() as f64 / spent.sum::<u64>() as f64 * 1e2
        };
        let mut all: Vec<_> = rounds.iter().map(share).collect();
        all.sort_by(f64::total_cmp);
        let (least, median, most) = (all[0], all[all.len() / 2], all[all.len() - 1]);
        let than = WAYS[bare];
        println!("  {what}: {median:.0} % of the speed of {than} ({least:.0} to {most:.0})");
    }
}

/// Apache Kafka from the jars that `./test` fetches; ends with the value.
struct Kafka {
    child: Child,
    brokers: String,
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kafka {
    fn start(dir: &Path) -> Self {
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/kafka-4.1.0/*");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = || free().unwrap_or_else(|e| panic!("{e}")).port();
        let (port, controller) = (port(), port());
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             num.partitions=1\n",
            dir.join("kafka").display()
        );
        std::fs::write(dir.join("server.properties"), text).unwrap_or_else(|e| panic!("{e}"));
        let java = || {
            let mut command = Command::new("java");
            command.arg("-Xmx512m").arg("-cp").arg(&jars).current_dir(dir);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let format = ["kafka.tools.StorageTool", "format", "--standalone", "-t"];
        let formatted = java()
            .args(format)
            .args(["AAAAAAAAAAAAAAAAAAAAAQ", "-c", "server.properties"])
            .status();
        let jars = "Apache Kafka does not start: run ./test once, it fetches the jars";
        assert!(formatted.is_ok_and(|s| s.success()), "{jars}");
        let child = java().args(["kafka.Kafka", "server.properties"]).spawn();
        let child = child.unwrap_or_else(|e| panic!("{jars}: {e}"));
        let kafka = Self { child, brokers: format!("127.0.0.1:{port}") };
        until("Kafka listens", || TcpStream::connect(&kafka.brokers).is_ok().then_some(()));
        kafka
    }
}

fn until<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = so() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The topic makes itself, with one partition: the events stay in their order.
fn produce(brokers: &str, messages: u64, compression: &str) -> u64 {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", compression)
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap_or_else(|e| panic!("{e}"));
    let (mut badges, mut line, mut bytes) = (Badges::new(42), String::new(), 0);
    for _ in 0..messages {
        line.clear();
        badges.line(&mut line);
        let payload = line.trim_end();
        bytes += payload.len() as u64;
        let mut record = BaseRecord::<(), str>::to(TOPIC).payload(payload);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    bytes
}

/// Nanoseconds of each thread.
type Spent = BTreeMap<String, u64>;

/// What a consumer that only counts bytes has counted: messages and bytes.
type Counted = (u64, u64);

/// A consumer that only counts bytes.
fn bare(
    brokers: &str,
    messages: u64,
    bytes: u64,
    count: fn(&BaseConsumer, u64) -> Counted,
) -> Spent {
    let before = Threads::of("self");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap_or_else(|e| panic!("{e}"));
    let mut all = TopicPartitionList::new();
    let added = all.add_partition_offset(TOPIC, 0, Offset::Beginning);
    added.and_then(|()| consumer.assign(&all)).unwrap_or_else(|e| panic!("{e}"));
    let counted = count(&consumer, messages);
    let spent = Threads::of("self").since(&before);
    assert_eq!(counted, (messages, bytes));
    spent
}

/// As a consumer is mostly written: one message after the other.
fn one_by_one(consumer: &BaseConsumer, messages: u64) -> Counted {
    let (mut met, mut counted) = (0, 0);
    while met < messages {
        let Some(message) = consumer.poll(PATIENCE) else { break };
        let message = message.unwrap_or_else(|e| panic!("{e}"));
        counted += message.payload_len() as u64;
        met += 1;
    }
    (met, counted)
}

/// As fast as librdkafka gives them out: in batches, into which nobody looks.
fn in_batches(consumer: &BaseConsumer, messages: u64) -> Counted {
    let (mut met, mut counted) = (0, 0);
    let mut batch = [std::ptr::null_mut(); 1_000];
    // SAFETY: the queue is the consumer's, which outlives it, and is given back below; the array
    // has room for as many messages as are asked for, and of it only those are read that were
    // filled in. Each message is destroyed once, after its last use.
    unsafe {
        let queue = c::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        while met < messages {
            let got =
                c::rd_kafka_consume_batch_queue(queue, 1_000, batch.as_mut_ptr(), batch.len());
            for message in &batch[..usize::try_from(got).unwrap_or(0)] {
                if (**message).err == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    counted += (**message).len as u64;
                    met += 1;
                }
                c::rd_kafka_message_destroy(*message);
            }
        }
        c::rd_kafka_queue_destroy(queue);
    }
    (met, counted)
}

/// `portcullis run` from the start of its process until all is judged, in a folder and a group of its own.
fn ours(brokers: &str, messages: u64, dir: &Path, log: &str) -> Spent {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/ten-rules");
    let round = dir.file_name().unwrap_or_default().to_string_lossy();
    let group = format!("{log}-{round}");
    let text = format!(
        "time: history\nsources:\n- {{id: workload, type: kafka, brokers: '{brokers}', topics: \
         [{TOPIC}], group: {group}, log: {log}, mappings: [workload], slack: 2s}}\n\
         mappings: ['{0}/mappings/workload.yaml']\nrules: ['{0}/rules/ten.yaml']\n\
         duplicates: {{within: 10m, max: 2000000}}\n",
        rules.display()
    );
    let config = dir.join(log).join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(config.join("portcullis.yaml"), text).unwrap_or_else(|e| panic!("{e}"));
    let mut child = Command::new(program())
        .args(["run", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(dir.join(log).join("data"))
        .env("PORTCULLIS_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{e}"));
    let Some(stdout) = child.stdout.take() else { panic!("no output") };
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let url = lines.find_map(|l| l.split("listening on http://").nth(1).map(str::to_owned));
    let Some(url) = url else { panic!("the program has ended") };
    until("all is judged", || {
        let books = get(url.trim(), "/api/v1/books");
        let books = &books["books"]["workload"];
        let n = |name: &str| books[name].as_u64().unwrap_or_default();
        (n("events") == messages && n("in_flight") == 0).then_some(())
    });
    let process = child.id().to_string();
    let spent = Threads::of(&process).since(&Threads::default());
    let _ = child.kill();
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(dir.join(log));
    spent
}

/// The program that was built with this.
fn program() -> PathBuf {
    let ours = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let Some(folder) = ours.ancestors().nth(2) else { panic!("{}", ours.display()) };
    let program = folder.join("portcullis");
    assert!(program.is_file(), "{} is not built: cargo build --release", program.display());
    program
}

fn get(address: &str, path: &str) -> Value {
    let Ok(mut stream) = TcpStream::connect(address) else { return Value::Null };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(request.as_bytes());
    if asked.and_then(|()| stream.read_to_string(&mut answer)).is_err() {
        return Value::Null;
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_default()
}
