//! What proves that a site may have a host: a CNAME record that leads to the site's own label, or a
//! text that names the site (`docs/format.md#host-proof`).
//!
//! The site's id is in no other region and nobody else's: only its own account can claim a name for
//! it, so whoever copies the text proves nothing for a site of theirs.

use super::resolver::{Resolver, Unanswered};
use verge_sync::id::SiteId;
use verge_sync::record::Effect;
use verge_sync::record::effect::NameEffect;

/// In front of the host whose text is looked at.
pub const CHALLENGE_LABEL: &str = "_verge-challenge";
/// The longest DNS name in text form.
const NAME_BYTES_MAX: usize = 253;

/// What has to be found in DNS for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The host.
    pub host: String,
    /// Where its CNAME record may lead: the site's labels, with their zone.
    pub targets: Vec<String>,
    /// The text that names the site.
    pub text: String,
}

/// What DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The proof is there.
    Proved,
    /// DNS answered, and the proof is not there.
    NotThere,
    /// DNS did not answer: this counts neither for the host nor against it.
    Unanswered(Unanswered),
}

impl Proof {
    /// What proves the host of `claim`; `None` where its site has ended.
    #[must_use]
    pub fn of(effect: &Effect, claim: &NameEffect) -> Option<Self> {
        let site = effect.site(&SiteId::from_digest(claim.id))?;
        let zone = &effect.chain.current().body.zones.site_zone;
        let in_zone = |host: &&str| {
            host.strip_suffix(zone.as_str())
                .is_some_and(|label| label.ends_with('.'))
        };
        let hosts = effect.hosts_of(&site.id);
        Some(Self {
            host: claim.host.clone()?,
            targets: hosts
                .into_iter()
                .filter(in_zone)
                .map(str::to_owned)
                .collect(),
            text: text(site.id),
        })
    }

    /// The name whose text is looked at, unless it would be too long for DNS.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        let name = format!("{CHALLENGE_LABEL}.{}", self.host);
        (name.len() <= NAME_BYTES_MAX).then_some(name)
    }

    /// What a publisher has to do, a line each.
    #[must_use]
    pub fn instructions(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(target) = self.targets.first() {
            lines.push(format!("  {}. CNAME {target}.", self.host));
        }
        if let Some(challenge) = self.challenge() {
            let either = if lines.is_empty() { "" } else { "or, " };
            lines.push(format!(
                "{either}for a domain without a subdomain, or before you move the host here:"
            ));
            lines.push(format!("  {challenge}. TXT \"{}\"", self.text));
        }
        lines.insert(0, format!("make this DNS record for {}:", self.host));
        lines
    }

    /// Looks for the proof, both ways at once.
    pub async fn look(&self, resolver: &dyn Resolver) -> Verdict {
        let texts = async {
            match self.challenge() {
                Some(challenge) => resolver.texts(&challenge).await,
                None => Ok(Vec::new()),
            }
        };
        let (aliases, texts) = tokio::join!(resolver.aliases(&self.host), texts);
        let is_led_home = aliases.as_ref().is_ok_and(|found| self.is_led_home(found));
        if is_led_home || texts.as_ref().is_ok_and(|found| self.is_named(found)) {
            return Verdict::Proved;
        }
        match aliases.and(texts) {
            Ok(_) => Verdict::NotThere,
            Err(unanswered) => Verdict::Unanswered(unanswered),
        }
    }

    fn is_led_home(&self, aliases: &[String]) -> bool {
        let own = |alias: &String| {
            let mut targets = self.targets.iter();
            targets.any(|target| alias.eq_ignore_ascii_case(target))
        };
        aliases.iter().any(own)
    }

    fn is_named(&self, texts: &[String]) -> bool {
        texts
            .iter()
            .any(|text| text.trim().eq_ignore_ascii_case(&self.text))
    }
}

/// The text that names a site.
#[must_use]
pub fn text(site: SiteId) -> String {
    format!("verge-site={site}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::resolver::{Answer, Caa};
    use std::net::IpAddr;

    /// What DNS says of the host, and of the name in front of it; `None` is no answer.
    struct Says(Option<&'static str>, Option<&'static str>);

    impl Says {
        fn answer<'a>(said: Option<&'static str>, name: &'a str) -> Answer<'a> {
            let split = |all: &str| {
                all.split('|')
                    .filter(|one| !one.is_empty())
                    .map(str::to_owned)
                    .collect()
            };
            let answer = said.map(split).ok_or_else(|| Unanswered {
                name: name.to_owned(),
                why: "the server failed".to_owned(),
            });
            Box::pin(std::future::ready(answer))
        }
    }

    impl Resolver for Says {
        fn aliases<'a>(&'a self, name: &'a str) -> Answer<'a> {
            assert_eq!(name, "www.example.org");
            Self::answer(self.0, name)
        }

        fn texts<'a>(&'a self, name: &'a str) -> Answer<'a> {
            assert_eq!(name, "_verge-challenge.www.example.org");
            Self::answer(self.1, name)
        }

        fn addresses<'a>(&'a self, _name: &'a str) -> Answer<'a, IpAddr> {
            unreachable!("a proof is no address")
        }

        fn caa<'a>(&'a self, _name: &'a str) -> Answer<'a, Caa> {
            unreachable!("a proof is no CAA record")
        }
    }

    fn proof() -> Proof {
        Proof {
            host: "www.example.org".to_owned(),
            targets: vec![
                "garden.sites.example".to_owned(),
                "g.sites.example".to_owned(),
            ],
            text: "verge-site=0123abcd".to_owned(),
        }
    }

    #[tokio::test]
    async fn answers_are_judged() {
        const PROVED: &str = "proved";
        const NOT_THERE: &str = "not there";
        const UNANSWERED: &str = "unanswered";
        let rows = [
            (Some("garden.sites.example"), Some(""), PROVED),
            (Some("Garden.Sites.Example"), Some(""), PROVED),
            (Some("g.sites.example"), None, PROVED),
            (Some("other.sites.example"), Some(""), NOT_THERE),
            (
                Some("garden.sites.example.evil.example"),
                Some(""),
                NOT_THERE,
            ),
            (Some("sites.example"), Some(""), NOT_THERE),
            (Some(""), Some("verge-site=0123abcd"), PROVED),
            (Some(""), Some("v=spf1 -all|VERGE-SITE=0123ABCD "), PROVED),
            (None, Some("verge-site=0123abcd"), PROVED),
            (Some("other.example"), Some("verge-site=0123abcd"), PROVED),
            (Some(""), Some("verge-site=0123abc"), NOT_THERE),
            (Some(""), Some("verge-site=0123abcd1"), NOT_THERE),
            (Some(""), Some("x verge-site=0123abcd"), NOT_THERE),
            (Some(""), Some(""), NOT_THERE),
            (None, Some(""), UNANSWERED),
            (Some(""), None, UNANSWERED),
            (Some("other.example"), None, UNANSWERED),
            (None, None, UNANSWERED),
        ];
        for (aliases, texts, expected) in rows {
            let verdict = proof().look(&Says(aliases, texts)).await;
            let found = match verdict {
                Verdict::Proved => PROVED,
                Verdict::NotThere => NOT_THERE,
                Verdict::Unanswered(_) => UNANSWERED,
            };
            assert_eq!(found, expected, "{aliases:?} {texts:?}");
        }
    }

    #[test]
    fn instructions_say_both_ways_as_far_as_they_are_open() {
        let long = format!("{}example.org", "abcdefgh.".repeat(27));
        let lines = |proof: &Proof| proof.instructions().join("\n");
        let both = lines(&proof());
        assert!(
            both.contains("  www.example.org. CNAME garden.sites.example."),
            "{both}"
        );
        let text = "  _verge-challenge.www.example.org. TXT \"verge-site=0123abcd\"";
        assert!(both.contains(text), "{both}");
        let nameless = Proof {
            targets: Vec::new(),
            ..proof()
        };
        let said = lines(&nameless);
        assert!(!said.contains("CNAME") && said.contains(text), "{said}");
        let long = Proof {
            host: long,
            ..proof()
        };
        let said = lines(&long);
        assert!(said.contains("CNAME") && !said.contains("TXT"), "{said}");
    }

    #[test]
    fn what_proves_a_host_comes_from_what_holds() {
        use crate::region::scene::{SITE_ZONE, Scene};
        use verge_sync::record::body::{HostProof, NameKind, Tombstone};
        let mut scene = Scene::new(1, HostProof::Dns);
        let (account, site) = scene.site(0);
        scene.claim(0, (account, site), NameKind::Label, "garden");
        scene.claim(0, (account, site), NameKind::Host, "www.example.org");
        let proof = |scene: &Scene| {
            let effect = scene.effect();
            let host = |claim: &&NameEffect| claim.kind == NameKind::Host;
            Proof::of(&effect, effect.names.iter().find(host).unwrap())
        };
        let expected = Proof {
            host: "www.example.org".to_owned(),
            targets: vec![format!("garden.{SITE_ZONE}")],
            text: format!("verge-site={site}"),
        };
        assert_eq!(proof(&scene), Some(expected));
        let reason = String::new();
        let end = scene.providers[0].tombstone(site.digest(), Tombstone { reason });
        scene.add(end.unwrap());
        assert_eq!(proof(&scene), None);
    }
}
