//! The words that the pre-receive hook and the node exchange, one line each.
//!
//! Hook to node: `verge-hook 1 TOKEN`, then `quarantine PATH` if git made one, then an
//! `option TEXT` for each option of the push, then a `ref OLD NEW NAME` for each ref, then `end`. Node to hook: any number of `log TEXT`, then one
//! `exit STATUS`. A connection that ends without `exit` refuses the push.

/// Names the socket in a push's environment.
pub(crate) const SOCKET_VARIABLE: &str = "VERGE_HOOK_SOCKET";
/// Names the one-time token in a push's environment: 64 hexadecimal digits.
pub(crate) const TOKEN_VARIABLE: &str = "VERGE_HOOK_TOKEN";
/// Names the binary that the hook script runs.
pub(crate) const PROGRAM_VARIABLE: &str = "VERGE_HOOK_PROGRAM";
/// Git's own name for the folder in which a push's objects wait for the decision.
pub(crate) const QUARANTINE_VARIABLE: &str = "GIT_QUARANTINE_PATH";

/// How many options git passes on, in variables that begin as the second says.
pub(crate) const OPTION_VARIABLES: [&str; 2] = ["GIT_PUSH_OPTION_COUNT", "GIT_PUSH_OPTION_"];

/// First word and version of the exchange.
pub(crate) const GREETING: &str = "verge-hook 1";
/// Longest line in either direction, without its end: a path of `PATH_MAX` and a word.
pub(crate) const LINE_BYTES_MAX: usize = 4096 + 64;

/// What the hook script says. The node writes it; git runs it.
pub(crate) const SCRIPT: &str = "#!/bin/sh\nexec \"$VERGE_HOOK_PROGRAM\" hook\n";
