//! Tables of the site model, from YAML and from the data files that the YAML names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use event::config::{Diagnostic, Node, Reader};
use event::model::{Cell, ColumnType, Model, Site, Table};
use event::{Interner, Vocabulary};

use crate::limits::TABLE_ROWS_MAX;

/// Data files that tables name, found.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Where each of them is, by the name that a table gives it.
    pub found: &'a BTreeMap<String, PathBuf>,
    /// Where they were looked for.
    pub looked_in: &'a [PathBuf],
}

static NOTHING: BTreeMap<String, PathBuf> = BTreeMap::new();

impl Default for Search<'static> {
    /// No data files.
    fn default() -> Self {
        Self { found: &NOTHING, looked_in: &[] }
    }
}

/// The names of the data files that tables name.
#[must_use]
pub fn data_files(files: &[(String, String)]) -> Vec<String> {
    let mut names = Vec::new();
    for (path, text) in files {
        let (_, root) = Reader::parse(path, text);
        let tables = root.get("tables").map(Node::entries).unwrap_or_default();
        let named = tables.iter().filter_map(|(_, table)| table.get("file")?.text());
        names.extend(named.map(str::to_owned));
    }
    names
}

/// Loads tables; `files` are (path, text), `search` has the data files that they name, `sites` are
/// (name, time zone). All faults are told at once.
pub fn load(
    files: &[(String, String)],
    search: Search<'_>,
    sites: &[(String, String)],
    vocabulary: &Vocabulary,
    interner: &Interner,
) -> Result<Model, Vec<Diagnostic>> {
    let mut model = Model::default();
    for (name, time_zone) in sites {
        let name = interner.intern(name).unwrap_or_default();
        model.sites.push(Site { name, time_zone: time_zone.clone() });
    }
    let mut faults = Vec::new();
    for (path, text) in files {
        let (reader, root) = Reader::parse(path, text);
        let mut loader = Loader { reader, search, vocabulary, interner };
        loader.reader.expect_keys(&root, &["tables"]);
        for (name, node) in root.get("tables").map(Node::entries).unwrap_or_default() {
            if let Some(table) = loader.table(name, node) {
                if model.table(&table.name).is_some() {
                    let message = format!("table `{}` stands already", table.name);
                    loader.reader.error_at(name, message);
                }
                model.push(table);
            }
        }
        faults.append(&mut loader.reader.diagnostics);
    }
    if faults.iter().any(|d| !d.warning) { Err(faults) } else { Ok(model) }
}

struct Loader<'a> {
    reader: Reader<'a>,
    search: Search<'a>,
    vocabulary: &'a Vocabulary,
    interner: &'a Interner,
}

impl Loader<'_> {
    fn table(&mut self, name: &Node, node: &Node) -> Option<Table> {
        self.reader.expect_keys(node, &["entity", "columns", "rows", "file", "key"]);
        let mut table = Table { name: name.text()?.to_owned(), ..Table::default() };
        if let Some(entity) = node.get("entity") {
            let text = self.reader.scalar(entity)?.to_owned();
            table.entity = self.vocabulary.field_named(&text);
            // `device` stands in the header of an event: its table is found by name.
            if table.entity.is_none() && text != "device" {
                let known = self.vocabulary.fields().iter().map(|f| f.name.as_str());
                let help = event::config::did_you_mean(&text, known);
                self.reader.error_with(entity, format!("no field `{text}`"), help);
            }
        }
        for (column, ty) in node.get("columns").map(Node::entries).unwrap_or_default() {
            let Some(ty) = self.reader.one_of(ty, &ColumnType::WORDS) else { continue };
            table.columns.push((column.text().unwrap_or_default().to_owned(), ty));
        }
        for (key, row) in node.get("rows").map(Node::entries).unwrap_or_default() {
            let known: Vec<_> = table.columns.iter().map(|(n, _)| n.clone()).collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            if !row.is_null() {
                self.reader.expect_keys(row, &known);
            }
            let mut cells = vec![None; table.columns.len()];
            for (place, (column, ty)) in table.columns.iter().enumerate() {
                if let Some(value) = row.get(column) {
                    cells[place] = self.cell(value, *ty);
                }
            }
            self.insert(&mut table, key, key.text().unwrap_or_default(), cells);
        }
        if let Some(file) = node.get("file") {
            self.data_file(&mut table, node, file);
        }
        Some(table)
    }

    fn insert(&mut self, table: &mut Table, at: &Node, key: &str, cells: Vec<Option<Cell>>) {
        match self.interner.intern(key) {
            Some(symbol) if table.rows.len() < TABLE_ROWS_MAX => {
                table.rows.insert(symbol, cells);
            }
            _ => self.reader.error_at(at, "more or longer rows than the limits allow"),
        }
    }

    fn cell(&mut self, node: &Node, ty: ColumnType) -> Option<Cell> {
        if node.is_null() {
            return None;
        }
        if ty == ColumnType::Strings {
            let texts = node.items().iter().filter_map(Node::text);
            let symbols: Option<Vec<_>> = texts.map(|t| self.interner.intern(t)).collect();
            return symbols.map(Cell::Strings);
        }
        let text = self.reader.scalar(node)?.to_owned();
        let cell = Cell::of_text(&text, ty, self.interner);
        if cell.is_none() {
            self.reader.error_at(node, format!("`{text}` is not {}", ty.wanted()));
        }
        cell
    }

    /// Rows of NDJSON or CSV, plain or gzip.
    fn data_file(&mut self, table: &mut Table, node: &Node, file: &Node) {
        let Some(name) = self.reader.scalar(file).map(str::to_owned) else { return };
        let Some(key) = self.reader.required_text(node, "key") else { return };
        let Some(path) = self.search.found.get(&name).cloned() else {
            let dirs: Vec<_> =
                self.search.looked_in.iter().map(|d| d.display().to_string()).collect();
            let help =
                format!("looked in {}; PORTCULLIS_DATA names a further folder", dirs.join(", "));
            self.reader.error_with(file, format!("no file `{name}`"), Some(help));
            return;
        };
        let result = open(&path).map_err(|e| e.to_string()).and_then(|input| {
            if name.trim_end_matches(".gz").ends_with(".csv") {
                self.csv_rows(table, &key, input)
            } else {
                self.json_rows(table, &key, input)
            }
        });
        if let Err(message) = result {
            self.reader.error_at(file, format!("{name}: {message}"));
        }
    }

    fn json_rows(&self, table: &mut Table, key: &str, input: Box<dyn Read>) -> Result<(), String> {
        for (number, line) in BufReader::new(input).lines().enumerate() {
            let number = number + 1;
            let line = line.map_err(|e| e.to_string())?;
            if line.trim().is_empty() {
                continue;
            }
            let row: serde_json::Value =
                serde_json::from_str(&line).map_err(|e| format!("line {number}: {e}"))?;
            let text = match &row[key] {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(n) => n.to_string(),
                _ => return Err(format!("line {number}: no `{key}`")),
            };
            let cells = table.columns.iter().map(|(column, ty)| match &row[column] {
                serde_json::Value::Null => Ok(None),
                value => Cell::of_json(value, *ty, self.interner)
                    .map(Some)
                    .ok_or_else(|| format!("line {number}: `{column}` is not what it should be")),
            });
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            self.keep(table, &text, cells, number)?;
        }
        Ok(())
    }

    fn csv_rows(&self, table: &mut Table, key: &str, input: Box<dyn Read>) -> Result<(), String> {
        let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header = rows.headers().map_err(|e| e.to_string())?.clone();
        let place = |name: &str| {
            let found = header.iter().position(|h| h == name);
            found.ok_or_else(|| format!("no column `{name}` in the header"))
        };
        let key = place(key)?;
        let columns: Vec<_> =
            table.columns.iter().map(|(n, _)| place(n)).collect::<Result<_, _>>()?;
        for (number, row) in rows.records().enumerate() {
            let number = number + 2;
            let row = row.map_err(|e| e.to_string())?;
            let mut cells = Vec::with_capacity(columns.len());
            for ((name, ty), column) in table.columns.iter().zip(&columns) {
                let text = row.get(*column).unwrap_or_default();
                let cell = (!text.is_empty()).then(|| Cell::of_text(text, *ty, self.interner));
                if cell == Some(None) {
                    return Err(format!("line {number}: `{text}` in `{name}`"));
                }
                cells.push(cell.flatten());
            }
            let text = row.get(key).unwrap_or_default().to_owned();
            self.keep(table, &text, cells, number)?;
        }
        Ok(())
    }

    fn keep(
        &self,
        table: &mut Table,
        key: &str,
        cells: Vec<Option<Cell>>,
        line: usize,
    ) -> Result<(), String> {
        if table.rows.len() >= TABLE_ROWS_MAX {
            return Err(format!("line {line}: more than {TABLE_ROWS_MAX} rows"));
        }
        let key = self.interner.intern(key).ok_or_else(|| format!("line {line}: key too long"))?;
        table.rows.insert(key, cells);
        Ok(())
    }
}

/// Opens a file, unpacked where its name ends in `.gz`.
pub(crate) fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    if path.extension().is_some_and(|e| e == "gz") {
        return Ok(Box::new(flate2::read::MultiGzDecoder::new(file)));
    }
    Ok(Box::new(file))
}
