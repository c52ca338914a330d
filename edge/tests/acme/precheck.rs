//! What DNS says before an attempt, asked of a real server.

use crate::pebble::{Pebble, Setup};
use crate::scene::names;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use verge_edge::acme::precheck::{Expected, Method, check};
use verge_edge::hosts::DnsResolver;

async fn look(pebble: &Pebble, name: &str) -> Vec<String> {
    let resolver = DnsResolver::new(vec![pebble.dns_address()]);
    let ours: BTreeSet<IpAddr> = ["127.0.0.1", "::1"]
        .map(|text| text.parse().unwrap())
        .into();
    let expected = Expected {
        addresses: &ours,
        identities: &["ca.example".to_owned()],
        account_url: "https://ca.example/account/1",
        method: Method::Http01,
    };
    let obstacles = check(&resolver, &names(name), &expected).await;
    obstacles.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_answers_of_dns_are_judged() {
    let dns = Pebble::start(&Setup::default());
    assert_eq!(look(&dns, "a.example").await, Vec::<String>::new());
    dns.tell_dns(
        "add-aaaa",
        &json!({"host": "a.example.", "addresses": ["::1"]}),
    );
    assert_eq!(look(&dns, "a.example").await, Vec::<String>::new());
    dns.tell_dns(
        "add-aaaa",
        &json!({"host": "b.example.", "addresses": ["2001:db8::7"]}),
    );
    let wrong = look(&dns, "b.example").await;
    assert!(
        wrong[0].contains("the AAAA record 2001:db8::7"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn caa_is_found_at_the_name_above_it_and_behind_an_alias() {
    let dns = Pebble::start(&Setup::default());
    let set = |host: &str, value: &str| {
        let policies = json!([{"tag": "issue", "value": value}]);
        dns.tell_dns("add-caa", &json!({"host": host, "policies": policies}));
    };
    set("garden.example.", "other.example");
    let forbidden = look(&dns, "a.b.garden.example").await;
    assert!(
        forbidden[0].contains("records of garden.example do not allow"),
        "{forbidden:?}"
    );
    let line = "a.b.garden.example. CAA 0 issue \"ca.example; \
                accounturi=https://ca.example/account/1; validationmethods=http-01\"";
    assert!(forbidden[0].ends_with(line), "{forbidden:?}");
    set(
        "a.b.garden.example.",
        "ca.example; accounturi=https://ca.example/account/1",
    );
    assert_eq!(look(&dns, "a.b.garden.example").await, Vec::<String>::new());
    set("target.test.", "ca.example; validationmethods=dns-01");
    dns.tell_dns(
        "set-cname",
        &json!({"host": "www.garden.example.", "target": "target.test."}),
    );
    let of_target = look(&dns, "www.garden.example").await;
    assert!(
        of_target[0].contains("do not allow our way of proof"),
        "{of_target:?}"
    );
}

#[tokio::test]
async fn a_server_that_fails_says_nothing() {
    let dns = Pebble::start(&Setup::default());
    dns.tell_dns("set-servfail", &json!({"host": "a.example."}));
    let silent = look(&dns, "a.example").await;
    assert!(
        silent[0].starts_with("DNS gave no answer about a.example"),
        "{silent:?}"
    );
}
