//! Configurations kept whole by hash, and which of them was in force where in the log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use event::{Interner, Position};

use super::epoch::{Epoch, Reign};
use crate::setup::Setup;

/// Compiled configurations held in memory beside the one in force: those that open evidence and
/// open pages ask for.
const LOADED_MAX: usize = 8;

/// The kept configurations of a data folder.
pub struct Rulebooks {
    dir: PathBuf,
    interner: Arc<Interner>,
    loaded: Mutex<BTreeMap<String, Arc<Setup>>>,
    path: PathBuf,
    epoch: Mutex<Epoch>,
    /// How many have taken over since the start.
    changes: AtomicU64,
    /// Told when another took over.
    begun: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of kept configurations.
pub struct Kept<'a> {
    /// In the data folder.
    pub dir: &'a Path,
    /// Texts of the process.
    pub interner: &'a Arc<Interner>,
}

impl Kept<'_> {
    /// One by its hash, compiled.
    pub fn load(&self, hash: &str) -> anyhow::Result<Setup> {
        let dir = self.dir.join(hash);
        let help = || {
            format!(
                "the configuration {hash} was in force and is not whole in {}: restore it from a backup of the data folder",
                dir.display()
            )
        };
        let setup = Setup::kept(&dir, self.interner.clone()).with_context(help)?;
        if setup.hash != hash {
            bail!("{}", help());
        }
        Ok(setup)
    }

    /// Keeps one, durable when it returns, and sees that it can be read again.
    pub fn keep(&self, setup: &Setup) -> anyhow::Result<()> {
        let dir = self.dir.join(&setup.hash);
        if dir.is_dir() {
            return Ok(());
        }
        let half = self.dir.join("half");
        if half.exists() {
            fs::remove_dir_all(&half)?;
        }
        setup.files.keep(&half).context("the configuration could not be kept")?;
        let again = Setup::kept(&half, self.interner.clone())?;
        if again.hash != setup.hash {
            bail!("the configuration's files changed while they were read: try again");
        }
        crate::crash::point("rulebook-kept");
        fs::rename(&half, &dir)?;
        Ok(File::open(self.dir)?.sync_all()?)
    }
}

impl Rulebooks {
    /// Those of a data folder, with the history of those in force.
    pub fn new(data: &Path, interner: Arc<Interner>, epoch: Epoch) -> anyhow::Result<Self> {
        let (dir, path) = (folder(data)?, data.join("epoch.json"));
        epoch.save(&path)?;
        let (loaded, begun, changes) = (Mutex::default(), Condvar::new(), AtomicU64::new(0));
        Ok(Self { dir, interner, loaded, path, epoch: Mutex::new(epoch), changes, begun })
    }

    /// Keeps one, durable when it returns.
    pub fn keep(&self, setup: Setup) -> anyhow::Result<Arc<Setup>> {
        Kept { dir: &self.dir, interner: &self.interner }.keep(&setup)?;
        let setup = Arc::new(setup);
        self.hold(setup.clone());
        Ok(setup)
    }

    /// Holds one in memory that is kept.
    pub fn hold(&self, setup: Arc<Setup>) {
        let mut loaded = lock(&self.loaded);
        if loaded.len() >= LOADED_MAX {
            let stays = self.in_force().config;
            loaded.retain(|hash, _| *hash == stays);
        }
        loaded.insert(setup.hash.clone(), setup);
    }

    /// One by its hash.
    pub fn setup(&self, hash: &str) -> anyhow::Result<Arc<Setup>> {
        if let Some(setup) = lock(&self.loaded).get(hash) {
            return Ok(setup.clone());
        }
        let setup = Kept { dir: &self.dir, interner: &self.interner }.load(hash)?;
        let setup = Arc::new(setup);
        self.hold(setup.clone());
        Ok(setup)
    }

    /// What a rulebook says of a rule beside its condition: procedure, risk, control.
    pub fn rule(&self, hash: &str, id: &str) -> serde_json::Value {
        let setup = self.setup(hash);
        let rule = setup.as_ref().ok().and_then(|s| s.plan.rules.iter().find(|r| r.id == id));
        rule.map_or(serde_json::Value::Null, |rule| {
            serde_json::json!({
                "procedure": rule.procedure, "risk": rule.risk, "control": rule.control,
            })
        })
    }

    /// Texts of the process.
    pub fn interner(&self) -> &Arc<Interner> {
        &self.interner
    }

    /// Which configuration judged what stands at a position of the log.
    pub fn at(&self, position: Position) -> Reign {
        lock(&self.epoch).at(position).clone()
    }

    /// The hash of that configuration, and what else it judged before and behind it.
    pub fn reign(&self, position: Position) -> (String, Range<Position>) {
        let epoch = lock(&self.epoch);
        let reign = epoch.at(position);
        let next = epoch.reigns.iter().map(|other| other.from).find(|from| *from > position);
        let from = if reign.from <= position { reign.from } else { position };
        (reign.config.clone(), from..next.unwrap_or(Position(u64::MAX)))
    }

    /// How many have taken over since the start: as long as that stays, so does what judged what.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The one in force where the engine has come to.
    pub fn in_force(&self) -> Reign {
        self.at(Position(u64::MAX))
    }

    /// All that were in force, oldest first.
    pub fn history(&self) -> Vec<Reign> {
        lock(&self.epoch).reigns.clone()
    }

    /// Another has taken over.
    pub fn begin(&self, reign: Reign) -> anyhow::Result<()> {
        let mut epoch = lock(&self.epoch);
        epoch.begin(reign);
        self.changes.fetch_add(1, Ordering::Release);
        epoch.save(&self.path)?;
        self.begun.notify_all();
        Ok(())
    }

    /// Waits until one is in force; whether it is.
    pub fn wait_for(&self, hash: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut epoch = lock(&self.epoch);
        while epoch.at(Position(u64::MAX)).config != hash {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            epoch = self.begun.wait_timeout(epoch, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Where a data folder keeps them.
pub fn folder(data: &Path) -> anyhow::Result<PathBuf> {
    let dir = data.join("rulebooks");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}
