//! Reading the `rows:` of a mapping: what a payload changes of a table.

use event::config::{Node, did_you_mean};

use super::RowPart;
use super::path::PathTree;
use super::read::{File, Scope};

const KEYS: [&str; 7] = ["each", "when", "table", "row", "cells", "at", "remove"];

impl File<'_> {
    /// One entry of `rows:`.
    pub(super) fn row_part(&mut self, node: &Node, scope: &mut Scope) -> Option<RowPart> {
        self.reader.expect_keys(node, &KEYS);
        let each = node.get("each").and_then(|n| self.each(n, scope));
        scope.item = each.as_ref().map(|_| PathTree::default());
        let when = self.conditions(node.get("when"), scope);
        let name = self.reader.required_text(node, "table")?;
        let model = self.model;
        let Some((_, table)) = model.table(&name) else {
            let known = model.by_name.keys().map(String::as_str);
            let help = did_you_mean(&name, known)
                .or(Some("declare it in a file listed under `model:`".to_owned()));
            let at = node.get("table").unwrap_or(node);
            self.reader.error_with(at, format!("no table `{name}`"), help);
            return None;
        };
        let Some(row) = node.get("row") else {
            let help = Some("row: $.container".to_owned());
            self.reader.error_with(node, "`row` is missing: the key of the row", help);
            return None;
        };
        let row = self.pick(row, scope);
        let mut cells = Vec::new();
        for (column, value) in node.get("cells").map(Node::entries).unwrap_or_default() {
            let text = column.text().unwrap_or_default();
            let value = self.pick(value, scope);
            match table.columns.iter().find(|(known, _)| known == text) {
                Some((known, _)) => cells.extend(value.map(|value| (known.as_str().into(), value))),
                None => {
                    let help = did_you_mean(text, table.columns.iter().map(|(n, _)| n.as_str()));
                    let message = format!("table `{name}` has no column `{text}`");
                    self.reader.error_with(column, message, help);
                }
            }
        }
        let at = node.get("at").and_then(|n| self.time(n, scope));
        let remove = node.get("remove").map(|remove| match remove.text() {
            Some("true") => Vec::new(),
            Some(_) => {
                let help = Some("remove: {$.state: gone}, or remove: true".to_owned());
                self.reader.error_with(remove, "when the row is removed", help);
                Vec::new()
            }
            None => self.conditions(Some(remove), scope),
        });
        let each = self.each_of(each, scope);
        Some(RowPart { each, when, table: name.into(), row: row?, cells, at, remove })
    }
}
