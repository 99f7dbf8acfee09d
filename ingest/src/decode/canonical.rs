//! The canonical JSON of an event, as it is and inside a CloudEvents 1.0 envelope.

use event::RejectReason;
use event::vocabulary::{Family, FieldId, FieldType, KindId, Vocabulary};
use hashbrown::HashMap;
use simd_json::Node;

use super::document::{Raw, raw};
use super::draft::{Draft, Id, Station};
use crate::mapping::{Format, PathTree, after};

/// What a key of a canonical event is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Kind,
    Occurred,
    Recorded,
    Feed,
    Device,
    Id,
    Site,
    Field(FieldId, FieldType),
}

type Table<T> = HashMap<Box<str>, T, foldhash::fast::FixedState>;

/// Keys and kinds by name.
pub(super) struct Names {
    keys: Table<Key>,
    kinds: Table<(KindId, bool)>,
    /// The keys as paths, and what each register's key is.
    pub paths: PathTree,
    pub by_register: Vec<Key>,
}

impl Names {
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let mut keys = Table::default();
        for (name, key) in [
            ("kind", Key::Kind),
            ("occurred", Key::Occurred),
            ("recorded", Key::Recorded),
            ("feed", Key::Feed),
            ("device", Key::Device),
            ("id", Key::Id),
            ("site", Key::Site),
        ] {
            keys.insert(name.into(), key);
        }
        for (slot, field) in vocabulary.fields().iter().enumerate() {
            keys.insert(field.name.as_str().into(), Key::Field(FieldId(slot as u8), field.ty));
        }
        let kinds = vocabulary.kinds().iter().enumerate();
        let kinds = kinds.map(|(id, kind)| {
            (kind.name.as_str().into(), (KindId(id as u16), kind.family == Family::Control))
        });
        let mut names = Self {
            kinds: kinds.collect(),
            paths: PathTree::default(),
            by_register: Vec::new(),
            keys,
        };
        for (name, key) in &names.keys {
            // No key of the vocabulary has a dot: each is a path of one step.
            if names.paths.path(name).is_ok_and(|p| p.0 as usize == names.by_register.len()) {
                names.by_register.push(*key);
            }
        }
        names
    }
}

/// Whether a JSON payload has the shape of a mapping's format.
pub(super) fn shape_fits(format: &Format, tape: &[Node<'_>]) -> bool {
    let has = |wanted: &str| entries(tape, 0).is_some_and(|mut e| e.any(|(key, _)| key == wanted));
    match format {
        Format::Canonical => !has("specversion"),
        Format::CloudEvents => has("specversion"),
        _ => true,
    }
}

/// Keys and places of the values of the object at `at`.
pub(super) fn entries<'t, 'i>(
    tape: &'t [Node<'i>],
    at: usize,
) -> Option<impl Iterator<Item = (&'i str, usize)> + use<'t, 'i>> {
    let Node::Object { len, .. } = tape[at] else { return None };
    let mut next = at + 1;
    Some((0..len).map(move |_| {
        let key = if let Node::String(key) = tape[next] { key } else { "" };
        let value = next + 1;
        next = after(tape, value);
        (key, value)
    }))
}

/// A canonical event.
pub(super) fn decode(
    tape: &[Node<'_>],
    names: &Names,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    object(tape, 0, names, Draft::default(), station)
}

/// CloudEvents 1.0, structured mode: `data` is a canonical event, which `time` and `id` complete.
pub(super) fn decode_cloud_event(
    tape: &[Node<'_>],
    names: &Names,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    let mut draft = Draft::default();
    let mut data = None;
    for (key, at) in entries(tape, 0).ok_or(RejectReason::WrongType)? {
        match (key, raw(tape[at])) {
            ("specversion", value) if value != Raw::Text("1.0") => {
                return Err(RejectReason::InvalidValue);
            }
            ("id", Raw::Text(text)) if !text.is_empty() => {
                draft.id = Some(Id::Text(text.as_bytes()));
            }
            ("id", _) => return Err(RejectReason::MissingField),
            ("time", Raw::Text(text)) => draft.occurred = Some(station.context.time(text)?),
            ("recordedtime", Raw::Text(text)) => {
                draft.recorded = Some(station.context.time(text)?);
            }
            ("data", Raw::Compound) => data = Some(at),
            ("data", _) => return Err(RejectReason::WrongType),
            _ => {}
        }
    }
    object(tape, data.ok_or(RejectReason::MissingField)?, names, draft, station)
}

fn object<'i>(
    tape: &[Node<'i>],
    at: usize,
    names: &Names,
    mut draft: Draft<'i>,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    let row = station.out.len();
    station.out.push();
    for (key, at) in entries(tape, at).ok_or(RejectReason::WrongType)? {
        let key = names.keys.get(key).ok_or(RejectReason::UnknownField)?;
        put(*key, raw(tape[at]), row, names, &mut draft, station)?;
    }
    finish(row, &draft, station)
}

/// One key and its value.
#[inline(always)]
fn put<'i>(
    key: Key,
    value: Raw<'i>,
    row: usize,
    names: &Names,
    draft: &mut Draft<'i>,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    match (key, value) {
        (Key::Field(field, ty), value) => station.set_field(row, field, ty, value, true)?,
        (_, Raw::Missing) => {}
        (Key::Id, Raw::Int(n)) => draft.id = Some(Id::Int(n)),
        (Key::Kind, Raw::Text(text)) => {
            let (kind, control) = names.kinds.get(text).ok_or(RejectReason::UnknownKind)?;
            draft.kind = Some(*kind);
            draft.control = *control;
        }
        (Key::Occurred, Raw::Text(text)) => draft.occurred = Some(station.context.time(text)?),
        (Key::Recorded, Raw::Text(text)) => draft.recorded = Some(station.context.time(text)?),
        (Key::Feed, Raw::Text(text)) => draft.feed = station.intern(text)?,
        (Key::Device, Raw::Text(text)) => draft.device = station.intern(text)?,
        (Key::Site, Raw::Text(text)) => draft.site = station.intern(text)?,
        (Key::Id, Raw::Text(text)) => {
            draft.id = (!text.is_empty()).then_some(Id::Text(text.as_bytes()));
        }
        _ => return Err(RejectReason::WrongType),
    }
    Ok(())
}

fn finish(
    row: usize,
    draft: &Draft<'_>,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    // The schema asks for a time: only a mapping may say that a device has none.
    if draft.occurred.is_none() {
        return Err(RejectReason::MissingField);
    }
    station.finish(row, 0, draft)
}
