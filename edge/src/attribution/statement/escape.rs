//! Names of people and sites in files that programs read.

/// Text between tags and in quoted attributes of HTML and SVG.
pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A field of CSV. A spreadsheet takes what begins with these characters for a formula.
pub(super) fn csv(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text
    };
    if text.contains([',', '"', '\'']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// A part of an account's name in hledger, where two spaces end it, `:` divides it, and brackets,
/// quotes and `;` mean something.
pub(super) fn hledger(text: &str) -> String {
    let is_plain = |char: &char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.' | ' ');
    let text: String = text
        .chars()
        .map(|char| if is_plain(&char) { char } else { '_' })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A part of a file's name.
pub(super) fn file_name(text: &str) -> String {
    let is_plain = |char: &char| char.is_ascii_alphanumeric();
    let text = text.chars().map(|char| {
        if is_plain(&char) {
            char.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    text.take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(
            html("<a href='x'>&\"\n"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot; "
        );
        assert_eq!(csv("=1+1"), "\"'=1+1\"");
        assert_eq!(csv("a, \"b\"\n"), "\"a, \"\"b\"\"\"");
        assert_eq!(csv("plain"), "plain");
        assert_eq!(hledger("a:b  c ; (d)\u{e9}"), "a_b c _ _d_\u{e9}");
        assert_eq!(file_name("Ben & Co"), "ben---co");
    }
}
