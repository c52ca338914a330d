//! The CA that a node has for itself: one of its own, or its part of the region's.

use super::authority::IssueError;
use super::certificate::Certificate;
use super::local_ca::{LocalCa, LocalCaError};
use super::read_ca::CaCertificate;
use super::region_ca::{RegionCa, RegionCaError};
use crate::host::Host;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use verge_sync::clock::UnixTime;

/// Either of the two.
pub enum OwnCa {
    /// Of one node, for names that nobody can register.
    Local(LocalCa),
    /// Of the region, for its own names.
    Region(RegionCa),
}

/// Why there is none, or why it does not issue.
#[derive(Debug, thiserror::Error)]
pub enum OwnCaError {
    /// Of one node.
    #[error(transparent)]
    Local(#[from] LocalCaError),
    /// Of the region.
    #[error(transparent)]
    Region(#[from] RegionCaError),
    /// An error of ours.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl OwnCa {
    /// The CA of one node in `data`: made, if there is none.
    ///
    /// # Errors
    /// [`OwnCaError::Local`].
    pub fn local(data: &Path, now: UnixTime) -> Result<Self, OwnCaError> {
        Ok(Self::Local(LocalCa::open(data, now)?))
    }

    /// The node's part of the region's CA in `data`.
    ///
    /// # Errors
    /// [`OwnCaError::Region`].
    pub fn region(data: &Path) -> Result<Self, OwnCaError> {
        Ok(Self::Region(RegionCa::open(data)?))
    }

    /// Takes another part of the region's CA in use, if there is one in the data directory.
    ///
    /// # Errors
    /// [`OwnCaError::Region`]; what was in use stays.
    pub fn refresh(&mut self) -> Result<(), OwnCaError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Region(ca) => Ok(ca.refresh()?),
        }
    }

    /// What a node's part of the region's CA says.
    #[must_use]
    pub fn region_part(&self) -> Option<&CaCertificate> {
        match self {
            Self::Local(_) => None,
            Self::Region(ca) => Some(ca.certificate()),
        }
    }

    /// What visitors have to trust, in PEM form.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        match self {
            Self::Local(ca) => ca.certificate_pem(),
            Self::Region(ca) => ca.root_pem(),
        }
    }

    /// A certificate for each of `hosts` that it may speak for.
    ///
    /// # Errors
    /// [`OwnCaError`]; the leaves that were there still are.
    pub fn ensure(
        &mut self,
        hosts: &BTreeSet<Host>,
        now: UnixTime,
    ) -> Result<Vec<Arc<Certificate>>, OwnCaError> {
        Ok(match self {
            Self::Local(ca) => ca.ensure(hosts, now)?,
            Self::Region(ca) => ca.ensure(hosts, now)?,
        })
    }
}
