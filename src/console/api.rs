//! The JSON API.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::control::{Change, Control};
use event::identity::TimedId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sinks::store::IncidentDetail;
use sinks::{Filter, StoreError};

use rules::engine::Usage;

use super::{Shared, problem};
use crate::live::{Holder, Outcome, Refusal, holders};

pub(super) type Reply = Result<Response, Response>;

/// Items of a page where none is asked for.
pub(super) const PAGE_ITEMS: usize = 50;

/// Runs a read of the store where blocking does no harm.
pub(super) async fn read<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let result = tokio::task::spawn_blocking(move || work(&shared)).await;
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ StoreError::Cursor { .. })) => {
            Err(problem(StatusCode::BAD_REQUEST, error.to_string(), "begin without a cursor"))
        }
        Ok(Err(error)) => {
            let help = "see the program's log";
            Err(problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), help))
        }
        Err(_) => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "a defect", "see the log")),
    }
}

#[derive(Deserialize)]
pub struct List {
    #[serde(flatten)]
    filter: Filter,
    cursor: Option<String>,
    limit: Option<String>,
}

pub async fn incidents(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<List>, QueryRejection>,
) -> Reply {
    let help = "state, severity, site, rule, text, cursor and limit narrow the list";
    let Query(list) = query.map_err(|e| problem(StatusCode::BAD_REQUEST, e.body_text(), help))?;
    let limit = match list.limit.as_deref().map(str::parse) {
        None => PAGE_ITEMS,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => {
            return Err(problem(StatusCode::BAD_REQUEST, "limit is not a number", help));
        }
    };
    let page = read(shared, move |shared| {
        shared.store.incidents(&list.filter, list.cursor.as_deref(), limit)
    });
    Ok(Json(page.await?).into_response())
}

pub async fn incident(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    let unknown = || problem(StatusCode::NOT_FOUND, "no such incident", "see /api/v1/incidents");
    let id = TimedId::parse(&id).ok_or_else(unknown)?;
    let detail = read(shared, move |shared| {
        let Some(detail) = shared.store.incident(id)? else { return Ok(None) };
        // An operator is told what the rulebook said that was in force then.
        let incident = &detail.incident;
        let rule = shared.rulebooks.rule(&incident.config_hash, &incident.rule);
        Ok(Some(whole(detail, rule)))
    });
    Ok(Json(detail.await?.ok_or_else(unknown)?).into_response())
}

/// One object: the incident's own fields, its lists in the place of their counts, and what the
/// rulebook says an operator should do.
fn whole(detail: IncidentDetail, rule: Value) -> Value {
    let IncidentDetail { incident, detections, events, timeline, links, suppressed } = detail;
    let mut object = match json!(incident) {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("detections".into(), json!(detections));
    object.insert("events".into(), json!(events));
    object.insert("timeline".into(), json!(timeline));
    object.insert("links".into(), json!(links));
    object.insert("suppressed".into(), json!(suppressed));
    if let Value::Object(rule) = rule {
        object.extend(rule);
    }
    Value::Object(object)
}

pub async fn books(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let books = shared.live.books().into_iter().map(|(id, books)| (id, json!(books)));
    Json(json!({"books": books.collect::<Map<_, _>>()}))
}

pub async fn sources(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let sources = shared.live.sources().into_iter().map(|(id, kind, state)| {
        json!({
            "id": id, "kind": kind, "connected": state.connected, "reason": state.reason,
            "deliveries": state.deliveries, "reconnects": state.reconnects,
            "malformed": state.malformed,
        })
    });
    let sources: Vec<_> = sources.collect();
    Json(json!({"sources": sources, "sinks": shared.live.sinks()}))
}

pub async fn unknown_devices(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.live.unknown_devices())
}

/// What a fact or rule costs and holds, as an object.
pub fn figures(usage: &Usage) -> Map<String, Value> {
    usage.figures().map(|(name, n)| (name.to_owned(), n.into())).into_iter().collect()
}

pub async fn rules(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let (mut facts, mut rules) = (Vec::new(), Vec::new());
    let (plan, usage) = shared.live.usage();
    for (holder, usage) in holders(&plan).zip(usage) {
        let (list, id) = match holder {
            Holder::Fact(id) => (&mut facts, id),
            Holder::Rule(id) => (&mut rules, id),
        };
        let mut object = figures(&usage);
        object.insert("id".into(), id.into());
        list.push(object);
    }
    let evicted = shared.live.evicted().by_what();
    let given_up: Map<_, _> =
        evicted.map(|(what, n)| (what.to_owned(), n.into())).into_iter().collect();
    Json(json!({"rules": rules, "facts": facts, "given_up": given_up}))
}

/// What policies held back, newest first.
pub async fn suppressed(State(shared): State<Arc<Shared>>) -> Reply {
    let items = read(shared, |shared| shared.store.suppressed(100)).await?;
    Ok(Json(json!({"items": items})).into_response())
}

pub async fn dead_letters(State(shared): State<Arc<Shared>>) -> Reply {
    let letters = read(shared, |shared| shared.store.dead_letters(100)).await?;
    Ok(Json(json!({"items": letters})).into_response())
}

pub async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let down: Vec<_> = shared.live.sources().into_iter().filter(|s| !s.2.connected).collect();
    let down: Map<_, _> =
        down.into_iter().map(|(id, _, state)| (id, state.reason.into())).collect();
    // A source that is down is not ours to restart: it is told, and the program is well.
    match shared.live.ready() {
        Ok(()) => {
            let mut body = json!({"status": "ok", "sources_down": down});
            if let Some(reason) = shared.reloads.refusal() {
                body["rulebook_refused"] = reason.into();
            }
            Json(body).into_response()
        }
        Err(reason) => {
            let body = json!({"status": "unavailable", "reason": reason, "sources_down": down});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

pub async fn rulebook(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.reloads.status())
}

/// Reads the configuration's folder anew; answers when it is in force, or why it is not.
pub async fn reload(State(shared): State<Arc<Shared>>, Query(author): Query<Author>) -> Reply {
    let Author { by, reason } = author;
    let attempt = move || shared.reloads.reload(&by, &reason);
    let said = |status: StatusCode, outcome: &str, hash: String| {
        (status, Json(json!({"outcome": outcome, "hash": hash}))).into_response()
    };
    match tokio::task::spawn_blocking(attempt).await {
        Ok(Ok(Outcome::Taken(hash))) => Ok(said(StatusCode::OK, "taken", hash)),
        Ok(Ok(Outcome::Unchanged(hash))) => Ok(said(StatusCode::OK, "unchanged", hash)),
        Ok(Ok(Outcome::Pending(hash))) => Ok(said(StatusCode::ACCEPTED, "pending", hash)),
        Ok(Err(Refusal { reason, diagnostics })) => {
            let help = "the old one goes on; repair the files and reload again";
            let body = json!({"error": reason, "help": help, "diagnostics": diagnostics});
            Err((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
        Err(_) => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "a defect", "see the log")),
    }
}

/// Who changes what, and why, as the query says.
#[derive(Deserialize)]
pub struct Author {
    by: String,
    #[serde(default)]
    pub(super) reason: String,
}

/// Hands a change over to the log; answers when it is durable.
pub(super) async fn submit(
    shared: Arc<Shared>,
    author: Result<Query<Author>, QueryRejection>,
    change: Change,
) -> Reply {
    let help = "say who changes it, and why: ?by=ann&reason=lost";
    let refuse = |error: String| problem(StatusCode::BAD_REQUEST, error, help);
    let Query(author) = author.map_err(|e| refuse(e.body_text()))?;
    if author.by.trim().is_empty() {
        return Err(refuse("`by` is empty".to_owned()));
    }
    let control = Control { by: author.by, reason: author.reason, change };
    let submitted = tokio::task::spawn_blocking(move || shared.controls.submit(&control)).await;
    match submitted {
        Ok(Ok(())) => Ok(StatusCode::ACCEPTED.into_response()),
        Ok(Err(error)) => {
            let help = "see /health";
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), help))
        }
        Err(_) => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "a defect", "see the log")),
    }
}
