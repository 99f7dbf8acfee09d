//! Rulebook files: the sections, the rules' common keys, grouping and links.

use std::sync::Arc;

use event::config::{Diagnostic, Node, Reader, Yaml, did_you_mean};
use event::incident::Severity;
use event::model::{Cell, Model};
use event::{Digest, FieldType, Interner, KindId, TimeSpan, Vocabulary};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::check::{Compiler, Names};
use super::detections::{check_cycles, is_over_detections};
use super::expr::Expr;
use super::fact::{self, DraftFact};
use super::shared::Shared;
use super::{names, pattern, policy, schedule};
use crate::limits::{
    ENTRIES_MAX, EVIDENCE_MAX, KEY_PARTS_MAX, KEYS_MAX, RULES_MAX, RUNS_MAX, WHY_MAX,
};
use crate::plan::{
    Dimension, Emit, Fact, FactId, FieldRef, Grouping, Limits, Link, Mode, Pattern, Plan, Rule,
    RuleId, Scope,
};

/// What a rulebook file may hold.
pub const SECTIONS: &[&str] = &[
    "kinds",
    "fields",
    "lists",
    "macros",
    "holidays",
    "schedules",
    "facts",
    "rules",
    "incidents",
    "inhibit",
    "tests",
];

/// A rulebook file, parsed: read by [`declare`], then by [`compile`].
#[derive(Debug)]
pub struct Source<'a> {
    path: &'a str,
    text: &'a str,
    reader: Reader<'a>,
    root: Node,
}

/// Parses rulebook files, given as (path, text).
#[must_use]
pub fn parse(files: &[(String, String)]) -> Vec<Source<'_>> {
    let mut sources = Vec::with_capacity(files.len());
    for (path, text) in files {
        let (reader, root) = Reader::parse(path, text);
        sources.push(Source { path, text, reader, root });
    }
    sources
}

/// Reads the `kinds:` and `fields:` of rulebooks into the vocabulary. Everything else is read by
/// [`compile`], once the vocabulary is whole.
pub fn declare(files: &mut [Source<'_>], vocabulary: &mut Vocabulary) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for Source { reader, root, .. } in files {
        // A syntax fault is told once, by `compile`.
        let syntax = std::mem::take(&mut reader.diagnostics);
        for kind in root.get("kinds").map(Node::items).unwrap_or_default() {
            let declared = reader.scalar(kind).map(|name| vocabulary.declare_kind(name));
            if let Some(Err(message)) = declared {
                reader.error_at(kind, message);
            }
        }
        for (name, ty) in root.get("fields").map(Node::entries).unwrap_or_default() {
            let Some(ty) = reader.one_of(ty, &FieldType::WORDS) else { continue };
            let text = name.text().unwrap_or_default().to_owned();
            if let Err(message) = vocabulary.declare_field(&text, ty) {
                reader.error_at(name, message);
            }
        }
        diagnostics.append(&mut reader.diagnostics);
        reader.diagnostics = syntax;
    }
    diagnostics
}

/// Compiles rulebook files into a plan; or gives every fault in them.
pub fn compile(
    files: Vec<Source<'_>>,
    vocabulary: Arc<Vocabulary>,
    model: Arc<Model>,
    interner: &Interner,
) -> Result<Plan, Vec<Diagnostic>> {
    let hash = hash(&files, &model, interner);
    let mut parsed: Vec<(Reader, Node)> =
        files.into_iter().map(|file| (file.reader, file.root)).collect();
    let mut model = Model::clone(&model);
    for (reader, root) in &mut parsed {
        names::lists(&mut model, interner, reader, root);
    }
    let model = Arc::new(model);
    let mut compiler = Compiler::new(&vocabulary, &model, interner);
    for (_, root) in &parsed {
        for node in root.get("rules").map(Node::items).unwrap_or_default() {
            let id = node.get("id").and_then(Node::text).unwrap_or_default();
            compiler.rule_places.entry(id.to_owned()).or_insert(compiler.rules.len());
            compiler.rules.push((id.to_owned(), is_over_detections(node)));
        }
    }
    too_many(&mut parsed, "rules", compiler.rules.len());
    schedule::zones(&model, interner, &mut compiler.calendar);
    for (reader, root) in &mut parsed {
        schedule::read(reader, root, &mut compiler.calendar);
        names::macros(&mut compiler, reader, root);
    }
    let mut drafts: Vec<(usize, DraftFact)> = Vec::new();
    for (file, (reader, root)) in parsed.iter_mut().enumerate() {
        reader.expect_keys(root, SECTIONS);
        let facts = root.get("facts").map(Node::entries).unwrap_or_default();
        for (place, entry) in facts.iter().enumerate() {
            if let Some(draft) = fact::draft(&mut compiler, reader, place, entry) {
                drafts.push((file, draft));
            }
        }
    }
    let mut facts = Vec::new();
    for (number, (file, draft)) in drafts.iter().enumerate() {
        let (reader, root) = &mut parsed[*file];
        facts.extend(fact::finish(&mut compiler, reader, root, draft, number));
    }
    let scopes: Vec<Scope> = drafts.iter().map(|(_, d)| d.scope).collect();
    let keys: Vec<Vec<FieldRef>> = drafts.iter().map(|(_, d)| d.by.clone()).collect();
    let limits = Limits::default();
    let (steps, rules, numbers, shared) = Default::default();
    let mut book = Book { compiler, scopes, keys, facts, shared, steps, limits, rules, numbers };
    book.share_facts();
    for (reader, root) in &mut parsed {
        for node in root.get("rules").map(Node::items).unwrap_or_default() {
            if let Some(rule) = book.rule(reader, node) {
                let number = RuleId(book.rules.len() as u16);
                book.numbers.entry(rule.id.clone()).or_insert(number);
                book.rules.push(rule);
            }
        }
    }
    book.finish_windows();
    let mut grouping = None;
    let mut links = Vec::new();
    for (reader, root) in &mut parsed {
        if let Some(node) = root.get("incidents") {
            reader.expect_keys(node, policy::INCIDENT_KEYS);
            if ["by", "gap", "span_max"].iter().any(|key| node.get(key).is_some()) {
                grouping = Some(grouping_of(reader, node));
            }
            for link in node.get("links").map(Node::items).unwrap_or_default() {
                links.extend(book.link(reader, link));
            }
        }
    }
    too_many(&mut parsed, "facts", book.facts.len());
    let policies = policy::read(&mut book, &mut parsed);
    let (rules, facts) = (std::mem::take(&mut book.rules), std::mem::take(&mut book.facts));
    check_cycles(&facts, &rules, vocabulary.kinds().len(), &mut parsed);
    let diagnostics: Vec<_> = parsed.into_iter().flat_map(|(r, _)| r.diagnostics).collect();
    if diagnostics.iter().any(|d| !d.warning) {
        return Err(diagnostics);
    }
    let calendar = std::mem::take(&mut book.compiler.calendar);
    let grouping = grouping.unwrap_or_else(default_grouping);
    Ok(Plan { vocabulary, model, calendar, facts, rules, grouping, links, policies, hash })
}

/// Numbers of rules and facts end somewhere.
fn too_many(parsed: &mut [(Reader, Node)], what: &str, number: usize) {
    if number <= RULES_MAX {
        return;
    }
    if let Some((reader, root)) = parsed.last_mut() {
        let help = Some("one rule over a list or a table takes the place of many".to_owned());
        reader.error_with(root, format!("{number} {what} are more than {RULES_MAX}"), help);
    }
}

/// As incidents are grouped where nothing is said.
pub fn default_grouping() -> Grouping {
    Grouping {
        by: vec![Dimension::Area, Dimension::Person],
        gap: TimeSpan::from_secs(600),
        span_max: TimeSpan::from_secs(8 * 3_600),
    }
}

/// Hash over the files and the tables, by their texts: never by a symbol's number.
fn hash(files: &[Source<'_>], model: &Model, interner: &Interner) -> u128 {
    let mut digest = Digest::default();
    for Source { path, text, .. } in files {
        // The path is for people; a rulebook moved to another folder is the same rulebook.
        let name = path.rsplit('/').next().unwrap_or(path);
        digest = digest.part(name.as_bytes()).part(text.as_bytes());
    }
    for site in &model.sites {
        digest = digest.number(interner.digest(site.name)).part(site.time_zone.as_bytes());
    }
    for table in &model.tables {
        digest = digest.part(table.name.as_bytes());
        let mut rows: Vec<_> = table.rows.iter().collect();
        rows.sort_by_key(|(key, _)| interner.text(**key));
        for (key, cells) in rows {
            digest = digest.number(interner.digest(*key));
            for cell in cells {
                digest = match cell {
                    None => digest.part(b"-"),
                    Some(Cell::String(s)) => digest.number(interner.digest(*s)),
                    Some(Cell::Strings(list)) => {
                        list.iter().fold(digest, |d, s| d.number(interner.digest(*s)))
                    }
                    Some(other) => digest.part(format!("{other:?}").as_bytes()),
                };
            }
        }
    }
    digest.finish()
}

/// A rulebook being compiled.
pub struct Book<'a> {
    /// Expressions.
    pub compiler: Compiler<'a>,
    /// Scope of each fact.
    pub scopes: Vec<Scope>,
    /// Key of each fact.
    pub keys: Vec<Vec<FieldRef>>,
    /// The facts, and those that rules keep for themselves.
    pub facts: Vec<Fact>,
    /// Those that rules may share.
    pub shared: Shared,
    /// Steps of the rule's sequence, for its `why`.
    pub steps: Vec<(String, u8)>,
    /// How much the rule, and what it keeps for itself, may hold.
    pub limits: Limits,
    /// The rules so far.
    pub rules: Vec<Rule>,
    /// Their numbers by id.
    numbers: HashMap<String, RuleId, FixedState>,
}

const COMMON: &[&str] = &[
    "id",
    "title",
    "severity",
    "mode",
    "scope",
    "by",
    "emit",
    "group",
    "why",
    "evidence_max",
    "limits",
    "risk",
    "control",
    "procedure",
    "if",
    "on",
    "exceptions",
    "life_safety",
    "verification",
    "then",
];

/// Each pattern's key, and the keys that go with it.
const PATTERNS: &[(&str, &[&str])] = &[
    ("sequence", &["within", "without", "strict", "runs", "skip"]),
    ("unless", &[]),
    ("session", &[]),
    ("count", &[]),
    ("distinct", &[]),
    ("watch", &["for", "resolve"]),
    ("passage", &[]),
    ("travel", &[]),
];

/// All keys that a rule may have.
pub fn rule_keys() -> impl Iterator<Item = &'static str> {
    let patterns =
        PATTERNS.iter().flat_map(|(key, more)| [*key].into_iter().chain(more.iter().copied()));
    COMMON.iter().copied().chain(patterns)
}

/// Words of other rule languages, and what to write here in their place.
const INSTEAD: &[(&str, &str)] = &[
    ("tour", "a round is a sequence of its stations: docs/RECIPES.md, guard tours"),
    ("detect", "ask the session in `if`: s.orphan, !s.closed, s.open.driver != s.close.driver"),
    ("group_by", "write by: [door, person]"),
    ("group-by", "write by: [door, person]"),
    ("condition", "write if: e.reason == 'revoked'"),
    ("where", "write if: e.reason == 'revoked'"),
    ("when", "write if: e.reason == 'revoked'"),
    ("having", "write if: refusals >= 5, over a fact"),
    ("detection", "write on: AccessDenied and if: …; `import sigma` turns Sigma rules into ours"),
    ("logsource", "write on: AccessDenied; `import sigma` turns Sigma rules into ours"),
    ("trigger", "write on: AccessDenied"),
    ("triggers", "write on: AccessDenied"),
    ("event", "write on: AccessDenied"),
    ("kind", "write on: AccessDenied"),
    ("select", "write why: {label: e.door} for what is shown"),
    ("timeframe", "write within: 5m"),
    ("window", "write within: 5m"),
    ("threshold", "write count: {by: door, within: 5m, at_least: 5}"),
    ("level", "write severity: high"),
    ("priority", "write severity: high"),
    ("status", "write mode: shadow for a rule on trial"),
    ("enabled", "write mode: off"),
    ("disabled", "write mode: off"),
    ("description", "write title: a sentence for the operator"),
    ("desc", "write title: a sentence for the operator"),
    ("name", "write id: and title:"),
    ("alias", "write title: a sentence for the operator"),
    ("rule", "write id: for its name, title: for what it says"),
    ("output", "write title: for what it says, why: for what it shows"),
    ("action", "a rule opens an incident; who is told of it stands under `sinks`"),
    ("actions", "a rule opens an incident; who is told of it stands under `sinks`"),
    ("tags", "write risk: and control: for the registers it serves"),
    ("throttle", "write emit: {once: 10m}"),
    ("suppress", "write emit: {once: 10m}"),
];

impl Book<'_> {
    fn rule(&mut self, reader: &mut Reader, node: &Node) -> Option<Rule> {
        let pattern_key = PATTERNS.iter().find(|(key, _)| node.get(key).is_some());
        let own = pattern_key.map(|(key, more)| [&[*key], *more].concat()).unwrap_or_default();
        let known = [COMMON, &own].concat();
        self.expect_rule_keys(reader, node, &known);
        let id = reader.required_text(node, "id")?;
        if let Some(first) = self.numbers.get(&id) {
            let at = node.get("id").unwrap_or(node);
            reader.error_at(at, format!("rule `{id}` stands twice, first as rule {}", first.0 + 1));
        }
        self.compiler.reads.clear();
        self.compiler.touched.clear();
        self.compiler.captures.clear();
        self.compiler.schedules.clear();
        self.steps.clear();
        self.limits = limits(reader, node);
        let scope = self.scope(reader, node);
        let mut by = node.get("by").map(|n| self.key(reader, n));
        let mut pattern = pattern::read(self, reader, node, &mut by, scope)?;
        let reads = std::mem::take(&mut self.compiler.reads);
        let windowed = |f: &FactId| self.scopes[f.0 as usize] == scope;
        let emit = self.emit(reader, node);
        let touched = std::mem::take(&mut self.compiler.touched);
        let alone = touched.is_empty();
        let late = matches!(pattern, Pattern::Event(_)) && alone && emit == Emit::Each;
        let evidence_of: Vec<_> = match &pattern {
            Pattern::Event(_) => reads.iter().copied().filter(windowed).collect(),
            _ => Vec::new(),
        };
        let by = by.unwrap_or_default();
        let why = self.why(reader, node, &pattern, &by);
        let captures = std::mem::take(&mut self.compiler.captures);
        if let Pattern::Session(session) = &mut pattern {
            // Those that only `why` shows are counted, too.
            session.aggregates = std::mem::take(&mut self.compiler.aggregates);
        }
        let weight = policy::of_rule(self, reader, node, &pattern);
        Some(Rule {
            title: reader.optional_text(node, "title").unwrap_or_else(|| id.clone()),
            severity: self.severity(reader, node),
            mode: self.mode(reader, node),
            emit,
            late,
            grouping: weight.grouping,
            life_safety: weight.life_safety,
            verification: weight.verification,
            quiet: weight.quiet,
            evidence_max: self.evidence_max(reader, node),
            limits: self.limits,
            risk: reader.optional_text(node, "risk"),
            control: reader.optional_text(node, "control"),
            procedure: reader.optional_text(node, "procedure"),
            id,
            scope,
            by,
            pattern,
            captures,
            evidence_of,
            reads: touched,
            schedules: std::mem::take(&mut self.compiler.schedules),
            why,
        })
    }

    fn expect_rule_keys(&self, reader: &mut Reader, node: &Node, known: &[&str]) {
        if !matches!(node.value, Yaml::Mapping(_)) {
            reader.expect_keys(node, known);
            return;
        }
        for (key, _) in node.entries() {
            let name = key.text().unwrap_or_default();
            if known.contains(&name) {
                continue;
            }
            let (message, help) = if let Some((_, instead)) =
                INSTEAD.iter().find(|(word, _)| *word == name)
            {
                (format!("`{name}` is no word of a rule here"), Some((*instead).to_owned()))
            } else if SECTIONS.contains(&name) {
                let help = Some("move it to the left, out of the rule".to_owned());
                (format!("`{name}` stands beside `rules`, not in a rule"), help)
            } else if let Some((first, _)) = PATTERNS
                .iter()
                .find(|(first, _)| known.contains(first))
                .filter(|_| PATTERNS.iter().any(|(pattern, _)| *pattern == name))
            {
                let help = Some("write two rules, and a third over their detections".to_owned());
                (format!("a rule looks for one thing: `{first}` or `{name}`"), help)
            } else if let Some((pattern, _)) =
                PATTERNS.iter().find(|(p, more)| *p == name || more.contains(&name))
            {
                (format!("`{name}` goes with `{pattern}`"), None)
            } else {
                let all = COMMON.iter().chain(PATTERNS.iter().map(|(p, _)| p)).copied();
                (format!("unknown key `{name}`"), did_you_mean(name, all))
            };
            reader.error_with(key, message, help);
        }
    }

    fn severity(&self, reader: &mut Reader, node: &Node) -> Severity {
        let words = Severity::ALL.map(|s| (s.as_str(), s));
        let stated = node.get("severity").and_then(|n| reader.one_of(n, &words));
        stated.unwrap_or(Severity::Medium)
    }

    fn mode(&self, reader: &mut Reader, node: &Node) -> Mode {
        let words = [("live", Mode::Live), ("shadow", Mode::Shadow), ("off", Mode::Off)];
        node.get("mode").and_then(|n| reader.one_of(n, &words)).unwrap_or_default()
    }

    fn scope(&self, reader: &mut Reader, node: &Node) -> Scope {
        let words = [("site", Scope::Site), ("enterprise", Scope::Enterprise)];
        node.get("scope").and_then(|n| reader.one_of(n, &words)).unwrap_or_default()
    }

    fn emit(&self, reader: &mut Reader, node: &Node) -> Emit {
        let Some(emit) = node.get("emit") else {
            // What holds back what it heard has said all there is to say.
            return if node.get("then").is_some() { Emit::Edge } else { Emit::Each };
        };
        if let Some(span) = reader.optional_span(emit, "once") {
            return Emit::Once(span);
        }
        if !emit.entries().is_empty() {
            reader.expect_keys(emit, &["once"]);
            return Emit::Each;
        }
        let words = [("each", Emit::Each), ("edge", Emit::Edge)];
        reader.one_of(emit, &words).unwrap_or_default()
    }

    fn evidence_max(&self, reader: &mut Reader, node: &Node) -> u8 {
        let Some(node) = node.get("evidence_max") else { return EVIDENCE_MAX as u8 };
        let wanted = format!("a number from 2 to {EVIDENCE_MAX}");
        match reader.parsed::<u8>(node, &wanted) {
            Some(n) if (2..=EVIDENCE_MAX as u8).contains(&n) => n,
            Some(n) => {
                reader.error_at(node, format!("{n} is not {wanted}"));
                EVIDENCE_MAX as u8
            }
            None => EVIDENCE_MAX as u8,
        }
    }

    fn why(
        &mut self,
        reader: &mut Reader,
        node: &Node,
        pattern: &Pattern,
        by: &[FieldRef],
    ) -> Vec<(String, Expr)> {
        let entries = node.get("why").map(Node::entries).unwrap_or_default();
        if entries.len() > WHY_MAX
            && let Some(at) = node.get("why")
        {
            reader.error_at(at, format!("more than {WHY_MAX} bound values"));
        }
        let mut names = Names::default();
        match pattern {
            Pattern::Watch { fact, .. } => {
                names.value = self.compiler.facts[fact.0 as usize].ty;
                names.key_only = Some(by.to_vec());
            }
            Pattern::Session(_) => names.session = true,
            Pattern::Travel { place, .. } => {
                names.current = vec!["e".into()];
                names.there = Some(*place);
            }
            _ => names.current = vec!["e".into()],
        }
        names.earlier.clone_from(&self.steps);
        let mut why = Vec::new();
        for (label, value) in entries {
            let label = label.text().unwrap_or_default().to_owned();
            if let Some((expr, _)) = self.compiler.expression(reader, value, &names, None) {
                why.push((label, expr));
            }
        }
        why
    }

    fn link(&self, reader: &mut Reader, node: &Node) -> Option<Link> {
        reader.expect_keys(node, &["between", "within"]);
        let within = reader.optional_span(node, "within");
        let sides = node.get("between").map(Node::items).unwrap_or_default();
        let ([a, b], Some(within)) = (sides, within) else {
            let help = Some("write {between: [[rule], [rule]], within: 30m}".to_owned());
            reader.error_with(node, "a link needs two sides and a span", help);
            return None;
        };
        let between = (self.rules_named(reader, a), self.rules_named(reader, b));
        Some(Link { between, within })
    }

    /// Reads ids of rules: one or several.
    pub fn rules_named(&self, reader: &mut Reader, node: &Node) -> Vec<RuleId> {
        let mut rules = Vec::new();
        for item in node.items() {
            let Some(name) = reader.scalar(item) else { continue };
            match self.numbers.get(name) {
                Some(rule) => rules.push(*rule),
                // A rule that has a fault of its own is known, and told of where it stands.
                None if self.compiler.rule_places.contains_key(name) => {}
                None => {
                    let known = self.rules.iter().map(|r| r.id.as_str());
                    let help = did_you_mean(name, known);
                    reader.error_with(item, format!("no rule `{name}`"), help);
                }
            }
        }
        rules
    }

    /// Reads a key: one field or several.
    pub fn key(&mut self, reader: &mut Reader, node: &Node) -> Vec<FieldRef> {
        key(&self.compiler, reader, node)
    }

    /// Reads kinds of event: one or several.
    pub fn kinds(&self, reader: &mut Reader, node: &Node) -> Vec<KindId> {
        kinds(&self.compiler, reader, node)
    }

    /// A fact by name, of the scope that the rule has.
    pub fn fact(&self, reader: &mut Reader, node: &Node, scope: Scope) -> Option<FactId> {
        let name = reader.scalar(node)?;
        let Some(id) = self.compiler.fact_named(name) else {
            let known = self.compiler.facts.iter().map(|f| f.name.as_str());
            let help = did_you_mean(name, known);
            reader.error_with(node, format!("no fact `{name}`"), help);
            return None;
        };
        if self.scopes[usize::from(id.0)] != scope {
            let help = Some("give rule and fact the same scope".to_owned());
            reader.error_with(node, format!("fact `{name}` has another scope"), help);
        }
        Some(id)
    }
}

/// Reads kinds of event: one or several; or `{detection: RULE}`, one or several rules.
pub fn kinds(compiler: &Compiler<'_>, reader: &mut Reader, node: &Node) -> Vec<KindId> {
    let mut kinds = Vec::new();
    if let Yaml::Mapping(_) = node.value {
        reader.expect_keys(node, &["detection"]);
        for item in node.get("detection").map(Node::items).unwrap_or_default() {
            let Some(name) = reader.scalar(item) else { continue };
            let found = compiler.detections(name);
            if found.is_empty() {
                let known = compiler.rules.iter().map(|(id, _)| id.as_str());
                let help = did_you_mean(name, known);
                reader.error_with(item, format!("no rule `{name}`"), help);
            }
            kinds.extend(found);
        }
        return kinds;
    }
    for item in node.items() {
        let Some(name) = reader.scalar(item) else { continue };
        match compiler.vocabulary.kind_named(name) {
            Some(kind) => kinds.push(kind),
            None => {
                let known = compiler.vocabulary.kinds().iter().map(|k| k.name.as_str());
                let help = did_you_mean(name, known)
                    .or_else(|| Some("declare it under `kinds:` of a rulebook or mapping".into()));
                reader.error_with(item, format!("no kind of event `{name}`"), help);
            }
        }
    }
    kinds
}

/// Reads a key: one field or several.
pub fn key(compiler: &Compiler<'_>, reader: &mut Reader, node: &Node) -> Vec<FieldRef> {
    let mut fields = Vec::new();
    for item in node.items() {
        let Some(name) = reader.scalar(item) else { continue };
        match compiler.key_field(name) {
            Ok(field) => fields.push(field),
            Err((message, help)) => reader.error_with(item, message, help),
        }
    }
    if fields.len() > KEY_PARTS_MAX {
        reader.error_at(node, format!("a key has at most {KEY_PARTS_MAX} parts"));
        fields.truncate(KEY_PARTS_MAX);
    }
    fields
}

const DIMENSIONS: &[(&str, Dimension)] = &[
    ("area", Dimension::Area),
    ("door", Dimension::Door),
    ("person", Dimension::Person),
    ("credential", Dimension::Credential),
    ("track", Dimension::Track),
    ("site", Dimension::Site),
    ("rule", Dimension::Rule),
];

/// Reads a rule's own grouping.
pub fn group_of(reader: &mut Reader, node: &Node) -> Grouping {
    if node.text() == Some("none") {
        return Grouping { by: Vec::new(), ..default_grouping() };
    }
    reader.expect_keys(node, &["by", "gap", "span_max"]);
    grouping_of(reader, node)
}

fn grouping_of(reader: &mut Reader, node: &Node) -> Grouping {
    let default = default_grouping();
    let by = node
        .get("by")
        .map(|by| by.items().iter().filter_map(|item| reader.one_of(item, DIMENSIONS)).collect());
    let gap = positive(reader, node, "gap");
    let span_max = positive(reader, node, "span_max");
    Grouping {
        by: by.unwrap_or(default.by),
        gap: gap.unwrap_or(default.gap),
        span_max: span_max.unwrap_or(default.span_max),
    }
}

/// `limits: {keys: 10000, runs: 1000, events: 100000}`: what a fact or rule may hold at one site.
pub fn limits(reader: &mut Reader, node: &Node) -> Limits {
    let mut limits = Limits::default();
    let Some(node) = node.get("limits") else { return limits };
    reader.expect_keys(node, &["keys", "runs", "events"]);
    let words = [
        ("keys", &mut limits.keys, KEYS_MAX),
        ("runs", &mut limits.runs, RUNS_MAX),
        ("events", &mut limits.events, ENTRIES_MAX),
    ];
    for (word, limit, most) in words {
        let Some(number) = node.get(word) else { continue };
        let wanted = format!("a number from 1 to {most}");
        match reader.parsed::<u32>(number, &wanted) {
            Some(n) if (1..=most).contains(&(n as usize)) => *limit = n,
            Some(n) => reader.error_at(number, format!("{n} is not {wanted}")),
            None => {}
        }
    }
    limits
}

/// An optional span that must be longer than nothing.
pub fn positive(reader: &mut Reader, node: &Node, key: &str) -> Option<TimeSpan> {
    let span = reader.optional_span(node, key)?;
    if span <= TimeSpan::ZERO {
        let at = node.get(key).unwrap_or(node);
        reader.error_at(at, format!("`{key}` must be longer than nothing"));
        return None;
    }
    Some(span)
}
