//! Our compiler of expressions against the `cel` crate: random expressions over random events.
//!
//! What differs by design: integers saturate (CEL: an error), which no expression here reaches; a
//! number that is not finite is missing (CEL: infinity); a list holds constants.

use cel::{Context, Program, Value as Theirs};
use event::{EventBlock, Interner, TimeSpan};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rules::engine::{Engine, Findings, Input, Options, SourceOptions};
use rules::value::Value as Ours;

use crate::script::{event, try_compile};

/// A typed expression, as text.
fn of_type(ty: &'static str, depth: u32) -> BoxedStrategy<String> {
    let leaf = match ty {
        "int" => prop_oneof![
            (-9_i64..10).prop_map(|n| n.to_string()),
            Just("e.level".to_owned()),
            Just("e.people".to_owned()),
            Just("size(e.door)".to_owned()),
        ]
        .boxed(),
        "float" => prop_oneof![
            (-40_i64..40).prop_map(|n| format!("{:?}", n as f64 / 8.0)),
            Just("e.score".to_owned()),
        ]
        .boxed(),
        "text" => prop_oneof![
            "[abé ]{0,3}".prop_map(|text| format!("'{text}'")),
            Just("e.door".to_owned()),
            Just("e.reason".to_owned()),
        ]
        .boxed(),
        _ => prop_oneof![
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("e.active".to_owned()),
            prop_oneof!["level", "door", "score", "active"].prop_map(|f| format!("has(e.{f})")),
        ]
        .boxed(),
    };
    if depth == 0 {
        return leaf;
    }
    let sub = move |ty| of_type(ty, depth - 1);
    let chosen = move |ty| {
        (sub("bool"), sub(ty), sub(ty)).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})"))
    };
    let node = match ty {
        "int" => prop_oneof![
            (sub("int"), prop_oneof!["\\+", "-", "\\*", "/", "%"], sub("int"))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            sub("int").prop_map(|a| format!("-({a})")),
            chosen("int"),
        ]
        .boxed(),
        "float" => prop_oneof![
            (sub("float"), prop_oneof!["\\+", "-", "\\*", "/"], sub("float"))
                .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            chosen("float"),
        ]
        .boxed(),
        "text" => chosen("text").boxed(),
        _ => {
            let compared = prop_oneof![Just("int"), Just("float"), Just("text")];
            let compared = compared.prop_flat_map(move |ty| {
                (sub(ty), prop_oneof!["==", "!=", "<", "<=", ">", ">="], sub(ty))
                    .prop_map(|(a, o, b)| format!("({a} {o} {b})"))
            });
            prop_oneof![
                3 => compared,
                3 => (sub("bool"), prop_oneof!["&&", "\\|\\|"], sub("bool"))
                    .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
                1 => sub("bool").prop_map(|a| format!("!{a}")),
                1 => (sub("text"), prop_oneof!["startsWith", "endsWith", "contains"], sub("text"))
                    .prop_map(|(a, f, b)| format!("{a}.{f}({b})")),
                1 => sub("int").prop_map(|a| format!("({a} in [1, 2, -3])")),
                1 => sub("text").prop_map(|a| format!("({a} in ['a', 'b é', ''])")),
                1 => chosen("bool"),
            ]
            .boxed()
        }
    };
    prop_oneof![1 => leaf, 4 => node].boxed()
}

/// An event's fields; any may be missing.
#[derive(Clone, Debug)]
struct Fields {
    level: Option<i64>,
    people: Option<i64>,
    score: Option<i64>,
    active: Option<bool>,
    door: Option<String>,
    reason: Option<String>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let text = || proptest::option::weighted(0.8, "[abé]{1,3}");
    let number = || proptest::option::weighted(0.8, -9_i64..10);
    let active = proptest::option::weighted(0.8, any::<bool>());
    (number(), number(), number(), active, text(), text()).prop_map(
        |(level, people, score, active, door, reason)| Fields {
            level,
            people,
            score,
            active,
            door,
            reason,
        },
    )
}

#[allow(clippy::disallowed_types, reason = "the crate's own type; its order is never seen")]
fn theirs(expression: &str, fields: &Fields) -> Option<Theirs> {
    let mut map: std::collections::HashMap<String, Theirs> = std::collections::HashMap::new();
    let mut put = |name: &str, value: Option<Theirs>| {
        value.map(|value| map.insert(name.to_owned(), value));
    };
    put("level", fields.level.map(Theirs::Int));
    put("people", fields.people.map(Theirs::Int));
    put("score", fields.score.map(|n| Theirs::Float(n as f64 / 4.0)));
    put("active", fields.active.map(Theirs::Bool));
    put("door", fields.door.clone().map(|t| Theirs::String(t.into())));
    put("reason", fields.reason.clone().map(|t| Theirs::String(t.into())));
    let mut context = Context::default();
    context.add_variable_from_value("e", map);
    let program = Program::compile(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    program.execute(&context).ok()
}

fn ours(expression: &str, fields: &Fields) -> (Ours, String) {
    let interner = Interner::shared();
    let quoted = expression.replace('\'', "''");
    let rulebook = format!("rules: [{{id: r, on: Panic, why: {{v: '{quoted}'}}}}]");
    let plan = try_compile(&rulebook, &interner).unwrap_or_else(|faults| {
        panic!("{expression}: {}", faults.iter().map(ToString::to_string).collect::<String>())
    });
    let mut line = "1 Panic".to_owned();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line += &format!(" {name}={value}");
        }
    };
    put("level", fields.level.map(|n| n.to_string()));
    put("people", fields.people.map(|n| n.to_string()));
    put("score", fields.score.map(|n| (n as f64 / 4.0).to_string()));
    put("active", fields.active.map(|b| b.to_string()));
    put("door", fields.door.clone());
    put("reason", fields.reason.clone());
    let sources = vec![SourceOptions { slack: TimeSpan::ZERO }];
    let options = Options { sources, ..Options::default() };
    let mut engine = Engine::new(plan.clone(), interner.clone(), options);
    let (mut block, mut out) = (EventBlock::new(&plan.vocabulary), Findings::default());
    event(&mut block, &plan.vocabulary, &interner, 0, &line);
    engine.feed(Input::Events(&block), &mut out);
    engine.feed(Input::EndOfInput, &mut out);
    let value = out.iter().next().map_or(Ours::Missing, |finding| out.why(finding)[0]);
    let text = match value {
        Ours::Text(symbol) => interner.text(symbol).to_owned(),
        _ => String::new(),
    };
    (value, text)
}

fn same(ours: &(Ours, String), theirs: &Theirs) -> bool {
    match (ours.0, theirs) {
        (Ours::Bool(a), Theirs::Bool(b)) => a == *b,
        (Ours::Int(a), Theirs::Int(b)) => a == *b,
        (Ours::Float(a), Theirs::Float(b)) => a == *b,
        (Ours::Text(_), Theirs::String(b)) => ours.1 == **b,
        // A number that is not finite is missing here, and so is what is made of it.
        (Ours::Missing, Theirs::Float(x)) => !x.is_finite(),
        _ => false,
    }
}

#[test]
fn expressions_mean_what_cel_says() {
    let cases = std::env::var_os("PORTCULLIS_HISTORIES");
    let cases = cases.and_then(|n| n.to_str()?.parse().ok()).unwrap_or(1_500);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config { cases, ..Config::default() }, rng);
    let any = prop_oneof![Just("bool"), Just("int"), Just("float"), Just("text")];
    let strategy = (any.prop_flat_map(|ty| of_type(ty, 4)), fields());
    let counts = std::cell::RefCell::new((0, 0, 0));
    let result = runner.run(&strategy, |(expression, fields)| {
        let (ours, theirs) = (ours(&expression, &fields), theirs(&expression, &fields));
        let missing = ours.0 == Ours::Missing;
        let mut counts = counts.borrow_mut();
        let agrees = match &theirs {
            Some(theirs) if same(&ours, theirs) => {
                counts.0 += 1;
                true
            }
            // Only a division makes infinity of numbers so small.
            Some(_) => {
                counts.2 += 1;
                missing && expression.contains('/')
            }
            None => {
                counts.1 += 1;
                missing
            }
        };
        prop_assert!(agrees, "{expression}\n{fields:?}\nours {ours:?}\ntheirs {theirs:?}");
        Ok(())
    });
    let (values, missing, infinite) = counts.into_inner();
    println!("{values} values agree, {missing} are missing, {infinite} infinite there");
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(values > cases / 2 && missing > cases / 10 && infinite < cases / 20);
}
