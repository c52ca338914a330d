//! The process that asks Netlify's matcher: one line in, one line out.

use super::classes::HERE;
use super::questions::{Question, text_of};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the matcher says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Ruling {
    pub(super) status: u16,
    pub(super) force: bool,
    pub(super) to: String,
    /// Whether the request's query is not kept, although the target has none.
    #[serde(skip)]
    pub(super) drops_query: bool,
}

pub(super) struct Oracle {
    child: Child,
    /// None once it was told to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    pub(super) fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package =
            here.join("../target/conformance/netlify/node_modules/netlify-redirector/index.js");
        let package = package.canonicalize();
        let package = package.expect("Netlify's matcher is missing: run make setup-conformance");
        let mut child = Command::new("node")
            .arg(here.join("tests/conformance/oracle.js"))
            .arg(package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is missing: run make setup-conformance");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// What it says to questions that have the same rules.
    pub(super) fn ask(&mut self, questions: &[&Question]) -> Vec<Option<Ruling>> {
        let rules = questions.first().map(|question| text_of(&question.rules));
        let requests: Vec<_> = questions
            .iter()
            .map(|question| json!({"target": question.target(), "language": question.language}))
            .collect();
        let asked = json!({"rules": rules.unwrap_or_default(), "requests": requests});
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{asked}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let rulings: Result<Vec<Option<Ruling>>, _> = serde_json::from_str(&line);
        let mut rulings = rulings.unwrap_or_else(|error| panic!("{asked}: {line:?}: {error}"));
        for ruling in rulings.iter_mut().flatten() {
            ruling.to = ruling.to.replacen(HERE, "", 1);
        }
        rulings
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
    }
}
