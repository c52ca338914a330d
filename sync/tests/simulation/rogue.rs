//! What a rogue member does besides what every member does.

use crate::dice::Dice;
use crate::member::Member;
use crate::scene::{deploy_body, log, provider_key, seed, slot};
use std::sync::Arc;
use verge_sync::net::Message;
use verge_sync::record::{Author, Draft, Effect, Envelope, Kind, Record, Slot};

/// The kind of rogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Changes bytes of records, and signs for others.
    Forges,
    /// Says two things at one place, one to each half.
    Equivocates,
    /// Says everything again and again.
    Replays,
    /// Sends rubbish, and kinds that nobody knows.
    Floods,
    /// Gives nothing to anybody.
    Withholds,
    /// Signs nodes for every slot and lets them speak.
    Multiplies,
    /// Passes on what it hears with a wrong signature, before anybody else can.
    Spoils,
    /// Writes as if nothing had happened since it began.
    Backdates,
}

pub(crate) const VICES: [Vice; 8] = [
    Vice::Forges,
    Vice::Equivocates,
    Vice::Replays,
    Vice::Floods,
    Vice::Withholds,
    Vice::Multiplies,
    Vice::Spoils,
    Vice::Backdates,
];

/// What the rogue says now: for each half of its peers.
pub(crate) fn say(rogue: &mut Member, dice: &mut Dice) -> [Vec<u8>; 2] {
    let Some(effect) = rogue.effect() else {
        return [Vec::new(), Vec::new()];
    };
    let records: Vec<Vec<u8>> = rogue
        .exchange
        .as_ref()
        .map(|exchange| {
            let records = exchange.holding().records();
            records.map(|record| record.bytes().to_vec()).collect()
        })
        .unwrap_or_default();
    let both = |message: Message| [message.encode(), message.encode()];
    match rogue.vice {
        Some(Vice::Forges) => both(Message::Records(forged(&records, dice))),
        Some(Vice::Equivocates) => equivocal(rogue, &effect, dice),
        Some(Vice::Replays) => both(Message::Records(some(&records, 300, dice))),
        Some(Vice::Floods) => flood(rogue, dice),
        Some(Vice::Multiplies) => both(Message::Records(sybils(rogue, &effect))),
        Some(Vice::Backdates) => backdated(rogue, &effect, dice),
        Some(Vice::Withholds | Vice::Spoils) | None => [Vec::new(), Vec::new()],
    }
}

fn some(records: &[Vec<u8>], count: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    let small: Vec<&Vec<u8>> = records.iter().filter(|bytes| bytes.len() < 2_048).collect();
    (0..count.min(60_000 / 400))
        .filter_map(|_| dice.pick(&small).map(|bytes| (*bytes).clone()))
        .collect()
}

fn forged(records: &[Vec<u8>], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut forged = some(records, 20, dice);
    for bytes in &mut forged {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
    forged
}

/// Other forms of the same records: the signature spoilt, or the rogue's own.
pub(crate) fn spoilt(rogue: &Member, records: &[Vec<u8>]) -> Message {
    let forms = records.iter().filter_map(|bytes| {
        let mut spoilt = bytes.clone();
        *spoilt.last_mut()? ^= 1;
        let draft = Draft::from_bytes(bytes).ok()?;
        let own = draft.sign(&seed(rogue.number).record_key()).ok()?;
        Some([spoilt, own.bytes().to_vec()])
    });
    Message::Records(forms.flatten().collect())
}

/// Deploys and settings after what stood when it began: of epochs that ended, for accounts that have
/// shut it out.
fn backdated(rogue: &mut Member, effect: &Arc<Effect>, dice: &mut Dice) -> [Vec<u8>; 2] {
    if rogue.stale.is_none() && !effect.sites.is_empty() {
        rogue.stale = Some(Arc::clone(effect));
    }
    let Some(stale) = rogue.stale.clone() else {
        return [Vec::new(), Vec::new()];
    };
    let sites: Vec<_> = stale.sites.values().collect();
    let Some(site) = dice.pick(&sites) else {
        return [Vec::new(), Vec::new()];
    };
    let body = deploy_body(&dice.below(1_000_000).to_string(), site.body.account, 0);
    let records = [
        rogue.node.deploy(&stale, site.id, body),
        rogue.node.site(&stale, site.id, site.body.clone()),
        rogue.provider.new_epoch(&stale, site.id, None),
    ];
    let records = records.into_iter().flatten();
    let said = Message::Records(records.map(|of| of.bytes().to_vec()).collect()).encode();
    [said.clone(), said]
}

/// Two deploys at one place, and a vote for every step.
fn equivocal(rogue: &mut Member, effect: &Effect, dice: &mut Dice) -> [Vec<u8>; 2] {
    for proposal in &effect.chain.proposals {
        let vote = rogue.provider.vote(proposal.step.id).unwrap();
        rogue.write(vote);
    }
    let sites: Vec<_> = effect.sites.values().collect();
    let Some(site) = dice.pick(&sites) else {
        return [Vec::new(), Vec::new()];
    };
    let mut made = |word: &str| {
        let body = deploy_body(word, site.body.account, 0);
        let record = rogue.node.deploy(effect, site.id, body).ok()?;
        Some(Message::Records(vec![record.bytes().to_vec()]).encode())
    };
    let word = format!("{}", dice.below(1_000_000));
    [
        made(&format!("{word}-a")).unwrap_or_default(),
        made(&format!("{word}-b")).unwrap_or_default(),
    ]
}

fn flood(rogue: &mut Member, dice: &mut Dice) -> [Vec<u8>; 2] {
    let mut records = Vec::new();
    for _ in 0..100 {
        let draft = Draft {
            envelope: Envelope {
                region: rogue.effect().unwrap().region,
                kind: Kind(900),
                subject: dice.below(1_000_000).to_be_bytes().to_vec(),
                author: rogue.node.id(),
                log: log(rogue.number),
                n: 1,
                epoch: 0,
                sequence: 1,
                predecessors: Vec::new(),
            },
            body: vec![0xa0],
        };
        let record = draft.sign(&seed(rogue.number).record_key()).unwrap();
        records.push(record.bytes().to_vec());
    }
    let rubbish: Vec<u8> = (0..dice.below(2_000)).map(|n| n.to_le_bytes()[0]).collect();
    [Message::Records(records).encode(), rubbish]
}

/// A node in every slot, each with an account of its own.
fn sybils(rogue: &mut Member, effect: &Effect) -> Vec<Vec<u8>> {
    let mut records: Vec<Record> = Vec::new();
    for number in 1..16_u8 {
        let place = Slot {
            number,
            ..slot(rogue.number)
        };
        if effect.nodes.values().any(|node| node.slot == place) {
            continue;
        }
        let sybil = verge_sync::keys::Seed::from_bytes([rogue.number * 16 + number; 32]);
        let mut body = crate::scene::node_body(rogue.number);
        (body.id, body.record_key) = (
            sybil.node_id(),
            sybil.record_key().verifying_key().to_bytes(),
        );
        let body = body.proven(&effect.region, place, &sybil.transport_key());
        let mut provider = Author::provider(
            &provider_key(rogue.number),
            effect.region,
            (log(rogue.number), 1_000 + u64::from(number)),
        );
        records.extend(provider.node_record(effect, place, body));
    }
    records
        .into_iter()
        .map(|record| Arc::new(record).bytes().to_vec())
        .collect()
}
