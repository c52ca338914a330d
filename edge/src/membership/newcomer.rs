//! The newcomer's side of the door: from a ticket to a data directory of a member.
//!
//! The ticket is written first, then keys, so that an interrupted attempt goes on with the same keys; records next, the configuration last. A node that has lost its data comes back the
//! same way, by the seed that was kept: it is a member already, and is let in for that.

use super::ticket::Ticket;
use super::words::six_words;
use crate::config;
use crate::found::{FoundError, check_empty, check_name, random};
use crate::node_keys::{KeyError, NodeKeys, PROVIDER_KEY_FILE, SEED_FILE, read_key};
use crate::region::{META_LOG, META_NEWCOMER, META_NODE_N, META_PIN, META_PROVIDER_N, META_REGION};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verge_sync::id::{NodeId, ProviderId};
use verge_sync::keys::ProviderKey;
use verge_sync::net::{Answer, Ask, Door, JoinError, Newcomer, Petition, row};
use verge_sync::record::body::{ADDRESSES_MAX, Node, Zones};
use verge_sync::record::{
    Author, Effect, LogId, Parameters, Record, RecordError, Slot, WriteError, effect,
};
use verge_sync::store::{Batch, LocalDisk, MetaValue, Store, StoreError, write_file_durably};

/// The ticket of an attempt that is not finished, inside the data directory.
const TICKET_FILE: &str = "joining";
/// What stands behind the ticket of a node that comes back.
const BACK: &str = " again";
/// A member that cannot be reached is asked again so often.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(3);

/// What a newcomer decides.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The data directory.
    pub data: PathBuf,
    /// The ticket.
    pub ticket: Ticket,
    /// The provider's name; none for a further node of one.
    pub provider: Option<String>,
    /// How the provider can be reached.
    pub contact: String,
    /// The node's name.
    pub node: String,
    /// Where the node listens for others.
    pub listen: Vec<SocketAddr>,
    /// Where they find it; empty for the addresses of its interfaces.
    pub public: Vec<String>,
    /// Keys that were kept of a node or a provider that comes back.
    pub kept: KeptKeys,
}

/// Files that were kept of a data directory that is lost.
#[derive(Debug, Clone, Default)]
pub struct KeptKeys {
    /// A copy of the node's seed.
    pub seed: Option<PathBuf>,
    /// A copy of the provider's key.
    pub provider_key: Option<PathBuf>,
}

/// What a newcomer has become.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The region's name.
    pub region: String,
    /// The node.
    pub node: NodeId,
    /// The provider.
    pub provider: ProviderId,
    /// Where the provider's key lies, if it is a new one.
    pub provider_key: Option<PathBuf>,
}

/// Why nobody has joined; what is on the disk can be used for another attempt.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    /// The directory, a name, the disk.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys of an earlier attempt.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The port.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A ticket for a new provider, and no name for it, or the other way round.
    #[error("{0}")]
    Name(&'static str),
    /// The member said no.
    #[error("the region said no: {0}")]
    Refused(String),
    /// What the member sent is not what the ticket promises.
    #[error(
        "the records that came do not lead to the step of the ticket: ask for a new ticket, of another member"
    )]
    NotTheRegion,
    /// The node record could not be made.
    #[error("the node's record")]
    Record(#[from] WriteError),
    /// The configuration.
    #[error("{0}")]
    Config(String),
}

impl From<RecordError> for JoinFailure {
    fn from(_error: RecordError) -> Self {
        Self::NotTheRegion
    }
}

/// Asks to join until it is decided, and makes the data directory; `tell` gets sentences meanwhile,
/// `config` makes the text of `config.toml` once the zones are known.
///
/// # Errors
/// [`JoinFailure`].
pub async fn join(
    joining: &Joining,
    mut tell: impl FnMut(&str),
    config: impl FnOnce(&Zones) -> anyhow::Result<String>,
) -> Result<Joined, JoinFailure> {
    let ticket = &joining.ticket;
    check_name("the node's name", &joining.node)?;
    let attempt = keys(joining)?;
    let (own, slot) = attempt.place(ticket)?;
    let keys = &attempt.keys;
    if own.is_some() {
        let words = six_words(&ticket.region, &slot.provider);
        tell(&format!(
            "the six words of your key, to read out to the others: {words}"
        ));
    }
    let door = Newcomer::bind(&keys.seed, &joining.listen).await?;
    let body = node_body(joining, keys, &door, slot).await;
    let ask = Ask {
        secret: ticket.secret,
        node: body.clone(),
        slot,
        petition: own.map(|key| {
            let name = joining.provider.clone().unwrap_or_default();
            let words = (name, joining.contact.clone());
            Petition::new(key, &ticket.region, &keys.node(), words)
        }),
    };
    let (newcomer, records) = until_admitted(&door, ticket, &ask, &mut tell).await?;
    let log = LogId(random()?);
    let arrival = Arrival::new(ticket, &records, (own, slot), body, log)?;
    let slot = arrival.slot;
    let zones = arrival.effect.chain.current().body.zones.clone();
    let text = config(&zones).map_err(|error| JoinFailure::Config(format!("{error:#}")))?;
    let own_records: Vec<Vec<u8>> = arrival.own.iter().map(|r| r.bytes().to_vec()).collect();
    newcomer.hand_over(&own_records).await?;
    let region = store(joining, ticket, arrival, log).await?;
    write_file_durably(
        &joining.data.join(config::FILE_NAME),
        text.as_bytes(),
        0o644,
    )?;
    forget_ticket(&joining.data)?;
    Ok(Joined {
        region,
        node: keys.node(),
        provider: slot.provider,
        provider_key: own
            .filter(|_| joining.kept.provider_key.is_none())
            .map(|_| joining.data.join(PROVIDER_KEY_FILE)),
    })
}

/// A ticket for a new provider needs a name for it; others have one.
fn check(joining: &Joining, comes_back: bool) -> Result<(), JoinFailure> {
    let is_known = comes_back || joining.kept.provider_key.is_some();
    match (&joining.provider, &joining.ticket.slot) {
        (Some(_), _) if is_known => Err(JoinFailure::Name(
            "who comes back has its name already: leave --provider out",
        )),
        (Some(name), None) => Ok(check_name("the provider's name", name)?),
        (None, Some(_)) => Ok(()),
        (None, None) if is_known => Ok(()),
        (None, None) => Err(JoinFailure::Name(
            "the ticket is for a new provider: name it with --provider",
        )),
        (Some(_), Some(_)) => Err(JoinFailure::Name(
            "the ticket is for a further node of a provider: leave --provider out",
        )),
    }
}

/// The keys of an attempt.
struct Attempt {
    keys: NodeKeys,
    /// The seed is that of a node which was a member before.
    comes_back: bool,
}

impl Attempt {
    /// The place that is asked for, and the key that asks for its provider.
    fn place(&self, ticket: &Ticket) -> Result<(Option<&ProviderKey>, Slot), JoinFailure> {
        if self.comes_back {
            // It stands in the records that are to come.
            let provider = ProviderId::from_bytes([0; 32]);
            return Ok((
                None,
                Slot {
                    provider,
                    number: 0,
                },
            ));
        }
        if let Some(slot) = ticket.slot {
            return Ok((None, slot));
        }
        let gone = JoinFailure::Name("the provider's key is gone: empty the directory");
        let key = self.keys.provider.as_ref().ok_or(gone)?;
        let provider = key.provider();
        Ok((
            Some(key),
            Slot {
                provider,
                number: 0,
            },
        ))
    }
}

/// The keys of this attempt, or of an earlier one with the same ticket, or kept ones.
fn keys(joining: &Joining) -> Result<Attempt, JoinFailure> {
    let data = &joining.data;
    let file = data.join(TICKET_FILE);
    let line = joining.ticket.to_string();
    let begun = std::fs::read_to_string(&file).unwrap_or_default();
    let is_done = data.join(config::FILE_NAME).exists();
    let comes_back =
        !is_done && (joining.kept.seed.is_some() || begun.ends_with(BACK) || holds_only_keys(data));
    check(joining, comes_back)?;
    let is_begun = begun == line || begun.ends_with(BACK) || holds_only_keys(data);
    if is_done || !is_begun {
        check_empty(data)?;
        let made = |source| FoundError::Folder {
            path: data.clone(),
            source,
        };
        std::fs::create_dir_all(data).map_err(made)?;
    }
    let line = if comes_back { line + BACK } else { line };
    write_file_durably(&file, line.as_bytes(), 0o600)?;
    put_key(&data.join(SEED_FILE), joining.kept.seed.as_deref())?;
    let kept = joining.kept.provider_key.as_deref();
    if kept.is_some() || joining.provider.is_some() {
        put_key(&data.join(PROVIDER_KEY_FILE), kept)?;
    }
    Ok(Attempt {
        keys: NodeKeys::read(data)?,
        comes_back,
    })
}

/// A kept key, or a new one, unless one is there.
fn put_key(path: &Path, kept: Option<&Path>) -> Result<(), JoinFailure> {
    if path.exists() {
        return Ok(());
    }
    let key: [u8; 32] = match kept {
        Some(kept) => read_key(kept)?,
        None => random()?,
    };
    Ok(write_file_durably(path, &key, 0o600)?)
}

/// Whether all that is left of a data directory is its keys.
fn holds_only_keys(data: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(data) else {
        return false;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.iter().any(|name| name == SEED_FILE)
        && names
            .iter()
            .all(|name| name == SEED_FILE || name == PROVIDER_KEY_FILE)
}

fn forget_ticket(data: &Path) -> Result<(), JoinFailure> {
    let path = data.join(TICKET_FILE);
    std::fs::remove_file(&path).map_err(|source| FoundError::Folder { path, source }.into())
}

async fn node_body(joining: &Joining, keys: &NodeKeys, door: &Door, slot: Slot) -> Node {
    let addresses = if joining.public.is_empty() {
        let found = door.reachable().await;
        found
            .iter()
            .map(ToString::to_string)
            .take(ADDRESSES_MAX)
            .collect()
    } else {
        joining.public.clone()
    };
    let seed = &keys.seed;
    let body = Node {
        id: seed.node_id(),
        record_key: seed.record_key().verifying_key().to_bytes(),
        sealing_key: *seed.sealing_key().public(),
        addresses,
        name: joining.node.clone(),
        proof: [0; 64],
        is_withdrawn: false,
        visitors: Vec::new(),
    };
    body.proven(&joining.ticket.region, slot, &seed.transport_key())
}

/// Asks, and asks again where nobody answers, until the region has decided.
async fn until_admitted(
    door: &Door,
    ticket: &Ticket,
    ask: &Ask,
    tell: &mut impl FnMut(&str),
) -> Result<(Newcomer, Vec<Vec<u8>>), JoinFailure> {
    let mut last = String::new();
    let mut say = |text: String| {
        if text != last {
            tell(&text);
            last = text;
        }
    };
    loop {
        match door.ask(ticket.node, &ticket.addresses, ask).await {
            Ok(mut newcomer) => loop {
                match newcomer.answer().await {
                    Ok(Answer::Waiting(text)) => say(text),
                    Ok(Answer::Admitted(records)) => return Ok((newcomer, records)),
                    Ok(Answer::Refused(why)) => {
                        newcomer.leave().await;
                        return Err(JoinFailure::Refused(why));
                    }
                    Err(error) => {
                        say(format!("{error}; asking again"));
                        break;
                    }
                }
            },
            Err(error) => say(format!("{error}; trying again until it answers")),
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// What a newcomer brings home.
struct Arrival {
    records: Vec<Arc<Record>>,
    own: Vec<Arc<Record>>,
    effect: Effect,
    provider_n: u64,
    slot: Slot,
}

impl Arrival {
    /// Judges what came by the ticket, and adds the newcomer's own node record.
    fn new(
        ticket: &Ticket,
        bytes: &[Vec<u8>],
        (key, slot): (Option<&ProviderKey>, Slot),
        body: Node,
        log: LogId,
    ) -> Result<Self, JoinFailure> {
        let mut records = Vec::new();
        for bytes in bytes {
            let record = Record::parse(bytes)?;
            record.verify().map_err(|_bad| JoinFailure::NotTheRegion)?;
            records.push(Arc::new(record));
        }
        let parameters = Parameters {
            pin: Some(ticket.pin),
            ..Parameters::new(ticket.region, Arc::default())
        };
        let holds = |records: &[Arc<Record>]| {
            let effect = effect(records, &parameters);
            let effect = effect.filter(|effect| effect.chain.reaches_pin);
            effect.ok_or(JoinFailure::NotTheRegion)
        };
        let mut holding = holds(&records)?;
        let (mut own, mut provider_n) = (Vec::new(), 0);
        let is_listed = holding.chain.lists(&slot.provider);
        let is_member = |effect: &Effect| effect.nodes.get(&body.id).is_some_and(|n| n.is_member);
        if let Some(key) = key.filter(|_| is_listed && !is_member(&holding)) {
            let mut author = Author::provider(key, ticket.region, (log, 0));
            let record = Arc::new(author.node_record(&holding, slot, body.clone())?);
            provider_n = author.last_n();
            own.push(Arc::clone(&record));
            records.push(record);
            holding = holds(&records)?;
        }
        let place = holding.nodes.get(&body.id).filter(|node| node.is_member);
        let slot = place.ok_or(JoinFailure::NotTheRegion)?.slot;
        Ok(Self {
            slot,
            records,
            own,
            effect: holding,
            provider_n,
        })
    }
}

/// Writes the records; gives the region's name.
async fn store(
    joining: &Joining,
    ticket: &Ticket,
    arrival: Arrival,
    log: LogId,
) -> Result<String, JoinFailure> {
    let store = Store::open(&joining.data, Arc::new(LocalDisk))?;
    let pin = [
        &ticket.pin.number.to_be_bytes(),
        ticket.pin.id.as_bytes().as_slice(),
    ]
    .concat();
    let bytes = |key: &str, value: &[u8]| (key.to_owned(), MetaValue::Bytes(value.to_vec()));
    let number = |key: &str, value| (key.to_owned(), MetaValue::Number(value));
    // The meta values come with the last rows: a directory with a region holds its whole chain.
    let rows: Vec<_> = arrival.records.iter().map(|record| row(record)).collect();
    for part in rows.chunks(ROWS_PER_WRITE) {
        store.records().put(part.to_vec())?.await?;
    }
    let meta = vec![
        bytes(META_REGION, ticket.region.as_bytes()),
        bytes(META_LOG, &log.0),
        bytes(META_PIN, &pin),
        number(META_NODE_N, 0),
        number(META_PROVIDER_N, arrival.provider_n),
        number(META_NEWCOMER, 1),
    ];
    let batch = Batch {
        meta,
        ..Batch::default()
    };
    store.records().write(batch)?.await?;
    Ok(arrival.effect.chain.current().body.name.clone())
}

/// 64 KiB each at most, 4 MiB together.
const ROWS_PER_WRITE: usize = 60;
