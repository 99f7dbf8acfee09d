//! `explain`: what a rule compiles to; why an incident is one; why a rule kept silent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use event::config::did_you_mean;
use event::identity::TimedId;
use event::{EventBlock, Identity, Interner, Position, RecordBlock, RecordKind};
use ingest::decode::{Decoder, Outcome};
use rules::engine::findings::Effect;
use rules::engine::{EvidenceRef, Findings};
use rules::plan::{Plan, RuleId};
use rules::probe::{Answered, Asked, Line, Probe, Sighting, mention};
use serde_json::{Value, json};

use crate::history::{self, History, HistoryArgs};
use crate::live::epoch::Epoch;
use crate::live::rulebooks::Kept;
use crate::pipeline::Pipeline;
use crate::render::{self, Evidences as _};
use crate::setup::Setup;

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Why an incident is one: its detections, event by event.
    #[arg(long, value_name = "INCIDENT", conflicts_with = "why_not")]
    pub why: Option<String>,
    /// Why a rule kept silent about an event.
    #[arg(long, value_name = "RULE", requires = "event")]
    pub why_not: Option<String>,
    /// The event, as evidence names it (feed/device/id), or the end of that.
    #[arg(long, value_name = "ID", requires = "why_not")]
    pub event: Option<String>,
    /// Folder of log and store, of a program that runs or has run; it is only read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The rule whose plan is told, all rules where none is named; with --why and --why-not the
    /// recorded files, where --data names no folder.
    #[arg(value_name = "RULE | FILE")]
    pub rest: Vec<String>,
}

/// Runs the command.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let files: Vec<PathBuf> = args.rest.iter().map(PathBuf::from).collect();
    let from = HistoryArgs { data: args.data.clone(), files };
    let asked = args.why.is_some() || args.why_not.is_some();
    if !asked {
        let setup = Setup::load(&args.config)?;
        return plans(&setup, args.rest.first().map(String::as_str));
    }
    let beside = history::beside(&from.files);
    let setup = Setup::load_with(&args.config, Interner::shared(), &beside)?;
    let mut past = Past::open(&setup, &from)?;
    let then = past.in_force(args)?;
    // What was in force is asked, and the configuration given only where that was not kept.
    let kept = match (&from.data, then) {
        (Some(data), Some(hash)) if hash != setup.hash => {
            let dir = data.join("rulebooks");
            let kept = Kept { dir: &dir, interner: &Interner::shared() }.load(&hash);
            if kept.is_err() {
                past.notes.push(format!(
                    "the configuration then in force was {}, and is not kept: this is what the one \
                     given would do",
                    short(&hash)
                ));
            }
            kept.ok()
        }
        _ => None,
    };
    if let Some(kept) = &kept {
        past = Past::open(kept, &from)?;
        past.notes.push("the configuration given is another: this is the one then in force".into());
    }
    let told = match (&args.why, &args.why_not, &args.event) {
        (Some(incident), ..) => past.why(incident)?,
        (_, Some(rule), Some(event)) => past.why_not(rule, event)?,
        _ => bail!("name the event with --event"),
    };
    if args.json {
        println!("{:#}", told.json());
    } else {
        print!("{}", told.text());
    }
    Ok(())
}

/// A hash, as far as people compare it.
fn short(hash: &str) -> &str {
    &hash[..12.min(hash.len())]
}

/// What rules compile to.
fn plans(setup: &Setup, rule: Option<&str>) -> anyhow::Result<()> {
    let rules = setup.plan.rules.iter().enumerate();
    let chosen = rules.filter(|(_, known)| rule.is_none_or(|rule| rule == known.id));
    let mut texts = chosen.map(|(number, _)| {
        rules::explain::explain(&setup.plan, &setup.interner, RuleId(number as u16))
    });
    let Some(first) = texts.next() else {
        return rule_named(&setup.plan, rule.unwrap_or_default()).map(drop);
    };
    print!("{first}");
    texts.for_each(|text| print!("\n{text}"));
    Ok(())
}

fn rule_named(plan: &Plan, name: &str) -> anyhow::Result<RuleId> {
    if let Some(number) = plan.rules.iter().position(|rule| rule.id == name) {
        return Ok(RuleId(number as u16));
    }
    let help = did_you_mean(name, plan.rules.iter().map(|rule| rule.id.as_str()));
    bail!("no rule `{name}`; {}", help.unwrap_or_default())
}

/// An answer, with every event called by its id.
struct Told {
    head: Vec<String>,
    sections: Vec<(String, Vec<Line>)>,
    json: Value,
}

/// History, and the configuration it is run under.
struct Past<'a> {
    setup: &'a Setup,
    from: &'a HistoryArgs,
    decoder: Decoder,
    /// Since when the engine has run on the data folder, and under which configurations.
    epoch: Option<Epoch>,
    notes: Vec<String>,
}

/// One detection of the incident that is asked for.
struct Detected {
    id: TimedId,
    rule: RuleId,
    opens: bool,
    evidence: Vec<EvidenceRef>,
    omitted: u32,
    key: String,
}

/// An event that was asked for.
struct Found {
    id: String,
    position: Position,
    identity: Identity,
    kind: String,
    site: String,
    occurred: event::EventTime,
}

impl<'a> Past<'a> {
    fn open(setup: &'a Setup, from: &'a HistoryArgs) -> anyhow::Result<Self> {
        let epoch = match &from.data {
            Some(data) => Epoch::load(&data.join("epoch.json"))?,
            None => None,
        };
        Ok(Self { setup, from, decoder: setup.decoder()?, epoch, notes: Vec::new() })
    }

    /// The configuration that judged what is asked about, by its hash; `None` where nobody knows.
    fn in_force(&mut self, args: &ExplainArgs) -> anyhow::Result<Option<String>> {
        let Some(epoch) = self.epoch.clone() else { return Ok(None) };
        if let Some(event) = &args.event {
            return Ok(Some(epoch.at(self.find(event)?.position).config.clone()));
        }
        let id = args.why.as_deref().and_then(TimedId::parse);
        if let (Some(id), Some(data)) = (id, &self.from.data) {
            let store = data.join(&self.setup.config.store);
            let told = sinks::Reader::open(store).and_then(|store| store.incident(id));
            if let Ok(Some(told)) = told {
                return Ok(Some(told.incident.config_hash));
            }
        }
        Ok(epoch.reigns.last().map(|reign| reign.config.clone()))
    }

    fn history(&mut self) -> anyhow::Result<History> {
        let mut history = History::open(self.setup, self.from)?;
        let took_over = self
            .epoch
            .as_ref()
            .map_or(0, |epoch| epoch.reigns.iter().filter(|reign| reign.from > epoch.from).count());
        if took_over > 0 {
            let note = format!(
                "{took_over} configurations took over since the engine began: all of history is \
                 judged by this one here"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        if let Some(begins) = self.epoch.as_ref().map(|epoch| epoch.from)
            && !history.seek(begins)?
        {
            let note = "the log no longer reaches back to where this configuration began: what \
                 was known from before is not known here";
            if !self.notes.iter().any(|known| known == note) {
                self.notes.push(note.to_owned());
            }
        }
        Ok(history)
    }

    /// Runs the history with a probe to its end; what waits then, for a rule.
    fn probe(&mut self, probe: Probe) -> anyhow::Result<(Probe, Pipeline, History)> {
        let mut history = self.history()?;
        let mut pipeline = Pipeline::new(self.setup, 1)?;
        let mut findings = Findings::probed(probe);
        history.walk(&mut pipeline, &mut findings, |_| {}, |_, _| Ok(true))?;
        let probe = findings.probe_mut().map(std::mem::take).unwrap_or_default();
        Ok((probe, pipeline, history))
    }

    fn why_not(&mut self, rule: &str, wanted: &str) -> anyhow::Result<Told> {
        let rule = rule_named(&self.setup.plan, rule)?;
        let event = self.find(wanted)?;
        let plan = &self.setup.plan;
        let mut rules: Vec<RuleId> = vec![rule];
        // A rule over detections hears others: what they made of the event is part of the answer.
        let heard = |other: &RuleId| {
            plan.rules[rule.0 as usize].kinds().contains(&plan.detection_kind(*other))
        };
        rules.extend((0..plan.rules.len() as u16).map(RuleId).filter(heard));
        let probe = Probe::of(&rules, plan.rules.len(), [event.identity]);
        let (probe, pipeline, mut history) = self.probe(probe)?;
        let plan = &self.setup.plan;
        let waiting = pipeline.engine.waiting(rule);
        let interner = &self.setup.interner;
        let until = pipeline.engine.watermark();
        let asked = Asked { plan, interner, rule, waiting: &waiting, until };
        let answer = asked.answer(&probe, event.identity);
        let names = self.names(&probe, &mut history)?;
        let id = &plan.rules[rule.0 as usize].id;
        let (answered, word) = match answer.answered {
            Answered::Fired => ("fired", format!("{id} spoke of {}", event.id)),
            Answered::Waits => ("waits", format!("{id} has not decided about {} yet", event.id)),
            Answered::Silent => ("silent", format!("{id} kept silent about {}", event.id)),
        };
        let title = match answer.answered {
            Answered::Waits => "what waits",
            _ => "why not",
        };
        let mut sections = Vec::new();
        if !answer.reasons.is_empty() {
            sections.push((title.to_owned(), answer.reasons));
        }
        sections.push(("what was seen".to_owned(), answer.seen));
        for other in &rules[1..] {
            let waiting = pipeline.engine.waiting(*other);
            let asked = Asked { plan, interner, rule: *other, waiting: &waiting, until };
            let answer = asked.answer(&probe, event.identity);
            let id = &plan.rules[other.0 as usize].id;
            let lines =
                if answer.answered == Answered::Fired { answer.seen } else { answer.reasons };
            sections.push((format!("{id}, which it hears"), lines));
        }
        sections.iter_mut().for_each(|(_, lines)| rename(lines, &names));
        let head = format!(
            "{}, {} at {}, configuration {}",
            event.kind,
            event.occurred,
            event.site,
            short(&self.setup.hash)
        );
        let json = json!({
            "rule": id,
            "event": event.id,
            "kind": event.kind,
            "answer": answered,
            "configuration": self.setup.hash,
        });
        Ok(Told { head: self.head(vec![word, head]), sections, json })
    }

    fn why(&mut self, wanted: &str) -> anyhow::Result<Told> {
        let (incident, detected) = self.detections(wanted)?;
        let plan = &self.setup.plan;
        let rules: Vec<RuleId> = detected.iter().map(|one| one.rule).collect();
        let events = detected.iter().flat_map(|one| &one.evidence).map(|one| one.identity);
        let probe = Probe::of(&rules, plan.rules.len(), events);
        let (probe, pipeline, mut history) = self.probe(probe)?;
        let until = pipeline.engine.watermark();
        let plan = &self.setup.plan;
        let names = self.names(&probe, &mut history)?;
        let mut sections = Vec::new();
        for one in &detected {
            let rule = &plan.rules[one.rule.0 as usize];
            let interner = &self.setup.interner;
            let asked = Asked { plan, interner, rule: one.rule, waiting: &[], until };
            let of_one = |sighting: &&Sighting| {
                let cites = sighting.event.is_some_and(|cause| {
                    one.evidence.iter().any(|e| e.identity == cause.identity)
                        || cause.kind.0 as usize >= plan.vocabulary.kinds().len()
                });
                let spoke = sighting.spoke.iter().any(|spoke| spoke.id == one.id);
                sighting.rule == one.rule && (cites || spoke)
            };
            let own: Vec<&Sighting> = probe.sightings.iter().filter(of_one).collect();
            let mut lines: Vec<Line> = Vec::new();
            let reads = probe.facts.iter().filter(|(identity, ..)| {
                own.iter().all(|s| s.event.is_none_or(|cause| cause.identity != *identity))
                    && one.evidence.iter().any(|e| e.identity == *identity)
            });
            for (identity, _, looks) in reads {
                lines.extend(asked.of_facts(*identity, looks, &one.evidence));
            }
            lines.extend(own.iter().map(|sighting| asked.sighting(sighting)));
            lines.sort_by_key(|line| line.at);
            rename(&mut lines, &names);
            let does = if one.opens { "opens the incident" } else { "joins" };
            let key = if one.key.is_empty() { String::new() } else { format!(", key {}", one.key) };
            let omitted = match one.omitted {
                0 => String::new(),
                n => format!(", {n} further events left out of the evidence"),
            };
            let title = format!("{} {} {does}{key}{omitted}: {}", one.id, rule.id, rule.title);
            sections.push((title, lines));
        }
        let head = vec![
            match detected.len() {
                1 => format!("incident {incident}: one detection"),
                n => format!("incident {incident}: {n} detections"),
            },
            format!("configuration {}", short(&self.setup.hash)),
        ];
        let json = json!({"incident": incident, "configuration": self.setup.hash});
        Ok(Told { head: self.head(head), sections, json })
    }

    fn head(&self, mut head: Vec<String>) -> Vec<String> {
        head.extend(self.notes.iter().map(|note| format!("note: {note}")));
        head
    }

    /// The detections of an incident, found by running the history.
    fn detections(&mut self, wanted: &str) -> anyhow::Result<(TimedId, Vec<Detected>)> {
        let mut history = self.history()?;
        let mut pipeline = Pipeline::new(self.setup, 1)?;
        let mut findings = Findings::default();
        let mut incidents: BTreeMap<TimedId, Vec<Detected>> = BTreeMap::new();
        let mut every: Vec<String> = Vec::new();
        let interner = self.setup.interner.clone();
        history.walk(
            &mut pipeline,
            &mut findings,
            |_| {},
            |findings, _| {
                for finding in findings.iter() {
                    let incident = match finding.effect {
                        Effect::Opened => finding.id,
                        Effect::Joined(incident) => incident,
                        _ => continue,
                    };
                    let name = incident.to_string();
                    if finding.effect == Effect::Opened {
                        every.push(name.clone());
                    }
                    if !name.ends_with(wanted) && !name.starts_with(wanted) {
                        continue;
                    }
                    let parts = finding.key.iter().filter_map(|part| part.some());
                    let key: Vec<&str> = parts.map(|part| interner.text(part)).collect();
                    incidents.entry(incident).or_default().push(Detected {
                        id: finding.id,
                        rule: finding.rule,
                        opens: finding.effect == Effect::Opened,
                        evidence: findings.evidence(finding).to_vec(),
                        omitted: finding.omitted,
                        key: key.join("/"),
                    });
                }
                Ok(true)
            },
        )?;
        if incidents.len() > 1 {
            let names: Vec<String> = incidents.keys().take(5).map(TimedId::to_string).collect();
            bail!("`{wanted}` is {} incidents: {}", incidents.len(), names.join(", "));
        }
        incidents.pop_first().with_context(|| {
            let help = did_you_mean(wanted, every.iter().map(String::as_str)).unwrap_or_default();
            format!("no incident `{wanted}` among the {} of this history; {help}", every.len())
        })
    }

    /// Finds an event by its id, or by the end of it.
    fn find(&mut self, wanted: &str) -> anyhow::Result<Found> {
        let mut history = self.history()?;
        let vocabulary = self.setup.vocabulary.clone();
        let mut block = EventBlock::new(&vocabulary);
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let mut near: BTreeSet<String> = BTreeSet::new();
        let mut refused: Option<String> = None;
        let tail = wanted.rsplit('/').next().unwrap_or(wanted);
        let (decoder, setup) = (&mut self.decoder, self.setup);
        history.records(|record| {
            if record.kind != RecordKind::Delivery {
                return;
            }
            block.clear();
            let events = match decoder.decode(&record, &mut block) {
                Outcome::Decoded(events) => events,
                Outcome::Ignored => return,
                Outcome::Rejected(reason) => {
                    let holds = String::from_utf8_lossy(record.payload).contains(tail);
                    if holds {
                        refused = Some(reason.as_str().to_owned());
                    }
                    return;
                }
            };
            for part in 0..events {
                let Some(cited) = decoder.cite(&record, part) else { continue };
                if cited.id().ends_with(wanted) {
                    let row = block.get(part as usize);
                    let site = setup.interner.text(row.site()).to_owned();
                    let one = Found {
                        id: cited.id().to_owned(),
                        position: record.position,
                        identity: row.identity(),
                        kind: cited.kind().to_owned(),
                        site,
                        occurred: row.occurred(),
                    };
                    found.entry(cited.id().to_owned()).or_insert(one);
                } else if near.len() < NEAR_MAX {
                    near.insert(cited.id().to_owned());
                }
            }
        })?;
        if let Some(exact) = found.remove(wanted) {
            return Ok(exact);
        }
        if found.len() > 1 {
            let names: Vec<&str> = found.keys().take(5).map(String::as_str).collect();
            bail!("`{wanted}` is the end of {} events: {}", found.len(), names.join(", "));
        }
        if let Some((_, one)) = found.pop_first() {
            return Ok(one);
        }
        if let Some(reason) = refused {
            bail!("no event `{wanted}`: a delivery that holds `{tail}` was rejected ({reason})");
        }
        let ends = near.iter().filter_map(|id| id.rsplit('/').next());
        let help = did_you_mean(wanted, near.iter().map(String::as_str).chain(ends));
        bail!("no event `{wanted}` in this history; {}", help.unwrap_or_default())
    }

    /// What every event that a probe mentions is called.
    fn names(
        &mut self,
        probe: &Probe,
        history: &mut History,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let kinds = self.setup.vocabulary.kinds().len();
        let mut names = BTreeMap::new();
        let mut evidence: Vec<EvidenceRef> = probe.admissions.iter().map(|a| a.event).collect();
        for sighting in &probe.sightings {
            evidence.extend(&sighting.cited);
            let Some(cause) = sighting.event else { continue };
            if (cause.kind.0 as usize) < kinds {
                evidence.push(cause.evidence);
            } else {
                names.insert(mention(cause.identity), TimedId(cause.identity.0).to_string());
            }
        }
        let mut block = RecordBlock::new();
        for one in evidence {
            let key = mention(one.identity);
            if names.contains_key(&key) {
                continue;
            }
            block.clear();
            let found = history.read(one.position, &mut block)?;
            let there = found == render::Found::There && !block.is_empty();
            let cited = there.then(|| self.decoder.cite(&block.get(0), one.part)).flatten();
            names.insert(
                key,
                cited.map_or_else(|| "an event".to_owned(), |cited| cited.id().to_owned()),
            );
        }
        Ok(names)
    }
}

/// Ids kept for a near miss.
const NEAR_MAX: usize = 100_000;

/// Calls events by their ids.
fn rename(lines: &mut [Line], names: &BTreeMap<String, String>) {
    for line in lines {
        while let (Some(from), Some(to)) = (line.text.find('⟦'), line.text.find('⟧')) {
            let token = line.text[from..to + '⟧'.len_utf8()].to_owned();
            let name = names.get(&token).map_or("an event", String::as_str);
            line.text = line.text.replace(&token, name);
        }
        rename(&mut line.parts, names);
    }
}

impl Told {
    fn json(&self) -> Value {
        let mut json = self.json.clone();
        let sections = self.sections.iter().map(|(title, lines)| {
            json!({"title": title, "lines": lines.iter().map(line_json).collect::<Value>()})
        });
        json["sections"] = sections.collect();
        json["notes"] = self.head[2..].iter().cloned().collect();
        json
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n", self.head.join("\n"));
        // One day is said once.
        let first = self.sections.iter().flat_map(|(_, lines)| lines).find_map(|line| line.at);
        let day = first.map(|at| at.to_string()[..11].to_owned()).unwrap_or_default();
        for (title, lines) in &self.sections {
            out += &format!("\n{title}\n");
            for line in lines {
                write_line(&mut out, line, 0, &day);
            }
        }
        out
    }
}

fn line_json(line: &Line) -> Value {
    json!({
        "at": line.at,
        "text": line.text,
        "met": line.met,
        "place": line.place,
        "parts": line.parts.iter().map(line_json).collect::<Value>(),
    })
}

fn write_line(out: &mut String, line: &Line, depth: usize, day: &str) {
    let short = |text: &str| if day.is_empty() { text.to_owned() } else { text.replace(day, "") };
    let at = line.at.map(|at| format!("{}  ", short(&at.to_string()))).unwrap_or_default();
    let met = match line.met {
        Some(true) => "✓ ",
        Some(false) => "✗ ",
        None => "",
    };
    let place = line.place.as_ref().map_or(String::new(), |place| format!("   ({place})"));
    let indent = "    ".repeat(depth);
    out.push_str(&format!("  {indent}{at}{met}{}{place}\n", short(&line.text)));
    for part in &line.parts {
        write_line(out, part, depth + 1, day);
    }
}
