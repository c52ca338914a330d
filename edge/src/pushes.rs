//! What a push means to this node: who may, and what becomes of the commit.

use crate::admin::api::Api;
use crate::publish::{Publication, PublishError};
use crate::receive::{BoxFuture, Grant, Publisher, PushedCommit};
use crate::region::{SiteHistory, WriteError, naming};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use verge_builder::Source;
use verge_sync::Digest;
use verge_sync::content::Repairs;
use verge_sync::id::{AccountId, SiteId};
use verge_sync::record::{Cause, Draft};
use verge_sync::store::Store;

/// The node behind the SSH door.
pub struct Pushes {
    /// Records and builds.
    pub api: Arc<Api>,
    /// The real git.
    pub git: PathBuf,
    /// Where what is lost is asked for.
    pub repairs: Repairs,
}

impl Publisher for Pushes {
    fn grant(&self, key_sha256: &[u8; 32], site_name: &str) -> Option<Grant> {
        let effect = self.api.region.effect();
        let accounts = effect.accounts_by_ssh_key(key_sha256);
        let accounts: Vec<AccountId> = accounts.map(|account| account.id).collect();
        let site = naming::site_meant(&effect, &accounts, site_name)?;
        let account = site.body.account;
        let commit = site.head().and_then(|head| head.body().git.as_ref());
        Some(Grant {
            site: site.id,
            account,
            branch: Some(site.body.branch.clone()).filter(|branch| !branch.is_empty()),
            force: site.body.force,
            published_commit: commit.map(|git| hex(&git.commit)),
        })
    }

    fn knows_key(&self, key_sha256: &[u8; 32]) -> bool {
        self.api
            .region
            .effect()
            .accounts_by_ssh_key(key_sha256)
            .next()
            .is_some()
    }

    fn has_site(&self, site: &SiteId) -> bool {
        self.api.region.effect().site(site).is_some()
    }

    fn history(&self, site: &SiteId) -> SiteHistory {
        SiteHistory::of(&self.api.region.effect(), site)
    }

    fn store(&self) -> Option<&Store> {
        Some(self.api.publishing.store())
    }

    fn ask_for(&self, blob: Digest) {
        self.repairs.ask(blob);
    }

    fn publish(
        &self,
        push: PushedCommit,
        log: mpsc::Sender<String>,
    ) -> BoxFuture<Result<Vec<String>, Vec<String>>> {
        let (api, git) = (Arc::clone(&self.api), self.git.clone());
        Box::pin(async move {
            let publication = Publication {
                site: push.site,
                account: push.account,
                source: Source::Git {
                    program: git,
                    git_dir: push.git_dir,
                    objects_env: push.objects_env,
                    commit: push.commit.clone(),
                },
                commit: Some(push.commit),
                history: push.history,
                cause: Cause::Push,
                signing: push.signing,
            };
            match api.publishing.publish(publication, &log).await {
                Ok(published) => Ok(api.last_lines(push.site, &published).await),
                Err(PublishError::Record(WriteError::ToSign(draft))) => Err(unsigned(&api, &draft)),
                Err(error) => Err(vec![error.to_string()]),
            }
        })
    }
}

/// What a push waits for that a key has to sign first, which is not on the node.
fn unsigned(api: &Api, draft: &Draft) -> Vec<String> {
    let why = if api.is_for_provider(draft) {
        "the site has had all deploys of its epoch, and the provider's key, which is not on this \
         node, has to sign that the next one begins. Hand the last line to the node's steward \
         (`verge provider sign`, then `verge record add`), and push again"
    } else {
        "nothing was published yet: a key of the account has to sign the last line. `verge deploy \
         --sign-with KEY` does all of that; by hand: `verge account sign --key KEY LINE`, then \
         push again with `-o verge-record=` and what that prints"
    };
    let mut lines = vec![why.to_owned()];
    lines.extend(api.to_sign_lines(draft));
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
