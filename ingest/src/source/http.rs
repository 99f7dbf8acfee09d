//! HTTP: `POST /api/v1/events`, answered 202 only when the log holds what was posted.
//!
//! A delivery is a line of NDJSON, an element of a JSON array or of a CloudEvents batch, or the
//! whole body. Nothing is parsed here: what cannot be decoded is rejected and counted later.

use std::ops::Range;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use event::{RecordBlock, RecordKind};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::intake::{Ack, Batch, SourceError, Stream, Wiring, flags};
use super::settings::{Kind, SourceSettings};
use crate::limits::REQUEST_BYTES_MAX;

/// Where events are posted.
pub const PATH: &str = "/api/v1/events";

/// Deliveries of one request: a batch is one range of the log, about 56 B each beside its bytes.
pub const REQUEST_DELIVERIES_MAX: usize = 65_536;

/// Requests read or waiting for the log at once: 64 × 4 MiB at worst.
pub const REQUESTS_MAX: usize = 64;

/// A client that sends its body slower than this is cut off.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a request waits for the log.
const ACK_WAIT_MAX: Duration = Duration::from_secs(10);

/// The way back to look at idleness while the intake is full.
const IDLE_AGAIN: Duration = Duration::from_millis(100);

/// The endpoint of one source. It opens its stream with its first delivery.
///
/// # Errors
/// The settings are of another type, or the token is not in the environment.
pub fn router(settings: &SourceSettings, wiring: Wiring) -> Result<axum::Router, SourceError> {
    let Kind::Http { token_env } = &settings.kind else {
        return Err(SourceError::Kind { source_id: settings.id.clone(), wanted: "http" });
    };
    let endpoint = Endpoint {
        token: settings.secret(token_env.as_deref())?,
        stream: Stream::named(&wiring.streams, settings.id.clone()),
        wiring,
        payload_bytes_max: settings.payload_bytes_max,
        idle_after: settings.idle_after(),
        requests: Semaphore::new(REQUESTS_MAX),
        gate: Mutex::new(Gate { opened: false, speaking: false, last: Instant::now() }),
    };
    Ok(axum::Router::new()
        .route(PATH, post(receive))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new(endpoint)))
}

struct Endpoint {
    token: Option<String>,
    stream: Stream,
    wiring: Wiring,
    payload_bytes_max: usize,
    idle_after: Duration,
    requests: Semaphore,
    gate: Mutex<Gate>,
}

/// Held while a batch is handed over, so that "idle" never overtakes a delivery.
struct Gate {
    opened: bool,
    /// Whether the stream has spoken since it was last said to be idle: then a task watches it.
    speaking: bool,
    last: Instant,
}

/// Why a request is turned away.
enum Refusal {
    Unauthorized,
    MediaType,
    TooMany,
    Slow,
    Body(StatusCode, String),
    Busy(&'static str),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason) = match self {
            Self::Body(status, reason) => (status, reason),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "a bearer token is needed".into()),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/json, application/x-ndjson, application/cloudevents+json or \
                 application/cloudevents-batch+json"
                    .into(),
            ),
            Self::TooMany => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("at most {REQUEST_DELIVERIES_MAX} events in one request"),
            ),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "the body took too long".into()),
            Self::Busy(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.into()),
        };
        let mut response = (status, Json(serde_json::json!({ "error": reason }))).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

async fn receive(
    State(endpoint): State<Arc<Endpoint>>,
    request: Request,
) -> Result<(StatusCode, Json<serde_json::Value>), Refusal> {
    endpoint.authorize(request.headers())?;
    let form = Form::of(request.headers()).ok_or(Refusal::MediaType)?;
    let busy = "too many requests at once";
    let _place = endpoint.requests.try_acquire().map_err(|_| Refusal::Busy(busy))?;
    let body = tokio::time::timeout(BODY_WAIT_MAX, Bytes::from_request(request, &()))
        .await
        .map_err(|_| Refusal::Slow)?
        .map_err(|rejection| Refusal::Body(rejection.status(), rejection.body_text()))?;
    let parts = form.split(&body);
    if parts.len() > REQUEST_DELIVERIES_MAX {
        return Err(Refusal::TooMany);
    }
    if !parts.is_empty() {
        let durable = endpoint.hand_over(&body, &parts)?;
        let late = Refusal::Busy("the log is behind: send it again");
        match tokio::time::timeout(ACK_WAIT_MAX, durable).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(late),
        }
    }
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "accepted": parts.len() }))))
}

impl Endpoint {
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        let given = given.and_then(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        let same = |given: &[u8]| {
            // Takes the same time wherever the difference is.
            let differences = given.iter().zip(token.as_bytes()).fold(0, |d, (a, b)| d | (a ^ b));
            given.len() == token.len() && differences == 0
        };
        if given.is_some_and(same) { Ok(()) } else { Err(Refusal::Unauthorized) }
    }

    /// Hands the deliveries over; the receiver is told when they are durable.
    fn hand_over(
        self: &Arc<Self>,
        body: &[u8],
        parts: &[Range<u32>],
    ) -> Result<oneshot::Receiver<()>, Refusal> {
        let (tell, durable) = oneshot::channel();
        let ack = Ack::new(move || {
            // Whoever waited may have gone: its client will send again.
            let _ = tell.send(());
        });
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = RecordBlock::new();
        if !gate.opened {
            self.wiring.mark(&mut records, RecordKind::StreamOpened, &self.stream);
        }
        self.push(&mut records, body, parts);
        self.wiring.intake.try_send(Batch { records, ack }).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy("the intake is full: send it again"),
            TrySendError::Disconnected(_) => Refusal::Busy("shutting down"),
        })?;
        gate.opened = true;
        gate.last = Instant::now();
        if !gate.speaking {
            gate.speaking = true;
            tokio::spawn(watch(Arc::downgrade(self), gate.last + self.idle_after));
        }
        Ok(durable)
    }

    fn push(&self, records: &mut RecordBlock, body: &[u8], parts: &[Range<u32>]) {
        let (topic, whole) = (records.append(PATH.as_bytes()), records.append(body));
        let record = self.wiring.record(RecordKind::Delivery, self.stream.id, b"", b"");
        let (_, mut cut) = records.cut(&whole, &record, topic);
        for part in parts {
            let oversize = part.len() > self.payload_bytes_max;
            let end = part.end.min(part.start + self.payload_bytes_max as u32);
            let part = part.start as usize..end as usize;
            cut.push(flags(false, oversize), record.position, part);
        }
    }

    /// Says that the stream is idle if it has been silent long enough; otherwise when to look
    /// again, `None` when there is nothing more to watch.
    fn rest(&self) -> Option<Instant> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = gate.last + self.idle_after;
        if now < due {
            return Some(due);
        }
        let mut records = RecordBlock::new();
        self.wiring.mark(&mut records, RecordKind::StreamIdle, &self.stream);
        match self.wiring.intake.try_send(Batch { records, ack: Ack::none() }) {
            Err(TrySendError::Full(_)) => Some(now + IDLE_AGAIN),
            Ok(()) | Err(TrySendError::Disconnected(_)) => {
                gate.speaking = false;
                None
            }
        }
    }
}

/// Waits until the stream is silent. Ends with the endpoint.
async fn watch(endpoint: Weak<Endpoint>, mut due: Instant) {
    loop {
        tokio::time::sleep_until(due).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        match endpoint.rest() {
            Some(next) => due = next,
            None => return,
        }
    }
}

/// How a body is cut into deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One value, or an array of them.
    Json,
    /// One value in each line.
    Lines,
    /// One value, whatever it is.
    Whole,
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "application/json" | "application/cloudevents-batch+json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Lines,
            "application/cloudevents+json" => Self::Whole,
            _ => return None,
        })
    }

    /// The ranges of the deliveries.
    fn split(self, body: &[u8]) -> Vec<Range<u32>> {
        let whole = 0..body.len() as u32;
        match self {
            Self::Whole => vec![whole],
            Self::Json => elements(body).unwrap_or_else(|| vec![whole]),
            Self::Lines => lines(body),
        }
    }
}

fn lines(body: &[u8]) -> Vec<Range<u32>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        let line = trim(body, start..end);
        if !line.is_empty() {
            lines.push(line);
        }
        start = end + 1;
    }
    lines
}

/// The elements of a JSON array, cut without being understood: only strings and nesting count.
/// `None` where the body is no array, or so broken that its elements cannot be told apart.
fn elements(body: &[u8]) -> Option<Vec<Range<u32>>> {
    let all = trim(body, 0..body.len());
    let (begin, end) = (all.start as usize, all.end as usize);
    if all.len() < 2 || body[begin] != b'[' || body[end - 1] != b']' {
        return None;
    }
    let mut elements = Vec::new();
    let mut start = begin + 1;
    let mut depth = 0_u32;
    let mut at = start;
    while at < end - 1 {
        match body[at] {
            b'"' => at = string_end(&body[..end - 1], at)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                elements.push(trim(body, start..at));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let last = trim(body, start..end - 1);
    if !(elements.is_empty() && last.is_empty()) {
        elements.push(last);
    }
    let cut = depth == 0 && elements.iter().all(|e| !e.is_empty());
    cut.then_some(elements)
}

/// The offset of the quote that ends the string begun at `at`.
fn string_end(body: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', body.get(from..)?)?;
        if body[found] == b'"' {
            return Some(found);
        }
        from = found + 2;
    }
}

/// A range without the blanks around it.
fn trim(body: &[u8], range: Range<usize>) -> Range<u32> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let part = &body[range.clone()];
    let left = part.iter().take_while(|b| blank(b)).count();
    let right = part[left..].iter().rev().take_while(|b| blank(b)).count();
    (range.start + left) as u32..(range.end - right) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(form: Form, body: &str) -> Vec<&str> {
        let parts = form.split(body.as_bytes());
        parts.into_iter().map(|r| &body[r.start as usize..r.end as usize]).collect()
    }

    #[test]
    fn arrays_are_cut_at_their_own_commas() {
        let cases: [(&str, &[&str]); 12] = [
            ("[]", &[]),
            (" [ ] \n", &[]),
            ("[1]", &["1"]),
            (" [ {\"a\":[1,2]} , \"x,]\\\"\" ,3 ]\n", &["{\"a\":[1,2]}", "\"x,]\\\"\"", "3"]),
            ("{\"a\":1}", &["{\"a\":1}"]),
            ("", &[""]),
            ("[1,2", &["[1,2"]),
            ("[1,,2]", &["[1,,2]"]),
            ("[1,]", &["[1,]"]),
            ("[\"a]", &["[\"a]"]),
            ("[1] [2]", &["[1] [2]"]),
            // A broken element is refused alone.
            ("[{\"a\":1],{\"b\":2}]", &["{\"a\":1]", "{\"b\":2}"]),
        ];
        for (body, wanted) in cases {
            assert_eq!(cut(Form::Json, body), wanted, "{body}");
        }
        assert_eq!(cut(Form::Whole, "[1,2]"), ["[1,2]"]);
    }

    #[test]
    fn lines_are_cut_and_blank_ones_are_none() {
        assert_eq!(cut(Form::Lines, "{}\r\n\n  \n[1,\"\\n\"]\n x "), ["{}", "[1,\"\\n\"]", "x"]);
        assert_eq!(cut(Form::Lines, ""), [""; 0]);
    }

    proptest! {
        #[test]
        fn elements_are_those_of_serde_json(
            texts in prop::collection::vec("[\\[\\]{},\"\\\\a \n\u{e9}]{0,8}", 0..6),
            depth in 0..4_usize,
        ) {
            let nested = |t: &String| {
                (0..depth).fold(serde_json::json!(t), |v, _| serde_json::json!([{ "k,": v }, t]))
            };
            let values: Vec<_> = texts.iter().map(nested).collect();
            let body = serde_json::to_string_pretty(&values).expect("JSON");
            let parts = cut(Form::Json, &body);
            let again: Vec<serde_json::Value> =
                parts.iter().map(|p| serde_json::from_str(p).expect(p)).collect();
            prop_assert_eq!(again, values);
        }

        #[test]
        fn any_bytes_are_cut_without_panic(body in prop::collection::vec(
            prop::sample::select(b"[]{},\"\\ a\n".to_vec()), 0..40)
        ) {
            for form in [Form::Json, Form::Lines, Form::Whole] {
                for part in form.split(&body) {
                    prop_assert!(part.start <= part.end && part.end as usize <= body.len());
                }
            }
        }
    }
}
