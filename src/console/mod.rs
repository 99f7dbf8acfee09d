//! The console and its JSON API, on loopback unless the configuration says otherwise.

mod acts;
mod api;
mod events;
mod metrics;
mod tables;

pub use api::figures;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use sinks::Reader;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::live::{Controls, Live, Reloads, Rulebooks};

/// What is served.
pub struct Console {
    /// The store's file.
    pub store: PathBuf,
    /// How the program is doing.
    pub status: Arc<Live>,
    /// Told after every commit.
    pub changed: watch::Receiver<u64>,
    /// Where what somebody changes is handed over.
    pub controls: Arc<Controls>,
    /// Configurations by hash.
    pub rulebooks: Arc<Rulebooks>,
    /// The way to another configuration.
    pub reloads: Arc<Reloads>,
    /// Endpoints of HTTP sources.
    pub extra: Router,
}

/// What every handler shares.
struct Shared {
    store: Reader,
    live: Arc<Live>,
    changed: watch::Receiver<u64>,
    controls: Arc<Controls>,
    rulebooks: Arc<Rulebooks>,
    reloads: Arc<Reloads>,
    /// Set when the program stops: open streams end.
    stopping: watch::Receiver<bool>,
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    console: Console,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    let (end, stopping) = watch::channel(false);
    let app = router(console, stopping, loopback)?;
    let stop = async move {
        stop.await;
        let _ = end.send(true);
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(stop).await?)
}

fn router(
    console: Console,
    stopping: watch::Receiver<bool>,
    loopback: bool,
) -> anyhow::Result<Router> {
    let Console { store, status, changed, controls, rulebooks, reloads, extra } = console;
    let store = Reader::open(store).context("the console cannot read the store")?;
    let shared =
        Arc::new(Shared { store, live: status, changed, controls, rulebooks, reloads, stopping });
    let pages = Router::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/console.js", get(|| page("text/javascript", include_str!("page/console.js"))))
        .route("/console.css", get(|| page("text/css", include_str!("page/console.css"))));
    let api = Router::new()
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/incidents/live", get(events::live))
        .route("/api/v1/incidents/{id}", get(api::incident))
        .route("/api/v1/books", get(api::books))
        .route("/api/v1/sources", get(api::sources))
        .route("/api/v1/rules", get(api::rules))
        .route("/api/v1/unknown-devices", get(api::unknown_devices))
        .route("/api/v1/dead-letters", get(api::dead_letters))
        .route("/api/v1/incidents/{id}/{act}", post(acts::on_incident))
        .route("/api/v1/suppressed", get(api::suppressed))
        .route("/api/v1/shelves", get(acts::shelves).post(acts::shelve).delete(acts::unshelve))
        .route("/api/v1/alarm-figures", get(acts::figures))
        .route("/api/v1/tables", get(tables::all))
        .route("/api/v1/tables/{table}", get(tables::table))
        .route(
            "/api/v1/tables/{table}/{row}",
            get(tables::row).put(tables::set).patch(tables::patch).delete(tables::remove),
        )
        .route("/api/v1/rulebook", get(api::rulebook))
        .route("/api/v1/rulebook/reload", post(api::reload))
        .route("/health", get(api::health))
        .route("/metrics", get(metrics::metrics))
        .with_state(shared);
    Ok(pages
        .merge(api)
        .merge(extra)
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "there is nothing here", "the console is at /")
        })
        .layer(from_fn_with_state(loopback, only_our_host))
        .layer(from_fn(guard)))
}

async fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

/// On loopback, a page of another name that resolves to us (DNS rebinding) gets nothing.
async fn only_our_host(State(loopback): State<bool>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
    });
    let ours = matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "");
    if loopback && !ours {
        let help = "ask for 127.0.0.1 or localhost, or listen on another address";
        return problem(StatusCode::FORBIDDEN, "this name is not ours", help);
    }
    next.run(request).await
}

/// Headers that keep a browser from doing what the console never asks for.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// An error as JSON: what is wrong, and what to do.
fn problem(status: StatusCode, error: impl Into<String>, help: impl Into<String>) -> Response {
    (status, Json(json!({"error": error.into(), "help": help.into()}))).into_response()
}
