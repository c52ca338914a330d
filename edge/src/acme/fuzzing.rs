//! What comes from an ACME server, from DNS and from our own files, as a fuzz target.

use super::account;
use super::budget::Budget;
use super::caa::{self, Asker};
use super::certificate::{Predecessor, Summary};
use super::directory::Meta;
use super::error::Problem;
use super::intent::Intent;
use super::names::Names;
use crate::hosts::Caa;
use std::time::Duration;

/// All of them on the same bytes: each refuses those of the others.
pub(crate) fn acme(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _meta = Meta::parse("https://ca.example/", bytes);
    let _advice = account::read_advice(bytes, Duration::ZERO);
    if let Ok(problem) = serde_json::from_slice(bytes) {
        let shown = Problem::of(&problem).to_string();
        assert!(shown.len() < 4 << 10 && !shown.contains('\n'));
    }
    if let Ok(summary) = Summary::of_chain(&text) {
        let again = Names::new(summary.names.iter());
        assert_eq!(again.ok().as_ref(), Some(&summary.names));
    }
    if let Some(one) = Predecessor::from_text(&text) {
        assert_eq!(one.to_library().to_string(), one.as_str());
    }
    if let Ok(names) = Names::new(text.split(' ')) {
        assert_eq!(Names::new(names.iter()), Ok(names));
    }
    if let Ok(budget) = Budget::from_bytes(bytes, 2) {
        assert_eq!(Budget::from_bytes(&budget.to_bytes(), 2), Ok(budget));
    }
    if let Some(intent) = Intent::from_bytes(bytes) {
        let _pending = intent.pending();
        assert!(Intent::from_bytes(&intent.to_bytes()).is_some());
    }
    judge(&text);
}

/// A CAA value never allows us when its issuer is somebody else.
fn judge(value: &str) {
    let record = Caa {
        is_critical: false,
        tag: "issue".to_owned(),
        value: value.to_owned(),
    };
    let identities = ["ca.example".to_owned()];
    let asker = Asker {
        identities: &identities,
        account_url: "https://ca.example/1",
        method: "http-01",
        is_wildcard: false,
    };
    let issuer = value.split(';').next().unwrap_or_default().trim();
    if caa::judge(&[record], &asker).is_ok() {
        assert!(issuer.eq_ignore_ascii_case("ca.example"));
    }
}
