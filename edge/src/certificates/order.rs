//! One order, from the look before it to the record: on its own, beside others.

use super::knock::Knock;
use super::wanted::{Wanted, wanted};
use super::write::{HandOutError, Origin, Scribe};
use crate::acme::budget::{Ask, Granted, Refusal};
use crate::acme::budget_file::BudgetFile;
use crate::acme::precheck::{self, Expected, Method, Obstacle};
use crate::acme::{
    AcmeError, BeforeValidation, Challenge, Intents, Issued, Key, Names, Patience, Predecessor,
    Revocations, Session, Wish, Zone, order,
};
use crate::hosts::Resolver;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use verge_sync::clock::Clock;

/// What every order needs.
pub struct Tools {
    /// Where it writes.
    pub scribe: Scribe,
    /// Orders under way.
    pub intents: Intents,
    /// What is to be revoked.
    pub revocations: Revocations,
    /// Whom to ask about DNS before an attempt is spent.
    pub resolver: Arc<dyn Resolver>,
    /// Where nodes serve plain HTTP.
    pub http_port: u16,
    /// What edits the region's zone, if this node may.
    pub zone: Option<Arc<dyn Zone>>,
    /// The folder of the log of orders.
    pub folder: PathBuf,
    /// The log of the directory that was last ordered at, and its URL.
    pub budget: Mutex<Option<(String, BudgetFile)>>,
}

pub(super) struct Order {
    pub(super) tools: Arc<Tools>,
    pub(super) session: Arc<Session>,
    pub(super) names: Names,
    pub(super) wanted: Wanted,
    /// The chain of the one before.
    pub(super) before: Option<String>,
    /// Whether nodes have its key that are not to have it.
    pub(super) is_exposed: bool,
    /// An owner's own request, whose key nobody here sees.
    pub(super) request: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error(transparent)]
    Acme(#[from] AcmeError),
    #[error(transparent)]
    HandOut(#[from] HandOutError),
    /// Asking would go beyond what the authority allows.
    #[error("{0}")]
    Budget(Refusal),
    /// The authority would find something in the way.
    #[error("{0}")]
    Obstacles(String),
    /// Nobody wants it any more.
    #[error("the hosts are the region's no more")]
    Gone,
}

impl Order {
    /// Orders, and hands out what came.
    pub(super) async fn run(&self) -> Result<(), OrderError> {
        let directory = self.session.account().directory();
        let issued = self.certificate().await?;
        self.note_exposed()?;
        self.hand_out(directory.url(), &issued).await?;
        self.settle()?;
        tracing::info!(names = ?self.wanted.names.names(), "a certificate was ordered");
        Ok(())
    }

    /// What came is kept, or given to whoever asked for it.
    pub(super) fn settle(&self) -> Result<(), OrderError> {
        let directory = self.session.account().directory();
        Ok(self.tools.intents.settle(directory, &self.names)?)
    }

    /// Looks, notes, orders.
    pub(super) async fn certificate(&self) -> Result<Issued, OrderError> {
        let replaces = self.before.as_deref();
        let replaces = replaces.and_then(|chain| Predecessor::of_chain(chain).ok().flatten());
        self.look_before().await?;
        let granted = self.begin(replaces.as_ref()).await?;
        let may_count = granted.is_none_or(|granted| granted.may_count);
        let issued = match self.order(replaces.as_ref(), may_count).await {
            Ok(issued) => issued,
            Err(error) => {
                self.note_failure(granted, &error).await?;
                return Err(error.into());
            }
        };
        self.note_success(granted, &issued).await?;
        Ok(issued)
    }

    /// What the authority will look at, before an attempt is spent.
    async fn look_before(&self) -> Result<(), OrderError> {
        let account = self.session.account();
        let expected = Expected {
            addresses: &BTreeSet::new(),
            identities: &self.session.meta().caa_identities,
            account_url: account.url(),
            method: if self.names.has_wildcard() {
                Method::Dns01
            } else {
                Method::Http01
            },
        };
        let found = precheck::check(self.tools.resolver.as_ref(), &self.names, &expected).await;
        let counts = |obstacle: &Obstacle| match obstacle {
            // Behind a router a node does not know where the world sees it: see `knock`.
            Obstacle::ForeignAddress { .. } => false,
            // This node's resolver is not the authority's.
            Obstacle::Unanswered(_) => false,
            _ => true,
        };
        let found: Vec<String> = found
            .into_iter()
            .filter(counts)
            .map(|obstacle| obstacle.to_string())
            .collect();
        if found.is_empty() {
            Ok(())
        } else {
            Err(OrderError::Obstacles(found.join("; ")))
        }
    }

    /// Notes the order before it is sent; one that a crash has left was noted already. A region for
    /// tests, whose authority is one for tests, notes nothing.
    async fn begin(&self, replaces: Option<&Predecessor>) -> Result<Option<Granted>, OrderError> {
        let effect = self.tools.scribe.region.effect();
        if effect.chain.current().body.test {
            return Ok(None);
        }
        let directory = self.session.account().directory();
        let pending = self.tools.intents.pending()?;
        let is_left = pending
            .iter()
            .any(|left| left.directory == directory.url() && left.names == self.names);
        let owner = self.wanted.owner.map(|(account, _)| account.to_string());
        let ask = Ask {
            names: &self.names,
            owner: owner.as_deref().unwrap_or("region"),
            replaces: replaces.filter(|_| self.session.meta().has_renewal_info()),
        };
        let now = Clock::System.now();
        let left = if is_left {
            self.with_budget(|budget| Ok(budget.budget.last_of(&self.names)))
                .await?
        } else {
            None
        };
        if left.is_some() {
            return Ok(left);
        }
        self.with_budget(|budget| {
            let begun = budget.budget.begin(&ask, now);
            begun.map(Some).map_err(OrderError::Budget)
        })
        .await
    }

    async fn note_success(
        &self,
        granted: Option<Granted>,
        issued: &Issued,
    ) -> Result<(), OrderError> {
        let Some(Granted { number, .. }) = granted else {
            return Ok(());
        };
        let was_replacement = issued.was_replacement;
        self.with_budget(|budget| {
            budget.budget.issued(number, was_replacement);
            Ok(())
        })
        .await
    }

    async fn note_failure(
        &self,
        granted: Option<Granted>,
        error: &AcmeError,
    ) -> Result<(), OrderError> {
        let Some(Granted { number, .. }) = granted else {
            return Ok(());
        };
        let now = Clock::System.now();
        let names: Vec<&str> = error.failures().iter().map(|f| f.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.with_budget(|budget| {
            budget.budget.failed(number, names.iter().copied(), now);
            Ok(())
        })
        .await
    }

    /// Changes the log, which is durable when this returns.
    async fn with_budget<T>(
        &self,
        change: impl FnOnce(&mut BudgetFile) -> Result<T, OrderError>,
    ) -> Result<T, OrderError> {
        let directory = self.session.account().directory();
        let effect = self.tools.scribe.region.effect();
        let issuers = effect.chain.current().body.roles.issuers.len();
        let issuers = u32::try_from(issuers).unwrap_or(u32::MAX);
        let mut kept = self.tools.budget.lock().await;
        let mut file = match kept.take() {
            Some((of, file)) if of == directory.url() => file,
            _ => BudgetFile::open(&self.tools.folder, directory, issuers)?,
        };
        file.budget.set_issuer_count(issuers);
        let changed = change(&mut file);
        let saving = tokio::task::spawn_blocking(move || (file.save(), file)).await;
        let Ok((saved, file)) = saving else {
            return Err(OrderError::Gone);
        };
        *kept = Some((directory.url().to_owned(), file));
        saved?;
        changed
    }

    async fn order(
        &self,
        replaces: Option<&Predecessor>,
        may_count: bool,
    ) -> Result<Issued, AcmeError> {
        let challenge = match &self.tools.zone {
            Some(zone) if self.names.has_wildcard() => Challenge::Dns01(zone.as_ref()),
            _ => Challenge::Http01,
        };
        let knock = Knock {
            resolver: Arc::clone(&self.tools.resolver),
            port: self.tools.http_port,
        };
        let before: &dyn BeforeValidation = if self.names.has_wildcard() {
            &()
        } else {
            &knock
        };
        let wish = Wish {
            names: &self.names,
            key: match &self.request {
                Some(request) => Key::OfRequest(request),
                None => Key::Fresh,
            },
            replaces,
            may_count,
            challenge,
            before,
            patience: Patience::default(),
        };
        let now = Clock::System.now();
        order(&self.session, &self.tools.intents, &wish, now).await
    }

    /// Who is to have it may have changed since it was ordered.
    async fn hand_out(&self, directory: &str, issued: &Issued) -> Result<(), OrderError> {
        let effect = self.tools.scribe.region.effect();
        let mut wanted = wanted(&effect).into_iter();
        let wanted = wanted.find(|wanted| wanted.names == self.wanted.names);
        let wanted = wanted.ok_or(OrderError::Gone)?;
        let key = issued.key_pem.as_ref().map_or("", |key| key.as_str());
        let chain = issued.chain_pem.as_bytes();
        let origin = Origin::Directory(directory);
        let scribe = &self.tools.scribe;
        scribe
            .certificate(origin, chain, key.as_bytes(), &wanted.recipients)
            .await?;
        Ok(())
    }

    /// The key of the one before is known to a node that is not to know it: when all use the one that came,
    /// it is revoked, whatever happens until then.
    fn note_exposed(&self) -> Result<(), OrderError> {
        if let Some(chain) = self.before.as_ref().filter(|_| self.is_exposed) {
            let directory = self.session.account().directory();
            self.tools.revocations.note(directory, &self.names, chain)?;
        }
        Ok(())
    }
}
