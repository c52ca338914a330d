//! What every CA of ours does alike: names, lives, and the leaves of one process.

use super::certificate::{Certificate, CertificateError};
use crate::host::Host;
use rcgen::{
    CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    SerialNumber, date_time_ymd,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;

/// A year.
pub(super) const YEAR: Duration = Duration::from_hours(24 * 365);
const DAY: Duration = Duration::from_hours(24);
/// Leaves cost 0.1 ms and live in memory; 90 days is what everybody is used to.
const LEAF_LIFE: Duration = Duration::from_hours(24 * 90);
/// The longest common name (`ub-common-name`, RFC 5280 appendix A.1); hosts stand elsewhere too.
const COMMON_NAME_BYTES_MAX: usize = 64;
/// Of a serial number: enough to be unguessable, and positive when the first bit is 0.
const SERIAL_BYTES: usize = 16;

/// Why no certificate was made: an error of ours.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A certificate cannot be made.
    #[error("issue a certificate")]
    Make(#[from] rcgen::Error),
    /// A certificate of ours does not read.
    #[error("read an issued certificate")]
    Read(#[from] CertificateError),
    /// The system has no randomness.
    #[error("make a random number")]
    Randomness(#[from] getrandom::Error),
}

/// Who signs leaves, and the leaves that were made in this process: ahead, never in a handshake.
pub(super) struct Leaves {
    issuer: Issuer<'static, KeyPair>,
    /// What is sent after each leaf: certificates in PEM form, or nothing.
    chain_pem: String,
    leaves: BTreeMap<Host, Arc<Certificate>>,
}

impl Leaves {
    pub(super) fn new(issuer: Issuer<'static, KeyPair>, chain_pem: String) -> Self {
        Self {
            issuer,
            chain_pem,
            leaves: BTreeMap::new(),
        }
    }

    /// A certificate for every host, made now where there is none or half of its life is over;
    /// those of other hosts are forgotten. In the order of their hosts. What is made at once has one
    /// key: making keys is half of the work, and whoever has the process has all of them.
    ///
    /// # Errors
    /// [`IssueError`]; the leaves that were there still are.
    pub(super) fn ensure(
        &mut self,
        hosts: &BTreeSet<Host>,
        now: UnixTime,
    ) -> Result<Vec<Arc<Certificate>>, IssueError> {
        let mut key = None;
        for host in hosts {
            let known = self.leaves.get(host);
            let fresh = known.is_some_and(|leaf| leaf.not_after().since(now) > LEAF_LIFE / 2);
            if !fresh {
                let key = match &mut key {
                    Some(key) => key,
                    none => none.insert(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?),
                };
                let leaf = Arc::new(self.issue(host, key, now)?);
                self.leaves.insert(host.clone(), leaf);
            }
        }
        self.leaves.retain(|host, _leaf| hosts.contains(host));
        Ok(self.leaves.values().map(Arc::clone).collect())
    }

    fn issue(&self, host: &Host, key: &KeyPair, now: UnixTime) -> Result<Certificate, IssueError> {
        let mut params = CertificateParams::new(vec![host.to_string()])?;
        let name = host.as_str();
        let fits = name.len() <= COMMON_NAME_BYTES_MAX;
        params.distinguished_name = named(if fits { name } else { "A site of Verge" });
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial()?);
        set_life(&mut params, now, LEAF_LIFE);
        let leaf = params.signed_by(key, &self.issuer)?;
        let chain = format!("{}{}", leaf.pem(), self.chain_pem);
        let key = key.serialize_pem();
        Ok(Certificate::from_pem(chain.as_bytes(), key.as_bytes())?)
    }
}

/// Holds a CA to names in `zones`, and to no address.
pub(super) fn only_for(zones: impl IntoIterator<Item = String>) -> NameConstraints {
    NameConstraints {
        permitted_subtrees: zones.into_iter().map(GeneralSubtree::DnsName).collect(),
        // A kind of name of which nothing is said is free: addresses have to be excluded.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
}

/// Two certificates of one CA never have the same: browsers refuse them.
pub(super) fn serial() -> Result<SerialNumber, getrandom::Error> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(super) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// From a day before `now`, for visitors whose clocks are behind.
pub(super) fn set_life(params: &mut CertificateParams, now: UnixTime, life: Duration) {
    /// 2100-01-01; a clock that is past it is wrong.
    const LAST: u64 = 4_102_444_800;
    let now = Duration::from_secs(u64::try_from(now.0).unwrap_or(0).min(LAST));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + life;
}

pub(super) fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
