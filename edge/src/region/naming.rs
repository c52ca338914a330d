//! How names stand, in the words of people: what a publisher is told after a push, and a steward in
//! lists. A name that is settled and in effect needs no words.

use crate::host::Host;
use crate::hosts::Proof;
use std::collections::BTreeSet;
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, ProviderId, SiteId};
use verge_sync::record::Effect;
use verge_sync::record::body::NameKind;
use verge_sync::record::effect::{NameEffect, NameStatus, PROVING_PROVIDERS, SiteEffect};

/// What is to be known of the names of a site, a sentence each; labels first.
#[must_use]
pub fn sentences(effect: &Effect, site: SiteId) -> Vec<String> {
    let mut lines = Vec::new();
    for claim in claims_of(effect, site.digest()) {
        lines.extend(sentence(effect, claim));
        if is_unproved(claim) {
            let proof = Proof::of(effect, claim);
            lines.extend(proof.into_iter().flat_map(|proof| proof.instructions()));
        }
    }
    lines
}

/// Those of `hosts` that the site claims and that wait for their DNS proof.
#[must_use]
pub fn unproved<'e>(effect: &'e Effect, site: SiteId, hosts: &[String]) -> Vec<&'e NameEffect> {
    claims_on(effect, site, hosts)
        .filter(|claim| is_unproved(claim))
        .collect()
}

/// Those of `hosts` that are the site's and whose DNS proof nodes have seen.
#[must_use]
pub fn proved<'e>(effect: &'e Effect, site: SiteId, hosts: &[String]) -> Vec<&'e NameEffect> {
    let stands =
        |claim: &&NameEffect| matches!(claim.status, NameStatus::Settled | NameStatus::Provisional);
    claims_on(effect, site, hosts)
        .filter(stands)
        .filter(|claim| claim.kind == NameKind::Host && !claim.voters.is_empty())
        .collect()
}

fn claims_on<'e>(
    effect: &'e Effect,
    site: SiteId,
    hosts: &[String],
) -> impl Iterator<Item = &'e NameEffect> {
    let named = move |claim: &&NameEffect| {
        let mut hosts = hosts.iter().filter_map(|host| Host::parse(host).ok());
        hosts.any(|host| claim.host.as_deref() == Some(host.as_str()))
    };
    effect.names_of(site.digest()).filter(named)
}

fn is_unproved(claim: &NameEffect) -> bool {
    matches!(claim.status, NameStatus::Unproved | NameStatus::Suspended)
}

/// How the names of an account or a site stand, in a word or two each; `settled` where all do.
#[must_use]
pub fn standing(effect: &Effect, id: Digest) -> String {
    let claims = claims_of(effect, id);
    let words: Vec<String> = claims.into_iter().filter_map(word).collect();
    if words.is_empty() {
        "settled".to_owned()
    } else {
        words.join(", ")
    }
}

fn claims_of(effect: &Effect, id: Digest) -> Vec<&NameEffect> {
    let mut claims: Vec<&NameEffect> = effect.names_of(id).collect();
    claims.sort_by_key(|claim| (claim.kind, &claim.name));
    claims
}

fn word(claim: &NameEffect) -> Option<String> {
    let name = shown(claim);
    Some(match &claim.status {
        NameStatus::Settled => return None,
        NameStatus::Provisional if claim.kind == NameKind::Host => format!("{name} provisional"),
        NameStatus::Provisional => "provisional".to_owned(),
        NameStatus::Renamed { claimed } => format!("instead of {claimed}"),
        NameStatus::Lost => format!("{name} lost"),
        NameStatus::Unproved => format!("{name} not proved"),
        NameStatus::Suspended => format!("{name} suspended"),
        NameStatus::Refused => format!("{name} refused"),
    })
}

fn sentence(effect: &Effect, claim: &NameEffect) -> Option<String> {
    let name = shown(claim);
    Some(match &claim.status {
        NameStatus::Settled => return None,
        NameStatus::Provisional => format!(
            "the name {name} works and is provisional: {}",
            countersigned(effect, claim)
        ),
        NameStatus::Renamed { claimed } => format!(
            "the name {claimed} went to another site: this site is called {name} now and keeps everything; tell its readers the new address"
        ),
        NameStatus::Lost => {
            format!("the host {name} went to another site: give it up with --remove-host {name}")
        }
        NameStatus::Unproved => format!(
            "the host {name} is not served yet: nodes of {} must see its DNS record, of {} have",
            proving_providers(effect),
            providers(effect, claim).len()
        ),
        NameStatus::Suspended => format!(
            "the host {name} is not served any more: nodes of {} no longer see its DNS record",
            proving_providers(effect)
        ),
        NameStatus::Refused => format!(
            "the name {name} is refused: it is reserved, not well-formed, inside the region's zones, or names a site of another account"
        ),
    })
}

/// Those whose nodes voted for the claim.
fn providers(effect: &Effect, claim: &NameEffect) -> BTreeSet<ProviderId> {
    let provider = |node| effect.nodes.get(node).map(|node| node.slot.provider);
    claim.voters.iter().filter_map(provider).collect()
}

fn countersigned(effect: &Effect, claim: &NameEffect) -> String {
    let needed = effect.chain.current().body.majority();
    let (count, word) = (providers(effect, claim).len(), plural(needed));
    format!("{count} of the {needed} {word} that it takes have countersigned it")
}

fn proving_providers(effect: &Effect) -> String {
    let count = effect.chain.current().body.providers.len();
    let count = count.min(PROVING_PROVIDERS);
    format!("{count} {}", plural(count))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "provider" } else { "providers" }
}

/// The name as people write it: a label without its zone.
fn shown(claim: &NameEffect) -> &str {
    match (claim.kind, claim.name.split_once('.')) {
        (NameKind::Label, Some((label, _zone))) => label,
        _ => &claim.name,
    }
}

/// The site that somebody with one of `accounts` means by `name`: their own that holds it, else their
/// own that lost it to another, so that a remote in a work tree stays right.
#[must_use]
pub fn site_meant<'e>(
    effect: &'e Effect,
    accounts: &[AccountId],
    name: &str,
) -> Option<&'e SiteEffect> {
    let holder = effect.site_by_label(name);
    if let Some(site) = holder.filter(|site| accounts.contains(&site.body.account)) {
        return Some(site);
    }
    let lost = |claim: &&NameEffect| {
        let renamed = matches!(&claim.status, NameStatus::Renamed { claimed } if claimed == name);
        renamed && claim.kind == NameKind::Label && accounts.contains(&claim.account)
    };
    let claim = effect.names.iter().find(lost)?;
    effect.site(&SiteId::from_digest(claim.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::{HostProof, Vote};

    #[test]
    fn a_settled_name_needs_no_words() {
        let mut scene = Scene::new(1, HostProof::None);
        let (account, site) = scene.site(0);
        let claim = scene.claim(0, (account, site), NameKind::Label, "cafe");
        let said = sentences(&scene.effect(), site);
        let expected = "the name cafe works and is provisional: 0 of the 1 provider that it takes have countersigned it";
        assert_eq!(said, [expected]);
        assert_eq!(standing(&scene.effect(), site.digest()), "provisional");
        scene.say(0, claim, Vote::For);
        assert!(sentences(&scene.effect(), site).is_empty());
        assert_eq!(standing(&scene.effect(), site.digest()), "settled");
    }

    #[test]
    fn who_lost_a_name_is_told_the_new_one_and_is_still_found() {
        let mut scene = Scene::new(2, HostProof::None);
        let mut sides = [0, 1].map(|number| {
            let (account, site) = scene.site(number);
            let claim = scene.claim(number, (account, site), NameKind::Label, "cafe");
            (claim, account, site)
        });
        sides.sort_unstable();
        let [(_, winner, first), (_, loser, second)] = sides;
        let effect = scene.effect();
        let now = format!("cafe-{}", &second.to_string()[..4]);
        let said = sentences(&effect, second);
        assert!(
            said[0].contains(&format!("this site is called {now} now")),
            "{said:?}"
        );
        assert_eq!(standing(&effect, second.digest()), "instead of cafe");
        let meant = |accounts: &[_], name: &str| site_meant(&effect, accounts, name).map(|s| s.id);
        assert_eq!(meant(&[winner], "cafe"), Some(first));
        assert_eq!(meant(&[loser], "cafe"), Some(second));
        assert_eq!(meant(&[loser], &now), Some(second));
        assert_eq!(meant(&[winner, loser], "cafe"), Some(first));
        assert_eq!(meant(&[winner], &now), None);
        assert_eq!(meant(&[], "cafe"), None);
        assert_eq!(meant(&[loser], "bakery"), None);
    }

    #[test]
    fn hosts_say_how_they_stand() {
        let mut scene = Scene::new(2, HostProof::Dns);
        let site = scene.site(0);
        let claim = scene.claim(0, site, NameKind::Host, "cafe.example");
        scene.claim(0, site, NameKind::Host, "sites.example");
        let said = |scene: &Scene| standing(&scene.effect(), site.1.digest());
        let rows = [
            (
                0,
                Vote::For,
                "cafe.example not proved, sites.example refused",
            ),
            (1, Vote::For, "sites.example refused"),
            (
                0,
                Vote::Withdrawn,
                "cafe.example provisional, sites.example refused",
            ),
            (
                1,
                Vote::Withdrawn,
                "cafe.example suspended, sites.example refused",
            ),
        ];
        for (node, vote, expected) in rows {
            scene.say(node, claim, vote);
            assert_eq!(said(&scene), expected);
        }
        let sentences = sentences(&scene.effect(), site.1);
        assert!(
            sentences[0].contains("nodes of 2 providers no longer see"),
            "{sentences:?}"
        );
    }
}
