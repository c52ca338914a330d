//! A Verge node: serves visitors, receives pushes, and the `verge` command.

pub mod addresses;
pub mod admin;
pub mod app;
pub mod belief;
pub mod build_child;
pub mod cli;
pub mod config;
mod error_chain;
pub mod fork;
pub mod found;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod hosts;
pub mod http;
mod kernel_clock;
pub mod lan;
pub mod limits;
pub mod listen;
pub mod membership;
pub mod node_keys;
mod proxy_protocol;
pub mod publish;
pub mod pushes;
pub mod receipts;
pub mod receive;
pub mod region;
pub mod signing;
mod site_turns;
pub mod sites;
pub mod ssh_key;
pub mod status_page;
mod tcp_info;
pub mod tls;
pub mod verify;
mod welcome;
