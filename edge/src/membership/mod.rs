//! How a provider, or a further node of one, becomes a member (`docs/operating.md#region`).
//!
//! [`Ticket`]s are made and remembered by [`Porter`], which also answers the newcomers that come
//! with one. Whether they may come in is decided by people ([`Porter::asking`]) and by the votes of
//! the region; here is only the way there.

mod newcomer;
mod porter;
mod ticket;
mod words;

pub use newcomer::{JoinFailure, Joined, Joining, KeptKeys, join};
pub use porter::{Asking, InviteError, Porter};
pub use ticket::{NotATicket, Ticket};
pub use words::six_words;
