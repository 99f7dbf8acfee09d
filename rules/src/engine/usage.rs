//! What facts and rules cost and hold: figures for people, no part of the meaning.

use super::holdings::Holding;
use super::runs::run_bytes;
use super::{ENTRY_BYTES, Engine, KEY_BYTES, Site};

/// What one fact or rule costs and holds, over all sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Events, and changes of levels, that it looked at since the start: what the lists of who is asked
    /// and their gates leave out is no work.
    pub looked: u64,
    /// Conditions that were evaluated for it since the start.
    pub evaluated: u64,
    /// Detections, shadow ones included.
    pub detections: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Detections held back.
    pub suppressed: u64,
    /// Keys held.
    pub keys: u64,
    /// Runs that wait.
    pub runs: u64,
    /// Events held.
    pub events: u64,
    /// Bytes of their cells.
    pub bytes: u64,
    /// Given up at a limit.
    pub given_up: GivenUp,
}

/// What was given up because a limit was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Keys, each with all that hung on it.
    pub keys: u64,
    /// Runs, those of given-up keys included.
    pub runs: u64,
    /// Events, those of given-up keys and runs included.
    pub events: u64,
}

/// What the engine as a whole has given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Keys of facts, rules and incidents.
    pub keys: u64,
    /// Waiting runs.
    pub runs: u64,
    /// Events of windows, guards and evidence.
    pub events: u64,
    /// Identities: a redelivery of one would be an event.
    pub identities: u64,
    /// Events let go before the watermark had passed them.
    pub early: u64,
    /// Incidents let go while they might still have taken something.
    pub incidents: u64,
    /// Detections that were not held back for as long as a policy says.
    pub held: u64,
}

impl Evicted {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_what().iter().map(|(_, count)| count).sum()
    }

    /// By name.
    #[must_use]
    pub fn by_what(&self) -> [(&'static str, u64); 7] {
        [
            ("keys", self.keys),
            ("runs", self.runs),
            ("events", self.events),
            ("identities", self.identities),
            ("early", self.early),
            ("incidents", self.incidents),
            ("held", self.held),
        ]
    }
}

impl Usage {
    /// Work so far: one unit for each event or level looked at, and for each condition evaluated.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.looked + self.evaluated
    }

    /// All figures by name, as the API, `/metrics` and `replay` call them.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 12] {
        [
            ("looked", self.looked),
            ("evaluated", self.evaluated),
            ("detections", self.detections),
            ("incidents", self.incidents),
            ("suppressed", self.suppressed),
            ("keys", self.keys),
            ("runs", self.runs),
            ("events", self.events),
            ("state_bytes", self.bytes),
            ("keys_given_up", self.given_up.keys),
            ("runs_given_up", self.given_up.runs),
            ("events_given_up", self.given_up.events),
        ]
    }

    fn add(&mut self, [looked, evaluated]: [u64; 2], holding: &Holding, run: usize) {
        self.looked += looked;
        self.evaluated += evaluated;
        let [keys, runs, events] = holding.held().map(u64::from);
        self.keys += keys;
        self.runs += runs;
        self.events += events;
        self.bytes += keys * KEY_BYTES as u64 + runs * run as u64;
        self.bytes += events * ENTRY_BYTES as u64;
        self.given_up.add(holding);
    }
}

impl GivenUp {
    fn add(&mut self, holding: &Holding) {
        let [keys, runs, events] = holding.gave;
        self.keys += keys;
        self.runs += runs;
        self.events += events;
    }
}

impl Engine {
    fn every_site(&self) -> impl Iterator<Item = &Site> {
        let sites = self.sites.iter().map(|a| &a.site);
        sites.chain([&self.enterprise])
    }

    /// What was given up because a limit was reached, by what it was.
    #[must_use]
    pub fn evicted(&self) -> Evicted {
        let mut given = GivenUp::default();
        let mut evicted = Evicted::default();
        for site in self.every_site() {
            evicted.early += site.early;
            evicted.incidents += site.correlation.let_go;
            evicted.held += site.unheld;
            let holdings = &site.state.holdings;
            holdings.indexes().for_each(|index| given.add(holdings.get(index)));
        }
        let seen = self.sites.iter().map(|a| a.seen.evicted);
        evicted.identities = seen.sum();
        (evicted.keys, evicted.runs, evicted.events) = (given.keys, given.runs, given.events);
        evicted
    }

    /// What each fact and rule costs and holds, over all sites: the facts, then the rules, in the
    /// order of [`crate::plan::Plan`].
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let facts = self.plan.facts.len();
        let mut all = vec![Usage::default(); facts + self.plan.rules.len()];
        for site in self.every_site() {
            for (number, usage) in all.iter_mut().enumerate() {
                let rule = number.checked_sub(facts).map(|rule| &self.plan.rules[rule]);
                let run = rule.map_or(0, run_bytes);
                usage.add(site.work.of(number), site.state.holdings.get(number as u32), run);
            }
            for (usage, count) in all[facts..].iter_mut().zip(&site.counts) {
                usage.detections += count.detections;
                usage.incidents += count.incidents;
                usage.suppressed += count.suppressed;
            }
        }
        all
    }
}
