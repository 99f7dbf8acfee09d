//! What a payload changes of tables: a delivery that becomes changed rows instead of events.

use std::collections::BTreeMap;

use event::control::RowChange;
use event::tables::check;
use event::{EventTime, RecordFlags, RejectReason, Symbol};
use serde_json::Value;

use super::document::{Document, Raw};
use super::draft::Station;
use super::mapped::{Picked, View};
use crate::mapping::RowPart;

/// One change of one row; `false` when the part's conditions say no.
pub(super) fn change<'a, D: Document>(
    part: &'a RowPart,
    view: &View<'a, D>,
    station: &mut Station<'_, '_>,
) -> Result<bool, RejectReason> {
    if !part.when.iter().all(|condition| view.holds(condition, &mut None)) {
        return Ok(false);
    }
    station.check_room(station.changes.len())?;
    let key = view.symbol(Some(&part.row), station)?;
    if key == Symbol::NONE {
        return Err(RejectReason::MissingField);
    }
    let removed =
        part.remove.as_ref().is_some_and(|all| all.iter().all(|c| view.holds(c, &mut None)));
    let mut cells = BTreeMap::new();
    for (column, pick) in part.cells.iter().filter(|_| !removed) {
        let value = match view.pick(pick, station)? {
            Picked::Raw(raw) => json(raw)?,
            Picked::Symbol(symbol) => station.interner.text(symbol).into(),
            Picked::Cell(cell) => cell.json(station.interner),
        };
        if !value.is_null() {
            cells.insert(column.to_string(), value);
        }
    }
    let at = view.time(part.at.as_ref(), station.context.only_site, station)?;
    // Old state told again, nobody knows of when: it is older than any change.
    let retained = station.record.flags.has(RecordFlags::RETAINED);
    let at = at.or_else(|| retained.then_some(EventTime::MIN));
    let change = RowChange {
        table: part.table.to_string(),
        row: station.interner.text(key).to_owned(),
        cells: (!removed).then_some(cells),
        at,
    };
    check(station.tables.model(), &change, station.interner)
        .map_err(|_| RejectReason::WrongType)?;
    station.changes.push(change);
    Ok(true)
}

fn json(raw: Raw<'_>) -> Result<Value, RejectReason> {
    Ok(match raw {
        Raw::Missing => Value::Null,
        Raw::Text(text) => text.into(),
        Raw::Int(n) => n.into(),
        Raw::Float(n) => n.into(),
        Raw::Bool(b) => b.into(),
        Raw::Compound => return Err(RejectReason::WrongType),
    })
}
