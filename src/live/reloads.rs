//! Reload: the configuration's folder is read anew, and takes over where its record stands in the
//! log; or it is refused, the old one goes on, and everybody is told why (INV-RELOAD).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use event::EventTime;
use event::config::Diagnostic;
use event::control::{Change, Control};
use serde_json::{Value, json};

use super::controls::Controls;
use super::rulebooks::Rulebooks;
use super::status::Live;
use crate::config::Config;
use crate::setup::{Faults, Setup};

/// How often the files are looked at; a change is taken over once it has stood as long again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an answer waits for the engine to come to the record.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Why a configuration does not take over.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Faults with their places, as `check --json` gives them.
    pub diagnostics: Value,
}

impl Refusal {
    fn because(reason: String) -> Self {
        Self { reason, diagnostics: json!([]) }
    }

    /// Of an error of loading.
    pub fn of(error: &anyhow::Error) -> Self {
        let diagnostics = error.downcast_ref::<Faults>().map_or(json!([]), Faults::json);
        Self { reason: format!("{error:#}"), diagnostics }
    }

    fn of_tests(failed: Vec<Diagnostic>) -> Self {
        Self::of(&Faults(failed).into())
    }
}

/// A refusal as the interface tells it.
#[derive(Clone, Debug)]
struct Refused {
    by: String,
    at: EventTime,
    refusal: Refusal,
}

/// What has become of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Taken(String),
    /// It is in the log; the engine has not come to it yet.
    Pending(String),
    /// It is what is in force already.
    Unchanged(String),
}

/// Sees that a configuration compiles and passes its own tests.
pub fn examined(setup: anyhow::Result<Setup>) -> Result<Setup, Refusal> {
    let setup = setup.map_err(|error| Refusal::of(&error))?;
    let failed = crate::test::own(&setup);
    if failed.is_empty() { Ok(setup) } else { Err(Refusal::of_tests(failed)) }
}

/// The one way in which the configuration of a running program changes.
pub struct Reloads {
    config: PathBuf,
    rulebooks: Arc<Rulebooks>,
    controls: Arc<Controls>,
    live: Arc<Live>,
    /// What cannot change, as this program was started with it.
    fixed: Vec<(&'static str, String)>,
    watch: bool,
    /// Data files of tables, looked at beside the others.
    data: Mutex<Vec<PathBuf>>,
    /// The newest one in the log; held while another is on its way.
    newest: Mutex<String>,
    refused: Mutex<Option<Refused>>,
    /// Taken over, unchanged, refused.
    counts: [AtomicU64; 3],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reloads {
    /// For a program that runs under `setup`, the last one in the log.
    pub fn new(
        dir: PathBuf,
        setup: &Setup,
        (rulebooks, controls, live): (Arc<Rulebooks>, Arc<Controls>, Arc<Live>),
    ) -> Self {
        Self {
            config: dir,
            rulebooks,
            controls,
            live,
            fixed: setup.config.fixed().into(),
            watch: setup.config.watch,
            data: Mutex::new(setup.files.data.values().cloned().collect()),
            newest: Mutex::new(setup.hash.clone()),
            refused: Mutex::default(),
            counts: Default::default(),
        }
    }

    /// Reads the folder anew and lets it take over. Blocks.
    pub fn reload(&self, by: &str, reason: &str) -> Result<Outcome, Refusal> {
        let mut newest = lock(&self.newest);
        let result = self.attempt(&mut newest, by, reason);
        let outcome = match &result {
            Ok(Outcome::Taken(_) | Outcome::Pending(_)) => 0,
            Ok(Outcome::Unchanged(_)) => 1,
            Err(_) => 2,
        };
        self.counts[outcome].fetch_add(1, Ordering::Relaxed);
        match &result {
            Ok(outcome) => {
                tracing::info!(by, ?outcome, "reload");
                *lock(&self.refused) = None;
            }
            Err(refusal) => self.refuse(by, refusal.clone()),
        }
        result
    }

    /// Notes why one does not take over.
    pub fn refuse(&self, by: &str, refusal: Refusal) {
        tracing::error!(
            by,
            "the configuration is refused, the old one goes on: {}",
            refusal.reason
        );
        let refused = Refused { by: by.to_owned(), at: crate::now(), refusal };
        *lock(&self.refused) = Some(refused);
    }

    fn attempt(&self, newest: &mut String, by: &str, reason: &str) -> Result<Outcome, Refusal> {
        let interner = self.rulebooks.interner().clone();
        let setup = Setup::load_with(&self.config, interner, &[]);
        let setup = setup.map_err(|error| Refusal::of(&error))?;
        *lock(&self.data) = setup.files.data.values().cloned().collect();
        self.same_where_it_must(&setup.config)?;
        let hash = setup.hash.clone();
        if hash == *newest {
            return Ok(Outcome::Unchanged(hash));
        }
        let setup = examined(Ok(setup))?;
        self.rulebooks.keep(setup).map_err(|error| Refusal::of(&error))?;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let control = Control { by, reason, change: Change::Reload(hash.clone()) };
        self.controls.submit(&control).map_err(|error| Refusal::of(&error))?;
        newest.clone_from(&hash);
        if self.rulebooks.wait_for(&hash, TAKE_OVER) {
            Ok(Outcome::Taken(hash))
        } else {
            Ok(Outcome::Pending(hash))
        }
    }

    fn same_where_it_must(&self, config: &Config) -> Result<(), Refusal> {
        let now = config.fixed();
        let other: Vec<_> = self.fixed.iter().zip(&now).filter(|(was, is)| was != is).collect();
        if other.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = other.iter().map(|(was, _)| format!("`{}`", was.0)).collect();
        let names = names.join(", ");
        let reason = format!("portcullis.yaml: {names} cannot change while it runs: restart it");
        Err(Refusal::because(reason))
    }

    /// Attempts by what became of them.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let of = |n: usize| self.counts[n].load(Ordering::Relaxed);
        [("taken", of(0)), ("unchanged", of(1)), ("refused", of(2))]
    }

    /// The last attempt's refusal, while nothing better came.
    pub fn refusal(&self) -> Option<String> {
        lock(&self.refused).as_ref().map(|refused| refused.refusal.reason.clone())
    }

    /// What is in force, since when, by whom; which rules are blind; what was refused.
    pub fn status(&self) -> Value {
        let reign = |reign: super::epoch::Reign| {
            json!({
                "hash": reign.config, "from": reign.from.0, "since": reign.recorded,
                "by": reign.by, "reason": reign.reason,
            })
        };
        let mut status = reign(self.rulebooks.in_force());
        let blind = self.live.blind().into_iter().map(|(rule, until)| {
            let until = (until != EventTime::MAX).then_some(until);
            json!({"rule": rule, "until": until})
        });
        status["blind"] = blind.collect();
        let refused = lock(&self.refused).clone().map(|Refused { by, at, refusal }| {
            let Refusal { reason, diagnostics } = refusal;
            json!({"by": by, "at": at, "reason": reason, "diagnostics": diagnostics})
        });
        status["refused"] = json!(refused);
        status["history"] = self.rulebooks.history().into_iter().map(reign).collect();
        status
    }

    /// Looks at the files until it is told to stop, and reloads when they have changed and stand.
    pub fn watch(&self, stop: &Receiver<()>) {
        if !self.watch {
            let _ = stop.recv();
            return;
        }
        let mut known = self.stamps();
        let mut before = known.clone();
        while matches!(stop.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout)) {
            let now = self.stamps();
            if now != known && now == before {
                known.clone_from(&now);
                // Refused or not: it is tried again when the files change again.
                let _ = self.reload("files", "the configuration's files have changed");
            }
            before = now;
        }
    }

    /// When each file of the configuration was last written, and how long it is.
    fn stamps(&self) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
        let mut paths = crate::files::named(&self.config);
        paths.extend(lock(&self.data).iter().cloned());
        let stamp = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok();
            let stamp = found.map_or((None, 0), |found| (found.modified().ok(), found.len()));
            (path, stamp)
        };
        paths.into_iter().map(stamp).collect()
    }
}
