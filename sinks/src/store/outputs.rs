//! Outputs on their way to the store.

use std::ops::Range;

use event::EventTime;
use event::identity::TimedId;
use event::incident::{Change, Cited, Detection, Incident, IncidentState, Output, Severity, Tier};

use super::cited::Citing;
use super::{column, document};

/// Outputs, ascending within each site. What opens an incident, as nearly all do, stands here as the
/// store will bind it, in memory that serves again; all else is kept as it is.
#[derive(Debug, Default)]
pub struct Outputs {
    list: Vec<Kept>,
    texts: String,
    documents: Vec<u8>,
    /// Events of the document that is being written.
    citing: Citing,
}

#[derive(Debug)]
enum Kept {
    Opening(Opening),
    Other(Box<Output>),
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'o> {
    Opened(Opened<'o>),
    Other(&'o Output),
}

/// An incident that opens, and the detection that opens it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Of both.
    pub id: TimedId,
    /// The number of the output at its site.
    pub seq: u64,
    /// Whether it comes of what came later than the slack.
    pub late: Option<Tier>,
    /// When the engine had concluded it.
    pub concluded: Option<EventTime>,
    /// Event time.
    pub at: EventTime,
    /// How bad it is.
    pub severity: Severity,
    /// How far the detection verifies it.
    pub verification: u8,
    /// Contributing events that were left out.
    pub omitted: u64,
    /// The site.
    pub site: &'a str,
    /// The rule's id.
    pub rule: &'a str,
    /// What the rule is about.
    pub title: &'a str,
    /// The area, where one is known.
    pub area: Option<&'a str>,
    /// The person, where one is known.
    pub person: Option<&'a str>,
    /// What the rule's state is kept by.
    pub key: &'a str,
    /// Hash of the configuration in force.
    pub config_hash: &'a str,
}

/// Texts of an opening: site, rule, title, area, person, hash of the configuration, feeds.
const TEXTS: usize = 7;

#[derive(Debug)]
struct Opening {
    id: TimedId,
    seq: u64,
    late: Option<Tier>,
    concluded: Option<EventTime>,
    opened_at: EventTime,
    updated_at: EventTime,
    severity: Severity,
    state: IncidentState,
    verification: u8,
    omitted: u64,
    distinct: usize,
    /// Where its texts begin, and where each of them ends.
    start: usize,
    ends: [usize; TEXTS],
    has_area: bool,
    has_person: bool,
    document: Range<usize>,
    links: Vec<TimedId>,
}

/// An opening whose document is being written: its bound values, then its events.
#[derive(Debug)]
pub struct Writing<'o> {
    outputs: &'o mut Outputs,
    opening: Opening,
}

impl Outputs {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.texts.clear();
        self.documents.clear();
    }

    /// Adds an output.
    pub fn push(&mut self, output: Output) {
        let Output { site: _, seq, late, concluded, change } = &output;
        let Change::Opened(incident, detection) = change else {
            self.list.push(Kept::Other(Box::new(output)));
            return;
        };
        let head = Head {
            id: incident.id,
            seq: *seq,
            late: *late,
            concluded: *concluded,
            at: detection.at,
            severity: detection.severity,
            verification: detection.verification,
            omitted: detection.evidence_omitted,
            site: &incident.site,
            rule: &incident.rule,
            title: &incident.title,
            area: incident.area.as_deref(),
            person: incident.person.as_deref(),
            key: &detection.key,
            config_hash: &incident.config_hash,
        };
        let mut writing = self.open(&head, detection.why.len());
        writing.of(incident);
        detection.why.iter().for_each(|(label, value)| writing.why(label, value));
        writing.events(detection.events.len());
        detection.events.iter().for_each(|event| event.cited(|event| writing.event(event)));
        writing.end();
    }

    /// Begins an output by which an incident opens that was never seen, with so many bound values.
    pub fn open(&mut self, head: &Head<'_>, values: usize) -> Writing<'_> {
        let (start, mut ends) = (self.texts.len(), [0; TEXTS]);
        let (area, person) = (head.area.unwrap_or_default(), head.person.unwrap_or_default());
        let texts = [head.site, head.rule, head.title, area, person, head.config_hash];
        for (end, text) in ends.iter_mut().zip(texts) {
            self.texts.push_str(text);
            *end = self.texts.len();
        }
        let from = self.documents.len();
        document::begin((head.severity, head.late, head.omitted, head.key), &mut self.documents);
        document::number(values as u64, &mut self.documents);
        self.citing.begin();
        let opening = Opening {
            id: head.id,
            seq: head.seq,
            late: head.late,
            concluded: head.concluded,
            opened_at: head.at,
            updated_at: head.at,
            severity: head.severity,
            state: IncidentState::Active,
            verification: head.verification,
            omitted: head.omitted,
            distinct: 0,
            start,
            ends,
            has_area: head.area.is_some(),
            has_person: head.person.is_some(),
            document: from..from,
            links: Vec::new(),
        };
        Writing { outputs: self, opening }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Told<'_>> {
        self.list.iter().map(|kept| match kept {
            Kept::Opening(opening) => Told::Opened(Opened { outputs: self, opening }),
            Kept::Other(output) => Told::Other(output),
        })
    }
}

impl Extend<Output> for Outputs {
    fn extend<T: IntoIterator<Item = Output>>(&mut self, outputs: T) {
        outputs.into_iter().for_each(|output| self.push(output));
    }
}

impl Writing<'_> {
    /// Goes by what is known of the incident beside.
    fn of(&mut self, incident: &Incident) {
        let opening = &mut self.opening;
        opening.severity = opening.severity.max(incident.severity);
        opening.updated_at = opening.updated_at.max(incident.updated_at);
        opening.opened_at = incident.opened_at;
        opening.state = incident.state;
        opening.links.clone_from(&incident.links);
    }

    /// A bound value.
    pub fn why(&mut self, label: &str, value: &str) {
        document::text(label, &mut self.outputs.documents);
        document::text(value, &mut self.outputs.documents);
    }

    /// So many events follow.
    pub fn events(&mut self, count: usize) {
        document::number(count as u64, &mut self.outputs.documents);
    }

    /// An event, the trigger last.
    pub fn event(&mut self, event: &Cited<'_>) {
        let Outputs { texts, documents, citing, .. } = &mut *self.outputs;
        self.opening.distinct += usize::from(citing.event(event, documents));
        let feeds = &texts[self.opening.ends[TEXTS - 2]..];
        let feed = event.said.feed;
        if feeds != feed && !column::feeds(feeds).any(|known| known == feed) {
            if !feeds.is_empty() {
                texts.push('\n');
            }
            texts.push_str(feed);
        }
    }

    /// That was all.
    pub fn end(self) {
        let Self { outputs, mut opening } = self;
        let from = opening.ends[TEXTS - 2];
        if outputs.texts[from..].contains('\n') {
            let feeds = column::of_feeds(column::feeds(&outputs.texts[from..]).collect());
            outputs.texts.truncate(from);
            outputs.texts.push_str(&feeds);
        }
        opening.ends[TEXTS - 1] = outputs.texts.len();
        opening.document.end = outputs.documents.len();
        outputs.list.push(Kept::Opening(opening));
    }
}

/// An output by which an incident opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened<'o> {
    outputs: &'o Outputs,
    opening: &'o Opening,
}

impl<'o> Opened<'o> {
    fn text(self, nth: usize) -> &'o str {
        let Opening { start, ends, .. } = self.opening;
        let from = nth.checked_sub(1).map_or(*start, |before| ends[before]);
        &self.outputs.texts[from..ends[nth]]
    }

    pub(super) fn id(self) -> TimedId {
        self.opening.id
    }

    pub(super) fn seq(self) -> u64 {
        self.opening.seq
    }

    pub(super) fn late(self) -> Option<Tier> {
        self.opening.late
    }

    pub(super) fn concluded(self) -> Option<EventTime> {
        self.opening.concluded
    }

    pub(super) fn opened_at(self) -> EventTime {
        self.opening.opened_at
    }

    pub(super) fn updated_at(self) -> EventTime {
        self.opening.updated_at
    }

    pub(super) fn severity(self) -> Severity {
        self.opening.severity
    }

    pub(super) fn state(self) -> IncidentState {
        self.opening.state
    }

    pub(super) fn verification(self) -> u8 {
        self.opening.verification
    }

    pub(super) fn omitted(self) -> u64 {
        self.opening.omitted
    }

    /// Its different events.
    pub(super) fn distinct(self) -> usize {
        self.opening.distinct
    }

    pub(super) fn links(self) -> &'o [TimedId] {
        &self.opening.links
    }

    pub(super) fn site(self) -> &'o str {
        self.text(0)
    }

    pub(super) fn rule(self) -> &'o str {
        self.text(1)
    }

    pub(super) fn title(self) -> &'o str {
        self.text(2)
    }

    pub(super) fn area(self) -> Option<&'o str> {
        self.opening.has_area.then(|| self.text(3))
    }

    pub(super) fn person(self) -> Option<&'o str> {
        self.opening.has_person.then(|| self.text(4))
    }

    pub(super) fn config_hash(self) -> &'o str {
        self.text(5)
    }

    pub(super) fn feeds(self) -> &'o str {
        self.text(6)
    }

    pub(super) fn document(self) -> &'o [u8] {
        &self.outputs.documents[self.opening.document.clone()]
    }

    /// The detection, in words.
    pub(super) fn detection(self) -> Detection {
        let Some(document) = document::read(self.document()) else {
            unreachable!("a document was written above")
        };
        Detection {
            id: self.id(),
            rule: self.rule().to_owned(),
            title: self.title().to_owned(),
            severity: document.severity,
            site: self.site().to_owned(),
            area: self.area().map(str::to_owned),
            person: self.person().map(str::to_owned),
            key: document.key,
            at: self.opened_at(),
            events: document.events,
            evidence_omitted: document.evidence_omitted,
            why: document.why,
            incident: Some(self.id()),
            verification: self.verification(),
            late: document.late,
        }
    }
}
