//! `verge usage`: what was served in a month, by the seals that the node has.

use super::{Data, ask};
use crate::accounting::calendar::Month;
use crate::accounting::usage::{By, Form};
use crate::admin::{Request, UsageRequest};
use clap::Args;

/// `verge usage`
#[derive(Debug, Args)]
#[command(
    long_about = "Show what was served in a month, with bars, by the seals of all nodes that this node has.\n\nA node seals a day 15 minutes after its end (UTC); a site with fewer than 20 requests in a day is sealed with a later day of the month. What counts are credit bytes: as if the smallest stored representation had been sent. The node must run. These figures are for the steward, and for the owner of a site of that site."
)]
pub struct Usage {
    /// Of this site only: its label, one of its hosts, or the beginning of its id.
    site: Option<String>,
    /// What a line is; of one site a day, else a site.
    #[arg(long)]
    by: Option<By>,
    /// Such as 2026-11; the month that runs, by the node's clock, if absent.
    #[arg(long, value_name = "YYYY-MM")]
    month: Option<Month>,
    /// One line of JSON.
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Figures for Prometheus, for a file of its node exporter: the first 20 lines, the rest as one sum.
    #[arg(long)]
    prometheus: bool,
    #[command(flatten)]
    data: Data,
}

impl Usage {
    /// Asks the node.
    ///
    /// # Errors
    /// No node runs, or there is no such site.
    pub fn run(self) -> anyhow::Result<()> {
        let form = match (self.json, self.prometheus) {
            (true, _) => Form::Json,
            (_, true) => Form::Prometheus,
            _ => Form::Bars,
        };
        let request = UsageRequest {
            site: self.site,
            by: self.by,
            month: self.month.map(|month| month.to_string()),
            form,
        };
        ask(&self.data, &Request::Usage(request))
    }
}
