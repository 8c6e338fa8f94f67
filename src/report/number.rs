//! Figures as people read them: grouped by thousands, with their unit, with as many digits as they are worth.

use crate::domain::{ConnCount, FigureUnit};

/// `1,024,000`.
pub(super) fn grouped(number: u64) -> String {
    ConnCount::new(number).to_string()
}

/// `1 process`, `3 processes`.
pub(super) fn counted_of(number: u64, one: &str, several: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { several }
    )
}

/// A figure without decimals, grouped, its sign kept: `-1,234`.
pub(super) fn whole(number: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rounded, and made positive
    let digits = grouped(number.abs().round() as u64);
    if number <= -0.5 {
        format!("-{digits}")
    } else {
        digits
    }
}

/// A figure with as many decimals as leave three digits that matter: `8,130`, `81.3`, `8.13`, `0.02`.
pub(super) fn figure(number: f64) -> String {
    let size = number.abs();
    if size >= 100.0 {
        whole(number)
    } else if size >= 10.0 {
        format!("{number:.1}")
    } else {
        let text = format!("{number:.2}");
        // A rounded nothing has no sign.
        if text == "-0.00" {
            "0.00".to_owned()
        } else {
            text
        }
    }
}

/// With one decimal.
pub(super) fn tenths(number: f64) -> String {
    format!("{number:.1}")
}

/// With two decimals.
pub(super) fn hundredths(number: f64) -> String {
    format!("{number:.2}")
}

/// Bytes for each connection: `8,130 B`.
pub(super) fn bytes_each(bytes: f64) -> String {
    format!("{} B", figure(bytes))
}

/// Bytes in the binary unit that suits: `7.75 GiB`.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [(&str, f64); 4] = [
        ("TiB", 1_099_511_627_776.0),
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
    ];
    UNITS
        .iter()
        .find(|(_, size)| bytes.abs() >= *size)
        .map_or_else(
            || format!("{} B", whole(bytes)),
            |(unit, size)| format!("{} {unit}", figure(bytes / size)),
        )
}

/// Kibibytes without the unit, for the verdict line: `7.94`, `0.004`.
pub(super) fn kib(bytes: f64) -> String {
    let kib = bytes / 1024.0;
    if kib.abs() < 0.1 {
        format!("{kib:.3}")
    } else {
        figure(kib)
    }
}

/// Seconds: `17.3 s`, `60 s`, `2 min 5 s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds >= 120.0 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and small
        let whole = seconds.round() as u64;
        return format!("{} min {} s", whole / 60, whole % 60);
    }
    let rounded = seconds.round();
    if seconds >= 1.0 && (seconds - rounded).abs() < 0.05 {
        return format!("{rounded:.0} s");
    }
    if seconds >= 10.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 0.1 || seconds <= 0.0 {
        format!("{seconds:.2} s")
    } else if seconds < 0.001 {
        "below 1 ms".to_owned()
    } else {
        format!("{} ms", figure(seconds * 1000.0))
    }
}

/// Microseconds in the unit that suits: `38 µs`, `1.20 ms`, `1.03 s`.
pub(super) fn micros(micros: f64) -> String {
    if micros < 1000.0 {
        format!("{micros:.0} µs")
    } else if micros < 1_000_000.0 {
        format!("{} ms", figure(micros / 1000.0))
    } else {
        format!("{} s", figure(micros / 1_000_000.0))
    }
}

/// A figure of a result with its unit.
pub(super) fn with_unit(number: f64, unit: FigureUnit) -> String {
    match unit {
        FigureUnit::Bytes => bytes_each(number),
        FigureUnit::Size => bytes(number),
        FigureUnit::Count => whole(number),
        FigureUnit::Fraction => format!("{:.2} %", number * 100.0),
        FigureUnit::Microseconds => micros(number),
        FigureUnit::PerSecond => format!("{}/s", whole(number)),
        FigureUnit::Seconds => seconds(number),
    }
}

/// A share of one as percent: `12.3 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_the_digits_that_matter() {
        let shown = [8_130.4, 81.34, 8.134, 0.018, -1_234.5, -0.001, 0.0].map(figure);
        assert_eq!(
            shown,
            ["8,130", "81.3", "8.13", "0.02", "-1,235", "0.00", "0.00"]
        );
    }

    #[test]
    fn times_and_sizes_carry_their_unit() {
        assert_eq!(
            [60.0, 17.34, 3.5, 0.0123, 605.0].map(seconds),
            ["60 s", "17.3 s", "3.50 s", "12.3 ms", "10 min 5 s"]
        );
        assert_eq!(
            [38.0, 1200.0, 1_030_000.0].map(micros),
            ["38 µs", "1.20 ms", "1.03 s"]
        );
        assert_eq!(bytes(8_325_120_000.0), "7.75 GiB");
    }
}
