//! Kernel settings as a scenario file has them.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::quantity::{CountText, SettingText};
use super::settings::KNOWN_SETTINGS;
use crate::domain::SettingScope;

/// Kernel settings, apart by what they bind. Each value is exact, or `{at_least: N}`, which leaves a larger value alone.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSettings {
    /// Settings of each network namespace of the lab; they vanish with it.
    #[schemars(schema_with = "namespace_schema")]
    pub(super) namespace: BTreeMap<String, RawSetting>,
    /// Settings of the whole machine; written through the journal and put back afterwards.
    #[schemars(schema_with = "host_schema")]
    pub(super) host: BTreeMap<String, RawSetting>,
}

/// The wanted value of a setting.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawSetting {
    /// Exactly this; several fields are separated by spaces.
    Exactly(SettingText),
    /// At least this.
    AtLeast(RawAtLeast),
}

/// A lower bound.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAtLeast {
    /// A larger value is left alone.
    pub(super) at_least: CountText,
}

/// The schema of the map of settings of `scope`: the known keys, each with its value.
fn map_schema(generator: &mut SchemaGenerator, scope: SettingScope) -> Schema {
    let value = generator.subschema_for::<RawSetting>();
    let keys: Map<String, Value> = KNOWN_SETTINGS
        .iter()
        .filter(|known| known.scope == scope)
        .map(|known| (known.key.to_owned(), value.clone().to_value()))
        .collect();
    json_schema!({ "type": "object", "properties": keys, "additionalProperties": false })
}

/// The schema of `settings.namespace`.
fn namespace_schema(generator: &mut SchemaGenerator) -> Schema {
    map_schema(generator, SettingScope::Namespace)
}

/// The schema of `settings.host`.
fn host_schema(generator: &mut SchemaGenerator) -> Schema {
    map_schema(generator, SettingScope::Host)
}
