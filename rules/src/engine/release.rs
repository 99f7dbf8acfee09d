//! What the watermark has passed is let go: site by site, then what sites forward, in one order, to the
//! enterprise.

use event::books::SourceBooks;
use event::vocabulary::RANK_DETECTION;
use event::{EventFlags, EventRef, EventTime};

use super::ahead::ROWS_AHEAD;
use super::findings::Findings;
use super::layout::Layout;
use super::merge::{AT_SITES, Merge};
use super::parts::Part;
use super::reorder::{Over, Reorder, Rows, Waiting};
use super::scope::{Context, Setting};
use super::site::Site;
use super::{Admitted, Engine};

/// Enters events that were let go in the books: mostly all are of one source.
fn count(books: &mut [SourceBooks], rows: &Rows, passed: &[Waiting]) {
    match Waiting::source_of_all(passed) {
        Some(source) => {
            if let Some(books) = books.get_mut(source.0 as usize) {
                books.waiting -= passed.len() as u64;
                books.accepted += passed.len() as u64;
            }
        }
        None => passed.iter().for_each(|passed| count_one(books, rows.get(passed.row()))),
    }
}

/// An event of a source that is no more counts in none.
fn count_one(books: &mut [SourceBooks], event: EventRef<'_>) {
    let Some(books) = books.get_mut(event.source().0 as usize) else { return };
    books.waiting -= 1;
    if event.flags().has(EventFlags::QUARANTINED) {
        books.quarantined += 1;
    } else {
        books.accepted += 1;
    }
}

/// What letting go the events of a site needs.
struct Gate<'a> {
    cx: Context<'a>,
    rows: &'a mut [Rows],
    merge: &'a mut Merge,
    enterprise: &'a Layout,
    /// What the enterprise was given early; and how much of what comes now was too late for it.
    floor: EventTime,
    early: u64,
    books: &'a mut [SourceBooks],
}

/// Gives the first events of a line to those who judge them.
#[inline(never)]
fn judge(
    cx: Context<'_>,
    site: &mut Site,
    (line, many): (&[Waiting], usize),
    rows: &Rows,
    out: &mut Findings,
) {
    let found = |next: &Waiting| {
        let event = rows.row(next.row());
        (event, cx.layout.interest(event.kind()))
    };
    let due = line.get(..many).unwrap_or(line);
    let mut coming = due.first().map(found);
    let mut place = 0;
    while let Some((event, interest)) = coming {
        site.expect(cx, |behind| Some(rows.lines(line.get(place + 1 + behind)?.row())));
        line.get(place + ROWS_AHEAD).into_iter().for_each(|next| rows.expect(next.row()));
        // Whom the next event concerns is known before this one is judged: what the processor guesses wrong in the
        // meantime does not hold that up.
        place += 1;
        coming = due.get(place).map(found);
        site.event_here(cx, (event, interest), out);
    }
}

impl Gate<'_> {
    /// Lets go the first events of a line.
    #[inline(never)]
    fn pass(&mut self, site: &mut Site, line: &[Waiting], many: usize, out: &mut Findings) {
        judge(self.cx, site, (line, many), &self.rows[AT_SITES], out);
        let passed = line.get(..many).unwrap_or(line);
        count(self.books, &self.rows[AT_SITES], passed);
        let passed = passed.iter();
        let mut unknown = false;
        self.rows[AT_SITES].give_up_some(passed.clone().map(|passed| {
            unknown |= passed.is(Over::Unknown);
            (passed.row(), passed.is(Over::Nothing))
        }));
        // What is queued has its turn there.
        if unknown {
            let unknown = passed.filter(|passed| passed.is(Over::Unknown));
            unknown.for_each(|passed| self.forward(*passed));
        }
    }

    /// Gives an event to the enterprise, if it needs it.
    #[inline(never)]
    fn forward(&mut self, waiting: Waiting) {
        let at_sites = &mut self.rows[AT_SITES];
        if !self.enterprise.needs(at_sites.get(waiting.row()).kind()) {
            at_sites.give_up(waiting.row());
        } else if waiting.at >= self.floor {
            self.merge.take(self.rows, waiting);
        } else {
            // The enterprise has let go a later one early.
            self.early += 1;
            at_sites.give_up(waiting.row());
        }
    }

    /// Lets go the oldest early of what is more than may wait: order may suffer, nothing is lost. Until
    /// when.
    #[cold]
    fn pass_early(
        &mut self,
        site: &mut Site,
        waiting: &mut Reorder,
        most: usize,
        out: &mut Findings,
    ) -> Option<EventTime> {
        let mut floor = None;
        while waiting.len() > most
            && let Some(next) = waiting.pop(self.rows)
        {
            (site.early, floor) = (site.early + 1, Some(next.at));
            self.pass(site, &[next], 1, out);
        }
        floor
    }

    /// Keeps what a site has found, for those who hear of it there.
    fn tell(&mut self, site: &mut Site) {
        for detection in site.told.iter() {
            if detection.occurred() < self.floor {
                self.early += 1;
            } else {
                self.merge.keep(self.rows, RANK_DETECTION, detection);
            }
        }
        site.told.clear();
    }
}

impl Engine {
    /// Lets go what the watermark has passed: site by site, then the enterprise.
    pub(super) fn release(&mut self, out: &mut Findings) {
        self.release_sites(true, out);
    }

    /// The same, while events come: sites at which nothing is due are not touched, and their time stands.
    pub(super) fn release_due(&mut self, out: &mut Findings) {
        self.release_sites(false, out);
    }

    fn release_sites(&mut self, all: bool, out: &mut Findings) {
        let (watermark, waiting_max) = (self.streams.watermark(), self.options.waiting_max);
        if self.rows[AT_SITES].kept() > waiting_max || self.merge.is_blinded() {
            self.look_who_is_full();
        }
        let Self { plan, interner, layout, enterprise_layout, tables, sites, due, .. } = self;
        let Self { books, rows, floor, enterprise, merge, options, .. } = self;
        let cx = &Setting { plan, layout, tables, interner };
        let (floor, enterprise_layout) = (*floor, &*enterprise_layout);
        let mut gate =
            Gate { cx, rows, merge, enterprise: enterprise_layout, floor, early: 0, books };
        let (shards, places) = (0..options.shards.max(1), 0..sites.len());
        let places = shards.flat_map(|shard| places.clone().map(move |place| (shard, place)));
        for (shard, place) in places {
            let (due, admitted) = (&mut due[place], &mut sites[place]);
            if admitted.shard != shard || !all && *due > watermark {
                continue;
            }
            let Admitted { site, waiting, floor, .. } = admitted;
            let (line, many) = waiting.in_order(gate.rows, watermark);
            gate.pass(site, line, many, out);
            waiting.pass(many);
            if waiting.len() > waiting_max {
                let early = gate.pass_early(site, waiting, waiting_max, out);
                *floor = early.unwrap_or(*floor);
            }
            site.advance(cx, watermark, out);
            gate.tell(site);
            waiting.tidy();
            *due = site.next_due(cx).min(waiting.next_at().unwrap_or(EventTime::MAX));
        }
        enterprise.early += gate.early;
        merge.settle(rows);
        if !matches!(self.part, Part::Sites { .. }) {
            self.release_forwarded(out);
        }
    }

    fn release_forwarded(&mut self, out: &mut Findings) {
        let watermark = self.streams.watermark();
        let Self { plan, interner, enterprise_layout: layout, tables, merge, .. } = self;
        let Self { rows, options, enterprise, .. } = self;
        let cx = &Setting { plan, layout, tables, interner };
        if merge.is_short() {
            enterprise.expect_first(cx, |places| merge.behind(rows, places));
        }
        merge.straighten(rows, watermark);
        let (line, many) = merge.foreseen(watermark);
        judge(cx, enterprise, (line, many), &rows[AT_SITES], out);
        rows[AT_SITES].give_up_all(line.iter().take(many).map(|passed| passed.row()));
        merge.pass(many);
        while let Some(next) = merge.pop(rows, watermark) {
            enterprise.expect(cx, |places| merge.behind(rows, places));
            merge.behind(rows, ROWS_AHEAD).into_iter().for_each(|row| row.expect());
            let of = merge.rows_of(next);
            enterprise.event(cx, rows[of].get(next.row()), out);
            rows[of].give_up(next.row());
        }
        if merge.len() > options.waiting_max {
            self.release_early(out);
        }
        let Self { plan, interner, enterprise_layout: layout, tables, enterprise, .. } = self;
        enterprise.advance(&Setting { plan, layout, tables, interner }, watermark, out);
    }

    /// Where too many wait for the enterprise that their sites have let go, it is given the oldest.
    #[cold]
    fn release_early(&mut self, out: &mut Findings) {
        self.foresee_nothing();
        let Self { plan, interner, enterprise_layout: layout, tables, merge, .. } = self;
        let Self { rows, floor, options, enterprise, .. } = self;
        let cx = &Setting { plan, layout, tables, interner };
        while merge.len() > options.waiting_max
            && let Some(next) = merge.pop_forwarded(EventTime::MAX)
        {
            (enterprise.early, *floor) = (enterprise.early + 1, next.at);
            let of = merge.rows_of(next);
            enterprise.event(cx, rows[of].get(next.row()), out);
            rows[of].give_up(next.row());
        }
    }

    /// Where more wait at a site than may, some are let go early: what the enterprise has in its line
    /// is no more what the sites still have. It has none until nobody is early.
    #[cold]
    fn look_who_is_full(&mut self) {
        let most = self.options.waiting_max;
        let full = self.sites.iter().any(|admitted| admitted.waiting.len() > most);
        if full && self.merge.foresees() {
            self.foresee_nothing();
        } else if !full && self.merge.len() == 0 && self.floor <= self.streams.watermark() {
            self.merge.set_foresees(true);
        }
    }

    fn foresee_nothing(&mut self) {
        self.sites.iter_mut().for_each(|admitted| admitted.waiting.know_nothing());
        self.merge.set_foresees(false);
    }
}
