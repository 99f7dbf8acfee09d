//! Keys that hold nothing for a while.
//!
//! Many keys empty, and fill again soon: a badge goes in and out, a door opens and closes. The cell of
//! such a key stays where it is, *idle*: the look-up that comes with the next event finds it. It
//! counts among nobody's keys, and reads as if it were not there. Idle cells are half
//! of all at most, and one that stays idle is freed when the sweep has come by often enough.

use event::{EventRef, Symbol};

use super::cells::{KeyCell, Noted, Run};
use super::keys::Key;
use super::layout::Subject;
use super::order::has_few;
use super::pages::NIL;
use super::state::{Owner, State, Vacant};

/// Cells that may stand idle however few there are.
const IDLE_MIN: usize = if cfg!(debug_assertions) { 128 } else { 1_024 };

impl State {
    /// Keys that hold something, and values that keys count.
    #[inline]
    pub fn held(&self) -> usize {
        self.keys.live() - self.idle[0] as usize + self.valued as usize
    }

    /// Their indexes.
    pub fn cells(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.indexes().filter(|index| !self.keys.get(*index).is_idle())
    }

    #[inline]
    fn may_rest(&self) -> bool {
        (self.idle[0] as usize) < IDLE_MIN + self.keys.live() / 2
    }

    /// A key holds nothing any more. Its lists must be empty.
    #[inline]
    pub fn retire(&mut self, index: u32) {
        if !self.may_rest() {
            return self.remove(index);
        }
        let cell = self.keys.get_mut(index);
        debug_assert!(cell.head == NIL && !cell.is_idle(), "an empty key is retired, and once");
        let owner = cell.owner();
        cell.rest();
        self.let_go(index, owner, 0);
        self.idle[0] += 1;
    }

    /// An idle key holds something again.
    #[inline(always)]
    pub(super) fn wake(&mut self, index: u32) -> u32 {
        let owner = self.keys.get(index).owner();
        let age = self.enlist(index, owner, 0);
        let cell = self.keys.get_mut(index);
        debug_assert!(cell.is_idle() && !cell.is_run(), "a run is begun by its event");
        *cell = KeyCell { key: cell.key, age, ..KeyCell::of(owner) };
        self.idle[0] -= 1;
        self.awaits(index, owner);
        index
    }

    /// As [`super::site::Site::unlink_run`] and [`Self::retire`] one after the other: ends the only run of a rule's key that holds
    /// nothing else. Whether it was that.
    #[inline(always)]
    pub fn end_only(&mut self, index: u32, run: u32) -> bool {
        let (key, course) = (self.keys.get(index), self.runs.get(run).course);
        let holds_more = key.aux | key.spare | u64::from(key.tag()) != 0;
        if (key.head, key.tail, course) != (run, run, NIL) || holds_more || !self.may_rest() {
            return false;
        }
        let owner = key.owner();
        self.runs.remove(run);
        let key = self.keys.get_mut(index);
        (key.head, key.tail) = (NIL, NIL);
        key.rest();
        self.let_go(index, owner, 1);
        self.idle[0] += 1;
        true
    }

    /// As [`Self::use_or_enter`] and [`Self::keep_run`] one after the other: an idle key of a rule holds a run again.
    #[inline(always)]
    pub fn begin_only(
        &mut self,
        index: u32,
        owner: Owner,
        run: Run,
        subject: impl FnOnce(&mut Subject),
    ) -> u32 {
        let age = self.enlist(index, owner, 1);
        let at = self.runs.insert(run);
        let cell = self.keys.get_mut(index);
        let key = cell.key;
        *cell = KeyCell { key, age, head: at, tail: at, ..KeyCell::of(owner) };
        self.idle[0] -= 1;
        self.awaits(index, owner);
        self.beside.reach(at);
        subject(&mut self.beside.get_mut(at).subject);
        let holder = self.bounds.holder(owner);
        if has_few(self.bounds.limits(holder).runs) {
            self.run_came(holder, run.serial, at);
        }
        at
    }

    /// Lets a key's cell be the key's only run, in place of the one that it was.
    #[inline(always)]
    pub fn begin_run(
        &mut self,
        known: Result<u32, Vacant>,
        (owner, key): (Owner, &Key),
        event: EventRef<'_>,
        serial: u64,
        subject: impl FnOnce(&mut Subject),
    ) {
        let (index, age) = match known {
            Ok(index) => (index, self.renew(index)),
            Err(Vacant(NIL)) => self.make_run(owner, key),
            Err(Vacant(index)) => {
                self.idle = [self.idle[0] - 1, self.idle[1] - 1];
                (index, self.enlist(index, owner, 1))
            }
        };
        let cell = self.keys.get_mut(index);
        let at = cell.value as u32;
        cell.age = age;
        cell.value = serial << 32 | u64::from(at);
        cell.begin(owner);
        cell.note(event);
        subject(&mut self.noted.get_mut(at).0);
        if known.is_err_and(|Vacant(cell)| cell != NIL) {
            self.awaits(index, owner);
        }
    }

    /// A key is as old as its run, and as little used. Its new age.
    #[cold]
    #[inline(never)]
    fn renew(&mut self, index: u32) -> u64 {
        let holder = self.bounds.holder(self.keys.get(index).owner());
        self.grow_young(index, holder);
        self.keys.get(index).age
    }

    #[cold]
    #[inline(never)]
    fn make_run(&mut self, owner: Owner, key: &Key) -> (u32, u64) {
        let subject = Noted([Symbol::NONE; 6]);
        let (index, at) = (self.make(owner, key, 1), self.noted.insert(subject));
        let cell = self.keys.get_mut(index);
        cell.value = u64::from(at);
        (index, cell.age)
    }

    /// The run that a key's cell is has ended, and with it the key holds nothing.
    #[inline(always)]
    pub fn end_run(&mut self, index: u32) {
        if !self.may_rest() {
            return self.remove_single(index);
        }
        let cell = self.keys.get_mut(index);
        assert!(cell.is_run() && !cell.is_idle(), "a run ends once");
        let owner = cell.owner();
        cell.rest();
        self.let_go(index, owner, 1);
        self.idle = [self.idle[0] + 1, self.idle[1] + 1];
    }

    #[inline(never)]
    fn remove_single(&mut self, index: u32) {
        self.forget_run(index);
        self.remove(index);
    }

    /// A key's cell is no run any more. It is freed next.
    pub fn forget_run(&mut self, cell: u32) {
        let key = self.keys.get_mut(cell);
        assert!(key.is_run() && !key.is_idle(), "a run ends once");
        key.forget_noted();
        let (at, owner) = (key.value as u32, key.owner());
        self.noted.remove(at);
        self.holdings.get_mut(self.bounds.holder(owner)).runs -= 1;
    }

    /// The run that a key's cell is, as the others are kept.
    pub fn noted_run(&self, cell: u32) -> Option<Run> {
        let key = self.keys.get(cell);
        key.is_run().then(|| Run {
            owner: self.bounds.rule_of(key.owner()) + 1,
            next: NIL,
            previous: NIL,
            key_cell: cell,
            started: key.time,
            identity: [key.aux, key.spare],
            place: u64::from(key.tail) << 32 | u64::from(key.head),
            serial: key.value >> 32,
            course: NIL,
            rest: 0,
        })
    }

    /// The runs of a key, in the order of their beginnings.
    pub fn runs_at(&self, cell: u32) -> Vec<Run> {
        if let Some(run) = self.noted_run(cell) {
            return vec![run];
        }
        let mut at = self.keys.get(cell).head;
        let next = || {
            let run = (at != NIL).then(|| *self.runs.get(at))?;
            at = run.next;
            Some(run)
        };
        std::iter::from_fn(next).collect()
    }

    /// Runs that wait, in cells of their own and as keys.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.runs.live() + self.noted.live() - self.idle[1] as usize
    }

    /// The sweep comes by an idle cell.
    pub fn sweep_idle(&mut self, index: u32) {
        if !self.keys.get_mut(index).is_swept() {
            return;
        }
        self.displace(index);
        self.scrap_idle(index);
    }

    /// Frees all idle cells. [`Self::reindex`] follows.
    pub fn forget_idle(&mut self) {
        for index in 0..self.keys.len() {
            if self.keys.get(index).is_idle() {
                self.scrap_idle(index);
            }
        }
    }

    fn scrap_idle(&mut self, index: u32) {
        let cell = *self.keys.get(index);
        if cell.is_run() {
            self.noted.remove(cell.value as u32);
            self.idle[1] -= 1;
        }
        self.idle[0] -= 1;
        self.scrap(index);
    }

    /// Counts the cells: after a restore, and under other owners.
    pub(super) fn count_cells(&mut self) {
        self.idle = [0; 2];
        self.valued = self.values.indexes().map(|at| self.values.get(at).many()).sum();
        self.cells_of = vec![0; self.bounds.holders() as usize];
        for index in self.keys.indexes() {
            let cell = self.keys.get(index);
            self.cells_of[self.bounds.holder(cell.owner()) as usize] += 1;
            if cell.is_idle() {
                self.idle = [self.idle[0] + 1, self.idle[1] + u32::from(cell.is_run())];
            }
        }
    }
}
