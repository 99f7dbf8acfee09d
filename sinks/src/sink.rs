//! What every sink looks like to the outbox.

use std::time::Duration;

use event::identity::TimedId;

use crate::limits;

/// One change of one incident, on its way to one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Derived from the outputs that made it: a repeat carries the same id.
    pub id: String,
    /// The incident: what must stay in order, so the key of a partitioned topic.
    pub incident: TimedId,
    /// One JSON object: `id`, `changes`, `incident`, `detections`.
    pub body: String,
}

/// What the outbox should do with a notification that did not get through.
///
/// The texts are shown and stored: a sink puts no secret into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Not now: try again after the outbox's back-off.
    Retry(String),
    /// Not now: the receiver said when.
    RetryAfter(String, Duration),
    /// Never: this notification is a dead letter.
    Reject(String),
    /// Nothing will get through until somebody changes the configuration: everything waits.
    Fatal(String),
}

impl Disposition {
    /// The reason, in a sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry(reason)
            | Self::RetryAfter(reason, _)
            | Self::Reject(reason)
            | Self::Fatal(reason) => reason,
        }
    }
}

/// A receiver of notifications. It is called from one thread of its own.
pub trait Sink: Send {
    /// Its id in the configuration: what its place in the outbox is kept by.
    fn name(&self) -> &str;

    /// Hands over one notification; `Ok` means that the receiver has it for good. Returns within
    /// the sink's time-out, because a stop waits for it.
    ///
    /// # Errors
    /// What to do with the notification instead.
    fn deliver(&mut self, notification: &Notification) -> Result<(), Disposition>;

    /// Times one notification is tried before it becomes a dead letter.
    fn attempts_max(&self) -> u32 {
        limits::ATTEMPTS_MAX
    }
}
