//! A scripted broker, our source, the real log with its two threads: how much of our CPU a message
//! takes from the socket to its acknowledgement, once it is durable.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use event::config::Reader;
use event::{EventTime, Position, SourceId, StreamId};
use ingest::log::{LogWriter, Options, RealFiles, SyncHandle};
use ingest::source::intake::{Ack, Batch, Spares, Wiring};
use ingest::source::settings::SourceSettings;
use workload::badges::Badges;

use crate::cpu::{self, Threads};

/// What must hold, and what we aim at.
const MUST_NS: f64 = 2_500.0;
const AIM_NS: f64 = 800.0;

/// Topics that the messages go round.
const TOPICS: u64 = 64;

/// Runs `messages` through with `window` of them unacknowledged at the broker.
pub fn run(messages: u64, window: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
    let address = listener.local_addr().unwrap_or_else(|e| panic!("{e}"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap_or_else(|e| panic!("{e}"));
    let (intake, batches) = sync_channel(64);
    let log = log(dir.path(), batches);
    let wiring = Wiring {
        spares: Spares::default(),
        held: Arc::default(),
        source: SourceId(0),
        intake,
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            EventTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        }),
        streams: Arc::new(|_| StreamId(0)),
    };
    let yaml = format!(
        "{{id: in, type: mqtt, url: 'mqtt://{address}', topics: '#', mappings: [canonical], \
         inflight: {window}}}"
    );
    let (mut reader, node) = Reader::parse("bench.yaml", &yaml);
    let Some(settings) = SourceSettings::read(&mut reader, &node) else {
        panic!("{:?}", reader.diagnostics)
    };
    let source = ingest::source::mqtt::start(&settings, wiring).unwrap_or_else(|e| panic!("{e}"));
    let mut broker = Broker::accept(&listener);
    let before = Threads::of("self");
    let begun = Instant::now();
    // The broker is this thread: what it spends is left out by its name.
    let bytes = broker.send(messages, window);
    let span = begun.elapsed();
    let mut spent = Threads::of("self").since(&before);
    spent.remove("sources-broker");
    let state = source.state();
    assert_eq!(
        (state.deliveries, state.reconnects, state.malformed),
        (messages, 0, 0),
        "{state:?}"
    );
    source.stop();
    let syncs = log.lock().map(|counts| *counts).unwrap_or_default();
    println!(
        "MQTT QoS 1, {messages} messages of {} B, at most {window} unacknowledged: each acknowledged \
         once durable, {:.0} a second, {} a batch, {} a sync",
        bytes / messages,
        messages as f64 / span.as_secs_f64(),
        messages / syncs.batches.max(1),
        messages / syncs.syncs.max(1),
    );
    let sum = cpu::print(&spent, messages);
    println!("  must be below {MUST_NS}, aim {AIM_NS}");
    assert!(sum < MUST_NS, "{sum:.0} ns a message");
}

#[derive(Clone, Copy, Default)]
struct Counts {
    batches: u64,
    syncs: u64,
}

/// The log as `portcullis run` keeps it: one thread appends, one makes durable and acknowledges.
fn log(dir: &Path, batches: Receiver<Batch>) -> Arc<Mutex<Counts>> {
    let log = LogWriter::open(dir, Arc::new(RealFiles), Options::default());
    let log = log.unwrap_or_else(|e| panic!("{e}"));
    let counts = Arc::new(Mutex::new(Counts::default()));
    let (acks, waiting) = channel();
    let (syncer, shared) = (log.syncer(), counts.clone());
    let threads = [
        std::thread::Builder::new().name("log".into()).spawn(move || append(log, &batches, &acks)),
        std::thread::Builder::new().name("log-sync".into()).spawn(move || {
            sync(&syncer, &waiting, &shared);
        }),
    ];
    assert!(threads.iter().all(Result::is_ok));
    counts
}

fn append(mut log: LogWriter, batches: &Receiver<Batch>, acks: &Sender<(Position, Ack)>) {
    for Batch { mut records, ack } in batches {
        let end = log.append(&mut records).unwrap_or_else(|e| panic!("{e}"));
        let _ = acks.send((end, ack));
    }
}

fn sync(log: &SyncHandle, waiting: &Receiver<(Position, Ack)>, counts: &Mutex<Counts>) {
    let mut group = Vec::new();
    while let Ok(first) = waiting.recv() {
        group.push(first);
        group.extend(waiting.try_iter());
        let durable = log.sync().unwrap_or_else(|e| panic!("{e}"));
        if let Ok(mut counts) = counts.lock() {
            counts.batches += group.len() as u64;
            counts.syncs += 1;
        }
        for (end, ack) in group.drain(..) {
            assert!(end <= durable);
            ack.done();
        }
    }
}

struct Broker {
    stream: TcpStream,
    badges: Badges,
}

impl Broker {
    fn accept(listener: &TcpListener) -> Self {
        // So that its time can be told from ours.
        let _ = std::fs::write("/proc/thread-self/comm", "sources-broker");
        let (mut stream, _) = listener.accept().unwrap_or_else(|e| panic!("{e}"));
        stream.set_nodelay(true).unwrap_or_else(|e| panic!("{e}"));
        let mut packet = [0; 256];
        let connect = stream.read(&mut packet).unwrap_or_else(|e| panic!("{e}"));
        assert!(connect > 2 && packet[0] == 0x10, "CONNECT");
        stream.write_all(&[0x20, 2, 0, 0]).unwrap_or_else(|e| panic!("{e}"));
        let subscribe = stream.read(&mut packet).unwrap_or_else(|e| panic!("{e}"));
        assert!(subscribe > 4 && packet[0] == 0x82, "SUBSCRIBE");
        let granted = [0x90, 3, packet[2], packet[3], 1];
        stream.write_all(&granted).unwrap_or_else(|e| panic!("{e}"));
        Self { stream, badges: Badges::new(42) }
    }

    /// Sends so many messages, never more than `window` ahead of the acknowledgements, each of
    /// which must be for a message under way; the bytes of all payloads are returned.
    fn send(&mut self, messages: u64, window: u64) -> u64 {
        let mut under_way = vec![false; 1 << 16];
        let (mut sent, mut acked, mut bytes) = (0, 0, 0);
        let (mut out, mut answers, mut torn) = (Vec::new(), vec![0; 64 * 1024], 0);
        let mut line = String::new();
        while acked < messages {
            out.clear();
            while sent < messages && sent - acked < window {
                line.clear();
                self.badges.line(&mut line);
                let payload = line.trim_end().as_bytes();
                let id = (sent % 65_535 + 1) as u16;
                assert!(!std::mem::replace(&mut under_way[usize::from(id)], true));
                publish(id, sent % TOPICS, payload, &mut out);
                bytes += payload.len() as u64;
                sent += 1;
            }
            self.stream.write_all(&out).unwrap_or_else(|e| panic!("{e}"));
            let read = self.stream.read(&mut answers[torn..]).unwrap_or_else(|e| panic!("{e}"));
            assert!(read > 0, "the source has closed the connection");
            let there = torn + read;
            for packet in answers[..there].chunks_exact(4) {
                assert_eq!(packet[..2], [0x40, 2], "PUBACK");
                let id = u16::from_be_bytes([packet[2], packet[3]]);
                assert!(std::mem::replace(&mut under_way[usize::from(id)], false), "{id}");
                acked += 1;
            }
            torn = there % 4;
            answers.copy_within(there - torn..there, 0);
        }
        bytes
    }
}

fn publish(id: u16, topic: u64, payload: &[u8], out: &mut Vec<u8>) {
    let topic = format!("site/north/door/{topic:03}/events");
    let mut length = 2 + topic.len() + 2 + payload.len();
    out.push(0x32);
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend((topic.len() as u16).to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend(id.to_be_bytes());
    out.extend(payload);
}
