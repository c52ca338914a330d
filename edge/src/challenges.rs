//! What every node answers when an authority asks whether a host is the region's (RFC 8555 section
//! 8.3): http-01 without any state, from the thumbprint in the region's step.
//!
//! Any node answers for any order, since the answer depends on the token and the account's key only.
//! So the account must have ordered what is asked about: it answers only for hosts of the region.

use crate::host::Host;
use arc_swap::ArcSwap;
use std::collections::HashSet;

const FOLDER: &str = "/.well-known/acme-challenge/";
/// Let's Encrypt's have 43 letters; less than 16 would be no 128 bits (RFC 8555 section 8.3).
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// The hosts that are answered for, and the thumbprint; swapped whole.
#[derive(Debug, Default)]
pub struct Challenges(ArcSwap<Answers>);

#[derive(Debug, Default)]
struct Answers {
    thumbprint: Option<String>,
    hosts: HashSet<Host>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something else than a challenge is asked for, or of another host.
    NotAsked,
    /// Nothing that could be a token, or there is no account.
    Nothing,
    /// The key authorization.
    Authorization(String),
}

impl Challenges {
    /// Answers for `hosts` with `thumbprint` from now on.
    pub fn replace(&self, thumbprint: Option<String>, hosts: HashSet<Host>) {
        self.0.store(Answers { thumbprint, hosts }.into());
    }

    /// What `host` answers at `path`, as it was asked for.
    #[must_use]
    pub fn answer(&self, host: &Host, path: &str) -> Answer {
        let Some(token) = path.strip_prefix(FOLDER) else {
            return Answer::NotAsked;
        };
        let answers = self.0.load();
        if !answers.hosts.contains(host) {
            return Answer::NotAsked;
        }
        match &answers.thumbprint {
            Some(thumbprint) if is_token(token) => {
                Answer::Authorization(format!("{token}.{thumbprint}"))
            }
            _ => Answer::Nothing,
        }
    }
}

fn is_token(token: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    TOKEN_BYTES.contains(&token.len()) && token.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Answer {
        let challenges = Challenges::default();
        let hosts = HashSet::from(["a.example".parse().unwrap()]);
        challenges.replace(Some("thumb".to_owned()), hosts);
        challenges.answer(&"a.example".parse().unwrap(), path)
    }

    #[test]
    fn a_token_is_answered_with_the_thumbprint() {
        for token in ["a".repeat(16), "Az09-_".repeat(4), "x".repeat(128)] {
            let answer = Answer::Authorization(format!("{token}.thumb"));
            assert_eq!(asked(&format!("{FOLDER}{token}")), answer);
        }
    }

    #[test]
    fn what_is_no_token_has_no_answer() {
        let good = "a".repeat(16);
        let mut hostile: Vec<String> = [
            "", "/", ".", "..", "../..", "%2e%2e", "<script>", "a b", "\u{e4}", "a.b", "a/b", "%00",
        ]
        .map(str::to_owned)
        .into();
        // Every letter that base64url does not have, in a token that is right otherwise.
        let letters = (0x21_u8..0x7f).map(char::from);
        let others = letters.filter(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c));
        hostile.extend(others.map(|c| format!("{good}{c}")));
        hostile.extend([
            "a".repeat(15),
            "a".repeat(129),
            format!("{good}/"),
            format!("{good}/x"),
            format!("/{good}"),
            format!("{good}.thumb"),
            format!("{good}\r\nX: y"),
            format!("{good}\0"),
        ]);
        assert!(hostile.len() >= 50);
        for token in hostile {
            assert_eq!(
                asked(&format!("{FOLDER}{token}")),
                Answer::Nothing,
                "{token:?}"
            );
        }
    }

    #[test]
    fn others_and_other_paths_are_not_asked() {
        let token = "a".repeat(16);
        assert_eq!(
            asked(&format!("/.well-known/acme-challengex/{token}")),
            Answer::NotAsked
        );
        assert_eq!(asked("/"), Answer::NotAsked);
        let challenges = Challenges::default();
        challenges.replace(None, HashSet::from(["a.example".parse().unwrap()]));
        let path = format!("{FOLDER}{token}");
        let ask = |host: &str| challenges.answer(&host.parse().unwrap(), &path);
        assert_eq!(ask("b.example"), Answer::NotAsked);
        // A region without an account.
        assert_eq!(ask("a.example"), Answer::Nothing);
    }
}
