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
            .map(|entry| format!("- {entry}"))
            .collect();
        if !entries.is_empty() {
            self.block(&entries.join("\n"));
        }
    }

    /// Text as it is.
    pub(super) fn code(&mut self, language: &str, lines: &[String]) {
        self.block(&format!("```{language}\n{}\n```", lines.join("\n")));
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

/// A bar would end the cell, a line feed the table.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}
