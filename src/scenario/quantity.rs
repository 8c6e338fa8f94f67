//! Quantities as people write them: `60s`, `20000/s`, `6GiB`, `1_024_000`, yes and no. A bare number is refused wherever a
//! unit is possible. Each knows its JSON schema, whose `format` names the parser that a file is checked with.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::{ByteText, Bytes, ConnRate, Template};

/// A number of things: `1024000`, `1_024_000` or `1,024,000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CountText(pub(super) u64);

/// A length of time: `500ms`, `60s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurationText(pub(super) Duration);

/// A rate: `20000/s`, or `as_fast_as_possible`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateText(pub(super) Option<ConnRate>);

/// yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// yes, true, on.
    On,
    /// no, false, off.
    Off,
}

impl Switch {
    /// Whether it is yes.
    pub(super) const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// The text of a setting: a number, a size such as `6GiB`, or fields separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingText(pub(super) String);

/// Bytes to come: a text with escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BytesText(pub(super) ByteText);

/// Bytes to send: a text with escapes and values in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateText(pub(super) Template);

/// A quantity in a file: read from the JSON value that the YAML says.
pub(super) trait Quantity: Sized {
    /// The name of the schema's `format`.
    const FORMAT: &'static str;
    /// The value, or what is expected instead.
    fn read(value: &Value) -> Result<Self, String>;
}

/// A number of things, as a scenario file may say it.
///
/// # Errors
/// What is expected instead.
pub fn read_count(text: &str) -> Result<u64, String> {
    CountText::read(&text.into()).map(|count| count.0)
}

/// A length of time, as a scenario file may say it.
///
/// # Errors
/// What is expected instead.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    // A number by itself is told that it has no unit.
    let bare = text
        .parse::<u64>()
        .map_or_else(|_| text.into(), Value::from);
    DurationText::read(&bare).map(|duration| duration.0)
}

/// Checks `value` as the quantity that a schema calls `format`.
pub(super) fn check(format: &str, value: &Value) -> Result<(), String> {
    match format {
        CountText::FORMAT => CountText::read(value).map(drop),
        DurationText::FORMAT => DurationText::read(value).map(drop),
        RateText::FORMAT => RateText::read(value).map(drop),
        Switch::FORMAT => Switch::read(value).map(drop),
        SettingText::FORMAT => SettingText::read(value).map(drop),
        BytesText::FORMAT => BytesText::read(value).map(drop),
        TemplateText::FORMAT => TemplateText::read(value).map(drop),
        // The formats that schemars gives to plain numbers (uint32, double) are checked by type and range.
        _ => Ok(()),
    }
}

impl Quantity for CountText {
    const FORMAT: &'static str = "count";

    fn read(value: &Value) -> Result<Self, String> {
        let expected = "expected a whole number, such as 64000 or 64_000";
        match value {
            Value::Number(number) => number
                .as_u64()
                .map(Self)
                .ok_or_else(|| format!("{expected}, not {number}")),
            Value::String(text) => {
                let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
                let plain = text.starts_with(|c: char| c.is_ascii_digit());
                digits
                    .parse()
                    .ok()
                    .filter(|_| plain)
                    .map(Self)
                    .ok_or_else(|| format!("{expected}, not `{text}`"))
            }
            other => Err(format!("{expected}, not {}", kind(other))),
        }
    }
}

impl Quantity for DurationText {
    const FORMAT: &'static str = "duration";

    fn read(value: &Value) -> Result<Self, String> {
        let expected = "expected a length of time with its unit (ms, s, m, h), such as 60s";
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => {
                return Err(format!("{expected}; did you mean {number}s?"));
            }
            other => return Err(format!("{expected}, not {}", kind(other))),
        };
        let (digits, unit) = split_unit(text);
        let nanoseconds_each = match unit {
            "ms" => 1_000_000,
            "s" => NANOSECONDS,
            "m" | "min" => 60 * NANOSECONDS,
            "h" => 3600 * NANOSECONDS,
            _ => return Err(format!("{expected}, not `{text}`")),
        };
        decimal_times(digits, nanoseconds_each)
            .filter(|all| *all <= LONGEST_SECONDS * NANOSECONDS)
            .map(|all| Self(Duration::from_nanos(all)))
            .ok_or_else(|| format!("{expected} and at most a year, not `{text}`"))
    }
}

/// Nanoseconds of a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// A year: nobody holds connections for longer.
const LONGEST_SECONDS: u64 = 31_536_000;

/// Decimals that are looked at.
const MOST_DECIMALS: usize = 18;

/// The decimal number in `text` times `each`, without the error of a binary fraction, so that what is written as decimals
/// is read as the same. What is smaller than one is cut off.
fn decimal_times(text: &str, each: u64) -> Option<u64> {
    let text = text.replace('_', "");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Of an hour, the next digit is far less than a nanosecond.
    let fraction = &fraction[..fraction.len().min(MOST_DECIMALS)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = fraction.parse().unwrap_or(0_u128) * u128::from(each) / scale;
    whole
        .checked_mul(each)?
        .checked_add(u64::try_from(parts).ok()?)
}

impl Quantity for RateText {
    const FORMAT: &'static str = "rate";

    fn read(value: &Value) -> Result<Self, String> {
        let expected = "expected a rate, such as 20000/s, or as_fast_as_possible";
        match value {
            Value::String(text) if text == "as_fast_as_possible" => Ok(Self(None)),
            Value::String(text) => {
                let (digits, unit) = split_unit(text);
                let per_second = match unit {
                    "/s" => number(digits),
                    "/m" | "/min" => number(digits).map(|number| number / 60.0),
                    _ => None,
                };
                per_second
                    .filter(|rate| *rate > 0.0 && rate.is_finite())
                    .map(|rate| Self(Some(ConnRate::new(rate))))
                    .ok_or_else(|| format!("{expected}, not `{text}`"))
            }
            Value::Number(number) => Err(format!("{expected}; did you mean {number}/s?")),
            other => Err(format!("{expected}, not {}", kind(other))),
        }
    }
}

impl Quantity for Switch {
    const FORMAT: &'static str = "switch";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(true) => Ok(Self::On),
            Value::Bool(false) => Ok(Self::Off),
            // YAML 1.2 reads these words as text.
            Value::String(text) if matches!(text.as_str(), "yes" | "on") => Ok(Self::On),
            Value::String(text) if matches!(text.as_str(), "no" | "off") => Ok(Self::Off),
            Value::String(text) => Err(format!("expected yes or no, not `{text}`")),
            other => Err(format!("expected yes or no, not {}", kind(other))),
        }
    }
}

impl Quantity for SettingText {
    const FORMAT: &'static str = "setting";

    fn read(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::Bool(on) => u8::from(*on).to_string(),
            Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            other => {
                return Err(format!(
                    "expected a value such as 4096 or \"1024 65535\", not {}",
                    kind(other)
                ));
            }
        };
        if text.is_empty() {
            return Err("expected a value, not an empty text".to_owned());
        }
        Ok(Self(
            bytes(&text).map_or(text, |bytes| bytes.bytes().to_string()),
        ))
    }
}

impl Quantity for BytesText {
    const FORMAT: &'static str = "bytes";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        ByteText::parse(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl Quantity for TemplateText {
    const FORMAT: &'static str = "template";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        Template::parse(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

/// A text as it is. What YAML takes for a number could have been written in several ways.
fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Err(format!("expected a text: write it in quotes, '{number}'")),
        other => Err(format!("expected a text, not {}", kind(other))),
    }
}

/// A size with a unit, such as `6GiB` or `512 MB`; nothing when the text is none.
pub(super) fn bytes(text: &str) -> Option<Bytes> {
    let (digits, unit) = split_unit(text);
    let each: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // saturates, and is never negative
    number(digits).map(|number| Bytes::new((number * each as f64).round() as u64))
}

/// The number that the digits of `text` say.
fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse().ok()
}

/// The digits at the beginning of `text` and the unit behind them.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_')))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "yes or no",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

macro_rules! quantity_in_files {
    ($($name:ident: $schema:tt),+ $(,)?) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::read(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+ };
}

quantity_in_files! {
    CountText: {
        "type": ["integer", "string"], "format": "count", "minimum": 0, "pattern": "^[0-9][0-9_,]*$"
    },
    DurationText: {
        "type": "string", "format": "duration", "pattern": "^[0-9][0-9_.]* *(ms|s|m|min|h)$"
    },
    RateText: {
        "type": "string", "format": "rate", "pattern": "^([0-9][0-9_.]* */(s|m|min)|as_fast_as_possible)$"
    },
    Switch: {
        "enum": [true, false, "yes", "no", "on", "off"], "format": "switch"
    },
    SettingText: {
        "type": ["integer", "string", "boolean"], "format": "setting"
    },
    BytesText: {
        "type": "string", "format": "bytes"
    },
    TemplateText: {
        "type": "string", "format": "template"
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lengths_of_time_need_a_unit() {
        let read = |value: Value| DurationText::read(&value).map(|duration| duration.0);
        assert_eq!(read(json!("60s")), Ok(Duration::from_secs(60)));
        assert_eq!(read(json!("1.5 m")), Ok(Duration::from_secs(90)));
        assert_eq!(read(json!("250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(
            read(json!("31535999.000000001s")),
            Ok(Duration::new(31_535_999, 1))
        );
        assert!(read(json!(60)).is_err_and(|why| why.contains("did you mean 60s?")));
        for wrong in [
            "60",
            "s",
            "60 parsecs",
            "-1s",
            "1e9h",
            "",
            "1.2.3s",
            ".s",
            "1e300s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(read(json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_may_be_grouped() {
        for text in [json!(1_024_000), json!("1_024_000"), json!("1,024,000")] {
            assert_eq!(CountText::read(&text), Ok(CountText(1_024_000)));
        }
        for wrong in [json!(-1), json!(1.5), json!("1M"), json!("_"), json!(null)] {
            assert!(CountText::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_in_settings_become_bytes() {
        let read = |text: &str| SettingText::read(&json!(text)).map(|text| text.0);
        assert_eq!(read("6GiB"), Ok("6442450944".to_owned()));
        assert_eq!(
            read(" 4096   87380 6291456 "),
            Ok("4096 87380 6291456".to_owned())
        );
    }
}
