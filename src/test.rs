//! `test`: runs the tests that rulebooks carry, and says what no test has reached.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use event::config::{Diagnostic, Place};
use rules::plan::{Emit, Mode, Pattern, Rule, Trigger};
use rules::probe::Coverage;
use rules::trial::{self, Outcome, Trial, Way};

use crate::cli::TestArgs;
use crate::setup::{self, Setup};

/// A test with how it went, and how long it took.
type Ran = (Trial, Outcome, f64);

/// Ways that a test may be run in: what it finds depends on none of them.
const WAYS: &[Way] = &[
    Way { batch: usize::MAX, shards: 1, restore_every: 0, sites: 1 },
    Way { batch: 1, shards: 1, restore_every: 1, sites: 1 },
    Way { batch: usize::MAX, shards: 1, restore_every: 0, sites: 8 },
    Way { batch: 7, shards: 3, restore_every: 0, sites: 8 },
    Way { batch: 1, shards: 8, restore_every: 1, sites: 8 },
];

/// Runs the command.
pub fn test(args: &TestArgs) -> anyhow::Result<()> {
    let setup = Setup::load(&args.config)?;
    let mut files = setup.config.rules.clone();
    files.extend(args.files.iter().cloned());
    let trials = read(&setup, &files)?;
    let chosen = trials.into_iter().filter(|trial| {
        args.only.as_ref().is_none_or(|part| trial.name.contains(part) || trial.of.contains(part))
    });
    let ran: Vec<Ran> = chosen
        .map(|trial| {
            let begun = Instant::now();
            let ways = if args.thorough { WAYS } else { &WAYS[..1] };
            let runs = ways.iter().map(|way| trial.run(&setup.plan, &setup.interner, *way));
            let runs: Vec<Outcome> = runs.collect();
            let failed = runs.iter().find(|outcome| !outcome.passed());
            let outcome = failed.unwrap_or(&runs[0]).clone();
            (trial, outcome, begun.elapsed().as_secs_f64())
        })
        .collect();
    if ran.is_empty() {
        bail!("no test; a rulebook carries them under `tests:`");
    }
    for (trial, outcome, _) in &ran {
        if outcome.passed() {
            println!("ok   {}", trial.name);
        } else {
            println!("FAIL {} ({})\n{}", trial.name, trial.place, faults(outcome).trim_end());
        }
    }
    let failed = ran.iter().filter(|(_, outcome, _)| !outcome.passed()).count();
    print!("{}", coverage(&setup, &ran));
    let mut reached = Coverage::new(&setup.plan, &setup.interner);
    for (trial, ..) in &ran {
        trial.cover(&setup.plan, &setup.interner, &mut reached);
    }
    print!("{}", branches(&reached));
    if let Some(path) = &args.junit {
        let xml = junit(&ran, &reached);
        std::fs::write(path, xml).with_context(|| format!("{}", path.display()))?;
    }
    println!("{} passed, {failed} failed", ran.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} tests failed", ran.len());
    }
    match args.coverage_min {
        Some(least) if percent(&reached) < least => {
            bail!("{:.1} % of the branches are reached, wanted {least} %", percent(&reached))
        }
        _ => Ok(()),
    }
}

fn percent(coverage: &Coverage) -> f64 {
    let (reached, all) = coverage.reached();
    if all == 0 { 100.0 } else { 100.0 * reached as f64 / all as f64 }
}

/// How many branches were reached, and which were not, by rule.
fn branches(coverage: &Coverage) -> String {
    let (reached, all) = coverage.reached();
    let mut text =
        format!("{reached} of {all} branches reached ({:.0} %)\n", percent(coverage).floor());
    let missing = coverage.branches().filter_map(|b| Some((b, b.missing()?)));
    let mut owner = "";
    for (number, (branch, what)) in missing.enumerate() {
        if number == 0 {
            text += "not reached:\n";
        }
        if branch.owner != owner {
            let _ = writeln!(text, "  {}", branch.owner);
            owner = &branch.owner;
        }
        let place = branch.place.as_ref().map_or(String::new(), |place| format!("   ({place})"));
        let _ = writeln!(text, "    {what:<13}  {}{place}", branch.text);
    }
    text
}

fn read(setup: &Setup, files: &[PathBuf]) -> anyhow::Result<Vec<Trial>> {
    let files = crate::files::read_all(files)?;
    match trial::read(&files, &setup.plan) {
        Ok(trials) => Ok(trials),
        Err(faults) => {
            setup::check(&faults)?;
            Ok(Vec::new())
        }
    }
}

/// What a rulebook's own tests say against it, before it takes over.
pub fn own(setup: &Setup) -> Vec<Diagnostic> {
    let trials = match trial::read(&setup.files.rules, &setup.plan) {
        Ok(trials) => trials,
        Err(faults) => return faults,
    };
    let failed = trials.iter().filter_map(|trial| {
        let outcome = trial.run(&setup.plan, &setup.interner, WAYS[0]);
        if outcome.passed() {
            return None;
        }
        let (file, line) = trial.place.rsplit_once(':').unwrap_or((&trial.place, "1"));
        let said = faults(&outcome);
        let said: Vec<&str> = said.lines().map(str::trim).collect();
        Some(Diagnostic {
            file: file.to_owned(),
            place: Place { line: line.parse().unwrap_or(1), column: 1 },
            message: format!("its own test `{}` fails: {}", trial.name, said.join("; ")),
            suggestion: None,
            source_line: String::new(),
            width: 1,
            warning: false,
        })
    });
    failed.collect()
}

fn faults(outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.missing {
        let _ = writeln!(text, "       missing     {line}");
    }
    for line in &outcome.unexpected {
        let _ = writeln!(text, "       unexpected  {line}");
    }
    text
}

/// Rules that no test saw fire, and rules that no test saw keep silent.
fn coverage(setup: &Setup, ran: &[Ran]) -> String {
    let rules = setup.plan.rules.iter().enumerate();
    let live = rules.filter(|(_, rule)| rule.mode != Mode::Off);
    let (mut never, mut always, mut all) = (Vec::new(), Vec::new(), 0);
    for (number, rule) in live {
        all += 1;
        if !ran.iter().any(|(_, outcome, _)| outcome.fired[number] > 0) {
            never.push(rule.id.as_str());
        }
        let silent = |(trial, outcome, _): &Ran| {
            let looked = trial.of.is_empty() || trial.of.contains(&rule.id);
            looked && outcome.stepped[number] > outcome.fired[number]
        };
        if !speaks_always(rule) && !ran.iter().any(silent) {
            always.push(rule.id.as_str());
        }
    }
    let mut text = format!("{} of {all} rules fired in a test\n", all - never.len());
    for (what, rules) in [("never fired", never), ("never kept silent", always)] {
        if !rules.is_empty() {
            let _ = writeln!(text, "{what}: {}", rules.join(", "));
        }
    }
    text
}

/// A rule that every event of its kinds fires: no test can see it silent.
fn speaks_always(rule: &Rule) -> bool {
    rule.emit == Emit::Each
        && matches!(&rule.pattern, Pattern::Event(Trigger { condition: None, .. }))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

/// The form that CI systems read.
fn junit(ran: &[Ran], coverage: &Coverage) -> String {
    let failed = ran.iter().filter(|(_, outcome, _)| !outcome.passed()).count();
    let time: f64 = ran.iter().map(|(_, _, seconds)| seconds).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"rulebook\" tests=\"{}\" failures=\"{failed}\" time=\"{time:.3}\">\n",
        ran.len()
    );
    let (reached, all) = coverage.reached();
    let _ = writeln!(
        xml,
        "  <properties>\n    <property name=\"branches.reached\" value=\"{reached}\"/>\n    \
         <property name=\"branches.all\" value=\"{all}\"/>\n  </properties>"
    );
    for (trial, outcome, seconds) in ran {
        let (name, place) = (escaped(&trial.name), escaped(&trial.place));
        let _ =
            write!(xml, "  <testcase classname=\"{place}\" name=\"{name}\" time=\"{seconds:.3}\"");
        if outcome.passed() {
            xml += "/>\n";
        } else {
            let text = escaped(&faults(outcome));
            let _ = write!(
                xml,
                ">\n    <failure message=\"found otherwise\">{text}</failure>\n  </testcase>\n"
            );
        }
    }
    let out = escaped(&branches(coverage));
    xml + "  <system-out>" + &out + "</system-out>\n</testsuite>\n"
}
