//! `verge build`: one build, in a process of its own that may die without harm.
//!
//! Reads a job as one line of JSON on standard input; writes a line of JSON for each event and one
//! for the end on standard output. The node starts it through `verge confine`, which sets the
//! limits, and holds standard input open: when that ends, the node is gone, and so is the build.

use anyhow::Context;
use clap::Args;
use std::io::{BufRead, Read, Write};
use verge_builder::{Failure, Job, Line};

/// The largest job description.
const JOB_BYTES_MAX: u64 = 1 << 20;
/// The exit status of a build whose node is gone.
const EXIT_ORPHANED: i32 = 3;

/// `verge build`
#[derive(Debug, Args)]
pub struct Build {}

impl Build {
    /// Builds what standard input says.
    ///
    /// # Errors
    /// The job is not readable or the report not writable. A build that fails says so in its last
    /// line.
    pub fn run(self) -> anyhow::Result<()> {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(JOB_BYTES_MAX)
            .read_line(&mut text)
            .context("read the job")?;
        let job: Job = serde_json::from_str(&text).context("read the job")?;
        std::thread::spawn(end_with_the_node);
        let built = verge_builder::build(&job, &mut |event| drop(write(&Line::Event(event))));
        match built {
            Ok(outcome) => write(&Line::Outcome(outcome)),
            Err(error) => write(&Line::Failure(Failure::from(&error))),
        }
    }
}

/// A build can take an hour, and nobody takes what it makes for a node that was killed.
fn end_with_the_node() {
    // Nothing more is said on it: whatever comes back, the other end is closed.
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    std::process::exit(EXIT_ORPHANED);
}

fn write(line: &Line) -> anyhow::Result<()> {
    let mut text = line.encode()?;
    text.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
