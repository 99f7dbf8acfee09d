//! The JSON Schema of a rulebook, for editors: what may stand where, and what it means.
//!
//! It is draft-07, since that is what YAML editors understand best. It says less than the compiler:
//! expressions are texts to it. A test asks the compiler which keys and words it takes, and
//! compares.

use event::incident::Severity;
use event::{FieldType, Vocabulary};
use serde_json::{Map, Value, json};

use crate::limits::{
    ENTRIES_MAX, EVIDENCE_MAX, KEY_PARTS_MAX, KEYS_MAX, PARTS_MAX, RUNS_MAX, STEPS_MAX, WHY_MAX,
};
use crate::plan::Plan;

/// What the schema knows by name beside the language itself.
#[derive(Debug, Default)]
pub struct Known {
    /// Kinds of event; others may be declared where `closed` is not set.
    pub kinds: Vec<String>,
    /// Fields of events.
    pub fields: Vec<String>,
    /// Facts, for `watch` and `tally`.
    pub facts: Vec<String>,
    /// Rules, for `{detection: …}`, links and tests.
    pub rules: Vec<String>,
    /// Nothing else is a kind: the vocabulary is that of a whole configuration.
    pub closed: bool,
}

impl Known {
    /// The built-in vocabulary.
    #[must_use]
    pub fn builtin() -> Self {
        Self::of(&Vocabulary::default())
    }

    fn of(vocabulary: &Vocabulary) -> Self {
        Self {
            kinds: vocabulary.kinds().iter().map(|kind| kind.name.clone()).collect(),
            fields: vocabulary.fields().iter().map(|field| field.name.clone()).collect(),
            ..Self::default()
        }
    }

    /// What a configuration knows.
    #[must_use]
    pub fn whole(plan: &Plan) -> Self {
        // A fact that a rule keeps for itself has a name of words.
        let facts = plan.facts.iter().map(|fact| fact.name.clone());
        Self {
            facts: facts.filter(|name| !name.contains(' ')).collect(),
            rules: plan.rules.iter().map(|rule| rule.id.clone()).collect(),
            closed: true,
            ..Self::of(&plan.vocabulary)
        }
    }
}

/// The schema of a rulebook file.
#[must_use]
pub fn rulebook(known: &Known) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:portcullis:rulebook:1",
        "title": "Portcullis rulebook",
        "type": "object",
        "additionalProperties": false,
        "properties": sections(),
        "definitions": definitions(known),
    })
}

fn to(definition: &str) -> Value {
    json!({"$ref": format!("#/definitions/{definition}")})
}

/// A reference that says what the value means here.
fn means(definition: &str, description: &str) -> Value {
    json!({"allOf": [to(definition)], "description": description})
}

fn text(description: &str) -> Value {
    json!({"type": ["string", "number", "boolean"], "description": description})
}

fn one_of(words: &[&str], description: &str) -> Value {
    json!({"enum": words, "description": description})
}

fn whole_number(least: usize, most: usize, description: &str) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "description": description})
}

/// One of it, or a list of it.
fn some_of(item: &Value, description: &str) -> Value {
    json!({"anyOf": [item, {"type": "array", "items": item}], "description": description})
}

/// A mapping with these keys and no other.
fn object(required: &[&str], properties: Value, description: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
        "description": description,
    })
}

/// A mapping from names to something.
fn named(of: Value, description: &str) -> Value {
    json!({"type": "object", "additionalProperties": of, "description": description})
}

/// A mapping, or nothing under the key yet.
fn section(schema: Value) -> Value {
    json!({"anyOf": [{"type": "null"}, schema]})
}

fn sections() -> Value {
    let words = FieldType::WORDS.map(|(word, _)| word);
    let number_or_text = json!({"type": ["string", "number", "boolean"]});
    let lists = named(some_of(&number_or_text, ""), "Lists for `in`: texts or integers.");
    let sections = [
        (
            "kinds",
            json!({"type": "array", "items": {"type": "string"}, "description": "Kinds of event that this rulebook adds to the built-in ones, PascalCase."}),
        ),
        (
            "fields",
            named(one_of(&words, ""), "Fields that this rulebook adds, snake_case, by type."),
        ),
        ("lists", lists),
        (
            "macros",
            named(
                to("expression"),
                "Parts of expressions with a name, written out where it stands.",
            ),
        ),
        (
            "holidays",
            json!({"type": "array", "items": {"type": "string"}, "description": "Days as 2026-12-25."}),
        ),
        (
            "schedules",
            named(
                some_of(&to("hours"), ""),
                "Hours with a name: `schedule.NAME` is true while they last, and their edges are events.",
            ),
        ),
        ("facts", named(to("fact"), "State with a name, kept by key; rules read it by that name.")),
        (
            "rules",
            json!({"type": "array", "items": to("rule"), "description": "What is looked for."}),
        ),
        ("incidents", to("incidents")),
        (
            "inhibit",
            json!({"type": "array", "items": to("inhibition"), "description": "What holds rules back while a condition lasts; counted and shown on the incident."}),
        ),
        (
            "tests",
            json!({"type": "array", "items": to("test"), "description": "Run by `portcullis test`."}),
        ),
    ];
    Value::Object(
        sections.map(|(name, schema)| (name.to_owned(), section(schema))).into_iter().collect(),
    )
}

fn definitions(known: &Known) -> Value {
    let mut all = Map::new();
    basics(known, &mut all);
    all.insert("hours".into(), hours());
    all.insert("limits".into(), limits());
    all.insert(
        "trigger".into(),
        object(
            &["on"],
            json!({
                "on": to("kinds"), "if": to("expression"),
            }),
            "Kinds of event, and a condition on `e`.",
        ),
    );
    all.insert("stream".into(), json!({"anyOf": [to("kinds"), to("trigger")]}));
    all.insert("fact".into(), fact());
    all.insert("rule".into(), rule());
    all.insert("guard".into(), guard());
    all.insert("part".into(), part(json!({})));
    all.insert("step".into(), step());
    all.insert("grouping".into(), grouping(json!({})));
    all.insert("incidents".into(), incidents());
    all.insert("inhibition".into(), inhibition());
    all.insert("escalation".into(), escalation());
    all.insert("flood".into(), flood());
    all.insert("test".into(), test());
    Value::Object(all)
}

fn basics(known: &Known, all: &mut Map<String, Value>) {
    all.insert(
        "span".into(),
        json!({
            "type": ["string", "integer"],
            "pattern": "^-?(0|([0-9]+(\\.[0-9]+)?(us|ms|s|m|h|d))+)$",
            "description": "A number and a unit: 400ms, 30s, 5m, 8h, 7d.",
        }),
    );
    all.insert("expression".into(), json!({
        "type": ["string", "boolean", "number"],
        "description": "A CEL expression: `e.` is the event, a fact is read by its name. `&&`, `||`, `!`, `in`, `? :`, has(), size(), startsWith(), duration('30s'), prev(fact).",
    }));
    let kind = if known.closed {
        json!({"enum": known.kinds})
    } else {
        json!({"anyOf": [{"enum": known.kinds}, {"type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$"}]})
    };
    all.insert("kind".into(), kind);
    all.insert("rule_id".into(), suggested(&known.rules));
    all.insert("fact_name".into(), suggested(&known.facts));
    let mut fields = known.fields.clone();
    fields.extend(["site", "device", "kind"].map(str::to_owned));
    all.insert("field".into(), suggested(&fields));
    let detection = object(
        &["detection"],
        json!({
            "detection": some_of(&to("rule_id"), "Ids of rules; '*' are all that are not over detections."),
        }),
        "Detections of rules, as events.",
    );
    all.insert(
        "kinds".into(),
        json!({
            "anyOf": [to("kind"), {"type": "array", "items": to("kind")}, detection],
            "description": "One kind of event or several, or {detection: RULE}.",
        }),
    );
    all.insert("key".into(), json!({
        "anyOf": [to("field"), {"type": "array", "items": to("field"), "maxItems": KEY_PARTS_MAX}],
        "description": "One to three fields: state is kept for each value of them. Also `site`, `device`, `kind`, and what a table says of a field: door.interlock.",
    }));
}

/// A text, of which some are known.
fn suggested(words: &[String]) -> Value {
    match words {
        [] => json!({"type": ["string", "number"]}),
        words => json!({"anyOf": [{"enum": words}, {"type": ["string", "number"]}]}),
    }
}

fn hours() -> Value {
    object(
        &["from", "to"],
        json!({
            "days": some_of(&json!({"type": "string"}), "mon-fri, or [mon, wed]; every day, where it is not said."),
            "from": json!({"type": "string", "description": "When it begins, '07:00', in the zone of the site."}),
            "to": json!({"type": "string", "description": "When it ends, '19:00'; at or before `from` is on the next day."}),
            "holidays": one_of(&["closed", "usual", "only"], "On a holiday: it does not begin, begins as usual, or begins only then."),
        }),
        "A part of the day.",
    )
}

fn limits() -> Value {
    object(
        &[],
        json!({
            "keys": whole_number(1, KEYS_MAX, "Keys held at one site; past it the oldest goes."),
            "runs": whole_number(1, RUNS_MAX, "Runs that wait at one site; past it the one that started first goes."),
            "events": whole_number(1, ENTRIES_MAX, "Events that one key remembers; a window counts no further."),
        }),
        "What it may hold. What goes at a limit is counted, and told by the event LimitReached.",
    )
}

fn fact() -> Value {
    let by = json!({"anyOf": [to("key"), named(json!({"enum": ["value"]}), "")], "description": "The key. {area: value} in a tally: by the value of the fact it counts."});
    let scope =
        one_of(&["site", "enterprise"], "For each site by itself (the default), or across sites.");
    let mut fact = object(
        &["by"],
        json!({
            "count": means("kinds", "How many of these events within the last `within`."),
            "distinct": means("field", "How many values of this field in the events `on` within the last `within`."),
            "on": to("kinds"),
            "if": means("expression", "Which of the events; in a tally, which values (`value`)."),
            "by": by,
            "within": means("span", "How far back; what is exactly so old is outside."),
            "scope": scope,
            "up": means("trigger", "Adds one to the balance."),
            "down": means("trigger", "Takes one from the balance."),
            "set": named(to("expression"), "By kind of event the value that it sets: {DoorOpened: 'true'}."),
            "init": text("The value before the first setting."),
            "ttl": means("span", "Forgotten so long after the last setting."),
            "tally": means("fact_name", "The `set` fact whose keys are counted."),
            "reset": means("stream", "What makes it forget every key."),
            "limits": to("limits"),
        }),
        "State with a name.",
    );
    let of = |key: &str| json!({"required": [key]});
    fact["anyOf"] =
        json!([of("count"), of("distinct"), {"required": ["up", "down"]}, of("set"), of("tally")]);
    fact["dependencies"] = json!({
        "count": ["within"], "distinct": ["within", "on"], "up": ["down"], "down": ["up"],
        "init": ["set"], "ttl": ["set"],
    });
    fact
}

fn rule() -> Value {
    let severities = Severity::ALL.map(Severity::as_str);
    let once = object(&["once"], json!({"once": to("span")}), "");
    let emit = json!({"anyOf": [{"enum": ["each", "edge"]}, once], "description": "How often it speaks for a key: each time (the default), when the condition becomes true, or {once: 10m}."});
    let why = json!({"type": "object", "maxProperties": WHY_MAX, "additionalProperties": to("expression"), "description": "Values that a detection shows, each with its label."});
    let unless = json!({"anyOf": [to("guard"), {"type": "array", "minItems": 1, "maxItems": 8, "items": to("guard")}], "description": "Excuses before and after the event; the rule speaks when none can come any more."});
    let group = json!({"anyOf": [{"enum": ["none"]}, to("grouping")], "description": "How its detections become incidents, in the place of `incidents`."});
    let sequence = json!({"type": "array", "minItems": 1, "maxItems": 2 * STEPS_MAX, "items": to("step"), "description": "Steps one after another, of one key."});
    let mut rule = object(
        &["id"],
        json!({
            "id": text("Its name for ever: it enters the ids of detections."),
            "title": text("A sentence for the operator."),
            "severity": one_of(&severities, "How bad; medium, where it is not said."),
            "mode": one_of(&["live", "shadow", "off"], "shadow detects and counts, and pages nobody."),
            "scope": one_of(&["site", "enterprise"], "For each site by itself (the default), or across sites."),
            "by": to("key"),
            "emit": emit,
            "group": group,
            "why": why,
            "evidence_max": whole_number(2, EVIDENCE_MAX, "Most events cited, the first and the last included."),
            "limits": to("limits"),
            "life_safety": json!({"type": "boolean", "description": "Nothing holds it back; duress, panic and fire are so by themselves."}),
            "verification": whole_number(0, 4, "How far a detection verifies its incident, 0 (no call) to 4 (threat to life)."),
            "then": object(&["shelve_until_quiet"], json!({"shelve_until_quiet": to("span")}), "Over detections that chatter: held back until it was quiet for so long."),
            "risk": text("The risk of the risk register that it serves."),
            "control": text("The control that it implements."),
            "procedure": text("What the operator should do."),
            "on": means("kinds", "The events that are looked at."),
            "if": means("expression", "What must hold."),
            "exceptions": named(to("expression"), "Where one is true the event is none of the rule's; with `on`."),
            "count": window(false),
            "distinct": window(true),
            "sequence": sequence,
            "within": means("span", "From the first step's event to the last's; exactly so long is outside."),
            "without": means("stream", "Ends every run that waits."),
            "strict": means("stream", "An event of it that a run has no use for ends the run."),
            "runs": one_of(&["each", "first", "last", "once"], "Which first events start a run: each, when none waits, in the place of the one that waits, or none after a match."),
            "skip": one_of(&["none", "past-last"], "past-last: a match ends the key's other runs."),
            "unless": unless,
            "session": session(),
            "watch": means("fact_name", "The fact whose level is watched; `value` in `if`."),
            "for": json!({"anyOf": [to("span"), to("expression")], "description": "How long the level must last: 30s, or a span such as door.held_limit."}),
            "resolve": means("kinds", "The level's end clears the incident."),
            "passage": passage(),
            "travel": travel(),
        }),
        "One rule.",
    );
    let looks = ["on", "sequence", "session", "watch", "passage", "travel"];
    rule["anyOf"] = looks.map(|key| json!({"required": [key]})).into_iter().collect();
    rule["dependencies"] = json!({
        "within": ["sequence"], "without": ["sequence"], "strict": ["sequence"], "runs": ["sequence"],
        "skip": ["sequence"], "for": ["watch"], "resolve": ["watch"], "watch": ["if"],
        "sequence": ["by"], "unless": ["on"], "count": ["on"], "distinct": ["on"], "exceptions": ["on"],
    });
    rule
}

fn window(distinct: bool) -> Value {
    let mut properties = json!({
        "by": to("key"),
        "within": means("span", "How far back; what is exactly so old is outside."),
        "at_least": json!({"type": "integer", "minimum": 0, "description": "It speaks when so many are within the window."}),
    });
    let (required, description): (&[&str], _) = if distinct {
        properties["of"] = means("field", "Whose values are counted.");
        (&["of", "within", "at_least"], "So many values of a field within a window.")
    } else {
        (&["within", "at_least"], "So many events within a window.")
    };
    object(required, properties, description)
}

fn guard() -> Value {
    object(
        &["on"],
        json!({
            "on": to("kinds"),
            "same": means("key", "What it must have in common with the event."),
            "if": means("expression", "`x` is this event, `e` the rule's."),
            "from": means("span", "How far back: -10s."),
            "to": means("span", "How far on: 2s."),
            "at_least": whole_number(0, 255, "How many are an excuse; one, where it is not said."),
        }),
        "An excuse.",
    )
}

/// A part of a step: an event with a name, or an absence.
fn part(more: Value) -> Value {
    let words = ["not", "all", "any"].map(|word| json!({"required": [word]}));
    let names = json!({"anyOf": words});
    let mut properties = json!({"if": to("expression")});
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    let event = json!({
        "type": "object", "not": names, "minProperties": 1,
        "properties": properties,
        "additionalProperties": to("kinds"),
        "description": "{a: AccessDenied, if: a.reason == 'pin'}: `a.` names the event here and in later steps.",
    });
    let absence = object(
        &["not"],
        json!({
            "not": to("kinds"), "if": to("expression"),
            "for": json!({"anyOf": [to("span"), to("expression")]}),
        }),
        "No such event, for so long.",
    );
    json!({"anyOf": [event, absence]})
}

fn step() -> Value {
    let often = json!({
        "times": json!({"type": ["integer", "string"], "description": "3, 2..5, 1.."}),
        "optional": json!({"type": "boolean", "description": "One or none."}),
    });
    let mut all = vec![part(often)];
    for (word, description) in
        [("all", "Every part, in any order."), ("any", "The first part that is met.")]
    {
        let parts =
            json!({"type": "array", "minItems": 2, "maxItems": PARTS_MAX, "items": to("part")});
        all.push(object(&[word], json!({word: parts}), description));
    }
    json!({"anyOf": all})
}

fn session() -> Value {
    let before = object(
        &["on", "for"],
        json!({"on": to("kinds"), "for": to("span")}),
        "Events that count for the session which begins less than so long after them.",
    );
    let any = object(
        &["any"],
        json!({"any": to("key")}),
        "Whichever of these an event carries finds the session.",
    );
    let by = json!({"anyOf": [to("key"), any]});
    object(
        &["open", "close"],
        json!({
            "open": means("stream", "Begins it."),
            "close": means("stream", "Ends it."),
            "by": by,
            "grace": means("span", "What comes so long after the end still counts."),
            "max": means("span", "Judged, not closed, so long after it began."),
            "before": before,
        }),
        "What begins and ends, judged as a whole; `s.` in `if`.",
    )
}

fn passage() -> Value {
    object(
        &["by", "on"],
        json!({
            "by": means("key", "Whose presence."), "on": to("kinds"), "if": to("expression"),
            "from": means("expression", "The area it leads from."),
            "to": means("expression", "The area it leads to."),
            "forget": means("span", "Unknown again so long after the last passage; 7d."),
            "forgive": means("stream", "Makes it unknown again."),
        }),
        "Anti-passback: nobody goes the same way twice.",
    )
}

fn travel() -> Value {
    object(
        &["by", "on", "min_time"],
        json!({
            "by": means("key", "Who travels."), "on": to("kinds"), "if": to("expression"),
            "place": means("field", "What is another place; the site, where it is not said."),
            "min_time": json!({"anyOf": [to("span"), to("expression")], "description": "Sooner than this is a detection."}),
        }),
        "At another place sooner than anybody can be.",
    )
}

fn grouping(more: Value) -> Value {
    let dimensions = ["area", "door", "person", "credential", "track", "site", "rule"];
    let mut properties = json!({
        "by": some_of(&json!({"enum": dimensions}), "What detections of one incident share."),
        "gap": means("span", "A detection further away opens another incident."),
        "span_max": means("span", "An incident is no longer than this."),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    object(&[], properties, "How detections become incidents.")
}

fn incidents() -> Value {
    let side = some_of(&to("rule_id"), "");
    let link = object(
        &["between", "within"],
        json!({
            "between": json!({"type": "array", "minItems": 2, "maxItems": 2, "items": side, "description": "Rules on one side, and on the other."}),
            "within": to("span"),
        }),
        "Incidents that belong together.",
    );
    let escalate = json!({"type": "array", "items": to("escalation")});
    let stale = json!({"anyOf": [to("span"), {"enum": ["never"]}], "description": "Active for so long, it is stale; a day, where it is not said."});
    grouping(json!({
        "links": {"type": "array", "items": link},
        "escalate": escalate,
        "flood": to("flood"),
        "stale": stale,
        "shelve_max": means("span", "Nothing stays shelved for longer; 8 h, where it is not said."),
    }))
}

fn flood() -> Value {
    let severities = Severity::ALL.map(Severity::as_str);
    let number =
        |description: &str| json!({"type": "integer", "minimum": 1, "description": description});
    object(
        &[],
        json!({
            "id": text("The rule that its incident is of; flood, where it is not said."),
            "title": text("What it is about, in a sentence."),
            "severity": one_of(&severities, "How bad a flood is; high, where it is not said."),
            "procedure": text("What to do."),
            "at_least": number("So many incidents opened begin one; 10, where it is not said."),
            "within": means("span", "Within this span; 10 m, where it is not said."),
            "until": number("Fewer than so many end it; 5, where it is not said."),
            "passes": one_of(&severities, "What is as bad is told all the same; high, where it is not said."),
        }),
        "More incidents than anybody can look at: the lesser ones are folded into one.",
    )
}

fn inhibition() -> Value {
    object(
        &["id", "while", "targets"],
        json!({
            "id": text("Its name."),
            "while": means("expression", "While it holds, its targets are held back."),
            "hold": means("span", "They wait so long for it to become true."),
            "targets": some_of(&to("rule_id"), "The rules it holds back; '*' are all."),
            "except": some_of(&to("rule_id"), "But not these; life_safety never is."),
            "scope": one_of(&["site", "enterprise"], "That of its targets."),
        }),
        "What holds rules back.",
    )
}

fn escalation() -> Value {
    let severities = Severity::ALL.map(Severity::as_str);
    let mut escalation = object(
        &["id", "at_least", "within"],
        json!({
            "id": text("Its name."),
            "of": some_of(&to("rule_id"), "Detections of these rules; of all, where it is not said."),
            "independent": means("field", "What tells detectors apart; the rule, where it is not said."),
            "at_least": json!({"type": "integer", "minimum": 2, "description": "So many confirm each other."}),
            "within": means("span", "The span they come in."),
            "severity": one_of(&severities, "The incident becomes at least so bad."),
            "verification": whole_number(0, 4, "The incident becomes at least so verified."),
        }),
        "Independent detectors that confirm each other raise the incident.",
    );
    escalation["anyOf"] = json!([{"required": ["severity"]}, {"required": ["verification"]}]);
    escalation
}

fn test() -> Value {
    let lines = |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    object(
        &["name", "expect"],
        json!({
            "name": text("What it shows."),
            "site": text("The site of its events."),
            "day": text("The day of its times, 2026-12-25; a Monday, where it is not said."),
            "slack": means("span", "How late an event may come."),
            "of": some_of(&to("rule_id"), "The rules that are looked at: those expected, where it is not said."),
            "ends": json!({"type": "boolean", "description": "false: time does not move past the last deadline."}),
            "given": lines("Events in the order of their arrival: TIME KIND field=value …"),
            "expect": lines("Detections, TIME RULE KEY, in any order; [] for none."),
        }),
        "Given events, expected detections.",
    )
}
