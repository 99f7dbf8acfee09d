//! `import sigma`: correlations of another system become rules that compile, and that find what
//! they meant.

use std::path::Path;

use crate::place::{data, portcullis};

/// What is printed, and what is said beside it.
fn import(files: &[std::path::PathBuf]) -> (bool, String, String) {
    let output = portcullis().args(["import", "sigma"]).args(files).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Runs a rulebook's tests in a configuration of its own.
fn tested(dir: &Path, rulebook: &str) -> String {
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap_or_else(|e| panic!("{e}"));
    };
    let top = "sites: [{name: s}]\nsources: [{id: h, type: http, mappings: [canonical]}]\nrules: [rules.yaml]\n";
    write("portcullis.yaml", top);
    write("rules.yaml", rulebook);
    let output = portcullis().args(["test", "--config"]).arg(dir).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{rulebook}\n{out}{err}");
    out.into_owned()
}

#[test]
fn the_examples_of_the_specification_are_imported_or_refused_by_name() {
    let Some(sigma) = data("sigma") else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let folder = sigma.join("tests/schema/correlation");
    let file = |name: &str| folder.join(format!("{name}.yml"));
    let test = |given: &str, expect: &str| {
        format!("tests:\n- name: t\n  given:\n{given}  expect: {expect}\n")
    };
    for name in ["event_count", "event_count_ecs"] {
        let (done, rulebook, _) = import(&[file(name)]);
        assert!(done, "{name}");
        let field = if name == "event_count" { "computer_name" } else { "dns_question_name" };
        let line =
            |n: u32| format!("  - 08:00:{:02}.{} Sigma5638f7c0 {field}=pc\n", n / 10, n % 10);
        let given: String = (0..105).map(line).collect();
        tested(dir.path(), &(rulebook + &test(&given, "[08:00:09.9 many-failed-logins pc]")));
    }
    let (_, rulebook, _) = import(&[file("value_count")]);
    let line = |n: u32| {
        let user = n % 100;
        format!(
            "  - 08:00:{:02}.{} Sigma5638f7c0 computer_name=pc workstation_name=w user=u{user}\n",
            n / 10,
            n % 10
        )
    };
    let given: String = (0..120).map(line).collect();
    tested(dir.path(), &(rulebook + &test(&given, "[08:00:09.9 failed-login pc/w]")));
    let recon = |order: [&str; 3]| {
        let line = |(n, kind): (usize, &&str)| {
            format!("  - 08:0{n}:00 ReconCmd{kind} computer_name=pc user=u\n")
        };
        order.iter().enumerate().map(line).collect::<String>()
    };
    let (_, rulebook, _) = import(&[file("temporal")]);
    tested(dir.path(), &(rulebook + &test(&recon(["C", "A", "B"]), "[08:02:00 recon pc/u]")));
    let (_, rulebook, _) = import(&[file("temporal_ordered")]);
    let wrong = test(&recon(["C", "A", "B"]), "[]");
    tested(dir.path(), &(rulebook.clone() + &wrong));
    tested(
        dir.path(),
        &(rulebook + &test(&recon(["A", "B", "C"]), "[08:02:00 recon-ordered pc/u]")),
    );
    for name in ["value_sum", "value_avg", "value_percentile"] {
        let (done, _, said) = import(&[file(name)]);
        assert!(!done, "{name}");
        assert!(said.contains(&format!("`{name}` has no counterpart")), "{said}");
    }
}

#[test]
fn rules_that_a_correlation_refers_to_stand_in_it() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let sigma = "\
title: Refused at a reader
name: refused
logsource: {product: access, category: reader}
detection:
  selection: {Event|startswith: 'deny', Reader|contains: ['north', 'gate']}
  filter_test: {Badge: 'TEST*'}
  condition: selection and not 1 of filter_*
level: low
---
title: Let in
name: let_in
logsource: {product: access, category: reader}
detection: {selection: {Event: grant, Level|gte: 3}, condition: selection}
---
title: Many refusals
name: many_refused
correlation: {type: event_count, rules: [refused], group-by: [Badge], timespan: 5m, condition: {gt: 2}}
---
title: Refused often, then let in
level: high
correlation: {type: temporal_ordered, rules: [many_refused, let_in], group-by: [Badge], timespan: 1h}
---
title: Of no field
logsource: {product: access}
detection: {keywords: ['rm -rf'], condition: keywords}
";
    let path = dir.path().join("sigma.yml");
    std::fs::write(&path, sigma).unwrap_or_else(|e| panic!("{e}"));
    let (done, rulebook, said) = import(&[path]);
    assert!(done, "{said}");
    assert!(said.contains("the keyword `rm -rf` is of no field"), "{said}");
    let tests = "\
tests:
- name: three refusals that count, and an entry of level 3
  given:
  - 08:00:00 AccessReader event=deny-pin reader=north-1 badge=B
  - 08:01:00 AccessReader event=deny reader=gate-2 badge=B
  - 08:01:30 AccessReader event=deny reader=south badge=B
  - 08:02:00 AccessReader event=deny reader=gate-2 badge=TEST1
  - 08:03:00 AccessReader event=deny reader=gate-2 badge=B
  - 08:30:00 AccessReader event=grant badge=B level=2
  - 08:31:00 AccessReader event=grant badge=B level=3
  expect: [08:03:00 many-refused B, 08:31:00 refused-often-then-let-in B]
";
    let out = tested(dir.path(), &(rulebook + tests));
    assert!(out.contains("1 passed, 0 failed"), "{out}");
}
