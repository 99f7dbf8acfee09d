//! Tables and lists: what they hold now, who changed what, and changes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::control::{Change, RowChange};
use event::model::{ColumnType, TableKind};
use event::tables::{Changed, Tables};
use event::{EventTime, Interner};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Author, PAGE_ITEMS, Reply, submit};
use super::{Shared, problem};

/// Rows of one page at most.
const PAGE_ROWS_MAX: usize = 1_000;

type Cells = BTreeMap<String, Value>;

/// Who changes it, as far as the query says so.
type By = Result<Query<Author>, QueryRejection>;

/// When the change was made, where that was before now.
#[derive(Deserialize)]
pub struct Made {
    at: Option<EventTime>,
}

/// Which rows are asked for.
#[derive(Deserialize)]
pub struct Page {
    /// Those behind this key.
    #[serde(default)]
    after: String,
    limit: Option<usize>,
    /// Only those that were changed, removed ones included.
    #[serde(default)]
    changed: bool,
}

fn unknown(tables: &Tables, name: &str) -> Response {
    let known = tables.model().by_name.keys().map(String::as_str);
    let help = event::config::did_you_mean(name, known);
    let help = help.unwrap_or_else(|| "see /api/v1/tables".to_owned());
    problem(StatusCode::NOT_FOUND, format!("no table or list `{name}`"), help)
}

pub async fn all(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let tables = shared.live.tables();
    let list = tables.model().tables.iter().enumerate().map(|(index, table)| {
        let word = |ty: ColumnType| {
            ColumnType::WORDS.iter().find(|(_, t)| *t == ty).map_or("", |(word, _)| word)
        };
        let columns = table.columns.iter().map(|(name, ty)| (name.clone(), word(*ty).into()));
        let kind = if table.kind == TableKind::Table { "table" } else { "list" };
        json!({
            "name": table.name,
            "kind": kind,
            "columns": columns.collect::<Map<String, Value>>(),
            "rows": tables.rows(index).count(),
            "changed": tables.changes(&table.name).map_or(0, BTreeMap::len),
        })
    });
    let list: Vec<_> = list.collect();
    Json(json!({"tables": list, "refused": tables.refused()}))
}

/// A row as it is now, with its last change.
fn shown(tables: &Tables, interner: &Interner, index: usize, key: &str) -> Option<Value> {
    let table = &tables.model().tables[index];
    let changed = tables.changes(&table.name).and_then(|changes| changes.get(key));
    let row = interner.find(key).and_then(|symbol| tables.row(index, symbol));
    if row.is_none() && changed.is_none() {
        return None;
    }
    let cells = row.map(|row| {
        let cells = table.columns.iter().zip(row);
        let cells = cells
            .filter_map(|((name, _), cell)| Some((name.clone(), cell.as_ref()?.json(interner))));
        cells.collect::<Map<String, Value>>()
    });
    Some(json!({"row": key, "cells": cells, "changed": changed.map(last_change)}))
}

fn last_change(changed: &Changed) -> Value {
    let at = (changed.at != i64::MIN).then(|| EventTime(changed.at).to_string());
    json!({"by": changed.by, "reason": changed.reason, "at": at})
}

pub async fn table(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Reply {
    let help = "after, limit and changed=true narrow the rows";
    let Query(page) = page.map_err(|e| problem(StatusCode::BAD_REQUEST, e.body_text(), help))?;
    let tables = shared.live.tables();
    let interner = shared.live.interner();
    let Some((index, _)) = tables.model().table(&name) else { return Err(unknown(&tables, &name)) };
    let limit = page.limit.unwrap_or(PAGE_ITEMS).clamp(1, PAGE_ROWS_MAX);
    let changed = tables.changes(&name).into_iter().flatten().map(|(key, _)| key.as_str());
    let mut keys: Vec<&str> = changed.collect();
    if !page.changed {
        keys.extend(tables.rows(index).map(|(key, _)| interner.text(key)));
    }
    keys.retain(|key| *key > page.after.as_str());
    let keys: BTreeSet<&str> = keys.into_iter().collect();
    let rows: Vec<_> =
        keys.iter().take(limit).filter_map(|key| shown(&tables, interner, index, key)).collect();
    let next = (keys.len() > limit).then(|| rows.last().map(|row| row["row"].clone()));
    Ok(Json(json!({"table": name, "rows": rows, "next": next})).into_response())
}

pub async fn row(
    State(shared): State<Arc<Shared>>,
    Path((name, key)): Path<(String, String)>,
) -> Reply {
    let tables = shared.live.tables();
    let Some((index, _)) = tables.model().table(&name) else { return Err(unknown(&tables, &name)) };
    let row = shown(&tables, shared.live.interner(), index, &key).ok_or_else(|| {
        let help = format!("see /api/v1/tables/{name}");
        problem(StatusCode::NOT_FOUND, format!("`{name}` has no row `{key}`"), help)
    })?;
    Ok(Json(row).into_response())
}

pub async fn set(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<(String, String)>,
    author: By,
    made: Result<Query<Made>, QueryRejection>,
    cells: Result<Json<Cells>, JsonRejection>,
) -> Reply {
    change(shared, author, place, made, Some(body(cells).map_err(|refused| *refused)?)).await
}

/// As [`set`], and what is not named stays as it is.
pub async fn patch(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<(String, String)>,
    author: By,
    made: Result<Query<Made>, QueryRejection>,
    cells: Result<Json<Cells>, JsonRejection>,
) -> Reply {
    let (tables, (table, row)) = (shared.live.tables(), &place);
    let known = tables.model().table(table);
    let now = known.and_then(|(index, _)| shown(&tables, shared.live.interner(), index, row));
    let now = now.and_then(|now| now["cells"].as_object().cloned()).unwrap_or_default();
    let mut whole: Cells = now.into_iter().collect();
    whole.extend(body(cells).map_err(|refused| *refused)?);
    change(shared, author, place, made, Some(whole)).await
}

pub async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<(String, String)>,
    author: By,
    made: Result<Query<Made>, QueryRejection>,
) -> Reply {
    change(shared, author, place, made, None).await
}

fn body(cells: Result<Json<Cells>, JsonRejection>) -> Result<Cells, Box<Response>> {
    let help = r#"send the row's cells as a JSON object: {"status": "stopped"}"#;
    let refused = |e: JsonRejection| Box::new(problem(e.status(), e.body_text(), help));
    cells.map(|Json(cells)| cells).map_err(refused)
}

/// Hands a change over to the log, where it can be made; answers when it is durable.
async fn change(
    shared: Arc<Shared>,
    author: By,
    (table, row): (String, String),
    made: Result<Query<Made>, QueryRejection>,
    cells: Option<Cells>,
) -> Reply {
    let help = "at= is a time in RFC 3339";
    let Query(Made { at }) =
        made.map_err(|e| problem(StatusCode::BAD_REQUEST, e.body_text(), help))?;
    let change = RowChange { table, row, cells, at };
    if let Err(refused) = shared.live.tables().check(&change, shared.live.interner()) {
        let help = refused.help.unwrap_or_else(|| "see /api/v1/tables".to_owned());
        return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, refused.message, help));
    }
    submit(shared, author, Change::Row(change)).await
}
