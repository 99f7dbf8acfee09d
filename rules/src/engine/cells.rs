//! What the pages of a site hold: keys, window entries, runs, incidents, detections held back,
//! identities seen.
//!
//! Every cell is `repr(C)` without padding. Their layout stands in snapshots: a change of it is a
//! change of [`super::snapshot::VERSION`].

use bytemuck::{Pod, Zeroable};
use event::{EventRef, EventTime, Identity, Position, Symbol};

use super::findings::EvidenceRef;
use super::keys::Packed;
use super::layout::Subject;
use super::pages::{Cell, NIL};
use super::state::{Kept, Owner};
use crate::value::Value;

pub use super::keys::Key;

/// State of one owner (a fact, a rule, a guard) for one key, its age included: 64 bytes, and
/// what most steps read of it stands in front. It begins with a line of memory: of a small table, too, it is one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct KeyCell {
    /// 1 + the owner's number; 0 when free. [`Self::IDLE`] beside that: nobody's, so far.
    pub owner: u32,
    /// What `value` is, whether the key is in use, and how many events it holds: see the methods.
    pub form: u32,
    /// The key: see [`super::state::State::key`].
    pub key: Packed,
    /// First of a list of entries or runs; of a key without a list, see [`Self::note`].
    pub head: u32,
    /// Last of it.
    pub tail: u32,
    /// Count, balance, set value, level; of a run its [`Noted`], and the lower half of its serial
    /// over that.
    pub value: u64,
    /// When it was last set, or last spoke.
    pub time: i64,
    /// The run that waits (hold), the timer's serial, or where values are counted.
    pub aux: u64,
    /// The upper half of what `aux` begins; 1 when the key has spoken.
    pub spare: u64,
    /// Which it was of all that came to hold something: see [`super::order`].
    pub age: u64,
}

impl KeyCell {
    const TAG: u32 = 15;
    const USED: u32 = 1 << 4;
    const RUN: u32 = 1 << 5;
    /// Of an idle cell, in the place of the tag: how often the sweep passes it by, and how often it
    /// does at first.
    const ROUNDS: u32 = 7;
    const ROUNDS_FIRST: u32 = 2;
    const VALUES: u32 = 1 << 6;
    const EVENT: u32 = 1 << 7;
    /// Of an owner: the key holds nothing and counts for nothing; see [`super::idle`].
    pub const IDLE: u32 = 1 << 31;

    /// Whose it is, or was, while it is live.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner((self.owner & !Self::IDLE) - 1)
    }

    /// Of an owner, with nothing in it; under which key is not said yet.
    pub fn of(owner: Owner) -> Self {
        Self {
            owner: owner.0 + 1,
            form: 0,
            key: Packed::wide(NIL),
            head: NIL,
            tail: NIL,
            value: 0,
            time: i64::MIN,
            aux: 0,
            spare: 0,
            age: 0,
        }
    }

    /// It stands empty from now on: see [`Self::is_idle`].
    #[inline]
    pub fn rest(&mut self) {
        self.owner |= Self::IDLE;
        self.form = self.form & Self::RUN | Self::ROUNDS_FIRST;
    }

    /// The sweep comes by while it stands empty; whether that was often enough.
    #[inline]
    pub fn is_swept(&mut self) -> bool {
        let left = self.form & Self::ROUNDS;
        self.form -= u32::from(left != 0);
        left == 0
    }

    /// Whether it is an owner's for a key, empty or not.
    #[inline(always)]
    pub fn is(&self, owner: Owner, key: Packed) -> bool {
        self.key == key && self.owner & !Self::IDLE == owner.0 + 1
    }

    /// Whether it stands empty, and is kept for the key to come back.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.owner & Self::IDLE != 0
    }

    /// Whether it stands empty, and was an owner's.
    #[inline(always)]
    pub fn is_idle_of(&self, owner: Owner) -> bool {
        self.owner == (owner.0 + 1) | Self::IDLE
    }

    /// What `value` is: see [`super::state::pack`].
    #[inline]
    pub fn tag(&self) -> u32 {
        self.form & Self::TAG
    }

    /// Sets the value and what it is.
    #[inline]
    pub fn set(&mut self, (bits, tag): (u64, u32)) {
        self.value = bits;
        self.form = self.form & !Self::TAG | tag;
    }

    /// The number that the value is.
    #[inline]
    pub fn int(&self) -> Option<i64> {
        (self.tag() == super::state::INT).then_some(self.value as i64)
    }

    /// As [`Self::int`]; 0 where it is none.
    #[inline]
    pub fn number(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    /// The text that the value is.
    #[inline]
    pub fn text(&self) -> Option<Symbol> {
        (self.tag() == super::state::TEXT).then_some(Symbol(self.value as u32))
    }

    /// Adds to the number that the value is, or is from now on; the number then.
    #[inline]
    pub fn add(&mut self, by: i64) -> i64 {
        let after = self.number().saturating_add(by);
        self.set((after as u64, super::state::INT));
        after
    }

    /// Moves a number, which it is or is from now on, and notes that it was written to; what it was, and what it is
    /// now.
    #[inline(always)]
    pub fn move_by(&mut self, by: i64) -> (i64, i64) {
        const MOVED: u32 = super::state::INT | KeyCell::USED;
        if self.form & (Self::TAG | Self::USED) == MOVED
            && let Some(now) = (self.value as i64).checked_add(by)
        {
            return (std::mem::replace(&mut self.value, now as u64) as i64, now);
        }
        let before = self.number();
        self.use_it(true);
        (before, self.add(by))
    }

    /// An event has come to its window, and `by` more are counted; whether it is in use with that.
    #[inline(always)]
    pub fn count_in(&mut self, by: i64, used: bool) {
        self.value = self.number().saturating_add(by) as u64;
        let used = if used { Self::USED } else { 0 };
        self.form = (self.form & !Self::TAG | super::state::INT | used) + Self::EVENT;
    }

    /// Whether it was written to since it came, or since it was last spared.
    pub fn is_used(&self) -> bool {
        self.form & Self::USED != 0
    }

    /// Notes that it was written to, or that it was spared.
    #[inline]
    pub fn use_it(&mut self, used: bool) {
        self.form = self.form & !Self::USED | if used { Self::USED } else { 0 };
    }

    /// Where its values are counted, of a key that counts them: see [`super::values`].
    #[inline]
    pub fn values(&self) -> Option<u32> {
        (self.form & Self::VALUES != 0).then_some(self.aux as u32)
    }

    /// Its values are counted there from now on.
    pub fn keep_values(&mut self, at: u32) {
        self.form |= Self::VALUES;
        self.aux = u64::from(at);
    }

    /// They are counted nowhere any more.
    pub fn forget_values(&mut self) {
        self.form &= !Self::VALUES;
        self.aux = 0;
    }

    /// Whether it is itself the only run of its key: see [`super::state::State::note_run`].
    #[inline]
    pub fn is_run(&self) -> bool {
        self.form & Self::RUN != 0
    }

    /// Begins to be an owner's run: as little used as that.
    #[inline]
    pub fn begin(&mut self, owner: Owner) {
        (self.owner, self.form) = (owner.0 + 1, Self::RUN);
    }

    /// Keeps an event in the cell itself: of a key that has no list, and has not spoken.
    #[inline]
    pub fn note(&mut self, event: EventRef<'_>) {
        let (at, identity, place) = event.cited();
        (self.time, self.aux, self.spare) = (at.0, identity[0], identity[1]);
        (self.head, self.tail) = (place as u32, (place >> 32) as u32);
    }

    /// The event kept in it, as evidence.
    pub fn noted(&self) -> EvidenceRef {
        let place = u64::from(self.tail) << 32 | u64::from(self.head);
        evidence(place, [self.aux, self.spare], self.time)
    }

    /// Forgets the event kept in it, and that it is a run: before the cell is freed.
    pub fn forget_noted(&mut self) {
        self.form &= !Self::RUN;
        (self.head, self.tail) = (NIL, NIL);
    }

    /// Events in its list; 0 where the list holds runs.
    #[inline]
    pub fn events(&self) -> u32 {
        self.form / Self::EVENT
    }

    /// An event has come to its list.
    #[inline]
    pub fn event_came(&mut self) {
        self.form += Self::EVENT;
    }

    /// An event has left its list.
    #[inline]
    pub fn event_left(&mut self) {
        self.events_left(1);
    }

    /// So many have.
    #[inline]
    pub fn events_left(&mut self, many: u32) {
        assert!(self.events() >= many, "an event leaves the list it came to");
        self.form -= many * Self::EVENT;
    }
}

/// One event of a window, of a run's evidence, or of a guard's history.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Entry {
    /// 1 when live.
    pub live: u16,
    /// Types of the words, where they are captured values: four bits each.
    pub tags: u16,
    /// Next in the list.
    pub next: u32,
    /// When the event occurred (microseconds).
    pub time: i64,
    /// The event's identity, low half first.
    pub identity: [u64; 2],
    /// Position and part, as a row has them.
    pub place: u64,
    /// What is kept of the event beside that: the value counted, and in a window when the next event
    /// occurred; the run that a guard watches, and its serial; or what a guard's condition reads of the event.
    pub words: [u64; 3],
}

/// One partial match, or one level that must last: a line of memory. Its first event's evidence is
/// in it; who and where that was stands beside it ([`super::state::State::subjects`]).
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Run {
    /// 1 + the rule's number; 0 when free.
    pub owner: u32,
    /// Next run of the key.
    pub next: u32,
    /// The run before it of the key.
    pub previous: u32,
    /// The rule's key cell.
    pub key_cell: u32,
    /// The first event's time (microseconds).
    pub started: i64,
    /// The first event's identity.
    pub identity: [u64; 2],
    /// The first event's position and part, as a row has them.
    pub place: u64,
    /// Tells this run from others that had the cell before.
    pub serial: u64,
    /// Its [`Course`]; `NIL` where there is nothing to say in it.
    pub course: u32,
    /// Nothing: the cell is a line of memory.
    pub rest: u32,
}

impl Run {
    /// The first event, as evidence.
    pub fn opening(&self) -> EvidenceRef {
        evidence(self.place, self.identity, self.started)
    }
}

/// Who and where the first event was of a run that is its key's cell.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Noted(pub Subject);

/// In a free cell: no symbol is as large.
const FREE: Symbol = Symbol(u32::MAX - 1);

impl Cell for Noted {
    fn live(&self) -> u32 {
        u32::from(self.0[1] != FREE)
    }
    fn next_free(&self) -> u32 {
        self.0[0].0
    }
    fn set_free(&mut self, next: u32) {
        (self.0[0], self.0[1]) = (Symbol(next), FREE);
    }
}

/// How far a run has come: of those for which that is not plain. Most wait for the second of two
/// events, and have none.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Course {
    /// 1 when live.
    pub live: u32,
    /// First of its further evidence.
    pub head: u32,
    /// Last of it.
    pub tail: u32,
    /// Events of further evidence kept.
    pub kept: u32,
    /// Events beyond the evidence kept.
    pub omitted: u32,
    /// The step it waits for.
    pub step: u32,
    /// When it reached the step it waits at (microseconds).
    pub entered: i64,
    /// When it is next decided (microseconds).
    pub deadline: i64,
    /// Satisfied guards' counts, eight bits each; in a sequence the step's events so far, or, of a
    /// step of several parts, those met (bit n) and those that can be met no more (bit 8 + n).
    pub counts: u64,
    /// Types of the captures, four bits each.
    pub tags: u64,
    /// Captured values.
    pub captures: [u64; 8],
}

impl Course {
    /// That of a run which has just come to a step.
    pub fn at(step: u32, entered: i64) -> Self {
        Self {
            live: 1,
            head: NIL,
            tail: NIL,
            kept: 0,
            omitted: 0,
            step,
            entered,
            deadline: i64::MAX,
            counts: 0,
            tags: 0,
            captures: [0; 8],
        }
    }

    /// Whether it says nothing but at which step the run waits.
    pub fn is_plain(&self) -> bool {
        self.head == NIL && self.deadline == i64::MAX && self.counts == 0 && self.tags == 0
    }

    /// The values captured.
    pub fn kept(&self) -> Kept<'_> {
        Kept { words: &self.captures, tags: self.tags }
    }
}

/// One open incident.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct IncidentCell {
    /// 1 when live.
    pub live: u32,
    /// Severity reached.
    pub severity: u32,
    /// The incident's id, low half first.
    pub id: [u64; 2],
    /// When it opened (microseconds).
    pub opened: i64,
    /// When its newest detection was (microseconds).
    pub updated: i64,
    /// How long it must be kept after `updated`.
    pub keep: i64,
    /// Which sides of which link policies it has been entered in: bit 2·policy + side.
    pub sides: u64,
    /// Detections whose condition still holds: it is cleared when the last of them ends …
    pub holding: u32,
    /// … unless this is 1: it also has a detection that no condition ends.
    pub lasting: u32,
    /// Which escalations have spoken: a bit each.
    pub escalated: u64,
    /// How far it is verified, 0–4.
    pub verification: u32,
    /// What has become of it: [`CLOSED`], [`CLEARED`], [`STALE`].
    pub flags: u32,
}

/// An operator has closed the incident.
pub const CLOSED: u32 = 1;
/// Its condition has gone.
pub const CLEARED: u32 = 2;
/// It was told to be stale.
pub const STALE: u32 = 4;

/// A detection that is not told: one that waits for what may inhibit it to be known, or one whose
/// level lasts while it is held back.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Held {
    /// 1 + the rule's number; 0 when free.
    pub owner: u32,
    /// First of its evidence.
    pub head: u32,
    /// The watch's key cell whose level it is; `NIL` where it is none, or the level has ended.
    pub level: u32,
    /// 1 where its level has ended while it waited.
    pub ended: u32,
    /// Contributing events beyond those kept.
    pub omitted: u32,
    /// The site of the event that made it.
    pub site: Symbol,
    /// Who it is about.
    pub subject: [Symbol; 6],
    /// Its key.
    pub key: Key,
    /// Its time (microseconds).
    pub at: i64,
    /// When it is decided; `i64::MAX` while it is held back and its level lasts.
    pub deadline: i64,
    /// Tells it from others that had the cell before.
    pub serial: u64,
    /// Its id.
    pub id: [u64; 2],
    /// The event that made it.
    pub event: [u64; 2],
    /// Bound values.
    pub why: [u64; 8],
    /// Their types, four bits each.
    pub tags: u64,
}

macro_rules! cell {
    ($type:ty, $live:ident, $next:ident) => {
        impl Cell for $type {
            #[inline]
            fn live(&self) -> u32 {
                u32::from(self.$live)
            }
            #[inline]
            fn next_free(&self) -> u32 {
                self.$next
            }
            #[inline]
            fn set_free(&mut self, next: u32) {
                (self.$live, self.$next) = (0, next);
            }
        }
    };
}

cell!(KeyCell, owner, head);
cell!(Entry, live, next);
cell!(Run, owner, next);
cell!(Course, live, head);
cell!(IncidentCell, live, severity);
cell!(Held, owner, head);

/// Two words of a 128-bit number, low half first.
#[inline]
pub const fn halves(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

/// The number of two words.
pub const fn whole(halves: [u64; 2]) -> u128 {
    (halves[1] as u128) << 64 | halves[0] as u128
}

/// An event as evidence, of what a cell keeps of it: position and part, identity, time.
fn evidence(place: u64, identity: [u64; 2], time: i64) -> EvidenceRef {
    EvidenceRef {
        position: Position(place & ((1 << 48) - 1)),
        part: (place >> 48) as u16,
        identity: Identity(whole(identity)),
        occurred: EventTime(time),
    }
}

impl Entry {
    /// What is kept of an event.
    #[inline]
    pub fn of(event: EventRef<'_>, value: u64) -> Self {
        let (at, identity, place) = event.cited();
        Self { place, ..Self::noting(at, identity, [value, 0, 0]) }
    }

    /// What is kept of a cited event.
    pub fn cited(evidence: &EvidenceRef) -> Self {
        let place = evidence.position.0 | u64::from(evidence.part) << 48;
        let identity = halves(evidence.identity.0);
        Self { place, ..Self::noting(evidence.occurred, identity, [0; 3]) }
    }

    /// What is kept of something that has no bytes to show.
    #[inline]
    pub fn noting(at: EventTime, identity: [u64; 2], words: [u64; 3]) -> Self {
        Self { live: 1, tags: 0, next: NIL, time: at.0, identity, place: 0, words }
    }

    /// Keeps a value of the event in one of the words.
    pub fn capture(&mut self, place: usize, value: Value) {
        let mut tags = u64::from(self.tags);
        super::state::pack_into(&mut self.words, &mut tags, place, value);
        self.tags = tags as u16;
    }

    /// The values captured.
    pub fn kept(&self) -> Kept<'_> {
        Kept { words: &self.words, tags: u64::from(self.tags) }
    }

    /// As evidence.
    pub fn evidence(&self) -> EvidenceRef {
        evidence(self.place, self.identity, self.time)
    }
}
