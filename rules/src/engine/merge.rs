//! What sites forward to the enterprise, in the order of a queue over all sites.

use std::sync::Arc;

use event::{EventBlock, EventRef, EventTime, Interner, Vocabulary};

use super::reorder::{Reorder, Rows, Waiting};

/// The rows that wait at sites.
pub const AT_SITES: usize = 0;

/// Events that were forwarded. Sites are let go one after the other, so that what comes is in runs
/// that each are in order; they are merged before any is let go.
#[derive(Debug)]
pub struct Merge {
    /// The rows of the first line: those of the sites, where the same engine judges both.
    rows: usize,
    fresh: Vec<Waiting>,
    /// Where the runs of `fresh` end.
    ends: Vec<usize>,
    /// One, or one from each engine that hands over.
    lines: Vec<Reorder>,
    spare: Vec<Waiting>,
}

/// What sites forwarded, on its way to the enterprise's engine.
pub struct Forwarded {
    rows: Rows,
    line: Reorder,
    /// How far they have come.
    pub watermark: EventTime,
}

impl Forwarded {
    /// Nothing yet, of rows of a vocabulary.
    #[must_use]
    pub fn new(vocabulary: &Vocabulary, interner: Arc<Interner>) -> Self {
        let rows = Rows::new(EventBlock::new(vocabulary).stride(), interner);
        Self { rows, line: Reorder::default(), watermark: EventTime::MIN }
    }
}

impl Merge {
    /// Nothing forwarded; the first line's rows have this number.
    pub fn new(rows: usize) -> Self {
        let lines = vec![Reorder::default()];
        Self { rows, fresh: Vec::new(), ends: Vec::new(), lines, spare: Vec::new() }
    }

    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.lines.iter().map(Reorder::len).sum::<usize>()
    }

    /// Takes a row over from a site.
    #[inline]
    pub fn take(&mut self, rows: &mut [Rows], mut waiting: Waiting) {
        if self.rows != AT_SITES {
            let (at_sites, own) = rows.split_at_mut(self.rows);
            at_sites[AT_SITES].give_up(waiting.row);
            waiting.row = own[0].keep(at_sites[AT_SITES].get(waiting.row));
        }
        self.push(&rows[self.rows], waiting);
    }

    /// Keeps a copy of a row.
    pub fn keep(&mut self, rows: &mut [Rows], rank: u8, event: EventRef<'_>) {
        let row = rows[self.rows].keep(event);
        self.push(&rows[self.rows], Waiting { at: event.occurred(), rank, row });
    }

    #[inline]
    fn push(&mut self, rows: &Rows, new: Waiting) {
        if self.fresh.last().is_some_and(|last| new.is_before(rows, *last, rows)) {
            self.ends.push(self.fresh.len());
        }
        self.fresh.push(new);
    }

    /// Puts what has come in its place: before anything is let go.
    pub fn settle(&mut self, rows: &[Rows]) {
        let rows = &rows[self.rows];
        while !self.ends.is_empty() {
            self.merge_runs(rows);
        }
        for waiting in self.fresh.drain(..) {
            self.lines[0].push(rows, waiting);
        }
    }

    /// Merges each run with the one behind it.
    fn merge_runs(&mut self, rows: &Rows) {
        let (fresh, ends) = (&self.fresh, &mut self.ends);
        ends.push(fresh.len());
        self.spare.clear();
        self.spare.extend_from_slice(fresh);
        let (mut begin, mut kept) = (0, 0);
        for run in (0..ends.len()).step_by(2) {
            let middle = ends[run];
            let end = ends.get(run + 1).copied().unwrap_or(middle);
            let (left, right) = (&fresh[begin..middle], &fresh[middle..end]);
            let merged = &mut self.spare[begin..end];
            let (mut a, mut b) = (0, 0);
            while let (Some(first), Some(second)) = (left.get(a), right.get(b)) {
                let second_first = second.is_before(rows, *first, rows);
                merged[a + b] = if second_first { *second } else { *first };
                (a, b) = (a + usize::from(!second_first), b + usize::from(second_first));
            }
            // Of one of them nothing is left.
            let rest = if a < left.len() { &left[a..] } else { &right[b..] };
            merged[a + b..].copy_from_slice(rest);
            ends[kept] = end;
            (begin, kept) = (end, kept + 1);
        }
        ends.truncate(kept - 1);
        std::mem::swap(&mut self.fresh, &mut self.spare);
    }

    /// The line that the next event stands in.
    #[inline]
    fn line(&self, rows: &[Rows]) -> usize {
        let Self { lines, rows: from, .. } = self;
        (1..lines.len()).fold(0, |first, line| {
            let (rows, others) = (&rows[from + line], &rows[from + first]);
            match (lines[line].next(rows), lines[first].next(others)) {
                (Some(next), Some(other)) if next.is_before(rows, other, others) => line,
                (Some(_), None) => line,
                _ => first,
            }
        })
    }

    /// What stands so many places behind the next event in its line, where it came in order.
    #[inline]
    pub fn behind<'r>(&self, rows: &'r [Rows], places: usize) -> Option<EventRef<'r>> {
        self.lines[0].behind(&rows[self.rows], places)
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go. Which rows it is
    /// one of, and its number.
    #[inline(always)]
    pub fn pop(&mut self, rows: &[Rows], watermark: EventTime) -> Option<(usize, u32)> {
        let line = if self.lines.len() == 1 { 0 } else { self.line(rows) };
        let of = self.rows + line;
        Some((of, self.lines[line].pop(&rows[of], watermark)?.row))
    }

    /// Every row that waits in the first line, in no particular order: for a snapshot.
    pub fn iter<'r>(&self, rows: &'r [Rows]) -> impl Iterator<Item = (u8, EventRef<'r>)> {
        let rows = &rows[self.rows];
        self.lines[0].iter().map(|waiting| (waiting.rank, rows.get(waiting.row)))
    }

    /// Hands over all that is settled.
    pub fn forward(&mut self, rows: &mut [Rows], to: &mut Forwarded) {
        std::mem::swap(&mut rows[self.rows], &mut to.rows);
        std::mem::swap(&mut self.lines[0], &mut to.line);
    }

    /// Takes into a line what was handed over; what still waits there stays there.
    pub fn take_over(&mut self, rows: &mut [Rows], line: usize, from: &mut Forwarded) {
        let (own, waiting) = (&mut rows[self.rows + line], &mut self.lines[line]);
        while let Some(mut left) = waiting.pop(own, EventTime::MAX) {
            own.give_up(left.row);
            left.row = from.rows.keep(own.get(left.row));
            from.line.push(&from.rows, left);
        }
        std::mem::swap(own, &mut from.rows);
        std::mem::swap(waiting, &mut from.line);
    }

    /// Room for what so many engines hand over.
    pub fn lines(&mut self, many: usize) {
        self.lines.resize_with(many, Reorder::default);
    }
}
