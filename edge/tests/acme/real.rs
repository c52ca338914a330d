//! The same against real Pebble.

use crate::pebble::{Pebble, Setup};
use crate::responder::Responder;
use crate::scene::{Issuer, check_chain, names, wish};
use verge_edge::acme::{
    AcmeError, BeforeValidation, Challenge, NewKey, Presented, Reaction, Ready, Wish, revoke,
};

async fn scene(setup: Setup) -> (Pebble, Responder, Issuer) {
    let responder = Responder::start();
    let http_port = responder.address().port();
    let pebble = Pebble::start(&Setup { http_port, ..setup });
    let issuer = Issuer::new(&pebble.directory(), &responder).await;
    (pebble, responder, issuer)
}

#[tokio::test]
async fn a_certificate_comes_by_http() {
    let (pebble, responder, issuer) = scene(Setup::default()).await;
    let names = names("a.example b.example");
    let issued = issuer.get(&names).await.unwrap();
    check_chain(&issued, &pebble.issuing_root_pem());
    assert!(issued.summary.identifier.is_some());
    let mut asked = responder.asked();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["a.example", "b.example"]);
    issuer.settle(&names);
    revoke(&issuer.session, &issued.chain_pem).await.unwrap();
    revoke(&issuer.session, &issued.chain_pem).await.unwrap();
}

#[tokio::test]
async fn a_wildcard_comes_by_dns() {
    let (pebble, responder, issuer) = scene(Setup::default()).await;
    let (zone, names) = (pebble.zone(), names("*.a.example a.example"));
    let by_dns = Wish {
        challenge: Challenge::Dns01(&zone),
        ..wish(&names)
    };
    let issued = issuer.order(&by_dns).await.unwrap();
    check_chain(&issued, &pebble.issuing_root_pem());
    assert_eq!(responder.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn nine_of_ten_rejected_nonces_are_lived_through() {
    let setup = Setup {
        nonce_rejects_in_hundred: 90,
        ..Setup::default()
    };
    let (pebble, _responder, issuer) = scene(setup).await;
    let issued = issuer.get(&names("a.example b.example")).await.unwrap();
    check_chain(&issued, &pebble.issuing_root_pem());
    issuer
        .session
        .roll_over(&NewKey::generate().unwrap())
        .await
        .unwrap();
    assert_eq!(pebble.certificate_count(), 1);
}

#[tokio::test]
async fn a_key_is_replaced() {
    let (pebble, responder, mut issuer) = scene(Setup::default()).await;
    let new = NewKey::generate().unwrap();
    issuer.account = issuer.session.roll_over(&new).await.unwrap();
    // After a crash in between, the same again.
    let again = issuer.session.roll_over(&new).await.unwrap();
    assert_eq!(again.thumbprint(), new.thumbprint());
    issuer.restart().await;
    // The old thumbprint proves nothing any more.
    let error = issuer.get(&names("a.example")).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Refuse, "{error}");
    assert_eq!(error.failures().len(), 1, "{error}");
    responder.answer_for(new.thumbprint());
    let issued = issuer.get(&names("a.example")).await.unwrap();
    check_chain(&issued, &pebble.issuing_root_pem());
}

/// Stops the server when it is about to be asked to look.
struct Pause<'a>(&'a Pebble);

impl BeforeValidation for Pause<'_> {
    fn ready<'a>(&'a self, _presented: &'a [Presented]) -> Ready<'a> {
        self.0.pause();
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_is_waited_for() {
    let (pebble, _responder, mut issuer) = scene(Setup::default()).await;
    let secret = issuer.account.to_secret();
    let hurried = pebble.impatient_directory(500);
    issuer.account = verge_edge::acme::Account::from_secret(&hurried, &secret).unwrap();
    issuer.restart().await;
    let names = names("a.example");
    let before = Pause(&pebble);
    let error = issuer
        .order(&Wish {
            before: &before,
            ..wish(&names)
        })
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::TimedOut { .. }), "{error}");
    let error = issuer.account.connect().await.unwrap_err();
    assert!(matches!(error, AcmeError::TimedOut { .. }), "{error}");
    pebble.go_on();
    issuer.account = verge_edge::acme::Account::from_secret(&pebble.directory(), &secret).unwrap();
    issuer.restart().await;
    let issued = issuer.get(&names).await.unwrap();
    check_chain(&issued, &pebble.issuing_root_pem());
    assert_eq!(pebble.certificate_count(), 1);
}

#[tokio::test]
async fn what_it_says_of_itself_is_read() {
    let (pebble, _responder, issuer) = scene(Setup::default()).await;
    let meta = pebble.directory().meta().await.unwrap();
    assert!(!meta.has_renewal_info());
    assert!(meta.terms_url.is_some());
    assert_eq!(&meta, issuer.session.meta());
}

/// Orders run in tasks of their own.
#[tokio::test]
async fn an_order_can_be_moved_to_a_task() {
    let (pebble, _responder, issuer) = scene(Setup::default()).await;
    let task = tokio::spawn(async move {
        let names = names("a.example");
        issuer.get(&names).await.map(|issued| issued.summary)
    });
    assert_eq!(task.await.unwrap().unwrap().names, names("a.example"));
    assert_eq!(pebble.certificate_count(), 1);
}
