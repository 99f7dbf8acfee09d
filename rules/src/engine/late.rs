//! What came later than the slack, kept until it has been repaired; and where the log holds what
//! it must be run with.

use event::incident::Tier;
use event::{EventBlock, EventRef, EventTime, Position, TimeSpan, Vocabulary};

use super::pages::Bytes;
use crate::limits::{LATE_MAX, REPAIR_EVENTS_MAX};

/// Bytes of log, or of files, that the index speaks of as one. A power of two.
const REACH_BYTES: u64 = 1 << 23;
/// Stretches that there is room for from the beginning.
const STRETCHES: usize = 16;

/// How late is how bad. Lateness is how far time (the watermark) was ahead when the event came.
#[derive(Clone, Copy, Debug)]
pub struct LateOptions {
    /// What is found late is told to people where it occurred so long ago at most.
    pub live: TimeSpan,
    /// And kept, but told to nobody, where so long ago at most; what is older fires nothing.
    pub recorded: TimeSpan,
    /// Time that passes from the first late event to the repair: what comes together is repaired
    /// together.
    pub settle: TimeSpan,
}

impl Default for LateOptions {
    fn default() -> Self {
        Self {
            live: TimeSpan::from_secs(15 * 60),
            recorded: TimeSpan::from_secs(72 * 3_600),
            settle: TimeSpan::from_secs(10),
        }
    }
}

impl LateOptions {
    /// How long what was said is remembered: as late as an event may come, and as far as it may
    /// reach from there, a repair may find the same again.
    pub fn remembered(&self) -> TimeSpan {
        TimeSpan(self.recorded.0.saturating_mul(3))
    }

    /// The tier of what occurred so long ago; `None` is older than any.
    pub fn tier(&self, lateness: TimeSpan) -> Option<Tier> {
        match lateness {
            span if span <= self.live => Some(Tier::Live),
            span if span <= self.recorded => Some(Tier::Recorded),
            _ => None,
        }
    }
}

/// What was found late, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateCounts {
    /// Detections of late events that were told.
    pub live: u64,
    /// … that were kept, and told to nobody.
    pub recorded: u64,
    /// Events too old for any rule.
    pub older: u64,
    /// Events not kept for repair: too many waited.
    pub dropped: u64,
    /// Repairs.
    pub repairs: u64,
    /// Repairs without all that they should have been run with: pruned, or more than a repair may
    /// read.
    pub incomplete: u64,
}

impl LateCounts {
    /// One detection more.
    pub fn count(&mut self, tier: Tier) {
        match tier {
            Tier::Live => self.live += 1,
            Tier::Recorded => self.recorded += 1,
        }
    }
}

/// A repair that is due: what must be read again for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Only what occurred at or after this is needed.
    pub from: EventTime,
    /// First and last delivery of each stretch that can hold such events.
    pub stretches: Vec<(Position, Position)>,
    /// Whether more would have been needed than a repair may read.
    pub cut: bool,
}

/// What is known of one stretch of the log.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    first: u64,
    last: u64,
    least: EventTime,
    greatest: EventTime,
    events: u64,
}

impl Stretch {
    /// Of no delivery.
    pub const NOTHING: Self = Self {
        first: u64::MAX,
        last: 0,
        least: EventTime::MAX,
        greatest: EventTime::MIN,
        events: 0,
    };

    /// Of so many events that stand between two places, and occurred between two times.
    pub fn new(
        (first, last): (Position, Position),
        (least, greatest): (EventTime, EventTime),
        events: u64,
    ) -> Self {
        Self { first: first.0, last: last.0, least, greatest, events }
    }

    /// One event more.
    #[inline(always)]
    pub fn note(&mut self, position: Position, occurred: EventTime) {
        self.first = self.first.min(position.0);
        self.last = self.last.max(position.0);
        self.least = self.least.min(occurred);
        self.greatest = self.greatest.max(occurred);
        self.events += 1;
    }

    fn add(&mut self, more: Self) {
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
        self.least = self.least.min(more.least);
        self.greatest = self.greatest.max(more.greatest);
        self.events += more.events;
    }
}

/// The number of the stretch that a delivery lies in.
#[inline(always)]
pub fn number_of(position: Position) -> u64 {
    position.0 / REACH_BYTES
}

/// Where the stretch of a number ends.
pub fn end_of(number: u64) -> Position {
    Position((number + 1).saturating_mul(REACH_BYTES))
}

/// Late events of all sites.
#[derive(Debug)]
pub struct Late {
    /// The events, judged time and all.
    pub rows: EventBlock,
    /// How far time had come when each of them came.
    came: Vec<EventTime>,
    /// How many of them have been repaired before, and are kept for what may follow them.
    pub repaired: usize,
    due: Option<EventTime>,
    /// Events that the last repair read, and that have come since: repairs cost no more than the
    /// rest, however much comes late.
    read: u64,
    since: u64,
    /// When the last repair was.
    at: EventTime,
    /// When the rulebook took over: nothing before it is judged by it again.
    began: EventTime,
    /// By number. It begins anew again and again, and allocates no more once it was as long as it gets.
    stretches: Vec<(u64, Stretch)>,
    /// The stretch that grows: looked up once, not for each event.
    growing: Option<(u64, Stretch)>,
    /// The figures.
    pub counts: LateCounts,
}

impl Late {
    /// Nothing late yet.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Self {
            rows: EventBlock::new(vocabulary),
            came: Vec::new(),
            repaired: 0,
            due: None,
            read: 0,
            since: 0,
            at: EventTime::MIN,
            began: EventTime::MIN,
            stretches: Vec::with_capacity(STRETCHES),
            growing: None,
            counts: LateCounts::default(),
        }
    }

    /// Another rulebook takes over: what it cannot judge is not repaired.
    pub fn begin(&mut self, vocabulary: &Vocabulary, at: EventTime) {
        self.counts.dropped += (self.rows.len() - self.repaired) as u64;
        self.rows = EventBlock::new(vocabulary);
        self.came.clear();
        (self.repaired, self.due, self.began) = (0, None, at);
    }

    /// Notes where an event stands. What lies further back than twice what may still come late is
    /// forgotten.
    pub fn note(
        &mut self,
        event: EventRef<'_>,
        occurred: EventTime,
        watermark: EventTime,
        recorded: TimeSpan,
    ) {
        let number = number_of(event.position());
        if self.growing() != Some(number) {
            self.go_on(number, watermark.minus(recorded).minus(recorded));
        }
        let mut one = Stretch::NOTHING;
        one.note(event.position(), occurred);
        self.grow(one);
    }

    /// The number of the stretch that grows.
    pub fn growing(&self) -> Option<u64> {
        self.growing.map(|(number, _)| number)
    }

    /// Notes all of what lies in the stretch that grows.
    pub fn grow(&mut self, more: Stretch) {
        self.growing.iter_mut().for_each(|(_, stretch)| stretch.add(more));
    }

    /// Another stretch grows from now on; those that end before a time are forgotten.
    #[inline(never)]
    fn go_on(&mut self, number: u64, forget: EventTime) {
        if let Some((number, stretch)) = self.growing.take() {
            self.put(number, stretch);
        }
        self.stretches.retain(|(_, stretch)| stretch.greatest >= forget);
        let known = self.place(number).map(|place| self.stretches.remove(place).1);
        self.growing = Some((number, known.unwrap_or(Stretch::NOTHING)));
    }

    /// Where the stretch of a number is, or belongs.
    fn place(&self, number: u64) -> Result<usize, usize> {
        self.stretches.binary_search_by_key(&number, |(number, _)| *number)
    }

    fn put(&mut self, number: u64, stretch: Stretch) {
        match self.place(number) {
            Ok(place) => self.stretches[place].1 = stretch,
            Err(place) => self.stretches.insert(place, (number, stretch)),
        }
    }

    /// Keeps a late event until it is repaired; refused, and counted, when too many wait, or the
    /// rulebook was not in force.
    pub fn keep(&mut self, event: EventRef<'_>, came: EventTime, settle: TimeSpan) {
        if self.rows.len() >= LATE_MAX || event.occurred() < self.began {
            self.counts.dropped += 1;
            return;
        }
        self.rows.push_row(event);
        self.came.push(came);
        let due = came.plus(settle);
        self.due = Some(self.due.map_or(due, |other| other.min(due)));
    }

    /// So many events more that are no redeliveries: when a repair is due does not hang on those.
    #[inline]
    pub fn pass(&mut self, events: u64) {
        self.since += events;
    }

    /// No repair is due before this time.
    pub fn due(&self) -> EventTime {
        self.due.unwrap_or(EventTime::MAX)
    }

    /// Whether time has come so far that a repair is due. Where less has come than the last one
    /// read, a millisecond must have passed for each of those events, since somebody waits for it;
    /// in history, where nobody does, a second.
    #[inline]
    pub fn is_due(&self, watermark: EventTime, live: bool) -> bool {
        self.due.is_some_and(|due| due <= watermark) && self.has_rested(watermark, live)
    }

    fn has_rested(&self, watermark: EventTime, live: bool) -> bool {
        let each = if live { 1 } else { 1_000 };
        let rest = TimeSpan::from_millis(self.read as i64 * each);
        self.since >= self.read || watermark.since(self.at) >= rest
    }

    /// A repair has read so many events.
    pub fn has_read(&mut self, events: u64, at: EventTime) {
        (self.read, self.since, self.at) = (events, 0, at);
    }

    /// When the last of them came.
    pub fn came_last(&self) -> EventTime {
        self.came.iter().copied().max().unwrap_or(EventTime::MIN)
    }

    /// What must be read for what occurred from `from` on, newest first where it is too much.
    pub fn needs(&self, from: EventTime, until: EventTime) -> Due {
        let all = self.stretches.iter().chain(&self.growing).map(|(_, stretch)| stretch);
        let mut needed: Vec<&Stretch> =
            all.filter(|s| s.greatest >= from && s.least < until).collect();
        needed.sort_unstable_by_key(|stretch| stretch.greatest);
        let (mut events, mut stretches, mut cut) = (0, Vec::new(), false);
        for stretch in needed.into_iter().rev() {
            events += stretch.events;
            if events > REPAIR_EVENTS_MAX as u64 && !stretches.is_empty() {
                cut = true;
                break;
            }
            stretches.push((Position(stretch.first), Position(stretch.last)));
        }
        stretches.sort_unstable();
        Due { from: from.max(self.began), stretches, cut: cut || from < self.began }
    }

    /// After a repair: keeps those that what is still to come may decide with, and says when.
    pub fn settle(&mut self, until: impl Fn(EventRef<'_>) -> EventTime, watermark: EventTime) {
        let rows = self.rows.take();
        let came = std::mem::take(&mut self.came);
        self.due = None;
        for (row, came) in rows.iter().zip(came) {
            let decided = until(row);
            if decided > watermark {
                self.rows.push_row(row);
                self.came.push(came);
                self.due = self.due.max(Some(decided));
            }
        }
        self.repaired = self.rows.len();
    }

    /// Writes it: little, and all of it each time.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut put = |number: u64| out.extend_from_slice(&number.to_le_bytes());
        put(self.rows.len() as u64);
        put(self.repaired as u64);
        put(u64::from(self.due.is_some()));
        put(self.due.unwrap_or_default().0 as u64);
        [self.began.0 as u64, self.read, self.since, self.at.0 as u64]
            .into_iter()
            .for_each(&mut put);
        for (row, came) in self.rows.iter().zip(&self.came) {
            put(came.0 as u64);
            row.words().iter().for_each(|word| put(*word));
        }
        put((self.stretches.len() + usize::from(self.growing.is_some())) as u64);
        for (number, s) in self.stretches.iter().chain(&self.growing) {
            let (least, greatest) = (s.least.0 as u64, s.greatest.0 as u64);
            [*number, s.first, s.last, least, greatest, s.events].into_iter().for_each(&mut put);
        }
        let c = self.counts;
        [c.live, c.recorded, c.older, c.dropped, c.repairs, c.incomplete]
            .into_iter()
            .for_each(&mut put);
    }

    /// Reads what was written over what is here.
    pub fn load(&mut self, input: &mut Bytes<'_>, stride: usize) -> Option<()> {
        let rows = input.u64()?;
        self.repaired = input.u64()? as usize;
        let due = (input.u64()? == 1, EventTime(input.i64()?));
        self.due = due.0.then_some(due.1);
        self.began = EventTime(input.i64()?);
        (self.read, self.since) = (input.u64()?, input.u64()?);
        self.at = EventTime(input.i64()?);
        self.rows.clear();
        self.came.clear();
        let mut words = vec![0_u64; stride];
        for _ in 0..rows {
            self.came.push(EventTime(input.i64()?));
            for word in &mut words {
                *word = input.u64()?;
            }
            self.rows.push_row(EventRef::from_words(&words));
        }
        self.stretches.clear();
        self.growing = None;
        for _ in 0..input.u64()? {
            let number = input.u64()?;
            let (first, last) = (input.u64()?, input.u64()?);
            let (least, greatest) = (EventTime(input.i64()?), EventTime(input.i64()?));
            let events = input.u64()?;
            self.put(number, Stretch { first, last, least, greatest, events });
        }
        let c = &mut self.counts;
        for count in [
            &mut c.live,
            &mut c.recorded,
            &mut c.older,
            &mut c.dropped,
            &mut c.repairs,
            &mut c.incomplete,
        ] {
            *count = input.u64()?;
        }
        Some(())
    }
}
