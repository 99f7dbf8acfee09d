//! What `replay` says at its end: a table, or the same and more as JSON.

use std::fmt::Write as _;

use event::books::SourceBooks;
use rules::engine::{ENTRY_BYTES, GivenUp, KEY_BYTES, RUN_BYTES, Usage};
use serde_json::{Map, Value, json};

use crate::console::figures;
use crate::live::{Holder, holders};
use crate::replay::Ran;
use crate::setup::Setup;

/// Rules of which each has its line in the table, whether it has found anything or not.
const RULES_SHOWN: usize = 100;

/// A run that is over.
pub struct Summary<'a> {
    pub ran: &'a Ran,
    pub setup: &'a Setup,
    pub seconds: f64,
}

/// Sums over what facts and rules hold at the end: keys, runs, events.
fn held(usage: &[Usage]) -> [u64; 3] {
    let held = usage.iter().map(|usage| [usage.keys, usage.runs, usage.events]);
    held.fold([0; 3], |sum, one| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]])
}

/// Bytes of the whole state by its keys: runs, events, indexes and what is reserved included.
fn by_keys(bytes: usize, keys: u64) -> u64 {
    (bytes as u64).checked_div(keys).unwrap_or_default()
}

impl Summary<'_> {
    fn books(&self) -> impl Iterator<Item = (&str, &SourceBooks)> {
        let sources = self.setup.config.sources.iter().map(|source| source.id.as_str());
        sources.zip(&self.ran.figures.books)
    }

    /// Facts and rules in their order, each with its figures.
    fn usage(&self) -> impl Iterator<Item = (Holder<'_>, &Usage)> {
        holders(&self.setup.plan).zip(&self.ran.figures.usage)
    }

    fn events_per_second(&self) -> f64 {
        let events: u64 = self.books().map(|(_, books)| books.events).sum();
        (events as f64 / self.seconds.max(1e-9)).round()
    }

    fn hash(&self) -> String {
        format!("{:032x}", self.ran.sum.hash())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let counted = &self.ran.figures;
        let books: Map<_, _> =
            self.books().map(|(id, books)| (id.to_owned(), json!(books))).collect();
        let (mut facts, mut rules) = (Map::new(), Map::new());
        for (holder, usage) in self.usage() {
            let figures = figures(usage).into();
            match holder {
                Holder::Fact(name) => facts.insert(name.to_owned(), figures),
                Holder::Rule(id) => rules.insert(id.to_owned(), figures),
            };
        }
        let given_up = counted.evicted.by_what();
        let given_up: Map<_, _> =
            given_up.into_iter().map(|(what, n)| (what.to_owned(), n.into())).collect();
        let counts = &counted.late;
        let late = json!({
            "live": counts.live,
            "recorded": counts.recorded,
            "older": counts.older,
            "dropped": counts.dropped,
            "repairs": counts.repairs,
            "incomplete": counts.incomplete,
        });
        let [keys, runs, events] = held(&counted.usage);
        let state = json!({
            "keys": keys,
            "bytes_per_key": KEY_BYTES,
            "runs": runs,
            "bytes_per_run": RUN_BYTES,
            "events": events,
            "bytes_per_event": ENTRY_BYTES,
            "bytes_by_keys": by_keys(counted.state_bytes, keys),
        });
        json!({
            "books": books,
            "rules": rules,
            "facts": facts,
            "incidents": self.ran.sum.incidents(),
            "seconds": (self.seconds * 1e6).round() / 1e6,
            "events_per_second": self.events_per_second(),
            "hash": self.hash(),
            "state_bytes": counted.state_bytes,
            "state": state,
            "given_up": given_up,
            "late": late,
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // A text takes whatever is written to it.
        let _ = self.write_books(&mut text).and_then(|()| self.write_usage(&mut text));
        let counted = &self.ran.figures;
        let [keys, runs, events] = held(&counted.usage);
        let mib = counted.state_bytes as f64 / f64::from(1 << 20);
        text += &format!(
            "\nstate: {keys} keys of {KEY_BYTES} B, {runs} runs of {RUN_BYTES} B, {events} events of \
             {ENTRY_BYTES} B; {mib:.1} MiB with all that is reserved, {} B a key\n",
            by_keys(counted.state_bytes, keys),
        );
        text += &format!(
            "\n{} incidents · {:.2} s · {:.0} events/s · {}\n",
            self.ran.sum.incidents(),
            self.seconds,
            self.events_per_second(),
            self.hash(),
        );
        text
    }

    fn write_books(&self, text: &mut String) -> std::fmt::Result {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        for (source, books) in self.books() {
            writeln!(text, "source {source}")?;
            for (name, value) in json!(books).as_object().into_iter().flatten() {
                if let Some(reasons) = value.as_object() {
                    for (reason, count) in reasons.iter().filter(|(_, n)| number(n) > 0) {
                        writeln!(text, "  rejected: {reason:<14} {:>12}", number(count))?;
                    }
                } else if number(value) > 0 {
                    writeln!(text, "  {name:<24} {:>12}", number(value))?;
                }
            }
        }
        Ok(())
    }

    fn write_usage(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n{:<26} {:>12} {:>12}", "rule", "detections", "incidents")?;
        let many = self.setup.plan.rules.len() > RULES_SHOWN;
        let mut silent = 0;
        for (holder, usage) in self.usage() {
            let Holder::Rule(rule) = holder else { continue };
            if many && usage.detections == 0 {
                silent += 1;
            } else {
                writeln!(text, "{rule:<26} {:>12} {:>12}", usage.detections, usage.incidents)?;
            }
        }
        if silent > 0 {
            writeln!(text, "and {silent} rules that found nothing")?;
        }
        for (what, count) in self.ran.figures.evicted.by_what() {
            if count > 0 {
                writeln!(text, "given up at a limit: {what:<18} {count:>12}")?;
            }
        }
        for (holder, usage) in self.usage() {
            let (Holder::Fact(name) | Holder::Rule(name)) = holder;
            let GivenUp { keys, runs, events } = usage.given_up;
            if keys | runs | events != 0 {
                writeln!(text, "  by {name}: {keys} keys, {runs} runs, {events} events")?;
            }
        }
        Ok(())
    }
}
