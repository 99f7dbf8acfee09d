//! Reading mapping files: YAML in, [`Mappings`] or every fault with its place out.

use std::sync::Arc;

use event::config::{Diagnostic, Node, Reader, Yaml, did_you_mean};
use event::model::Model;
use event::{FieldType, Vocabulary};

use super::path::PathTree;
use super::time::{TimeFormat, Zone, zone};
use super::{
    Condition, Each, Format, KindPick, Mapping, Mappings, Part, Pattern, Pick, Source, Test,
    TimePick, TopicFilter, ValueMap,
};

/// The mappings that need no file.
const SHIPPED: [(&str, &str); 3] = [
    ("built-in frigate.yaml", include_str!("../../mappings/frigate.yaml")),
    ("built-in axis.yaml", include_str!("../../mappings/axis.yaml")),
    ("built-in zigbee2mqtt.yaml", include_str!("../../mappings/zigbee2mqtt.yaml")),
];

const MAPPING_KEYS: [&str; 11] = [
    "name",
    "format",
    "columns",
    "topics",
    "feed",
    "site",
    "zone",
    "require",
    "otherwise",
    "events",
    "rows",
];
const PART_KEYS: [&str; 11] = [
    "each",
    "when",
    "kind",
    "occurred",
    "recorded",
    "feed",
    "device",
    "site",
    "id",
    "id_with_time",
    "fields",
];
const PICK_KEYS: [&str; 11] = [
    "path", "value", "join", "with", "slice", "map", "table", "column", "default", "format", "zone",
];

fn shipped() -> impl Iterator<Item = (String, String)> {
    SHIPPED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
}

/// Adds the kinds and fields that mapping files declare; `files` are (path, text).
pub fn declare(files: &[(String, String)], vocabulary: &mut Vocabulary) -> Vec<Diagnostic> {
    let mut all = Vec::new();
    for (path, text) in shipped().chain(files.iter().cloned()) {
        let (mut reader, root) = Reader::parse(&path, &text);
        for kind in root.get("kinds").map(Node::items).unwrap_or_default() {
            let Some(name) = reader.scalar(kind).map(str::to_owned) else { continue };
            if let Err(message) = vocabulary.declare_kind(&name) {
                reader.error_at(kind, message);
            }
        }
        for (name, ty) in root.get("fields").map(Node::entries).unwrap_or_default() {
            let Some(ty) = reader.one_of(ty, &FieldType::WORDS) else { continue };
            if let Err(message) = vocabulary.declare_field(name.text().unwrap_or_default(), ty) {
                reader.error_at(name, message);
            }
        }
        all.append(&mut reader.diagnostics);
    }
    all
}

/// Compiles mapping files; `files` are (path, text). All faults of all files are told at once.
pub fn compile(
    files: &[(String, String)],
    vocabulary: Arc<Vocabulary>,
    model: Arc<Model>,
) -> Result<Mappings, Vec<Diagnostic>> {
    let mut list: Vec<Arc<Mapping>> = ["canonical", "cloudevents"].map(built_in).into();
    let mut faults = Vec::new();
    for (path, text) in shipped().chain(files.iter().cloned()) {
        let (reader, root) = Reader::parse(&path, &text);
        let mut file = File { reader, vocabulary: &vocabulary, model: &model };
        file.reader.expect_keys(&root, &["kinds", "fields", "mappings"]);
        for node in root.get("mappings").map(Node::items).unwrap_or_default() {
            let Some(mapping) = file.mapping(node) else { continue };
            if list.iter().any(|m| m.name == mapping.name) {
                let message = format!("a mapping named `{}` stands already", mapping.name);
                file.reader.error_at(node.get("name").unwrap_or(node), message);
            }
            list.push(Arc::new(mapping));
        }
        faults.append(&mut file.reader.diagnostics);
    }
    if faults.iter().any(|d| !d.warning) {
        Err(faults)
    } else {
        Ok(Mappings { list, model, vocabulary })
    }
}

fn built_in(name: &str) -> Arc<Mapping> {
    let format = if name == "canonical" { Format::Canonical } else { Format::CloudEvents };
    Arc::new(Mapping {
        name: name.to_owned(),
        format,
        topics: Vec::new(),
        tree: PathTree::default(),
        require: Vec::new(),
        strict: true,
        parts: Vec::new(),
        rows: Vec::new(),
    })
}

/// One mapping file being read.
pub(super) struct File<'a> {
    pub(super) reader: Reader<'a>,
    vocabulary: &'a Vocabulary,
    pub(super) model: &'a Model,
}

/// What the parts of one mapping share.
pub(super) struct Scope {
    format: Format,
    tree: PathTree,
    pub(super) item: Option<PathTree>,
    zone: Option<Zone>,
}

impl File<'_> {
    fn mapping(&mut self, node: &Node) -> Option<Mapping> {
        self.reader.expect_keys(node, &MAPPING_KEYS);
        let name = self.reader.required_text(node, "name")?;
        let format = self.format(node);
        let zone = node.get("zone").and_then(|z| self.zone(z));
        let mut scope = Scope { format, tree: PathTree::default(), item: None, zone };
        let mut topics = Vec::new();
        for topic in node.get("topics").map(Node::items).unwrap_or_default() {
            let Some(text) = self.reader.scalar(topic).map(str::to_owned) else { continue };
            match TopicFilter::parse(&text) {
                Ok(filter) => topics.push(filter),
                Err(message) => self.reader.error_at(topic, message),
            }
        }
        let mut require = Vec::new();
        for path in node.get("require").map(Node::items).unwrap_or_default() {
            require.extend(self.source(path, &mut scope));
        }
        let strict = node
            .get("otherwise")
            .and_then(|n| self.reader.one_of(n, &[("ignore", false), ("reject", true)]));
        let feed = node.get("feed").and_then(|n| self.pick(n, &mut scope));
        let site = node.get("site").and_then(|n| self.pick(n, &mut scope));
        let mut parts = Vec::new();
        if node.get("events").or(node.get("rows")).is_none() {
            let message = format!("mapping `{name}` makes no `events` and changes no `rows`");
            self.reader.error_at(node, message);
        }
        for part in node.get("events").map(Node::items).unwrap_or_default() {
            parts.extend(self.part(part, &mut scope, feed.as_ref(), site.as_ref()));
        }
        let mut rows = Vec::new();
        for part in node.get("rows").map(Node::items).unwrap_or_default() {
            rows.extend(self.row_part(part, &mut scope));
        }
        self.check_columns(node, &scope);
        Some(Mapping {
            name,
            format: scope.format,
            topics,
            tree: scope.tree,
            require,
            strict: strict.unwrap_or(false),
            parts,
            rows,
        })
    }

    fn format(&mut self, node: &Node) -> Format {
        let columns: Vec<_> = node.get("columns").map(Node::items).unwrap_or_default().to_vec();
        let words =
            [("json", Format::Json), ("csv", Format::Csv(Vec::new())), ("text", Format::Text)];
        let found = node.get("format").map(|n| {
            let numbers = [("json", 0), ("csv", 1), ("text", 2)];
            self.reader.one_of(n, &numbers).unwrap_or(0_usize)
        });
        match found.map(|n| words[n].1.clone()) {
            Some(Format::Csv(_)) => {
                if columns.is_empty() {
                    let help = Some("columns: [time, card, door]".to_owned());
                    self.reader.error_with(node, "a CSV mapping lists its `columns`", help);
                }
                Format::Csv(columns.iter().filter_map(|c| c.text().map(str::to_owned)).collect())
            }
            other => {
                if let Some(column) = columns.first() {
                    self.reader.error_at(column, "`columns` belong to `format: csv`");
                }
                other.unwrap_or(Format::Json)
            }
        }
    }

    /// A path of a CSV mapping is a column.
    fn check_columns(&mut self, node: &Node, scope: &Scope) {
        let Format::Csv(columns) = &scope.format else { return };
        for path in scope.tree.texts() {
            if !columns.contains(path) {
                let help = did_you_mean(path, columns.iter().map(String::as_str));
                let message = format!("`$.{path}` is none of the `columns`");
                let place = node.get("events").unwrap_or(node);
                self.reader.error_with(place, message, help);
            }
        }
    }

    fn zone(&mut self, node: &Node) -> Option<Zone> {
        let name = self.reader.scalar(node)?.to_owned();
        if name == "site" {
            return Some(Zone::OfSite);
        }
        let found = zone(&name);
        if found.is_none() {
            let help = Some("write an IANA name such as Europe/Oslo, or `site`".to_owned());
            self.reader.error_with(node, format!("`{name}` is not a time zone"), help);
        }
        found.map(Zone::Fixed)
    }

    fn part(
        &mut self,
        node: &Node,
        scope: &mut Scope,
        feed: Option<&Pick>,
        site: Option<&Pick>,
    ) -> Option<Part> {
        self.reader.expect_keys(node, &PART_KEYS);
        let each = node.get("each").and_then(|n| self.each(n, scope));
        scope.item = each.as_ref().map(|_| PathTree::default());
        let when = self.conditions(node.get("when"), scope);
        let kind = match node.get("kind") {
            None => {
                self.reader.error_at(node, "`kind` is missing");
                None
            }
            Some(kind) => self.kind(kind, scope),
        };
        let time = |file: &mut Self, key: &str, scope: &mut Scope| {
            node.get(key).and_then(|n| file.time(n, scope))
        };
        let occurred = time(self, "occurred", scope);
        let recorded = time(self, "recorded", scope);
        let pick = |file: &mut Self, key: &str, scope: &mut Scope| {
            node.get(key).and_then(|n| file.pick(n, scope))
        };
        let own_feed = pick(self, "feed", scope);
        let own_site = pick(self, "site", scope);
        let device = pick(self, "device", scope);
        let id = pick(self, "id", scope);
        let mut fields = Vec::new();
        for (name, value) in node.get("fields").map(Node::entries).unwrap_or_default() {
            let text = name.text().unwrap_or_default();
            let value = self.pick(value, scope);
            match self.vocabulary.field_named(text) {
                Some(id) => fields.extend(value.map(|v| (id, self.vocabulary.field(id).ty, v))),
                None => {
                    let known = self.vocabulary.fields().iter().map(|f| f.name.as_str());
                    let help = did_you_mean(text, known)
                        .or(Some(format!("declare it: fields: {{{text}: string}}")));
                    self.reader.error_with(name, format!("no field `{text}`"), help);
                }
            }
        }
        let id_with_time = self.reader.optional_bool(node, "id_with_time").unwrap_or(false);
        let each = self.each_of(each, scope);
        Some(Part {
            each,
            when,
            kind: kind?,
            occurred,
            recorded,
            feed: own_feed.or_else(|| feed.cloned()),
            device,
            site: own_site.or_else(|| site.cloned()),
            id,
            id_with_time,
            fields,
        })
    }

    /// `{$.path: test}`: each must be so.
    pub(super) fn conditions(&mut self, node: Option<&Node>, scope: &mut Scope) -> Vec<Condition> {
        let mut all = Vec::new();
        for (path, test) in node.map(Node::entries).unwrap_or_default() {
            let source = self.source(path, scope);
            let test = self.test(test, scope);
            all.extend(source.zip(test).map(|(source, test)| Condition { source, test }));
        }
        all
    }

    /// What `each` goes over, once the paths of its elements are known.
    pub(super) fn each_of(
        &self,
        each: Option<(super::PathId, Option<super::PathId>)>,
        scope: &mut Scope,
    ) -> Option<Each> {
        each.map(|(of, minus)| Each { of, minus, tree: scope.item.take().unwrap_or_default() })
    }

    pub(super) fn each(
        &mut self,
        node: &Node,
        scope: &mut Scope,
    ) -> Option<(super::PathId, Option<super::PathId>)> {
        let path = |file: &mut Self, node: &Node, scope: &mut Scope| match file.source(node, scope)
        {
            Some(Source::Path(path)) => Some(path),
            Some(_) => {
                file.reader.error_at(node, "`each` goes over a path of the payload: $.items");
                None
            }
            None => None,
        };
        if node.text().is_some() {
            return Some((path(self, node, scope)?, None));
        }
        self.reader.expect_keys(node, &["in", "minus"]);
        let of = node.get("in").and_then(|n| path(self, n, scope));
        let minus = node.get("minus").and_then(|n| path(self, n, scope));
        if node.get("in").is_none() {
            self.reader.error_at(node, "`in` is missing");
        }
        Some((of?, minus))
    }

    fn kind(&mut self, node: &Node, scope: &mut Scope) -> Option<KindPick> {
        let known = |file: &mut Self, node: &Node| {
            let text = file.reader.scalar(node)?.to_owned();
            let id = file.vocabulary.kind_named(&text);
            if id.is_none() {
                let kinds = file.vocabulary.kinds().iter().map(|k| k.name.as_str());
                let help = did_you_mean(&text, kinds);
                let help = help.or(Some(format!("declare it: kinds: [{text}]")));
                file.reader.error_with(node, format!("no kind `{text}`"), help);
            }
            id
        };
        if let Some(text) = node.text()
            && !text.starts_with('$')
        {
            return known(self, node).map(KindPick::Fixed);
        }
        let Some(map) = node.get("map") else {
            let help = Some("kind: {path: $.type, map: {open: DoorOpened}}".to_owned());
            self.reader.error_with(node, "a kind from the payload needs a `map`", help);
            return None;
        };
        let (mut entries, mut otherwise) = (Vec::new(), None);
        for (from, to) in map.entries() {
            let id = if to.is_null() { None } else { Some(known(self, to)?) };
            match from.text().unwrap_or_default() {
                "*" => otherwise = Some(id),
                text => entries.push((text.to_owned(), id)),
            }
        }
        let bare = Node {
            place: node.place,
            value: Yaml::Mapping(
                node.entries().iter().filter(|(k, _)| k.text() != Some("map")).cloned().collect(),
            ),
        };
        let pick = self.pick(&bare, scope)?;
        Some(KindPick::Mapped(Box::new(pick), entries, otherwise))
    }

    pub(super) fn time(&mut self, node: &Node, scope: &mut Scope) -> Option<TimePick> {
        let pick = self.pick(node, scope)?;
        let zone = node.get("zone").and_then(|z| self.zone(z)).or_else(|| scope.zone.clone());
        let text = node.get("format").and_then(Node::text).unwrap_or("rfc3339").to_owned();
        let local = |file: &mut Self, zone: Option<Zone>| {
            if zone.is_none() {
                let help = Some("zone: Europe/Oslo, or zone: site".to_owned());
                file.reader.error_with(node, "a time without an offset needs a `zone`", help);
            }
            zone
        };
        let format = match text.as_str() {
            "rfc3339" => TimeFormat::Rfc3339,
            "epoch_s" => TimeFormat::EpochSeconds,
            "epoch_ms" => TimeFormat::EpochMillis,
            "epoch_us" => TimeFormat::EpochMicros,
            "local" => TimeFormat::Local(local(self, zone)?),
            pattern if pattern.contains('%') => {
                let has_offset = pattern.contains("%z") || pattern.contains("%s");
                let utc = Zone::Fixed(jiff::tz::TimeZone::UTC);
                let zone = if has_offset { utc } else { local(self, zone)? };
                TimeFormat::Pattern(pattern.to_owned(), zone)
            }
            other => {
                let words = ["rfc3339", "local", "epoch_s", "epoch_ms", "epoch_us"];
                let help = did_you_mean(other, words.into_iter())
                    .or(Some(format!("one of {}, or a %-pattern", words.join(", "))));
                let place = node.get("format").unwrap_or(node);
                self.reader.error_with(place, format!("`{other}` is not a time format"), help);
                return None;
            }
        };
        Some(TimePick { pick, format })
    }

    fn test(&mut self, node: &Node, scope: &mut Scope) -> Option<Test> {
        let texts = |node: &Node| -> Vec<Pattern> {
            node.items().iter().filter_map(|n| n.text().map(Pattern::new)).collect()
        };
        if !matches!(node.value, Yaml::Mapping(_)) {
            return Some(Test::OneOf(texts(node)));
        }
        self.reader.expect_keys(node, &["not", "exists", "differs"]);
        if let Some(not) = node.get("not") {
            return Some(Test::NoneOf(texts(not)));
        }
        if let Some(other) = node.get("differs") {
            return self.source(other, scope).map(Test::Differs);
        }
        self.reader.optional_bool(node, "exists").map(Test::Exists)
    }

    fn source(&mut self, node: &Node, scope: &mut Scope) -> Option<Source> {
        let text = self.reader.scalar(node)?.to_owned();
        let Some(path) = text.strip_prefix('$') else {
            return Some(Source::Constant(text.into()));
        };
        let result = if let Some(level) = path.strip_prefix("topic") {
            let level = level.strip_prefix('.').and_then(|l| l.parse().ok());
            level.map(Source::Topic).ok_or_else(|| "write a level, from 0: $topic.1".to_owned())
        } else if let Some(path) = path.strip_prefix("item") {
            match &mut scope.item {
                None => Err("`$item` stands only beside `each`".to_owned()),
                Some(tree) => tree.path(path.trim_start_matches('.')).map(Source::Item),
            }
        } else if path.is_empty() || path.starts_with(['.', '[']) {
            scope.tree.path(path.trim_start_matches('.')).map(Source::Path)
        } else {
            Err("a path begins with `$.`, `$[`, `$item` or `$topic.`".to_owned())
        };
        result.map_err(|message| self.reader.error_at(node, message)).ok()
    }

    pub(super) fn pick(&mut self, node: &Node, scope: &mut Scope) -> Option<Pick> {
        let plain = |source| Pick::new(source, None, None, None, None);
        if node.text().is_some() {
            return self.source(node, scope).map(plain);
        }
        self.reader.expect_keys(node, &PICK_KEYS);
        let source = if let Some(path) = node.get("path") {
            self.source(path, scope)?
        } else if let Some(value) = node.get("value") {
            Source::Constant(self.reader.scalar(value)?.into())
        } else if let Some(list) = node.get("join") {
            let picks: Option<Vec<_>> =
                list.items().iter().map(|item| self.pick(item, scope)).collect();
            let with = self.reader.optional_text(node, "with").unwrap_or_default();
            Source::Join(picks?, with.into())
        } else {
            self.reader.error_at(node, "one of `path`, `value`, `join` is missing");
            return None;
        };
        let slice = node.get("slice").and_then(|n| self.slice(n));
        let map = node.get("map").map(value_map);
        let join = self.join(node);
        let default = self.reader.optional_text(node, "default").map(Into::into);
        Some(Pick::new(source, slice, map, join, default))
    }

    fn slice(&mut self, node: &Node) -> Option<(i32, i32)> {
        let text = self.reader.scalar(node)?.to_owned();
        let number = |part: &str, default| {
            if part.is_empty() { Some(default) } else { part.parse().ok() }
        };
        let range = text.split_once("..");
        let range = range.and_then(|(a, b)| number(a, 0).zip(number(b, i32::MAX)));
        if range.is_none() {
            let help = Some("write from..to; negative counts from the end: ..-3".to_owned());
            self.reader.error_with(node, format!("`{text}` is not a slice"), help);
        }
        range
    }

    fn join(&mut self, node: &Node) -> Option<(usize, usize)> {
        let name = node.get("table")?;
        let text = self.reader.scalar(name)?.to_owned();
        let Some((index, table)) = self.model.table(&text) else {
            let known = self.model.by_name.keys().map(String::as_str);
            let help = did_you_mean(&text, known)
                .or(Some("declare it in a file listed under `model:`".to_owned()));
            self.reader.error_with(name, format!("no table `{text}`"), help);
            return None;
        };
        let column = self.reader.required_text(node, "column")?;
        let place = table.column(&column);
        if place.is_none() {
            let help = did_you_mean(&column, table.columns.iter().map(|(n, _)| n.as_str()));
            let at = node.get("column").unwrap_or(node);
            self.reader.error_with(at, format!("table `{text}` has no column `{column}`"), help);
        }
        place.map(|column| (index, column))
    }
}

fn value_map(node: &Node) -> ValueMap {
    let mut map = ValueMap::default();
    for (from, to) in node.entries() {
        let value = (!to.is_null()).then(|| to.text().unwrap_or_default().into());
        match from.text().unwrap_or_default() {
            "*" => map.otherwise = Some(value),
            text => map.entries.push((text.to_owned(), value)),
        }
    }
    map
}
