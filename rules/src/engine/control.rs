//! Control records: what somebody changes while the engine runs.

use std::sync::Arc;

use event::control::{Change, Control, RowChange};
use event::identity::Digest;
use event::tables::{Applied, Tables};
use event::vocabulary::KIND_TABLE;
use event::{
    EventBlock, EventFlags, EventTime, FieldType, Identity, Position, SourceId, StreamId, Symbol,
};

use super::findings::Findings;
use super::scope::{Context, Setting};
use super::site::Site;
use super::{Engine, ROW_PART};
use crate::plan::RuleId;

/// What the pseudo-site of enterprise rules is called.
const ENTERPRISE: &str = "enterprise";

impl Engine {
    /// Applies a control record at its place in the log: what time has passed before it is judged
    /// without it, all that is still to come with it. So it is the same in any batch size.
    pub(super) fn control(&mut self, control: &Control, position: Position, out: &mut Findings) {
        self.release(out);
        match &control.change {
            Change::Row(change) => self.change_row(control, change, position, out),
            // Whoever reads the record brings the rulebook: see `Engine::reload`.
            Change::Reload(_) => {}
            Change::Incident(act) => {
                self.at_site(&act.site, control, out, |site, cx, out| {
                    site.act(cx, control, act, out);
                });
            }
            Change::Shelf(shelf) => {
                let rule = self.plan.rules.iter().position(|rule| rule.id == shelf.rule);
                let Some(rule) = rule.map(|rule| RuleId(rule as u16)) else { return };
                self.at_site(&shelf.site, control, out, |site, cx, out| {
                    site.act_on_rule(cx, control, rule, shelf, out);
                });
            }
        }
    }

    /// An operator's act at a site, or over all of them. One that lacks who or why has no effect: the
    /// interface refuses it before it comes here. Before the first event there is no time to
    /// act at.
    fn at_site(
        &mut self,
        name: &str,
        control: &Control,
        out: &mut Findings,
        act: impl FnOnce(&mut Site, Context<'_>, &mut Findings),
    ) {
        let now = self.streams.watermark();
        if control.fault().is_some() || now == EventTime::MIN || now == EventTime::MAX {
            return;
        }
        let place = match self.interner.intern(name) {
            Some(site) if name != ENTERPRISE => Some(self.place(site)),
            _ => None,
        };
        let Self { plan, interner, layout, enterprise_layout, tables, sites, enterprise, .. } =
            self;
        let (layout, site) = match place {
            Some(place) => (layout, &mut sites[place as usize].site),
            None => (enterprise_layout, enterprise),
        };
        let cx = &Setting { plan, layout, tables, interner };
        site.advance(cx, now, out);
        act(site, cx, out);
    }

    /// The tables as they are now.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Changes a row, and says so where it is another one now.
    fn change_row(
        &mut self,
        control: &Control,
        change: &RowChange,
        position: Position,
        out: &mut Findings,
    ) {
        let now = self.streams.watermark();
        let author = (control.by.as_str(), control.reason.as_str());
        let tables = Arc::make_mut(&mut self.tables);
        let applied = tables.apply(change, author, now, &self.interner);
        if applied == Ok(Applied::Changed) {
            self.tell_rows(&[change], position, out);
        }
    }

    /// Tells every site that has begun, and the enterprise, that rows are others than they were.
    pub(super) fn tell_rows(
        &mut self,
        changes: &[&RowChange],
        position: Position,
        out: &mut Findings,
    ) {
        let at = self.streams.watermark();
        // Before the first event and behind the end of the input there is no time to tell it at.
        if at == EventTime::MIN || at == EventTime::MAX {
            return;
        }
        let Self { plan, interner, layout, enterprise_layout, tables, sites, enterprise, .. } =
            self;
        for (number, change) in changes.iter().enumerate() {
            let Some((table, _)) = plan.model.table(&change.table) else { continue };
            let next = changes.get(number + 1);
            let last = next.is_none_or(|next| next.table != change.table);
            let row = ChangedRow { change, table, last, position, at };
            let cx = &Setting { plan, layout, tables, interner };
            for admitted in &mut *sites {
                row.tell(cx, &mut admitted.site, out);
            }
            let cx = &Setting { plan, layout: enterprise_layout, tables, interner };
            row.tell(cx, enterprise, out);
        }
    }
}

/// A row that has become another.
struct ChangedRow<'a> {
    change: &'a RowChange,
    table: usize,
    /// No further row of its table follows: levels that read the table are judged.
    last: bool,
    position: Position,
    at: EventTime,
}

impl ChangedRow<'_> {
    fn tell(&self, cx: Context<'_>, site: &mut Site, out: &mut Findings) {
        let watchers = if self.last { cx.layout.table_watchers(self.table) } else { &[] };
        if cx.layout.needs(KIND_TABLE) || !watchers.is_empty() {
            let block = self.event(cx, site.name);
            site.event(cx, block.get(0), out);
            site.watch_all(cx, watchers, block.get(0), out);
            site.hear(cx, out);
        }
    }

    /// The event `TableChanged` of a site; its identity is the change, in words.
    fn event(&self, cx: Context<'_>, site: Symbol) -> EventBlock {
        let table = &cx.plan.model.tables[self.table];
        let mut digest = Digest::default()
            .part(b"table")
            .part(table.name.as_bytes())
            .part(self.change.row.as_bytes());
        for (column, value) in self.change.cells.iter().flatten() {
            digest = digest.part(column.as_bytes()).part(value.to_string().as_bytes());
        }
        let identity = digest
            .number(u128::from(cx.tables.serial()))
            .number(cx.interner.digest(site))
            .number(self.at.0 as u128);
        let symbol = |text: &str| cx.interner.intern(text).unwrap_or_default();
        let (name, key) = (symbol(&table.name), symbol(&self.change.row));
        let device = if table.name == "devices" { key } else { Symbol::NONE };
        let mut block = EventBlock::new(&cx.plan.vocabulary);
        let mut row = block.push();
        row.times(self.at, self.at);
        row.class(KIND_TABLE, EventFlags::default(), StreamId(0), SourceId(0));
        row.identity(Identity(identity.finish()));
        row.position(self.position, ROW_PART);
        row.place(site, device);
        if let Some(entity) = table.entity
            && cx.plan.vocabulary.field(entity).ty == FieldType::String
        {
            row.text(entity, key);
        }
        let field = |name: &str| cx.plan.vocabulary.field_named(name);
        if let (Some(table), Some(of), Some(removed)) =
            (field("table"), field("row"), field("removed"))
        {
            row.text(table, name);
            row.text(of, key);
            row.bool(removed, self.change.cells.is_none());
        }
        block
    }
}
