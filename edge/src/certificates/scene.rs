//! An authority for tests, without a server: what it issues chains to its root.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::time::Duration;
use verge_sync::clock::UnixTime;

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM form.
    pub(crate) root: String,
}

/// A chain and its key, in PEM form.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = date_time_ymd(1975, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let root = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// A certificate for `names` that begins at `from` and lasts for `life`.
    pub(crate) fn issue(&self, names: &[&str], from: UnixTime, life: Duration) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let from = Duration::from_secs(from.0.try_into().unwrap());
        params.not_before = date_time_ymd(1970, 1, 1) + from;
        params.not_after = date_time_ymd(1970, 1, 1) + from + life;
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued {
            chain,
            key: key.serialize_pem(),
        }
    }
}
