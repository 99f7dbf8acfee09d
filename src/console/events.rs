//! Incidents as they change, by server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;

/// Events between the store and one browser: a slow one is waited for, on its own task.
const EVENTS_MAX: usize = 64;

#[derive(Deserialize)]
pub struct Since {
    since: Option<u64>,
}

/// Event `incident` with the summary of each incident that opens or changes; its id is the store's
/// revision, so that `Last-Event-ID` (or `?since=`) goes on without a gap.
pub async fn live(
    State(shared): State<Arc<Shared>>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|h| h.to_str().ok()?.parse().ok());
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(follow(shared, last.or(since), sender));
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// Sends what changed, until the browser has gone or the program stops.
async fn follow(
    shared: Arc<Shared>,
    since: Option<u64>,
    sender: mpsc::Sender<Result<Event, Infallible>>,
) {
    let mut changed = shared.changed.clone();
    let mut stopping = shared.stopping.clone();
    let mut revision = match since {
        Some(revision) => revision,
        None => {
            let shared = shared.clone();
            let counts = tokio::task::spawn_blocking(move || shared.store.counts()).await;
            counts.ok().and_then(Result::ok).map_or(0, |counts| counts.revision)
        }
    };
    loop {
        changed.mark_unchanged();
        loop {
            let shared = shared.clone();
            let read = move || shared.store.changed_since(revision);
            let Ok(Ok((items, next))) = tokio::task::spawn_blocking(read).await else { return };
            if items.is_empty() {
                break;
            }
            for item in &items {
                let event = Event::default().event("incident").id(item.revision.to_string());
                let Ok(event) = event.json_data(item) else { return };
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            revision = next;
        }
        tokio::select! {
            result = changed.changed() => if result.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
            () = sender.closed() => return,
        }
    }
}
