//! What an event costs before it waits: its site, its identity, its stream, its copy.
//!
//! Nearly all events come in runs of one stream about which nothing is out of the ordinary: what all of
//! a run share is at hand, and entered once ([`Engine::admit_run`]). Whatever is not plain at first
//! sight is judged by [`Engine::admit`], alone. What each will look up is asked for some events ahead.

use std::ops::Range;

use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventRef, EventTime, Position, Symbol, TimeSpan};

use super::findings::Findings;
use super::late::{Stretch, end_of, number_of};
use super::merge::{AT_SITES, Merge};
use super::parts::ELSEWHERE;
use super::reorder::{Over, Reorder, Rows, Waiting};
use super::seen::Seen;
use super::site::Site;
use super::streams::Hearing;
use super::{Admitted, Engine, OfKind, Shard};

/// Events that are admitted before what is due of them is let go: as many of a site one after the other
/// as stay in the caches.
const TOGETHER: usize = 1_024;

/// Events whose look-ups are asked for while as many before them are admitted: about as many lines of
/// memory as can be on their way at once.
const RUN: usize = 16;

/// Events that are looked at, or entered, one after the other. Divides [`RUN`].
const TURN: usize = 8;

/// Events that were looked at and are not entered yet, at most. A power of two.
const LOOKED: usize = 2 * RUN;

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

/// Where an event of a run goes, and how far time had come before it.
#[derive(Clone, Copy)]
struct Looked {
    place: (usize, usize),
    watermark: EventTime,
}

/// Those that are not entered yet, by the low bits of their rows.
type Ring = [Looked; LOOKED];

/// Events of one stream, looked at some at a time; what those will touch is on its way while those
/// before them are entered.
struct Run<'a> {
    shards: &'a mut [Shard],
    rows: &'a mut [Rows],
    kinds: &'a [OfKind],
    near: &'a Near,
    merge: &'a mut Merge,
    /// What the enterprise was given early.
    floor: EventTime,
    hearing: Hearing,
    origin: u32,
    skew_max: Option<TimeSpan>,
    /// Where the newest stands, and where the stretch of the log ends that grows.
    last: Position,
    end: Position,
    waiting_max: usize,
    /// Where all that wait are not too many, those of no site are.
    scarce: bool,
    least: EventTime,
    own: u64,
    new: u64,
    retained: u64,
    unknown_device: u64,
}

impl Run<'_> {
    /// Looks at the next events, up to one that is not plain at first sight; how many are.
    #[inline(always)]
    fn look(&mut self, events: &EventBlock, these: Range<usize>, ring: &mut Ring) -> usize {
        let (mut hearing, mut last, mut least) = (self.hearing, self.last, self.least);
        let (from, mut many, mut own) = (these.start, 0, 0);
        for row in events.rows(these) {
            row.expect_behind(RUN);
            let head = row.head();
            let (origin, position) = (head.origin(), head.position());
            if origin != self.origin || head.kind() == KIND_ADVANCE {
                break;
            }
            if position < last || position >= self.end {
                break;
            }
            if self.skew_max.is_some_and(|max| is_skewed(head, max)) {
                break;
            }
            let (at, watermark) = (head.occurred(), hearing.watermark);
            let Some(after) = hearing.with(at) else { break };
            let Some(place) = place_near(self.near, head.site()) else { break };
            if let Some(shard) = self.shards.get(place.0) {
                let Admitted { seen, waiting, floor, .. } = &shard.sites[place.1];
                // Those looked at before may all wait there soon.
                let full = self.scarce && waiting.len() + LOOKED > self.waiting_max;
                if at < watermark.max(*floor) || full {
                    break;
                }
                row.expect_fields();
                seen.expect(head.identity());
                (least, own) = (least.min(at), own + 1);
                if head.flags() != EventFlags::default() {
                    self.retained += u64::from(head.flags().has(EventFlags::RETAINED));
                    let unknown = head.flags().has(EventFlags::UNKNOWN_DEVICE);
                    self.unknown_device += u64::from(unknown);
                }
            }
            ring[(from + many) % LOOKED] = Looked { place, watermark };
            hearing.hear(at, after);
            (many, last) = (many + 1, position);
        }
        (self.hearing, self.last, self.least) = (hearing, last, least);
        self.own += own;
        many
    }

    /// Enters those that were looked at: each waits, or is a duplicate.
    #[inline(always)]
    fn enter(&mut self, events: &EventBlock, these: Range<usize>, ring: &Ring) {
        for (number, row) in (these.start..).zip(events.rows(these)) {
            let head = row.head();
            let Looked { place, watermark } = ring[number % LOOKED];
            let Some(shard) = self.shards.get_mut(place.0) else { continue };
            let Admitted { seen, waiting, .. } = &mut shard.sites[place.1];
            let at = head.occurred();
            if !seen.is_new_here(head.identity(), at, watermark) {
                continue;
            }
            self.new += 1;
            let row = self.rows[AT_SITES].keep_lines(row);
            let OfKind { rank, forwarded } = self.kinds[head.kind().0 as usize];
            let new = |over| Waiting::new(at, rank, over, row);
            let over = match forwarded {
                false => Over::Nothing,
                true if at < self.floor => Over::Unknown,
                true => self.merge.foresee(self.rows, new(Over::Queued)),
            };
            // Behind others that wait it is due when they are, or later.
            if waiting.push(self.rows, new(over))
                && let Some(due) = shard.due.get_mut(place.1)
            {
                *due = at.min(*due);
            }
        }
    }
}

impl Engine {
    /// Takes the events of a block from `from` on, up to the one that makes a repair due
    /// ([`Engine::due`]); where to go on. What is found does not depend on where blocks end.
    pub fn feed_some(&mut self, events: &EventBlock, from: usize, out: &mut Findings) -> usize {
        let (mut next, mut asked, probed) = (from, from, out.probe().is_some());
        while next < events.len() {
            let (begin, until) = (next, events.len().min(next + TOGETHER));
            let mut due = false;
            while next < until && !due {
                let plain = if probed { 0 } else { self.admit_run(events, next..until) };
                if plain == 0 {
                    self.admit_one(events.get(next), probed, out);
                }
                next += plain.max(1);
                if plain < RUN && next > asked {
                    // Short runs have nobody who asks ahead.
                    asked = until.min(next + RUN);
                    events.some(next.min(asked)..asked).for_each(|event| self.expect(event));
                }
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

    #[inline(never)]
    fn admit_one(&mut self, event: EventRef<'_>, probed: bool, out: &mut Findings) {
        if probed {
            self.admit_probed(event, out);
        } else {
            self.admit(event, out);
        }
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
    #[inline(never)]
    fn admit_run(&mut self, events: &EventBlock, these: Range<usize>) -> usize {
        let (from, first) = (these.start, events.get(these.start));
        let skew_max = self.options.clock_skew_max.filter(|_| self.options.live);
        let Some(stretch) = self.late.growing().filter(|n| *n == number_of(first.position()))
        else {
            return 0;
        };
        let Some(hearing) = self.streams.hearing(first.stream(), self.late.due()) else {
            return 0;
        };
        let waiting_max = self.options.waiting_max;
        let Self { shards, rows, kinds, near, merge, floor, .. } = self;
        let scarce = rows[AT_SITES].kept() + these.len() > waiting_max;
        let mut run = Run {
            shards,
            rows,
            kinds,
            near,
            merge,
            floor: *floor,
            hearing,
            origin: first.origin(),
            skew_max,
            last: first.position(),
            end: end_of(stretch),
            waiting_max,
            scarce,
            least: EventTime::MAX,
            own: 0,
            new: 0,
            retained: 0,
            unknown_device: 0,
        };
        let mut ring = [Looked { place: ELSEWHERE, watermark: EventTime::MIN }; LOOKED];
        let (mut next, mut ahead, mut end) = (from, from, these.end);
        loop {
            while ahead < end.min(next + RUN) {
                let until = end.min(ahead + TURN);
                ahead += run.look(events, ahead..until, &mut ring);
                end = if ahead < until { ahead } else { end };
            }
            if next == ahead {
                break;
            }
            let until = ahead.min(next + TURN);
            run.enter(events, next..until, &ring);
            next = until;
        }
        if next == from {
            return 0;
        }
        let Run { hearing, last, least, own, new, retained, unknown_device, .. } = run;
        self.late.pass(new);
        if own > 0 {
            self.late.grow(Stretch::new((first.position(), last), (least, hearing.reached), own));
        }
        self.streams.heard(hearing, events.get(next - 1));
        let books = &mut self.books[first.source().0 as usize];
        books.events += own;
        books.duplicate += own - new;
        books.waiting += new;
        books.retained += retained;
        books.unknown_device += unknown_device;
        next - from
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
