//! A page of markdown: headings, paragraphs, lists, tables.

/// A page that grows.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Text.
    Left,
    /// Figures.
    Right,
}

impl Page {
    /// A heading of the second level.
    pub(super) fn heading(&mut self, text: &str) {
        self.block(&format!("## {text}"));
    }

    /// A heading of the third level.
    pub(super) fn subheading(&mut self, text: &str) {
        self.block(&format!("### {text}"));
    }

    /// A paragraph, or any other block.
    pub(super) fn block(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    /// A list.
    pub(super) fn list(&mut self, entries: impl IntoIterator<Item = String>) {
        let entries: Vec<String> = entries
            .into_iter()
            .map(|entry| format!("- {}", one_line(&entry)))
            .collect();
        if !entries.is_empty() {
            self.block(&entries.join("\n"));
        }
    }

    /// A list whose entries have numbers.
    pub(super) fn numbered(&mut self, entries: impl IntoIterator<Item = String>) {
        let entries: Vec<String> = (1..)
            .zip(entries)
            .map(|(number, entry)| format!("{number}. {}", one_line(&entry)))
            .collect();
        if !entries.is_empty() {
            self.block(&entries.join("\n"));
        }
    }

    /// Text as it is.
    pub(super) fn code(&mut self, language: &str, lines: &[String]) {
        let text = lines.join("\n");
        // A fence is longer than any run of its letter in the text.
        let fence = "`".repeat(longest_run(&text).max(2) + 1);
        self.block(&format!("{fence}{language}\n{text}\n{fence}"));
    }

    /// A table; nothing where it has no row.
    pub(super) fn table(&mut self, columns: &[(&str, Column)], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let mut lines = vec![
            line(columns.iter().map(|(name, _)| (*name).to_owned()).collect()),
            line(
                columns
                    .iter()
                    .map(|(_, column)| match column {
                        Column::Left => "---".to_owned(),
                        Column::Right => "---:".to_owned(),
                    })
                    .collect(),
            ),
        ];
        lines.extend(
            rows.iter()
                .map(|row| line(row.iter().map(|cell| escaped(cell)).collect())),
        );
        self.block(&lines.join("\n"));
    }

    /// The page, with one line feed at its end.
    pub(super) fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }
}

/// A name or a value out of a scenario or a command, set as code: nothing in it is taken for markdown.
pub(super) fn code(text: &str) -> String {
    let text = one_line(text);
    match longest_run(&text) {
        0 if !text.is_empty() => format!("`{text}`"),
        run => {
            // CommonMark takes one space off on each side.
            let fence = "`".repeat(run + 1);
            format!("{fence} {text} {fence}")
        }
    }
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// A line feed would end a list's entry, a cell or a span.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// A bar would end the cell.
fn escaped(cell: &str) -> String {
    one_line(cell).replace('|', "\\|")
}

/// A text that begins with a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_markdown_in_it_stays_a_name() {
        assert_eq!(code("1m-netns"), "`1m-netns`");
        assert_eq!(code("**a** [b](c) <i>"), "`**a** [b](c) <i>`");
        assert_eq!(code("a`b"), "`` a`b ``");
        assert_eq!(code("``"), "``` `` ```");
        assert_eq!(code("a\n# b"), "`a # b`");
    }

    #[test]
    fn nothing_in_a_text_ends_its_block() {
        let mut page = Page::default();
        page.code("sh", &["echo '```'".to_owned()]);
        page.list(["one\n# two".to_owned()]);
        page.table(&[("a", Column::Left)], &[vec!["b|c\nd".to_owned()]]);
        assert_eq!(
            page.finish(),
            "````sh\necho '```'\n````\n\n- one # two\n\n| a |\n| --- |\n| b\\|c d |\n"
        );
    }
}
