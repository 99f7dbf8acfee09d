//! The JSON Schema of the canonical event, made from the vocabulary.

use serde_json::{Map, Value, json};

use crate::limits::SYMBOL_BYTES_MAX;
use crate::vocabulary::{Family, FieldType, Vocabulary};

/// JSON Schema (2020-12) of the canonical JSON of an event: what every source accepts as it is,
/// also as `data` of a CloudEvents 1.0 envelope in structured mode.
#[must_use]
pub fn canonical(vocabulary: &Vocabulary) -> Value {
    let name = json!({"type": "string", "maxLength": SYMBOL_BYTES_MAX});
    let mut properties = Map::new();
    let kinds: Vec<_> = vocabulary.kinds().iter().map(|k| k.name.as_str()).collect();
    properties.insert(
        "kind".into(),
        json!({"enum": kinds, "description": "What happened; ONVIF's and the trade's terms."}),
    );
    properties.insert("occurred".into(), json!({"type": "string", "format": "date-time", "description": "When it happened by the device, RFC 3339. Unit: microseconds; further digits are cut."}));
    properties.insert("recorded".into(), json!({"type": "string", "format": "date-time", "description": "When it was recorded; only trusted in `time: history`. Default: arrival, or `occurred` in history."}));
    properties.insert("feed".into(), json!({"type": "string", "maxLength": SYMBOL_BYTES_MAX, "description": "The feed it belongs to, e.g. badge, fence. Default: the source's feed."}));
    properties.insert("device".into(), json!({"type": "string", "maxLength": SYMBOL_BYTES_MAX, "description": "The device that says it."}));
    properties.insert("id".into(), json!({"type": ["string", "integer"], "description": "The device's own sequence or message id. Without one the content is hashed."}));
    properties.insert("site".into(), name.clone());
    for field in vocabulary.fields() {
        let schema = match field.ty {
            FieldType::String => name.clone(),
            FieldType::Int => json!({"type": "integer"}),
            FieldType::Float => json!({"type": "number"}),
            FieldType::Bool => json!({"type": "boolean"}),
            FieldType::Time => json!({"type": "string", "format": "date-time"}),
        };
        properties.insert(field.name.clone(), schema);
    }
    let control: Vec<_> = vocabulary
        .kinds()
        .iter()
        .filter(|k| k.family == Family::Control)
        .map(|k| k.name.as_str())
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:portcullis:event:1",
        "title": "Portcullis canonical event",
        "type": "object",
        "properties": properties,
        "required": ["kind", "occurred"],
        "if": {"properties": {"kind": {"enum": control}}},
        "else": {"required": ["kind", "occurred", "device", "site"]},
        "additionalProperties": false
    })
}
