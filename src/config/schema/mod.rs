//! The JSON schema of forwarder.yml, by which editors complete, describe and check its keys.
//!
//! The keys come from the tables that the loader reads by, so that neither knows a key that the
//! other does not. The schema is weaker than the loader: it knows the form of each value, and not
//! what two values mean together.

mod kinds;

use serde_json::{Map, Value, json};

use self::kinds::{Kind, description, kind};
use super::keys::{
    ARCHIVE, AUTHORIZATION, BASIC_AUTH, FORWARDER, GLOBAL, HTTP_HEADER, METADATA, METRICS, OAUTH2,
    OWN_SERIES, QUEUE, RELABEL, REMOTE, REMOTE_METADATA, REMOTE_READ, ROOT, SCRAPE, SIGV4, SPOOL,
    STATIC, TLS, Table,
};

/// The schema as text: JSON with two spaces of indentation, and a line break at its end.
///
/// ```
/// let schema: serde_json::Value =
///     serde_json::from_str(&amp_forwarder::config::forwarder_schema()).unwrap();
/// assert_eq!(schema["properties"]["forwarder"]["$ref"], "#/$defs/forwarder");
/// ```
#[must_use]
pub fn forwarder_schema() -> String {
    let mut definitions = Map::new();
    for (name, table) in SECTIONS {
        definitions.insert(name.to_owned(), section(table));
    }
    let mut schema = section(&ROOT);
    if let Value::Object(schema) = &mut schema {
        schema.insert(
            "$schema".into(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        schema.insert("title".into(), json!("forwarder.yml of amp-forwarder"));
        schema.insert("required".into(), json!(["scrape_configs", "remote_write"]));
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    format!("{schema:#}\n")
}

/// Sections below the top level, by their names in the schema.
const SECTIONS: [(&str, &Table); 20] = [
    ("global", &GLOBAL),
    ("job", &SCRAPE),
    ("static_config", &STATIC),
    ("relabel_rule", &RELABEL),
    ("remote", &REMOTE),
    ("queue_config", &QUEUE),
    ("metadata_config", &REMOTE_METADATA),
    ("sigv4", &SIGV4),
    ("basic_auth", &BASIC_AUTH),
    ("authorization", &AUTHORIZATION),
    ("oauth2", &OAUTH2),
    ("tls_config", &TLS),
    ("http_header", &HTTP_HEADER),
    ("forwarder", &FORWARDER),
    ("spool", &SPOOL),
    ("archive", &ARCHIVE),
    ("metadata", &METADATA),
    ("remote_read", &REMOTE_READ),
    ("metrics", &METRICS),
    ("own_series", &OWN_SERIES),
];

/// The schema of a section: its keys and no others. A section that is null is an empty one.
fn section(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys() {
        let mut schema = kind(table.name, key).map_or_else(|| json!({}), |kind| value(&kind));
        if let (Some(text), Value::Object(schema)) = (description(table.name, key), &mut schema) {
            schema.insert("description".to_owned(), text.into());
        }
        properties.insert(key.to_owned(), schema);
    }
    // Some of Prometheus' keys may be there with the default that asks for nothing.
    for row in table.unsupported {
        if let Some(default) = row.default {
            let default = match default {
                "false" => json!(false),
                text => json!(text),
            };
            let text = format!("Not supported: {}", row.why);
            properties.insert(
                row.key.to_owned(),
                json!({"const": default, "description": text}),
            );
        }
    }
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The schema of a value.
fn value(kind: &Kind) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    match kind {
        Kind::Text => json!({"type": "string"}),
        // YAML reads some of them as numbers or booleans, and the loader takes those as written.
        Kind::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Count => json!({"type": "integer", "minimum": 0}),
        Kind::Factor => json!({"type": "number", "minimum": 0}),
        // The only number without a unit is 0.
        Kind::Duration => json!({
            "type": ["string", "integer"],
            "pattern": DURATION,
            "maximum": 0,
            "minimum": 0,
        }),
        Kind::DurationOrAuto => json!({"anyOf": [{"const": "auto"}, value(&Kind::Duration)]}),
        Kind::Size => json!({"type": ["string", "integer"], "minimum": 0, "pattern": SIZE}),
        Kind::OneOf(names) => json!({"enum": names}),
        Kind::Texts => json!({
            "type": ["array", "null"],
            "items": {"type": ["string", "number", "boolean"]},
        }),
        Kind::SomeOf(names) => json!({"type": "array", "items": {"enum": names}}),
        Kind::TextMap => json!({
            "type": ["object", "null"],
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }),
        Kind::ListMap => json!({
            "type": ["object", "null"],
            "additionalProperties": {
                "type": ["array", "null"],
                "items": {"type": ["string", "number", "boolean"]},
            },
        }),
        Kind::Section(name) => reference(name),
        Kind::SectionList(name) => json!({"type": ["array", "null"], "items": reference(name)}),
        Kind::SectionMap(name) => {
            json!({"type": ["object", "null"], "additionalProperties": reference(name)})
        }
    }
}

/// As [`parse_duration`](super::units::parse_duration) reads it.
const DURATION: &str =
    "^(0|(?=.)([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";

/// As [`parse_size`](super::units::parse_size) reads it.
const SIZE: &str = "^[0-9]*\\.?[0-9]+([KMGTPE]i?)?B?$";

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn every_key_has_a_form_and_our_own_have_descriptions() {
        for table in keys::ALL {
            for key in table.keys() {
                assert!(kind(table.name, key).is_some(), "{}: {key}", table.name);
                assert!(
                    !table.name.starts_with("forwarder") || description(table.name, key).is_some(),
                    "{}: {key}",
                    table.name
                );
            }
            let is_section = |(_, section): &(&str, &Table)| section.name == table.name;
            assert!(
                table.name == ROOT.name || SECTIONS.iter().any(is_section),
                "{}",
                table.name
            );
        }
    }

    #[test]
    fn every_section_of_a_key_is_defined() {
        for table in keys::ALL {
            for key in table.keys() {
                if let Some(
                    Kind::Section(name) | Kind::SectionList(name) | Kind::SectionMap(name),
                ) = kind(table.name, key)
                {
                    assert!(SECTIONS.iter().any(|(known, _)| *known == name), "{name}");
                }
            }
        }
    }

    /// `UPDATE_SCHEMA=1` writes the file.
    #[test]
    fn the_schema_in_the_tree_is_that_of_the_keys() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/forwarder.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, forwarder_schema()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == forwarder_schema(),
            "infra/forwarder.schema.json is not what the keys say: run this test with \
             UPDATE_SCHEMA=1"
        );
    }
}
