//! What is sent: lines with the time that each of them brings the site to, and the places at which
//! an incident can first be known.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, bail};
use event::{EventBlock, EventTime, Position, RecordBlock, RecordKind, RecordRef, TimeSpan};
use ingest::decode::Outcome;
use workload::badges::Badges;

use crate::setup::Setup;

/// Lines decoded at once.
const BLOCK: usize = 1_000;

/// Lines to be sent, in order.
pub struct Traffic {
    text: String,
    /// Where each line ends, its line feed included.
    ends: Vec<usize>,
    /// The greatest event time of all lines up to each.
    reached: Vec<EventTime>,
    /// The sites that are spoken of.
    pub sites: BTreeSet<String>,
    slack: TimeSpan,
}

impl Traffic {
    /// The badges of the ten rules' benchmark: the same seed gives the same bytes.
    pub fn badges(setup: &Setup, seed: u64, count: usize) -> anyhow::Result<Self> {
        let mut badges = Badges::new(seed);
        let mut text = String::with_capacity(count * 160);
        (0..count).for_each(|_| badges.line(&mut text));
        Self::read(setup, text)
    }

    /// The first lines of a file.
    pub fn file(setup: &Setup, path: &Path, count: usize) -> anyhow::Result<Self> {
        let all = std::fs::read_to_string(path)
            .with_context(|| format!("--traffic {}: give a file of NDJSON", path.display()))?;
        let lines = all.lines().filter(|line| !line.trim().is_empty()).take(count);
        let text = lines.fold(String::new(), |text, line| text + line.trim() + "\n");
        Self::read(setup, text)
    }

    fn read(setup: &Setup, text: String) -> anyhow::Result<Self> {
        let Some(source) = setup.config.sources.first() else { bail!("no source is configured") };
        let (mut ends, mut reached) = (Vec::new(), Vec::new());
        let (mut sites, mut at) = (BTreeSet::new(), EventTime::MIN);
        let (mut decoder, mut events) = (setup.decoder()?, EventBlock::new(&setup.vocabulary));
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for block in lines.chunks(BLOCK) {
            events.clear();
            for record in records(block).iter() {
                let known = events.len();
                let outcome = decoder.decode(&record, &mut events);
                if let Outcome::Rejected(reason) = outcome {
                    bail!(
                        "line {} of the traffic is refused by the configuration ({}): give traffic \
                         with --traffic FILE that its first source's mapping reads",
                        reached.len() + 1,
                        reason.as_str(),
                    );
                }
                for row in (known..events.len()).map(|n| events.get(n)) {
                    at = at.max(row.occurred());
                    let site = setup.interner.text(row.site());
                    if !sites.contains(site) {
                        sites.insert(site.to_owned());
                    }
                }
                reached.push(at);
            }
            ends.extend(block.iter().scan(ends.last().copied().unwrap_or(0), |end, line| {
                *end += line.len();
                Some(*end)
            }));
        }
        if ends.is_empty() {
            bail!("there is no traffic: give a file with lines, or a higher --rate or --seconds");
        }
        Ok(Self { text, ends, reached, sites, slack: source.slack })
    }

    /// Lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of some lines.
    pub fn bytes(&self, lines: Range<usize>) -> &[u8] {
        let start = lines.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = lines.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.text.as_bytes()[start..end]
    }

    /// The event time of the last of so many lines.
    pub fn until(&self, count: usize) -> EventTime {
        self.reached[count - 1]
    }

    /// Which line lets the site know what happened, or was due, at a time: the first that brings it
    /// further than that by more than the slack. `None`: none of the first `count` does.
    pub fn known_by(&self, at: EventTime, count: usize) -> Option<usize> {
        let line = self.reached[..count].partition_point(|t| t.since(at) <= self.slack);
        (line < count).then_some(line)
    }
}

fn records(lines: &[&str]) -> RecordBlock {
    let mut block = RecordBlock::new();
    for line in lines {
        block.push(&RecordRef::plain(
            RecordKind::Delivery,
            Position(0),
            line.trim_end().as_bytes(),
        ));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_can_be_known_when_an_event_is_further_by_more_than_the_slack() {
        let reached = [0, 10, 10, 20, 30].map(EventTime).to_vec();
        let (text, ends) = ("a\nb\nc\nd\ne\n".to_owned(), vec![2, 4, 6, 8, 10]);
        let traffic = Traffic { text, ends, reached, sites: BTreeSet::new(), slack: TimeSpan(10) };
        assert_eq!(traffic.known_by(EventTime(-1), 5), Some(1));
        assert_eq!(traffic.known_by(EventTime(0), 5), Some(3), "exactly the slack is not enough");
        assert_eq!(traffic.known_by(EventTime(19), 5), Some(4));
        assert_eq!(traffic.known_by(EventTime(19), 4), None, "the event is not sent");
        assert_eq!(traffic.known_by(EventTime(20), 5), None);
        assert_eq!(traffic.bytes(1..3), b"b\nc\n");
        assert_eq!((traffic.bytes(0..0), traffic.bytes(0..5)), (&b""[..], traffic.text.as_bytes()));
    }
}
