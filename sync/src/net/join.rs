//! A newcomer at the door, and the member that it asks (`docs/format.md#joining`).
//!
//! One connection on an ALPN of its own, one stream: the newcomer says who it is and shows the
//! secret of its ticket, the member answers that it has to wait, then with the records of the chain,
//! and takes the newcomer's own node record last. Who may come in is decided by whoever takes the
//! [`Caller`]; nothing is believed of a newcomer here but the key of its connection.

use super::endpoint::{Close, Endpoint, EndpointError, JOIN_ALPN, close, node_id};
use super::message::Message;
use super::stream::{self, StreamError};
use crate::digest::Digest;
use crate::id::{NodeId, ProviderId, RegionId};
use crate::keys::{ProviderKey, Seed, sign};
use crate::record::body::{Body, Node, TEXT_BYTES_MAX};
use crate::record::cbor::{self, FieldError, Fields, Map};
use crate::record::kinds::{Kind, SLOT_COUNT, Slot};
use crate::record::signature::verify_raw;
use crate::record::{Record, RecordError};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use std::net::SocketAddr;

/// An ask is a node's body and a few words.
const ASK_BYTES_MAX: usize = 4_096;
const VERSION: u8 = 1;
/// Records that a newcomer is given before it is a member: the chain of a region that is a century
/// old.
const CHAIN_RECORDS_MAX: usize = 65_536;
/// Bytes of records in one message.
const MESSAGE_RECORDS_BYTES: usize = 120 << 10;

/// What a newcomer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The secret of the ticket.
    pub secret: [u8; 16],
    /// The node that is to be a member, proven for `slot`.
    pub node: Node,
    /// The provider, and the place there.
    pub slot: Slot,
    /// The provider, where it is new itself.
    pub petition: Option<Petition>,
}

/// A provider that asks to become one of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Petition {
    /// What people call it.
    pub name: String,
    /// How people reach it.
    pub contact: String,
    /// Its key's signature over all that it says.
    pub signature: [u8; 64],
}

/// What the member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has been heard; the others have to agree. The text is for people.
    Waiting(String),
    /// It may come in; these are the records of the chain, as bytes.
    Admitted(Vec<Vec<u8>>),
    /// No, and why.
    Refused(String),
}

/// Why joining came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The port, or the member's addresses.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The connection broke.
    #[error("the connection to the member broke: {0}")]
    Broken(String),
    /// Not what the protocol says.
    #[error("the other side does not speak the protocol: {0}")]
    Protocol(&'static str),
}

impl From<StreamError> for JoinError {
    fn from(error: StreamError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<FieldError> for JoinError {
    fn from(_error: FieldError) -> Self {
        Self::Protocol("an ask that cannot be read")
    }
}

impl Petition {
    /// What the provider's key signs.
    fn message(region: &RegionId, node: &NodeId, name: &str, contact: &str) -> Vec<u8> {
        let words = Digest::derive(
            "verge 1 petition",
            &[name.as_bytes(), &[0], contact.as_bytes()],
        );
        let parts = [*region.as_bytes(), *node.as_bytes(), *words.as_bytes()];
        [b"verge/1/petition\0".as_slice(), parts.as_flattened()].concat()
    }

    /// The petition of the provider that has `key`, for its first node.
    #[must_use]
    pub fn new(
        key: &ProviderKey,
        region: &RegionId,
        node: &NodeId,
        (name, contact): (String, String),
    ) -> Self {
        let message = Self::message(region, node, &name, &contact);
        Self {
            signature: sign(key.signing_key(), &message),
            name,
            contact,
        }
    }

    /// Whether `provider` said it.
    #[must_use]
    pub fn is_signed(&self, provider: &ProviderId, region: &RegionId, node: &NodeId) -> bool {
        let message = Self::message(region, node, &self.name, &self.contact);
        verify_raw(provider.as_bytes(), &message, &self.signature).is_ok()
    }
}

impl Ask {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let map = Map::new()
            .uint(0, VERSION)
            .bytes(1, &self.secret)
            .bytes(2, &Body::Node(self.node.clone()).encode())
            .bytes(3, self.slot.provider.as_bytes())
            .uint(4, self.slot.number);
        let map = match &self.petition {
            Some(petition) => map
                .text(5, &petition.name)
                .text(6, &petition.contact)
                .bytes(7, &petition.signature),
            None => map,
        };
        map.finish()
    }

    /// Reads an ask that came over the connection of `from`.
    ///
    /// # Errors
    /// [`JoinError::Protocol`].
    pub fn decode(from: NodeId, bytes: &[u8]) -> Result<Self, JoinError> {
        if bytes.len() > ASK_BYTES_MAX || cbor::check(bytes).is_err() {
            return Err(JoinError::Protocol("not an ask"));
        }
        let fields = Fields::read(bytes)?;
        if fields.uint::<u8>(0)? != VERSION {
            return Err(JoinError::Protocol("an ask of another release"));
        }
        let body = fields.bytes_opt(2)?.unwrap_or_default();
        cbor::check(body).map_err(|_error| JoinError::Protocol("no node in the ask"))?;
        let Body::Node(node) = Body::decode(Kind::NODE, body)? else {
            return Err(JoinError::Protocol("no node in the ask"));
        };
        let number = fields.uint(4)?;
        if node.id != from || number >= SLOT_COUNT {
            return Err(JoinError::Protocol("an ask for another node"));
        }
        let petition = match fields.raw(5) {
            Some(_) => Some(Petition {
                name: fields.text(5, TEXT_BYTES_MAX)?,
                contact: fields.text(6, TEXT_BYTES_MAX)?,
                signature: fields.fixed(7)?,
            }),
            None => None,
        };
        Ok(Self {
            secret: fields.fixed(1)?,
            node,
            slot: Slot {
                provider: ProviderId::from_bytes(fields.fixed(3)?),
                number,
            },
            petition,
        })
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let (code, text) = match self {
            Self::Waiting(text) => (0_u8, text.as_str()),
            Self::Admitted(_) => (1, ""),
            Self::Refused(text) => (2, text.as_str()),
        };
        Map::new().uint(0, code).text(1, text).finish()
    }
}

/// A newcomer that asks, seen from the member.
pub struct Caller {
    /// Which node it is: it has proved that.
    pub node: NodeId,
    /// What it says.
    pub ask: Ask,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

impl Caller {
    pub(super) async fn hear(
        connection: Connection,
        send: SendStream,
        mut receive: RecvStream,
    ) -> Result<Self, JoinError> {
        let node = node_id(connection.remote_id());
        let bytes = stream::receive(&mut receive).await?;
        let ask = match Ask::decode(node, &bytes) {
            Ok(ask) => ask,
            Err(error) => {
                close(&connection, Close::Fault);
                return Err(error);
            }
        };
        Ok(Self {
            node,
            ask,
            connection,
            send,
            receive,
        })
    }

    /// Tells it how things stand.
    ///
    /// # Errors
    /// [`JoinError`]: it has gone away.
    pub async fn answer(&mut self, answer: &Answer) -> Result<(), JoinError> {
        stream::send(&mut self.send, &answer.encode()).await?;
        if let Answer::Admitted(records) = answer {
            send_records(&mut self.send, records).await?;
        }
        Ok(())
    }

    /// The newcomer's own records, once it was admitted: its node record.
    ///
    /// # Errors
    /// [`JoinError`]: it has gone away, or says something else.
    pub async fn records(&mut self) -> Result<Vec<Record>, JoinError> {
        let records = receive_records(&mut self.receive, 4).await?;
        let parse = |bytes: &Vec<u8>| Record::parse(bytes);
        let parsed: Result<Vec<Record>, RecordError> = records.iter().map(parse).collect();
        parsed.map_err(|_error| JoinError::Protocol("no record"))
    }

    /// Waits until it has gone away.
    pub async fn gone(&self) {
        self.connection.closed().await;
    }

    /// Lets go of it once it has read everything.
    pub async fn finish(mut self) {
        if self.send.finish().is_ok() && self.send.stopped().await.is_err() {
            tracing::debug!("a newcomer has gone away");
        }
        close(&self.connection, Close::Done);
    }
}

/// A newcomer's own side of the door.
pub struct Newcomer {
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

impl Newcomer {
    /// Binds the port.
    ///
    /// # Errors
    /// [`JoinError::Endpoint`].
    pub async fn bind(seed: &Seed, listen: &[SocketAddr]) -> Result<Door, JoinError> {
        Ok(Door(Endpoint::bind(seed, listen).await?))
    }

    /// The member's next answer.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn answer(&mut self) -> Result<Answer, JoinError> {
        let bytes = stream::receive(&mut self.receive).await?;
        if bytes.len() > ASK_BYTES_MAX || cbor::check(&bytes).is_err() {
            return Err(JoinError::Protocol("not an answer"));
        }
        let fields = Fields::read(&bytes)?;
        let text = fields.text(1, TEXT_BYTES_MAX)?;
        match fields.uint::<u8>(0)? {
            0 => Ok(Answer::Waiting(text)),
            1 => {
                let records = receive_records(&mut self.receive, CHAIN_RECORDS_MAX).await?;
                Ok(Answer::Admitted(records))
            }
            2 => Ok(Answer::Refused(text)),
            _ => Err(JoinError::Protocol("an unknown answer")),
        }
    }

    /// Hands over the newcomer's own node record and waits until the member has taken it.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn hand_over(mut self, records: &[Vec<u8>]) -> Result<(), JoinError> {
        send_records(&mut self.send, records).await?;
        // The member ends its side when the record is stored there.
        let done = stream::receive(&mut self.receive).await;
        close(&self.connection, Close::Done);
        self.endpoint.close().await;
        match done {
            Err(StreamError::Ended) => Ok(()),
            Ok(_) => Err(JoinError::Protocol("an answer that nobody asked for")),
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves the door.
    pub async fn leave(self) {
        close(&self.connection, Close::Done);
        self.endpoint.close().await;
    }
}

/// A newcomer's port, before it has reached anybody.
pub struct Door(Endpoint);

impl Door {
    /// Where the newcomer may be reached.
    pub async fn reachable(&self) -> Vec<SocketAddr> {
        self.0.reachable().await
    }

    /// Asks the member `node` at `addresses`.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn ask(
        &self,
        node: NodeId,
        addresses: &[String],
        ask: &Ask,
    ) -> Result<Newcomer, JoinError> {
        let addresses = super::network::resolve(addresses).await;
        let connection = self.0.dial(node, &addresses, JOIN_ALPN).await?;
        let opened = connection.open_bi().await;
        let (mut send, receive) = opened.map_err(|error| JoinError::Broken(error.to_string()))?;
        stream::send(&mut send, &ask.encode()).await?;
        Ok(Newcomer {
            endpoint: self.0.clone(),
            connection,
            send,
            receive,
        })
    }
}

/// Records in as many messages as it takes; an empty one is the end.
async fn send_records(send: &mut SendStream, records: &[Vec<u8>]) -> Result<(), StreamError> {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&Vec<u8>| {
            bytes += record.len();
            bytes <= MESSAGE_RECORDS_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        stream::send(send, &Message::Records(now.to_vec()).encode()).await?;
        rest = later;
    }
    stream::send(send, &Message::Records(Vec::new()).encode()).await
}

async fn receive_records(
    receive: &mut RecvStream,
    count_max: usize,
) -> Result<Vec<Vec<u8>>, JoinError> {
    let mut records = Vec::new();
    loop {
        let bytes = stream::receive(receive).await?;
        match Message::decode(&bytes) {
            Ok(Message::Records(more)) if more.is_empty() => return Ok(records),
            Ok(Message::Records(more)) => records.extend(more),
            _ => return Err(JoinError::Protocol("no records")),
        }
        if records.len() > count_max {
            return Err(JoinError::Protocol("too many records"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        let (seed, key) = (Seed::from_bytes([1; 32]), ProviderKey::from_bytes(&[2; 32]));
        let region = RegionId::from_bytes([3; 32]);
        let slot = Slot {
            provider: key.provider(),
            number: 0,
        };
        let node = Node {
            id: seed.node_id(),
            record_key: seed.record_key().verifying_key().to_bytes(),
            sealing_key: *seed.sealing_key().public(),
            addresses: vec!["192.0.2.1:4420".to_owned()],
            name: "attic".to_owned(),
            proof: [0; 64],
            is_withdrawn: false,
            visitors: Vec::new(),
        };
        let words = ("Co-op".to_owned(), "mail@example.org".to_owned());
        Ask {
            secret: [9; 16],
            petition: Some(Petition::new(&key, &region, &seed.node_id(), words)),
            node: node.proven(&region, slot, &seed.transport_key()),
            slot,
        }
    }

    #[test]
    fn an_ask_is_read_back_from_its_own_node_only() {
        let ask = ask();
        let bytes = ask.encode();
        assert_eq!(Ask::decode(ask.node.id, &bytes).unwrap(), ask);
        let other = NodeId::from_bytes([7; 32]);
        assert!(Ask::decode(other, &bytes).is_err());
        for length in 0..bytes.len() {
            assert!(Ask::decode(ask.node.id, &bytes[..length]).is_err());
        }
        let plain = Ask {
            petition: None,
            ..ask
        };
        assert_eq!(Ask::decode(plain.node.id, &plain.encode()).unwrap(), plain);
    }

    #[test]
    fn a_petition_is_of_its_provider_for_its_node_and_region() {
        let ask = ask();
        let petition = ask.petition.unwrap();
        let (provider, node) = (ask.slot.provider, ask.node.id);
        let region = RegionId::from_bytes([3; 32]);
        assert!(petition.is_signed(&provider, &region, &node));
        let elsewhere = RegionId::from_bytes([4; 32]);
        assert!(!petition.is_signed(&provider, &elsewhere, &node));
        assert!(!petition.is_signed(&provider, &region, &NodeId::from_bytes([1; 32])));
        let renamed = Petition {
            name: "Other".to_owned(),
            ..petition
        };
        assert!(!renamed.is_signed(&provider, &region, &node));
    }
}
