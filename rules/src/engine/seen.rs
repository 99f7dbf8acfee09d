//! Identities seen at a site: what makes a redelivery a duplicate.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use event::fresh::Fresh;
use event::prefetch::{fetch, prefetch};
use event::{EventTime, Identity, TimeSpan};

use super::buckets::{Bucket, Index, Living};
use super::cells::halves;
use super::pages::{Bytes, Store, hand_on};

/// Identities of one page of the line.
const PAGE_CELLS: usize = 64;

/// Pages whose identities are entered in a wider index for each [`STEP`] that come: those of all are there before
/// a tenth more has come. And pages of memory that it is made ready by before.
const MOVED: usize = 2;
const READY: usize = 4;

/// How far in front of those that are entered there its memory is asked for.
const MOVED_AHEAD: usize = 12;

/// How far in front of those that are entered the line is asked for; and how many stand in a line of
/// memory.
const CELLS_AHEAD: u64 = 2 * STEP;
const CELLS_A_LINE: usize = 64 / size_of::<SeenCell>();

/// Identities that come until the line is looked after: what is too old is forgotten, and where the
/// next stand is seen to. Divides [`PAGE_CELLS`].
const STEP: u64 = 8;

/// Nothing is known of the oldest page: none has this number.
const UNKNOWN: (u64, i64) = (u64::MAX, i64::MIN);

/// Pages that the line grows by at once, at most.
const PAGES_MORE: usize = 64;

/// One identity seen.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct SeenCell {
    /// When it occurred (microseconds).
    occurred: i64,
    /// The identity, low half first.
    identity: [u64; 2],
}

/// A page of the line.
#[derive(Debug)]
struct Page {
    /// When the latest of them occurred, once it is full.
    latest: i64,
    cells: [SeenCell; PAGE_CELLS],
}

impl Page {
    fn empty() -> Box<Self> {
        Box::new(Self { latest: i64::MIN, cells: [SeenCell::zeroed(); PAGE_CELLS] })
    }
}

/// Identities of one site, the oldest forgotten first: by age in event time, a page at a time and
/// without a look at them, and by number.
///
/// They stand in a line in the order of arrival, so that the newest are touched one after the other; an
/// index finds one by its identity. The only access that memory cannot foresee is the index's one line,
/// and [`Seen::expect`] asks for it ahead.
#[derive(Debug)]
pub struct Seen {
    /// Pages of the line, a ring: the one at `oldest` holds place `first * PAGE_CELLS`, the one at
    /// `newest` whoever comes next.
    #[allow(clippy::vec_box, reason = "where the line grows no page moves")]
    pages: Vec<Box<Page>>,
    first: u64,
    oldest: usize,
    newest: usize,
    /// Places of the oldest, and behind the newest. They count on for ever.
    head: u64,
    tail: u64,
    /// When the latest occurred of the newest page.
    latest: i64,
    /// The same of the oldest page, of this number, once it is full.
    old: (u64, i64),
    /// Up to this place one that comes may be entered without a look at anything but the index. It
    /// hangs on the places and on the room alone.
    until: u64,
    index: Index,
    /// A wider one, in which those of the line are entered little by little, in their order; it takes the
    /// index's place when all are there. Else nothing.
    wider: Index,
    /// Its buckets, once it is known how many; and its memory, before anything is entered there.
    wide: usize,
    fresh: Fresh<Bucket>,
    /// The first place that is not entered there.
    moved: u64,
    within: TimeSpan,
    max: usize,
    /// So many that the index must become wider; 0 while it does.
    most: usize,
    /// Identities forgotten because there were too many: a redelivery of one would be an event.
    pub evicted: u64,
    /// From this place on the last snapshot holds nothing, or something else.
    unsaved: u64,
    /// What belongs to the snapshot that is being written, and was not written yet; these pages do not
    /// serve again. And what of that was put aside, since it was about to change.
    saving: Range<u64>,
    aside: Vec<u8>,
    handed: usize,
}

impl Seen {
    /// Nothing seen yet; remembers `within` in event time, at most `max`.
    pub fn new(within: TimeSpan, max: usize) -> Self {
        Self {
            pages: Vec::new(),
            first: 0,
            oldest: 0,
            newest: 0,
            head: 0,
            tail: 0,
            latest: i64::MIN,
            old: UNKNOWN,
            until: 0,
            index: Index::default(),
            wider: Index::default(),
            wide: 0,
            fresh: Fresh::default(),
            moved: 0,
            within,
            max: max.max(1),
            most: 0,
            evicted: 0,
            unsaved: 0,
            saving: 0..0,
            aside: Vec::new(),
            handed: 0,
        }
    }

    /// Remembers so long, and so many, from now on.
    pub fn bound(&mut self, within: TimeSpan, max: usize) {
        (self.within, self.max) = (within, max.max(1));
        self.look_ahead();
    }

    /// An identity will be asked for soon.
    #[inline]
    pub fn expect(&self, identity: Identity) {
        self.index.expect(halves(identity.0));
    }

    /// Whether this identity is new; it is remembered from now on.
    #[inline(never)]
    pub fn is_new(
        &mut self,
        identity: Identity,
        occurred: EventTime,
        watermark: EventTime,
    ) -> bool {
        self.is_new_here(identity, occurred, watermark)
    }

    /// The same, in the place of its caller.
    #[inline(always)]
    pub fn is_new_here(
        &mut self,
        identity: Identity,
        occurred: EventTime,
        watermark: EventTime,
    ) -> bool {
        if self.tail >= self.until && !self.turn(watermark) {
            return self.judge(identity, occurred, watermark);
        }
        let halves = halves(identity.0);
        let living = self.living();
        if self.index.enter_new(halves, self.tail as u32, living) {
            self.append(halves, occurred);
            return true;
        }
        self.judge(identity, occurred, watermark)
    }

    /// Where it is not plain at first sight.
    #[cold]
    #[inline(never)]
    fn judge(&mut self, identity: Identity, occurred: EventTime, watermark: EventTime) -> bool {
        let identity = halves(identity.0);
        if let Some(place) = self.find(identity) {
            // Nobody was entered: the next to come finds the line as this one did.
            self.look_ahead();
            // Past the horizon it is forgotten whether its cell was freed already or not: what is
            // freed when depends on traffic, what is a duplicate may not.
            if !self.expired(place, watermark) {
                return false;
            }
            if self.saving.contains(&place) {
                self.put_aside();
            }
            let (page, within) = (self.page_of(place), place as usize % PAGE_CELLS);
            self.pages[page].cells[within].occurred = occurred.0;
            self.look_at_page(place);
            self.unsaved = self.unsaved.min(place);
            return true;
        }
        if self.len() >= self.max {
            self.evict(watermark);
        }
        self.index.enter(identity, self.tail as u32, self.living());
        self.append(identity, occurred);
        self.look_ahead();
        true
    }

    /// Identities remembered.
    #[inline]
    pub fn len(&self) -> usize {
        (self.tail - self.head) as usize
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let indexes = self.index.bytes() + self.wider.bytes() + self.fresh.bytes();
        self.pages.len() * size_of::<Page>() + indexes
    }

    /// Where the page of a place is in the ring; at its end where there is none yet.
    #[inline(always)]
    fn page_of(&self, place: u64) -> usize {
        let (behind, pages) = ((place / PAGE_CELLS as u64 - self.first) as usize, self.pages.len());
        if behind >= pages {
            return pages;
        }
        let page = self.oldest + behind;
        if page < pages { page } else { page - pages }
    }

    #[inline]
    fn cell(&self, place: u64) -> &SeenCell {
        &self.pages[self.page_of(place)].cells[place as usize % PAGE_CELLS]
    }

    /// Sees how old the page of a place is.
    #[cold]
    fn look_at_page(&mut self, place: u64) {
        let (page, begin) = (self.page_of(place), place - place % PAGE_CELLS as u64);
        let entered = (self.tail - begin).min(PAGE_CELLS as u64) as usize;
        let all = self.pages[page].cells[..entered].iter().map(|cell| cell.occurred);
        let latest = all.max().unwrap_or(i64::MIN);
        (self.pages[page].latest, self.old) = (latest, UNKNOWN);
        if entered < PAGE_CELLS {
            self.latest = latest;
        }
    }

    #[inline]
    fn expired(&self, place: u64, watermark: EventTime) -> bool {
        watermark.since(EventTime(self.cell(place).occurred)) >= self.within
    }

    /// Looks after the line: before every so-manieth that comes, and before each while room is short.
    /// Whether the next may be entered without a look at anything but the index.
    #[inline(never)]
    fn turn(&mut self, watermark: EventTime) -> bool {
        if self.tail.is_multiple_of(STEP) {
            if self.tail.is_multiple_of(PAGE_CELLS as u64) {
                self.end_page();
            }
            self.forget(watermark);
            self.make_room(self.tail);
            if self.len() >= self.most {
                self.widen(watermark);
            }
            self.expect_cells();
            self.until = (self.tail + STEP).min(self.head + self.max as u64);
        }
        self.tail < self.until
    }

    /// The newest page is full, if there is one.
    fn end_page(&mut self) {
        let latest = std::mem::replace(&mut self.latest, i64::MIN);
        if let Some(page) = self.pages.get_mut(self.newest).filter(|_| latest > i64::MIN) {
            page.latest = latest;
        }
    }

    /// Forgets the page of the oldest, where all that are left of it are too old.
    #[inline(always)]
    fn forget(&mut self, watermark: EventTime) {
        let (page, within) = (self.head / PAGE_CELLS as u64, self.head as usize % PAGE_CELLS);
        let next = (page + 1) * PAGE_CELLS as u64;
        if next > self.tail {
            return;
        }
        if self.old.0 != page {
            self.old = (page, self.pages[self.page_of(self.head)].latest);
            // Nothing has touched the one behind it since it was full.
            self.pages.get(self.page_of(next)).into_iter().for_each(|page| fetch(&page.latest));
        }
        let horizon = watermark.minus(self.within).0;
        if self.old.1 <= horizon || within > 0 && self.are_old(within, horizon) {
            self.head = next;
        }
    }

    /// Whether all are too old that are left of the oldest page: the latest of it may be none of them.
    #[cold]
    fn are_old(&self, within: usize, horizon: i64) -> bool {
        let left = &self.pages[self.page_of(self.head)].cells[within..];
        left.iter().all(|cell| cell.occurred <= horizon)
    }

    /// Asks for the cells that a turn after the next comes to.
    #[inline(always)]
    fn expect_cells(&self) {
        let ahead = self.tail + CELLS_AHEAD;
        let within = ahead as usize % PAGE_CELLS;
        let Some(page) = self.pages.get(self.page_of(ahead)) else { return };
        let cells = (within..within + STEP as usize).step_by(CELLS_A_LINE);
        cells.for_each(|cell| prefetch(&page.cells, cell));
    }

    fn look_ahead(&mut self) {
        let turn = self.tail.next_multiple_of(STEP);
        self.until = turn.min(self.head + self.max as u64);
    }

    #[inline(always)]
    fn living(&self) -> Living {
        Living { head: self.head as u32, len: self.len() as u32 }
    }

    /// Where it stands in the line.
    fn find(&self, identity: [u64; 2]) -> Option<u64> {
        let place = |age: u32| self.head + u64::from(age);
        let is_it = |age| self.holds(place(age), identity);
        self.index.find(identity, self.living(), is_it).map(place)
    }

    #[inline]
    fn holds(&self, place: u64, identity: [u64; 2]) -> bool {
        self.cell(place).identity == identity
    }

    /// Where the line is at its longest the oldest goes.
    #[cold]
    fn evict(&mut self, watermark: EventTime) {
        self.evicted += u64::from(!self.expired(self.head, watermark));
        self.head += 1;
    }

    /// Where the index fills it becomes wider.
    #[cold]
    #[inline(never)]
    fn widen(&mut self, watermark: EventTime) {
        if self.wider.is_empty() {
            if self.wide == 0 {
                self.wide = self.index.wider(self.expected(watermark));
            }
            let ready = (0..READY).any(|_| self.fresh.make_ready(self.wide));
            if !ready && !self.index.is_crowded(self.len()) {
                return;
            }
            let memory = self.fresh.take(std::mem::take(&mut self.wide));
            (self.wider, self.moved, self.most) = (Index::new(memory.into()), self.head, 0);
        }
        (0..MOVED).for_each(|_| self.move_page());
        if self.moved == self.tail {
            self.index = std::mem::take(&mut self.wider);
            self.most = self.index.most();
        }
    }

    /// So many will be remembered, if they go on to come as they did.
    fn expected(&self, watermark: EventTime) -> usize {
        let since = |place: u64| watermark.since(EventTime(self.cell(place).occurred)).0;
        let span = (self.head..self.tail).next().map_or(0, since).clamp(1, self.within.0.max(1));
        let many = self.len() as u128 * self.within.0.max(0) as u128 / span as u128;
        many.min(self.max as u128) as usize
    }

    /// Enters what is left of a page in the wider index, and asks for where those behind them go.
    fn move_page(&mut self) {
        let (from, living) = (self.moved.max(self.head), self.living());
        let next = (from - from % PAGE_CELLS as u64 + PAGE_CELLS as u64).min(self.tail);
        let Some(page) = self.pages.get(self.page_of(from)) else { return };
        let cells = &page.cells[from as usize % PAGE_CELLS..][..(next - from) as usize];
        for (nth, cell) in cells.iter().enumerate() {
            if let Some(ahead) = cells.get(nth + MOVED_AHEAD) {
                self.wider.expect(ahead.identity);
            }
            self.wider.enter(cell.identity, (from + nth as u64) as u32, living);
        }
        self.moved = next;
    }

    #[inline(always)]
    fn append(&mut self, identity: [u64; 2], occurred: EventTime) {
        let within = self.tail as usize % PAGE_CELLS;
        self.pages[self.newest].cells[within] = SeenCell { occurred: occurred.0, identity };
        self.latest = self.latest.max(occurred.0);
        self.tail += 1;
    }

    /// Pages up to the one of a place, which is the newest.
    #[inline]
    fn make_room(&mut self, place: u64) {
        let page = place / PAGE_CELLS as u64;
        if page - self.first >= self.pages.len() as u64 {
            self.make_pages(page);
        }
        self.newest = self.page_of(place);
    }

    /// Pages whose cells are all forgotten serve again.
    #[inline(never)]
    fn make_pages(&mut self, page: u64) {
        let kept =
            if self.saving.is_empty() { self.head } else { self.head.min(self.saving.start) };
        let forgotten = (kept / PAGE_CELLS as u64 - self.first) as usize;
        self.oldest = (self.oldest + forgotten) % self.pages.len().max(1);
        self.first += forgotten as u64;
        let wanted = (page - self.first) as usize + 1;
        if wanted > self.pages.len() {
            // Half as many again: a line that moves about its length allocates no further (INV-HOT).
            let pages = wanted.max(self.pages.len() + (self.pages.len() / 2).min(PAGES_MORE));
            self.pages.rotate_left(self.oldest);
            self.oldest = 0;
            self.pages.resize_with(pages, Page::empty);
        }
    }

    /// Puts all aside that the snapshot still lacks: one of its identities is seen again past the
    /// horizon, which is rare.
    #[cold]
    fn put_aside(&mut self) {
        for place in std::mem::take(&mut self.saving) {
            let cell = *self.cell(place);
            self.aside.extend_from_slice(bytemuck::bytes_of(&cell));
        }
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
            self.pages[self.newest].cells[place as usize % PAGE_CELLS] = cell;
        }
        (self.tail, self.unsaved) = (tail, tail);
        self.make_room(tail);
        Some(())
    }

    /// Builds the index from the line, and sees how old its pages are.
    pub fn reindex(&mut self) {
        self.index = Index::holding(self.len());
        (self.wider, self.wide, self.fresh) = (Index::default(), 0, Fresh::default());
        (self.latest, self.old) = (i64::MIN, UNKNOWN);
        let living = self.living();
        for place in self.head..self.tail {
            if place == self.head || place.is_multiple_of(PAGE_CELLS as u64) {
                self.look_at_page(place);
            }
            let identity = self.cell(place).identity;
            self.index.enter(identity, place as u32, living);
        }
        self.most = self.index.most();
        self.look_ahead();
    }
}

impl Store for Seen {
    fn begin_save(&mut self, out: &mut Vec<u8>, full: bool) {
        assert!(self.saving.is_empty(), "one snapshot after the other");
        let from = if full { self.head } else { self.unsaved.max(self.head) };
        for number in [self.head, self.tail, self.evicted, from] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        (self.saving, self.unsaved) = (from..self.tail, self.tail);
    }

    fn save_some(&mut self, out: &mut Vec<u8>, budget: &mut usize) -> bool {
        while !self.saving.is_empty() && *budget > 0 {
            let place = self.saving.start;
            let within = place as usize % PAGE_CELLS;
            let count = (self.saving.end - place).min((PAGE_CELLS - within) as u64);
            let page = &self.pages[self.page_of(place)];
            let bytes = bytemuck::cast_slice(&page.cells[within..within + count as usize]);
            out.extend_from_slice(bytes);
            self.saving.start += count;
            *budget = budget.saturating_sub(bytes.len());
        }
        if !self.saving.is_empty() || !hand_on(&self.aside, &mut self.handed, out, budget) {
            return false;
        }
        (self.aside, self.handed) = (Vec::new(), 0);
        true
    }
}

/// Identities of which nobody asks whether they are new: each is entered when the next one comes, and
/// the index's line is there by then.
#[derive(Debug)]
pub struct Noted {
    seen: Seen,
    last: Option<(Identity, EventTime)>,
}

impl Noted {
    /// Nothing noted yet; remembers `within` in event time, at most `max`.
    pub fn new(within: TimeSpan, max: usize) -> Self {
        Self { seen: Seen::new(within, max), last: None }
    }

    /// This one is remembered from now on, when time has come so far.
    #[inline]
    pub fn note(&mut self, identity: Identity, at: EventTime) {
        self.seen.expect(identity);
        if let Some((identity, at)) = self.last.replace((identity, at)) {
            self.seen.is_new(identity, at, at);
        }
    }

    /// All that was noted.
    pub fn all(&mut self) -> &mut Seen {
        if let Some((identity, at)) = self.last.take() {
            self.seen.is_new(identity, at, at);
        }
        &mut self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(seen: &mut Seen, out: &mut Vec<u8>, full: bool) {
        seen.begin_save(out, full);
        assert!(seen.save_some(out, &mut usize::MAX.clone()));
    }

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
        save(&mut seen, &mut first, true);
        assert!(seen.is_new(Identity(7), at(8), at(10)), "exactly the horizon away is outside");
        assert_eq!(seen.len(), 2);
        save(&mut seen, &mut then, false);
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
        let (mut came, mut gone) = (0_u64, 0);
        let (mut saved, mut line) = (Vec::new(), Vec::new());
        let mut seed = 3_u64;
        for step in 0..20_000_i64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few homes in the index, so that they crowd; times that do not only go up.
            let identity = u128::from(seed >> 33 & 15) << 64 | u128::from(seed >> 40 & 511);
            let now = step * if step / 1_000 % 2 == 0 { 10_000 } else { 900_000 };
            let (now, at) = (EventTime(now), EventTime(now - (seed >> 50) as i64 % 3_000_000));
            let old = |at: i64| now.since(EventTime(at)) >= within;
            let page = PAGE_CELLS - gone % PAGE_CELLS;
            if came.is_multiple_of(STEP)
                && model.get(..page).is_some_and(|page| page.iter().all(|(_, at)| old(*at)))
            {
                gone += model.drain(..page).count();
            }
            let expected = match model.iter_mut().find(|(known, _)| *known == identity) {
                Some((_, known)) if old(*known) => {
                    *known = at.0;
                    true
                }
                Some(_) => false,
                None => {
                    if model.len() >= max {
                        gone += model.drain(..1).count();
                    }
                    came += 1;
                    model.push((identity, at.0));
                    true
                }
            };
            assert_eq!(seen.is_new(Identity(identity), at, now), expected, "step {step}");
            assert_eq!(seen.len(), model.len(), "step {step}");
            // Each is written over the next steps, and is of this one.
            if step % 97 == 0 {
                (saved, line) = (Vec::new(), model.clone());
                seen.begin_save(&mut saved, step == 0);
            }
            if step % 97 <= 60 && seen.save_some(&mut saved, &mut 160) && !saved.is_empty() {
                assert_eq!(restored.load(&mut Bytes::new(&saved)), Some(()), "step {step}");
                let cells = (restored.head..restored.tail).map(|place| *restored.cell(place));
                let cells = cells.map(|c| {
                    (u128::from(c.identity[1]) << 64 | u128::from(c.identity[0]), c.occurred)
                });
                assert_eq!(cells.collect::<Vec<_>>(), line, "step {step}");
                saved.clear();
            }
            if step % 970 == 969 {
                let mut last = Vec::new();
                save(&mut seen, &mut last, false);
                assert_eq!(restored.load(&mut Bytes::new(&last)), Some(()), "step {step}");
                restored.reindex();
                let again = std::mem::replace(&mut restored, Seen::new(within, max));
                let mut saved = Vec::new();
                save(&mut seen, &mut saved, true);
                assert_eq!(restored.load(&mut Bytes::new(&saved)), Some(()), "step {step}");
                seen = again;
            }
        }
        assert!(seen.evicted > 0 && seen.first > 0, "it was full, and pages served again");
    }

    #[test]
    fn while_the_index_becomes_wider_nothing_is_forgotten() {
        let (mut seen, at, mut meanwhile) = (Seen::new(TimeSpan::MAX, 100_000), EventTime(0), 0);
        let identity =
            |n: u128| Identity(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_0c6a_5c83_1b2d));
        for n in 1..=10_000 {
            assert!(seen.is_new(identity(n), at, at), "{n}");
            if !seen.wider.is_empty() {
                meanwhile += 1;
                assert!(
                    (1..=16).all(|part| !seen.is_new(identity(1 + n * part / 17), at, at)),
                    "{n}"
                );
            }
        }
        assert!((1..=10_000).all(|n| !seen.is_new(identity(n), at, at)));
        assert!(meanwhile > 20, "{meanwhile} came while it became wider");
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
