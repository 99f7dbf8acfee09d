//! What an event costs before it waits: its site, its identity, its stream, its copy.
//!
//! Nearly all events come in runs of one stream about which nothing is out of the ordinary: what all of
//! a run share is at hand, and entered once ([`Engine::admit_run`]). Whatever is not plain at first
//! sight is judged by [`Engine::admit`], alone. What each will look up is asked for some events ahead.

use std::ops::Range;

use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventRef, EventTime, Position, RowLines, Symbol, TimeSpan};

use super::findings::Findings;
use super::late::{Stretch, end_of, number_of};
use super::merge::{AT_SITES, Merge};
use super::parts::Place;
use super::reorder::{Counted, Over, Reorder, Rows, Waiting};
use super::seen::Seen;
use super::shares::{After, Share};
use super::site::Site;
use super::streams::Hearing;
use super::wide::{Task, perform};
use super::{Admitted, Engine, OfKind};

/// Events that are admitted before what is due of them is let go: as many of a site one after the other
/// as stay in the caches.
const TOGETHER: usize = 1_024;

/// So many events before its turn the look-ups of one are asked for.
const AHEAD: usize = 24;

/// Events that are looked at, or entered, one after the other: few, since of many lines of memory that are asked for at
/// once some are not on their way at all.
const TURN: usize = 8;

/// Events that were looked at and are not entered, at most; and room for as many. A power of two.
const LOOKED: usize = AHEAD + TURN;
const ROOM: usize = 32;

/// Sites whose places are at hand. A power of two.
pub const NEAR: usize = 64;

/// Those that were asked for last, by the low bits of the symbol.
pub type Near = [(Symbol, Place); NEAR];

/// Nobody was asked for: no symbol has this number.
pub const NOBODY: (Symbol, Place) = (Symbol(u32::MAX), Place::MAX);

#[inline(always)]
fn place_near(near: &Near, site: Symbol) -> Option<Place> {
    let (known, place) = near[site.0 as usize % NEAR];
    (known == site).then_some(place)
}

pub(super) fn is_skewed(event: EventRef<'_>, max: TimeSpan) -> bool {
    event.occurred().since(event.recorded()).0.saturating_abs() > max.0
}

/// What was seen of an event that is plain, until it is entered.
#[derive(Clone, Copy, Default)]
pub struct Plain {
    /// How far time had come before it.
    watermark: EventTime,
    place: Place,
}

/// What was seen of the last.
pub type Looked = [Plain; ROOM];

/// Events of one stream, looked at and then entered, some at a time.
struct Run<'a> {
    sites: &'a mut [Admitted],
    due: &'a mut [EventTime],
    rows: &'a mut [Rows],
    kinds: &'a [OfKind],
    near: &'a Near,
    merge: &'a mut Merge,
    /// What the enterprise was given early.
    floor: EventTime,
    hearing: Hearing,
    origin: u32,
    counted: Counted,
    skew_max: Option<TimeSpan>,
    /// Where the newest stands, and where the stretch of the log ends that grows.
    last: Position,
    end: Position,
    /// So many may wait at a site, where all that wait are not too many.
    waiting_max: usize,
    scarce: bool,
    least: EventTime,
    /// How far the stream had come before each event of the block, where not all of its events are in it.
    before: &'a [EventTime],
    duplicate: u64,
    retained: u64,
    unknown_device: u64,
    /// Those that were looked at last, by their numbers.
    plain: &'a mut Looked,
}

/// Enters events that are plain, from a number on: each waits, or is a duplicate.
struct Enter<'a, 'r, I>(&'a mut Run<'r>, I, usize);

impl<'e, I: Iterator<Item = RowLines<'e>>> Task for Enter<'_, '_, I> {
    type Done = ();

    #[inline(always)]
    fn run(self) {
        let Self(run, rows, from) = self;
        run.enter(rows, from);
    }
}

impl Run<'_> {
    /// Looks at the next events, and asks for what entering them will touch; how many are plain, up to the
    /// first that is not. Nothing has changed but what they change together.
    #[inline(never)]
    fn look<'e>(&mut self, rows: impl Iterator<Item = RowLines<'e>>, from: usize) -> usize {
        let (mut hearing, mut last, mut least) = (self.hearing, self.last, self.least);
        let mut many = 0;
        for row in rows {
            row.expect_behind(AHEAD);
            let head = row.head();
            let (at, position) = (head.occurred(), head.position());
            let known = head.origin() == self.origin && head.kind() != KIND_ADVANCE;
            if !known || position < last || position >= self.end {
                break;
            }
            if let Some(max) = self.skew_max
                && is_skewed(head, max)
            {
                break;
            }
            let heard = match self.before.get(from + many) {
                None => hearing,
                Some(before) => {
                    // Another thread may have made it: what is not asked for comes from memory.
                    row.expect_rest();
                    match hearing.after(*before) {
                        Some(heard) => heard,
                        None => break,
                    }
                }
            };
            let Some(after) = heard.with(at) else { break };
            let Some(place) = place_near(self.near, head.site()) else { break };
            let Some(Admitted { seen, waiting, floor, .. }) = self.sites.get(place as usize) else {
                break;
            };
            if at < heard.watermark || at < *floor {
                break;
            }
            if self.scarce && waiting.len() >= self.waiting_max {
                break;
            }
            if head.flags().has(EventFlags::QUARANTINED) {
                break;
            }
            seen.expect(head.identity());
            row.expect_fields();
            least = least.min(at);
            if head.flags() != EventFlags::default() {
                self.count(head.flags());
            }
            self.plain[(from + many) % ROOM] = Plain { watermark: heard.watermark, place };
            hearing = heard;
            hearing.hear(at, after);
            last = position;
            many += 1;
        }
        (self.hearing, self.last, self.least) = (hearing, last, least);
        many
    }

    #[cold]
    fn count(&mut self, flags: EventFlags) {
        self.retained += u64::from(flags.has(EventFlags::RETAINED));
        self.unknown_device += u64::from(flags.has(EventFlags::UNKNOWN_DEVICE));
    }

    #[inline(always)]
    fn enter<'e>(&mut self, rows: impl Iterator<Item = RowLines<'e>>, from: usize) {
        let mut number = from;
        for row in rows {
            number += 1;
            let Plain { watermark, place } = self.plain[(number - 1) % ROOM];
            let Some(admitted) = self.sites.get_mut(place as usize) else { continue };
            let (head, Admitted { seen, waiting, .. }) = (row.head(), admitted);
            let at = head.occurred();
            if !seen.is_new_here(head.identity(), at, watermark) {
                self.duplicate += 1;
                continue;
            }
            let OfKind { rank, over } = self.kinds[usize::from(head.kind().0)];
            let row = self.rows[AT_SITES].keep_lines(row);
            let new = Waiting::counted(at, rank, over, row, self.counted);
            let new = if at < self.floor {
                new.with_over(Over::Unknown)
            } else {
                self.merge.foresee(self.rows, new)
            };
            // Behind others that wait it is due when they are, or later.
            if waiting.push(self.rows, new)
                && let Some(due) = self.due.get_mut(place as usize)
            {
                *due = at.min(*due);
            }
        }
    }
}

/// Asks for what the admission of some events will look at, as far as there are so many.
#[inline(never)]
fn expect_some(sites: &[Admitted], near: &Near, events: &EventBlock, these: Range<usize>) {
    let end = these.end.min(events.len());
    for row in events.rows(these.start.min(end)..end) {
        row.expect_behind(AHEAD);
        let head = row.head();
        if let Some(place) = place_near(near, head.site())
            && let Some(admitted) = sites.get(place as usize)
        {
            row.expect_fields();
            admitted.seen.expect(head.identity());
        }
    }
}

impl Engine {
    /// Takes the events of a block from `from` on, up to the one that makes a repair due
    /// ([`Engine::due`]); where to go on. What is found does not depend on where blocks end.
    pub fn feed_some(&mut self, events: &EventBlock, from: usize, out: &mut Findings) -> usize {
        self.feed_heard(events, &[], from, out)
    }

    /// Takes its share of some events, and hears of the others.
    pub(super) fn feed_share(&mut self, share: &Share, out: &mut Findings) {
        let Share { events, before, after } = share;
        let mut next = 0;
        while next < events.len() {
            next = self.feed_heard(events, before, next, out);
        }
        if let Some(After { stream, source, reached }) = *after {
            self.streams.reach(stream, source, reached);
        }
        self.release(out);
    }

    /// The same of events before each of which, where that is said, their stream had come so far.
    fn feed_heard(
        &mut self,
        events: &EventBlock,
        before: &[EventTime],
        from: usize,
        out: &mut Findings,
    ) -> usize {
        let (mut next, mut asked, probed) = (from, from, out.probe().is_some());
        while next < events.len() {
            let (begin, until) = (next, events.len().min(next + TOGETHER));
            let mut due = false;
            while next < until && !due {
                expect_some(&self.sites, &self.near, events, asked.max(next)..next + AHEAD);
                let plain = if probed { 0 } else { self.admit_run(events, before, next..until) };
                if plain == 0 {
                    if let Some(before) = before.get(next).filter(|at| **at > EventTime::MIN) {
                        let event = events.get(next);
                        self.streams.reach(event.stream(), event.source(), *before);
                    }
                    self.admit_one(events.get(next), probed, out);
                }
                (asked, next) = (next + AHEAD, next + plain.max(1));
                due = self.repair_is_due();
            }
            // What came between two inputs may have made anything due.
            if due || from == begin || next == events.len() && before.is_empty() {
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

    /// Admits the events of one stream, from the first of these on, of which each is new or a duplicate
    /// and in time, of a site that is at hand, and moves no more than its own stream, nor time as far
    /// as a repair; how many.
    #[inline(never)]
    fn admit_run(
        &mut self,
        events: &EventBlock,
        before: &[EventTime],
        these: Range<usize>,
    ) -> usize {
        let (from, first) = (these.start, events.get(these.start));
        let skew_max = self.options.skew_max();
        let Some(stretch) = self.late.growing().filter(|n| *n == number_of(first.position()))
        else {
            return 0;
        };
        let Some(hearing) = self.streams.hearing(first.stream(), self.late.due()) else {
            return 0;
        };
        let waiting_max = self.options.waiting_max;
        let Self { sites, due, rows, kinds, near, plain, merge, floor, .. } = self;
        let scarce = rows[AT_SITES].kept() + these.len() > waiting_max;
        // As many as there may be when all are entered that were looked at.
        let waiting_max = waiting_max.saturating_sub(LOOKED);
        let mut run = Run {
            sites,
            due,
            rows,
            kinds,
            near,
            merge,
            floor: *floor,
            hearing,
            origin: first.origin(),
            counted: Counted::under(first.source()),
            skew_max,
            last: first.position(),
            end: end_of(stretch),
            waiting_max,
            scarce,
            least: EventTime::MAX,
            before,
            duplicate: 0,
            retained: 0,
            unknown_device: 0,
            plain,
        };
        // Each look is so far ahead that what it asked for is there when its events are entered.
        let (mut next, mut looked, mut until) = (from, from, these.end);
        while next < until {
            let turn = looked..until.min(next + LOOKED);
            let whole = turn.end;
            looked += run.look(events.rows(turn), looked);
            if looked < whole {
                until = looked;
            }
            let turn = next..until.min(next + TURN);
            next = turn.end;
            perform(Enter(&mut run, events.rows(turn.clone()), turn.start));
        }
        if next == from {
            return 0;
        }
        let Run { hearing, last, least, duplicate, .. } = run;
        let Run { retained, unknown_device, .. } = run;
        let all = (next - from) as u64;
        let new = all - duplicate;
        self.late.pass(new);
        self.late.grow(Stretch::new((first.position(), last), (least, hearing.reached), all));
        self.streams.heard(hearing, events.get(next - 1));
        let books = &mut self.books[first.source().0 as usize];
        books.events += all;
        books.duplicate += duplicate;
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
        let watermark = self.streams.watermark();
        self.late.note(event, occurred, watermark, self.options.late.recorded);
        let rank = self.kinds[event.kind().0 as usize].rank;
        let (admitted, due) = (&mut self.sites[place as usize], &mut self.due[place as usize]);
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
            let counted = Counted::of(self.rows[AT_SITES].get(row));
            let new = Waiting::counted(occurred, rank, Over::Unknown, row, counted);
            admitted.waiting.push(&self.rows, new);
            *due = occurred.min(*due);
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
        match self.options.skew_max() {
            Some(max) if is_skewed(event, max) => (event.recorded(), true),
            _ => (event.occurred(), false),
        }
    }

    /// Where a site's state is; made at its first event.
    pub(super) fn place(&mut self, site: Symbol) -> Place {
        if let Some(place) = place_near(&self.near, site) {
            return place;
        }
        let place = self.places.get(&site).copied().unwrap_or_else(|| self.begin(site));
        self.near[site.0 as usize % NEAR] = (site, place);
        place
    }

    fn begin(&mut self, site: Symbol) -> Place {
        let (digest, shards) = (self.interner.digest(site), self.options.shards.max(1));
        let place = self.sites.len() as Place;
        self.due.push(EventTime::MIN);
        self.sites.push(Admitted {
            shard: (digest % shards as u128) as usize,
            site: Site::new(site, &self.plan, &self.layout, &self.options),
            seen: Seen::new(self.options.duplicates_within, self.options.duplicates_max),
            waiting: Reorder::default(),
            floor: EventTime::MIN,
        });
        self.places.insert(site, place);
        place
    }
}
