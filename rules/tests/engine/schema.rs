//! The schema that editors complete rulebooks with says what the compiler says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use event::config::{Node, Reader, Yaml};
use rules::lang::schema::{Known, rulebook};
use serde_json::{Map, Value, json};

use crate::language::{plan, told};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// YAML as an editor reads it: what stands without quotes may be a number or a truth.
fn json_of(node: &Node) -> Value {
    match &node.value {
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(entries) => {
            let pair =
                |(k, v): &(Node, Node)| (k.text().unwrap_or_default().to_owned(), json_of(v));
            Value::Object(entries.iter().map(pair).collect())
        }
        Yaml::Scalar { text, plain: false } => json!(text),
        Yaml::Scalar { text, .. } => match &**text {
            "" | "~" | "null" => Value::Null,
            "true" => json!(true),
            "false" => json!(false),
            _ => {
                let whole = text.parse::<i64>().map(|n| json!(n)).ok();
                let number = whole.or_else(|| text.parse::<f64>().map(|n| json!(n)).ok());
                number.unwrap_or_else(|| json!(text))
            }
        },
    }
}

fn yaml(text: &str) -> Value {
    json_of(&Reader::parse("x.yaml", text).1)
}

/// As much of JSON Schema as ours says; a word that is not known here fails the test.
struct Judge<'a> {
    whole: &'a Value,
}

impl Judge<'_> {
    /// What is wrong with a value, or nothing.
    fn fault(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let words = schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
        words.iter().find_map(|(word, says)| self.word(words, word, says, value, at))
    }

    fn holds(&self, schema: &Value, value: &Value) -> bool {
        self.fault(schema, value, "").is_none()
    }

    fn word(
        &self,
        words: &Map<String, Value>,
        word: &str,
        says: &Value,
        value: &Value,
        at: &str,
    ) -> Option<String> {
        let list = || says.as_array().unwrap_or_else(|| panic!("{at}: {word} {says}"));
        let (object, items) = (value.as_object(), value.as_array());
        let least = |n: usize| says.as_u64().is_none_or(|least| n as u64 >= least);
        let most = |n: usize| says.as_u64().is_none_or(|most| n as u64 <= most);
        let holds = match word {
            "$schema" | "$id" | "title" | "definitions" | "description" => true,
            "$ref" => {
                let name = says.as_str().and_then(|s| s.strip_prefix("#/definitions/"));
                let named = name.unwrap_or_else(|| panic!("{at}: {says}"));
                return self.fault(&self.whole["definitions"][named], value, at);
            }
            "type" => {
                let is = |ty: &Value| match ty.as_str() {
                    Some("null") => value.is_null(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_i64(),
                    Some("number") => value.is_number(),
                    Some("string") => value.is_string(),
                    Some("array") => value.is_array(),
                    Some("object") => value.is_object(),
                    _ => panic!("{at}: type {ty}"),
                };
                says.as_array().map_or_else(|| is(says), |types| types.iter().any(is))
            }
            "enum" => list().contains(value),
            "pattern" => {
                let pattern = regex::Regex::new(says.as_str().expect("a text")).expect("a pattern");
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minimum" => value.as_f64().is_none_or(|n| Some(n) >= says.as_f64()),
            "maximum" => value.as_f64().is_none_or(|n| Some(n) <= says.as_f64()),
            "minItems" => items.is_none_or(|items| least(items.len())),
            "maxItems" => items.is_none_or(|items| most(items.len())),
            "minProperties" => object.is_none_or(|object| least(object.len())),
            "maxProperties" => object.is_none_or(|object| most(object.len())),
            "required" => object.is_none_or(|object| {
                list().iter().all(|key| object.contains_key(key.as_str().expect("a text")))
            }),
            "dependencies" => {
                let needs = says.as_object().expect("a mapping").iter();
                needs.clone().all(|(key, needs)| {
                    let needs = needs.as_array().expect("keys");
                    let has = |key: &str| object.is_some_and(|object| object.contains_key(key));
                    !has(key) || needs.iter().all(|need| has(need.as_str().expect("a text")))
                })
            }
            "not" => !self.holds(says, value),
            "anyOf" => list().iter().any(|schema| self.holds(schema, value)),
            "allOf" => {
                return list().iter().find_map(|schema| self.fault(schema, value, at));
            }
            "items" => {
                let mut numbered = items.into_iter().flatten().enumerate();
                return numbered.find_map(|(n, item)| self.fault(says, item, &format!("{at}/{n}")));
            }
            "properties" => {
                let mut known = says.as_object().expect("a mapping").iter();
                return known.find_map(|(key, schema)| {
                    self.fault(schema, object?.get(key)?, &format!("{at}/{key}"))
                });
            }
            "additionalProperties" => {
                let named = words.get("properties").and_then(Value::as_object);
                let other = |key: &String| named.is_none_or(|named| !named.contains_key(key));
                let mut others = object.into_iter().flatten().filter(|(key, _)| other(key));
                return others.find_map(|(key, value)| match says {
                    Value::Bool(false) => Some(format!("{at}/{key}: unknown")),
                    schema => self.fault(schema, value, &format!("{at}/{key}")),
                });
            }
            _ => panic!("{at}: the schema says `{word}`"),
        };
        (!holds).then(|| format!("{at}: {word} {says}, found {value}"))
    }
}

fn fault(schema: &Value, value: &Value) -> Option<String> {
    Judge { whole: schema }.fault(schema, value, "")
}

/// Every file below a folder whose name ends so.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every rulebook that is shipped or shown, by where it stands.
fn rulebooks() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(&root().join("config"), ".yaml", &mut paths);
    paths.retain(|path| path.parent().is_some_and(|folder| folder.ends_with("rules")));
    paths.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/rulebooks/forms.yaml"));
    let mut all: Vec<_> = paths.iter().map(|p| (p.display().to_string(), read(p))).collect();
    for name in ["RULES.md", "RECIPES.md"] {
        let text = read(&root().join("docs").join(name));
        for (number, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            // A file of the model is shown, too.
            if block.starts_with("tables:") {
                continue;
            }
            all.push((format!("{name}, example {number}"), block.to_owned()));
        }
    }
    all
}

#[test]
fn every_rulebook_that_is_shipped_or_shown_fits_the_schema() {
    let schema = rulebook(&Known::builtin());
    let all = rulebooks();
    assert!(all.len() > 30, "{} rulebooks", all.len());
    let faults: Vec<_> = all
        .iter()
        .filter_map(|(at, text)| Some(format!("{at} {}", fault(&schema, &yaml(text))?)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_the_compiler_does_not_know_the_schema_does_not_know() {
    let schema = rulebook(&Known::builtin());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/rulebooks/wrong");
    let mut paths = Vec::new();
    files(&folder, ".yaml", &mut paths);
    let (mut refused, mut taken) = (0, Vec::new());
    for path in paths {
        let told = read(&path.with_extension("txt"));
        let by_schema = [
            "unknown key",
            "` is none of ",
            "expected a mapping",
            "is missing",
            "` goes with `",
            "is not a span of time",
        ];
        if !by_schema.iter().any(|words| told.contains(words)) {
            continue;
        }
        match fault(&schema, &yaml(&read(&path))) {
            Some(_) => refused += 1,
            None => taken.push(path.display().to_string()),
        }
    }
    assert!(taken.is_empty(), "the schema takes {taken:#?}");
    assert!(refused >= 12, "{refused} wrong rulebooks were tried");
}

/// The keys that the compiler names when it finds something else than a mapping.
fn keys_of(rulebook: &str) -> BTreeSet<String> {
    let told = told(plan("x.yaml", rulebook));
    let (_, rest) =
        told.split_once("the keys are ").unwrap_or_else(|| panic!("{rulebook}: {told}"));
    rest.lines().next().unwrap_or_default().split(", ").map(str::to_owned).collect()
}

/// The words that the compiler names when it finds another.
fn words_of(rulebook: &str) -> BTreeSet<String> {
    let told = told(plan("x.yaml", rulebook));
    let (_, rest) = told.split_once("is none of ").unwrap_or_else(|| panic!("{rulebook}: {told}"));
    rest.lines().next().unwrap_or_default().split(", ").map(str::to_owned).collect()
}

fn names(of: &Value) -> BTreeSet<String> {
    let keys = of.as_object().into_iter().flatten().map(|(key, _)| key.clone());
    let words = of.as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned));
    keys.chain(words).collect()
}

#[test]
fn keys_and_words_are_those_of_the_compiler() {
    let schema = rulebook(&Known::builtin());
    let of = &schema["definitions"];
    let properties = |at: &str| {
        let found = at.split('/').fold(of, |value, part| match part.parse::<usize>() {
            Ok(number) => &value[number],
            Err(_) => &value[part],
        });
        let found = if found["properties"].is_object() { &found["properties"] } else { found };
        names(found)
    };
    let rule = |text: &str| format!("rules: [{{id: a, {text}}}]");
    let keys = [
        ("facts: {a: 5}".to_owned(), "fact"),
        ("facts: {a: {by: door, up: 5, down: 5}}".to_owned(), "trigger"),
        ("schedules: {a: 5}".to_owned(), "hours"),
        ("incidents: 5".to_owned(), "incidents"),
        ("inhibit: [5]".to_owned(), "inhibition"),
        ("incidents: {escalate: [5]}".to_owned(), "escalation"),
        ("incidents: {flood: 5}".to_owned(), "flood"),
        (rule("on: AccessDenied, then: 5"), "rule/properties/then"),
        (rule("on: AccessDenied, limits: 5"), "limits"),
        (rule("on: AccessDenied, count: 5"), "rule/properties/count"),
        (rule("on: AccessDenied, distinct: 5"), "rule/properties/distinct"),
        (rule("on: AccessDenied, unless: [5]"), "guard"),
        (rule("on: AccessDenied, group: 5"), "grouping"),
        (rule("session: 5"), "rule/properties/session"),
        (rule("passage: 5"), "rule/properties/passage"),
        (rule("travel: 5"), "rule/properties/travel"),
        (
            rule("session: {open: DoorOpened, close: DoorClosed, by: door, before: 5}"),
            "rule/properties/session/properties/before",
        ),
    ];
    for (rulebook, at) in keys {
        assert_eq!(properties(at), keys_of(&rulebook), "{at}");
    }
    let words = [
        (rule("on: AccessDenied, severity: zz"), "rule/properties/severity/enum"),
        (rule("on: AccessDenied, mode: zz"), "rule/properties/mode/enum"),
        (rule("on: AccessDenied, scope: zz"), "rule/properties/scope/enum"),
        (
            "facts: {a: {count: AccessDenied, within: 5s, by: door, scope: zz}}".to_owned(),
            "fact/properties/scope/enum",
        ),
        (rule("on: AccessDenied, emit: zz"), "rule/properties/emit/anyOf/0/enum"),
        (
            rule("by: door, runs: zz, sequence: [{a: AccessDenied}, {b: DoorOpened}]"),
            "rule/properties/runs/enum",
        ),
        (
            rule("by: door, skip: zz, sequence: [{a: AccessDenied}, {b: DoorOpened}]"),
            "rule/properties/skip/enum",
        ),
        (
            "schedules: {a: {from: '07:00', to: '08:00', holidays: zz}}".to_owned(),
            "hours/properties/holidays/enum",
        ),
        ("incidents: {by: zz}".to_owned(), "grouping/properties/by/anyOf/0/enum"),
    ];
    for (rulebook, at) in words {
        assert_eq!(properties(at), words_of(&rulebook), "{at}");
    }
    let sections = names(&schema["properties"]);
    assert_eq!(sections, names(&json!(rules::lang::SECTIONS)));
    let all = BTreeSet::from_iter(rules::lang::rule_keys().map(str::to_owned));
    assert_eq!(properties("rule"), all);
    assert_eq!(properties("test"), names(&json!(rules::trial::KEYS)));
}
