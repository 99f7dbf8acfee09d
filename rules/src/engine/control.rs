//! Control records: what somebody changes while the engine runs.

use std::sync::Arc;

use event::control::{Change, Control, RowChange};
use event::identity::Digest;
use event::tables::{Applied, Tables};
use event::vocabulary::KIND_TABLE;
use event::{
    EventBlock, EventFlags, EventRef, EventTime, FieldType, Identity, Position, SourceId, StreamId,
    Symbol,
};

use super::findings::Findings;
use super::scope::Context;
use super::site::Site;
use super::{Engine, ROW_PART};

impl Engine {
    /// Applies a control record at its place in the log: what time has passed before it is judged
    /// without it, all that is still to come with it. So it is the same in any batch size.
    pub(super) fn control(&mut self, control: &Control, position: Position, out: &mut Findings) {
        self.release(out);
        match &control.change {
            Change::Row(change) => self.change_row(control, change, position, out),
            // Whoever reads the record brings the rulebook: see `Engine::reload`.
            Change::Reload(_) => {}
            Change::Incident(..) => {}
        }
    }

    /// The tables as they are now.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Changes a row, and tells every site that has begun, and the enterprise.
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
        // Before the first event and behind the end of the input there is no time to tell it at.
        if applied != Ok(Applied::Changed) || now == EventTime::MIN || now == EventTime::MAX {
            return;
        }
        let Some((table, _)) = self.plan.model.table(&change.table) else { return };
        let Self { plan, interner, layout, enterprise_layout, tables, shards, enterprise, .. } =
            self;
        let row = ChangedRow { control, change, table, position, at: now };
        let cx = Context { plan, layout, tables, interner };
        for admitted in shards.iter_mut().flat_map(|shard| &mut shard.sites) {
            row.tell(cx, &mut admitted.site, out);
        }
        let cx = Context { plan, layout: enterprise_layout, tables, interner };
        row.tell(cx, enterprise, out);
    }
}

/// A row that has become another.
struct ChangedRow<'a> {
    control: &'a Control,
    change: &'a RowChange,
    table: usize,
    position: Position,
    at: EventTime,
}

impl ChangedRow<'_> {
    fn tell(&self, cx: Context<'_>, site: &mut Site, out: &mut Findings) {
        if cx.layout.needs(KIND_TABLE) || !cx.layout.table_watchers(self.table).is_empty() {
            let block = self.event(cx, site.name);
            site.table_changed(cx, self.table, block.get(0), out);
        }
        // What inhibits may read the table.
        site.review(cx, self.at, out);
        site.hear(cx, out);
    }

    /// The event `TableChanged` of a site; its identity is the record's, in words.
    fn event(&self, cx: Context<'_>, site: Symbol) -> EventBlock {
        let identity = Digest::default()
            .part(b"table")
            .part(&self.control.payload())
            .number(u128::from(cx.tables.serial()))
            .number(cx.interner.digest(site))
            .number(self.at.0 as u128);
        let model = &cx.plan.model;
        let table = &model.tables[self.table];
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

impl Site {
    /// Judges a changed row: as an event, and for the levels that read its table.
    fn table_changed(
        &mut self,
        cx: Context<'_>,
        table: usize,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        self.event(cx, event, out);
        self.watch_all(cx, cx.layout.table_watchers(table), event, out);
        self.hear(cx, out);
    }
}
