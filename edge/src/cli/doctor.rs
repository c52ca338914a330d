//! `verge doctor`: what keeps people from this node and its sites.

use super::{Data, ask};
use crate::admin::Request;
use clap::Args;

/// `verge doctor`
#[derive(Debug, Args)]
#[command(
    long_about = "Look for what keeps visitors, publishers, other nodes and certificate authorities from this node and its sites: clock, disk, doors, the zone's server, and of each host DNS, CAA records and certificate.\n\nEach line says ok, warning or fault, and what to do. Nothing is changed. The node must run. Exit status: 0 without a fault, 1 with one."
)]
pub struct Doctor {
    /// Each line as a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

impl Doctor {
    /// Asks the node.
    ///
    /// # Errors
    /// No node runs, or anything is at fault.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { json, data } = self;
        ask(&data, &Request::Doctor { json })
    }
}
