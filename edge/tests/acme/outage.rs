//! A server that is down, slow, busy, or somebody else: the order waits, and one certificate comes.

use crate::ca::Ca;
use crate::responder::Responder;
use crate::scene::{Issuer, check_chain, names, patience, wish};
use std::time::Duration;
use verge_edge::acme::{AcmeError, BeforeValidation, Patience, Presented, Reaction, Ready, Wish};

async fn scene(request_ms: u64) -> (Ca, Responder, Issuer) {
    let (ca, responder) = (Ca::start(), Responder::start());
    ca.route("", responder.address());
    let issuer = Issuer::new(&ca.impatient_directory(request_ms), &responder).await;
    (ca, responder, issuer)
}

/// Turns a switch when the order is half done.
struct Then<F>(F);

impl<F: Fn() + Send + Sync> BeforeValidation for Then<F> {
    fn ready<'a>(&'a self, _presented: &'a [Presented]) -> Ready<'a> {
        (self.0)();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Breaks the server in the middle of an order, mends it, and orders again.
async fn broken_and_mended(
    request_ms: u64,
    break_it: impl Fn(&Ca) + Send + Sync,
    check: impl Fn(&AcmeError),
) {
    let (ca, _responder, mut issuer) = scene(request_ms).await;
    let names = names("a.example");
    let before = Then(|| break_it(&ca));
    let error = issuer
        .order(&Wish {
            before: &before,
            ..wish(&names)
        })
        .await
        .unwrap_err();
    check(&error);
    assert_eq!(issuer.intents.pending().unwrap().len(), 1, "{error}");
    let while_broken = issuer.account.connect().await;
    if let Err(error) = while_broken {
        check(&error);
    }
    ca.switch(|switches| {
        *switches = Default::default();
    });
    issuer.restart().await;
    let issued = issuer.get(&names).await.unwrap();
    check_chain(&issued, ca.root_pem());
    assert_eq!(ca.certificates().len(), 1);
    assert_eq!(ca.wishes().len(), 1);
}

fn retry(after_s: Option<u64>) -> Reaction {
    Reaction::Retry {
        after: after_s.map(Duration::from_secs),
    }
}

#[tokio::test]
async fn a_server_that_is_down() {
    let break_it = |ca: &Ca| ca.switch(|switches| switches.is_down = true);
    broken_and_mended(60_000, break_it, |error| {
        assert!(matches!(error, AcmeError::Unreachable { .. }), "{error}");
        assert_eq!(error.reaction(), retry(None));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_answers_pages() {
    for status in [200, 403, 502] {
        let break_it = |ca: &Ca| ca.switch(|switches| switches.html = Some(status));
        broken_and_mended(60_000, break_it, |error| {
            assert!(matches!(error, AcmeError::NotAcme { .. }), "{error}");
            assert!(
                error.to_string().contains("Welcome to the hotel"),
                "{error}"
            );
            assert_eq!(error.reaction(), retry(None));
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_is_busy_says_when_to_come_back() {
    let rows = [
        (429, Some("60"), Some(60)),
        (503, Some("3600"), Some(3600)),
        (503, Some("999999999"), Some(604_800)),
        (429, None, None),
        (503, Some("soon"), None),
    ];
    for (status, retry_after, expected_s) in rows {
        let busy = Some((status, retry_after.map(str::to_owned)));
        let break_it = |ca: &Ca| ca.switch(|switches| switches.busy = busy.clone());
        broken_and_mended(60_000, break_it, |error| {
            assert_eq!(error.reaction(), retry(expected_s), "{error}");
            assert!(error.to_string().contains("come back later"), "{error}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_is_slow_is_given_up() {
    let stall = |ca: &Ca| {
        let number = u64::try_from(ca.requests().len()).unwrap();
        ca.switch(|switches| switches.stall_before = Some(number));
    };
    broken_and_mended(300, stall, |error| {
        assert!(matches!(error, AcmeError::TimedOut { .. }), "{error}");
        assert_eq!(error.reaction(), retry(None));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_finish_is_left_alone() {
    let (ca, _responder, issuer) = scene(60_000).await;
    ca.switch(|switches| switches.processing_looks = u32::MAX);
    let names = names("a.example");
    let short = Duration::from_millis(300);
    let limits = [
        Patience {
            signing: short,
            ..patience()
        },
        Patience {
            order: short,
            ..patience()
        },
    ];
    for patience in limits {
        let error = issuer
            .order(&Wish {
                patience,
                ..wish(&names)
            })
            .await
            .unwrap_err();
        assert!(matches!(error, AcmeError::Unfinished { .. }), "{error}");
    }
    assert_eq!(issuer.intents.pending().unwrap().len(), 1);
    assert_eq!(ca.certificates().len(), 1);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (ca, _responder, issuer) = scene(60_000).await;
    ca.switch(|switches| switches.is_endless = true);
    let error = issuer.account.connect().await.unwrap_err();
    assert!(
        matches!(
            error,
            AcmeError::TooLong {
                bytes_max: 262_144,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn short_lives_are_as_good_as_long_ones() {
    let (ca, _responder, issuer) = scene(60_000).await;
    ca.switch(|switches| switches.life_s = 60);
    let issued = issuer.get(&names("a.example")).await.unwrap();
    assert_eq!(issued.summary.life.length(), Duration::from_mins(1));
}
