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
    /// Where its rows begin: with those of the sites, where the same engine judges both. What other
    /// engines hand over has rows of its own, a line for each.
    rows: usize,
    fresh: Vec<Waiting>,
    /// Where the runs of `fresh` end.
    ends: Vec<usize>,
    line: Reorder,
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
        let (fresh, spare, line) = (Vec::new(), Vec::new(), Reorder::default());
        Self { rows, fresh, ends: Vec::new(), line, spare }
    }

    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.line.len()
    }

    /// Takes a row over from a site.
    #[inline]
    pub fn take(&mut self, rows: &mut [Rows], mut waiting: Waiting) {
        if self.rows != AT_SITES {
            let (at_sites, own) = rows.split_at_mut(self.rows);
            at_sites[AT_SITES].give_up(waiting.row);
            waiting.row = own[0].keep(at_sites[AT_SITES].get(waiting.row));
        }
        self.push(rows, waiting);
    }

    /// Keeps a copy of a row.
    pub fn keep(&mut self, rows: &mut [Rows], rank: u8, event: EventRef<'_>) {
        let row = rows[self.rows].keep(event);
        self.push(rows, Waiting { at: event.occurred(), rank, line: 0, row });
    }

    #[inline]
    fn push(&mut self, rows: &[Rows], new: Waiting) {
        if self.fresh.last().is_some_and(|last| new.is_before(&rows[self.rows..], *last)) {
            self.ends.push(self.fresh.len());
        }
        self.fresh.push(new);
    }

    /// Puts what has come in its place: before anything is let go.
    pub fn settle(&mut self, rows: &[Rows]) {
        let rows = &rows[self.rows..];
        while !self.ends.is_empty() {
            self.merge_runs(rows);
        }
        for waiting in self.fresh.drain(..) {
            self.line.push(rows, waiting);
        }
    }

    /// Merges each run with the one behind it.
    fn merge_runs(&mut self, rows: &[Rows]) {
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
                let second_first = second.is_before(rows, *first);
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

    /// What stands so many places behind the next event, where it came in order.
    #[inline]
    pub fn behind<'r>(&self, rows: &'r [Rows], places: usize) -> Option<EventRef<'r>> {
        let Waiting { line, row, .. } = self.line.behind(places)?;
        Some(rows[self.rows + usize::from(line)].get(row))
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go. Which rows it is
    /// one of, and its number.
    #[inline(always)]
    pub fn pop(&mut self, rows: &[Rows], watermark: EventTime) -> Option<(usize, u32)> {
        let Waiting { line, row, .. } = self.line.pop(&rows[self.rows..], watermark)?;
        Some((self.rows + usize::from(line), row))
    }

    /// Every row that waits, of an engine that judges all itself, in no particular order: for a
    /// snapshot.
    pub fn iter<'r>(&self, rows: &'r [Rows]) -> impl Iterator<Item = (u8, EventRef<'r>)> {
        let rows = &rows[self.rows];
        self.line.iter().map(|waiting| (waiting.rank, rows.get(waiting.row)))
    }

    /// Hands over all that is settled.
    pub fn forward(&mut self, rows: &mut [Rows], to: &mut Forwarded) {
        std::mem::swap(&mut rows[self.rows], &mut to.rows);
        std::mem::swap(&mut self.line, &mut to.line);
    }

    /// Takes what was handed over, a line from each engine; it is to be settled.
    pub fn take_over(&mut self, rows: &mut [Rows], forwarded: &mut [Forwarded]) {
        // What still waits goes with what is new, whose rows take the place of its own.
        while let Some(left) = self.line.pop(&rows[self.rows..], EventTime::MAX) {
            let (own, to) = (
                &mut rows[self.rows + usize::from(left.line)],
                &mut forwarded[usize::from(left.line)],
            );
            own.give_up(left.row);
            let row = to.rows.keep(own.get(left.row));
            to.line.push(std::slice::from_ref(&to.rows), Waiting { line: 0, row, ..left });
        }
        for (line, from) in forwarded.iter_mut().enumerate() {
            if !self.fresh.is_empty() {
                self.ends.push(self.fresh.len());
            }
            let waiting = std::iter::from_fn(|| {
                from.line.pop(std::slice::from_ref(&from.rows), EventTime::MAX)
            });
            self.fresh.extend(waiting.map(|waiting| Waiting { line: line as u16, ..waiting }));
            std::mem::swap(&mut rows[self.rows + line], &mut from.rows);
        }
    }
}
