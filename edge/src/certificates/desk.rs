//! What a steward asks about certificates: set up, look, renew, bring one.

use super::issue::Complaints;
use super::keyring::{Held, Keyring, Review};
use super::name_set::NameSet;
use super::notices::may_import;
use super::order::{Order, Tools};
use super::wanted::{Wanted, recipients, wanted};
use super::write::{HandOutError, Origin, Scribe};
use super::{ChainError, read_chain, read_leaf};
use crate::acme::{Account, AcmeError, Directory, ExternalAccount, Meta, NewKey, requested_names};
use crate::region::{Standing, WriteError, find_node};
use crate::tls::{Certificate, CertificateError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use verge_sync::id::NodeId;
use verge_sync::record::Effect;
use verge_sync::record::body::{Acme, Roles};

/// Where people order certificates, by a short name.
const KNOWN: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];

/// What answers a steward's questions.
pub struct Desk {
    /// Where it writes.
    pub scribe: Scribe,
    /// What it orders with; none as the keyring.
    pub tools: Option<Arc<Tools>>,
    /// What it can open; none where the steward wants no certificates of the region.
    pub keyring: Option<Arc<Keyring>>,
    /// The certificates in use.
    pub reviews: watch::Receiver<Arc<Review>>,
    /// What goes wrong, on an issuer.
    pub complaints: watch::Receiver<Complaints>,
    /// Hosts that somebody wants a new certificate for.
    pub wishes: mpsc::Sender<String>,
    /// Authorities beside those that browsers trust, for the connection to the directory.
    pub roots: Option<String>,
}

/// How the region gets its certificates.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// A URL, or `letsencrypt`, or `letsencrypt-staging`.
    pub directory: String,
    /// As `mailto:` URLs.
    pub contacts: Vec<String>,
    /// Nodes that order, by name or the beginning of the id; this one if there is none.
    pub issuers: Vec<String>,
    /// Nodes that may change the region's zone, if any: its labels have one certificate together then.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Whether the steward agrees to the authority's terms.
    pub agrees: bool,
    /// The account that the authority knows from elsewhere, where it wants one.
    #[serde(default)]
    pub external: Option<ExternalAccount>,
}

/// What was set up.
#[derive(Debug)]
pub struct Foundation {
    /// The account's URL.
    pub account: String,
    /// The step that says so.
    pub standing: Standing,
}

/// Why a steward's wish about certificates was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The steward wants none.
    #[error(
        "this node uses no certificates of the region: `[tls] ordered` in its config.toml is false"
    )]
    SwitchedOff,
    /// Nobody has agreed yet.
    #[error("the authority has terms, to be read at {0}: give --agree if you agree to them")]
    Terms(String),
    /// The authority takes only those that it knows.
    #[error(
        "the authority makes accounts only for those that it knows: get a key for that from it (\"external account binding\", EAB) and give --eab-kid and --eab-key-file"
    )]
    External,
    /// The directory or the account.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// The records.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It may not change the zone.
    #[error(
        "this node cannot change the region's zone yet: set [dns_update] in its config.toml and restart it"
    )]
    NoZone,
    /// Nobody would order what is proved in the zone.
    #[error("node {0} is to change the zone, and orders nothing: name it by --issuer too")]
    ZoneWithoutOrders(String),
    /// The order.
    #[error("{0}")]
    Order(String),
    /// The bundle.
    #[error(transparent)]
    HandOut(#[from] HandOutError),
    /// What is brought does not read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What is brought does not chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Not hosts of one site that this node may act for.
    #[error(
        "the certificate names {0}: all of these must be hosts of one site for whose account this node's provider may act, and which admits it"
    )]
    NotItsHosts(String),
    /// Nobody orders here.
    #[error(
        "no host of the region is {0}, or no public authority certifies it: see `verge cert list`"
    )]
    NoHost(String),
    /// Another node orders.
    #[error(
        "this node orders no certificates: ask the steward of one that does (`verge cert list` names them)"
    )]
    NoIssuer,
    /// The region has no authority yet.
    #[error("the region has no account at an authority yet: `verge cert setup --help`")]
    NotSetUp,
}

/// A certificate for an owner's request. It is given again until it is settled.
pub struct Handed {
    /// Its chain in PEM form.
    pub chain: String,
    order: Order,
}

impl Handed {
    /// The owner has it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn settle(&self) -> Result<(), DeskError> {
        let settled = self.order.settle();
        settled.map_err(|error| DeskError::Order(error.to_string()))
    }
}

async fn open_account(
    directory: &Directory,
    meta: &Meta,
    plan: &Plan,
) -> Result<Account, DeskError> {
    if let Some(terms) = meta.terms_url.clone().filter(|_| !plan.agrees) {
        return Err(DeskError::Terms(terms));
    }
    if meta.wants_external && plan.external.is_none() {
        return Err(DeskError::External);
    }
    let external = plan.external.as_ref();
    Ok(Account::create(directory, &plan.contacts, external).await?)
}

/// A row of `verge cert list`.
#[derive(Debug, Clone)]
pub struct Row {
    /// The hosts.
    pub names: NameSet,
    /// What there is.
    pub held: Option<Arc<Held>>,
    /// How many nodes are to have the key.
    pub wanted_by: usize,
    /// What went wrong, on an issuer.
    pub complaint: Option<String>,
}

impl Desk {
    /// Makes an account at the authority if the region has none there, seals it to the issuers, and
    /// proposes the step that says so.
    ///
    /// # Errors
    /// [`DeskError`]. What was done before it is used when the command is given again.
    pub async fn set_up(&self, plan: &Plan) -> Result<Foundation, DeskError> {
        let keyring = self.keyring.as_ref().ok_or(DeskError::SwitchedOff)?;
        let known = KNOWN.iter().find(|(name, _)| *name == plan.directory);
        let url = known.map_or(plan.directory.as_str(), |(_, url)| *url);
        let directory = Directory::new(url, self.roots.clone())?;
        let effect = self.scribe.region.effect();
        let issuers = self.issuers(&effect, &plan.issuers)?;
        let dns = self.zone_nodes(&effect, &plan.dns, &issuers)?;
        let meta = directory.meta().await?;
        let account = match self.account_at(keyring, &effect, &directory) {
            Some(account) => account,
            None => open_account(&directory, &meta, plan).await?,
        };
        let secret = account.to_secret();
        self.scribe.account(url, &secret, &issuers).await?;
        let acme = Acme {
            directory: url.to_owned(),
            account: account.url().to_owned(),
            thumbprints: vec![account.thumbprint().to_owned()],
            identities: meta.caa_identities,
        };
        let roles = Roles {
            issuers: issuers.into_keys().collect(),
            dns,
        };
        let standing = self.scribe.region.propose_issuers(roles, acme).await?;
        Ok(Foundation {
            account: account.url().to_owned(),
            standing,
        })
    }

    /// Gives the account another key: sealed to the issuers at once, named by a step, and put in force by
    /// the first issuer when all nodes that are connected have heard of it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn roll_over(&self) -> Result<Standing, DeskError> {
        let keyring = self.keyring.as_ref().ok_or(DeskError::SwitchedOff)?;
        let effect = self.scribe.region.effect();
        let step = &effect.chain.current().body;
        let acme = step.acme.clone().ok_or(DeskError::NotSetUp)?;
        let directory = Directory::new(&acme.directory, self.roots.clone())?;
        let account = self.account_at(keyring, &effect, &directory);
        let account = account.ok_or(DeskError::NoIssuer)?;
        let new = NewKey::generate()?;
        let issuers = step.roles.issuers.iter().map(NodeId::to_string);
        let issuers = self.issuers(&effect, &issuers.collect::<Vec<_>>())?;
        let secret = account.with_key(&new).to_secret();
        let scribe = &self.scribe;
        scribe.account(&acme.directory, &secret, &issuers).await?;
        let acme = Acme {
            thumbprints: [new.thumbprint(), account.thumbprint()]
                .map(str::to_owned)
                .to_vec(),
            ..acme
        };
        let roles = step.roles.clone();
        Ok(scribe.region.propose_issuers(roles, acme).await?)
    }

    /// The region's, or one that this node has made and no step names yet.
    fn account_at(
        &self,
        keyring: &Keyring,
        effect: &Effect,
        directory: &Directory,
    ) -> Option<Account> {
        let me = self.scribe.region.keys().node();
        let acme = effect.chain.current().body.acme.as_ref();
        let acme = acme.filter(|acme| acme.directory == directory.url());
        let sealed = keyring.accounts(effect, directory.url()).into_iter();
        let mut known = sealed.filter_map(|sealed| {
            let account = Account::from_secret(directory, &sealed.secret).ok()?;
            Some((sealed.author, account))
        });
        let found = match acme {
            Some(acme) => known.find(|(_, account)| {
                let thumbprint = acme.thumbprints.first().map(String::as_str);
                account.url() == acme.account && thumbprint == Some(account.thumbprint())
            }),
            None => known.find(|(author, _)| *author == me),
        };
        found.map(|(_, account)| account)
    }

    /// Who proves the labels in the zone also orders their certificate.
    fn zone_nodes(
        &self,
        effect: &Effect,
        named: &[String],
        issuers: &BTreeMap<NodeId, [u8; 32]>,
    ) -> Result<Vec<NodeId>, DeskError> {
        let me = self.scribe.region.keys().node();
        let has_zone = self
            .tools
            .as_ref()
            .is_some_and(|tools| tools.zone.is_some());
        let nodes = named.iter().map(|who| {
            let node = find_node(effect, who)?.body.id;
            if !issuers.contains_key(&node) {
                return Err(DeskError::ZoneWithoutOrders(who.clone()));
            }
            if node == me && !has_zone {
                return Err(DeskError::NoZone);
            }
            Ok(node)
        });
        nodes.collect()
    }

    fn issuers(
        &self,
        effect: &Effect,
        named: &[String],
    ) -> Result<BTreeMap<NodeId, [u8; 32]>, DeskError> {
        let me = self.scribe.region.keys().node().to_string();
        let own = [me];
        let named = if named.is_empty() { &own } else { named };
        let nodes = named.iter().map(|who| {
            let node = find_node(effect, who)?;
            Ok((node.body.id, node.body.sealing_key))
        });
        nodes.collect()
    }

    /// Seals what an owner brings to the nodes that the site admits.
    ///
    /// # Errors
    /// [`DeskError`]; nothing was written then.
    pub async fn import(&self, chain: &[u8], key: &[u8]) -> Result<NameSet, DeskError> {
        let keyring = self.keyring.as_ref().ok_or(DeskError::SwitchedOff)?;
        // The two belong together.
        let _pair = Certificate::from_pem(chain, key)?;
        let certificates = read_chain(chain)?;
        let leaf = read_leaf(certificates.first().ok_or(ChainError::Malformed)?)?;
        keyring.check(chain)?;
        let effect = self.scribe.region.effect();
        let me = self.scribe.region.keys().node();
        let of = || leaf.names.names().join(", ");
        if !may_import(&effect, me, &leaf.names) {
            return Err(DeskError::NotItsHosts(of()));
        }
        let mut names = leaf.names.names().iter();
        let site = names.find_map(|name| effect.site_by_host(name));
        let site = site.ok_or_else(|| DeskError::NotItsHosts(of()))?;
        let recipients = recipients(&effect, &site.body.admit);
        self.scribe
            .certificate(Origin::Owner, chain, key, &recipients)
            .await?;
        Ok(leaf.names)
    }

    /// Orders a certificate for an owner's own request, whose key no node sees; gives its chain, once more
    /// if it is asked for again before [`Handed::settle`].
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn order(&self, request: &[u8]) -> Result<Handed, DeskError> {
        let keyring = self.keyring.as_ref().ok_or(DeskError::SwitchedOff)?;
        let tools = self.tools.as_ref().ok_or(DeskError::SwitchedOff)?;
        let effect = self.scribe.region.effect();
        let step = &effect.chain.current().body;
        let acme = step.acme.as_ref().ok_or(DeskError::NotSetUp)?;
        let names = requested_names(request)?;
        let set = NameSet::new(names.iter().map(str::to_owned));
        let set = set.ok_or_else(|| DeskError::NoHost(names.to_string()))?;
        let mut hosts = set.names().iter();
        if let Some(other) = hosts.find(|host| effect.site_by_host(host).is_none()) {
            return Err(DeskError::NoHost(other.clone()));
        }
        let owner = set
            .names()
            .first()
            .and_then(|host| effect.site_by_host(host));
        let directory = Directory::new(&acme.directory, self.roots.clone())?;
        let account = self.account_at(keyring, &effect, &directory);
        let session = account.ok_or(DeskError::NoIssuer)?.connect().await?;
        let order = Order {
            tools: Arc::clone(tools),
            session: Arc::new(session),
            names,
            wanted: Wanted {
                names: set,
                owner: owner.map(|site| (site.body.account, site.id)),
                recipients: BTreeMap::new(),
            },
            before: None,
            is_exposed: false,
            request: Some(request.to_vec()),
        };
        let issued = order.certificate().await;
        let issued = issued.map_err(|error| DeskError::Order(error.to_string()))?;
        Ok(Handed {
            chain: issued.chain_pem,
            order,
        })
    }

    /// Every certificate that is wanted, or that is there.
    #[must_use]
    pub fn list(&self) -> Vec<Row> {
        let effect = self.scribe.region.effect();
        let review = Arc::clone(&self.reviews.borrow());
        let complaints = self.complaints.borrow().of_names.clone();
        let mut rows: BTreeMap<NameSet, Row> = BTreeMap::new();
        let row = |names: &NameSet, wanted_by| Row {
            names: names.clone(),
            held: review.held.get(names).map(Arc::clone),
            wanted_by,
            complaint: complaints
                .get(names)
                .map(|complaint| complaint.text.clone()),
        };
        for Wanted {
            names, recipients, ..
        } in wanted(&effect)
        {
            rows.insert(names.clone(), row(&names, recipients.len()));
        }
        for names in review.held.keys() {
            rows.entry(names.clone()).or_insert_with(|| row(names, 0));
        }
        rows.into_values().collect()
    }

    /// What goes wrong with all orders.
    #[must_use]
    pub fn general_complaint(&self) -> Option<String> {
        self.complaints.borrow().general.clone()
    }

    /// Asks for a new certificate for `host` now.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn renew(&self, host: &str) -> Result<(), DeskError> {
        let effect = self.scribe.region.effect();
        let step = &effect.chain.current().body;
        if step.acme.is_none() {
            return Err(DeskError::NotSetUp);
        }
        let me = self.scribe.region.keys().node();
        if !step.roles.issuers.contains(&me) {
            return Err(DeskError::NoIssuer);
        }
        let wanted = wanted(&effect);
        let mut names = wanted.iter().flat_map(|wanted| wanted.names.names());
        if !names.any(|name| name == host) {
            return Err(DeskError::NoHost(host.to_owned()));
        }
        let sent = self.wishes.send(host.to_owned()).await;
        sent.or(Err(DeskError::Write(WriteError::Stopping)))
    }
}
