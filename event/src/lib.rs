//! The vocabulary of Portcullis: what every part says to every other part.
//!
//! One type for each station of a reading's way: [`record::RecordBlock`] (deliveries, as the log
//! holds them) → [`block::EventBlock`] (decoded, interned) → frames (in `rules`) →
//! [`incident::Detection`] → [`incident::Incident`]. This crate depends on no other part.

pub mod block;
pub mod books;
pub mod config;
pub mod control;
mod digests;
pub mod evidence;
pub mod fresh;
pub mod identity;
pub mod incident;
pub mod limits;
pub mod lines;
pub mod model;
pub mod prefetch;
pub mod record;
pub mod reject;
pub mod schema;
pub mod streaming;
pub mod symbol;
pub mod tables;
pub mod time;
pub mod vocabulary;

pub use block::{EventBlock, EventFlags, EventMut, EventRef, Header, SHORT_FIELDS};
pub use identity::{Digest, Identity};
pub use lines::{MemoryLine, NewFields, NewRow, RowLines};
pub use record::{
    Cut, Origin, Position, ROOM, RecordBlock, RecordFlags, RecordHead, RecordKind, RecordRef,
    SourceId, Span, StreamId,
};
pub use reject::RejectReason;
pub use symbol::{Interner, Secret, Symbol, SymbolCache};
pub use time::{EventTime, TimeReader, TimeSpan};
pub use vocabulary::{FieldId, FieldType, KindId, Vocabulary};
