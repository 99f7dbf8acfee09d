//! What an event costs before it waits: its site, its identity, its stream, its copy.
//!
//! Nearly all events come in runs of one stream about which nothing is out of the ordinary. Those are
//! looked over first ([`Engine::survey`]), where what all of a run share is at hand and what each will
//! touch is asked for, and then admitted ([`Engine::admit_run`]). Whatever is not plain at first sight
//! is judged by [`Engine::admit`], alone.

use std::ops::Range;

use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventRef, EventTime, Symbol, TimeSpan};

use super::findings::Findings;
use super::late::{Stretch, number_of};
use super::merge::AT_SITES;
use super::parts::ELSEWHERE;
use super::reorder::{Reorder, Waiting};
use super::seen::Seen;
use super::site::Site;
use super::streams::Hearing;
use super::{Admitted, Engine};

/// Events that are admitted before what is due of them is let go: they, and what they touch, stay in
/// the nearest caches.
const TOGETHER: usize = 128;

/// Events that are looked over before they are admitted: about as many lines of memory as can be on
/// their way at once.
const RUN: usize = 32;

/// Sites whose places are at hand. A power of two.
pub const NEAR: usize = 64;

/// Those that were asked for last, by the low bits of the symbol.
pub type Near = [(Symbol, (usize, usize)); NEAR];

/// Nobody was asked for: no symbol has this number.
pub const NOBODY: (Symbol, (usize, usize)) = (Symbol(u32::MAX), ELSEWHERE);

#[inline(always)]
fn place_near(near: &Near, site: Symbol) -> Option<(usize, usize)> {
    let (known, place) = near[site.0 as usize % NEAR];
    (known == site).then_some(place)
}

/// What is known of an event that is plain.
#[derive(Clone, Copy)]
struct Plain {
    shard: u32,
    place: u32,
    watermark: EventTime,
}

impl Plain {
    const NONE: Self = Self { shard: 0, place: 0, watermark: EventTime::MIN };
}

/// A run of plain events, looked over.
struct Run {
    many: usize,
    hearing: Hearing,
    stretch: Stretch,
    retained: u64,
    unknown_device: u64,
}

fn is_skewed(event: EventRef<'_>, max: TimeSpan) -> bool {
    event.occurred().since(event.recorded()).0.saturating_abs() > max.0
}

impl Engine {
    /// Takes the events of a block from `from` on, up to the one that makes a repair due
    /// ([`Engine::due`]); where to go on. What is found does not depend on where blocks end.
    pub fn feed_some(&mut self, events: &EventBlock, from: usize, out: &mut Findings) -> usize {
        let (mut next, mut each) = (from, [Plain::NONE; RUN]);
        while next < events.len() {
            let until = events.len().min(next + TOGETHER);
            let mut due = false;
            while next < until && !due {
                let end = until.min(next + RUN);
                next = self.admit_some(events, next..end, &mut each, out);
                due = self.repair_is_due();
            }
            self.release(out);
            if due {
                return next;
            }
        }
        next
    }

    /// Admits these events, up to one that makes a repair due; where to go on.
    fn admit_some(
        &mut self,
        events: &EventBlock,
        these: Range<usize>,
        each: &mut [Plain; RUN],
        out: &mut Findings,
    ) -> usize {
        let (mut next, end, probed) = (these.start, these.end, out.probe().is_some());
        while next < end {
            let before = next;
            if !probed {
                next = self.admit_run(events, next..end, each);
            }
            if before == these.start && next < end {
                events.some(next..end).for_each(|event| self.expect(event));
            }
            if next == before {
                if probed {
                    self.admit_probed(events.get(next), out);
                } else {
                    self.admit(events.get(next), out);
                }
                next += 1;
            }
            if self.repair_is_due() {
                break;
            }
        }
        next
    }

    /// Asks for what the admission of an event will look at.
    fn expect(&self, event: EventRef<'_>) {
        if let Some((shard, place)) = place_near(&self.near, event.site()) {
            let shard = self.shards.get(shard);
            shard.into_iter().for_each(|s| s.sites[place].seen.expect(event.identity()));
        }
    }

    /// The events of one stream, from a place on, of which each is new or a duplicate and in time, of a
    /// site that is at hand, and moves no more than its own stream; at the latest up to the one that a
    /// repair comes before.
    #[inline(always)]
    fn survey(
        &self,
        events: &EventBlock,
        these: Range<usize>,
        each: &mut [Plain; RUN],
    ) -> Option<Run> {
        let first = events.get(these.start);
        let (origin, number, due) = (first.origin(), self.late.growing()?, self.late.due());
        let mut hearing = self.streams.hearing(first.stream())?;
        let skew_max = self.options.clock_skew_max.filter(|_| self.options.live);
        let waiting_max = self.options.waiting_max.saturating_sub(RUN);
        let (mut many, mut stretch) = (0, Stretch::NOTHING);
        let (mut retained, mut unknown_device) = (0, 0);
        for event in events.some(these) {
            let (Some(head), Some(plain)) = (event.head(), each.get_mut(many)) else { break };
            let (occurred, watermark) = (head.occurred(), hearing.watermark);
            if head.origin() != origin || head.kind() == KIND_ADVANCE || watermark >= due {
                break;
            }
            if skew_max.is_some_and(|max| is_skewed(head, max)) {
                break;
            }
            let Some(after) = hearing.with(occurred) else { break };
            let Some((shard, place)) = place_near(&self.near, head.site()) else { break };
            if let Some(shard) = self.shards.get(shard) {
                let Admitted { seen, waiting, floor, .. } = &shard.sites[place];
                let late = occurred < watermark.max(*floor);
                if late || waiting.len() >= waiting_max || number_of(head.position()) != number {
                    break;
                }
                seen.expect(head.identity());
                stretch.note(head.position(), occurred);
                if head.flags() != EventFlags::default() {
                    retained += u64::from(head.flags().has(EventFlags::RETAINED));
                    unknown_device += u64::from(head.flags().has(EventFlags::UNKNOWN_DEVICE));
                }
            }
            *plain = Plain { shard: shard as u32, place: place as u32, watermark };
            hearing.hear(occurred, after);
            many += 1;
        }
        (many > 0).then_some(Run { many, hearing, stretch, retained, unknown_device })
    }

    /// Admits a run of plain events; where to go on.
    fn admit_run(
        &mut self,
        events: &EventBlock,
        these: Range<usize>,
        each: &mut [Plain; RUN],
    ) -> usize {
        let from = these.start;
        let Some(run) = self.survey(events, these, each) else { return from };
        let Self { shards, rows, ranks, .. } = self;
        let (mut new, next) = (0, from + run.many);
        let mut each = each.iter();
        for event in events.some(from..next) {
            let (Some(head), Some(plain)) = (event.head(), each.next()) else { break };
            let Some(shard) = shards.get_mut(plain.shard as usize) else { continue };
            let Admitted { seen, waiting, .. } = &mut shard.sites[plain.place as usize];
            let at = head.occurred();
            if seen.is_new(head.identity(), at, plain.watermark) {
                new += 1;
                let row = rows[AT_SITES].keep(event);
                let rank = ranks[head.kind().0 as usize];
                waiting.push(rows, Waiting { at, rank, line: 0, row });
            }
        }
        self.streams.heard(run.hearing, events.get(next - 1));
        self.late.pass(new);
        let taken = self.late.grow(run.stretch);
        let books = &mut self.books[events.get(from).source().0 as usize];
        books.events += taken;
        books.duplicate += taken - new;
        books.waiting += new;
        books.retained += run.retained;
        books.unknown_device += run.unknown_device;
        next
    }

    /// Judges one event: duplicate, late, or to wait for the watermark.
    #[inline(never)]
    pub(super) fn admit(&mut self, event: EventRef<'_>, out: &mut Findings) {
        let source = event.source();
        if event.kind() == KIND_ADVANCE {
            return self.advance(event);
        }
        let (occurred, quarantined) = self.judged_time(event);
        let place = self.place(event.site());
        if place == ELSEWHERE {
            self.streams.hear(event, (!quarantined).then_some(occurred));
            return;
        }
        let watermark = self.streams.watermark();
        self.late.note(event, occurred, watermark, self.options.late.recorded);
        let rank = self.ranks[event.kind().0 as usize];
        let admitted = &mut self.shards[place.0].sites[place.1];
        let mut full = false;
        let books = &mut self.books[source.0 as usize];
        books.events += 1;
        books.retained += u64::from(event.flags().has(EventFlags::RETAINED));
        books.unknown_device += u64::from(event.flags().has(EventFlags::UNKNOWN_DEVICE));
        if !admitted.seen.is_new(event.identity(), occurred, watermark) {
            books.duplicate += 1;
        } else if occurred < watermark.max(admitted.floor) {
            books.late += 1;
            self.late.pass(1);
            self.late(event, occurred, place, out);
        } else {
            books.waiting += 1;
            self.late.pass(1);
            let row = self.rows[AT_SITES].keep(event);
            if quarantined {
                let mut row = self.rows[AT_SITES].get_mut(row);
                row.times(occurred, event.recorded());
                row.flag(EventFlags::QUARANTINED);
            }
            admitted.waiting.push(&self.rows, Waiting { at: occurred, rank, line: 0, row });
            full = admitted.waiting.len() > self.options.waiting_max;
        }
        self.streams.hear(event, (!quarantined).then_some(occurred));
        if full {
            // At once, and not at the end of the batch: batches are no part of the meaning.
            self.release(out);
        }
    }

    /// A stream has come so far: no event to judge.
    #[cold]
    fn advance(&mut self, event: EventRef<'_>) {
        self.streams.advance(event.stream(), event.source(), event.occurred());
        let one = u64::from(self.part.counts());
        let books = &mut self.books[event.source().0 as usize];
        (books.events, books.accepted) = (books.events + one, books.accepted + one);
    }

    /// The time an event is judged by, and whether its device's clock is off beyond its bound.
    pub(super) fn judged_time(&self, event: EventRef<'_>) -> (EventTime, bool) {
        match self.options.clock_skew_max {
            Some(max) if self.options.live && is_skewed(event, max) => (event.recorded(), true),
            _ => (event.occurred(), false),
        }
    }

    /// Where a site's state is; made at its first event.
    pub(super) fn place(&mut self, site: Symbol) -> (usize, usize) {
        if let Some(place) = place_near(&self.near, site) {
            return place;
        }
        let place = self.places.get(&site).copied().unwrap_or_else(|| self.begin(site));
        self.near[site.0 as usize % NEAR] = (site, place);
        place
    }

    fn begin(&mut self, site: Symbol) -> (usize, usize) {
        if self.part.leaves(self.places.len()) {
            self.places.insert(site, ELSEWHERE);
            return ELSEWHERE;
        }
        let digest = self.interner.digest(site);
        let shard = (digest % self.shards.len() as u128) as usize;
        let sites = &mut self.shards[shard].sites;
        sites.push(Admitted {
            site: Site::new(site, &self.plan, &self.layout, &self.options),
            seen: Seen::new(self.options.duplicates_within, self.options.duplicates_max),
            waiting: Reorder::default(),
            floor: EventTime::MIN,
        });
        self.places.insert(site, (shard, sites.len() - 1));
        (shard, sites.len() - 1)
    }
}
