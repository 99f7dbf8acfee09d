//! `rulebook RULES CANDIDATES DIR [TRAFFIC [DETECTIONS]]`: writes a configuration of so many rules
//! into a folder, so that an event of the bench's traffic concerns about so many of them; says what
//! each must find in a file of traffic (the rule and the ids of its events, a line for each
//! detection); and whether that is what `replay --detections` has found.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;
use workload::written::Rulebook;

/// The detections of a file, as the rulebook tells them.
fn found(rulebook: &Rulebook, path: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let detection: Value = serde_json::from_str(line)?;
        let events = detection["events"].as_array().into_iter().flatten();
        let id = |event: &Value| event.as_str()?.rsplit('/').next()?.parse().ok();
        let ids: Option<Vec<u64>> = events.map(id).collect();
        let ids = ids.ok_or("an event without an id")?;
        found.push(rulebook.told(detection["rule"].as_str().unwrap_or_default(), &ids));
    }
    found.sort();
    Ok(found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rules, candidates, dir, files @ ..] = arguments.as_slice() else {
        return Err("rulebook RULES CANDIDATES DIR [TRAFFIC [DETECTIONS]]".into());
    };
    let rulebook = Rulebook::new(rules.parse()?, candidates.parse()?);
    rulebook.write(Path::new(dir))?;
    let Some(traffic) = files.first() else { return Ok(()) };
    let expected = rulebook.expected(&std::fs::read_to_string(traffic)?)?;
    let mut out = std::io::stdout().lock();
    let Some(detections) = files.get(1) else {
        expected.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        return Ok(());
    };
    let found = found(&rulebook, detections)?;
    writeln!(out, "{} expected, {} found", expected.len(), found.len())?;
    if found == expected {
        return Ok(());
    }
    let (expected, found): (BTreeSet<_>, BTreeSet<_>) =
        (expected.into_iter().collect(), found.into_iter().collect());
    expected.difference(&found).try_for_each(|line| writeln!(out, "missing: {line}"))?;
    found.difference(&expected).try_for_each(|line| writeln!(out, "too many: {line}"))?;
    Err("another result".into())
}
