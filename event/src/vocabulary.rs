//! Kinds of event and their fields: the built-in ones of the trade, and those a configuration adds.
//!
//! Fields are interned to slots at load: one slot per field name, the same for every kind, so that
//! an expression over several kinds reads one place. A row is fixed-size; presence is a bit mask.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::limits::{FIELDS_MAX, KINDS_MAX};

/// A kind of event: an index into [`Vocabulary::kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u16);

/// A field: an index into [`Vocabulary::fields`], and its slot in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(pub u8);

/// What a field's slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// An interned text.
    String,
    /// A signed 64-bit integer.
    Int,
    /// A finite double.
    Float,
    /// True or false.
    Bool,
    /// A point in time.
    Time,
}

impl FieldType {
    /// The types by the words of a configuration.
    pub const WORDS: [(&str, Self); 5] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("time", Self::Time),
    ];
}

/// The family a kind belongs to; `Control` kinds never reach a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Moves time or changes tables; not an event of the site.
    Control,
    /// The state of a device or a door's mode.
    Device,
    /// Badge reads and door contacts.
    Badge,
    /// Vehicles, containers and seals.
    Gate,
    /// Camera analytics.
    Cctv,
    /// Alarm panels and detectors.
    Alarm,
    /// Declared by a configuration.
    Custom,
}

/// One kind: its name and its place among events of the same time (design, part 4).
#[derive(Clone, Debug)]
pub struct Kind {
    /// The field's standard term, `PascalCase`.
    pub name: String,
    /// Family, for the schema and the console.
    pub family: Family,
    /// Smaller goes first at equal event time.
    pub rank: u8,
}

/// One field: its name and type.
#[derive(Clone, Debug)]
pub struct Field {
    /// `snake_case`.
    pub name: String,
    /// What its slot holds.
    pub ty: FieldType,
}

/// Rank of timers due: before every event of that time.
pub const RANK_TIMER: u8 = 0;
/// Rank of control records.
pub const RANK_CONTROL: u8 = 1;
/// Rank of a kind that no list names.
pub const RANK_CUSTOM: u8 = 10;
/// Rank of detections, where rules over several sites hear them.
pub const RANK_DETECTION: u8 = 11;

use Family::{Alarm, Badge, Cctv, Control, Device, Gate};

const KINDS: &[(&str, Family, u8)] = &[
    ("Advance", Control, RANK_CONTROL),
    ("ScheduleStarted", Device, RANK_CONTROL),
    ("ScheduleEnded", Device, RANK_CONTROL),
    ("TableChanged", Device, RANK_CONTROL),
    ("LimitReached", Device, RANK_CONTROL),
    ("Heartbeat", Device, 2),
    ("LastWill", Device, 2),
    ("DeviceOnline", Device, 2),
    ("DeviceOffline", Device, 2),
    ("DoorModeChanged", Device, 2),
    ("RequestToExit", Badge, 3),
    ("AccessGranted", Badge, 3),
    ("AccessDenied", Badge, 3),
    ("Duress", Badge, 3),
    ("DoorOpened", Badge, 4),
    ("DoorForcedOpen", Badge, 4),
    ("AccessTaken", Badge, 5),
    ("AccessNotTaken", Badge, 5),
    ("DoorClosed", Badge, 6),
    ("PeopleCounted", Cctv, 7),
    ("ObjectDetected", Cctv, 7),
    ("LineCrossed", Cctv, 7),
    ("Loitering", Cctv, 7),
    ("MotionDetected", Cctv, 7),
    ("ActivityDetected", Cctv, 7),
    ("GateIn", Gate, 8),
    ("GateOut", Gate, 8),
    ("PlateRead", Gate, 8),
    ("ContainerRead", Gate, 8),
    ("SealRead", Gate, 8),
    ("AlarmRaised", Alarm, 9),
    ("AlarmCleared", Alarm, 9),
    ("FenceAlarm", Alarm, 9),
    ("Panic", Alarm, 9),
    ("Fire", Alarm, 9),
    ("Tamper", Alarm, 9),
    ("AreaArmed", Alarm, RANK_CONTROL),
    ("AreaDisarmed", Alarm, RANK_CONTROL),
    ("ZoneBypassed", Alarm, RANK_CONTROL),
    ("WalkTestStarted", Alarm, RANK_CONTROL),
    ("WalkTestEnded", Alarm, RANK_CONTROL),
    ("MaintenanceStarted", Device, RANK_CONTROL),
    ("MaintenanceEnded", Device, RANK_CONTROL),
    ("LockdownStarted", Device, RANK_CONTROL),
    ("LockdownEnded", Device, RANK_CONTROL),
    ("ThreatLevelChanged", Device, RANK_CONTROL),
    ("AntiPassbackForgiven", Badge, RANK_CONTROL),
    ("OccupancyReset", Badge, RANK_CONTROL),
    ("PersonMoved", Badge, RANK_CONTROL),
    ("CredentialStopped", Badge, RANK_CONTROL),
    ("CredentialReplaced", Badge, RANK_CONTROL),
    ("CredentialIssued", Badge, RANK_CONTROL),
    ("MusterStarted", Badge, RANK_CONTROL),
    ("MusterEnded", Badge, RANK_CONTROL),
    ("FireReset", Alarm, RANK_CONTROL),
    ("MusterRead", Badge, 5),
    ("StationVisited", Badge, 5),
    ("ZoneOpened", Alarm, 4),
    ("ZoneClosed", Alarm, 6),
];

use FieldType::{Bool, Float, Int, String as Text};

/// The hot ones first: they share the row's first cache lines.
const FIELDS: &[(&str, FieldType)] = &[
    ("area", Text),
    ("door", Text),
    ("credential", Text),
    ("person", Text),
    ("dir", Text),
    ("reason", Text),
    ("people", Int),
    ("zone", Text),
    ("access_point", Text),
    ("mode", Text),
    ("active", Bool),
    ("object", Text),
    ("track", Text),
    ("score", Float),
    ("vehicle", Text),
    ("plate", Text),
    ("container", Text),
    ("seal", Text),
    ("ticket", Text),
    ("driver", Text),
    ("panel", Text),
    ("camera", Text),
    ("rule", Text),
    ("limit", Text),
    ("code", Text),
    ("level", Int),
    ("table", Text),
    ("row", Text),
    ("removed", Bool),
    ("schedule", Text),
    ("station", Text),
    ("chassis", Text),
];

/// The built-in fields that the engine itself reads, by slot.
pub mod field {
    use super::FieldId;
    /// The area an event happened in.
    pub const AREA: FieldId = FieldId(0);
    /// The door.
    pub const DOOR: FieldId = FieldId(1);
    /// The credential (badge, PIN, plate used as one).
    pub const CREDENTIAL: FieldId = FieldId(2);
    /// The person.
    pub const PERSON: FieldId = FieldId(3);
}

/// The built-in kind that moves a stream's time.
pub const KIND_ADVANCE: KindId = KindId(0);
/// The built-in kinds that the engine makes of a schedule's edges.
pub const KIND_SCHEDULE: [KindId; 2] = [KindId(2), KindId(1)];
/// The built-in kind that the engine makes of a changed row.
pub const KIND_TABLE: KindId = KindId(3);
/// The built-in kind that the engine makes of a fact or rule that gives something up at a limit.
pub const KIND_LIMIT_REACHED: KindId = KindId(4);

/// All kinds and fields of one configuration, frozen after load.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    kinds: Vec<Kind>,
    fields: Vec<Field>,
    kinds_by_name: HashMap<String, KindId, FixedState>,
    fields_by_name: HashMap<String, FieldId, FixedState>,
}

/// Names every event has beside its fields; a declared field may not use them.
pub const HEADER_NAMES: &[&str] = &[
    "id",
    "feed",
    "kind",
    "site",
    "device",
    "occurred",
    "recorded",
    "time",
    "fields",
    "quarantined",
];

impl Default for Vocabulary {
    fn default() -> Self {
        let mut vocabulary = Self {
            kinds: Vec::new(),
            fields: Vec::new(),
            kinds_by_name: HashMap::default(),
            fields_by_name: HashMap::default(),
        };
        for (name, family, rank) in KINDS {
            vocabulary.push_kind(Kind { name: (*name).into(), family: *family, rank: *rank });
        }
        for (name, ty) in FIELDS {
            vocabulary.push_field(Field { name: (*name).into(), ty: *ty });
        }
        vocabulary
    }
}

impl Vocabulary {
    fn push_kind(&mut self, kind: Kind) -> KindId {
        let id = KindId(self.kinds.len() as u16);
        self.kinds_by_name.insert(kind.name.clone(), id);
        self.kinds.push(kind);
        id
    }

    fn push_field(&mut self, field: Field) -> FieldId {
        let id = FieldId(self.fields.len() as u8);
        self.fields_by_name.insert(field.name.clone(), id);
        self.fields.push(field);
        id
    }

    /// Adds a kind, or finds the one of that name. The error says what to change.
    pub fn declare_kind(&mut self, name: &str) -> Result<KindId, String> {
        if let Some(id) = self.kinds_by_name.get(name) {
            return Ok(*id);
        }
        let well_formed = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        if !well_formed {
            return Err(format!("`{name}` is not a kind: write PascalCase letters and digits"));
        }
        if self.kinds.len() >= KINDS_MAX {
            return Err(format!("more than {KINDS_MAX} kinds of event"));
        }
        Ok(self.push_kind(Kind { name: name.into(), family: Family::Custom, rank: RANK_CUSTOM }))
    }

    /// Adds a field, or finds the one of that name and type. The error says what to change.
    pub fn declare_field(&mut self, name: &str, ty: FieldType) -> Result<FieldId, String> {
        if let Some(id) = self.fields_by_name.get(name) {
            let known = self.field(*id).ty;
            return if known == ty {
                Ok(*id)
            } else {
                Err(format!("field `{name}` is {known:?} already, it cannot be {ty:?} too"))
            };
        }
        let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !well_formed || HEADER_NAMES.contains(&name) {
            return Err(format!(
                "`{name}` cannot name a field: write snake_case, none of {HEADER_NAMES:?}"
            ));
        }
        if self.fields.len() >= FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields, the built-in ones included"));
        }
        Ok(self.push_field(Field { name: name.into(), ty }))
    }

    /// The kind of a name.
    #[must_use]
    pub fn kind_named(&self, name: &str) -> Option<KindId> {
        self.kinds_by_name.get(name).copied()
    }

    /// The field of a name.
    #[must_use]
    pub fn field_named(&self, name: &str) -> Option<FieldId> {
        self.fields_by_name.get(name).copied()
    }

    /// One kind.
    #[must_use]
    pub fn kind(&self, id: KindId) -> &Kind {
        &self.kinds[id.0 as usize]
    }

    /// One field.
    #[must_use]
    pub fn field(&self, id: FieldId) -> &Field {
        &self.fields[id.0 as usize]
    }

    /// All kinds, in the order of their ids.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// All fields, in the order of their slots.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_the_engine_reads_are_where_it_reads_them() {
        let v = Vocabulary::default();
        for (id, name) in [
            (field::AREA, "area"),
            (field::DOOR, "door"),
            (field::CREDENTIAL, "credential"),
            (field::PERSON, "person"),
        ] {
            assert_eq!(v.field(id).name, name);
        }
        assert_eq!(v.kind(KIND_ADVANCE).name, "Advance");
        assert_eq!(v.kind(KIND_TABLE).name, "TableChanged");
    }

    #[test]
    fn a_declared_name_keeps_its_type() {
        let mut v = Vocabulary::default();
        let slot = v.declare_field("card_no", FieldType::Int);
        assert_eq!(v.declare_field("card_no", FieldType::Int), slot);
        assert!(v.declare_field("card_no", FieldType::Bool).is_err());
        assert!(v.declare_field("site", FieldType::String).is_err());
        assert!(v.declare_kind("proxRead").is_err());
        assert_eq!(
            v.declare_kind("AccessGranted"),
            v.kind_named("AccessGranted").ok_or_else(String::new)
        );
    }
}
