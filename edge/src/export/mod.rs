//! `verge export`: sites of an account in a folder that can be used without Verge, and brought back
//! by `verge import` in another region (`docs/format.md#export`).
//!
//! Owns nothing that lasts: the folder is written under a temporary name beside its own, and
//! removed if it is not finished. A crash leaves that; nothing else is touched.

mod folder;
mod format;
mod write;

pub use folder::{Folder, FolderError};
pub use format::{
    Bundle, DESCRIPTION_NAME, Description, ExportedAccount, ExportedSite, FORMAT, Published,
    RECORDS_FOLDER, list_file, record_file, settings,
};

use crate::publish::hex;
use crate::receive::{Histories, ReceiveError};
use crate::region::{self, RegionView, WriteError, site_label};
use std::path::Path;
use std::sync::Arc;
use verge_sync::id::{AccountId, SiteId};
use verge_sync::record::Effect;
use verge_sync::record::body::Takeout;
use verge_sync::record::effect::SiteEffect;
use verge_sync::store::{Store, StoreError};

/// What is taken out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// One site, by its name.
    Site(String),
    /// All sites of an account, by its name.
    Account(String),
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No such site or account.
    #[error(transparent)]
    Unknown(#[from] WriteError),
    /// The folder, or a name in it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The node does not hold what it should.
    #[error(
        "site {site} is not whole on this node ({what}): run `verge verify`, or export it at another node; nothing was written"
    )]
    NotWhole {
        /// Its name.
        site: String,
        /// What is missing or damaged.
        what: String,
    },
    /// Git.
    #[error("the history of site {site}: {source}; nothing was written")]
    History {
        /// Its name.
        site: String,
        /// What git or the disk said.
        source: ReceiveError,
    },
    /// The store.
    #[error("the node could not read what is to be exported: {0}; nothing was written")]
    Store(#[from] StoreError),
    /// The thread that wrote died: an error of ours.
    #[error("the export ended early: {0}; nothing was written")]
    Ended(String),
}

/// A node that something is taken out of.
#[derive(Clone)]
pub struct Exporter {
    /// Its blobs.
    pub store: Store,
    /// What holds.
    pub region: Arc<RegionView>,
    /// Its repositories.
    pub histories: Histories,
}

/// One site and what is in place there.
struct Chosen {
    id: SiteId,
    line: ExportedSite,
}

impl Exporter {
    /// Writes what is `wanted` to the folder `to`, which must not be there, and says what it wrote.
    ///
    /// # Errors
    /// [`ExportError`]; nothing is left.
    pub async fn run(&self, wanted: &Wanted, to: &Path) -> Result<Vec<String>, ExportError> {
        let effect = self.region.effect();
        let (account, sites) = choose(&effect, wanted)?;
        let ids = sites.iter().map(|site| site.id).collect();
        let records = self.region.records_about(account, &ids).await;
        let lists = self.region.removal_lists().await;
        let mut folder = Folder::begin(to, self.store.dir())?;
        let mut lines = Vec::new();
        let mut exported = Vec::new();
        for Chosen { id, mut line } in sites {
            folder = self.files(folder, &effect, id, &line.name).await?;
            self.history(&mut folder, id, &mut line).await?;
            lines.push(told(&line));
            exported.push(line);
        }
        let description = Description {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.region.region_id().to_string(),
            region_name: effect.chain.current().body.name.clone(),
            account: ExportedAccount {
                id: account.to_string(),
                name: effect.account_name(&account).map(str::to_owned),
            },
            sites: exported,
        };
        let written = tokio::task::spawn_blocking(move || {
            write::records(&mut folder, &records, &lists)?;
            write::description(&mut folder, &description)?;
            let count = records.len();
            folder.finish().map(|path| (path, count))
        });
        let written = written.await.map_err(ended)?;
        let (path, count) = written?;
        lines.push(format!("{count} records"));
        lines.push(format!("written to {}", path.display()));
        Ok(lines)
    }

    /// The files of a site and its manifest, away from whoever else waits for the node.
    async fn files(
        &self,
        mut folder: Folder,
        effect: &Effect,
        id: SiteId,
        name: &str,
    ) -> Result<Folder, ExportError> {
        let head = effect.site(&id).and_then(SiteEffect::head);
        let Some(deploy) = head.map(|head| head.body().clone()) else {
            return Ok(folder);
        };
        let (store, region) = (self.store.clone(), Arc::clone(&self.region));
        let name = name.to_owned();
        let written = tokio::task::spawn_blocking(move || {
            write::site(&mut folder, &name, (&store, &region), &deploy)?;
            Ok(folder)
        });
        written.await.map_err(ended)?
    }

    async fn history(
        &self,
        folder: &mut Folder,
        id: SiteId,
        line: &mut ExportedSite,
    ) -> Result<(), ExportError> {
        let Some(published) = &mut line.published else {
            return Ok(());
        };
        if published.commit.is_none() {
            return Ok(());
        }
        let site = line.name.clone();
        let configured = (!line.branch.is_empty()).then_some(line.branch.as_str());
        let path = format!("sites/{site}/history.bundle");
        let wrong = |source| ExportError::History {
            site: site.clone(),
            source,
        };
        let effect = self.region.effect();
        self.histories.follow(id, &effect, &self.store).await;
        let branch = self.histories.published_branch(id, configured).await;
        let Some(branch) = branch.map_err(wrong)? else {
            return Ok(());
        };
        let (file, at) = folder.file(&path)?;
        self.histories
            .bundle(id, &branch, file)
            .await
            .map_err(wrong)?;
        let hashed = tokio::task::spawn_blocking(move || folder::hash(&at));
        let (digest, bytes) = hashed.await.map_err(ended)??;
        published.bundle = Some(Bundle {
            branch,
            blake3: digest.to_string(),
            bytes,
        });
        Ok(())
    }
}

/// Whose sites they are, and which.
fn choose(effect: &Effect, wanted: &Wanted) -> Result<(AccountId, Vec<Chosen>), ExportError> {
    match wanted {
        Wanted::Site(name) => {
            let site = effect.site_by_label(name);
            let site = site.ok_or_else(|| WriteError::NoSite(name.clone()))?;
            Ok((site.body.account, vec![chosen(effect, site)]))
        }
        Wanted::Account(name) => {
            let account = effect.account_by_name(name);
            let account = account.ok_or_else(|| WriteError::NoAccount(name.clone()))?;
            let sites = effect.sites_of(&account.id);
            let mut sites: Vec<Chosen> = sites.map(|site| chosen(effect, site)).collect();
            sites.sort_by(|one, other| one.line.name.cmp(&other.line.name));
            Ok((account.id, sites))
        }
    }
}

fn chosen(effect: &Effect, site: &SiteEffect) -> Chosen {
    let published = site.head().map(|head| {
        let deploy = head.body();
        Published {
            version: deploy.version.to_string(),
            content: deploy.content.to_string(),
            recipe: deploy.recipe,
            time: deploy.time.0,
            commit: deploy.git.as_ref().map(|git| hex(&git.commit)),
            bundle: None,
        }
    });
    let line = ExportedSite {
        name: site_label(effect, site),
        id: site.id.to_string(),
        hosts: region::hosts(effect, site.id),
        branch: site.body.branch.clone(),
        force: site.body.force,
        takeout_public: site.body.takeout == Takeout::Public,
        private: site.body.private,
        published,
    };
    Chosen { id: site.id, line }
}

fn told(line: &ExportedSite) -> String {
    let name = &line.name;
    match &line.published {
        None => format!("site {name}: nothing was published there"),
        Some(published) => {
            let history = match (&published.bundle, &published.commit) {
                (Some(bundle), _) => format!("with the history of branch {}", bundle.branch),
                (None, Some(_)) => "without its history, which is not on this node".to_owned(),
                (None, None) => "without a history: it was published without git".to_owned(),
            };
            format!(
                "site {name}: content {}, {history}",
                short(&published.content)
            )
        }
    }
}

fn short(digest: &str) -> &str {
    digest.get(..10).unwrap_or(digest)
}

fn ended(error: tokio::task::JoinError) -> ExportError {
    ExportError::Ended(error.to_string())
}
