//! Words, colours and tables on a terminal.

/// What a piece of text is, not how it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    /// Headings, names.
    Strong,
    /// What matters less.
    Faint,
}

/// Puts colours on, or does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    pub(crate) colour: bool,
}

impl Paint {
    /// The text in its tone, without what could move the cursor: reasons come from drivers and
    /// other machines.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let text = clean(text);
        let code = match tone {
            _ if !self.colour => return text,
            Tone::Plain => return text,
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Control characters become one visible sign each.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A table without lines: columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(|word| (Tone::Faint, (*word).to_owned())).collect();
        Self { rows: vec![heading] }
    }

    pub(crate) fn row(&mut self, cells: Vec<(Tone, String)>) {
        self.rows.push(cells);
    }

    pub(crate) fn show(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(_, text)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut shown = String::new();
        for row in &self.rows {
            // No spaces at the end of a line: they break when a terminal is narrow.
            let used = row.iter().rposition(|(_, text)| !text.is_empty()).map_or(0, |at| at + 1);
            let row = row.get(..used).unwrap_or_default();
            for (place, ((tone, text), width)) in row.iter().zip(&widths).enumerate() {
                shown.push_str(&paint.tone(*tone, text));
                if place + 1 < row.len() {
                    let gap = width - text.chars().count() + 2;
                    shown.push_str(&" ".repeat(gap));
                }
            }
            shown.push('\n');
        }
        shown
    }
}

/// "1 node", "3 nodes".
pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::{Paint, Table, Tone};

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let mut table = Table::new(&["A", "LONGER", "C"]);
        table.row(vec![
            (Tone::Plain, "wide cell".into()),
            (Tone::Bad, "\u{e9}".into()),
            (Tone::Plain, "x".into()),
        ]);
        let plain = table.show(Paint { colour: false });
        assert_eq!(plain, "A          LONGER  C\nwide cell  \u{e9}       x\n");
        let coloured = table.show(Paint { colour: true });
        assert!(coloured.contains("\u{1b}[31m\u{e9}\u{1b}[0m       x"), "{coloured:?}");
    }

    #[test]
    fn foreign_text_cannot_draw() {
        let shown = Paint { colour: false }.tone(Tone::Plain, "a\u{1b}[2Jb\nc");
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}c");
    }
}
