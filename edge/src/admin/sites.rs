//! The node's answers about accounts, sites and what is published.

use super::api::{Api, ApiError, Log, say};
use super::{AccountChange, SiteChange};
use crate::acme::caa::{Asker, line as line_of_caa};
use crate::certificates::is_public;
use crate::hosts::{Verdict, Wish};
use crate::publish::{Publication, Published};
use crate::region::{self, AccountEdit, NewSite, Signer, WriteError, naming};
use crate::signing::Signing;
use crate::ssh_key::{SshKeyDigest, SshKeyError, parse_signing_key};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;
use verge_builder::Source;
use verge_sync::id::RecordId;
use verge_sync::record::effect::SiteEffect;
use verge_sync::record::{Actors, Cause, Effect, UserKey};

/// How long a command waits for a look at a host: two questions to DNS, and a round before them.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

impl Api {
    pub(super) async fn create_site(&self, site: NewSite, log: &Log) -> Result<(), ApiError> {
        self.region.create_site(site.clone()).await?;
        self.look_for_proofs(&site.name, &site.hosts, log).await;
        self.show_site(&site.name, log).await;
        Ok(())
    }

    pub(super) async fn set_account(
        &self,
        name: &str,
        change: AccountChange,
        signer: Signer,
        log: &Log,
    ) -> Result<(), ApiError> {
        let is_about_acts = change.acts.is_some();
        let edit = AccountEdit {
            add: parse_keys(&change.add_ssh_keys, &change.add_signing_keys)?,
            remove: parse_keys(&change.remove_ssh_keys, &change.remove_signing_keys)?,
            acts: change.acts,
            signer,
        };
        self.region.set_account(name, edit).await?;
        say(log, format!("account {name} changed")).await;
        if is_about_acts {
            let text = "who was let act before is shut out of a site when that begins anew: `verge site reset SITE`";
            say(log, text.to_owned()).await;
        }
        let effect = self.region.effect();
        let account = effect.account_by_name(name);
        if account.is_some_and(|a| a.body.acts == Actors::NONE && a.signing_keys().next().is_none())
        {
            let text = format!(
                "nothing can be published for it until it has a key that signs: `verge account set {name} --add-signing-key FILE.pub`"
            );
            say(log, text).await;
        }
        Ok(())
    }

    pub(super) async fn list_accounts(&self, log: &Log) -> Result<(), ApiError> {
        for account in self.region.accounts() {
            let logins = account.keys.iter().map(ToString::to_string);
            let signs = account.signing_keys.iter();
            let signs = signs.map(|key| format!("{key} (signs)"));
            let keys: Vec<String> = logins.chain(signs).collect();
            let sites = account.sites.join(", ");
            say(
                log,
                format!(
                    "{}  {}  sites: {sites}  ({})",
                    account.name,
                    keys.join(" "),
                    account.standing
                ),
            )
            .await;
        }
        Ok(())
    }

    pub(super) async fn show_site(&self, name: &str, log: &Log) {
        let effect = self.region.effect();
        let Some(site) = effect.site_by_label(name) else {
            return;
        };
        for host in region::hosts(&effect, site.id) {
            say(log, format!("address   {}", self.addresses.url(&host))).await;
        }
        say_names(&effect, site.id, log).await;
        for host in region::hosts(&effect, site.id) {
            if let Some(line) = caa_line(&effect, &host) {
                say(log, format!("CAA       {line}")).await;
            }
        }
        let port = self.addresses.ssh_port.unwrap_or(2222);
        say(
            log,
            format!("publish   git push ssh://git@NODE:{port}/{name} main"),
        )
        .await;
    }

    pub(super) async fn list_sites(&self, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        for site in region::sites(&effect) {
            let state = match &site.head {
                Some(version) => format!("version {}", version.short()),
                None => "nothing published yet".to_owned(),
            };
            let urls: Vec<String> = site
                .hosts
                .iter()
                .map(|host| self.addresses.url(host))
                .collect();
            let line = format!(
                "{}  of {}  {state}  {}  ({})",
                site.name,
                site.owner,
                urls.join(" "),
                site.standing
            );
            say(log, line).await;
        }
        Ok(())
    }

    pub(super) async fn set_site(
        &self,
        name: &str,
        change: SiteChange,
        log: &Log,
    ) -> Result<(), ApiError> {
        let hosts = change.add_hosts.clone();
        self.region.set_site(name, change).await?;
        say(log, format!("site {name} changed")).await;
        self.look_for_proofs(name, &hosts, log).await;
        let effect = self.region.effect();
        if let Some(site) = effect.site_by_label(name) {
            say_names(&effect, site.id, log).await;
        }
        Ok(())
    }

    /// Looks for the proofs of those of a site's `hosts` that need one, and says what this node sees.
    pub(super) async fn look_for_proofs(&self, name: &str, hosts: &[String], log: &Log) {
        let effect = self.region.effect();
        let Some(site) = effect.site_by_label(name) else {
            return;
        };
        for claim in naming::proved(&effect, site.id, hosts) {
            let host = claim.host.as_deref().unwrap_or_default();
            say(log, format!("the DNS record of {host} was found before")).await;
        }
        for claim in naming::unproved(&effect, site.id, hosts) {
            let host = claim.host.as_deref().unwrap_or_default();
            let (answer, answered) = oneshot::channel();
            let claim = claim.record;
            if self.wishes.try_send(Wish { claim, answer }).is_err() {
                tracing::debug!("too many wishes wait");
                continue;
            }
            let verdict = tokio::time::timeout(LOOK_TIMEOUT, answered).await;
            let said = match verdict {
                Ok(Ok(Verdict::Proved)) => format!("this node found the DNS record of {host}"),
                Ok(Ok(Verdict::NotThere)) => {
                    format!(
                        "this node does not find the DNS record of {host} yet, and will look again"
                    )
                }
                Ok(Ok(Verdict::Unanswered(why))) => format!("{why}; this node will ask again"),
                Ok(Err(_)) | Err(_) => format!("this node is still looking for {host}"),
            };
            say(log, said).await;
        }
    }

    pub(super) async fn list_versions(&self, name: &str, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?;
        say_names(&effect, site.id, log).await;
        if site.deploys.is_empty() {
            say(log, format!("nothing was published to {name} yet")).await;
        }
        let kept: BTreeSet<RecordId> = site.kept().map(|deploy| deploy.id()).collect();
        for (index, deploy) in site.deploys.iter().enumerate() {
            let is_other_tip = index > 0 && site.tips.contains(&deploy.id());
            let (mark, other_tip) = match (index, is_other_tip) {
                (0, _) => ("*", ""),
                (_, true) => (
                    "+",
                    "  (another tip, from an outage: the next push settles it)",
                ),
                (_, false) => (" ", ""),
            };
            let is_kept = kept.contains(&deploy.id());
            let kept = if is_kept { "" } else { "  (no longer kept)" };
            let body = deploy.body();
            // An upload only carries the history on.
            let git = body.git.as_ref().filter(|_| body.cause != Cause::Upload);
            let commit = git.map_or(String::new(), |git| {
                let hex: String = git
                    .commit
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                format!("  commit {}", hex.get(..10).unwrap_or(&hex))
            });
            let time = jiff::Timestamp::from_second(body.time.0)
                .map_or_else(|_| body.time.0.to_string(), |time| time.to_string());
            let cause = cause_word(body.cause);
            let version = body.version.short();
            say(
                log,
                format!("{mark} {version}  {time}  {cause}{commit}{kept}{other_tip}"),
            )
            .await;
        }
        Ok(())
    }

    pub(super) async fn show_uptime(&self, name: &str, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?.id;
        for text in self.membership.watched().uptime(&effect, &site) {
            say(log, text).await;
        }
        Ok(())
    }

    pub(super) async fn roll_back(
        &self,
        name: &str,
        version: Option<String>,
        log: &Log,
    ) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?;
        let rolled_back = self.publishing.roll_back(site.id, version.as_deref()).await;
        let version = rolled_back?.version;
        say(
            log,
            format!("site {name} shows version {} again", version.short()),
        )
        .await;
        Ok(())
    }

    pub(super) async fn deploy(
        &self,
        name: &str,
        folder: std::path::PathBuf,
        signer: Signer,
        log: Log,
    ) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let known = site(&effect, name)?;
        let (site, account) = (known.id, known.body.account);
        let source = Source::Folder(folder);
        let cause = Cause::Upload;
        let publication = Publication {
            site,
            account,
            source,
            commit: None,
            history: None,
            cause,
            signing: match signer {
                Signer::Member => Signing::Node,
                Signer::Account => Signing::Ask,
            },
        };
        let published = self.publishing.publish(publication, &log).await?;
        for text in self.last_lines(site, &published).await {
            say(&log, text).await;
        }
        Ok(())
    }

    /// What a publisher sees last: what is in place, where, and who holds it.
    #[must_use]
    pub async fn last_lines(&self, site: verge_sync::SiteId, published: &Published) -> Vec<String> {
        let mut lines = Vec::new();
        match published {
            Published::Unchanged(version) => {
                lines.push(format!(
                    "nothing changed: version {} stays",
                    version.short()
                ));
            }
            Published::Deployed(built) => {
                lines.push(built.to_string());
                lines.push(format!("version {} is live", built.version.short()));
                lines.push(self.receipts.sentence(built.version).await);
            }
        }
        let effect = self.region.effect();
        lines.extend(naming::sentences(&effect, site));
        let hosts = region::hosts(&effect, site);
        lines.extend(hosts.iter().map(|host| self.addresses.url(host)));
        lines
    }
}

fn site<'a>(effect: &'a Effect, name: &str) -> Result<&'a SiteEffect, ApiError> {
    let site = effect.site_by_label(name);
    site.ok_or_else(|| WriteError::NoSite(name.to_owned()).into())
}

/// The CAA record that keeps others from getting a certificate for a host that is not a label of the
/// region.
fn caa_line(effect: &Effect, host: &str) -> Option<String> {
    let step = &effect.chain.current().body;
    let acme = step.acme.as_ref()?;
    if !is_public(host) || host.ends_with(&format!(".{}", step.zones.site_zone)) {
        return None;
    }
    let asker = Asker {
        identities: &acme.identities,
        account_url: &acme.account,
        method: "http-01",
        is_wildcard: false,
    };
    line_of_caa(host, &asker)
}

/// What is to be known of the names of a site.
async fn say_names(effect: &Effect, site: verge_sync::SiteId, log: &Log) {
    for text in naming::sentences(effect, site) {
        say(log, text).await;
    }
}

/// The keys with which somebody logs in, and those that sign.
pub(super) fn parse_keys(
    logins: &[String],
    signing: &[String],
) -> Result<Vec<UserKey>, SshKeyError> {
    let logins = logins.iter();
    let logins = logins.map(|line| SshKeyDigest::parse(line).map(|key| UserKey::SshLogin(key.0)));
    let signing = signing.iter();
    let signing = signing.map(|line| parse_signing_key(line).map(UserKey::Signing));
    logins.chain(signing).collect()
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Push => "push",
        Cause::Upload => "upload",
        Cause::Rollback => "rollback",
        Cause::Reset => "reset",
        Cause::Other(_) => "other",
    }
}
