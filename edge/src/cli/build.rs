//! `verge build`: one build, in a process of its own that may die without harm.
//!
//! Reads a job as JSON on standard input; writes a line of JSON for each event and one for the end
//! on standard output. The node starts it through `verge confine`, which sets the limits.

use anyhow::Context;
use clap::Args;
use std::io::{Read, Write};
use verge_builder::{Failure, Job, Line};

/// The largest job description.
const JOB_BYTES_MAX: u64 = 1 << 20;

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
        let mut text = Vec::new();
        std::io::stdin()
            .take(JOB_BYTES_MAX)
            .read_to_end(&mut text)
            .context("read the job")?;
        let job: Job = serde_json::from_slice(&text).context("read the job")?;
        let built = verge_builder::build(&job, &mut |event| drop(write(&Line::Event(event))));
        match built {
            Ok(outcome) => write(&Line::Outcome(outcome)),
            Err(error) => write(&Line::Failure(Failure::from(&error))),
        }
    }
}

fn write(line: &Line) -> anyhow::Result<()> {
    let mut text = line.encode()?;
    text.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
