//! A build runs as a child process, so that whatever a tree does to it, the node goes on.

use crate::cli::confine::Confine;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use verge_builder::{Event, Failure, Fault, Job, Line, Outcome, Source};

/// The longest line of the child's report, in bytes.
const REPORT_LINE_BYTES_MAX: u64 = 1 << 20;
/// How much of the child's last words is kept for the node's log.
const LAST_WORDS_BYTES_MAX: u64 = 16 << 10;

/// The niceness of a build: visitors come first.
const NICENESS: u8 = 10;
/// Processor time of a build: 1 GiB of text takes about 40 minutes at the highest levels.
const BUILD_CPU_S_MAX: u64 = 2 * 3600;
/// Time of a build by the clock, half of its processor time: two cores are busy throughout. A build
/// that waits for a disk or a pipe that does not answer uses no processor time, and its site's turn
/// would never end.
const BUILD_TIME_MAX: Duration = Duration::from_secs(BUILD_CPU_S_MAX / 2);
/// Open files of a build: its packs and the pipes to git.
const BUILD_FILES_MAX: u64 = 256;

/// How builds are started.
#[derive(Debug, Clone)]
pub struct BuildChild {
    /// This very binary, for `verge build`.
    pub program: PathBuf,
    /// Memory that one build may take.
    pub memory_bytes_max: u64,
}

/// Why there is no version.
#[derive(Debug, thiserror::Error)]
pub enum BuildChildError {
    /// The builder said why; the sentence is for the publisher.
    #[error("{0}")]
    Refused(String),
    /// The child ended without a word: killed, out of memory, or a fault of ours.
    #[error(
        "the build ended without a result ({ending}); nothing was published, the last version is still served{hint}"
    )]
    Died {
        /// Its exit status.
        ending: String,
        /// What may help.
        hint: String,
    },
    /// It took too long and was ended.
    #[error(
        "the build took longer than {} minutes and was ended; nothing was published, the last version is still served: publish fewer or smaller files, or try again when the node has less to do",
        .0.as_secs() / 60
    )]
    TookTooLong(Duration),
    /// The node could not start it or talk to it.
    #[error("the node could not run the build: {0}")]
    Node(#[from] std::io::Error),
}

impl BuildChild {
    /// Builds `job`; its events go to `log` as lines.
    ///
    /// # Errors
    /// [`BuildChildError`].
    pub async fn run(
        &self,
        job: &Job,
        log: &mpsc::Sender<String>,
    ) -> Result<Outcome, BuildChildError> {
        self.run_within(BUILD_TIME_MAX, job, log).await
    }

    async fn run_within(
        &self,
        time_max: Duration,
        job: &Job,
        log: &mpsc::Sender<String>,
    ) -> Result<Outcome, BuildChildError> {
        let mut child = self.start(job)?;
        let talk = self.talk(&mut child, job, log);
        if let Ok(ended) = tokio::time::timeout(time_max, talk).await {
            return ended;
        }
        tracing::error!(seconds = time_max.as_secs(), "a build took too long");
        child.kill().await?;
        Err(BuildChildError::TookTooLong(time_max))
    }

    fn start(&self, job: &Job) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(self.confine(job).arguments())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            // mimalloc reserves 1 GiB at a time, which `RLIMIT_DATA` would count: 22 MB against 74.
            .env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Gives the child its job and hears it out.
    async fn talk(
        &self,
        child: &mut Child,
        job: &Job,
        log: &mpsc::Sender<String>,
    ) -> Result<Outcome, BuildChildError> {
        let mut job = serde_json::to_vec(job).map_err(std::io::Error::other)?;
        job.push(b'\n');
        // Held until the end: its closing tells the child that this node is gone.
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            // A child that died before it read says so by its exit status.
            if let Err(error) = input.write_all(&job).await {
                tracing::debug!(%error, "the build did not read its job");
            }
        }
        let words = last_words(child);
        let ended = read_report(child, log).await?;
        let (status, words) = (child.wait().await?, words.await.unwrap_or_default());
        match ended {
            Some(Line::Outcome(outcome)) if status.success() => Ok(outcome),
            Some(Line::Failure(failure)) => Err(failed(failure)),
            _ => {
                tracing::error!(%status, words, "a build ended without a result");
                let hint = self.hint(&words);
                Err(BuildChildError::Died {
                    ending: status.to_string(),
                    hint,
                })
            }
        }
    }

    /// What the build may use and see: its source, the store's blobs, its staging folder.
    fn confine(&self, job: &Job) -> Confine {
        let source = match &job.source {
            Source::Git { git_dir, .. } => git_dir,
            Source::Folder(folder) => folder,
        };
        Confine {
            data_bytes: Some(self.memory_bytes_max),
            cpu_s: Some(BUILD_CPU_S_MAX),
            file_bytes: None,
            open_files: Some(BUILD_FILES_MAX),
            processes: None,
            nice: NICENESS,
            read_only: vec![self.program.clone(), source.clone(), job.blobs.clone()],
            read_write: vec![job.staging.clone()],
            program: vec![self.program.clone().into(), "build".into()],
        }
    }

    fn hint(&self, words: &str) -> String {
        if words.contains("memory allocation") {
            let mib = self.memory_bytes_max >> 20;
            format!(
                ": it needed more than the {mib} MiB that this node gives a build; publish smaller \
                 files, or ask the steward to raise build.memory_bytes_max"
            )
        } else {
            String::new()
        }
    }
}

/// Passes events on as lines until the child has said how it ended, or has ended.
async fn read_report(
    child: &mut Child,
    log: &mpsc::Sender<String>,
) -> Result<Option<Line>, BuildChildError> {
    let Some(output) = child.stdout.take() else {
        return Ok(None);
    };
    let mut output = BufReader::new(output);
    loop {
        let mut text = String::new();
        let read = (&mut output)
            .take(REPORT_LINE_BYTES_MAX)
            .read_line(&mut text)
            .await?;
        if read == 0 {
            return Ok(None);
        }
        match Line::decode(text.trim_end()).map_err(std::io::Error::other)? {
            Line::Event(event) => tell(log, &event).await,
            end @ (Line::Outcome(_) | Line::Failure(_)) => return Ok(Some(end)),
        }
    }
}

async fn tell(log: &mpsc::Sender<String>, event: &Event) {
    if log.send(event.to_string()).await.is_err() {
        tracing::debug!("the publisher no longer listens");
    }
}

/// Collects what the child says on its standard error, for the node's log.
fn last_words(child: &mut Child) -> tokio::task::JoinHandle<String> {
    let stderr = child.stderr.take();
    tokio::spawn(async move {
        let mut words = Vec::new();
        if let Some(stderr) = stderr {
            let read = stderr
                .take(LAST_WORDS_BYTES_MAX)
                .read_to_end(&mut words)
                .await;
            if let Err(error) = read {
                tracing::debug!(%error, "read a build's standard error");
            }
        }
        String::from_utf8_lossy(&words).trim_end().to_owned()
    })
}

/// The builder's own sentence; where the node is at fault, with what the system said.
fn failed(failure: Failure) -> BuildChildError {
    if failure.fault == Fault::Publisher {
        return BuildChildError::Refused(failure.sentence);
    }
    tracing::error!(detail = failure.detail, "build: {}", failure.sentence);
    if failure.detail.is_empty() {
        BuildChildError::Refused(failure.sentence)
    } else {
        BuildChildError::Refused(format!("{} ({})", failure.sentence, failure.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use verge_builder::Limits;
    use verge_sync::clock::UnixTime;

    /// A child that never reads its job, says nothing and does not end by itself.
    const HANGS: &str = "#!/bin/sh\necho $$ > \"${0%/*}/pid\"\nexec sleep 100000\n";

    #[tokio::test]
    async fn a_build_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("verge");
        std::fs::write(&program, HANGS).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let builds = BuildChild {
            program,
            memory_bytes_max: 1 << 30,
        };
        let job = Job {
            source: Source::Folder(folder.path().to_owned()),
            previous: None,
            blobs: folder.path().to_owned(),
            staging: folder.path().to_owned(),
            limits: Limits::default(),
            time: UnixTime(0),
            threads: 1,
        };
        let (log, _lines) = mpsc::channel(1);
        let time_max = Duration::from_secs(1);
        let ended = builds.run_within(time_max, &job, &log).await;
        let sentence = ended.unwrap_err().to_string();
        assert!(
            sentence.starts_with("the build took longer than 0 minutes and was ended"),
            "{sentence}"
        );
        // On a very busy machine it may not even have come to write this.
        if let Ok(pid) = std::fs::read_to_string(folder.path().join("pid")) {
            let process = std::path::Path::new("/proc").join(pid.trim());
            assert!(!process.exists(), "ended and awaited");
        }
    }
}
