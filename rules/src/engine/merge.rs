//! What sites forward to the enterprise, in the order of a queue over all sites.

use std::sync::Arc;

use event::{EventBlock, EventRef, EventTime, Interner, RowLines, Vocabulary};

use super::reorder::{Line, Over, Rows, Waiting};

/// The rows that wait at sites.
pub const AT_SITES: usize = 0;

/// Events of which the enterprise knows, at least, while it asks for what they will look up.
const ASKED_AHEAD: usize = 12;

/// Events that were forwarded. Sites are let go one after the other, so that what comes is in runs
/// that each are in order; they are merged before any is let go.
#[derive(Debug)]
pub struct Merge {
    /// Where its rows begin: with those of the sites, where the same engine judges both. What other
    /// engines hand over has rows of its own, a line for each.
    rows: usize,
    fresh: Vec<Waiting>,
    /// Where the runs of `fresh` end.
    ends: Vec<usize>,
    spare: Vec<Waiting>,
    /// What is settled, in order; and what of that is next.
    line: Vec<Waiting>,
    next: usize,
    /// What came in order over all sites, before its site has let it go: nearly all, where the same
    /// engine judges both, and nothing has to be merged.
    queue: Line,
    queues: bool,
}

/// What sites forwarded, on its way to the enterprise's engine.
pub struct Forwarded {
    rows: Rows,
    line: Vec<Waiting>,
    /// How far they have come.
    pub watermark: EventTime,
}

impl Forwarded {
    /// Nothing yet, of rows of a vocabulary.
    #[must_use]
    pub fn new(vocabulary: &Vocabulary, interner: Arc<Interner>) -> Self {
        let rows = Rows::new(EventBlock::new(vocabulary).stride(), interner);
        Self { rows, line: Vec::new(), watermark: EventTime::MIN }
    }
}

impl Merge {
    /// Nothing forwarded; the first line's rows have this number.
    pub fn new(rows: usize) -> Self {
        let (fresh, spare, line) = (Vec::new(), Vec::new(), Vec::new());
        let (queue, queues) = (Line::default(), rows == AT_SITES);
        Self { rows, fresh, ends: Vec::new(), spare, line, next: 0, queue, queues }
    }

    /// Takes one that its site will let go in time, if it is needed, as it says, and comes behind all others; the
    /// same, of which the enterprise has what it has then.
    #[inline(always)]
    pub fn foresee(&mut self, rows: &[Rows], new: Waiting) -> Waiting {
        if self.queues && self.queue.take_later(new, new.is(Over::Queued)) {
            return new;
        }
        self.foresee_other(rows, new)
    }

    #[inline(never)]
    fn foresee_other(&mut self, rows: &[Rows], new: Waiting) -> Waiting {
        let is_known = new.is(Over::Nothing) || self.queues && self.queue.take(rows, new);
        if is_known { new } else { new.with_over(Over::Unknown) }
    }

    /// Whether it takes events that still wait at their sites.
    pub fn foresees(&self) -> bool {
        self.queues
    }

    /// Whether it might, and does not for now.
    pub fn is_blinded(&self) -> bool {
        !self.queues && self.rows == AT_SITES
    }

    /// Takes such events from now on, or none, and forgets those it has: the sites have them.
    pub fn set_foresees(&mut self, foresees: bool) {
        (self.queue, self.queues) = (Line::default(), foresees && self.rows == AT_SITES);
    }

    /// Whether little is known of what is next: less than is asked for ahead.
    pub fn is_short(&self) -> bool {
        self.queue.len() < ASKED_AHEAD
    }

    /// Events waiting that their sites have let go.
    #[inline]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.line.len() - self.next
    }

    /// Takes a row over from a site.
    #[inline]
    pub fn take(&mut self, rows: &mut [Rows], mut waiting: Waiting) {
        if self.rows != AT_SITES {
            let (at_sites, own) = rows.split_at_mut(self.rows);
            at_sites[AT_SITES].give_up(waiting.row());
            let row = own[0].keep_lines(at_sites[AT_SITES].lines(waiting.row()));
            waiting = waiting.with_row(row);
        }
        self.push(rows, waiting);
    }

    /// Keeps a copy of a row.
    pub fn keep(&mut self, rows: &mut [Rows], rank: u8, event: EventRef<'_>) {
        let row = rows[self.rows].keep(event);
        let (at, over) = (event.occurred(), Over::Unknown);
        self.push(rows, Waiting::new(at, rank, over, row));
    }

    #[inline(always)]
    fn push(&mut self, rows: &[Rows], new: Waiting) {
        if self.fresh.last().is_some_and(|last| new.is_before(&rows[self.rows..], *last)) {
            self.ends.push(self.fresh.len());
        }
        self.fresh.push(new);
    }

    /// Puts what has come in its place: before anything is let go.
    pub fn settle(&mut self, rows: &[Rows]) {
        let rows = &rows[self.rows..];
        self.queue.tidy();
        self.line.drain(..std::mem::take(&mut self.next));
        while !self.ends.is_empty() {
            self.merge_runs(rows);
        }
        let Some(first) = self.fresh.first() else { return };
        if self.line.last().is_some_and(|last| first.is_before(rows, *last)) {
            self.ends.push(self.line.len());
            std::mem::swap(&mut self.fresh, &mut self.line);
            self.fresh.append(&mut self.line);
            self.merge_runs(rows);
        }
        self.line.append(&mut self.fresh);
    }

    /// Merges each run with the one behind it.
    fn merge_runs(&mut self, rows: &[Rows]) {
        let (fresh, ends, merged) = (&self.fresh, &mut self.ends, &mut self.spare);
        ends.push(fresh.len());
        merged.clear();
        let (mut begin, mut kept) = (0, 0);
        for run in (0..ends.len()).step_by(2) {
            let middle = ends[run];
            let end = ends.get(run + 1).copied().unwrap_or(middle);
            merge_two(rows, &fresh[begin..middle], &fresh[middle..end], merged);
            ends[kept] = end;
            (begin, kept) = (end, kept + 1);
        }
        ends.truncate(kept - 1);
        std::mem::swap(&mut self.fresh, &mut self.spare);
    }

    /// What sites have let go and is due takes its place among what comes in order.
    pub fn straighten(&mut self, rows: &[Rows], watermark: EventTime) {
        if self.queue.len() == 0 || self.len() == 0 {
            return;
        }
        let all = &self.line[self.next..];
        let due = |next: &&Waiting| next.at < watermark || watermark == EventTime::MAX;
        let due = all.iter().take_while(due).count();
        self.queue.weave(&rows[self.rows..], &all[..due], &mut self.spare);
        self.next += due;
    }

    /// What is known already of what is to come, and how many of those are due, where nothing else is.
    #[inline]
    pub fn foreseen(&self, watermark: EventTime) -> (&[Waiting], usize) {
        let alone = self.next == self.line.len();
        (self.queue.all(), if alone { self.queue.due(watermark) } else { 0 })
    }

    /// So many of them have been let go.
    #[inline]
    pub fn pass(&mut self, many: usize) {
        self.queue.pass(many);
    }

    /// What stands so many places behind the next event.
    #[inline]
    pub fn behind<'r>(&self, rows: &'r [Rows], places: usize) -> Option<RowLines<'r>> {
        let forwarded = || self.line.get(self.next + places).copied();
        let waiting = self.queue.get(places).or_else(forwarded)?;
        Some(rows[self.rows_of(waiting)].lines(waiting.row()))
    }

    /// Takes the next event that occurred before `watermark`.
    #[inline(always)]
    pub fn pop(&mut self, rows: &[Rows], watermark: EventTime) -> Option<Waiting> {
        match (self.queue.get(0), self.line.get(self.next)) {
            (Some(queued), Some(forwarded)) if forwarded.is_before(&rows[self.rows..], queued) => {}
            (Some(_), _) => return self.queue.pop(watermark),
            (None, _) => {}
        }
        self.pop_forwarded(watermark)
    }

    /// The same of those that their sites have let go; `MAX` lets all go.
    #[inline]
    pub fn pop_forwarded(&mut self, watermark: EventTime) -> Option<Waiting> {
        let next = *self.line.get(self.next)?;
        if next.at >= watermark && watermark != EventTime::MAX {
            return None;
        }
        self.next += 1;
        Some(next)
    }

    /// Which rows one is of that was forwarded.
    #[inline(always)]
    pub fn rows_of(&self, waiting: Waiting) -> usize {
        self.rows + usize::from(waiting.line())
    }

    /// Every row that waits, of an engine that judges all itself, in order: for a snapshot.
    pub fn iter<'r>(&self, rows: &'r [Rows]) -> impl Iterator<Item = (u8, EventRef<'r>)> {
        let rows = &rows[self.rows];
        self.line[self.next..].iter().map(|waiting| (waiting.rank(), rows.get(waiting.row())))
    }

    /// Hands over all that is settled.
    pub fn forward(&mut self, rows: &mut [Rows], to: &mut Forwarded) {
        std::mem::swap(&mut self.line, &mut to.line);
        let own = &mut rows[self.rows];
        own.give_up_all(to.line.iter().map(|waiting| waiting.row()));
        to.rows.hand_over(own, &mut to.line);
    }

    /// Takes what was handed over, a line from each engine; it is to be settled.
    pub fn take_over(&mut self, rows: &mut [Rows], forwarded: &mut [Forwarded]) {
        // What still waits goes in front of what is new, whose rows take the place of its own.
        for left in self.line.drain(..).skip(std::mem::take(&mut self.next)) {
            let line = usize::from(left.line());
            let (own, to) = (&mut rows[self.rows + line], &mut forwarded[line].rows);
            own.give_up(left.row());
            let row = to.keep(own.get(left.row()));
            self.fresh.push(left.with_row(row));
        }
        for (line, from) in forwarded.iter_mut().enumerate() {
            if !self.fresh.is_empty() {
                self.ends.push(self.fresh.len());
            }
            let waiting = from.line.drain(..);
            self.fresh.extend(waiting.map(|waiting| waiting.with_line(line as u16)));
            std::mem::swap(&mut rows[self.rows + line], &mut from.rows);
        }
    }
}

/// Adds two runs to another, in order.
fn merge_two(rows: &[Rows], left: &[Waiting], right: &[Waiting], to: &mut Vec<Waiting>) {
    let begin = to.len();
    // Overwritten but for the end of the one of which something is left.
    to.extend_from_slice(left);
    to.extend_from_slice(right);
    let (mut a, mut b) = (0, 0);
    for next in &mut to[begin..] {
        let (Some(first), Some(second)) = (left.get(a), right.get(b)) else { break };
        let second_first = second.is_before(rows, *first);
        *next = if second_first { *second } else { *first };
        (a, b) = (a + usize::from(!second_first), b + usize::from(second_first));
    }
    let rest = if a < left.len() { &left[a..] } else { &right[b..] };
    let whole = to.len();
    to[whole - rest.len()..].copy_from_slice(rest);
}
