//! From a certificate and its key to a record: sealed, kept, named.

use super::body::{CertificateBody, Purpose};
use super::bundle::{Bundle, Context, SealError};
use super::chain::{ChainError, read_chain, read_leaf};
use super::name_set::{NameSet, account_subject};
use crate::region::{RegionView, WriteError};
use std::collections::BTreeMap;
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::store::{Store, StoreError};

/// Why a certificate was not handed to the nodes.
#[derive(Debug, thiserror::Error)]
pub enum HandOutError {
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The bundle cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Where the certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Ordered at this directory.
    Directory(&'a str),
    /// Brought by the owner of the site.
    Owner,
}

/// What seals and writes.
#[derive(Clone)]
pub struct Scribe {
    /// The records.
    pub region: Arc<RegionView>,
    /// The blobs.
    pub store: Store,
}

impl Scribe {
    /// Seals the key of a chain to `recipients`, and names both.
    ///
    /// # Errors
    /// [`HandOutError`]; no record was written then.
    pub async fn certificate(
        &self,
        origin: Origin<'_>,
        chain: &[u8],
        key: &[u8],
        recipients: &BTreeMap<NodeId, [u8; 32]>,
    ) -> Result<RecordId, HandOutError> {
        let certificates = read_chain(chain)?;
        let leaf = read_leaf(certificates.first().ok_or(ChainError::Malformed)?)?;
        let (directory, purpose): (_, fn(NameSet) -> Purpose) = match origin {
            Origin::Directory(directory) => (directory, Purpose::Ordered),
            Origin::Owner => ("", Purpose::Imported),
        };
        let subject = leaf.names.subject(directory);
        let bundle = Bundle::seal(&self.context(subject), chain, key, recipients)?;
        let life = (leaf.not_before, leaf.not_after);
        self.name(&bundle, purpose(leaf.names), directory, life)
            .await
    }

    /// Seals the stored form of an account to the issuers.
    ///
    /// # Errors
    /// [`HandOutError`]; no record was written then.
    pub async fn account(
        &self,
        directory: &str,
        secret: &[u8],
        issuers: &BTreeMap<NodeId, [u8; 32]>,
    ) -> Result<RecordId, HandOutError> {
        let context = self.context(account_subject(directory));
        let bundle = Bundle::seal(&context, b"", secret, issuers)?;
        let life = (UnixTime(0), UnixTime(0));
        self.name(&bundle, Purpose::Account, directory, life).await
    }

    fn context(&self, subject: Digest) -> Context {
        Context {
            region: self.region.effect().region,
            subject,
            author: self.region.keys().node(),
        }
    }

    async fn name(
        &self,
        bundle: &Bundle,
        purpose: Purpose,
        directory: &str,
        (not_before, not_after): (UnixTime, UnixTime),
    ) -> Result<RecordId, HandOutError> {
        let bytes = bundle.encode();
        let body = CertificateBody {
            purpose,
            directory: directory.to_owned(),
            bundle: Digest::of(&bytes),
            bundle_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            not_before,
            not_after,
        };
        // Until the record names it nothing else keeps it.
        let _pin = self.store.pin([body.bundle]);
        let store = self.store.clone();
        let put = tokio::task::spawn_blocking(move || store.blobs().put(&bytes)).await;
        put.unwrap_or(Err(StoreError::Closed))?;
        Ok(self.region.certify(&body).await?)
    }
}
