//! One picture: bars, one for each provider, as SVG without a script.

use super::escape;
use crate::attribution::exact::{Percent, divide_down, multiply};
use std::fmt::Write as _;

/// A bar with its words.
pub(super) struct Bar<'t> {
    pub(super) name: &'t str,
    pub(super) units: u64,
}

const BAR_WIDTH: u64 = 320;
const ROW_HEIGHT: usize = 26;
/// Names are cut here, so that they do not run into the bars.
const NAME_CHARS_MAX: usize = 24;

/// Bars of the shares in all units.
pub(super) fn bars(title: &str, bars: &[Bar<'_>]) -> String {
    let all = bars
        .iter()
        .fold(0_u128, |sum, bar| sum.saturating_add(bar.units.into()));
    let height = bars.len().saturating_mul(ROW_HEIGHT).saturating_add(6);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 600 {height}\" \
         width=\"600\" height=\"{height}\"><title>{}</title>\n",
        escape::html(title)
    );
    for (index, bar) in bars.iter().enumerate() {
        let top = index.saturating_mul(ROW_HEIGHT).saturating_add(4);
        let width =
            multiply(bar.units.into(), BAR_WIDTH.into()).and_then(|wide| divide_down(wide, all));
        let percent = Percent {
            part: bar.units.into(),
            whole: all,
        };
        let name: String = bar.name.chars().take(NAME_CHARS_MAX).collect();
        let base = top.saturating_add(15);
        writeln!(
            svg,
            "<text x=\"0\" y=\"{base}\">{}</text><rect x=\"190\" y=\"{top}\" width=\"{}\" \
             height=\"18\"/><text x=\"520\" y=\"{base}\">{percent}</text>",
            escape::html(&name),
            width.unwrap_or(0),
        )
        .expect("writing to a String does not fail");
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a page begins with: no script, nothing from elsewhere.
pub(super) fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}</title>\n<style>body{{font:16px/1.5 sans-serif;max-width:640px;margin:2em \
         auto;padding:0 1em}}td,th{{text-align:left;padding:.1em 1em .1em 0}}td.n{{text-align:right}}\
         svg{{max-width:100%;height:auto;font:14px sans-serif}}rect{{fill:#3a7d44}}\
         code{{word-break:break-all;font-size:12px}}</style></head>\n<body>\n<h1>{0}</h1>\n",
        escape::html(title)
    )
}
