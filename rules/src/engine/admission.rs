//! What an event costs before it waits: its site, its identity, its stream, its copy.
//!
//! Nearly all events come in runs of one stream about which nothing is out of the ordinary: what all of
//! a run share is at hand, and entered once ([`Engine::admit_run`]). Whatever is not plain at first
//! sight is judged by [`Engine::admit`], alone. What each will look up is asked for some events ahead.

use std::ops::Range;

use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventRef, EventTime, Symbol, TimeSpan};

use super::findings::Findings;
use super::late::{Stretch, number_of};
use super::merge::AT_SITES;
use super::parts::ELSEWHERE;
use super::reorder::{Over, Reorder, Waiting};
use super::seen::Seen;
use super::site::Site;
use super::{Admitted, Engine, OfKind, Shard};

/// Events that are admitted before what is due of them is let go: as many of a site one after the other
/// as stay in the caches.
const TOGETHER: usize = 1_024;

/// Events whose look-ups are asked for while as many before them are admitted: about as many lines of
/// memory as can be on their way at once.
const RUN: usize = 16;

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

fn is_skewed(event: EventRef<'_>, max: TimeSpan) -> bool {
    event.occurred().since(event.recorded()).0.saturating_abs() > max.0
}

impl Engine {
    /// Takes the events of a block from `from` on, up to the one that makes a repair due
    /// ([`Engine::due`]); where to go on. What is found does not depend on where blocks end.
    pub fn feed_some(&mut self, events: &EventBlock, from: usize, out: &mut Findings) -> usize {
        let mut next = from;
        while next < events.len() {
            let begin = next;
            let (until, mut asked) = (events.len().min(next + TOGETHER), next);
            let mut due = false;
            while next < until && !due {
                let end = until.min(next + RUN);
                let ahead = until.min(end + RUN);
                // Another thread may have decoded them: then each line comes from its cache.
                (ahead..ahead + RUN).for_each(|row| events.expect(row));
                events.some(asked..ahead).for_each(|event| self.expect(event));
                (next, asked) = (self.admit_some(events, next..end, out), ahead);
                due = self.repair_is_due();
            }
            // What came between two inputs may have made anything due.
            if due || from == begin || next == events.len() {
                self.release(out);
            } else {
                self.release_due(out);
            }
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
        out: &mut Findings,
    ) -> usize {
        let (mut next, end, probed) = (these.start, these.end, out.probe().is_some());
        while next < end {
            let plain = if probed { 0 } else { self.admit_run(events, next..end) };
            if plain > 0 {
                next += plain;
            } else {
                let event = events.get(next);
                if probed {
                    self.admit_probed(event, out);
                } else {
                    self.admit(event, out);
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
    #[inline(always)]
    fn expect(&self, event: EventRef<'_>) {
        let Some(head) = event.head() else { return };
        if let Some((shard, place)) = place_near(&self.near, head.site())
            && let Some(shard) = self.shards.get(shard)
        {
            event.expect_fields();
            shard.sites[place].seen.expect(head.identity());
        }
    }

    /// Admits the events of one stream, from the first of these on, of which each is new or a duplicate
    /// and in time, of a site that is at hand, and moves no more than its own stream, nor time as far
    /// as a repair; how many.
    #[inline(always)]
    fn admit_run(&mut self, events: &EventBlock, these: Range<usize>) -> usize {
        let (from, first) = (these.start, events.get(these.start));
        let (origin, skew_max) = (first.origin(), self.options.clock_skew_max);
        let skew_max = skew_max.filter(|_| self.options.live);
        let Some(number) = self.late.growing() else { return 0 };
        let Some(mut hearing) = self.streams.hearing(first.stream(), self.late.due()) else {
            return 0;
        };
        let waiting_max = self.options.waiting_max;
        let Self { shards, rows, kinds, near, merge, floor: enterprise_floor, .. } = self;
        // Where all that wait are not too many, those of no site are.
        let scarce = rows[AT_SITES].kept() + RUN > waiting_max;
        let (mut many, mut own, mut new) = (0, 0, 0);
        let (mut least, mut last) = (EventTime::MAX, first.position());
        let (mut retained, mut unknown_device) = (0, 0);
        for event in events.some(these) {
            let Some(head) = event.head() else { break };
            if head.origin() != origin || head.kind() == KIND_ADVANCE || head.position() < last {
                break;
            }
            if skew_max.is_some_and(|max| is_skewed(head, max)) {
                break;
            }
            let (at, watermark) = (head.occurred(), hearing.watermark);
            let Some(after) = hearing.with(at) else { break };
            let Some((shard, place)) = place_near(near, head.site()) else { break };
            if let Some(shard) = shards.get_mut(shard) {
                let Admitted { seen, waiting, floor, .. } = &mut shard.sites[place];
                let full = scarce && waiting.len() >= waiting_max;
                if at < watermark.max(*floor) || full || number_of(head.position()) != number {
                    break;
                }
                (least, own) = (least.min(at), own + 1);
                if head.flags() != EventFlags::default() {
                    retained += u64::from(head.flags().has(EventFlags::RETAINED));
                    unknown_device += u64::from(head.flags().has(EventFlags::UNKNOWN_DEVICE));
                }
                if seen.is_new(head.identity(), at, watermark) {
                    new += 1;
                    let row = rows[AT_SITES].keep(event);
                    let OfKind { rank, forwarded } = kinds[head.kind().0 as usize];
                    let new = |over| Waiting::new(at, rank, over, row);
                    let over = match forwarded {
                        false => Over::Nothing,
                        true if at < *enterprise_floor => Over::Unknown,
                        true => merge.foresee(rows, new(Over::Queued)),
                    };
                    waiting.push(rows, new(over));
                    if let Some(due) = shard.due.get_mut(place) {
                        *due = at.min(*due);
                    }
                }
            }
            hearing.hear(at, after);
            (many, last) = (many + 1, head.position());
        }
        if many == 0 {
            return 0;
        }
        self.late.pass(new);
        if own > 0 {
            self.late.grow(Stretch::new((first.position(), last), (least, hearing.reached), own));
        }
        self.streams.heard(hearing, events.get(from + many - 1));
        let books = &mut self.books[first.source().0 as usize];
        books.events += own;
        books.duplicate += own - new;
        books.waiting += new;
        books.retained += retained;
        books.unknown_device += unknown_device;
        many
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
        let rank = self.kinds[event.kind().0 as usize].rank;
        let shard = &mut self.shards[place.0];
        let admitted = &mut shard.sites[place.1];
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
            let over = Over::Unknown;
            admitted.waiting.push(&self.rows, Waiting::new(occurred, rank, over, row));
            shard.due[place.1] = occurred.min(shard.due[place.1]);
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
        let Shard { sites, due } = &mut self.shards[shard];
        due.push(EventTime::MIN);
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
