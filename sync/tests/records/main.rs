//! Records from outside: what parses, what they mean together, and the bytes that stay for ever.
#![expect(clippy::unwrap_used, reason = "every function here serves a test")]

mod admit;
mod chain;
mod golden;
mod names;
mod order;
mod parse;
mod publish;
mod scene;
mod storing;
