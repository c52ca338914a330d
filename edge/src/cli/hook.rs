//! `verge hook` (hidden): git's pre-receive hook. Asks the node whether a push may be taken.
//!
//! Git runs it while the pushed objects are in quarantine and no ref has moved; what it prints
//! the pusher sees as `remote: `, and any status but 0 refuses the whole push. It owns one
//! connection and no state; when the node goes away, the push is refused.

use crate::receive::{hook_line, options};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// More than any push's ref lines: the node refuses far fewer refs than fit in here.
const REFS_BYTES_MAX: u64 = 1 << 20;

/// Runs the hook: ref lines on standard input, the answer on standard error, the status returned.
#[must_use]
pub fn run() -> ExitCode {
    let Some((socket, token)) =
        variable(hook_line::SOCKET_VARIABLE).zip(variable(hook_line::TOKEN_VARIABLE))
    else {
        return refuse("this hook is run by a Verge node only");
    };
    match ask(&socket, &token) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            tracing::debug!(%error, "hook");
            refuse("this node is stopping or busy; nothing was published, push again in a moment")
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads its environment"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What the publisher has said beside the push: one option more than the node takes at most.
fn options() -> Vec<OsString> {
    let [count, each] = hook_line::OPTION_VARIABLES;
    let count = variable(count).and_then(|count| count.to_str()?.parse().ok());
    let count: usize = count.unwrap_or(0).min(options::COUNT_MAX + 1);
    let option = |index| variable(&format!("{each}{index}")).unwrap_or_default();
    (0..count).map(option).collect()
}

fn refuse(sentence: &str) -> ExitCode {
    let said = writeln!(io::stderr(), "{sentence}");
    drop(said);
    ExitCode::FAILURE
}

fn ask(socket: &OsString, token: &OsString) -> io::Result<u8> {
    let stream = UnixStream::connect(socket)?;
    send(&stream, token)?;
    show(BufReader::new(stream))
}

fn send(stream: &UnixStream, token: &OsString) -> io::Result<()> {
    let mut out = io::BufWriter::new(stream);
    out.write_all(hook_line::GREETING.as_bytes())?;
    out.write_all(b" ")?;
    out.write_all(token.as_bytes())?;
    out.write_all(b"\n")?;
    if let Some(quarantine) = variable(hook_line::QUARANTINE_VARIABLE) {
        out.write_all(b"quarantine ")?;
        out.write_all(quarantine.as_bytes())?;
        out.write_all(b"\n")?;
    }
    for option in options() {
        out.write_all(b"option ")?;
        out.write_all(option.as_bytes())?;
        out.write_all(b"\n")?;
    }
    for line in io::stdin().lock().take(REFS_BYTES_MAX).split(b'\n') {
        out.write_all(b"ref ")?;
        out.write_all(&line?)?;
        out.write_all(b"\n")?;
    }
    out.write_all(b"end\n")?;
    out.flush()
}

/// Prints the log as it comes; the status is the last line.
fn show(mut answer: impl BufRead) -> io::Result<u8> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(hook_line::LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
        answer.by_ref().take(limit).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if let Some(text) = text.strip_prefix(b"log ") {
            let mut out = io::stderr().lock();
            out.write_all(text)?;
            out.write_all(b"\n")?;
        } else if let Some(status) = text.strip_prefix(b"exit ") {
            let status = std::str::from_utf8(status)
                .ok()
                .and_then(|s| s.parse().ok());
            return status.ok_or_else(|| io::ErrorKind::InvalidData.into());
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
