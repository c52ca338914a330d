//! Certificates from an ACME server (RFC 8555), and when to ask for them.
//!
//! What talks: [`Directory`] says where, [`Account`] who; [`Account::connect`] gives a [`Session`],
//! which lives as long as a few questions. [`order()`] takes a [`Wish`] to an [`Issued`] certificate
//! and survives a crash at any step by its [`Intents`]. [`renewal_info`], [`revoke`] and
//! [`Session::roll_over`] are the rest.
//! What only thinks, without clock, network or disk: [`plan`] (who may order what, and when),
//! [`budget`] (may we, by the limits of the authority and our own), [`caa`]; [`precheck`] asks DNS
//! what a CA will ask, before an attempt is spent.
//!
//! Nothing here knows of records, sites or the region, or runs by itself: no task is started, and
//! all state is what is handed in, besides the intents' files. Everything is keyed by the URL of the
//! directory, so that a staging server never mixes with production.
//!
//! An [`AcmeError`] says by its [`Reaction`] what the caller does next.

pub mod account;
pub mod budget;
pub mod budget_file;
pub mod caa;
mod certificate;
mod client;
pub mod directory;
pub mod error;
mod external;
pub(crate) mod fuzzing;
pub mod intent;
mod jws;
pub mod names;
pub mod order;
pub mod plan;
pub mod precheck;
pub mod revocation;
mod validation;
pub mod zone;

pub use account::{Account, NewKey, RenewalAdvice, Session, renewal_info, revoke};
pub use certificate::{Predecessor, Summary};
pub use client::Timeouts;
pub use directory::{Directory, Meta};
pub use error::{AcmeError, Failure, Reaction};
pub use external::ExternalAccount;
pub use intent::{Intents, Pending};
pub use names::{Names, NamesError};
pub use order::{Issued, Key, Patience, Wish, order, requested_names};
pub use revocation::{Revocation, Revocations};
pub use validation::{BeforeValidation, Challenge, Presented, Ready};
pub use zone::{Zone, ZoneError};
