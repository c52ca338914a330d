//! A process that ends in the middle of an order: the next one goes on, and orders nothing twice.

use crate::ca::Ca;
use crate::responder::Responder;
use crate::scene::{Issuer, check_chain, names, wish};
use verge_edge::acme::{Challenge, Key, Names, Wish};

async fn scene() -> (Ca, Responder, Issuer) {
    let (ca, responder) = (Ca::start(), Responder::start());
    ca.route("", responder.address());
    // One look too many, so that a crash may come while the server is at work.
    ca.switch(|switches| switches.processing_looks = 1);
    let issuer = Issuer::new(&ca.directory(), &responder).await;
    (ca, responder, issuer)
}

/// How many requests an order takes.
async fn request_count(names: &Names) -> u64 {
    let (ca, _responder, issuer) = scene().await;
    let before = ca.requests().len();
    issuer.get(names).await.unwrap();
    u64::try_from(ca.requests().len() - before).unwrap()
}

/// Whether the server acts on the request whose answer never comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    Before,
    After,
}

async fn stopped_at(names: &Names, request: u64, stop: Stop) {
    let (ca, responder, mut issuer) = scene().await;
    let number = u64::try_from(ca.requests().len()).unwrap() + request;
    ca.switch(|switches| match stop {
        Stop::Before => switches.stall_before = Some(number),
        Stop::After => switches.stall_after = Some(number),
    });
    tokio::select! {
        done = issuer.get(names) => panic!("{request} {stop:?}: not reached: {done:?}"),
        () = ca.stalled(1) => {}
    }
    issuer.restart().await;
    let pending = issuer.intents.pending().unwrap();
    assert_eq!(pending.len(), 1, "{request} {stop:?}");
    assert_eq!(pending[0].names, *names);
    let issued = issuer.get(names).await.unwrap();
    check_chain(&issued, ca.root_pem());
    assert_eq!(ca.certificates().len(), 1, "{request} {stop:?}");
    issuer.settle(names);
    drop(responder);
}

#[tokio::test]
async fn an_order_is_resumed_wherever_it_was_stopped() {
    let names = names("a.example b.example");
    let count = request_count(&names).await;
    assert!(count > 8, "{count}");
    for request in 0..count {
        stopped_at(&names, request, Stop::Before).await;
        stopped_at(&names, request, Stop::After).await;
    }
}

#[tokio::test]
async fn a_certificate_that_was_not_settled_comes_again() {
    let (ca, _responder, mut issuer) = scene().await;
    let names = names("a.example");
    let first = issuer.get(&names).await.unwrap();
    issuer.restart().await;
    let again = issuer.get(&names).await.unwrap();
    assert_eq!(first.chain_pem, again.chain_pem);
    assert_eq!(first.key_pem, again.key_pem);
    issuer.settle(&names);
    let next = issuer.get(&names).await.unwrap();
    assert_ne!(first.chain_pem, next.chain_pem);
    assert_ne!(first.key_pem, next.key_pem);
    assert_eq!(ca.certificates().len(), 2);
}

#[tokio::test]
async fn an_unsettled_certificate_does_not_replace_itself() {
    let (ca, _responder, issuer) = scene().await;
    ca.switch(|switches| switches.advice = Some(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")));
    let names = names("a.example");
    let first = issuer.get(&names).await.unwrap();
    let replaces = first.summary.identifier.as_ref();
    let next = issuer
        .order(&Wish {
            replaces,
            ..wish(&names)
        })
        .await
        .unwrap();
    assert_ne!(first.chain_pem, next.chain_pem);
    assert_eq!(ca.certificates().len(), 2);
}

#[tokio::test]
async fn an_order_that_the_server_forgot_is_begun_anew() {
    let (ca, _responder, mut issuer) = scene().await;
    let names = names("a.example");
    let number = u64::try_from(ca.requests().len()).unwrap() + 3;
    ca.switch(|switches| switches.stall_before = Some(number));
    tokio::select! {
        done = issuer.get(&names) => panic!("not reached: {done:?}"),
        () = ca.stalled(1) => {}
    }
    ca.forget_orders();
    issuer.restart().await;
    issuer.get(&names).await.unwrap();
    assert_eq!(ca.certificates().len(), 1);
    assert_eq!(ca.wishes().len(), 2);
}

#[tokio::test]
async fn texts_of_a_stopped_order_are_taken_away() {
    let (ca, _responder, mut issuer) = scene().await;
    let (zone, names) = (ca.zone(), names("*.a.example a.example"));
    let by_dns = Wish {
        challenge: Challenge::Dns01(&zone),
        ..wish(&names)
    };
    // Nonce, order, two authorizations: the next is the first challenge.
    let number = u64::try_from(ca.requests().len()).unwrap() + 4;
    ca.switch(|switches| switches.stall_before = Some(number));
    tokio::select! {
        done = issuer.order(&by_dns) => panic!("not reached: {done:?}"),
        () = ca.stalled(1) => {}
    }
    assert_eq!(ca.text_count(), 2);
    ca.forget_orders();
    issuer.restart().await;
    let issued = issuer.order(&by_dns).await.unwrap();
    check_chain(&issued, ca.root_pem());
    assert_eq!(ca.text_count(), 0);
}

#[tokio::test]
async fn damaged_intents_are_begun_anew_and_left_out() {
    let (ca, _responder, issuer) = scene().await;
    let names = names("a.example");
    issuer.get(&names).await.unwrap();
    let path = std::fs::read_dir(issuer.folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(issuer.intents.pending().unwrap(), []);
        issuer.get(&names).await.unwrap();
    }
    assert_eq!(ca.certificates().len(), 5);
}

#[tokio::test]
async fn an_intent_is_readable_by_us_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_ca, _responder, issuer) = scene().await;
    issuer.get(&names("a.example")).await.unwrap();
    let path = std::fs::read_dir(issuer.folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn another_key_begins_anew() {
    let (ca, _responder, issuer) = scene().await;
    let names = names("a.example");
    issuer.get(&names).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let of_owner = Wish {
        key: Key::OfRequest(request.as_bytes()),
        ..wish(&names)
    };
    let issued = issuer.order(&of_owner).await.unwrap();
    assert!(issued.key_pem.is_none());
    assert_eq!(
        issued.summary.public_key,
        rcgen::PublicKeyData::subject_public_key_info(&key)
    );
    assert_eq!(ca.certificates().len(), 2);
    let pending = issuer.intents.pending().unwrap();
    assert!(pending[0].is_of_owners_key);
}

#[tokio::test]
async fn the_same_names_are_not_ordered_twice_at_once() {
    let (ca, _responder, issuer) = scene().await;
    let names = names("a.example");
    let (one, two) = tokio::join!(issuer.get(&names), issuer.get(&names));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    let error = one.err().or(two.err()).unwrap();
    assert!(
        error.to_string().contains("being ordered already"),
        "{error}"
    );
    assert_eq!(ca.certificates().len(), 1);
}
