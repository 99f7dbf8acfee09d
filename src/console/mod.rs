//! The console and its JSON API.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use crate::live::Live;

/// What is served.
pub struct Console {
    /// The store's file.
    pub store: PathBuf,
    /// How the program is doing.
    pub status: Arc<Live>,
    /// Told after every commit.
    pub changed: tokio::sync::watch::Receiver<u64>,
    /// Endpoints of HTTP sources.
    pub extra: axum::Router,
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    console: Console,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let Console { status, extra, .. } = console;
    let figures = status.clone();
    let up = status.clone();
    let health = get(move || async move {
        match status.ready() {
            Ok(()) => (StatusCode::OK, Json(json!({"status": "ok"}))),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": reason}))),
        }
    });
    let books = get(move || async move {
        let books: serde_json::Map<_, _> =
            figures.books().into_iter().map(|(id, books)| (id, json!(books))).collect();
        Json(json!({"books": books}))
    });
    let sources = get(move || async move {
        let sources = up.sources().into_iter().map(|(id, kind, state)| {
            json!({"id": id, "kind": kind, "connected": state.connected, "reason": state.reason})
        });
        Json(json!({"sources": sources.collect::<Vec<_>>()}))
    });
    let router = axum::Router::new()
        .route("/api/v1/sources", sources)
        .route("/health", health)
        .route("/api/v1/books", books);
    let router = router.merge(extra);
    Ok(axum::serve(listener, router).with_graceful_shutdown(stop).await?)
}
