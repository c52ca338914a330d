//! Hosts outside of the site zone: who controls the DNS name says so in DNS, and nodes look.
//!
//! [`proof`] is what a publisher writes and how an answer is judged, [`resolver`] asks, [`mod@look`]
//! bounds how many questions are open, [`recheck`] says when which host is looked at and what this
//! node then votes. The task that ties them together
//! is started by the node (`app`) and ends with it; a crash loses when what was last looked at, which
//! costs a look too many, and one counted failure.

pub mod look;
pub mod proof;
pub mod recheck;
pub mod resolver;

pub use look::{Seen, Wish, look};
pub use proof::{Proof, Verdict};
pub use recheck::Recheck;
pub use resolver::{Caa, DnsResolver, Resolver, Unanswered};
