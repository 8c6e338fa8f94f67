//! Lines of logs, as they may stand on a page or a terminal.

/// Letters of a line that are shown at most.
const LETTERS_SHOWN: usize = 300;

/// A line without control characters, cut where it is too long to read.
pub(super) fn legible(text: &str) -> String {
    let mut shown: String = text
        .trim_end()
        .chars()
        .take(LETTERS_SHOWN)
        .map(|letter| match letter {
            '\t' => ' ',
            other if other.is_control() => '\u{fffd}',
            other => other,
        })
        .collect();
    if text.trim_end().chars().nth(LETTERS_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A line as a word of a sentence. Its own backticks would end the quotation.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", legible(text).replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_legible() {
        assert_eq!(legible("a\tb\u{1b}[31mred\r\n"), "a b\u{fffd}[31mred");
        let long = legible(&"x".repeat(1000));
        assert_eq!(long.chars().count(), LETTERS_SHOWN + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_quotation_ends_where_it_ends() {
        assert_eq!(quoted("no `x` here\n"), "`no 'x' here`");
    }
}
