//! Writing settings, each read before and read back after. Those of a network namespace are simply written, because they
//! vanish with it; those of the host go through [`Tuning`](super::Tuning) and its journal.

use crate::domain::{HostIndex, SettingChange, SettingRecord, SettingValue};
use crate::kernel::sysctl::{SettingStore, normalise};

/// Writes settings of the namespace that the calling thread is in. One that cannot be written does not end it: its record
/// says why.
pub fn write_all(
    changes: &[SettingChange],
    host: HostIndex,
    store: &dyn SettingStore,
) -> Vec<SettingRecord> {
    changes
        .iter()
        .map(|change| write_one(change, Some(host), store, &mut |_, _| Ok(())))
        .collect()
}

/// Reads settings and writes nothing: the record has an error where what is in force does not suffice.
pub fn look_at_all(
    changes: &[SettingChange],
    host: Option<HostIndex>,
    store: &dyn SettingStore,
) -> Vec<SettingRecord> {
    changes
        .iter()
        .map(|change| {
            write_one(change, host, store, &mut |_, _| {
                Err("left as it is: nothing of the host is changed here".to_owned())
            })
        })
        .collect()
}

/// Reads one setting, writes it where it does not suffice, and reads it back. `before_write` hears the old value and the
/// new one first, and can forbid the write.
pub(super) fn write_one(
    change: &SettingChange,
    host: Option<HostIndex>,
    store: &dyn SettingStore,
    before_write: &mut dyn FnMut(&str, &str) -> Result<(), String>,
) -> SettingRecord {
    let mut record = SettingRecord {
        change: change.clone(),
        host,
        before: None,
        in_force: None,
        changed: false,
        error: None,
    };
    let key = &change.key;
    let before = match store.read(key) {
        Ok(before) => before,
        Err(error) => {
            record.error = Some(format!("cannot read {key}: {error}"));
            return record;
        }
    };
    record.before = Some(before.clone());
    record.in_force = Some(before.clone());
    let value = match value_to_write(&change.wanted, &before) {
        Ok(Some(value)) => value,
        Ok(None) => return record,
        Err(why) => {
            record.error = Some(format!("{key}: {why}"));
            return record;
        }
    };
    if let Err(why) = before_write(&before, &value) {
        record.error = Some(format!("{key} stays {before}: {why}"));
        return record;
    }
    if let Err(error) = store.write(key, &value) {
        record.error = Some(format!("cannot write {value:?} to {key}: {error}"));
        return record;
    }
    record.changed = true;
    match store.read(key) {
        Ok(now) => {
            if value_to_write(&change.wanted, &now) != Ok(None) {
                record.error = Some(format!("{key}: wrote {value:?}, {now:?} is in force"));
            }
            record.in_force = Some(now);
        }
        Err(error) => {
            record.in_force = None;
            record.error = Some(format!("cannot read {key} back: {error}"));
        }
    }
    record
}

/// What has to be written, or nothing where `before` suffices.
fn value_to_write(wanted: &SettingValue, before: &str) -> Result<Option<String>, String> {
    match wanted {
        SettingValue::AtLeast(least) => {
            let found: u64 = before
                .parse()
                .map_err(|_| format!("{before:?} is not one number; wanted at least {least}"))?;
            Ok((found < *least).then(|| least.to_string()))
        }
        SettingValue::Exactly(text) => {
            let text = normalise(text);
            Ok((text != before).then_some(text))
        }
    }
}
