//! Why a rule spoke of an event, or did not: for every form, in words; and over random histories
//! what a probe says agrees with what the engine found.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use event::{EventBlock, Identity, Interner};
use rules::engine::{Engine, Findings, Input, Options, SourceOptions};
use rules::plan::{Plan, RuleId};
use rules::probe::{Answer, Answered, Asked, Line, Probe, mention};

use crate::script::{compile, event};

/// A rulebook run over a script, with a probe that follows some of its events.
struct Asking {
    plan: Arc<Plan>,
    interner: Arc<Interner>,
    blocks: Vec<EventBlock>,
}

impl Asking {
    fn new(rulebook: &str, script: &str, ids: &[u64]) -> Self {
        let interner = Interner::shared();
        let plan = compile(rulebook, &interner);
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let blocks = lines.enumerate().map(|(number, line)| {
            let number = ids.get(number).map_or(number as u64, |id| id - 1);
            let mut block = EventBlock::new(&plan.vocabulary);
            event(&mut block, &plan.vocabulary, &interner, number, line);
            block
        });
        Self { blocks: blocks.collect(), plan: plan.clone(), interner }
    }

    fn identity(&self, place: usize) -> Identity {
        self.blocks[place].get(0).identity()
    }

    /// What a rule made of the event at a place; and what was found beside.
    fn ask(&self, rule: u16, place: usize, ends: bool) -> (Answer, Vec<(i64, Vec<u64>)>) {
        let options = Options {
            sources: vec![SourceOptions { slack: crate::oracle::SLACK }],
            ..Options::default()
        };
        let mut engine = Engine::new(self.plan.clone(), self.interner.clone(), options);
        let event = self.identity(place);
        let all: Vec<RuleId> = (0..self.plan.rules.len() as u16).map(RuleId).collect();
        let mut out = Findings::probed(Probe::of(&all, all.len(), [event]));
        for block in &self.blocks {
            engine.feed(Input::Events(block), &mut out);
        }
        if ends {
            engine.feed(Input::EndOfInput, &mut out);
        }
        let mut found = Vec::new();
        crate::oracle::collect(&mut out, &mut found);
        let waiting = engine.waiting(RuleId(rule));
        let asked = Asked {
            plan: &self.plan,
            interner: &self.interner,
            rule: RuleId(rule),
            waiting: &waiting,
            until: engine.watermark(),
        };
        (asked.answer(out.probe().expect("a probe"), event), found)
    }
}

/// Asks about every event of a history. What a rule is said to have spoken of, it has cited; what
/// completed a detection, it is said to have spoken of; and it is silent for a reason.
pub fn agrees_with(
    name: &str,
    rulebook: &str,
    script: &str,
    ids: &[u64],
    found: &[(i64, Vec<u64>)],
) {
    if found.iter().any(|(_, events)| events.is_empty()) {
        // Evidence was left out: who was cited is not known.
        return;
    }
    let asking = Asking::new(rulebook, script, ids);
    for (place, id) in ids.iter().enumerate() {
        let (answer, mut seen) = asking.ask(0, place, true);
        seen.sort();
        assert_eq!(seen, found, "{name}: a probe changes nothing\n{rulebook}\n{script}");
        let cited = found.iter().any(|(_, events)| events.contains(id));
        let completes = found.iter().any(|(_, events)| events.last() == Some(id));
        let fired = answer.answered == Answered::Fired;
        let told = || {
            let at = script.lines().nth(place).unwrap_or_default();
            format!("{name}, event {id} ({at}): {answer:#?}\n{rulebook}\n{script}{found:?}")
        };
        assert!(!fired || cited, "said to have fired, and is cited nowhere: {}", told());
        // Each event of a run is part of what it made.
        let whole = matches!(name, "sequence" | "unless");
        assert!(
            fired || !(completes || whole && cited),
            "cited, and said to be silent: {}",
            told()
        );
        assert_eq!(fired, answer.reasons.is_empty(), "silent for a reason: {}", told());
    }
}

fn write(out: &mut String, line: &Line, depth: usize) {
    let at = line.at.map(|at| format!("{} ", at.0 as f64 / 1e6)).unwrap_or_default();
    let met = match line.met {
        Some(true) => "+ ",
        Some(false) => "- ",
        None => "",
    };
    let place = line.place.as_ref().map_or(String::new(), |place| format!("   ({place})"));
    writeln!(out, "{}{at}{met}{}{place}", "  ".repeat(depth), line.text).expect("a String");
    line.parts.iter().for_each(|part| write(out, part, depth + 1));
}

/// Each form, with the event that is asked about marked by `?`.
const QUESTIONS: &str = include_str!("rulebooks/why.yaml");

/// The answer to every question of the file stands beside it; `UPDATE=1` writes it anew.
#[test]
fn every_form_says_why_not_in_words() {
    let mut out = String::new();
    for part in QUESTIONS.split("\n--- ").skip(1) {
        let (title, rest) = part.split_once('\n').expect("a title");
        let (rulebook, script) = rest.split_once("\nevents:\n").expect("events");
        let lines: Vec<&str> = script.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let ends = lines.last() != Some(&"...");
        let lines: Vec<&str> = lines.into_iter().filter(|line| *line != "...").collect();
        let place = lines.iter().position(|line| line.starts_with('?')).expect("a question");
        let script: String = lines
            .iter()
            .map(|line| line.trim_start_matches(['?', ' ']).to_owned() + "\n")
            .collect();
        let asking = Asking::new(rulebook, &script, &[]);
        let (answer, _) = asking.ask(0, place, ends);
        let mut text = format!("--- {title}\n{:?}\n", answer.answered);
        for (name, lines) in [("why not", &answer.reasons), ("seen", &answer.seen)] {
            if !lines.is_empty() {
                writeln!(text, "{name}").expect("a String");
            }
            lines.iter().for_each(|line| write(&mut text, line, 1));
        }
        for place in 0..asking.blocks.len() {
            let number = place + 1;
            text = text.replace(&mention(asking.identity(place)), &format!("event {number}"));
        }
        out += &text;
        out.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/rulebooks/why.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &out).expect("the snapshot is written");
    }
    let known = std::fs::read_to_string(&path).expect("rulebooks/why.txt");
    assert_eq!(out, known, "UPDATE=1 writes it anew");
}
