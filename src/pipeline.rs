//! Records in, findings out: decoding and the engine, with the books of both.
//!
//! `replay`, `run` and recovery go this one way.

use std::sync::Arc;

use event::books::SourceBooks;
use event::control::{Change, Control, RowChange};
use event::{EventBlock, Position, RecordBlock, RecordKind, RecordRef, RejectReason, SourceId};
use ingest::decode::{Decoder, Outcome, Roads};
use rules::engine::{Engine, Findings, Input, Next};

use crate::render::Evidences;
use crate::setup::Setup;

/// A refused delivery.
pub struct Refused<'a> {
    /// The record.
    pub record: RecordRef<'a>,
    /// Why.
    pub reason: RejectReason,
}

/// Where what came before is read again, for the repair of what came late.
struct Again {
    from: Box<dyn Evidences + Send>,
    decoder: Decoder,
    records: RecordBlock,
    events: EventBlock,
}

/// Decoder and engine of one configuration.
pub struct Pipeline {
    decoder: Decoder,
    /// The engine, for snapshots and figures.
    pub engine: Engine,
    events: EventBlock,
    /// Ids of the sources.
    sources: Vec<String>,
    /// The deliveries' side of the books, by source.
    deliveries: Vec<SourceBooks>,
    again: Option<Again>,
}

impl Pipeline {
    /// A pipeline without state.
    pub fn new(setup: &Setup, shards: usize) -> anyhow::Result<Self> {
        let engine = Engine::new(setup.plan.clone(), setup.interner.clone(), setup.options(shards));
        let deliveries = vec![SourceBooks::default(); setup.config.sources.len()];
        Self::with(setup, engine, deliveries)
    }

    /// A pipeline around an engine that was restored, with the deliveries' side of its books.
    pub fn with(
        setup: &Setup,
        engine: Engine,
        deliveries: Vec<SourceBooks>,
    ) -> anyhow::Result<Self> {
        let events = EventBlock::new(&setup.vocabulary);
        let sources = setup.config.sources.iter().map(|source| source.id.clone()).collect();
        let decoder = setup.decoder()?;
        Ok(Self { decoder, engine, events, sources, deliveries, again: None })
    }

    /// Says where the deliveries taken so far can be read again: without it nothing that came
    /// later than the slack is repaired.
    pub fn read_again(
        &mut self,
        setup: &Setup,
        from: impl Evidences + Send + 'static,
    ) -> anyhow::Result<()> {
        let (decoder, events) = (setup.decoder()?, EventBlock::new(&setup.vocabulary));
        let records = RecordBlock::new();
        self.again = Some(Again { from: Box::new(from), decoder, records, events });
        Ok(())
    }

    /// Takes records in the order of the log, from `from` on. Findings are added; refused deliveries
    /// go to `refused`; `saw` is shown what was decoded, in the same order. Ends at a record by which another
    /// configuration takes over, and gives its place: all before it was judged by this one.
    pub fn step(
        &mut self,
        records: &RecordBlock,
        from: usize,
        findings: &mut Findings,
        mut refused: impl FnMut(Refused<'_>),
        mut saw: impl FnMut(&EventBlock),
    ) -> anyhow::Result<Option<(usize, Control)>> {
        self.decoder.know(self.engine.tables());
        let mut place = from;
        while place < records.len() {
            let record = records.get(place);
            let (stream, source) = (record.stream, record.source);
            let input = match record.kind {
                RecordKind::Delivery => {
                    place = self.deliver(records, place, &mut refused);
                    let changes = self.decoder.take_changes();
                    if !changes.is_empty() {
                        self.flush(findings, &mut saw)?;
                        self.change_rows(&records.get(place - 1), changes, findings);
                    }
                    continue;
                }
                RecordKind::StreamOpened => Input::StreamOpened(stream, source),
                RecordKind::StreamIdle => Input::StreamIdle(stream, source),
                RecordKind::StreamEnded => Input::StreamEnded(stream, source),
                RecordKind::Tick => Input::Tick(record.tick().unwrap_or_default()),
                RecordKind::Control => {
                    self.flush(findings, &mut saw)?;
                    if let Some(control) = self.control(&record, findings) {
                        return Ok(Some((place, control)));
                    }
                    place += 1;
                    continue;
                }
            };
            place += 1;
            self.flush(findings, &mut saw)?;
            self.engine.feed(input, findings);
            self.repair(findings)?;
        }
        self.flush(findings, &mut saw)?;
        Ok(None)
    }

    /// Somebody changes something. Our own writer made the record: one that cannot be read is of a
    /// newer program, and changes nothing here. A reload is the caller's, who has the configuration.
    fn control(&mut self, record: &RecordRef<'_>, findings: &mut Findings) -> Option<Control> {
        match Control::parse(record.payload) {
            Ok(control) => {
                self.change(&control, record.position, findings);
                matches!(control.change, Change::Reload(_)).then_some(control)
            }
            Err(error) => {
                tracing::error!(position = record.position.0, %error, "a control record is unknown");
                None
            }
        }
    }

    /// Another configuration takes over from the one that was in force: sources go on by their ids.
    pub fn reload(
        &mut self,
        old: &Setup,
        new: &Setup,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        self.decoder = new.decoder()?;
        self.events = EventBlock::new(&new.vocabulary);
        let place = |id: &str| new.config.sources.iter().position(|source| source.id == id);
        let to: Vec<_> = old.config.sources.iter().map(|source| place(&source.id)).collect();
        let mut deliveries = vec![SourceBooks::default(); new.config.sources.len()];
        for (books, to) in self.deliveries.iter().zip(&to) {
            to.iter().for_each(|to| deliveries[*to] = books.clone());
        }
        self.deliveries = deliveries;
        let ids = new.config.sources.iter().map(|source| source.id.clone());
        self.sources = ids.collect();
        let next = Next {
            plan: new.plan.clone(),
            options: new.options(1),
            sources: to.into_iter().map(|to| to.map(|to| SourceId(to as u16))).collect(),
        };
        self.engine.reload(next, findings);
        if let Some(again) = &mut self.again {
            again.decoder = new.decoder()?;
            again.events = EventBlock::new(&new.vocabulary);
        }
        Ok(())
    }

    /// Applies a change. Deliveries behind it are decoded with it, too.
    fn change(&mut self, control: &Control, position: Position, findings: &mut Findings) {
        // The decoder lets go of the tables, so that they are changed where they are.
        self.decoder.know(&Arc::default());
        self.engine.feed(Input::Control(control, position), findings);
        self.decoder.know(self.engine.tables());
    }

    /// Nothing will follow.
    pub fn finish(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        self.engine.feed(Input::EndOfInput, findings);
        self.repair(findings)
    }

    /// INV-BOOKS: both sides, by source.
    pub fn books(&self) -> Vec<SourceBooks> {
        let both = self.deliveries.iter().zip(self.engine.books()).map(|(ours, theirs)| {
            let mut books = theirs.clone();
            books.deliveries = ours.deliveries;
            books.decoded = ours.decoded;
            books.ignored = ours.ignored;
            books.rejected = ours.rejected;
            books
        });
        let both: Vec<_> = both.collect();
        debug_assert!(both.iter().all(|b| b.imbalance() == (0, 0)), "INV-BOOKS: {both:?}");
        both
    }

    /// Which roads of decoding the JSON deliveries took since the start, by source.
    pub fn roads(&self) -> &[Roads] {
        self.decoder.roads()
    }

    /// The deliveries' side of the books, for a snapshot.
    pub fn deliveries(&self) -> &[SourceBooks] {
        &self.deliveries
    }

    /// Decodes deliveries from a place on; where to go on.
    fn deliver(
        &mut self,
        records: &RecordBlock,
        from: usize,
        refused: &mut impl FnMut(Refused<'_>),
    ) -> usize {
        let Self { decoder, events, deliveries, .. } = self;
        decoder.decode_on(records, from..records.len(), events, |places, outcome, _| {
            let books = &mut deliveries[records.source(places.start).0 as usize];
            let many = places.len() as u64;
            books.deliveries += many;
            match outcome {
                Outcome::Decoded(_) => books.decoded += many,
                Outcome::Ignored => books.ignored += many,
                Outcome::Rejected(reason) => {
                    for place in places {
                        books.reject(reason);
                        refused(Refused { record: records.get(place), reason });
                    }
                }
            }
        })
    }

    /// A delivery changes rows of tables.
    fn change_rows(
        &mut self,
        record: &RecordRef<'_>,
        changes: Vec<RowChange>,
        findings: &mut Findings,
    ) {
        for change in changes {
            let by = format!("source {}", self.sources[record.source.0 as usize]);
            let control = Control { by, reason: String::new(), change: Change::Row(change) };
            self.change(&control, record.position, findings);
        }
    }

    fn flush(
        &mut self,
        findings: &mut Findings,
        saw: &mut impl FnMut(&EventBlock),
    ) -> anyhow::Result<()> {
        saw(&self.events);
        let mut next = 0;
        while next < self.events.len() {
            next = self.engine.feed_some(&self.events, next, findings);
            self.repair(findings)?;
        }
        self.events.clear();
        Ok(())
    }

    /// Reads again what a repair that is due needs, and runs it: at this place of the log, whether
    /// it is read for the first time or after a restart.
    fn repair(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        let (Some(due), Some(again)) = (self.engine.due(), &mut self.again) else { return Ok(()) };
        again.events.clear();
        again.decoder.know(self.engine.tables());
        let mut complete = true;
        for (first, last) in due.stretches {
            let oldest = again.from.oldest();
            complete &= oldest <= first;
            let mut next = first.max(oldest);
            while next <= last {
                again.records.clear();
                let after = again.from.read_on(next, &mut again.records)?;
                complete &= !again.from.lacked();
                let deliveries = again.records.iter().filter(|r| r.kind == RecordKind::Delivery);
                for record in deliveries.filter(|record| record.position <= last) {
                    again.decoder.decode(&record, &mut again.events);
                }
                if after == next {
                    break;
                }
                next = after;
            }
        }
        self.engine.repair(&again.events, complete, findings);
        Ok(())
    }
}
