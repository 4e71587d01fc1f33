//! Medians with their spread, and Markdown.

use std::fmt::Write as _;

/// Figures of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    /// One more round.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// How many rounds.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle; `None` when nothing was measured.
    pub(crate) fn median(&self) -> Option<f64> {
        let (low, high) = (
            self.0.get(self.0.len().checked_sub(1)? / 2)?,
            self.0.get(self.0.len() / 2)?,
        );
        Some(f64::midpoint(*low, *high))
    }

    /// `41 (39-44)`, or a dash.
    pub(crate) fn text(&self) -> String {
        self.with_digits(0)
    }

    /// `0.41 (0.39-0.44)`, or a dash.
    pub(crate) fn precise(&self) -> String {
        self.with_digits(2)
    }

    fn with_digits(&self, digits: usize) -> String {
        match (self.median(), self.0.first(), self.0.last()) {
            (Some(median), Some(low), Some(high)) => {
                format!("{median:.digits$} ({low:.digits$}-{high:.digits$})")
            }
            _ => "-".to_owned(),
        }
    }
}

/// Whether a figure is within its target, in words.
pub(crate) fn verdict(figure: Option<f64>, limit: f64, unit: &str) -> String {
    match figure {
        Some(figure) if figure <= limit => format!("at most {limit}{unit}: within"),
        Some(_) => format!("at most {limit}{unit}: over"),
        None => format!("at most {limit}{unit}: not measured"),
    }
}

/// A ratio with one decimal, or a dash.
pub(crate) fn ratio(figure: Option<f64>, of: Option<f64>) -> String {
    figure
        .zip(of)
        .map_or("-".to_owned(), |(figure, of)| format!("{:.1}", figure / of))
}

/// A Markdown table, its columns aligned for people who read it as it is.
pub(crate) fn markdown(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::as_str)
            .chain([head[column]])
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = format!("{title}\n\n");
    let mut line = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").ok();
        }
        text.push_str("|\n");
    };
    line(
        &head
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<_>>(),
    );
    line(
        &widths
            .iter()
            .map(|width| "-".repeat(*width))
            .collect::<Vec<_>>(),
    );
    rows.iter().for_each(|row| line(row));
    text
}

#[cfg(test)]
mod tests {
    use super::{Figures, markdown, ratio, verdict};

    #[test]
    fn the_middle_is_reported_with_both_ends() {
        let mut figures = Figures::default();
        assert_eq!((figures.median(), figures.text()), (None, "-".to_owned()));
        [41.0, 39.0, 90.0].iter().for_each(|n| figures.push(*n));
        assert_eq!(figures.text(), "41 (39-90)");
        assert_eq!(figures.precise(), "41.00 (39.00-90.00)");
        figures.push(43.0);
        assert_eq!(figures.median(), Some(42.0));
    }

    #[test]
    fn targets_are_judged_in_words() {
        assert_eq!(
            verdict(Some(2.5), 2.5, " times"),
            "at most 2.5 times: within"
        );
        assert_eq!(verdict(Some(2.6), 2.5, " times"), "at most 2.5 times: over");
        assert_eq!(verdict(None, 100.0, " KB"), "at most 100 KB: not measured");
        assert_eq!(ratio(Some(3.0), Some(2.0)), "1.5");
        assert_eq!(ratio(Some(3.0), None), "-");
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()]];
        let wanted = "T\n\n| name | us  |\n| ---- | --- |\n| a    | 10  |\n";
        assert_eq!(markdown("T", &["name", "us"], &rows), wanted);
    }
}
