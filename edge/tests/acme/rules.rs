//! What servers say besides yes: each switch of the test server.

use crate::ca::{Ca, Profiles};
use crate::responder::Responder;
use crate::scene::{Issuer, check_chain, names, wish};
use std::time::Duration;
use verge_edge::acme::{
    Account, AcmeError, BeforeValidation, Challenge, Directory, Key, NewKey, Presented, Reaction,
    Ready, Wish, renewal_info, revoke,
};
use verge_sync::clock::UnixTime;

const WINDOW: (&str, &str) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");

async fn scene() -> (Ca, Responder, Issuer) {
    let (ca, responder) = (Ca::start(), Responder::start());
    ca.route("", responder.address());
    let issuer = Issuer::new(&ca.directory(), &responder).await;
    (ca, responder, issuer)
}

#[tokio::test]
async fn the_profile_is_named_unless_the_server_does_not_have_it() {
    let rows = [
        (Profiles::Ignored, vec![Some("classic")]),
        (
            Profiles::Listed(vec!["classic", "shortlived"]),
            vec![Some("classic")],
        ),
        (Profiles::Listed(vec!["shortlived"]), vec![None]),
        (Profiles::Refused, vec![Some("classic"), None]),
    ];
    for (profiles, expected) in rows {
        let (ca, _responder, mut issuer) = scene().await;
        ca.switch(|switches| switches.profiles = profiles.clone());
        issuer.restart().await;
        issuer.get(&names("a.example")).await.unwrap();
        let sent = ca.wishes();
        let sent: Vec<_> = sent.iter().map(|wish| wish["profile"].as_str()).collect();
        assert_eq!(sent, expected, "{profiles:?}");
    }
}

#[tokio::test]
async fn a_renewal_says_what_it_replaces_unless_that_is_refused() {
    let (ca, _responder, mut issuer) = scene().await;
    let names = names("a.example");
    let first = issuer.get(&names).await.unwrap();
    issuer.settle(&names);
    let replaces = first.summary.identifier.as_ref();
    let renewal = Wish {
        replaces,
        ..wish(&names)
    };
    // A server without RFC 9773 is not told.
    let plain = issuer.order(&renewal).await.unwrap();
    issuer.settle(&names);
    ca.switch(|switches| switches.advice = Some(WINDOW));
    issuer.restart().await;
    let renewed = issuer.order(&renewal).await.unwrap();
    issuer.settle(&names);
    // A second successor of the same one: alreadyReplaced, then without, if that may be.
    let uncounted = Wish {
        may_count: false,
        ..renewal
    };
    let refused = issuer.order(&uncounted).await.unwrap_err();
    assert!(matches!(refused, AcmeError::Replaced(_)), "{refused}");
    let again = issuer.order(&renewal).await.unwrap();
    issuer.settle(&names);
    let told = |issued: &verge_edge::acme::Issued| issued.was_replacement;
    assert_eq!(
        [told(&first), told(&plain), told(&renewed), told(&again)],
        [false, false, true, false]
    );
    let text = replaces.unwrap().as_str();
    let sent = ca.wishes();
    let sent: Vec<_> = sent.iter().map(|wish| wish["replaces"].as_str()).collect();
    assert_eq!(sent, [None, None, Some(text), Some(text), Some(text), None]);
    assert_eq!(ca.certificates().len(), 4);
}

#[tokio::test]
async fn a_server_that_reads_and_forgets_what_is_replaced_still_issues() {
    let (ca, _responder, mut issuer) = scene().await;
    let names = names("a.example");
    let first = issuer.get(&names).await.unwrap();
    issuer.settle(&names);
    ca.switch(|switches| {
        switches.advice = Some(WINDOW);
        switches.forgets_replaces = true;
    });
    issuer.restart().await;
    let replaces = first.summary.identifier.as_ref();
    let renewed = issuer
        .order(&Wish {
            replaces,
            ..wish(&names)
        })
        .await
        .unwrap();
    assert!(!renewed.was_replacement);
    assert_eq!(ca.certificates().len(), 2);
}

#[tokio::test]
async fn renewal_advice_is_read() {
    let (ca, _responder, mut issuer) = scene().await;
    let first = issuer.get(&names("a.example")).await.unwrap();
    let certificate = first.summary.identifier.unwrap();
    assert_eq!(
        renewal_info(&issuer.session, &certificate).await.unwrap(),
        None
    );
    let rows = [
        (Some("21600"), 21_600),
        (None, 21_600),
        (Some("1"), 600),
        (Some("9999999"), 86_400),
    ];
    for (retry_after, expected_s) in rows {
        ca.switch(|switches| {
            switches.advice = Some(WINDOW);
            switches.advice_retry_after = retry_after;
        });
        issuer.restart().await;
        let advice = renewal_info(&issuer.session, &certificate)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(advice.window.start, UnixTime(1_767_225_600));
        assert_eq!(advice.window.end, UnixTime(1_767_312_000));
        assert_eq!(advice.ask_again_after, Duration::from_secs(expected_s));
    }
}

#[tokio::test]
async fn certificates_are_revoked_as_superseded_once() {
    let (ca, _responder, issuer) = scene().await;
    let issued = issuer.get(&names("a.example")).await.unwrap();
    for _again in 0..2 {
        revoke(&issuer.session, &issued.chain_pem).await.unwrap();
    }
    assert_eq!(ca.certificates()[0].revoked, Some(4));
    let others = revoke(&issuer.session, ca.root_pem()).await.unwrap_err();
    assert!(matches!(others, AcmeError::Problem(_)), "{others}");
}

#[tokio::test]
async fn a_refusal_is_a_sentence_for_the_right_one() {
    let retry = Reaction::Retry { after: None };
    let rows = [
        ("rejectedIdentifier", 400, Reaction::Refuse, 0),
        ("caa", 403, Reaction::Refuse, 0),
        ("accountDoesNotExist", 400, Reaction::Stop, 1),
        ("serverInternal", 500, retry, 1),
    ];
    for (kind, status, reaction, pending_count) in rows {
        let (ca, _responder, issuer) = scene().await;
        let problem = crate::ca::problem(status, kind, "in the words of the CA");
        ca.switch(|switches| switches.refuses_orders = Some(problem));
        let error = issuer.get(&names("a.example")).await.unwrap_err();
        assert_eq!(error.reaction(), reaction, "{kind}");
        assert!(
            error.to_string().contains("in the words of the CA"),
            "{error}"
        );
        assert_eq!(
            issuer.intents.pending().unwrap().len(),
            pending_count,
            "{kind}"
        );
        assert_eq!(ca.wishes().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn names_without_our_answer_are_told_one_by_one() {
    let (ca, responder, issuer) = scene().await;
    let stranger = Responder::start();
    stranger.answer_for("another-account");
    ca.route("b.example", stranger.address());
    let error = issuer.get(&names("a.example b.example")).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Refuse);
    let failed: Vec<_> = error
        .failures()
        .iter()
        .map(|failure| failure.name.as_str())
        .collect();
    assert_eq!(failed, ["b.example"]);
    assert!(
        error
            .to_string()
            .contains("b.example: another answer (unauthorized)"),
        "{error}"
    );
    // The order is dead: the next one is new.
    assert_eq!(issuer.intents.pending().unwrap(), []);
    ca.route("b.example", responder.address());
    issuer.get(&names("a.example b.example")).await.unwrap();
    assert_eq!(ca.wishes().len(), 2);
    assert_eq!(ca.certificates().len(), 1);
}

/// Says no to the first, and remembers what it was shown.
struct Look(std::sync::Mutex<Vec<Presented>>);

impl BeforeValidation for Look {
    fn ready<'a>(&'a self, presented: &'a [Presented]) -> Ready<'a> {
        let mut seen = self.0.lock().unwrap();
        let answer = if seen.is_empty() {
            Err("a node is behind".to_owned())
        } else {
            Ok(())
        };
        seen.extend_from_slice(presented);
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test]
async fn the_callers_own_look_comes_before_the_servers() {
    let (ca, responder, issuer) = scene().await;
    let (names, look) = (
        names("a.example b.example"),
        Look(std::sync::Mutex::default()),
    );
    let wish = Wish {
        before: &look,
        ..wish(&names)
    };
    let error = issuer.order(&wish).await.unwrap_err();
    assert!(
        matches!(&error, AcmeError::NotReady(why) if why == "a node is behind"),
        "{error}"
    );
    assert_eq!(responder.asked(), Vec::<String>::new());
    issuer.order(&wish).await.unwrap();
    assert_eq!(responder.asked(), ["a.example", "b.example"]);
    // The same order, resumed.
    assert_eq!(ca.wishes().len(), 1);
    let seen = look.0.lock().unwrap();
    assert_eq!(seen.len(), 4);
    for one in &*seen {
        assert_eq!(
            one.answer,
            format!("{}.{}", one.token, issuer.account.thumbprint())
        );
    }
}

#[tokio::test]
async fn a_wildcard_is_proved_in_dns() {
    let (ca, responder, issuer) = scene().await;
    let (zone, names) = (ca.zone(), names("*.a.example a.example"));
    let error = issuer.get(&names).await.unwrap_err();
    assert!(matches!(error, AcmeError::WildcardNeedsZone(_)), "{error}");
    let issued = issuer
        .order(&Wish {
            challenge: Challenge::Dns01(&zone),
            ..wish(&names)
        })
        .await;
    check_chain(&issued.unwrap(), ca.root_pem());
    assert_eq!(ca.text_count(), 0);
    assert_eq!(responder.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_way_of_proof_that_is_not_offered_is_named() {
    let (ca, _responder, issuer) = scene().await;
    ca.switch(|switches| switches.offers_dns_only = true);
    let error = issuer.get(&names("a.example")).await.unwrap_err();
    assert_eq!(error.to_string(), "the CA offers no http-01 for a.example");
    assert_eq!(error.reaction(), Reaction::Refuse);
}

#[tokio::test]
async fn a_certificate_of_something_else_is_not_taken() {
    let (ca, _responder, issuer) = scene().await;
    ca.switch(|switches| switches.signs_wrongly = true);
    let error = issuer.get(&names("a.example")).await.unwrap_err();
    assert!(matches!(error, AcmeError::WrongCertificate(_)), "{error}");
    assert_eq!(issuer.intents.pending().unwrap(), []);
}

#[tokio::test]
async fn an_owners_request_must_be_for_the_names() {
    let (ca, _responder, issuer) = scene().await;
    let names = names("a.example");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = |name: &str| {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    };
    let (other, address) = (request("b.example"), request("127.0.0.1"));
    let long = vec![b'x'; (64 << 10) + 1];
    for bytes in [b"".as_slice(), b"nonsense", &other, &address, &long] {
        let error = issuer
            .order(&Wish {
                key: Key::OfRequest(bytes),
                ..wish(&names)
            })
            .await;
        assert!(matches!(error.unwrap_err(), AcmeError::Request(_)));
    }
    assert_eq!(ca.wishes().len(), 0);
    let right = request("a.example");
    let issued = issuer
        .order(&Wish {
            key: Key::OfRequest(&right),
            ..wish(&names)
        })
        .await
        .unwrap();
    check_chain(&issued, ca.root_pem());
}

#[tokio::test]
async fn a_key_is_replaced_by_one_that_was_known_before() {
    let (ca, responder, mut issuer) = scene().await;
    let new = NewKey::generate().unwrap();
    assert_ne!(new.thumbprint(), issuer.account.thumbprint());
    let stored = NewKey::from_secret(&new.to_secret()).unwrap();
    let account = issuer.session.roll_over(&stored).await.unwrap();
    assert_eq!(account.thumbprint(), new.thumbprint());
    assert_eq!(account.url(), issuer.account.url());
    // After a crash in between, the same again.
    let again = issuer.session.roll_over(&stored).await.unwrap();
    assert_eq!(again.thumbprint(), new.thumbprint());
    // The old key is none any more.
    let refused = issuer.get(&names("a.example")).await.unwrap_err();
    assert_eq!(refused.reaction(), Reaction::Stop, "{refused}");
    let other = NewKey::generate().unwrap();
    assert!(issuer.session.roll_over(&other).await.is_err());
    issuer.account = account;
    responder.answer_for(issuer.account.thumbprint());
    issuer.restart().await;
    issuer.get(&names("a.example")).await.unwrap();
    assert_eq!(ca.certificates().len(), 1);
}

#[tokio::test]
async fn rejected_nonces_are_lived_through() {
    let (ca, responder) = (Ca::start(), Responder::start());
    ca.route("", responder.address());
    ca.switch(|switches| switches.nonce_rejects_in_ten = 9);
    let issuer = Issuer::new(&ca.directory(), &responder).await;
    let issued = issuer.get(&names("a.example b.example")).await.unwrap();
    let new = NewKey::generate().unwrap();
    issuer.session.roll_over(&new).await.unwrap();
    check_chain(&issued, ca.root_pem());
    assert_eq!(ca.certificates().len(), 1);
    ca.switch(|switches| switches.nonce_rejects_in_ten = 10);
    let error = issuer.get(&names("c.example")).await.unwrap_err();
    assert!(matches!(error, AcmeError::Nonces(_)), "{error}");
    assert_eq!(error.reaction(), Reaction::Retry { after: None });
}

#[tokio::test]
async fn what_a_directory_lacks_is_the_stewards() {
    let ca = Ca::start();
    let nobody = Directory::new("https://127.0.0.1:1/directory", None);
    let unreachable = Account::create(&nobody.unwrap(), &[], None)
        .await
        .unwrap_err();
    assert!(
        matches!(unreachable, AcmeError::Unreachable { .. }),
        "{unreachable}"
    );
    let stranger = Directory::new(&ca.url(), None).unwrap();
    let untrusted = Account::create(&stranger, &[], None).await.unwrap_err();
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");
    let elsewhere = ca.url().replace("/directory", "/nonce");
    let other = Directory::new(&elsewhere, Some(ca.root_pem().to_owned())).unwrap();
    let error = Account::create(&other, &[], None).await.unwrap_err();
    assert!(matches!(error, AcmeError::Directory { .. }), "{error}");
    assert_eq!(error.reaction(), Reaction::Stop);
    let meta = ca.directory().meta().await.unwrap();
    assert_eq!(meta.caa_identities, ["ca.test"]);
    assert!(meta.terms_url.unwrap().ends_with("/terms"));
}
