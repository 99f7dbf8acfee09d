//! What operators do: acknowledge, assign, close and shelve incidents; shelve rules.
#![allow(clippy::result_large_err, reason = "a refusal is the whole answer, made once a request")]

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::TimeSpan;
use event::control::{Act, Change, IncidentAct, Shelf};
use event::identity::TimedId;
use event::incident::Disposition;
use serde::Deserialize;
use serde_json::json;

use super::api::{Author, Reply, read, submit};
use super::{Shared, problem};

type By = Result<Query<Author>, QueryRejection>;
type Body<T> = Result<Json<T>, JsonRejection>;

/// What an act needs beside who and why.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Particulars {
    /// Of a close.
    disposition: Option<Disposition>,
    /// Of a shelf: `30m`.
    #[serde(rename = "for")]
    span: Option<String>,
    /// Of an assignment.
    to: Option<String>,
}

fn refuse(error: impl Into<String>, help: impl Into<String>) -> Response {
    problem(StatusCode::BAD_REQUEST, error, help)
}

/// `POST /api/v1/incidents/{id}/{acknowledge|assign|close|shelve|unshelve}?by=ann&reason=…`.
pub async fn on_incident(
    State(shared): State<Arc<Shared>>,
    Path((id, act)): Path<(String, String)>,
    author: By,
    body: Body<Particulars>,
) -> Reply {
    let unknown = || problem(StatusCode::NOT_FOUND, "no such incident", "see /api/v1/incidents");
    let incident = TimedId::parse(&id).ok_or_else(unknown)?;
    // A body of JSON, be it empty: a page of another origin cannot send one without asking us first.
    let help = "send JSON, {} where nothing is to be said";
    let Json(particulars) = body.map_err(|error| refuse(error.body_text(), help))?;
    let act = act_of(&shared, &act, particulars)?;
    needs_reason(matches!(act, Act::Shelve(_)), &author)?;
    let detail = read(shared.clone(), move |shared| shared.store.incident(incident)).await?;
    let site = detail.ok_or_else(unknown)?.incident.site;
    submit(shared, author, Change::Incident(IncidentAct { site, incident, act })).await
}

fn act_of(shared: &Shared, word: &str, particulars: Particulars) -> Result<Act, Response> {
    Ok(match word {
        "acknowledge" => Act::Acknowledge,
        "unshelve" => Act::Unshelve,
        "assign" => {
            let to = particulars.to.filter(|to| !to.trim().is_empty());
            Act::Assign(to.ok_or_else(|| refuse("to whom", "send {\"to\": \"bob\"}"))?)
        }
        "close" => {
            let words = Disposition::ALL.map(Disposition::as_str).join(", ");
            let help = format!("send {{\"disposition\": …}}, one of {words}");
            Act::Close(particulars.disposition.ok_or_else(|| refuse("what was it", help))?)
        }
        "shelve" => Act::Shelve(span_of(shared, particulars.span.as_deref())?),
        _ => {
            let help = "acknowledge, assign, close, shelve or unshelve";
            return Err(problem(StatusCode::NOT_FOUND, format!("no act `{word}`"), help));
        }
    })
}

/// A shelf's span: within what the rulebook allows.
fn span_of(shared: &Shared, text: Option<&str>) -> Result<TimeSpan, Response> {
    let max = shared.live.shelve_max();
    let help = format!("send {{\"for\": \"30m\"}}, {max} at most (incidents.shelve_max)");
    let span = text.and_then(TimeSpan::parse).filter(|span| *span > TimeSpan::ZERO);
    let span = span.ok_or_else(|| refuse("for how long", help.clone()))?;
    if span > max { Err(refuse(format!("{span} is too long"), help)) } else { Ok(span) }
}

fn needs_reason(needed: bool, author: &By) -> Result<(), Response> {
    match author {
        Ok(Query(author)) if needed && author.reason.trim().is_empty() => {
            Err(refuse("what is shelved needs a reason", "say why: ?by=ann&reason=wind"))
        }
        _ => Ok(()),
    }
}

pub async fn shelves(State(shared): State<Arc<Shared>>) -> Reply {
    let items = read(shared, |shared| shared.store.shelves()).await?;
    Ok(Json(json!({"items": items})).into_response())
}

/// A rule at a site, or a key of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    site: String,
    rule: String,
    /// Parts joined by `/`; empty or left out: whatever its key.
    #[serde(default)]
    key: String,
    #[serde(rename = "for")]
    span: Option<String>,
}

impl Place {
    fn shelf(self, shared: &Shared, span: Option<TimeSpan>) -> Result<Change, Response> {
        if !shared.live.has_rule(&self.rule) {
            let error = format!("no rule `{}`", self.rule);
            return Err(problem(StatusCode::NOT_FOUND, error, "see /api/v1/rules"));
        }
        let parts = self.key.split('/').filter(|part| !part.is_empty());
        let key = parts.map(str::to_owned).collect();
        Ok(Change::Shelf(Shelf { site: self.site, rule: self.rule, key, span }))
    }
}

/// `POST /api/v1/shelves?by=ann&reason=…` with `{"site", "rule", "key", "for"}`.
pub async fn shelve(State(shared): State<Arc<Shared>>, author: By, body: Body<Place>) -> Reply {
    let help = "send {\"site\": \"north\", \"rule\": \"fence\", \"key\": \"F1\", \"for\": \"30m\"}";
    let Json(place) = body.map_err(|error| refuse(error.body_text(), help))?;
    needs_reason(true, &author)?;
    if !shared.live.has_begun() {
        let error = "no event has come yet, so there is no time to shelve until";
        return Err(problem(StatusCode::CONFLICT, error, "try again when the site has spoken"));
    }
    let span = span_of(&shared, place.span.as_deref())?;
    let change = place.shelf(&shared, Some(span))?;
    submit(shared, author, change).await
}

/// Whom, where and what a `DELETE` names.
#[derive(Deserialize)]
pub struct Named {
    site: String,
    rule: String,
    #[serde(default)]
    key: String,
}

/// `DELETE /api/v1/shelves?site=north&rule=fence&key=F1&by=ann`.
pub async fn unshelve(
    State(shared): State<Arc<Shared>>,
    named: Result<Query<Named>, QueryRejection>,
    author: By,
) -> Reply {
    let help = "name it: ?site=north&rule=fence&key=F1&by=ann";
    let Query(Named { site, rule, key }) = named.map_err(|e| refuse(e.body_text(), help))?;
    let change = Place { site, rule, key, span: None }.shelf(&shared, None)?;
    submit(shared, author, change).await
}

/// How many alarms people get, and of which kinds.
pub async fn figures(State(shared): State<Arc<Shared>>) -> Reply {
    let flood = shared.live.flood_rule();
    let figures = read(shared, move |shared| shared.store.alarm_figures(flood.as_deref())).await?;
    Ok(Json(figures).into_response())
}
