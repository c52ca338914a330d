//! Dynamic update of the region's zone (RFC 2136), and waiting until servers answer with it.

use super::addresses::HostAddresses;
use super::exchange;
use super::key::{KeyError, UpdateKey};
use super::refusal::Refusal;
use crate::config;
use crate::error_chain::chain;
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use verge_sync::clock::Clock;

/// How long a text may be remembered: a CA asks once, and the next text may come soon.
const TEXT_TTL_S: u32 = 60;
/// How long a host's addresses may be remembered: a node that is gone is asked for no longer.
const ADDRESS_TTL_S: u32 = 300;
/// Of one part of a text (RFC 1035 section 3.3.14).
const TEXT_PART_BYTES_MAX: usize = 255;
/// The longest text; those of ACME have 43 letters.
const TEXT_BYTES_MAX: usize = 1024;
/// How long the other servers of the zone may take to get a change from the first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether they have it: doubled from the first to the last.
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Changes one zone at one server.
#[derive(Debug, Clone)]
pub struct DnsUpdate {
    server: SocketAddr,
    zone: Name,
    key: UpdateKey,
    /// Who has to answer with a change before it counts.
    answers_from: Vec<SocketAddr>,
    patience: Duration,
    clock: Clock,
}

/// Why a zone was not changed, or not seen to be.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A name that is none, or not in the zone: nobody was asked.
    #[error("{name} does not lie in the DNS zone {zone}")]
    Name {
        /// The name.
        name: String,
        /// The zone.
        zone: String,
    },
    /// A text that is too long: nobody was asked.
    #[error("the text for {0} has more than 1024 letters")]
    TextLength(String),
    /// The server cannot be talked to.
    #[error("the DNS server {server} cannot be asked: {why}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The server said no.
    #[error("the DNS server {server} did not change {name}: {refusal}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// The name that was to change.
        name: String,
        /// What it said.
        refusal: Refusal,
    },
    /// Whoever answered does not have the key, or the answer is no answer.
    #[error("what came from {server} is not the answer of a server that has our key: {why}")]
    Unverified {
        /// The server.
        server: SocketAddr,
        /// What is wrong with it.
        why: String,
    },
    /// The change was made, but a server does not show it.
    #[error("the DNS server {server} does not answer with the new records of {name}: {why}")]
    NotSeen {
        /// The server.
        server: SocketAddr,
        /// The name that changed.
        name: String,
        /// What it answered last.
        why: String,
    },
    /// An error of ours.
    #[error("write a DNS message")]
    Message(#[from] ProtoError),
}

impl UpdateError {
    /// Whether something has to be set right before another try can succeed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => !refusal.may_pass(),
            Self::Name { .. } | Self::TextLength(_) | Self::Unverified { .. } => true,
            Self::Unreachable { .. } | Self::NotSeen { .. } | Self::Message(_) => false,
        }
    }
}

impl DnsUpdate {
    /// What `[dns_update]` says; its key's file is taken from `data`, unless its path is absolute.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(config: &config::DnsUpdate, data: &Path, clock: Clock) -> Result<Self, KeyError> {
        let key = UpdateKey::read(&config.key_name, &data.join(&config.key_file))?;
        let zone = absolute(&config.zone).ok_or_else(|| KeyError::Name(config.zone.clone()))?;
        let answers_from = if config.answers_from.is_empty() {
            vec![config.server]
        } else {
            config.answers_from.clone()
        };
        Ok(Self {
            server: config.server,
            zone,
            key,
            answers_from,
            patience: PATIENCE,
            clock,
        })
    }

    /// The same, waiting for so long until servers show a change.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Adds a text to those of `name`; the others stay. When this returns, every server that was
    /// named answers with it.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn set_txt(&self, name: &str, value: &str) -> Result<(), UpdateError> {
        let (at, text) = (self.name(name)?, text(name, value)?);
        let mut message = self.update();
        let data = RData::TXT(text.clone());
        message.add_authority(Record::from_rdata(at.clone(), TEXT_TTL_S, data));
        self.send(message, name).await?;
        let whole = text.txt_data.concat();
        let is_it = |record: &Record| match &record.data {
            RData::TXT(found) => found.txt_data.concat() == whole,
            _ => false,
        };
        let is_there = |records: &[Record]| records.iter().any(is_it);
        self.wait(&at, RecordType::TXT, is_there).await
    }

    /// Takes one text of `name` away; that it is not there is no error.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn remove_txt(&self, name: &str, value: &str) -> Result<(), UpdateError> {
        let (at, text) = (self.name(name)?, text(name, value)?);
        let mut record = Record::from_rdata(at, 0, RData::TXT(text));
        // RFC 2136 section 2.5.4: this record of the set, and no other.
        record.dns_class = DNSClass::NONE;
        let mut message = self.update();
        message.add_authority(record);
        self.send(message, name).await
    }

    /// Puts `addresses` in the place of those that `host` has; its other records stay. When this
    /// returns, every server that was named answers with them.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn set_address(
        &self,
        host: &str,
        addresses: &HostAddresses,
    ) -> Result<(), UpdateError> {
        let at = self.name(host)?;
        let ipv4 = addresses.ipv4.iter().map(|address| RData::A(A(*address)));
        let ipv6 = addresses.ipv6.iter();
        let ipv6 = ipv6.map(|address| RData::AAAA(AAAA(*address)));
        let kinds: [(RecordType, Vec<RData>); 2] = [
            (RecordType::A, ipv4.collect()),
            (RecordType::AAAA, ipv6.collect()),
        ];
        let mut message = self.update();
        for (kind, data) in &kinds {
            // What is in one message happens at once.
            message.add_authority(none_of(&at, *kind));
            for data in data {
                let record = Record::from_rdata(at.clone(), ADDRESS_TTL_S, data.clone());
                message.add_authority(record);
            }
        }
        self.send(message, host).await?;
        for (kind, data) in &kinds {
            let is_one = |record: &Record| data.contains(&record.data);
            let is_there =
                |records: &[Record]| records.len() == data.len() && records.iter().all(is_one);
            self.wait(&at, *kind, is_there).await?;
        }
        Ok(())
    }

    /// Takes all addresses of `host` away; its other records stay. Nothing is waited for, since a
    /// wildcard may answer for it from now on.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn remove_address(&self, host: &str) -> Result<(), UpdateError> {
        let at = self.name(host)?;
        let mut message = self.update();
        for kind in [RecordType::A, RecordType::AAAA] {
            message.add_authority(none_of(&at, kind));
        }
        self.send(message, host).await
    }

    /// Whether `name` lies in the zone.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.name(name).is_ok()
    }

    /// Asks for no change: whether the server is there, has the zone, and knows the key.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub async fn check(&self) -> Result<(), UpdateError> {
        self.send(self.update(), &without_dot(&self.zone)).await
    }

    fn name(&self, name: &str) -> Result<Name, UpdateError> {
        let found = absolute(name).filter(|found| self.zone.zone_of(found));
        found.ok_or_else(|| UpdateError::Name {
            name: name.to_owned(),
            zone: without_dot(&self.zone),
        })
    }

    /// An update of the zone that changes nothing yet.
    fn update(&self) -> Message {
        let mut zone = Query::new();
        zone.set_name(self.zone.clone());
        zone.set_query_class(DNSClass::IN);
        zone.set_query_type(RecordType::SOA);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_query(zone);
        message
    }

    async fn send(&self, mut message: Message, name: &str) -> Result<(), UpdateError> {
        let unverified = |why: String| UpdateError::Unverified {
            server: self.server,
            why,
        };
        let now = u64::try_from(self.clock.now().0).unwrap_or(0);
        let verifier = message.finalize(self.key.signer(), now)?;
        let answered = exchange::ask(self.server, &message.to_vec()?).await;
        let answered = answered.map_err(|error| unreachable(self.server, &error))?;
        let refusal = read_answer(&answered, message.metadata.id).map_err(unverified)?;
        if let Some(refusal) = refusal {
            return Err(UpdateError::Refused {
                server: self.server,
                name: name.to_owned(),
                refusal,
            });
        }
        let mut verifier = verifier.ok_or_else(|| unverified("it is not signed".to_owned()))?;
        let verified = verifier.verify(&answered);
        verified.map_err(|error| unverified(error.to_string()))?;
        Ok(())
    }

    /// Until all servers answer as they should.
    async fn wait(
        &self,
        name: &Name,
        kind: RecordType,
        is_there: impl Fn(&[Record]) -> bool,
    ) -> Result<(), UpdateError> {
        let begun = tokio::time::Instant::now();
        for server in &self.answers_from {
            let [mut pause, longest] = BETWEEN_LOOKS;
            loop {
                let why = match look(*server, name, kind).await {
                    Ok(records) if is_there(&records) => break,
                    Ok(_) => "it still has the old ones".to_owned(),
                    Err(why) => why,
                };
                if begun.elapsed() + pause > self.patience {
                    return Err(UpdateError::NotSeen {
                        server: *server,
                        name: without_dot(name),
                        why,
                    });
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
        Ok(())
    }
}

/// What the answer to message `id` says before its signature is checked: a no, or that it is a yes
/// which can be checked.
pub(super) fn read_answer(bytes: &[u8], id: u16) -> Result<Option<Refusal>, String> {
    let answer = Message::from_vec(bytes).map_err(|error| error.to_string())?;
    let metadata = &answer.metadata;
    if metadata.id != id || metadata.message_type != MessageType::Response {
        return Err("it answers another question".to_owned());
    }
    // A no is believed from anybody: it changes nothing, and some are not signed (BADKEY).
    if let Some(refusal) = Refusal::read(&answer) {
        return Ok(Some(refusal));
    }
    let signature = answer.signature().map(|record| &record.data);
    // The library subtracts one from the other.
    if signature.is_none_or(|tsig| tsig.time < u64::from(tsig.fudge)) {
        return Err("it is not signed".to_owned());
    }
    Ok(None)
}

/// The records of one kind that a server of the zone has for a name.
async fn look(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Vec<Record>, String> {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    let question = message.to_vec().map_err(|error| error.to_string())?;
    let answered = exchange::ask(server, &question).await;
    let answered = answered.map_err(|error| chain(&error))?;
    let answer = Message::from_vec(&answered).map_err(|error| error.to_string())?;
    if answer.metadata.id != message.metadata.id {
        return Err("it answers another question".to_owned());
    }
    if !answer.metadata.authoritative {
        let code = answer.metadata.response_code;
        return Err(format!("it does not answer for the zone ({code})"));
    }
    let records = answer.answers.into_iter();
    let own = records.filter(|record| record.name == *name && record.record_type() == kind);
    Ok(own.collect())
}

fn text(name: &str, value: &str) -> Result<TXT, UpdateError> {
    if value.len() > TEXT_BYTES_MAX {
        return Err(UpdateError::TextLength(name.to_owned()));
    }
    let parts = value.as_bytes().chunks(TEXT_PART_BYTES_MAX);
    Ok(TXT::from_bytes(parts.collect()))
}

/// Written with a dot at its end or without.
/// Deletes the whole set (RFC 2136 section 2.5.2).
fn none_of(name: &Name, kind: RecordType) -> Record {
    let mut gone = Record::update0(name.clone(), 0, kind).into_record_of_rdata();
    gone.dns_class = DNSClass::ANY;
    gone
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

fn without_dot(name: &Name) -> String {
    let name = name.to_ascii();
    name.strip_suffix('.').map_or(name.clone(), str::to_owned)
}

fn unreachable(server: SocketAddr, error: &std::io::Error) -> UpdateError {
    UpdateError::Unreachable {
        server,
        why: chain(error),
    }
}
