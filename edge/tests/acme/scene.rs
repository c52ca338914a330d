//! An issuer as a test has it: an account, a folder for its orders, and a node that answers.

use crate::responder::Responder;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as TlsTime};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use verge_edge::acme::{
    Account, AcmeError, Challenge, Directory, Intents, Issued, Key, Names, Patience, Session, Wish,
    order,
};
use verge_sync::clock::Clock;

/// What orders.
pub(crate) struct Issuer {
    pub(crate) account: Account,
    pub(crate) session: Session,
    pub(crate) folder: TempDir,
    pub(crate) intents: Intents,
}

impl Issuer {
    /// Makes an account, for which `responder` answers.
    pub(crate) async fn new(directory: &Directory, responder: &Responder) -> Self {
        let account =
            Account::create(directory, &["mailto:steward@example.org".to_owned()], None).await;
        let account = account.unwrap();
        responder.answer_for(account.thumbprint());
        let session = account.connect().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let intents = Intents::open(folder.path()).unwrap();
        Self {
            account,
            session,
            folder,
            intents,
        }
    }

    /// As after a crash: only what is on disk is left.
    pub(crate) async fn restart(&mut self) {
        let secret = self.account.to_secret();
        self.account = Account::from_secret(self.account.directory(), &secret).unwrap();
        self.session = self.account.connect().await.unwrap();
        self.intents = Intents::open(self.folder.path()).unwrap();
    }

    pub(crate) async fn order(&self, wish: &Wish<'_>) -> Result<Issued, AcmeError> {
        order(&self.session, &self.intents, wish, Clock::System.now()).await
    }

    /// Orders by http-01.
    pub(crate) async fn get(&self, names: &Names) -> Result<Issued, AcmeError> {
        self.order(&wish(names)).await
    }

    /// The certificate is kept.
    pub(crate) fn settle(&self, names: &Names) {
        self.intents
            .settle(self.account.directory(), names)
            .unwrap();
        assert_eq!(self.intents.pending().unwrap(), []);
    }
}

pub(crate) fn names(text: &str) -> Names {
    Names::new(text.split(' ')).unwrap()
}

/// By http-01, for a fresh key, replacing nothing.
pub(crate) fn wish(names: &Names) -> Wish<'_> {
    Wish {
        names,
        key: Key::Fresh,
        replaces: None,
        may_count: true,
        challenge: Challenge::Http01,
        before: &(),
        patience: patience(),
    }
}

/// As usual, but it looks again soon: nobody else asks these servers.
pub(crate) fn patience() -> Patience {
    Patience {
        pause: Duration::from_millis(5),
        ..Patience::default()
    }
}

/// A visitor would take the chain for each of the names; its key is the one that came with it.
pub(crate) fn check_chain(issued: &Issued, root_pem: &str) {
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
    let chain: Vec<CertificateDer<'_>> = chain.map(Result::unwrap).collect();
    let (leaf, others) = chain.split_first().unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().unwrap();
    for name in issued.summary.names.iter() {
        let name = ServerName::try_from(name.replace('*', "any")).unwrap();
        verifier
            .verify_server_cert(leaf, others, &name, &[], TlsTime::now())
            .unwrap();
    }
    if let Some(key_pem) = &issued.key_pem {
        let key = rcgen::KeyPair::from_pem(key_pem).unwrap();
        let public = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(public, issued.summary.public_key);
    }
}
