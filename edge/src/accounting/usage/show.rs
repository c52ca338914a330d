//! A month's usage as people and programs read it.

use super::{By, Line, Usage};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// How it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Bars.
    #[default]
    Bars,
    /// One line of JSON.
    Json,
    /// For Prometheus, as a file of its node exporter has it.
    Prometheus,
}

/// Columns of the longest bar.
const BAR_COLUMNS: u64 = 32;
/// Of a name so many characters are shown.
const NAME_COLUMNS: usize = 24;
/// Sites that have figures of their own for Prometheus; the others are summed: each label is a series
/// that is kept for years.
const SITES_TOP: usize = 20;

impl Usage {
    /// In lines.
    #[must_use]
    pub fn show(&self, form: Form) -> Vec<String> {
        match form {
            Form::Bars => self.bars(),
            Form::Json => vec![serde_json::to_string(self).unwrap_or_default()],
            Form::Prometheus => self.prometheus().lines().map(str::to_owned).collect(),
        }
    }

    fn bars(&self) -> Vec<String> {
        let mut shown = vec![format!(
            "{}, from {} seals of single days",
            self.month, self.seal_count
        )];
        let most = self.lines.iter().map(|line| line.credit_bytes).max();
        let width = self.lines.iter().map(|line| line.name.chars().count());
        let width = width.max().unwrap_or(0).min(NAME_COLUMNS);
        for line in &self.lines {
            shown.push(bar(line, width, most.unwrap_or(0)));
        }
        if self.lines.is_empty() {
            shown
                .push("nothing is sealed of it yet; a day is, 15 minutes after its end".to_owned());
        }
        for (count, words) in [
            (
                self.waiting_count,
                "seals are not in it: their rows are being fetched",
            ),
            (self.gap_count, "seals are missing that later ones name"),
        ] {
            if count > 0 {
                shown.push(format!("{count} {words}"));
            }
        }
        shown
    }

    /// The first sites by themselves, the rest as one.
    fn prometheus(&self) -> String {
        let label = match self.by {
            By::Site => "site",
            By::Provider => "provider",
            By::Day => "day",
        };
        let (top, rest) = self.lines.split_at(self.lines.len().min(SITES_TOP));
        let mut lines = top.to_vec();
        if !rest.is_empty() {
            let mut others = Line {
                name: "(others)".to_owned(),
                ..Line::default()
            };
            for line in rest {
                others.answers = others.answers.saturating_add(line.answers);
                others.credit_bytes = others.credit_bytes.saturating_add(line.credit_bytes);
                others.body_bytes = others.body_bytes.saturating_add(line.body_bytes);
                others.other_responses =
                    others.other_responses.saturating_add(line.other_responses);
            }
            lines.push(others);
        }
        let mut text = String::new();
        type Figure = fn(&Line) -> u64;
        let figures: [(&str, &str, Figure); 4] = [
            ("answers", "Answers of which a body byte arrived.", |line| {
                line.answers
            }),
            ("credit_bytes", "What counts of them.", |line| {
                line.credit_bytes
            }),
            ("body_bytes", "What visitors received.", |line| {
                line.body_bytes
            }),
            ("other_responses", "All other responses.", |line| {
                line.other_responses
            }),
        ];
        for (name, help, figure) in figures {
            let rows = lines.iter().map(|line| (line.name.as_str(), figure(line)));
            let labels = (label, self.month.as_str());
            text.push_str(&gauge(&format!("verge_usage_{name}"), help, labels, rows));
        }
        text
    }
}

fn bar(line: &Line, width: usize, most: u64) -> String {
    let columns = u128::from(line.credit_bytes)
        .saturating_mul(u128::from(BAR_COLUMNS))
        .checked_div(u128::from(most))
        .unwrap_or(0);
    let columns = usize::try_from(columns).unwrap_or(0);
    let name: String = line.name.chars().take(NAME_COLUMNS).collect();
    let bar = "█".repeat(columns.max(usize::from(line.credit_bytes > 0)));
    let all = usize::try_from(BAR_COLUMNS).unwrap_or(0);
    format!(
        "{name:width$}  {bar:all$}  {}  {} answers",
        bytes(line.credit_bytes),
        line.answers
    )
}

/// With a unit, rounded down to a tenth.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let found = (1..=5_u32).rev().zip(UNITS.iter().rev());
    for (power, unit) in found {
        let one = 1_u64 << power.saturating_mul(10);
        if count >= one {
            let tenths = u128::from(count).saturating_mul(10);
            let tenths = tenths.checked_div(u128::from(one)).unwrap_or(0);
            return format!("{:>6}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count:>8} B  ")
}

/// A figure for Prometheus, with a label and its month.
pub(super) fn gauge<'r>(
    name: &str,
    help: &str,
    (label, month): (&str, &str),
    rows: impl Iterator<Item = (&'r str, u64)>,
) -> String {
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
    for (of, value) in rows {
        let of = of.replace('\\', "\\\\").replace('"', "\\\"");
        let of = of.replace('\n', "\\n");
        if writeln!(text, "{name}{{{label}=\"{of}\",month=\"{month}\"}} {value}").is_err() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_587, "1.5 KiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(bytes(count).trim(), text);
        }
    }

    #[test]
    fn labels_are_escaped() {
        let text = gauge("a", "b", ("p", "2026-11"), [("x\"\\\ny", 1)].into_iter());
        let last = text.lines().last();
        assert_eq!(last, Some(r#"a{p="x\"\\\ny",month="2026-11"} 1"#));
    }
}
