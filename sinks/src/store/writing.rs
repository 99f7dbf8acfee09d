//! What a commit writes with: statements that are looked up once, and events that were cited lately.

use std::collections::HashMap;

use event::identity::Digest;
use event::incident::Evidence;
use rusqlite::{CachedStatement, Connection};

use super::error::{Doing, StoreError};
use crate::limits;

/// A transaction, with the statements that run for every incident: looking one up by its text costs
/// an eighth of what it does.
pub(super) struct Writing<'c> {
    pub(super) db: &'c Connection,
    pub(super) incident: CachedStatement<'c>,
    pub(super) detection: CachedStatement<'c>,
    pub(super) event: CachedStatement<'c>,
    pub(super) cited: &'c mut Cited,
}

impl<'c> Writing<'c> {
    pub(super) fn begin(db: &'c Connection, cited: &'c mut Cited) -> Result<Self, StoreError> {
        let prepare = |text| db.prepare_cached(text).doing("preparing a commit");
        Ok(Self {
            db,
            incident: prepare(
                "INSERT INTO incident (id, rule, title, severity, site, area, person, state,
                     opened_at, updated_at, config_hash, late, detections, events,
                     evidence_omitted, verification, feeds, revision, concluded_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1, ?13, ?14, ?15, ?16,
                     ?17, ?18)
                 ON CONFLICT (id) DO NOTHING",
            )?,
            detection: prepare(
                "INSERT INTO detection (id, incident, rule, title, severity, site, area, person,
                     key, at, evidence_omitted, why, late, events)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
                 ON CONFLICT (id) DO NOTHING",
            )?,
            event: prepare(
                "INSERT INTO event (id, feed, kind, device, occurred, recorded, raw)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            )?,
            cited,
        })
    }
}

/// Rows of the events that were cited last: one in three is cited again soon, by another rule.
/// Whatever is in it stands in the store, or in the transaction under way.
#[derive(Debug, Default)]
pub(super) struct Cited {
    young: HashMap<u128, i64>,
    old: HashMap<u128, i64>,
}

impl Cited {
    /// What tells an event from all others, as the store does: id, kind and time.
    pub(super) fn key(event: &Evidence) -> u128 {
        let digest = Digest::default().part(event.id.as_bytes()).part(event.kind.as_bytes());
        digest.number(event.occurred.0 as u128).finish()
    }

    pub(super) fn row(&self, key: u128) -> Option<i64> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(super) fn keep(&mut self, key: u128, row: i64) {
        if self.young.len() >= limits::CITED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, row);
    }

    /// A transaction has failed: its rows are not there.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
