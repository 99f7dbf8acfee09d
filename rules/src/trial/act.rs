//! What operators do in a test: `acknowledge RULE`, `close RULE false-alarm`,
//! `shelve RULE KEY 30m 'the fence is being painted'`, `shelve incident RULE 30m 'reason'`.

use event::TimeSpan;
use event::config::{Node, Reader, did_you_mean};
use event::control::{Act, Shelf};
use event::incident::Disposition;

use super::GivenChange;
use super::read::rule;
use crate::plan::Plan;

/// Words that such a line begins with.
pub const WORDS: &[&str] = &["acknowledge", "assign", "close", "shelve", "unshelve"];

/// Reads one, and its reason.
pub fn read(
    reader: &mut Reader,
    node: &Node,
    plan: &Plan,
    site: &str,
    words: &[String],
) -> Option<(GivenChange, String)> {
    let incident = words.get(1).is_some_and(|word| word == "incident");
    let mut rest = words.iter().skip(1 + usize::from(incident)).cloned();
    let Some(name) = rest.next() else {
        let help = Some("write 08:00:00 acknowledge RULE".to_owned());
        reader.error_with(node, "which rule", help);
        return None;
    };
    let name = rule(reader, node, plan, &name)?;
    let mut rest: Vec<String> = rest.collect();
    let act = match words[0].as_str() {
        "acknowledge" => Act::Acknowledge,
        "assign" => Act::Assign(rest.pop().unwrap_or_default()),
        "close" => {
            let word = rest.pop().unwrap_or_default();
            let Some(disposition) = Disposition::parse(&word) else {
                let words = Disposition::ALL.map(Disposition::as_str);
                let help = did_you_mean(&word, words.into_iter())
                    .or_else(|| Some(format!("write one of {}", words.join(", "))));
                reader.error_with(node, format!("`{word}` is no disposition"), help);
                return None;
            };
            Act::Close(disposition)
        }
        "unshelve" if incident => Act::Unshelve,
        "unshelve" => return Some((shelf(site, name, &rest, None), String::new())),
        _ => {
            let place = rest.iter().position(|word| TimeSpan::parse(word).is_some());
            let Some(place) = place else {
                let help = Some("write shelve RULE KEY 30m 'reason'".to_owned());
                reader.error_with(node, "a shelf ends: for how long", help);
                return None;
            };
            let span = TimeSpan::parse(&rest[place]).unwrap_or_default();
            let reason = rest[place + 1..].join(" ");
            rest.truncate(place);
            if reason.is_empty() {
                let help = Some("write shelve RULE 30m 'the fence is being painted'".to_owned());
                reader.error_with(node, "what is shelved needs a reason", help);
            }
            let change = if incident {
                GivenChange::Act(name, Act::Shelve(span))
            } else {
                shelf(site, name, &rest, Some(span))
            };
            return Some((change, reason));
        }
    };
    Some((GivenChange::Act(name, act), String::new()))
}

fn shelf(site: &str, rule: String, key: &[String], span: Option<TimeSpan>) -> GivenChange {
    let key = key.iter().flat_map(|part| part.split('/')).map(str::to_owned).collect();
    GivenChange::Shelf(Shelf { site: site.to_owned(), rule, key, span })
}
