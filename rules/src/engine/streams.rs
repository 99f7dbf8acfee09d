//! Input streams and the watermark they make together.

use event::{EventRef, EventTime, SourceId, StreamId, TimeSpan};

/// What is known of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The source that its slack comes from.
    pub source: SourceId,
    /// Greatest occurred time; `MIN` before it spoke.
    pub reached: EventTime,
    /// Drained and silent: the watermark does not wait for it.
    pub idle: bool,
    /// Nothing will follow.
    pub ended: bool,
    /// Its newest event: position, then part. `None` before it spoke.
    pub heard: Option<u64>,
}

/// Where an event stands in the log, in the order of the log.
#[inline]
fn place_of(event: EventRef<'_>) -> u64 {
    event.position().0 << 16 | u64::from(event.part())
}

/// All streams, and the least of what they have reached.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Option<Stream>>,
    slacks: Vec<TimeSpan>,
    watermark: EventTime,
    /// Where ticks count from: the watermark when the last stream fell silent.
    silent_since: Option<EventTime>,
    /// Found anew where another stream begins, moves past it, rests or ends.
    holder: Option<Holder>,
}

/// The stream that holds the watermark: it goes with this one alone, as far as where the next of
/// the others stands.
#[derive(Clone, Copy, Debug)]
struct Holder {
    stream: StreamId,
    slack: TimeSpan,
    others: EventTime,
}

/// Events of one stream, heard one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    id: StreamId,
    /// Whether it holds the watermark, and would go on holding it.
    holds: bool,
    slack: TimeSpan,
    /// When an event may have occurred that is heard so: time goes no further than to where the next of
    /// the others stands, or short of where somebody waits for it to come.
    least: EventTime,
    most: EventTime,
    /// Every event before this time is released; one at it is not.
    pub watermark: EventTime,
    /// The greatest time of those heard.
    pub reached: EventTime,
}

impl Hearing {
    /// How far time has come with one that occurred then; `None` where it changes more than its stream,
    /// and the watermark if the stream holds that.
    #[inline(always)]
    pub fn with(&self, occurred: EventTime) -> Option<EventTime> {
        if !self.holds {
            return Some(self.watermark);
        }
        let own = EventTime(occurred.0.wrapping_sub(self.slack.0));
        (self.least..=self.most).contains(&occurred).then(|| own.max(self.watermark))
    }

    /// The same, after others have been heard by which the stream has come so far: `MIN` by none.
    #[inline(always)]
    pub fn after(mut self, reached: EventTime) -> Option<Self> {
        let watermark = self.with(reached.max(self.least))?;
        self.hear(reached, watermark);
        Some(self)
    }

    /// One that occurred then, with which time has come so far.
    #[inline(always)]
    pub fn hear(&mut self, occurred: EventTime, watermark: EventTime) {
        (self.reached, self.watermark) = (self.reached.max(occurred), watermark);
    }
}

impl Streams {
    /// No stream yet; slack by source.
    pub fn new(slacks: Vec<TimeSpan>) -> Self {
        Self { slacks, watermark: EventTime::MIN, ..Self::default() }
    }

    /// Every event before this time is released; one at it is not.
    #[inline]
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    fn slack(&self, source: SourceId) -> TimeSpan {
        self.slacks.get(source.0 as usize).copied().unwrap_or_default()
    }

    #[inline]
    fn stream(&mut self, id: StreamId, source: SourceId) -> &mut Stream {
        let index = id.0 as usize;
        if index >= self.streams.len() {
            self.streams.resize(index + 1, None);
        }
        let new =
            Stream { source, reached: EventTime::MIN, idle: false, ended: false, heard: None };
        self.streams[index].get_or_insert(new)
    }

    /// A stream begins, or begins again after an end: the watermark waits for it.
    pub fn open(&mut self, id: StreamId, source: SourceId) {
        let stream = self.stream(id, source);
        (stream.source, stream.idle, stream.ended) = (source, false, false);
        self.silent_since = None;
        self.holder = None;
    }

    /// An event of a stream has come, whatever becomes of it; one whose time is known moves its
    /// stream on.
    #[inline(never)]
    pub fn hear(&mut self, event: EventRef<'_>, occurred: Option<EventTime>) {
        let (id, source) = (event.stream(), event.source());
        let stream = self.stream(id, source);
        stream.heard = Some(place_of(event));
        if let Some(occurred) = occurred {
            self.reach(id, source, occurred);
        }
    }

    /// What hearing events of a stream changes, where that is no more than the stream itself, and
    /// the watermark if it holds that, which does not come to `until`.
    pub fn hearing(&self, id: StreamId, until: EventTime) -> Option<Hearing> {
        let stream = self.streams.get(id.0 as usize)?.as_ref()?;
        let holder = self.holder?;
        let holds = holder.stream == id;
        if !holds && (stream.idle || stream.ended || stream.reached == EventTime::MIN) {
            return None;
        }
        let (Holder { slack, others, .. }, watermark) = (holder, self.watermark);
        let most =
            if until == EventTime::MAX { others } else { others.min(EventTime(until.0 - 1)) };
        let (least, most) = (EventTime::MIN.plus(slack), most.plus(slack));
        let hearing = Hearing { id, holds, slack, least, most, watermark, reached: EventTime::MIN };
        (watermark < until).then_some(hearing)
    }

    /// Some events have been heard, the newest of them last.
    pub fn heard(&mut self, hearing: Hearing, newest: EventRef<'_>) {
        let Hearing { id, watermark, reached, .. } = hearing;
        if let Some(Some(stream)) = self.streams.get_mut(id.0 as usize) {
            stream.reached = stream.reached.max(reached);
            stream.heard = Some(place_of(newest));
        }
        (self.watermark, self.silent_since) = (watermark, None);
    }

    /// Whether an event that is read again had come before.
    pub fn has_heard(&self, event: EventRef<'_>) -> bool {
        let stream = self.streams.get(event.stream().0 as usize).copied().flatten();
        stream.and_then(|stream| stream.heard).is_some_and(|newest| place_of(event) <= newest)
    }

    /// A stream is drained and silent.
    pub fn idle(&mut self, id: StreamId, source: SourceId) {
        self.stream(id, source).idle = true;
        self.settle();
    }

    /// A stream has ended.
    pub fn end(&mut self, id: StreamId, source: SourceId) {
        self.stream(id, source).ended = true;
        self.settle();
    }

    /// An event of a stream: moves the watermark when the stream was the one that held it.
    pub fn reach(&mut self, id: StreamId, source: SourceId, occurred: EventTime) {
        self.silent_since = None;
        let stream = self.stream(id, source);
        if stream.idle || stream.ended || stream.reached == EventTime::MIN {
            (stream.source, stream.idle, stream.ended) = (source, false, false);
            stream.reached = stream.reached.max(occurred);
            return self.settle();
        }
        if occurred <= stream.reached {
            return;
        }
        stream.reached = occurred;
        match self.holder {
            Some(holder) if holder.stream != id => {}
            Some(Holder { slack, others, .. }) => {
                let own = occurred.minus(slack);
                if own > others {
                    self.settle();
                } else {
                    self.watermark = self.watermark.max(own);
                }
            }
            None => self.settle(),
        }
    }

    /// An `Advance` record: the stream has reached this time, slack and all.
    pub fn advance(&mut self, id: StreamId, source: SourceId, to: EventTime) {
        let to = to.plus(self.slack(source));
        self.reach(id, source, to);
    }

    /// All streams are silent for `span` since the last record.
    pub fn tick(&mut self, span: TimeSpan) {
        let base = *self.silent_since.get_or_insert(self.watermark);
        if base != EventTime::MIN {
            self.watermark = self.watermark.max(base.plus(span));
        }
    }

    /// Nothing will follow on any stream.
    pub fn finish(&mut self) {
        self.pass(EventTime::MAX);
    }

    /// Time has come so far, whatever the streams say.
    pub fn pass(&mut self, watermark: EventTime) {
        self.watermark = watermark;
    }

    fn settle(&mut self) {
        let waiting = self.streams.iter().enumerate();
        let waiting = waiting.filter_map(|(id, stream)| Some((id, stream.as_ref()?)));
        let (mut holder, mut others) = (None::<(usize, &Stream, EventTime)>, EventTime::MAX);
        for (id, stream) in waiting.filter(|(_, stream)| !stream.idle && !stream.ended) {
            let at = stream.reached.minus(self.slack(stream.source));
            match holder {
                Some((.., least)) if at >= least => others = others.min(at),
                _ => {
                    others = holder.map_or(others, |(.., least)| least);
                    holder = Some((id, stream, at));
                }
            }
        }
        self.holder = holder.map(|(id, stream, _)| {
            let slack = self.slack(stream.source);
            Holder { stream: StreamId(id as u16), slack, others }
        });
        // With nobody to wait for, time stands where the furthest stream left it: ticks, or the
        // end of input, move it on.
        let all = || {
            let reached = self.streams.iter().flatten();
            let reached = reached.filter(|s| s.reached != EventTime::MIN);
            reached.map(|s| s.reached.minus(self.slack(s.source))).max()
        };
        if let Some(least) = holder.map(|(.., least)| least).or_else(all) {
            // It never goes back: a stream that wakes behind it is late.
            self.watermark = self.watermark.max(least);
        }
    }

    /// Other sources from now on: the streams of each go on under its new number; those of one that
    /// is gone have ended.
    pub fn take_over(
        &mut self,
        slacks: Vec<TimeSpan>,
        to: impl Fn(SourceId) -> SourceId,
        gone: SourceId,
    ) {
        self.slacks = slacks;
        for stream in self.streams.iter_mut().flatten() {
            stream.source = to(stream.source);
            stream.ended |= stream.source == gone;
        }
        self.settle();
    }

    /// All streams by id: for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        let indexed = self.streams.iter().enumerate();
        indexed.filter_map(|(id, s)| s.as_ref().map(|s| (StreamId(id as u16), s)))
    }

    /// Sets what a snapshot held.
    pub fn restore(
        &mut self,
        streams: &[(StreamId, Stream)],
        watermark: EventTime,
        silent: Option<EventTime>,
    ) {
        for (id, stream) in streams {
            *self.stream(*id, stream.source) = *stream;
        }
        (self.watermark, self.silent_since, self.holder) = (watermark, silent, None);
    }

    /// Where ticks count from.
    pub fn silent_since(&self) -> Option<EventTime> {
        self.silent_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SourceId = SourceId(0);
    fn at(s: i64) -> EventTime {
        EventTime(s * 1_000_000)
    }

    #[test]
    fn the_slowest_waiting_stream_holds_the_watermark() {
        let mut streams = Streams::new(vec![TimeSpan::from_secs(2)]);
        streams.open(StreamId(0), S);
        streams.open(StreamId(1), S);
        streams.reach(StreamId(0), S, at(10));
        assert_eq!(streams.watermark(), EventTime::MIN, "a stream that has not spoken holds it");
        streams.reach(StreamId(1), S, at(5));
        assert_eq!(streams.watermark(), at(3));
        streams.idle(StreamId(1), S);
        assert_eq!(streams.watermark(), at(8));
        streams.reach(StreamId(1), S, at(4));
        assert_eq!(streams.watermark(), at(8), "it never goes back");
        streams.reach(StreamId(0), S, at(20));
        assert_eq!(streams.watermark(), at(8), "the stream that woke holds it again");
        streams.end(StreamId(1), S);
        assert_eq!(streams.watermark(), at(18));
    }

    #[test]
    fn any_holder_is_the_one_that_a_look_at_all_streams_finds() {
        let mut streams = Streams::new(vec![TimeSpan::from_secs(2), TimeSpan::ZERO]);
        let (mut reached, mut away) = ([EventTime::MIN; 4], [true; 4]);
        let (mut seed, mut expected, mut heard) = (7_u64, EventTime::MIN, 0);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (number, what) = ((seed >> 33) as usize % 4, seed >> 40 & 15);
            let (id, source) = (StreamId(number as u16), SourceId(number as u16 % 2));
            match what {
                0 => (away[number], _) = (true, streams.idle(id, source)),
                1 => (away[number], _) = (true, streams.end(id, source)),
                2 => (away[number], _) = (false, streams.open(id, source)),
                _ => {
                    let to = at((seed >> 50) as i64 % 50 + expected.0.max(0) / 1_000_000 - 10);
                    reached[number] = reached[number].max(to);
                    away[number] = false;
                    let hearing =
                        streams.hearing(id, EventTime::MAX).filter(|_| seed >> 60 & 1 == 1);
                    match hearing.and_then(|hearing| Some((hearing, hearing.with(to)?))) {
                        Some((mut hearing, watermark)) => {
                            hearing.hear(to, watermark);
                            streams.heard(hearing, EventRef::from_words(&[0; 8]));
                            heard += 1;
                        }
                        None => streams.reach(id, source, to),
                    }
                }
            }
            let slack = |n: usize| TimeSpan::from_secs(if n.is_multiple_of(2) { 2 } else { 0 });
            let own = |n: usize| reached[n].minus(slack(n));
            let active = (0..4).filter(|n| !away[*n]).map(own).min();
            let spoke = (0..4).filter(|n| reached[*n] != EventTime::MIN).map(own).max();
            expected = expected.max(active.or(spoke).unwrap_or(EventTime::MIN));
            assert_eq!(streams.watermark(), expected, "seed {seed}");
        }
        assert!(heard > 1_000, "{heard} changed no more than their stream");
    }

    #[test]
    fn ticks_move_time_by_the_silence_never_to_a_clock() {
        let mut streams = Streams::new(vec![TimeSpan::from_secs(2)]);
        streams.reach(StreamId(0), S, at(10));
        streams.idle(StreamId(0), S);
        streams.tick(TimeSpan::from_secs(5));
        assert_eq!(streams.watermark(), at(13));
        streams.tick(TimeSpan::from_secs(6));
        assert_eq!(streams.watermark(), at(14), "spans count from the last record");
        streams.advance(StreamId(0), S, at(30));
        assert_eq!(streams.watermark(), at(30));
    }
}
