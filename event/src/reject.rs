//! Why a delivery was refused: bad input is data.

/// The reason a delivery became no event. The number indexes [`crate::books`] counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectReason {
    /// Not JSON, or more behind the value.
    InvalidJson,
    /// Not UTF-8.
    InvalidUtf8,
    /// Longer than the limit.
    Oversize,
    /// Nested deeper than the limit.
    TooDeep,
    /// One object names one key twice.
    DuplicateKey,
    /// Not a CSV row of the file's columns.
    InvalidCsv,
    /// No mapping takes this topic or shape.
    NoMapping,
    /// A field that the mapping or the kind needs is not there.
    MissingField,
    /// A key that the vocabulary does not know.
    UnknownField,
    /// A value of another type than the field's.
    WrongType,
    /// A value outside what the mapping's value map or the vocabulary allows.
    InvalidValue,
    /// A kind of event that the vocabulary does not know.
    UnknownKind,
    /// A time that cannot be read.
    InvalidTime,
    /// A site that the configuration does not know.
    UnknownSite,
    /// More events in one delivery, or more distinct names, than the limits allow.
    LimitExceeded,
}

/// How many reasons there are.
pub const REASONS: usize = 15;

impl RejectReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; REASONS] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::Oversize,
        Self::TooDeep,
        Self::DuplicateKey,
        Self::InvalidCsv,
        Self::NoMapping,
        Self::MissingField,
        Self::UnknownField,
        Self::WrongType,
        Self::InvalidValue,
        Self::UnknownKind,
        Self::InvalidTime,
        Self::UnknownSite,
        Self::LimitExceeded,
    ];

    /// The name in metrics, books and dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::Oversize => "oversize",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::InvalidCsv => "invalid_csv",
            Self::NoMapping => "no_mapping",
            Self::MissingField => "missing_field",
            Self::UnknownField => "unknown_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::UnknownKind => "unknown_kind",
            Self::InvalidTime => "invalid_time",
            Self::UnknownSite => "unknown_site",
            Self::LimitExceeded => "limit_exceeded",
        }
    }

    /// What to change, for the person who reads the dead letter.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::InvalidJson => "send one JSON value per message, with nothing behind it",
            Self::InvalidUtf8 => "send UTF-8",
            Self::Oversize => "send less than payload_bytes_max, pictures by link",
            Self::TooDeep => "nest less than 64 levels deep",
            Self::DuplicateKey => "name each key of an object once",
            Self::InvalidCsv => "give every row the columns of the header",
            Self::NoMapping => "add a mapping for this topic, or stop subscribing to it",
            Self::MissingField => "send the field, or give it a default in the mapping",
            Self::UnknownField => "declare the field under `fields:`, or leave it out",
            Self::WrongType => "send the type that the field has in the vocabulary",
            Self::InvalidValue => "add the value to the mapping's value map",
            Self::UnknownKind => "use a kind of `portcullis events schema`, or declare it",
            Self::InvalidTime => "send RFC 3339, or state the mapping's time format and zone",
            Self::UnknownSite => "add the site to the configuration",
            Self::LimitExceeded => "split the delivery, or raise the limit by name",
        }
    }
}

impl std::fmt::Display for RejectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
