//! What a commit writes with: statements that are looked up once.

use rusqlite::{CachedStatement, Connection};

use super::error::{Doing, StoreError};

/// A transaction, with the statements that run for every incident: looking one up by its text costs
/// an eighth of what it does.
pub(super) struct Writing<'c> {
    pub(super) db: &'c Connection,
    pub(super) incident: CachedStatement<'c>,
    /// What stands under an id: an incident, the detection that opened it, another detection.
    pub(super) stands: CachedStatement<'c>,
    pub(super) detection: CachedStatement<'c>,
    /// Memory for the document of one detection.
    pub(super) document: Vec<u8>,
}

impl<'c> Writing<'c> {
    pub(super) fn begin(db: &'c Connection) -> Result<Self, StoreError> {
        let prepare = |text| db.prepare_cached(text).doing("preparing a commit");
        Ok(Self {
            db,
            incident: prepare(
                "INSERT INTO incident (n, id, rule, title, severity, site, area, person, state,
                     opened_at, updated_at, config_hash, late, detections, events,
                     evidence_omitted, verification, feeds, revision, concluded_at, opening)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18, ?1, ?19, ?20)",
            )?,
            stands: prepare(
                "SELECT (SELECT opening IS NOT NULL FROM incident WHERE id = ?1),
                     EXISTS (SELECT 1 FROM detection WHERE id = ?1)",
            )?,
            detection: prepare(
                "INSERT INTO detection (id, incident, rule, title, severity, site, area, person,
                     key, at, document)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            document: Vec::new(),
        })
    }

    /// Whether there is an incident of an id, and a detection.
    pub(super) fn stands(&mut self, id: &str) -> Result<(bool, bool), StoreError> {
        let found = self.stands.query_row([id], |row| {
            let opening: Option<bool> = row.get(0)?;
            Ok((opening.is_some(), opening == Some(true) || row.get(1)?))
        });
        found.doing("looking for an incident")
    }
}
