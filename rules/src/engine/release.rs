//! What the watermark has passed is let go: site by site, then what sites forward, in one order, to the
//! enterprise.

use event::books::SourceBooks;
use event::vocabulary::RANK_DETECTION;
use event::{EventFlags, EventRef, EventTime, SourceId};

use super::findings::Findings;
use super::merge::{AT_SITES, Merge};
use super::parts::Part;
use super::reorder::Over;
use super::scope::Setting;
use super::{Admitted, Engine, Shard};

/// Events of one source that were let go, one after the other: counted together.
struct LetGo<'a> {
    books: &'a mut [SourceBooks],
    source: SourceId,
    accepted: u64,
}

impl LetGo<'_> {
    #[inline(always)]
    fn count(&mut self, event: EventRef<'_>) {
        let event = event.head().unwrap_or(event);
        if event.source() != self.source || event.flags().has(EventFlags::QUARANTINED) {
            self.count_other(event);
        } else {
            self.accepted += 1;
        }
    }

    #[cold]
    fn count_other(&mut self, event: EventRef<'_>) {
        self.enter();
        self.source = event.source();
        if !event.flags().has(EventFlags::QUARANTINED) {
            self.accepted = 1;
        } else if let Some(books) = self.books.get_mut(self.source.0 as usize) {
            (books.waiting, books.quarantined) = (books.waiting - 1, books.quarantined + 1);
        }
    }

    /// Enters them in the books. An event of a source that is no more counts in none.
    fn enter(&mut self) {
        if let Some(books) = self.books.get_mut(self.source.0 as usize) {
            books.waiting -= self.accepted;
            books.accepted += self.accepted;
        }
        self.accepted = 0;
    }
}

/// Where more wait than may, some are let go early: what the enterprise has in its line then is no
/// more what its sites still have.
#[cold]
fn foresee_nothing(merge: &mut Merge, shards: &mut [Shard], waiting_max: usize) {
    let mut sites = shards.iter_mut().flat_map(|shard| &mut shard.sites);
    let full = sites.any(|admitted| admitted.waiting.len() > waiting_max);
    if full && merge.foresees() {
        let sites = shards.iter_mut().flat_map(|shard| &mut shard.sites);
        sites.for_each(|admitted| admitted.waiting.know_nothing());
        merge.set_foresees(false);
    } else if !full && merge.len() == 0 {
        merge.set_foresees(true);
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

    #[inline(always)]
    fn release_sites(&mut self, all: bool, out: &mut Findings) {
        let watermark = self.streams.watermark();
        let Self { plan, interner, layout, enterprise_layout, tables, shards, merge, .. } = self;
        let Self { books, rows, floor, options, enterprise, .. } = self;
        if rows[AT_SITES].kept() > options.waiting_max || merge.is_blinded() {
            foresee_nothing(merge, shards, options.waiting_max);
        }
        let cx = &Setting { plan, layout, tables, interner };
        let mut let_go = LetGo { books, source: SourceId(0), accepted: 0 };
        let sites = shards.iter_mut().flat_map(|shard| shard.due.iter_mut().zip(&mut shard.sites));
        for (due, admitted) in sites.filter(|(due, _)| all || **due <= watermark) {
            let Admitted { site, waiting, floor: site_floor, .. } = admitted;
            loop {
                let next = match waiting.pop(rows, watermark) {
                    Some(next) => next,
                    None if waiting.len() <= options.waiting_max => break,
                    None => match waiting.pop(rows, EventTime::MAX) {
                        // Past the limit the oldest goes early: order may suffer, nothing is lost.
                        Some(next) => {
                            site.early += 1;
                            *site_floor = next.at;
                            next
                        }
                        None => break,
                    },
                };
                let at_sites = &rows[AT_SITES];
                site.expect(cx, |places| Some(at_sites.get(waiting.behind(places)?.row)));
                let event = at_sites.get(next.row);
                let_go.count(event);
                site.event(cx, event, out);
                if next.over == Over::Queued {
                    // Its turn comes there.
                } else if next.over == Over::Nothing || !enterprise_layout.needs(event.kind()) {
                    rows[AT_SITES].give_up(next.row);
                } else if next.at >= *floor {
                    merge.take(rows, next);
                } else {
                    // The enterprise has let go a later one early.
                    enterprise.early += 1;
                    rows[AT_SITES].give_up(next.row);
                }
            }
            site.advance(cx, watermark, out);
            for detection in site.told.iter() {
                if detection.occurred() < *floor {
                    enterprise.early += 1;
                } else {
                    merge.keep(rows, RANK_DETECTION, detection);
                }
            }
            site.told.clear();
            waiting.tidy();
            *due = site.next_due(cx).min(waiting.next_at().unwrap_or(EventTime::MAX));
        }
        let_go.enter();
        merge.settle(rows);
        if !matches!(self.part, Part::Sites { .. }) {
            self.release_forwarded(out);
        }
    }

    fn release_forwarded(&mut self, out: &mut Findings) {
        let watermark = self.streams.watermark();
        let Self { plan, interner, enterprise_layout: layout, tables, merge, .. } = self;
        let Self { rows, floor, options, enterprise, .. } = self;
        let cx = &Setting { plan, layout, tables, interner };
        if merge.is_short() {
            enterprise.expect_first(|places| merge.behind(rows, places));
        }
        loop {
            let next = match merge.pop(rows, watermark) {
                Some(next) => next,
                None if merge.len() <= options.waiting_max => break,
                None => match merge.pop_forwarded(EventTime::MAX) {
                    Some(next) => {
                        enterprise.early += 1;
                        *floor = next.at;
                        next
                    }
                    None => break,
                },
            };
            enterprise.expect(cx, |places| merge.behind(rows, places));
            let of = merge.rows_of(next);
            enterprise.event(cx, rows[of].get(next.row), out);
            rows[of].give_up(next.row);
        }
        enterprise.advance(cx, watermark, out);
    }
}
