//! The problems of one build: collected once, told at once, bounded, and kept in the manifest.

use crate::report::{Event, Problem};
use crate::wire::{Reader, Writer};

/// Collects problems up to a limit and tells each to the pusher as it is found.
pub(crate) struct Problems<'a> {
    found: Vec<Problem>,
    left_out: u32,
    max: u32,
    report: &'a mut dyn FnMut(Event),
}

impl<'a> Problems<'a> {
    pub(crate) fn new(max: u32, report: &'a mut dyn FnMut(Event)) -> Self {
        Self {
            found: Vec::new(),
            left_out: 0,
            max,
            report,
        }
    }

    /// Takes `problem`, or counts it when there are too many.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.found.len() < usize::try_from(self.max).unwrap_or(usize::MAX) {
            (self.report)(Event::Problem(problem.clone()));
            self.found.push(problem);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Takes a problem with a file as a whole.
    pub(crate) fn file(&mut self, path: &str, what: impl Into<String>, instead: &str) {
        self.push(Problem {
            path: path.to_owned(),
            line: None,
            what: what.into(),
            instead: instead.to_owned(),
        });
    }

    /// Tells an event that is not a problem.
    pub(crate) fn tell(&mut self, event: Event) {
        (self.report)(event);
    }

    /// Everything found; the last one says how many more there are.
    pub(crate) fn take(&mut self) -> Vec<Problem> {
        let mut found = std::mem::take(&mut self.found);
        if self.left_out > 0 {
            let more = Problem {
                path: "problems".to_owned(),
                line: None,
                what: format!("{} more are not listed", self.left_out),
                instead: "mend the ones above first".to_owned(),
            };
            (self.report)(Event::Problem(more.clone()));
            found.push(more);
        }
        found
    }
}

/// The delivery section of problems (`docs/format.md#problems`).
#[must_use]
pub fn encode(problems: &[Problem]) -> Vec<u8> {
    let mut out = Writer::new();
    out.list(problems, |out, problem| {
        out.text(&problem.path);
        out.u32(problem.line.unwrap_or(0));
        out.text(&problem.what);
        out.text(&problem.instead);
    });
    out.into_bytes()
}

/// Reads the delivery section of problems; `None` if the bytes are not one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Problem>> {
    let mut from = Reader::new(bytes);
    let problems = from.list(|from| {
        Some(Problem {
            path: from.text()?,
            line: match from.u32()? {
                0 => None,
                line => Some(line),
            },
            what: from.text()?,
            instead: from.text()?,
        })
    })?;
    from.is_empty().then_some(problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(line: Option<u32>) -> Problem {
        Problem {
            path: "_redirects".to_owned(),
            line,
            what: "no target".to_owned(),
            instead: String::new(),
        }
    }

    #[test]
    fn written_problems_are_read_back() {
        let problems = vec![problem(None), problem(Some(7))];
        assert_eq!(decode(&encode(&problems)), Some(problems));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn problems_over_the_limit_are_a_number() {
        let mut told = 0;
        let mut count = |_event| told += 1;
        let mut problems = Problems::new(2, &mut count);
        for line in 1..=5 {
            problems.push(problem(Some(line)));
        }
        let found = problems.take();
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].what, "3 more are not listed");
        assert_eq!(told, 3);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}
