//! Alarm management: `inhibit`, `incidents.escalate`, and what a rule says of it.

use event::config::{Node, Reader, Yaml};
use event::incident::Severity;
use event::vocabulary::field;
use event::{FieldType, TimeSpan};

use super::check::{Names, Type};
use super::rulebook::{Book, default_grouping, group_of, positive};
use crate::limits::POLICIES_MAX;
use crate::plan::{
    Dimension, Emit, Escalation, FieldRef, Flood, Grouping, Inhibition, Limits, Mode, Pattern,
    Policies, Rule, RuleId, Scope, Trigger,
};
use crate::policy::FLOOD_TITLE;

/// Keys under `incidents`.
pub const INCIDENT_KEYS: &[&str] =
    &["by", "gap", "span_max", "links", "escalate", "flood", "stale", "shelve_max"];

/// What these kinds say is never held back.
const LIFE_SAFETY: [&str; 3] = ["Duress", "Panic", "Fire"];

/// The highest verification level (TMA AVS-01): a threat to life.
const VERIFICATION_MAX: u8 = 4;
/// What any detection says at first: little is known.
const VERIFICATION: u8 = 1;

/// What a rule says of alarm management.
pub struct Weight {
    /// How its detections are grouped, where it says.
    pub grouping: Option<Grouping>,
    /// Whether no policy holds it back.
    pub life_safety: bool,
    /// How far a detection verifies its incident.
    pub verification: u8,
    /// `then: {shelve_until_quiet: …}`.
    pub quiet: Option<TimeSpan>,
}

/// Reads a rule's `life_safety`, `group`, `verification` and `then`.
pub fn of_rule(book: &Book<'_>, reader: &mut Reader, node: &Node, pattern: &Pattern) -> Weight {
    let life_safety = life_safety(book, reader, node, pattern);
    let quiet = node.get("then").and_then(|then| then_quiet(book, reader, node, then, pattern));
    let written = node.get("group").map(|group| group_of(reader, group));
    if let (true, Some(group)) = (life_safety, node.get("group"))
        && group.text() != Some("none")
    {
        let help = Some("leave `group` out: each such detection is an incident".to_owned());
        reader.error_with(group, "what is life safety is never grouped", help);
    }
    let alone = || life_safety.then(|| Grouping { by: Vec::new(), ..default_grouping() });
    // A chattering device is one incident, whatever else its area has.
    let own = || quiet.map(|_| Grouping { by: vec![Dimension::Rule], ..default_grouping() });
    Weight {
        grouping: alone().or(written).or_else(own),
        life_safety,
        verification: verification(reader, node).unwrap_or(VERIFICATION),
        quiet,
    }
}

fn life_safety(book: &Book<'_>, reader: &mut Reader, node: &Node, pattern: &Pattern) -> bool {
    let built_in = match pattern {
        Pattern::Event(on) => {
            let of = |name: &&str| book.compiler.vocabulary.kind_named(name);
            let kinds: Vec<_> = LIFE_SAFETY.iter().filter_map(of).collect();
            !on.kinds.is_empty() && on.kinds.iter().all(|kind| kinds.contains(kind))
        }
        _ => false,
    };
    let written = reader.optional_bool(node, "life_safety");
    if built_in && written == Some(false) {
        let at = node.get("life_safety").unwrap_or(node);
        reader.error_at(at, "duress, panic and fire are life safety, always");
    }
    built_in || written.unwrap_or(false)
}

fn verification(reader: &mut Reader, node: &Node) -> Option<u8> {
    let at = node.get("verification")?;
    let wanted = "a level from 0 (no call) to 4 (threat to life)";
    let level = reader.parsed::<u8>(at, wanted)?;
    if level > VERIFICATION_MAX {
        reader.error_at(at, format!("{level} is not {wanted}"));
    }
    Some(level)
}

fn then_quiet(
    book: &Book<'_>,
    reader: &mut Reader,
    node: &Node,
    then: &Node,
    pattern: &Pattern,
) -> Option<TimeSpan> {
    reader.expect_keys(then, &["shelve_until_quiet"]);
    let first = book.compiler.vocabulary.kinds().len();
    let over = match pattern {
        Pattern::Event(on) => on.kinds.iter().all(|kind| kind.0 as usize >= first),
        _ => false,
    };
    if !over {
        let help = "write on: {detection: RULE} and count: {by: [kind, device], …}";
        reader.error_with(then, "`then` goes with a rule over detections", Some(help.to_owned()));
    }
    if node.get("scope").and_then(Node::text) == Some("enterprise") {
        let message = "`then` holds back what its own site says: it has no `scope: enterprise`";
        reader.error_at(then, message);
    }
    if then.get("shelve_until_quiet").is_none() {
        let help = Some("write then: {shelve_until_quiet: 5m}".to_owned());
        reader.error_with(then, "`then` says nothing", help);
    }
    positive(reader, then, "shelve_until_quiet")
}

/// Reads `inhibit` and the policies under `incidents` of all files.
pub fn read(book: &mut Book<'_>, parsed: &mut [(Reader, Node)]) -> Policies {
    let mut policies = Policies::default();
    for (reader, root) in parsed {
        for node in root.get("inhibit").map(Node::items).unwrap_or_default() {
            let inhibition = inhibition(book, reader, node);
            named_once(reader, node, policies.inhibit.iter().map(|i| i.id.as_str()));
            policies.inhibit.extend(inhibition);
        }
        let Some(incidents) = root.get("incidents") else { continue };
        if incidents.get("stale").is_some_and(|node| node.text() == Some("never")) {
            policies.stale = None;
        } else if let Some(span) = positive(reader, incidents, "stale") {
            policies.stale = Some(span);
        }
        if let Some(span) = positive(reader, incidents, "shelve_max") {
            policies.shelve_max = span;
        }
        if let Some(node) = incidents.get("flood") {
            policies.flood = flood(book, reader, node);
        }
        for node in incidents.get("escalate").map(Node::items).unwrap_or_default() {
            let escalation = escalation(book, reader, node);
            named_once(reader, node, policies.escalate.iter().map(|e| e.id.as_str()));
            policies.escalate.extend(escalation);
        }
        if policies.escalate.len() > POLICIES_MAX {
            reader.error_at(incidents, format!("more than {POLICIES_MAX} entries of `escalate`"));
        }
    }
    policies
}

fn named_once<'a>(reader: &mut Reader, node: &Node, mut known: impl Iterator<Item = &'a str>) {
    let Some(id) = node.get("id") else { return };
    if known.any(|other| Some(other) == id.text()) {
        reader.error_at(id, format!("`{}` stands twice", id.text().unwrap_or_default()));
    }
}

/// The rules that a policy names, `'*'` being all of its scope; without those of life safety.
fn rules_of(book: &Book<'_>, reader: &mut Reader, node: &Node, scope: Scope) -> Vec<RuleId> {
    if node.text() == Some("*") {
        let all = book.rules.iter().enumerate();
        let all = all.filter(|(_, rule)| rule.scope == scope && !rule.life_safety);
        return all.map(|(number, _)| RuleId(number as u16)).collect();
    }
    let mut rules = book.rules_named(reader, node);
    for item in node.items() {
        let Some(rule) = book.rules.iter().find(|rule| Some(rule.id.as_str()) == item.text())
        else {
            continue;
        };
        if rule.scope != scope {
            let help = Some("give policy and rule the same scope".to_owned());
            reader.error_with(item, format!("rule `{}` has another scope", rule.id), help);
        }
    }
    rules.sort_unstable();
    rules.dedup();
    rules
}

fn required<'n>(
    reader: &mut Reader,
    node: &'n Node,
    key: &str,
    what: &str,
    example: &str,
) -> Option<&'n Node> {
    let found = node.get(key);
    if found.is_none() {
        let help = Some(format!("write {key}: {example}"));
        reader.error_with(node, format!("`{key}` is missing: {what}"), help);
    }
    found
}

/// `{id: parent-offline, while: '!online[device.parent]', hold: 45s, targets: [door-held]}`.
fn inhibition(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Inhibition> {
    reader.expect_keys(node, &["id", "while", "hold", "targets", "except", "scope"]);
    if !matches!(node.value, Yaml::Mapping(_)) {
        return None;
    }
    let id = reader.required_text(node, "id");
    let words = [("site", Scope::Site), ("enterprise", Scope::Enterprise)];
    let scope = node.get("scope").and_then(|n| reader.one_of(n, &words)).unwrap_or_default();
    let condition = required(reader, node, "while", "the condition", "fire_release == true");
    let targets = required(reader, node, "targets", "the rules it holds back", "[door-held]");
    let mut rules = targets.map(|t| rules_of(book, reader, t, scope)).unwrap_or_default();
    if let Some(except) = node.get("except").filter(|except| except.text() != Some("life_safety")) {
        let spared = rules_of(book, reader, except, scope);
        rules.retain(|rule| !spared.contains(rule));
    }
    for (item, rule) in targets.map(Node::items).unwrap_or_default().iter().filter_map(|item| {
        let rule = book.rules.iter().find(|rule| Some(rule.id.as_str()) == item.text())?;
        Some((item, rule))
    }) {
        if rule.life_safety {
            let message = format!("`{}` is life safety: nothing holds it back", rule.id);
            reader.error_with(item, message, Some("take it out of `targets`".to_owned()));
        }
    }
    book.compiler.reads.clear();
    book.compiler.touched.clear();
    book.compiler.schedules.clear();
    let names = Names {
        current: vec!["e".into()],
        key_only: Some(at_hand(book, &rules)),
        of_detection: true,
        ..Names::default()
    };
    let (condition, _) = book.compiler.expression(reader, condition?, &names, Some(Type::Bool))?;
    let reads = std::mem::take(&mut book.compiler.touched);
    for fact in &reads {
        if book.scopes[fact.0 as usize] != scope {
            let name = &book.compiler.facts[fact.0 as usize].name;
            let at = node.get("while").unwrap_or(node);
            reader.error_at(at, format!("fact `{name}` has another scope than the policy"));
        }
    }
    Some(Inhibition {
        id: id?,
        scope,
        condition,
        hold: positive(reader, node, "hold").unwrap_or_default(),
        targets: rules,
        reads,
        schedules: std::mem::take(&mut book.compiler.schedules),
    })
}

/// The fields that detections of these rules have.
fn at_hand(book: &Book<'_>, rules: &[RuleId]) -> Vec<FieldRef> {
    let texts = [field::AREA, field::DOOR, field::PERSON, field::CREDENTIAL];
    let mut fields: Vec<_> = texts.map(|id| FieldRef::Slot(id, FieldType::String)).into();
    let track = book.compiler.vocabulary.field_named("track");
    fields.extend(track.map(|id| FieldRef::Slot(id, FieldType::String)));
    fields.extend([FieldRef::Device, FieldRef::Kind]);
    fields.extend(rules.iter().flat_map(|rule| book.rules[rule.0 as usize].by.iter().copied()));
    fields
}

/// `{id: confirmed, independent: device.group, at_least: 2, within: 45m, severity: high}`.
fn escalation(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Escalation> {
    let keys = &["id", "of", "independent", "at_least", "within", "severity", "verification"];
    reader.expect_keys(node, keys);
    let id = reader.required_text(node, "id");
    let of = match node.get("of").filter(|of| of.text() != Some("*")) {
        Some(of) => {
            let mut rules = book.rules_named(reader, of);
            rules.sort_unstable();
            rules
        }
        None => (0..book.rules.len() as u16).map(RuleId).collect(),
    };
    let independent = match node.get("independent") {
        Some(at) => *book.key(reader, at).first()?,
        None => FieldRef::Kind,
    };
    if let (false, Some(at)) = (knows(&at_hand(book, &of), independent), node.get("independent")) {
        let help = "area, door, person, credential, track, device, kind and the rules' keys";
        let name = at.text().unwrap_or_default();
        reader.error_with(at, format!("detections have no `{name}`"), Some(help.to_owned()));
    }
    let at_least = required(reader, node, "at_least", "how many confirm each other", "2");
    let at_least = at_least.and_then(|n| reader.parsed::<u32>(n, "a number"));
    if let (Some(0 | 1), Some(at)) = (at_least, node.get("at_least")) {
        reader.error_at(at, "one detector confirms nothing: at least 2");
    }
    required(reader, node, "within", "the span they come in", "45m");
    let within = positive(reader, node, "within");
    let severity = Severity::ALL.map(|s| (s.as_str(), s));
    let severity = node.get("severity").and_then(|n| reader.one_of(n, &severity));
    let verification = verification(reader, node);
    if node.get("severity").is_none() && node.get("verification").is_none() {
        let help = Some("write severity: high, verification: 3, or both".to_owned());
        reader.error_with(node, "the policy raises nothing", help);
    }
    let (id, at_least, within) = (id?, at_least?, within?);
    Some(Escalation { id, of, independent, at_least, within, severity, verification })
}

fn knows(fields: &[FieldRef], field: FieldRef) -> bool {
    match field {
        FieldRef::Joined { of, .. } => knows(fields, of.field()),
        FieldRef::Site => true,
        other => fields.contains(&other),
    }
}

/// `flood: {at_least: 10, within: 10m, until: 5, passes: high}`: the trade's figures where nothing
/// is said. Its incident is of a rule of its own, which no event fires.
fn flood(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Flood> {
    let keys = &["id", "title", "severity", "procedure", "at_least", "within", "until", "passes"];
    reader.expect_keys(node, keys);
    let mut number = |key: &str, default: u32| {
        node.get(key).and_then(|n| reader.parsed::<u32>(n, "a number")).unwrap_or(default)
    };
    let (at_least, until) = (number("at_least", 10), number("until", 5));
    if at_least < 2 || until > at_least || until == 0 {
        let help = Some("write at_least: 10, until: 5".to_owned());
        reader.error_with(node, "a flood begins with two at least, and ends with fewer", help);
    }
    let words = Severity::ALL.map(|s| (s.as_str(), s));
    let severity = node.get("severity").and_then(|n| reader.one_of(n, &words));
    let passes = node.get("passes").and_then(|n| reader.one_of(n, &words));
    let within = positive(reader, node, "within").unwrap_or(TimeSpan::from_secs(600));
    let id = reader.optional_text(node, "id").unwrap_or_else(|| "flood".to_owned());
    if book.rules.iter().any(|rule| rule.id == id) {
        reader.error_at(node, format!("rule `{id}` stands already: give the flood another `id`"));
        return None;
    }
    let rule = RuleId(book.rules.len() as u16);
    let title = reader.optional_text(node, "title");
    book.rules.push(Rule {
        title: title.unwrap_or_else(|| FLOOD_TITLE.to_owned()),
        severity: severity.unwrap_or(Severity::High),
        procedure: reader.optional_text(node, "procedure"),
        id,
        mode: Mode::Live,
        scope: Scope::Site,
        by: Vec::new(),
        pattern: Pattern::Event(Trigger { kinds: Vec::new(), condition: None }),
        emit: Emit::Each,
        late: false,
        captures: Vec::new(),
        evidence_of: Vec::new(),
        evidence_max: 2,
        why: Vec::new(),
        reads: Vec::new(),
        schedules: Vec::new(),
        grouping: Some(Grouping { by: Vec::new(), ..default_grouping() }),
        life_safety: true,
        verification: VERIFICATION,
        quiet: None,
        risk: None,
        control: None,
        limits: Limits::default(),
    });
    let passes = passes.unwrap_or(Severity::High);
    Some(Flood { rule, at_least, within, until, passes })
}
