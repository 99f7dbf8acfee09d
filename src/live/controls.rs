//! The way of a control record into the log: made here, it takes effect where it stands there.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use event::control::Control;
use ingest::source::intake::{Ack, Batch};

use super::recovery::control_record;

/// Where operators, the interface and watchers hand over what they change.
pub struct Controls {
    intake: Mutex<Option<SyncSender<Batch>>>,
}

impl Controls {
    /// A way into the intake of the log.
    pub fn new(intake: SyncSender<Batch>) -> Self {
        Self { intake: Mutex::new(Some(intake)) }
    }

    /// Writes a control record; returns when it is durable (INV-ACK). Blocks.
    pub fn submit(&self, control: &Control) -> anyhow::Result<()> {
        let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let intake = intake.context("the program is stopping")?;
        let records = control_record(control, crate::now());
        let (done, durable) = sync_channel(1);
        let ack = Ack::new(move || {
            let _ = done.send(());
        });
        if intake.send(Batch { records, ack }).is_err() || durable.recv().is_err() {
            bail!("the log takes nothing any more; see the program's health");
        }
        Ok(())
    }

    /// Nothing is taken any more: the log may end.
    pub fn close(&self) {
        drop(self.intake.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
