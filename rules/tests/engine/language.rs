//! The rule language: what compiles, and what a wrong rulebook is told.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use event::config::Diagnostic;
use event::model::{Cell, ColumnType, Model, Table};
use event::vocabulary::field;
use event::{Interner, Vocabulary};
use rules::explain::explain;
use rules::lang::{compile, declare, parse};
use rules::plan::{Pattern, Plan, RuleId};

fn model(vocabulary: &Vocabulary, interner: &Interner) -> Model {
    let mut model = Model::default();
    let mut table = |name: &str, entity, columns: &[(&str, ColumnType)], rows: &[(&str, Cell)]| {
        let key = |k: &str| interner.intern(k).expect("short");
        model.push(Table {
            name: name.into(),
            entity,
            columns: columns.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect(),
            rows: rows.iter().map(|(k, c)| (key(k), vec![Some(c.clone())])).collect(),
            ..Table::default()
        });
    };
    table(
        "doors",
        Some(field::DOOR),
        &[("held_limit", ColumnType::Duration), ("area", ColumnType::String)],
        &[],
    );
    table(
        "persons",
        Some(field::PERSON),
        &[("visitor", ColumnType::Bool), ("hosts", ColumnType::Strings)],
        &[],
    );
    table("seals", vocabulary.field_named("container"), &[("number", ColumnType::String)], &[]);
    table("access_points", None, &[("from", ColumnType::String), ("to", ColumnType::String)], &[]);
    model
}

pub fn plan(path: &str, text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let files = [(path.to_owned(), text.to_owned())];
    let mut vocabulary = Vocabulary::default();
    let mut files = parse(&files);
    let mut diagnostics = declare(&mut files, &mut vocabulary);
    let interner = Interner::default();
    let model = model(&vocabulary, &interner);
    match compile(files, Arc::new(vocabulary), Arc::new(model), &interner) {
        Ok(plan) if diagnostics.is_empty() => Ok(plan),
        Ok(_) => Err(diagnostics),
        Err(more) => {
            diagnostics.extend(more);
            Err(diagnostics)
        }
    }
}

pub fn told(result: Result<Plan, Vec<Diagnostic>>) -> String {
    match result {
        Ok(_) => "compiles\n".to_owned(),
        Err(diagnostics) => diagnostics.iter().fold(String::new(), |mut text, d| {
            write!(text, "{d}").expect("a String takes all");
            text
        }),
    }
}

#[test]
fn the_ten_rules_compile() {
    let text = include_str!("../../../config/examples/ten-rules/rules/ten.yaml");
    let plan = plan("ten.yaml", text).unwrap_or_else(|d| panic!("{}", told(Err(d))));
    assert_eq!((plan.facts.len(), plan.rules.len()), (4, 10));
    assert_eq!(plan.rules[1].by, plan.facts[0].by, "R2 is kept by the key of the fact it reads");
    assert!(matches!(plan.rules[8].pattern, Pattern::Watch { .. }));
}

#[test]
fn every_form_of_the_language_compiles() {
    let text = include_str!("rulebooks/forms.yaml");
    let told = told(plan("forms.yaml", text));
    assert_eq!(told, "compiles\n");
}

#[test]
fn every_form_is_explained() {
    let files = [("forms.yaml".to_owned(), include_str!("rulebooks/forms.yaml").to_owned())];
    let mut vocabulary = Vocabulary::default();
    let mut files = parse(&files);
    assert!(declare(&mut files, &mut vocabulary).is_empty());
    let interner = Interner::default();
    let model = model(&vocabulary, &interner);
    let plan = compile(files, Arc::new(vocabulary), Arc::new(model), &interner);
    let plan = plan.unwrap_or_else(|d| panic!("{}", told(Err(d))));
    let rules = (0..plan.rules.len() as u16).map(RuleId);
    let got: String = rules.map(|rule| explain(&plan, &interner, rule) + "\n").collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/rulebooks/forms.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &got).expect("writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, expected, "run with UPDATE=1 and read what changed");
}

/// Every `wrong/*.yaml` against its `.txt`; `UPDATE=1` writes what is told now.
#[test]
fn wrong_rulebooks_are_told_where_and_what() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/rulebooks/wrong");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/engine/rulebooks/wrong")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 40, "{} wrong rulebooks", names.len());
    for name in names {
        let text = std::fs::read_to_string(folder.join(&name)).expect("readable");
        let got = told(plan(&name, &text));
        assert!(got.starts_with("error"), "{name} {got}");
        let expected = folder.join(name.replace(".yaml", ".txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &got).expect("writable");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(got, expected, "{name}: run with UPDATE=1 and read what changed");
    }
}

#[test]
fn the_hash_is_that_of_the_content() {
    let a = plan("rules/a.yaml", "rules: [{id: x, on: AccessDenied}]").expect("compiles");
    let b = plan("elsewhere/a.yaml", "rules: [{id: x, on: AccessDenied}]").expect("compiles");
    let c = plan("rules/a.yaml", "rules: [{id: y, on: AccessDenied}]").expect("compiles");
    assert_eq!(a.hash, b.hash);
    assert_ne!(a.hash, c.hash);
}

#[test]
fn more_rules_than_there_are_numbers_are_refused() {
    let mut text = String::from("rules:\n");
    for number in 0..60_001 {
        writeln!(text, "- {{id: r{number}, on: Panic}}").expect("a String takes all");
    }
    let interner = Interner::shared();
    let faults = crate::script::try_compile(&text, &interner).expect_err("too many rules");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].message, "60001 rules are more than 60000");
}
