//! MQTT against a broker that says what the test wants: torn, long, odd and missing packets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use event::{RecordFlags, RecordKind};
use ingest::source::intake::Ack;
use ingest::source::mqtt;
use ingest::source::settings::SourceSettings;

use super::{DEADLINE, deliveries, next, seen, settings, until, wiring};

/// One connection of our source, seen from the broker.
struct Peer(TcpStream);

impl Peer {
    /// Lets a client in, and grants what it asks for.
    fn accept(listener: &TcpListener) -> Self {
        let mut peer = Self(listener.accept().unwrap().0);
        peer.0.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.0.set_nodelay(true).unwrap();
        assert_eq!(peer.packet()[0], 0x10, "CONNECT");
        peer.send(&[0x20, 2, 0, 0]);
        let subscribe = peer.packet();
        assert_eq!(subscribe[0], 0x82, "SUBSCRIBE");
        peer.send(&[0x90, 3, subscribe[2], subscribe[3], 1]);
        peer
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next packet that is no ping; all are short here.
    fn packet(&mut self) -> Vec<u8> {
        loop {
            let mut packet = vec![0; 2];
            self.0.read_exact(&mut packet).unwrap();
            assert!(packet[1] < 0x80);
            packet.resize(2 + usize::from(packet[1]), 0);
            self.0.read_exact(&mut packet[2..]).unwrap();
            if packet[0] != 0xC0 {
                return packet;
            }
            self.send(&[0xD0, 0]);
        }
    }

    fn puback(&mut self) -> u16 {
        let packet = self.packet();
        assert_eq!(packet[..2], [0x40, 2], "PUBACK");
        u16::from_be_bytes([packet[2], packet[3]])
    }
}

fn published(id: u16, payload: &[u8]) -> Vec<u8> {
    let topic = b"site/a/badge/x";
    let mut length = 2 + topic.len() + 2 + payload.len();
    let mut out = vec![0x32];
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend((topic.len() as u16).to_be_bytes());
    out.extend(topic);
    out.extend(id.to_be_bytes());
    out.extend(payload);
    out
}

fn listen() -> (TcpListener, SourceSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let settings = settings(&format!(
        "{{id: badge, type: mqtt, url: 'mqtt://{address}', topics: ['site/+/badge/#'], \
         mappings: [canonical], payload_bytes_max: 2000, keep_alive: 1s, inflight: 50}}"
    ));
    (listener, settings)
}

#[test]
fn each_message_is_acknowledged_by_its_own_durability() {
    let (listener, settings) = listen();
    let (wiring, batches) = wiring(64);
    let source = mqtt::start(&settings, wiring).unwrap();
    let mut peer = Peer::accept(&listener);
    let opened = next(&batches);
    assert_eq!(seen(&opened)[0].kind, RecordKind::StreamOpened);
    peer.send(&published(1, b"one"));
    let first = next(&batches);
    peer.send(&published(2, b"two"));
    let second = next(&batches);
    // Whatever is acknowledged first was durable first.
    second.ack.done();
    assert_eq!(peer.puback(), 2);
    drop(opened);
    first.ack.done();
    assert_eq!(peer.puback(), 1);

    // The window: with fifty in hand no more is taken, however much has been read.
    let many: Vec<u8> = (1..=120).flat_map(|id| published(id, b"many")).collect();
    peer.send(&many);
    let mut unacked = Vec::new();
    let mut taken = 0;
    while taken < 50 {
        let batch = next(&batches);
        taken += deliveries(&batch).len();
        unacked.push(batch.ack);
    }
    assert_eq!(taken, 50);
    assert!(batches.try_recv().is_err());
    unacked.into_iter().for_each(Ack::done);
    while taken < 120 {
        let batch = next(&batches);
        taken += deliveries(&batch).len();
        batch.ack.done();
    }
    let acked: Vec<_> = (0..120).map(|_| peer.puback()).collect();
    assert_eq!(acked, (1..=120).collect::<Vec<_>>());
    source.stop();
    assert_eq!(peer.packet(), [0xE0, 0], "DISCONNECT");
}

#[test]
fn torn_and_long_messages_come_whole_or_by_their_heads() {
    let (listener, settings) = listen();
    let (wiring, batches) = wiring(64);
    let source = mqtt::start(&settings, wiring).unwrap();
    let mut peer = Peer::accept(&listener);
    let lengths = [1_usize, 2_000, 2_001, 1_900, 0, 3_000_000, 7];
    let mut all = Vec::new();
    for (index, length) in lengths.iter().enumerate() {
        let payload: Vec<u8> = (0..*length).map(|i| (i % 251) as u8).collect();
        all.extend(published(index as u16 + 1, &payload));
    }
    // In pieces of every length, so that every place is once an end.
    let mut rest = all.as_slice();
    let mut piece = 1;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        peer.send(now);
        (rest, piece) = (later, if rest.len() > 100_000 { piece * 2 } else { piece % 97 + 1 });
    }
    let mut got = Vec::new();
    while got.len() < lengths.len() {
        let batch = next(&batches);
        got.extend(deliveries(&batch));
        batch.ack.done();
    }
    for (one, length) in got.iter().zip(lengths) {
        assert_eq!(one.topic, "site/a/badge/x");
        assert_eq!(one.payload.len(), length.min(2_000));
        assert!(one.payload.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
        let cut = if length > 2_000 { RecordFlags::OVERSIZE } else { RecordFlags::default() };
        assert_eq!(one.flags, cut, "{length}");
    }
    let acked: Vec<_> = lengths.iter().map(|_| peer.puback()).collect();
    assert_eq!(acked, [1, 2, 3, 4, 5, 6, 7]);
    source.stop();
}

#[test]
fn a_broker_that_speaks_no_mqtt_or_nothing_is_left_and_what_it_said_is_kept() {
    let (listener, settings) = listen();
    let (wiring, batches) = wiring(64);
    let source = mqtt::start(&settings, wiring).unwrap();
    let mut peer = Peer::accept(&listener);
    let kept = |payload: &[u8]| loop {
        let batch = next(&batches);
        if let Some(one) = deliveries(&batch).first() {
            assert_eq!(one.payload, payload);
            break batch.ack;
        }
    };
    peer.send(&published(8, b"in hand"));
    let old = kept(b"in hand");
    let mut odd = published(9, b"before");
    odd.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    peer.send(&odd);
    // What came whole is stored, and acknowledged on no other connection.
    kept(b"before").done();
    let mut peer = Peer::accept(&listener);
    old.done();
    let state = source.state();
    assert_eq!((state.malformed, state.reconnects), (1, 1), "{state:?}");
    peer.send(&published(9, b"before"));
    peer.send(&published(10, b"after"));
    let mut again = 0;
    while again < 2 {
        let batch = next(&batches);
        again += deliveries(&batch).len();
        batch.ack.done();
    }
    assert_eq!((peer.puback(), peer.puback()), (9, 10));

    // Pings that nobody answers: the connection is given up.
    let mut tail = Vec::new();
    let _ = peer.0.read_to_end(&mut tail);
    assert!(tail.len() >= 2 && tail.iter().step_by(2).all(|byte| *byte == 0xC0), "{tail:?}");
    let refusing = listener.accept().unwrap().0;
    until("the state says why", || source.state().reason.contains("the broker is silent"));
    // And one that does not let us in says so.
    (&refusing).write_all(&[0x20, 2, 0, 5]).unwrap();
    until("the state says why", || source.state().reason.contains("does not authorise us"));
    assert_eq!(source.state().malformed, 1);
    source.stop();
}
