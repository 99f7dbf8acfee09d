//! Rules over detections: which ones are, and that none hears itself.

use event::config::{Node, Reader, Yaml};

use crate::plan::{Fact, Rule};

/// Whether a rule or fact is over detections, as it is written.
pub fn is_over_detections(node: &Node) -> bool {
    match &node.value {
        Yaml::Scalar { .. } => false,
        Yaml::Sequence(items) => items.iter().any(is_over_detections),
        Yaml::Mapping(entries) => {
            entries.iter().any(|(k, v)| k.text() == Some("detection") || is_over_detections(v))
        }
    }
}

/// Rules that hear themselves, through the rules and facts they hear.
pub fn check_cycles(
    facts: &[Fact],
    rules: &[Rule],
    first_kind: usize,
    parsed: &mut [(Reader, Node)],
) {
    let heard_by = |rule: &Rule| {
        let mut kinds = rule.kinds();
        let mut todo = rule.reads.clone();
        let mut seen = Vec::new();
        while let Some(fact) = todo.pop() {
            if !seen.contains(&fact) {
                seen.push(fact);
                let fact = &facts[fact.0 as usize];
                kinds.extend(fact.triggers().into_iter().flat_map(|t| t.kinds.iter().copied()));
                todo.extend(&fact.reads);
            }
        }
        let rules = kinds.iter().filter_map(|kind| (kind.0 as usize).checked_sub(first_kind));
        rules.collect::<Vec<usize>>()
    };
    let heard: Vec<Vec<usize>> = rules.iter().map(heard_by).collect();
    for (number, rule) in rules.iter().enumerate() {
        if heard[number].is_empty() {
            continue;
        }
        let (mut todo, mut seen) = (heard[number].clone(), vec![false; rules.len()]);
        while let Some(next) = todo.pop() {
            if next < rules.len() && !std::mem::replace(&mut seen[next], true) {
                todo.extend(&heard[next]);
            }
        }
        if !seen[number] {
            continue;
        }
        for (reader, root) in parsed.iter_mut() {
            for node in root.get("rules").map(Node::items).unwrap_or_default() {
                if let Some(id) = node.get("id").filter(|id| id.text() == Some(&rule.id)) {
                    let help =
                        Some("a rule over detections hears rules that do not hear it".into());
                    reader.error_with(id, format!("rule `{}` hears itself", rule.id), help);
                }
            }
        }
    }
}
