//! The documents' examples, checked as their readers would.

use crate::place::{portcullis, project};

/// Texts between ```yaml and ```.
fn examples(document: &str) -> Vec<String> {
    let path = project().join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parts = text.split("```yaml\n").skip(1);
    parts.filter_map(|part| Some(part.split_once("```")?.0.to_owned())).collect()
}

#[test]
fn examples_of_rules_and_mappings_are_good() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (rules, mappings) = (examples("docs/RULES.md"), examples("docs/MAPPINGS.md"));
    assert!(rules.len() >= 8 && mappings.len() == 1, "{} and {}", rules.len(), mappings.len());
    let top = "sites: [{name: s}]\nsources: [{id: h, type: http, mappings: [our-doors]}]\n\
        rules: ['rule-*.yaml']\nmappings: ['mapping-*.yaml']\n";
    let write = |name: String, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("{e}"));
    };
    write("portcullis.yaml".into(), top);
    for (kind, texts) in [("rule", &rules), ("mapping", &mappings)] {
        for (number, text) in texts.iter().enumerate() {
            write(format!("{kind}-{number}.yaml"), text);
        }
    }
    let output = portcullis().args(["check", "--config"]).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("ok: 17 rules, "), "{said}");
    let output = portcullis().args(["test", "--config"]).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\n18 passed, 0 failed\n"), "{said}");
}
