//! The node's answers about certificates.

use super::CertRequest;
use super::api::{Api, ApiError, Log, say};
use crate::certificates::{Purpose, Row};
use crate::region::{Standing, find_node};
use crate::tls::Validity;
use verge_sync::clock::{Clock, UnixTime};
use verge_sync::id::NodeId;

const DAY_S: u64 = 86_400;

impl Api {
    pub(super) async fn certificates(
        &self,
        request: CertRequest,
        log: &Log,
    ) -> Result<(), ApiError> {
        match request {
            CertRequest::Setup { plan } => {
                let foundation = self.desk.set_up(&plan).await?;
                say(log, format!("account   {}", foundation.account)).await;
                say(log, step_line(&foundation.standing)).await;
                let why = "for domains of their own owners set a CAA record, so that nobody else gets a certificate for them: `verge site set` and `verge doctor` say which";
                say(log, format!("          {why}")).await;
                Ok(())
            }
            CertRequest::Order { request } => {
                let handed = self.desk.order(request.as_bytes()).await?;
                for text in handed.chain.lines() {
                    say(log, text.to_owned()).await;
                }
                handed.settle()?;
                Ok(())
            }
            CertRequest::Rollover => {
                let standing = self.desk.roll_over().await?;
                say(log, step_line(&standing)).await;
                let text = "the first issuer puts the new key in force as soon as the step holds and every connected node has heard of it";
                say(log, text.to_owned()).await;
                Ok(())
            }
            CertRequest::List => {
                if let Some(complaint) = self.desk.general_complaint() {
                    say(log, format!("nothing can be ordered: {complaint}")).await;
                }
                let now = Clock::System.now();
                for row in self.desk.list() {
                    say(log, line(&row, now)).await;
                }
                Ok(())
            }
            CertRequest::Show { host } => self.show_certificate(&host, log).await,
            CertRequest::Renew { host } => {
                self.desk.renew(&host).await?;
                let text = format!(
                    "a new certificate for {host} is ordered now: `verge cert show {host}` tells what becomes of it"
                );
                say(log, text).await;
                Ok(())
            }
            CertRequest::Import { chain, key } => {
                let names = self.desk.import(chain.as_bytes(), key.as_bytes()).await?;
                let names = names.names().join(", ");
                let text =
                    format!("the certificate for {names} goes to every node that the site admits");
                say(log, text).await;
                Ok(())
            }
        }
    }

    async fn show_certificate(&self, host: &str, log: &Log) -> Result<(), ApiError> {
        let mut rows = self.desk.list().into_iter();
        let is_meant = |row: &Row| row.names.names().iter().any(|name| name == host);
        let Some(row) = rows.find(is_meant) else {
            let why = format!("no host of the region is {host}: see `verge cert list`");
            return Err(ApiError::Wrong(why));
        };
        let now = Clock::System.now();
        say(log, line(&row, now)).await;
        let Some(held) = &row.held else {
            return Ok(());
        };
        let effect = self.region.effect();
        let name = |node: &NodeId| {
            let id = node.to_string();
            find_node(&effect, &id).map_or(id, |node| node.body.name.clone())
        };
        let origin = match &held.body.purpose {
            Purpose::Imported(_) => format!("brought by its owner at node {}", name(&held.author)),
            _ => format!(
                "ordered at {} by node {}",
                held.body.directory,
                name(&held.author)
            ),
        };
        say(log, format!("from      {origin}")).await;
        let (from, until) = (day(held.leaf.not_before), day(held.leaf.not_after));
        say(log, format!("valid     from {from} until {until}")).await;
        let holders: Vec<String> = held.recipients.iter().map(name).collect();
        say(log, format!("key at    {}", holders.join(", "))).await;
        say(log, format!("record    {}", held.record)).await;
        Ok(())
    }
}

fn step_line(standing: &Standing) -> String {
    if standing.is_current {
        return "step      in effect".to_owned();
    }
    let (count, needed) = (standing.vote_count, standing.needed);
    let id = standing.step.short();
    format!(
        "step      {count} of {needed} votes: the other providers sign it with `verge region sign {id}`"
    )
}

/// One line of the list: hosts, what is left, who has the key, what is wrong.
fn line(row: &Row, now: UnixTime) -> String {
    let state = match &row.held {
        None => "none yet".to_owned(),
        Some(held) => {
            let leaf = &held.leaf;
            let left = leaf.not_after.since(now).as_secs() / DAY_S;
            let of = format!(
                "key at {} of {} nodes",
                held.recipients.len(),
                row.wanted_by
            );
            match Validity::of(leaf.not_before, leaf.not_after, now) {
                Validity::Valid => format!("valid for {left} days, {of}"),
                Validity::Expired => format!("EXPIRED, {of}"),
                Validity::NotYet => format!("not valid yet by this node's clock, {of}"),
            }
        }
    };
    let complaint = row.complaint.as_ref();
    let complaint = complaint.map_or_else(String::new, |text| format!("; last try: {text}"));
    format!("{}  {state}{complaint}", row.names.names().join(" "))
}

fn day(time: UnixTime) -> String {
    jiff::Timestamp::from_second(time.0)
        .map_or_else(|_| time.0.to_string(), |time| time.to_string())
}
