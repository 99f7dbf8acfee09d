//! HTTP: answers, refusals, idleness.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use event::{RecordBlock, RecordFlags, RecordKind};
use ingest::limits::REQUEST_BYTES_MAX;
use ingest::source::http;
use ingest::source::intake::{Ack, Batch, SourceError, Wiring};

use super::{DEADLINE, deliveries, next, seen, settings, wiring};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn ask(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         {head}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too long is not read to its end.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn post(address: SocketAddr, kind: &str, body: &str) -> JoinHandle<Answer> {
    let (head, body) = (format!("Content-Type: {kind}"), body.to_owned());
    std::thread::spawn(move || ask(address, &head, body.as_bytes()))
}

/// Serves the endpoint of some settings until the runtime ends.
fn serve(yaml: &str, wiring: Wiring) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let router = http::router(&settings(yaml), wiring).unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (runtime, address)
}

#[test]
fn http_answers_only_when_the_deliveries_are_durable() {
    let yaml = "{id: web, type: http, mappings: [canonical], payload_bytes_max: 20}";
    let (wiring, batches) = wiring(8);
    let (_runtime, address) = serve(yaml, wiring);
    let cases: [(&str, &str, &[&str]); 6] = [
        ("application/json", "[{\"a\":1}, {\"b\":[2,3]}]", &["{\"a\":1}", "{\"b\":[2,3]}"]),
        ("application/json; charset=utf-8", "{\"a\":1}", &["{\"a\":1}"]),
        ("application/json", "[{\"a\":1}", &["[{\"a\":1}"]),
        ("Application/X-NDJSON", "{\"a\":1}\n\n{\"b\":2}\r\n", &["{\"a\":1}", "{\"b\":2}"]),
        ("application/cloudevents+json", "[1,2]", &["[1,2]"]),
        ("application/cloudevents-batch+json", "[1,2]", &["1", "2"]),
    ];
    for (index, (kind, body, wanted)) in cases.into_iter().enumerate() {
        let asked = post(address, kind, body);
        let batch = next(&batches);
        assert!(!asked.is_finished(), "answered before the log had it");
        let all = seen(&batch);
        let opened = all[0].kind == RecordKind::StreamOpened;
        assert_eq!(opened, index == 0, "{all:?}");
        let payloads: Vec<_> = deliveries(&batch).iter().map(|s| s.payload.clone()).collect();
        assert_eq!(payloads, wanted.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
        assert!(deliveries(&batch).iter().all(|s| s.topic == "/api/v1/events"));
        batch.ack.done();
        let answer = asked.join().unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.body, format!("{{\"accepted\":{}}}", wanted.len()));
    }

    let asked = post(address, "application/json", "[1, \"0123456789012345678901\"]");
    let batch = next(&batches);
    let flags: Vec<_> = deliveries(&batch).iter().map(|s| (s.flags, s.payload.len())).collect();
    assert_eq!(flags, [(RecordFlags::default(), 1), (RecordFlags::OVERSIZE, 20)]);
    // The log could not hold it: never acknowledged.
    drop(batch);
    let answer = asked.join().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);

    assert_eq!(post(address, "application/json", "[]").join().unwrap().status, 202);
    assert_eq!(batches.recv_timeout(Duration::ZERO).err(), Some(RecvTimeoutError::Timeout));
}

#[test]
fn http_turns_away_what_it_cannot_take() {
    let yaml = "{id: web, type: http, mappings: [canonical]}";
    let (wiring, batches) = wiring(1);
    let intake = wiring.intake.clone();
    let (_runtime, address) = serve(yaml, wiring);
    assert_eq!(post(address, "text/plain", "x").join().unwrap().status, 415);
    assert_eq!(ask(address, "X: y", b"x").status, 415);
    let most = "1".repeat(REQUEST_BYTES_MAX);
    let answer = post(address, "application/json", &format!("{most}1")).join().unwrap();
    assert_eq!(answer.status, 413, "{}", answer.body);
    let crowd = "1\n".repeat(http::REQUEST_DELIVERIES_MAX + 1);
    assert_eq!(post(address, "application/x-ndjson", &crowd).join().unwrap().status, 413);

    // Somebody else's batch fills the intake: what comes then is turned away, and not kept.
    let full = Batch { records: RecordBlock::new(), ack: Ack::none() };
    intake.try_send(full).unwrap();
    let answer = post(address, "application/json", "{\"late\":1}").join().unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("full"), "{}", answer.body);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(next(&batches).records.len(), 0);
    let first = post(address, "application/json", &most);
    let batch = next(&batches);
    assert_eq!(seen(&batch)[0].kind, RecordKind::StreamOpened);
    assert_eq!(deliveries(&batch)[0].payload.len(), 262_144);
    assert_eq!(deliveries(&batch)[0].flags, RecordFlags::OVERSIZE);
    batch.ack.done();
    assert_eq!(first.join().unwrap().status, 202);
}

#[test]
fn http_asks_for_the_token() {
    let (other, _) = wiring(1);
    // A variable that cargo sets for every test.
    let yaml = "{id: web, type: http, mappings: [canonical], token_env: CARGO_PKG_NAME}";
    let (wiring, batches) = wiring(8);
    let (_runtime, address) = serve(yaml, wiring);
    let json = "Content-Type: application/json";
    for wrong in ["", "\r\nAuthorization: Bearer ingesT", "\r\nAuthorization: Basic ingest"] {
        let answer = ask(address, &format!("{json}{wrong}"), b"[]");
        assert_eq!(answer.status, 401, "{wrong}: {}", answer.body);
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let answer = ask(address, &format!("{json}\r\nAuthorization: Bearer ingest"), b"[]");
    assert_eq!(answer.status, 202, "{}", answer.body);
    drop(batches);

    let unset = settings("{id: w, type: http, mappings: [m], token_env: NO_SUCH_VARIABLE}");
    let error = http::router(&unset, other).err();
    assert!(matches!(error, Some(SourceError::SecretUnset { .. })), "{error:?}");
}

#[test]
fn a_silent_http_stream_is_idle_until_it_speaks_again() {
    let yaml = "{id: web, type: http, mappings: [canonical], idle_after: 50ms}";
    let (wiring, batches) = wiring(8);
    let (_runtime, address) = serve(yaml, wiring);
    for round in 0..2 {
        let asked = post(address, "application/json", "{}");
        let batch = next(&batches);
        assert_eq!(deliveries(&batch).len(), 1, "round {round}");
        batch.ack.done();
        assert_eq!(asked.join().unwrap().status, 202);
        let idle = seen(&next(&batches));
        assert_eq!(idle.len(), 1);
        assert_eq!((idle[0].kind, idle[0].topic.as_str()), (RecordKind::StreamIdle, "web"));
    }
}
