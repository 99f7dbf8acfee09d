//! Events that wait for the watermark, in the order (occurred, rank, site, identity).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Zeroable;
use event::MemoryLine;
use event::prefetch::prefetch;
use event::streaming::copy_past_caches;
use event::{EventFlags, EventMut, EventRef, EventTime, Interner, RowLines, SourceId};

/// Rows that wait, each for as long as somebody knows its number: the line that it begins with. A row is
/// copied once, when it is kept: from queue to queue goes its number.
pub struct Rows {
    stride: usize,
    /// Each row begins with a line of memory.
    lines: Vec<MemoryLine>,
    lines_each: u32,
    free: Vec<u32>,
    interner: Arc<Interner>,
}

impl Rows {
    /// No row yet, of `stride` words; their sites are named here.
    pub fn new(stride: usize, interner: Arc<Interner>) -> Self {
        let lines_each = stride.div_ceil(8) as u32;
        Self { stride, lines: Vec::new(), lines_each, free: Vec::new(), interner }
    }

    /// So many are kept.
    pub fn kept(&self) -> usize {
        self.lines.len() / self.lines_each as usize - self.free.len()
    }

    #[inline(always)]
    fn lines_of(&self, row: u32) -> Range<usize> {
        row as usize..row as usize + self.lines_each as usize
    }

    /// A row that is kept, or was until now, with what stands behind it in its last line.
    #[inline(always)]
    pub fn row(&self, row: u32) -> EventRef<'_> {
        self.lines(row).row()
    }

    /// A row that is kept, or was until now.
    #[inline]
    pub fn get(&self, row: u32) -> EventRef<'_> {
        let lines = &self.lines[self.lines_of(row)];
        EventRef::from_words(&bytemuck::cast_slice(lines)[..self.stride])
    }

    /// The same, as it stands in memory.
    #[inline(always)]
    pub fn lines(&self, row: u32) -> RowLines<'_> {
        RowLines::of(&self.lines[self.lines_of(row)])
    }

    /// Asks for a row's memory, as far as most events have fields: it will be read soon.
    #[inline(always)]
    pub fn expect(&self, row: u32) {
        [0, 1].into_iter().for_each(|line| prefetch(&self.lines, row as usize + line));
    }

    /// The words of a row.
    #[inline(always)]
    fn words_mut(&mut self, row: u32) -> &mut [u64] {
        let lines = self.lines_of(row);
        &mut bytemuck::cast_slice_mut(&mut self.lines[lines])[..self.stride]
    }

    /// A row that is kept, to change it; not in what decides its place.
    pub fn get_mut(&mut self, row: u32) -> EventMut<'_> {
        EventMut::from_words(self.words_mut(row))
    }

    /// Keeps a copy of a row.
    #[inline(always)]
    pub fn keep(&mut self, event: EventRef<'_>) -> u32 {
        let row = match self.free.pop() {
            Some(row) => row,
            None => self.grow(),
        };
        event.copy_to(self.words_mut(row));
        row
    }

    /// Keeps a copy of a row of as many lines.
    #[inline(always)]
    pub fn keep_lines(&mut self, lines: RowLines<'_>) -> u32 {
        let row = match self.free.pop() {
            Some(row) => row,
            None => self.grow(),
        };
        let own = self.lines_of(row);
        lines.copy_to(&mut self.lines[own]);
        row
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> u32 {
        let row = self.lines.len();
        self.lines.resize(row + self.lines_each as usize, MemoryLine::zeroed());
        row as u32
    }

    /// Keeps copies of rows of as many lines, in the place of all that were kept, for a thread on another processor
    /// ([`copy_past_caches`]). They stand one after the other.
    pub fn hand_over(&mut self, from: &Self, rows: &mut [Waiting]) {
        let each = self.lines_each as usize;
        if self.lines.len() < rows.len() * each {
            self.lines.resize(rows.len() * each, MemoryLine::zeroed());
        }
        let (taken, left) = self.lines.split_at_mut(rows.len() * each);
        let left =
            (0..(left.len() / each) as u32).map(|row| taken.len() as u32 + row * each as u32);
        self.free.clear();
        self.free.extend(left.rev());
        let places = rows.iter().zip(taken.chunks_exact_mut(each));
        copy_past_caches(places.map(|(row, to)| {
            let told = from.lines(row.row()).told();
            (told, &mut to[..told.len()])
        }));
        for (number, row) in rows.iter_mut().enumerate() {
            *row = row.with_row((number * each) as u32);
        }
    }

    /// Gives a row up: it is good until another is kept.
    #[inline]
    pub fn give_up(&mut self, row: u32) {
        self.free.push(row);
    }

    /// The same of several, as far as they are said to be. Without a branch: which, nobody could foretell.
    #[inline]
    pub fn give_up_some(&mut self, rows: impl ExactSizeIterator<Item = (u32, bool)>) {
        let mut end = self.free.len();
        self.free.resize(end + rows.len(), 0);
        for (row, is_given_up) in rows {
            self.free.get_mut(end).into_iter().for_each(|free| *free = row);
            end += usize::from(is_given_up);
        }
        self.free.truncate(end);
    }

    /// The same of several.
    #[inline]
    pub fn give_up_all(&mut self, rows: impl Iterator<Item = u32>) {
        self.free.extend(rows);
    }

    /// What decides between rows of one time and rank.
    #[inline(never)]
    fn tie(&self, row: u32) -> (u128, u128) {
        let event = self.get(row);
        (self.interner.digest(event.site()), event.identity().0)
    }
}

/// What the enterprise has of an event that waits at its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// That is seen when the site lets it go.
    Unknown = 0,
    /// It does not need it.
    Nothing = 1,
    /// It is in its line already, and gives the row up.
    Queued = 2,
}

/// Which source a row that waits is counted under, if a few bits say it: else the row does.
#[derive(Clone, Copy, Debug)]
pub struct Counted(u64);

impl Counted {
    /// The row itself says it, and whether it counts at all.
    const ROW: u64 = 0x3f;

    /// That of rows of a source that count as any others.
    pub fn under(SourceId(source): SourceId) -> Self {
        Self(u64::from(source).min(Self::ROW) << SOURCE)
    }

    /// That of a row.
    pub fn of(event: EventRef<'_>) -> Self {
        let apart = event.flags().has(EventFlags::QUARANTINED);
        if apart { Self(Self::ROW << SOURCE) } else { Self::under(event.source()) }
    }
}

/// A row that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it occurred.
    pub at: EventTime,
    /// rank (8) | source (6) | over (2) | line (16) | row (32), from the high end: one word, since what is
    /// written in parts cannot be read as a whole at once.
    rest: u64,
}

const LINE: u32 = 32;
const OVER: u32 = 48;
const OVER_MASK: u64 = 3;
const SOURCE: u32 = 50;
const RANK: u32 = 56;

impl Waiting {
    /// A row of the first line of rows, which says itself where it is counted.
    #[inline(always)]
    pub fn new(at: EventTime, rank: u8, over: Over, row: u32) -> Self {
        Self::counted(at, rank, over, row, Counted(Counted::ROW << SOURCE))
    }

    /// The same of one of which it is known where it is counted.
    #[inline(always)]
    pub fn counted(at: EventTime, rank: u8, over: Over, row: u32, counted: Counted) -> Self {
        let over = (over as u64) << OVER;
        Self { at, rest: u64::from(rank) << RANK | counted.0 | over | u64::from(row) }
    }

    /// The source that all of these are counted under, if that is said of all of them.
    pub fn source_of_all(all: &[Self]) -> Option<SourceId> {
        let first = all.first()?.rest;
        // All are looked at: they are few, and mostly alike.
        let unlike = all.iter().fold(0, |unlike, waiting| unlike | (waiting.rest ^ first));
        let source = first >> SOURCE & Counted::ROW;
        let alike = source != Counted::ROW && unlike >> SOURCE & Counted::ROW == 0;
        alike.then_some(SourceId(source as u16))
    }

    /// Its kind's rank.
    #[inline(always)]
    pub fn rank(self) -> u8 {
        (self.rest >> RANK) as u8
    }

    /// Whether the enterprise has this of it.
    #[inline(always)]
    pub fn is(self, over: Over) -> bool {
        self.rest >> OVER & OVER_MASK == over as u64
    }

    /// Which of several rows it is one of.
    #[inline(always)]
    pub fn line(self) -> u16 {
        (self.rest >> LINE) as u16
    }

    /// Its number there.
    #[inline(always)]
    pub fn row(self) -> u32 {
        self.rest as u32
    }

    /// The same, of which the enterprise has this.
    #[must_use]
    #[inline(always)]
    pub fn with_over(self, over: Over) -> Self {
        Self { rest: self.rest & !(OVER_MASK << OVER) | (over as u64) << OVER, ..self }
    }

    /// The same in another place.
    #[must_use]
    #[inline(always)]
    pub fn with_row(self, row: u32) -> Self {
        Self { rest: self.rest >> LINE << LINE | u64::from(row), ..self }
    }

    /// The same in another of several rows.
    #[must_use]
    #[inline(always)]
    pub fn with_line(self, line: u16) -> Self {
        Self { rest: self.rest & !(0xffff << LINE) | u64::from(line) << LINE, ..self }
    }

    /// Whether it comes before another.
    #[inline(always)]
    pub fn is_before(self, rows: &[Rows], other: Self) -> bool {
        self.at < other.at || self.at == other.at && self.is_before_of_then(rows, other)
    }

    #[inline(never)]
    fn is_before_of_then(self, rows: &[Rows], other: Self) -> bool {
        self.rank() < other.rank()
            || self.rank() == other.rank() && self.tie(rows) < other.tie(rows)
    }

    fn tie(self, rows: &[Rows]) -> (u128, u128) {
        rows[usize::from(self.line())].tie(self.row())
    }
}

/// What came in order.
#[derive(Debug)]
pub struct Line {
    /// As long as it ever was: behind the end stands anything.
    waiting: Vec<Waiting>,
    /// What is next; all before it has been let go.
    next: usize,
    end: usize,
    /// When the last that was pushed occurred.
    last: EventTime,
}

impl Default for Line {
    fn default() -> Self {
        Self { waiting: Vec::new(), next: 0, end: 0, last: EventTime::MIN }
    }
}

impl Line {
    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.next
    }

    /// What stands so many places behind the next.
    #[inline]
    pub fn get(&self, behind: usize) -> Option<Waiting> {
        self.all().get(behind).copied()
    }

    /// Takes one that comes behind all others; whether it does.
    #[inline(always)]
    pub fn take(&mut self, rows: &[Rows], new: Waiting) -> bool {
        // Where nothing waits it is whoever was the last: he was let go before.
        let behind = new.at > self.last || self.is_behind(rows, new);
        if behind {
            self.put(new, true);
        }
        behind
    }

    /// Takes one that came later than all others, if it is wanted; whether it did.
    #[inline(always)]
    pub fn take_later(&mut self, new: Waiting, is_wanted: bool) -> bool {
        let later = new.at > self.last;
        if later {
            self.put(new, is_wanted);
        }
        later
    }

    /// Puts one behind all others, if it is wanted. Without a branch: which is, nobody could foretell.
    #[inline(always)]
    fn put(&mut self, new: Waiting, is_wanted: bool) {
        match self.waiting.get_mut(self.end) {
            Some(place) => *place = new,
            None => self.grow(new),
        }
        self.end += usize::from(is_wanted);
        self.last = select_unpredictable(is_wanted, new.at, self.last);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, new: Waiting) {
        let len = 64.max(2 * self.waiting.len());
        self.waiting.resize(len, Waiting::new(EventTime::MIN, 0, Over::Unknown, 0));
        self.waiting[self.end] = new;
    }

    #[inline(never)]
    fn is_behind(&self, rows: &[Rows], new: Waiting) -> bool {
        let last = self.all().last();
        last.is_none_or(|last| !new.is_before(rows, *last))
    }

    /// Takes the next that occurred before `watermark`; `MAX` lets all go.
    #[inline(always)]
    pub fn pop(&mut self, watermark: EventTime) -> Option<Waiting> {
        let first = *self.all().first()?;
        if first.at >= watermark && watermark != EventTime::MAX {
            return None;
        }
        self.next += 1;
        Some(first)
    }

    /// All that wait.
    #[inline]
    pub fn all(&self) -> &[Waiting] {
        self.waiting.get(self.next..self.end).unwrap_or_default()
    }

    /// So many occurred before `watermark`; `MAX` lets all go.
    #[inline]
    pub fn due(&self, watermark: EventTime) -> usize {
        let all = self.all();
        if watermark == EventTime::MAX {
            return all.len();
        }
        all.iter().take_while(|waiting| waiting.at < watermark).count()
    }

    /// So many have been let go.
    #[inline]
    pub fn pass(&mut self, many: usize) {
        self.next += many;
    }

    /// Puts some in their places that did not come behind all others, and are in order themselves.
    pub fn weave(&mut self, rows: &[Rows], these: &[Waiting], spare: &mut Vec<Waiting>) {
        let Some(newest) = these.last() else { return };
        spare.clear();
        let mut rest = self.all();
        for one in these {
            let before = rest.iter().take_while(|waiting| !one.is_before(rows, **waiting)).count();
            spare.extend_from_slice(&rest[..before]);
            spare.push(*one);
            rest = &rest[before..];
        }
        let left = rest.len();
        let woven = self.end - left;
        self.end = spare.len() + left;
        self.waiting.splice(..woven, spare.drain(..));
        (self.next, self.last) = (0, newest.at.max(self.last));
    }

    /// Makes room where most has been let go: what waits moves half as often as it goes.
    #[inline]
    pub fn tidy(&mut self) {
        if self.next > self.end / 2 {
            self.waiting.copy_within(self.next..self.end, 0);
            (self.next, self.end) = (0, self.len());
        }
    }
}

/// Time, and what waits as a word, which begins with the rank. What decides between those of one time
/// and rank is looked at when they have left the heap.
type Disordered = (EventTime, u64);

fn in_heap(Reverse((at, rest)): &Reverse<Disordered>) -> Waiting {
    Waiting { at: *at, rest: *rest }
}

/// Puts the last of a line before those that it comes before.
#[cold]
#[inline(never)]
fn put_before(rows: &[Rows], line: &mut [Waiting]) {
    let Some((last, others)) = line.split_last() else { return };
    let behind = others.iter().rev().take_while(|other| last.is_before(rows, **other)).count();
    let from = others.len() - behind;
    line[from..].rotate_right(1);
}

/// Events that are put in order behind those that are due: as many as are looked at before their turn.
const AHEAD: usize = 24;

/// A queue of rows. What arrives in order costs a push at its end; the rest waits in a heap, and takes
/// its place in the line before it is due.
#[derive(Debug, Default)]
pub struct Reorder {
    ordered: Line,
    disordered: BinaryHeap<Reverse<Disordered>>,
    /// What has left the heap, and a line that is being put together.
    woven: [Vec<Waiting>; 2],
}

impl Reorder {
    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.ordered.len() + self.disordered.len()
    }

    /// Takes a row that is kept; whether it may be the next of all.
    #[inline(always)]
    pub fn push(&mut self, rows: &[Rows], new: Waiting) -> bool {
        let alone = self.ordered.len() == 0;
        if self.ordered.take(rows, new) {
            return alone;
        }
        self.disordered.push(Reverse((new.at, new.rest)));
        true
    }

    /// All in order that is due, and more behind it; how many are due.
    #[inline]
    pub fn in_order(&mut self, rows: &[Rows], watermark: EventTime) -> (&[Waiting], usize) {
        let mut due = self.ordered.due(watermark);
        if !self.disordered.is_empty() {
            due = self.straighten(rows, watermark, due);
        }
        (self.ordered.all(), due)
    }

    /// Puts in their places what is due, and some of what is next, of what did not come in order; how
    /// many are due now, where so many were that did.
    #[inline(never)]
    fn straighten(&mut self, rows: &[Rows], watermark: EventTime, due: usize) -> usize {
        let Self { ordered, disordered, woven: [out, spare] } = self;
        let end = ordered.get(due + AHEAD);
        let (mut late, mut ahead) = (0, 0);
        while let Some(first) = disordered.peek().map(in_heap) {
            if first.at < watermark || watermark == EventTime::MAX {
                late += 1;
            } else if ahead < AHEAD && end.is_none_or(|end| first.is_before(rows, end)) {
                ahead += 1;
            } else {
                break;
            }
            let ties = out.last().is_some_and(|last| first.is_before(rows, *last));
            out.push(first);
            disordered.pop();
            if ties {
                put_before(rows, out);
            }
        }
        ordered.weave(rows, out, spare);
        out.clear();
        due + late
    }

    /// So many of them have been let go.
    #[inline]
    pub fn pass(&mut self, many: usize) {
        self.ordered.pass(many);
    }

    /// When the next event occurred.
    #[inline]
    pub fn next_at(&self) -> Option<EventTime> {
        let ordered = self.ordered.get(0).map(|first| first.at);
        let disordered = self.disordered.peek().map(|first| first.0.0);
        ordered.into_iter().chain(disordered).min()
    }

    /// Takes the next event before it is due.
    #[cold]
    pub fn pop(&mut self, rows: &[Rows]) -> Option<Waiting> {
        self.straighten(rows, EventTime::MIN, 0);
        self.ordered.pop(EventTime::MAX)
    }

    /// Some have been let go, and that is it for now.
    #[inline]
    pub fn tidy(&mut self) {
        self.ordered.tidy();
    }

    /// What the enterprise has of those that wait is no longer so.
    #[cold]
    pub fn know_nothing(&mut self) {
        let unknown = |waiting: Waiting| waiting.with_over(Over::Unknown);
        let Line { waiting, next, end, .. } = &mut self.ordered;
        waiting[*next..*end].iter_mut().for_each(|waiting| *waiting = unknown(*waiting));
        let all = std::mem::take(&mut self.disordered).into_iter();
        self.disordered = all
            .map(|Reverse((at, rest))| Reverse((at, unknown(Waiting { at, rest }).rest)))
            .collect();
    }

    /// Every waiting row, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Waiting> {
        let ordered = self.ordered.all().iter().copied();
        ordered.chain(self.disordered.iter().map(in_heap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Identity, Symbol};

    #[test]
    fn any_order_of_arrival_is_let_go_in_the_one_order() {
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let mut rows = vec![Rows::new(16, Interner::shared())];
            let (mut waiting, mut order, mut passed) = (Reorder::default(), Vec::new(), Vec::new());
            for came in 0..300 {
                // Many of one time and rank, which their identities decide between.
                let at = EventTime((came / 8 + random(20)) as i64).max(EventTime(came as i64 / 8));
                let (rank, identity) = (random(2) as u8, random(1 << 40));
                let mut words = [0; 16];
                let mut event = EventMut::from_words(&mut words);
                event.times(at, at);
                event.identity(Identity(u128::from(identity)));
                event.place(Symbol::NONE, Symbol::NONE);
                let row = rows[0].keep(EventRef::from_words(&words));
                let new = Waiting::new(at, rank, Over::Nothing, row);
                let before = waiting.next_at();
                let first = waiting.push(&rows, new);
                assert!(first || before.is_some_and(|before| before <= at));
                order.push((at, rank, identity, row));
                let watermark = EventTime(came as i64 / 8);
                if random(5) == 0 {
                    let (line, many) = waiting.in_order(&rows, watermark);
                    passed.extend(line[..many].iter().map(|waiting| waiting.row()));
                    assert!(line[many..].iter().all(|waiting| waiting.at >= watermark));
                    waiting.pass(many);
                    waiting.tidy();
                }
                if waiting.len() > 60 {
                    let least = waiting.iter().map(|w| (w.at, w.rank())).min();
                    let early = waiting.pop(&rows).expect("some wait");
                    assert_eq!(Some((early.at, early.rank())), least);
                    order.retain(|(.., row)| *row != early.row());
                }
            }
            let (line, many) = waiting.in_order(&rows, EventTime::MAX);
            passed.extend(line[..many].iter().map(|waiting| waiting.row()));
            order.sort_unstable();
            assert_eq!(passed, order.iter().map(|(.., row)| *row).collect::<Vec<_>>());
        }
    }
}
