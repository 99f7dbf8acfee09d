//! Events dealt out to the engines that share the sites ([`super::Part::Sites`]): each gets those of its own sites
//! alone, and how far their stream had come before each of them. So none looks at what another judges, and time is
//! for each event where it would be for one engine.

use event::streaming::{Processor, replace_past_caches};
use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventTime, SourceId, StreamId, Symbol, TimeSpan, Vocabulary};
use hashbrown::HashMap;

use super::Options;
use super::admission::{NEAR, is_skewed};

/// What is one engine's of some events of one stream.
#[derive(Debug)]
pub struct Share {
    pub(super) events: EventBlock,
    /// How far the stream had come before each, by all that were dealt out with it: `MIN` by none.
    pub(super) before: Vec<EventTime>,
    pub(super) after: Option<After>,
}

/// How far a stream has come with all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    pub stream: StreamId,
    pub source: SourceId,
    pub reached: EventTime,
}

impl Share {
    /// Nothing, of rows of a vocabulary.
    #[must_use]
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Self { events: EventBlock::new(vocabulary), before: Vec::new(), after: None }
    }
}

/// Which engine's a site is.
type Owner = (Symbol, usize);

/// One thread's: deals out what it has decoded.
pub struct Dealer {
    skew_max: Option<TimeSpan>,
    /// Those that were asked for last, by the low bits of the symbol.
    near: [Owner; NEAR],
    owners: HashMap<Symbol, usize, foldhash::fast::FixedState>,
    hands: Vec<Hand>,
}

/// What is one engine's: the numbers of its rows, and how far the stream had come before each. There is room for more:
/// who deals one after the other never has to look for memory between.
#[derive(Clone, Default)]
struct Hand {
    many: usize,
    rows: Vec<u32>,
    before: Vec<EventTime>,
}

impl Hand {
    fn clear_for(&mut self, most: usize) {
        self.many = 0;
        if self.rows.len() < most {
            self.rows.resize(most, 0);
            self.before.resize(most, EventTime::MIN);
        }
    }

    #[inline(always)]
    fn take(&mut self, number: u32, reached: EventTime) {
        (self.rows[self.many], self.before[self.many]) = (number, reached);
        self.many += 1;
    }
}

impl Dealer {
    /// For so many engines that admit events in this way.
    #[must_use]
    pub fn new(engines: usize, options: &Options) -> Self {
        Self {
            skew_max: options.skew_max(),
            near: [(Symbol(u32::MAX), 0); NEAR],
            owners: HashMap::default(),
            hands: vec![Hand::default(); engines],
        }
    }

    /// Puts copies of events of one stream into the place of what was in the shares, one for each engine: `own` for this
    /// thread, all others for threads on other processors. Whose a site is that it has not met it asks once. Panics where
    /// they are of two streams.
    pub fn deal(
        &mut self,
        events: &EventBlock,
        shares: &mut [Share],
        own: usize,
        mut owner_of: impl FnMut(Symbol) -> usize,
    ) {
        self.hands.iter_mut().for_each(|hand| hand.clear_for(events.len()));
        let first = (!events.is_empty()).then(|| events.get(0));
        let origin = first.map_or(0, |first| first.origin());
        let mut reached = EventTime::MIN;
        for (number, row) in (0..).zip(events.rows(0..events.len())) {
            let head = row.head();
            assert!(head.origin() == origin, "events of one stream");
            if head.kind() == KIND_ADVANCE {
                // It moves time alone, for each of them.
                self.hands.iter_mut().for_each(|hand| hand.take(number, reached));
                continue;
            }
            let owner = self.owner(head.site(), &mut owner_of);
            self.hands[owner].take(number, reached);
            if self.skew_max.is_none_or(|max| !is_skewed(head, max)) {
                reached = reached.max(head.occurred());
            }
        }
        let after = first.filter(|_| reached > EventTime::MIN);
        let after = after.map(|e| After { stream: e.stream(), source: e.source(), reached });
        for (owner, (hand, share)) in self.hands.iter().zip(shares).enumerate() {
            let (rows, before) = (&hand.rows[..hand.many], &hand.before[..hand.many]);
            let processor = if owner == own { Processor::This } else { Processor::Other };
            share.events.clear();
            share.events.hand_over(events, rows, processor);
            match processor {
                Processor::This => {
                    share.before.clear();
                    share.before.extend_from_slice(before);
                }
                Processor::Other => replace_past_caches(before, &mut share.before),
            }
            share.after = after;
        }
    }

    #[inline(always)]
    fn owner(&mut self, site: Symbol, owner_of: impl FnMut(Symbol) -> usize) -> usize {
        let (known, owner) = self.near[site.0 as usize % NEAR];
        if known == site { owner } else { self.find_owner(site, owner_of) }
    }

    #[inline(never)]
    fn find_owner(&mut self, site: Symbol, mut owner_of: impl FnMut(Symbol) -> usize) -> usize {
        let owner = *self.owners.entry(site).or_insert_with(|| owner_of(site));
        self.near[site.0 as usize % NEAR] = (site, owner);
        owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{EventFlags, Position};

    /// Each gets its own in order, and hears of all; what moves time alone is everyone's, and a clock that is off says
    /// nothing of it.
    #[test]
    fn each_engine_gets_its_own_and_hears_of_all() {
        let vocabulary = Vocabulary::default();
        let kind = vocabulary.kind_named("AccessGranted").expect("a kind");
        let live = Options {
            live: true,
            clock_skew_max: Some(TimeSpan::from_secs(1)),
            ..Options::default()
        };
        let mut dealer = Dealer::new(3, &live);
        let mut shares: Vec<_> = (0..3).map(|_| Share::new(&vocabulary)).collect();
        let mut events = EventBlock::new(&vocabulary);
        // Site and second; a site of 0 moves time alone.
        let mut made = |those: &[(u32, i64)]| {
            events.clear();
            for (place, (site, at)) in those.iter().enumerate() {
                let (at, mut row) = (EventTime(at * 1_000_000), events.push());
                let kind = if *site == 0 { KIND_ADVANCE } else { kind };
                let off = if at.0 > 90_000_000 { 5_000_000 } else { 0 };
                row.times(at, EventTime(at.0 - off));
                row.class(kind, EventFlags::default(), StreamId(7), SourceId(2));
                row.place(Symbol(*site), Symbol(place as u32));
                row.position(Position(place as u64), 0);
            }
            let mut asked = Vec::new();
            dealer.deal(&events, &mut shares, 1, |site| {
                asked.push(site.0);
                site.0 as usize % 2
            });
            let seconds =
                |at: &EventTime| if *at == EventTime::MIN { -1 } else { at.0 / 1_000_000 };
            let share = |share: &Share| {
                let rows: Vec<_> = share.events.iter().map(|row| row.device().0).collect();
                let after = share.after.map_or(-1, |after| {
                    assert_eq!((after.stream, after.source), (StreamId(7), SourceId(2)));
                    seconds(&after.reached)
                });
                (rows, share.before.iter().map(seconds).collect::<Vec<_>>(), after)
            };
            (asked, shares.iter().map(share).collect::<Vec<_>>())
        };
        let first = made(&[(65, 5), (64, 3), (1, 4), (0, 50), (2, 99), (65, 6), (4, 7)]);
        let even = (vec![1, 3, 4, 6], vec![5, 5, 5, 6], 7);
        let odd = (vec![0, 2, 3, 5], vec![-1, 5, 5, 5], 7);
        assert_eq!(first, (vec![65, 64, 1, 2, 4], vec![even, odd, (vec![3], vec![5], 7)]));
        let none = (Vec::new(), Vec::new(), 1);
        let second = made(&[(64, 1)]);
        assert_eq!(second, (Vec::new(), vec![(vec![0], vec![-1], 1), none.clone(), none]));
        assert!(made(&[]).1.iter().all(|(rows, _, after)| rows.is_empty() && *after == -1));
    }
}
