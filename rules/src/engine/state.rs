//! Keyed state of one site: cells by (owner, key), window entries, and the values in them.

use std::sync::Arc;

use event::Symbol;

use super::awaited::Awaited;
use super::cells::{Course, Entry, Key, KeyCell, Noted, Run};
use super::holdings::{Beside, Bounds, Holding, Over};
use super::index::Index;
use super::keys::{Packed, WideKey, half_of};
use super::near::Near;
use super::order::{Order, has_few};
use super::pages::{Bytes, NIL, Pages, Store};
use super::seats::{Seat, Seats};
use super::values::Values;
pub use super::words::{INT, Kept, TEXT, pack, pack_into, unpack};
use crate::value::Value;

/// Who owns a key cell: facts, then rules, then what hangs on rules; see [`super::layout`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(pub u32);

/// The word of a window's event that says when the next one occurred: that one need not be looked at,
/// a line of memory that nothing has touched for as long as the window is.
const NEXT_TIME: usize = 1;

/// A key that holds nothing: its idle cell, or `NIL` where it has none. Until anything is entered or
/// freed.
#[derive(Clone, Copy, Debug)]
pub struct Vacant(pub(super) u32);

/// Keyed cells, entries and runs of one site.
#[derive(Debug)]
pub struct State {
    pub(super) index: Index,
    /// Where cells stand whose owners have seats, and whose keys are one text.
    pub(super) seats: Seats,
    /// Cells found ahead of the events that want them.
    pub(super) near: Near,
    /// Cells by (owner, key).
    pub keys: Pages<KeyCell>,
    wide: Pages<WideKey>,
    /// Window entries and evidence.
    pub entries: Pages<Entry>,
    /// What keys of windows count that count each value once.
    pub values: Pages<Values>,
    /// How many values that are.
    pub(super) valued: u32,
    /// Whether rules hold something for a key.
    pub(super) awaited: Option<Awaited>,
    /// Waiting runs.
    pub runs: Pages<Run>,
    /// What stands beside each of them.
    pub(super) beside: Pages<Beside>,
    /// The same of runs that are their keys' cells.
    pub noted: Pages<Noted>,
    /// How far runs have come.
    pub courses: Pages<Course>,
    /// What each fact and rule holds of them.
    pub holdings: Pages<Holding>,
    /// Who answers for what, and how much each may hold.
    pub bounds: Arc<Bounds>,
    /// Which of them came first.
    pub(super) order: Order,
    /// Who has grown over a limit since the site last settled.
    pub over: Vec<Over>,
    /// How many keys, runs or events may come before limits are looked at: less than none where one is passed.
    pub(super) room: i64,
    /// Keys that were made since the sweep last went on, and runs that it may come to end.
    pub(super) came: [u32; 2],
    /// Every watch of a balance has its level where the balance says so: none was given up, nor comes from elsewhere.
    pub(super) levels_stand: bool,
    /// Cells that stand empty, and those of them that keep a [`Noted`].
    pub(super) idle: [u32; 2],
    /// Cells by holder, those that stand empty included.
    pub(super) cells_of: Vec<u32>,
}

/// What the index keeps of an owner and a key: the upper part of half of the key's hash, and the lower
/// part of the owner. So the cells that several facts and rules have for one door, zone or badge are
/// entered side by side, and the first of them to be looked up brings the others' line of memory along.
#[inline]
pub(super) fn tag_of(owner: Owner, key: &Key) -> u32 {
    beside(half_of(key), owner)
}

#[inline]
pub(super) fn beside(half: u32, owner: Owner) -> u32 {
    const OWNERS: u32 = (1 << 5) - 1;
    half & !OWNERS | owner.0 & OWNERS
}

impl State {
    /// Nothing kept yet.
    pub fn new(bounds: Arc<Bounds>) -> Self {
        let mut holdings = Pages::default();
        for _ in 0..bounds.holders() {
            holdings.insert(Holding::none());
        }
        let mut state = Self {
            index: Index::default(),
            seats: Seats::new(bounds.seated()),
            near: Near::new(&bounds),
            keys: Pages::default(),
            wide: Pages::default(),
            entries: Pages::default(),
            values: Pages::default(),
            valued: 0,
            awaited: None,
            runs: Pages::default(),
            beside: Pages::default(),
            noted: Pages::default(),
            courses: Pages::default(),
            holdings,
            cells_of: vec![0; bounds.holders() as usize],
            order: Order::new(bounds.holders(), 0),
            bounds,
            over: Vec::new(),
            room: -1,
            came: [0; 2],
            levels_stand: true,
            idle: [0; 2],
        };
        state.count_awaited();
        state
    }

    /// Whether a cell, if it is one at all, is that of an owner and key.
    #[inline]
    pub fn is_of(&self, cell: u32, owner: Owner, key: &Key) -> bool {
        let Some(cell) = self.keys.peek(cell).filter(|cell| cell.owner == owner.0 + 1) else {
            return false;
        };
        match Packed::of(key) {
            Some(packed) => cell.key == packed,
            None => self.is_wide(cell, key),
        }
    }

    pub(super) fn is_wide(&self, cell: &KeyCell, key: &Key) -> bool {
        cell.key.key().is_err_and(|number| self.wide.get(number).key == *key)
    }

    /// The key of a cell.
    #[inline]
    pub fn key(&self, cell: u32) -> Key {
        self.keys.get(cell).key.key().unwrap_or_else(|number| self.wide.get(number).key)
    }

    #[inline]
    fn keep_key(&mut self, key: &Key) -> Packed {
        let wide = || Packed::wide(self.wide.insert(WideKey { live: 1, key: *key }));
        Packed::of(key).unwrap_or_else(wide)
    }

    /// The seat of an owner and a key, where they have one.
    #[inline(always)]
    pub(super) fn seat_of(&self, owner: Owner, key: Packed) -> Option<(Symbol, Seat)> {
        let seat = self.bounds.seat_of(owner);
        let text = key.as_text().filter(|text| seat != Seat::NONE && Seats::has(*text))?;
        Some((text, seat))
    }

    /// A cell can be found from now on.
    fn place(&mut self, index: u32) {
        let held = self.keys.get(index);
        match self.seat_of(held.owner(), held.key) {
            Some((text, seat)) => self.seats.enter(text, seat, index),
            None => self.index.insert(self.tag_at(index), index),
        }
    }

    /// It can no longer.
    pub(super) fn displace(&mut self, index: u32) {
        let held = self.keys.get(index);
        match self.seat_of(held.owner(), held.key) {
            Some((text, seat)) => self.seats.leave(text, seat, index),
            None => self.index.remove(self.tag_at(index), index),
        }
    }

    /// What the index keeps of a cell's owner and key.
    fn tag_at(&self, cell: u32) -> u32 {
        let held = self.keys.get(cell);
        if held.key.is_wide() {
            return tag_of(held.owner(), &self.key(cell));
        }
        beside(held.key.half(), held.owner())
    }

    /// Gives a cell to another owner, under another key. [`Self::rebind`] and [`Self::reindex`] follow.
    pub fn hand_over(&mut self, cell: u32, owner: Owner, key: &Key) {
        if self.key(cell) != *key {
            self.forget_key(cell);
            self.keys.get_mut(cell).key = self.keep_key(key);
        }
        self.keys.get_mut(cell).owner = owner.0 + 1;
    }

    fn forget_key(&mut self, cell: u32) {
        let key = self.keys.get(cell).key;
        if key.is_wide()
            && let Err(number) = key.key()
        {
            self.wide.remove(number);
        }
    }

    /// The cell of an owner and key, made with `value` where there was none.
    pub fn find_or_insert(&mut self, owner: Owner, key: &Key, value: Value) -> u32 {
        self.use_or_enter(self.look(owner, key), owner, key, value)
    }

    /// As [`Self::find_or_insert`], where the key has just been looked up by [`Self::look`].
    #[inline(never)]
    pub fn use_or_enter(
        &mut self,
        known: Result<u32, Vacant>,
        owner: Owner,
        key: &Key,
        value: Value,
    ) -> u32 {
        match known {
            Ok(cell) => self.used(cell),
            Err(vacant) => self.enter(vacant, owner, key, value),
        }
    }

    /// As [`Self::find_or_insert`], where the key has just been looked up.
    #[inline]
    pub fn use_or_insert(
        &mut self,
        known: Option<u32>,
        owner: Owner,
        key: &Key,
        value: Value,
    ) -> u32 {
        match known {
            Some(cell) => self.used(cell),
            None => self.find_or_insert(owner, key, value),
        }
    }

    #[inline]
    fn used(&mut self, cell: u32) -> u32 {
        self.keys.get_mut(cell).use_it(true);
        cell
    }

    /// Makes a key one that holds something: its idle cell, or a new one.
    #[inline(always)]
    fn enter(&mut self, Vacant(idle): Vacant, owner: Owner, key: &Key, value: Value) -> u32 {
        let index = if idle == NIL { self.make(owner, key, 0) } else { self.wake(idle) };
        if value != Value::Missing {
            self.keys.get_mut(index).set(pack(value));
        }
        index
    }

    /// As [`Self::use_or_enter`], of a key that counts, and has no cell.
    #[inline(never)]
    pub fn enter_count(&mut self, known: Result<u32, Vacant>, owner: Owner, key: &Key) -> u32 {
        self.use_or_enter(known, owner, key, Value::Int(0))
    }

    /// Makes a cell for a key that has none, and so many runs.
    #[inline(never)]
    pub(super) fn make(&mut self, owner: Owner, key: &Key, runs: u32) -> u32 {
        let key = self.keep_key(key);
        let index = self.keys.insert(KeyCell { key, ..KeyCell::of(owner) });
        self.place(index);
        self.came[0] += 1;
        self.cells_of[self.bounds.holder(owner) as usize] += 1;
        self.keys.get_mut(index).age = self.enlist(index, owner, runs);
        self.awaits(index, owner);
        index
    }

    /// A cell counts among its holder's keys, as the newest, and so many runs with it. Its age, for it to keep.
    #[inline(always)]
    pub(super) fn enlist(&mut self, index: u32, owner: Owner, runs: u32) -> u64 {
        let holder = self.bounds.holder(owner);
        self.room -= 1;
        let (holding, limits) = (self.holdings.get_mut(holder), self.bounds.limits(holder));
        (holding.keys, holding.runs) = (holding.keys + 1, holding.runs + runs);
        let passed = holding.keys > limits.keys || runs > 0 && holding.runs > limits.runs;
        let age = self.order.next();
        if has_few(limits.keys) {
            self.key_came(holder, age, index);
        }
        if passed {
            self.has_passed(holder, runs);
        }
        age
    }

    /// A holder has grown over a limit.
    #[cold]
    #[inline(never)]
    fn has_passed(&mut self, holder: u32, runs: u32) {
        let (holding, limits) = (*self.holdings.get(holder), *self.bounds.limits(holder));
        if holding.keys > limits.keys {
            self.is_over(Over::Keys(holder));
        }
        if runs > 0 && holding.runs > limits.runs {
            self.is_over(Over::Runs(holder));
        }
    }

    /// Somebody has grown over a limit.
    #[cold]
    #[inline(never)]
    pub(super) fn is_over(&mut self, over: Over) {
        self.over.push(over);
        self.room = -1;
    }

    /// It does no longer.
    #[inline(always)]
    pub(super) fn let_go(&mut self, index: u32, owner: Owner, runs: u32) {
        let holding = self.holdings.get_mut(self.bounds.holder(owner));
        (holding.keys, holding.runs) = (holding.keys - 1, holding.runs - runs);
        self.awaits_less(index, owner);
    }

    /// Forgets a cell. Its lists must be empty.
    pub fn remove(&mut self, index: u32) {
        debug_assert_eq!(self.keys.get(index).head, NIL, "a key cell is freed with its list empty");
        self.displace(index);
        self.free(index);
    }

    /// Forgets a cell, where [`Self::reindex`] follows.
    pub fn free(&mut self, index: u32) {
        self.let_go(index, self.keys.get(index).owner(), 0);
        self.scrap(index);
    }

    /// Frees a cell that counts for nothing any more, where nothing finds it any more.
    pub(super) fn scrap(&mut self, index: u32) {
        self.forget_key(index);
        self.forget_values(index);
        self.cells_of[self.bounds.holder(self.keys.get(index).owner()) as usize] -= 1;
        self.keys.remove(index);
    }

    /// Goes on under other bounds, once every cell and run has its new owner: all are as old
    /// as before. `place` says where each old holder's counts go on.
    pub fn rebind(&mut self, bounds: Arc<Bounds>, place: impl Fn(u32) -> Option<u32>) {
        let mut holdings = Pages::default();
        for _ in 0..bounds.holders() {
            holdings.insert(Holding::none());
        }
        let old = std::mem::replace(&mut self.holdings, holdings);
        self.bounds = bounds;
        self.count_cells();
        for number in old.indexes() {
            let was = *old.get(number);
            if let Some(place) = place(number) {
                let holding = self.holdings.get_mut(place);
                (holding.gave, holding.told) = (was.gave, was.told);
            }
        }
        self.forget_order();
        let cells: Vec<u32> = self.cells().collect();
        for at in cells {
            let cell = *self.keys.get(at);
            let holder = self.bounds.holder(cell.owner());
            let holding = self.holdings.get_mut(holder);
            holding.keys += 1 + cell.values().map_or(0, |at| self.values.get(at).many());
            holding.events += cell.events();
            holding.runs += u32::from(cell.is_run());
            let limits = self.bounds.limits(holder);
            if holding.keys > limits.keys {
                self.over.push(Over::Keys(holder));
            }
            if holding.runs > limits.runs {
                self.over.push(Over::Runs(holder));
            }
            let excess = cell.events().saturating_sub(limits.events);
            self.over.extend((0..excess).map(|_| Over::Events(holder, at)));
        }
        for at in self.runs.indexes() {
            let run = self.runs.get(at);
            let holder = self.bounds.holder_of_rule(run.owner - 1);
            let holding = self.holdings.get_mut(holder);
            holding.runs += 1;
            holding.events += match run.course {
                NIL => 0,
                course => self.courses.get(course).kept,
            };
            if holding.runs > self.bounds.limits(holder).runs {
                self.over.push(Over::Runs(holder));
            }
        }
    }

    /// The value of a cell.
    #[inline]
    pub fn value(&self, index: u32) -> Value {
        let cell = self.keys.get(index);
        unpack(cell.value, cell.tag())
    }

    /// Sets the value of a cell.
    #[inline]
    pub fn set_value(&mut self, index: u32, value: Value) {
        self.keys.get_mut(index).set(pack(value));
    }

    /// Appends an entry to a cell's list.
    #[inline]
    pub fn append(&mut self, cell: u32, entry: Entry) -> u32 {
        let holder = self.bounds.holder(self.keys.get(cell).owner());
        let limit = (holder, self.bounds.limits(holder).events);
        self.append_to::<false>(cell, limit, entry, (0, false))
    }

    /// Adds an event to a window, and `by` to its count; who answers for it, and how many events it may hold; whether the
    /// key is in use with that. The cell knows when its first event occurred,
    /// and each event when the one behind it did: whether any has left the window takes no look at the
    /// events.
    #[inline(always)]
    pub fn count_in(&mut self, cell: u32, limit: (u32, u32), entry: Entry, by: i64, used: bool) {
        self.append_to::<true>(cell, limit, entry, (by, used));
    }

    #[inline(always)]
    fn append_to<const WINDOW: bool>(
        &mut self,
        cell: u32,
        (holder, most): (u32, u32),
        entry: Entry,
        (by, used): (i64, bool),
    ) -> u32 {
        self.room -= 1;
        let index = self.entries.insert(entry);
        let key = self.keys.get_mut(cell);
        if WINDOW {
            key.count_in(by, used);
        } else {
            key.event_came();
        }
        match std::mem::replace(&mut key.tail, index) {
            NIL => {
                key.head = index;
                if WINDOW {
                    key.time = entry.time;
                }
            }
            tail => {
                let last = self.entries.get_mut(tail);
                last.next = index;
                if WINDOW {
                    last.words[NEXT_TIME] = entry.time as u64;
                }
            }
        }
        let passed = key.events() > most;
        self.holdings.get_mut(holder).events += 1;
        if passed {
            self.is_over(Over::Events(holder, cell));
        }
        index
    }

    /// A copy of the first entry of a cell's list.
    #[inline]
    pub fn front(&self, cell: u32) -> Option<Entry> {
        match self.keys.get(cell).head {
            NIL => None,
            head => Some(*self.entries.get(head)),
        }
    }

    /// Takes the first event off a window, where there is one, and gives what was counted of it; the
    /// next one is the first then.
    #[inline]
    pub fn leave_window(&mut self, cell: u32) -> Option<u64> {
        let key = self.keys.get_mut(cell);
        let head = key.head;
        if head == NIL {
            return None;
        }
        let Entry { next, words, .. } = *self.entries.get(head);
        self.entries.remove(head);
        key.event_left();
        key.head = next;
        match next {
            NIL => key.tail = NIL,
            _ => key.time = words[NEXT_TIME] as i64,
        }
        self.holdings.get_mut(self.bounds.holder(key.owner())).events -= 1;
        Some(words[0])
    }

    /// Takes off a window, of which each event counts, the first events, as long as they have left it; how many
    /// are counted then.
    #[inline(always)]
    pub fn leave_counted(&mut self, cell: u32, outside: impl Fn(i64) -> bool) -> i64 {
        let key = self.keys.get_mut(cell);
        let mut left = 0;
        while key.head != NIL && outside(key.time) {
            let Entry { next, words, .. } = *self.entries.get(key.head);
            self.entries.remove(key.head);
            (key.head, key.time) = (next, words[NEXT_TIME] as i64);
            left += 1;
        }
        if key.head == NIL {
            key.tail = NIL;
        }
        self.holdings.get_mut(self.bounds.holder(key.owner())).events -= left;
        key.events_left(left);
        key.add(-i64::from(left))
    }

    /// Takes the first entry off a cell's list.
    #[inline]
    pub fn pop_front(&mut self, cell: u32) -> Option<Entry> {
        let key = self.keys.get_mut(cell);
        let head = key.head;
        if head == NIL {
            return None;
        }
        let entry = *self.entries.get(head);
        self.entries.remove(head);
        key.event_left();
        self.holdings.get_mut(self.bounds.holder(key.owner())).events -= 1;
        key.head = entry.next;
        if entry.next == NIL {
            key.tail = NIL;
        }
        Some(entry)
    }

    /// The entries of a list, from `head` on.
    pub fn list(&self, head: u32) -> impl Iterator<Item = &Entry> {
        let mut at = head;
        std::iter::from_fn(move || {
            if at == NIL {
                return None;
            }
            let entry = self.entries.get(at);
            at = entry.next;
            Some(entry)
        })
    }

    /// Takes an entry out of a cell's list; `previous` stands before it.
    pub fn unlink_entry(&mut self, cell: u32, previous: u32, entry: u32) {
        let next = self.entries.get(entry).next;
        let key = self.keys.get_mut(cell);
        key.event_left();
        if previous == NIL {
            key.head = next;
        } else {
            self.entries.get_mut(previous).next = next;
        }
        if next == NIL {
            key.tail = previous;
        }
        self.holdings.get_mut(self.bounds.holder(Owner(key.owner - 1))).events -= 1;
        self.entries.remove(entry);
    }

    /// Keeps a list of entries; its first, or `NIL` where there is none.
    pub fn keep_list(&mut self, entries: impl DoubleEndedIterator<Item = Entry>) -> u32 {
        self.room = -1;
        entries.rev().fold(NIL, |next, entry| self.entries.insert(Entry { next, ..entry }))
    }

    /// Frees the entries of a list; how many there were.
    pub fn remove_list(&mut self, head: u32) -> u32 {
        let mut count = 0;
        let mut at = head;
        while at != NIL {
            let next = self.entries.get(at).next;
            self.entries.remove(at);
            count += 1;
            at = next;
        }
        count
    }

    /// Bytes of all pages, and of the index.
    pub fn bytes(&self) -> usize {
        let runs = self.runs.bytes() + self.beside.bytes() + self.courses.bytes();
        let runs = runs + self.noted.bytes();
        let cells = self.keys.bytes() + self.entries.bytes() + self.values.bytes() + runs;
        let tables = self.index.bytes() + self.seats.bytes();
        cells + self.wide.bytes() + self.holdings.bytes() + tables
    }

    /// What is in snapshots, in the order in which it stands there.
    pub fn stores(&mut self) -> [&mut dyn Store; 9] {
        [
            &mut self.keys,
            &mut self.entries,
            &mut self.values,
            &mut self.runs,
            &mut self.beside,
            &mut self.noted,
            &mut self.courses,
            &mut self.wide,
            &mut self.holdings,
        ]
    }

    /// Reads pages over what is here. [`Self::reindex`] follows the last of them.
    pub fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        self.keys.load(input)?;
        self.entries.load(input)?;
        self.values.load(input)?;
        self.runs.load(input)?;
        self.beside.load(input)?;
        self.noted.load(input)?;
        self.courses.load(input)?;
        self.wide.load(input)?;
        self.holdings.load(input)
    }

    /// Builds the index from the cells.
    pub fn reindex(&mut self) {
        self.index.clear();
        self.seats = Seats::new(self.bounds.seated());
        self.near = Near::new(&self.bounds);
        self.count_cells();
        self.count_awaited();
        self.forget_order();
        (self.room, self.levels_stand) = (-1, false);
        for index in 0..self.keys.len() {
            if self.keys.get(index).owner != 0 {
                self.place(index);
            }
        }
    }
}
