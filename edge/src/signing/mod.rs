//! Records that are signed where no node is: what goes there and what comes back, each as one line,
//! and what it says in words.

mod line;
mod words;

pub use line::{LineError, SignedLine, ToSignLine};
pub use words::words;
