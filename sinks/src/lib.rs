//! The way out: the SMS store, and the outbox that carries what changed in it to sinks.
//!
//! One transaction of [`store::Store::commit`] holds incidents, evidence, each site's
//! `emitted_seq` and the notifications that follow from them; [`outbox::Outbox`] then delivers
//! those, at least once and in order for each sink, under ids that never change. The store is a
//! function of the engine's outputs, whatever is repeated (INV-ONCE).

pub mod kafka;
pub mod limits;
pub mod outbox;
pub mod settings;
pub mod sink;
pub mod store;
pub mod webhook;

pub use outbox::{Outbox, SinkStatus};
pub use settings::SinkSettings;
pub use sink::{Disposition, Notification, Sink};
pub use store::{DeadLetter, Filter, Outputs, Reader, Store, StoreError};
