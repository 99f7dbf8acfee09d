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
fn the_model_sites_rules_pass_their_tests_in_every_way() {
    let report = tempfile::NamedTempFile::new().unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.args(["test", "--config", "config/harbour-north", "--thorough", "--junit"]);
    let output = command.arg(report.path()).output().unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("never fired"), "every rule has a test: {said}");
    assert!(!said.contains("never kept silent"), "every rule has been seen silent: {said}");
    let xml = std::fs::read_to_string(report.path()).unwrap_or_else(|e| panic!("{e}"));
    let cases = xml.matches("<testcase ").count();
    assert!(said.contains(&format!("\n{cases} passed, 0 failed\n")), "{said}");
    assert!(xml.contains("failures=\"0\""), "{xml}");
}

/// The scenarios of the catalogue over the shipped rulebook: as they are, event by event with a
/// restart after every one, and as eight sites on 1, 3 and 8 shards with a rule across them beside.
#[test]
fn every_scenario_of_the_catalogue_is_met_in_every_way() {
    let folder = project().join("rules/tests/scenarios");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let files = files.flatten().map(|file| file.path());
    let files: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(files.len() >= 8, "{files:?}");
    let mut command = portcullis();
    command.args(["test", "--config", "config/harbour-north", "--thorough"]).args(&files);
    let output = command.output().unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("\nok   ").count() > 150, "{said}");
}

#[test]
fn the_schema_of_rulebooks_knows_what_the_configuration_declares() {
    let mut command = portcullis();
    let output = command.args(["rules", "schema", "--config", "config/harbour-north"]).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let schema: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}"));
    let knows = |list: &serde_json::Value, word: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|known| known == word))
    };
    let of = &schema["definitions"];
    assert!(knows(&of["kind"]["enum"], "AccessGranted"), "{of:#}");
    assert!(knows(&of["rule_id"]["anyOf"][0]["enum"], "door-forced"), "{of:#}");
    assert!(knows(&of["rule"]["properties"]["severity"]["enum"], "critical"), "{of:#}");
}

#[test]
fn a_rule_is_explained_and_one_that_is_not_there_is_guessed() {
    let explain = |rule: &str| {
        let mut command = portcullis();
        let output = command.args(["explain", "--config", "config/harbour-north", rule]).output();
        let output = output.unwrap_or_else(|e| panic!("{e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (said, _) = explain("door-forced");
    for line in [
        "door-forced: A door was opened by force",
        "key         door",
        "unless AccessGranted, RequestToExit of the same door from -10s to 2s",
        "waits       2s for an excuse",
        "risk        R-02 theft from closed stores",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let (_, said) = explain("dor-forced");
    assert!(said.contains("no rule `dor-forced`; did you mean `door-forced`?"), "{said}");
}

#[test]
fn a_test_that_finds_otherwise_fails_and_says_how() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("{e}"));
    };
    write(
        "portcullis.yaml",
        "sites: [{name: s}]\nsources: [{id: h, type: http, mappings: [canonical]}]\nrules: [rules.yaml]\n",
    );
    write(
        "rules.yaml",
        "rules: [{id: a, on: Panic, by: area}, {id: b, on: Fire}]\ntests:\n- name: wrong & said\n  given: [08:00:00 Panic area=hall]\n  expect: [08:00:01 a hall]\n",
    );
    let mut command = portcullis();
    let junit = dir.path().join("out.xml");
    let output =
        command.args(["test", "--config"]).arg(dir.path()).arg("--junit").arg(&junit).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "FAIL wrong & said",
        "missing     08:00:01 a hall",
        "unexpected  08:00:00 a hall opens",
        "never fired: b",
        "0 passed, 1 failed",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let xml = std::fs::read_to_string(&junit).unwrap_or_else(|e| panic!("{e}"));
    assert!(xml.contains("name=\"wrong &amp; said\"") && xml.contains("<failure"), "{xml}");
    write(
        "rules.yaml",
        "rules: []\ntests:\n- name: odd\n  given: [8 Panic, 08:00:00 Panik, 08:00:00 Panic lvl=3]\n  expect: [08:00:00 b]\n",
    );
    let output = portcullis().args(["test", "--config"]).arg(dir.path()).output();
    let said =
        String::from_utf8_lossy(&output.unwrap_or_else(|e| panic!("{e}")).stderr).into_owned();
    for line in ["`8` is no time", "no kind of event `Panik`", "no field `lvl`", "no rule `b`"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn every_recipe_passes_its_tests_in_every_way() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("{e}"));
    };
    let (model, rules): (Vec<_>, Vec<_>) =
        examples("docs/RECIPES.md").into_iter().partition(|text| text.starts_with("tables:"));
    write("model.yaml", &model.concat());
    for (number, text) in rules.iter().enumerate() {
        write(&format!("rule-{number}.yaml"), text);
    }
    let top = "sites: [{name: s}]\nsources: [{id: h, type: http, mappings: [canonical]}]\n\
        rules: ['rule-*.yaml']\nmodel: [model.yaml]\n";
    write("portcullis.yaml", top);
    let output = portcullis().args(["test", "--thorough", "--config"]).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("never fired") && !said.contains("never kept silent"), "{said}");
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
    assert!(said.starts_with("ok: "), "{said}");
    let output = portcullis().args(["test", "--config"]).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let tests: usize = rules.iter().map(|text| text.matches("\n- name: ").count()).sum();
    assert!(tests >= 19 && said.contains(&format!("\n{tests} passed, 0 failed\n")), "{said}");
}
