//! What both rule files share: bounded, one line at a time, each problem with its line.

use crate::report::Problem;

/// The longest rule file that is read.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// What is wrong with a line, and what to write instead.
pub(super) struct Wrong {
    what: String,
    instead: String,
}

pub(super) fn wrong(what: impl Into<String>, instead: &str) -> Wrong {
    Wrong {
        what: what.into(),
        instead: instead.to_owned(),
    }
}

impl Wrong {
    pub(super) fn at(self, file: &str, line: u32) -> Problem {
        Problem {
            path: file.to_owned(),
            line: Some(line),
            what: self.what,
            instead: self.instead,
        }
    }
}

/// The lines of a file with their numbers from 1, as far as they are within the limit; each is text
/// or what is wrong with it.
pub(super) fn lines(bytes: &[u8]) -> Vec<(u32, Result<&str, Wrong>)> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut lines = Vec::new();
    let mut end = 0;
    for (number, line) in (1_u32..).zip(bytes.split(|byte| *byte == b'\n')) {
        end += line.len() + 1;
        if end > BYTES_MAX + 1 {
            let what =
                format!("longer than {BYTES_MAX} bytes, this line and the following are skipped");
            lines.push((number, Err(wrong(what, "shorten the file"))));
            break;
        }
        let not_text = |_| wrong("not UTF-8 text, skipped", "save the file as UTF-8");
        lines.push((number, std::str::from_utf8(line).map_err(not_text)));
    }
    lines
}
