//! The store's thread: what was found leaves once the log holds what it stands on (INV-ONCE).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::bail;
use event::{EventTime, Position};
use sinks::{DeadLetter, Outputs, Store};

use super::keeper::Keep;
use super::status::Live;

/// Outputs of one transaction: group commit makes full durability affordable.
pub const OUTPUTS_PER_COMMIT: usize = 1_000;
/// How often a store that refuses is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What the engine's thread hands over, in order.
pub enum Emit {
    /// Outputs and refused deliveries.
    Outputs(Batch),
    /// A snapshot of this position is made: what it stands on is the log before it and all outputs so far.
    Snapshot(Position),
}

/// What becomes visible together.
pub struct Batch {
    /// What it stands on ends here in the log.
    pub until: Position,
    /// When the newest delivery of the step was taken, where there is one.
    pub recorded: Option<EventTime>,
    pub outputs: Vec<Outputs>,
    pub dead: Vec<DeadLetter>,
}

impl Batch {
    /// With what came behind it.
    pub fn and(mut self, next: Self) -> Self {
        self.until = next.until;
        // The one that has waited longest tells the latency.
        self.recorded = self.recorded.into_iter().chain(next.recorded).min();
        self.outputs.extend(next.outputs);
        self.dead.extend(next.dead);
        self
    }

    /// How many outputs.
    pub fn len(&self) -> usize {
        self.outputs.iter().map(Outputs::len).sum()
    }
}

/// Emits.
pub struct Emitter {
    pub store: Store,
    pub changed: tokio::sync::watch::Sender<u64>,
    pub live: Arc<Live>,
    /// Where it is said that a snapshot may stand.
    pub keep: Sender<Keep>,
    /// The way back to the teller, of memory to be used again.
    pub spare: Sender<Outputs>,
}

impl Emitter {
    /// Runs until the engine's thread has ended and everything has left.
    pub fn run(mut self, messages: &Receiver<Emit>) -> anyhow::Result<()> {
        let mut next = None;
        while let Some(message) = next.take().or_else(|| messages.recv().ok()) {
            match message {
                Emit::Snapshot(position) => self.stand(position)?,
                Emit::Outputs(mut batch) => {
                    // What has come meanwhile goes into the same transaction.
                    while batch.len() < OUTPUTS_PER_COMMIT {
                        match messages.try_recv() {
                            Ok(Emit::Outputs(further)) if self.comes_along(&batch, &further) => {
                                batch = batch.and(further);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(&batch)?;
                    if let Some(recorded) = batch.recorded.filter(|_| batch.len() > 0) {
                        self.live.visible(crate::now().since(recorded));
                    }
                    for mut outputs in batch.outputs {
                        outputs.clear();
                        // Whoever takes it back may have ended.
                        let _ = self.spare.send(outputs);
                    }
                }
            }
        }
        // While the last snapshot is written: whoever closes the store would have to do it.
        if let Err(error) = self.store.move_journal() {
            tracing::warn!(%error, "the store's journal is left for the next start");
        }
        Ok(())
    }

    /// Whether the next goes into the same transaction. It does not where this one's log is durable and its own is
    /// not: that is waited for while this one is committed.
    fn comes_along(&self, batch: &Batch, next: &Batch) -> bool {
        let log = self.live.log();
        let durable = log.durable();
        let waits = next.until > durable && batch.until <= durable;
        if waits {
            log.want(next.until);
        }
        !waits
    }

    fn commit(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let Batch { until, outputs, dead, .. } = batch;
        let until = *until;
        self.wait_durable(until)?;
        debug_assert!(self.live.log().durable() >= until, "INV-ONCE: left before it was durable");
        crate::crash::point("store-committing");
        while let Err(error) = self.store.commit_all(outputs, dead) {
            if !error.may_pass() || self.live.stopping() {
                return Err(error.into());
            }
            tracing::error!(%error, "the log goes on; the store is tried again");
            self.live.store_fault(Some(error.to_string()));
            std::thread::sleep(RETRY_EVERY);
        }
        self.live.store_fault(None);
        crate::crash::point("store-committed");
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// A snapshot may stand only when the log before it is durable and its outputs are stored.
    fn stand(&self, position: Position) -> anyhow::Result<()> {
        self.wait_durable(position)?;
        self.keep.send(Keep::Stand).map_err(|_| anyhow::anyhow!("the keeper's thread has ended"))
    }

    fn wait_durable(&self, until: Position) -> anyhow::Result<()> {
        while !self.live.log().wait_durable(until, Instant::now() + RETRY_EVERY) {
            if self.live.failure().is_some() {
                bail!("the log is not durable up to {}", until.0);
            }
        }
        Ok(())
    }
}
