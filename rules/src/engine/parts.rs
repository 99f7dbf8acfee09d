//! The work of one engine, done by several: some judge the sites, each its share of them, and one
//! judges what those forward. What they find together is what one finds alone.
//!
//! Whoever runs them feeds all inputs to each of the sites' engines, in the same order, of events each engine its share
//! of them ([`super::shares`]); now and then lets each of them forward, and lets the enterprise's settle what they all forwarded at one place.

use std::ops::AddAssign;
use std::sync::Arc;

use event::Interner;

use super::merge::{AT_SITES, Forwarded, Merge};
use super::reorder::Rows;
use super::{Engine, Evicted, Findings, GivenUp, LateCounts, Options, Usage};
use crate::plan::Plan;

/// Which share of the work an engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The sites whose events it is given. What the enterprise needs of them is kept for it.
    Sites {
        /// Which of the engines that share the sites it is.
        number: usize,
    },
    /// The rules over all sites.
    Enterprise,
}

/// Where a site stands among those that an engine judges.
pub(super) type Place = u32;

impl Part {
    /// Whether it counts what is of no site.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Whole | Self::Sites { number: 0 })
    }
}

impl Engine {
    /// An engine that does a part of the work.
    #[must_use]
    pub fn part(plan: Arc<Plan>, interner: Arc<Interner>, options: Options, part: Part) -> Self {
        let mut engine = Self::new(plan, interner, options);
        engine.part = part;
        if part != Part::Whole {
            engine.rows.push(Rows::new(engine.stride, engine.interner.clone()));
            engine.merge = Merge::new(AT_SITES + 1);
        }
        engine
    }

    /// Hands over what this one's sites forwarded, with the time they reached.
    pub fn forward(&mut self, to: &mut Forwarded) {
        self.merge.forward(&mut self.rows, to);
        to.watermark = self.streams.watermark();
    }

    /// Judges for all sites what each part of them has handed over, all of the same time.
    pub fn settle(&mut self, forwarded: &mut [Forwarded], out: &mut Findings) {
        let new = || Rows::new(self.stride, self.interner.clone());
        self.rows.resize_with(AT_SITES + 1 + forwarded.len(), new);
        forwarded.iter().for_each(|from| self.streams.pass(from.watermark));
        self.merge.take_over(&mut self.rows, forwarded);
        self.release(out);
    }

    /// Whether something came that only an engine of the whole can judge as it should: something
    /// late, or more than may wait. What the parts have found is void then.
    #[must_use]
    pub fn needs_whole(&self) -> bool {
        let late = self.books.iter().any(|books| books.late > 0);
        late || self.evicted().early > 0 || self.merge.len() > self.options.waiting_max
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.looked += other.looked;
        self.evaluated += other.evaluated;
        self.detections += other.detections;
        self.incidents += other.incidents;
        self.suppressed += other.suppressed;
        self.keys += other.keys;
        self.runs += other.runs;
        self.events += other.events;
        self.bytes += other.bytes;
        self.given_up += other.given_up;
    }
}

impl AddAssign for GivenUp {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.runs += other.runs;
        self.events += other.events;
    }
}

impl AddAssign for LateCounts {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.recorded += other.recorded;
        self.older += other.older;
        self.dropped += other.dropped;
        self.repairs += other.repairs;
        self.incomplete += other.incomplete;
    }
}

impl AddAssign for Evicted {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.runs += other.runs;
        self.events += other.events;
        self.identities += other.identities;
        self.early += other.early;
        self.incidents += other.incidents;
        self.held += other.held;
    }
}
