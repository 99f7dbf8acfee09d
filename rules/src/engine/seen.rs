//! Identities seen at a site: what makes a redelivery a duplicate.

use std::collections::VecDeque;

use bytemuck::{Pod, Zeroable};
use event::prefetch::prefetch;
use event::{EventTime, Identity, TimeSpan};

use super::cells::halves;
use super::pages::Bytes;
use crate::limits::PAGE_CELLS;

/// So many places ahead the oldest one's slot of the index is asked for.
const AHEAD: u64 = 8;

/// One identity seen.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct SeenCell {
    /// When it occurred (microseconds).
    occurred: i64,
    /// The identity, low half first.
    identity: [u64; 2],
}

/// Identities of one site, the oldest forgotten first: by age in event time, and by number.
///
/// They stand in a line in the order of arrival, so that the oldest and the newest are touched one
/// after the other; an index of single words finds one by its identity. The only access that
/// memory cannot foresee is the index's, and [`Seen::expect`] asks for it ahead.
#[derive(Debug)]
pub struct Seen {
    /// Pages of the line; the first holds place `first * PAGE_CELLS`.
    pages: VecDeque<Box<[SeenCell]>>,
    first: u64,
    /// Places of the oldest, and behind the newest. They count on for ever.
    head: u64,
    tail: u64,
    /// When the oldest occurred; `MAX` where there is none.
    oldest: EventTime,
    /// Open addressing: 0 is empty, else 32 bits of the identity, then as many of the place.
    index: Box<[u64]>,
    within: TimeSpan,
    max: usize,
    /// Identities forgotten because there were too many: a redelivery of one would be an event.
    pub evicted: u64,
    /// From this place on the last snapshot holds nothing, or something else.
    unsaved: u64,
}

/// The bits of an identity that the index keeps, never 0. An identity is a hash already: any word
/// of it serves.
fn bits_of(identity: [u64; 2]) -> u32 {
    identity[0] as u32 | 1 << 31
}

impl Seen {
    /// Nothing seen yet; remembers `within` in event time, at most `max`.
    pub fn new(within: TimeSpan, max: usize) -> Self {
        Self {
            pages: VecDeque::new(),
            first: 0,
            head: 0,
            tail: 0,
            oldest: EventTime::MAX,
            index: Box::default(),
            within,
            max: max.max(1),
            evicted: 0,
            unsaved: 0,
        }
    }

    /// Remembers so long, and so many, from now on.
    pub fn bound(&mut self, within: TimeSpan, max: usize) {
        (self.within, self.max) = (within, max.max(1));
    }

    /// An identity will be asked for soon.
    #[inline]
    pub fn expect(&self, identity: Identity) {
        let home = bits_of(halves(identity.0)) as usize & self.index.len().wrapping_sub(1);
        prefetch(&self.index, home);
    }

    /// Whether this identity is new; it is remembered from now on.
    #[inline]
    pub fn is_new(
        &mut self,
        identity: Identity,
        occurred: EventTime,
        watermark: EventTime,
    ) -> bool {
        self.forget_one(watermark);
        self.forget_one(watermark);
        let identity = halves(identity.0);
        let found = self.find(identity);
        if let Ok(place) = found {
            // Past the horizon it is forgotten whether its cell was freed already or not: what is
            // freed when depends on traffic, what is a duplicate may not.
            if !self.expired(place, watermark) {
                return false;
            }
            self.cell_mut(place).occurred = occurred.0;
            self.unsaved = self.unsaved.min(place);
            self.look_at_oldest();
            return true;
        }
        let cell = SeenCell { occurred: occurred.0, identity };
        match found {
            Err(Some(slot))
                if self.len() < self.max && (self.len() + 1) * 2 <= self.index.len() =>
            {
                self.append(cell, slot);
            }
            _ => self.make_way(cell),
        }
        true
    }

    /// Identities remembered.
    pub fn len(&self) -> usize {
        (self.tail - self.head) as usize
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pages.len() * PAGE_CELLS * size_of::<SeenCell>() + self.index.len() * 8
    }

    #[inline]
    fn cell(&self, place: u64) -> &SeenCell {
        let page = (place / PAGE_CELLS as u64 - self.first) as usize;
        &self.pages[page][place as usize % PAGE_CELLS]
    }

    #[inline]
    fn cell_mut(&mut self, place: u64) -> &mut SeenCell {
        let page = (place / PAGE_CELLS as u64 - self.first) as usize;
        &mut self.pages[page][place as usize % PAGE_CELLS]
    }

    #[inline]
    fn expired(&self, place: u64, watermark: EventTime) -> bool {
        watermark.since(EventTime(self.cell(place).occurred)) >= self.within
    }

    #[inline]
    fn forget_one(&mut self, watermark: EventTime) {
        if watermark.since(self.oldest) >= self.within && self.head != self.tail {
            self.free_head();
        }
    }

    /// Where it stands in the line, or the slot of the index that it would take.
    #[inline]
    fn find(&self, identity: [u64; 2]) -> Result<u64, Option<usize>> {
        let bits = bits_of(identity);
        let mask = self.index.len().wrapping_sub(1);
        let mut at = bits as usize & mask;
        loop {
            let Some(slot) = self.index.get(at).copied() else { return Err(None) };
            if slot == 0 {
                return Err(Some(at));
            }
            if slot as u32 == bits {
                let place = self.place_of(slot);
                if self.cell(place).identity == identity {
                    return Ok(place);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// A slot keeps the low half of a place: there are never so many at once that it is not plain.
    #[inline]
    fn place_of(&self, slot: u64) -> u64 {
        self.head + u64::from(((slot >> 32) as u32).wrapping_sub(self.head as u32))
    }

    /// Adds one where the line is at its longest, or the index at its fullest.
    #[cold]
    fn make_way(&mut self, cell: SeenCell) {
        if self.len() >= self.max {
            self.evicted += 1;
            self.free_head();
        }
        if (self.len() + 1) * 2 > self.index.len() {
            self.widen((self.index.len() * 2).max(64));
        }
        if let Err(Some(slot)) = self.find(cell.identity) {
            self.append(cell, slot);
        }
    }

    #[inline]
    fn append(&mut self, cell: SeenCell, slot: usize) {
        let place = self.tail;
        self.make_room(place);
        *self.cell_mut(place) = cell;
        self.index[slot] = place << 32 | u64::from(bits_of(cell.identity));
        self.tail += 1;
        if self.head == place {
            self.oldest = EventTime(cell.occurred);
        }
    }

    #[inline]
    fn look_at_oldest(&mut self) {
        let any = self.head != self.tail;
        self.oldest = if any { EventTime(self.cell(self.head).occurred) } else { EventTime::MAX };
    }

    /// Pages up to the one of a place. Pages whose cells are all forgotten serve again.
    #[inline]
    fn make_room(&mut self, place: u64) {
        let page = place / PAGE_CELLS as u64;
        if page - self.first < self.pages.len() as u64 {
            return;
        }
        let forgotten = (self.head / PAGE_CELLS as u64 - self.first) as usize;
        self.pages.rotate_left(forgotten.min(self.pages.len()));
        self.first += forgotten as u64;
        let wanted = (page - self.first) as usize + 1;
        if wanted > self.pages.len() {
            // Half as many again: a line that moves about its length allocates no further (INV-HOT).
            let pages = wanted.max(self.pages.len() + self.pages.len() / 2);
            let empty = || vec![SeenCell::zeroed(); PAGE_CELLS].into_boxed_slice();
            self.pages.resize_with(pages, empty);
        }
    }

    fn enter(&mut self, place: u64, identity: [u64; 2]) {
        let bits = bits_of(identity);
        let mask = self.index.len() - 1;
        let mut at = bits as usize & mask;
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = place << 32 | u64::from(bits);
    }

    /// An index of so many slots, a power of two.
    fn widen(&mut self, slots: usize) {
        self.index = vec![0; slots].into_boxed_slice();
        for place in self.head..self.tail {
            self.enter(place, self.cell(place).identity);
        }
    }

    #[inline]
    fn free_head(&mut self) {
        let head = self.head;
        if head + AHEAD < self.tail {
            self.expect(Identity(self.cell(head + AHEAD).identity[0].into()));
        }
        let slot = head << 32 | u64::from(bits_of(self.cell(head).identity));
        let mask = self.index.len() - 1;
        let mut hole = slot as u32 as usize & mask;
        while self.index[hole] != slot {
            hole = (hole + 1) & mask;
        }
        // Whatever stood behind it and may stand nearer to its home moves up.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.index[at];
            if next == 0 {
                break;
            }
            let home = next as u32 as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = next;
                hole = at;
            }
        }
        self.index[hole] = 0;
        self.head += 1;
        self.look_at_oldest();
    }

    /// Writes all that is remembered, or what is new since the last time.
    pub fn save(&mut self, out: &mut Vec<u8>, full: bool) {
        let from = if full { self.head } else { self.unsaved.max(self.head) };
        for number in [self.head, self.tail, self.evicted, from] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for place in from..self.tail {
            out.extend_from_slice(bytemuck::bytes_of(self.cell(place)));
        }
        self.unsaved = self.tail;
    }

    /// Reads what was written over what is here.
    pub fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let (head, tail) = (input.u64()?, input.u64()?);
        self.evicted = input.u64()?;
        let from = input.u64()?;
        let known = head >= self.head && from <= self.tail.max(head);
        if !(head..=tail).contains(&from) || !known {
            return None;
        }
        if from == head {
            // Nothing of what is here lasts: the line may begin anywhere.
            self.first = head / PAGE_CELLS as u64;
        }
        self.head = head;
        for place in from..tail {
            self.make_room(place);
            let cell = bytemuck::pod_read_unaligned(input.take(size_of::<SeenCell>())?);
            *self.cell_mut(place) = cell;
        }
        (self.tail, self.unsaved) = (tail, tail);
        self.look_at_oldest();
        Some(())
    }

    /// Builds the index from the line.
    pub fn reindex(&mut self) {
        self.widen(((self.len() + 1) * 2).next_power_of_two().max(64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivery_is_a_duplicate_until_the_horizon() {
        let mut seen = Seen::new(TimeSpan::from_secs(10), 1_000);
        let at = |s: i64| EventTime(s * 1_000_000);
        assert!(seen.is_new(Identity(7), at(0), at(0)));
        assert!(!seen.is_new(Identity(7), at(0), at(9)));
        assert!(seen.is_new(Identity(7), at(0), at(10)), "exactly the horizon away is outside");
    }

    #[test]
    fn what_is_seen_again_past_the_horizon_keeps_its_place_and_is_saved() {
        let mut seen = Seen::new(TimeSpan::from_secs(10), 1_000);
        let at = |s: i64| EventTime(s * 1_000_000);
        // The first one is younger, so that the second is not forgotten before it is asked for.
        assert!(seen.is_new(Identity(1), at(5), at(5)) && seen.is_new(Identity(7), at(0), at(5)));
        let (mut first, mut then) = (Vec::new(), Vec::new());
        seen.save(&mut first, true);
        assert!(seen.is_new(Identity(7), at(8), at(10)), "exactly the horizon away is outside");
        assert_eq!(seen.len(), 2);
        seen.save(&mut then, false);
        let mut restored = Seen::new(TimeSpan::from_secs(10), 1_000);
        for saved in [&first, &then] {
            assert_eq!(restored.load(&mut Bytes::new(saved)), Some(()));
        }
        restored.reindex();
        assert!(!restored.is_new(Identity(7), at(8), at(12)));
    }

    #[test]
    fn as_a_plain_map_would_with_snapshots_anywhere() {
        let (within, max) = (TimeSpan::from_secs(50), 300);
        let (mut seen, mut restored) = (Seen::new(within, max), Seen::new(within, max));
        let mut model: Vec<(u128, i64)> = Vec::new();
        let mut seed = 3_u64;
        for step in 0..20_000_i64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few homes in the index, so that they crowd; times that do not only go up.
            let identity = u128::from(seed >> 33 & 15) << 64 | u128::from(seed >> 40 & 511);
            let now = step * if step / 1_000 % 2 == 0 { 10_000 } else { 900_000 };
            let (now, at) = (EventTime(now), EventTime(now - (seed >> 50) as i64 % 3_000_000));
            let old = |at: i64| now.since(EventTime(at)) >= within;
            for _ in 0..2 {
                if model.first().is_some_and(|(_, at)| old(*at)) {
                    model.remove(0);
                }
            }
            let expected = match model.iter_mut().find(|(known, _)| *known == identity) {
                Some((_, known)) if old(*known) => {
                    *known = at.0;
                    true
                }
                Some(_) => false,
                None => {
                    if model.len() >= max {
                        model.remove(0);
                    }
                    model.push((identity, at.0));
                    true
                }
            };
            assert_eq!(seen.is_new(Identity(identity), at, now), expected, "step {step}");
            assert_eq!(seen.len(), model.len(), "step {step}");
            if step % 97 == 0 {
                let mut saved = Vec::new();
                seen.save(&mut saved, step == 0);
                assert_eq!(restored.load(&mut Bytes::new(&saved)), Some(()), "step {step}");
            }
            if step % 970 == 0 {
                restored.reindex();
                let again = std::mem::replace(&mut restored, Seen::new(within, max));
                let mut saved = Vec::new();
                seen.save(&mut saved, true);
                assert_eq!(restored.load(&mut Bytes::new(&saved)), Some(()), "step {step}");
                seen = again;
            }
        }
        assert!(seen.evicted > 0 && seen.first > 0, "it was full, and pages served again");
    }

    #[test]
    fn past_the_maximum_the_oldest_goes_and_is_counted() {
        let mut seen = Seen::new(TimeSpan::MAX, 100);
        for n in 1..=101 {
            assert!(seen.is_new(Identity(n), EventTime(n as i64), EventTime(0)));
        }
        assert_eq!((seen.len(), seen.evicted), (100, 1));
        assert!(!seen.is_new(Identity(101), EventTime(101), EventTime(0)));
        assert!(seen.is_new(Identity(1), EventTime(1), EventTime(0)), "the oldest was forgotten");
    }
}
