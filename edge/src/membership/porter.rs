//! The member's side of the door: tickets that are out, and newcomers that wait.
//!
//! Tickets are kept in the database, as digests of their secrets, so that a restart does not void
//! them; at most [`TICKETS_MAX`], the oldest leave. Who waits is in memory: a newcomer whose
//! connection broke asks again.

use super::ticket::{ADDRESSES_MAX, Ticket};
use super::words::six_words;
use crate::region::{Reached, RegionView, WriteError, chain_records};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use verge_sync::digest::Digest;
use verge_sync::id::{NodeId, ProviderId};
use verge_sync::net::{Answer, Ask, Caller, JoinError};
use verge_sync::record::body::{Node, Provider};
use verge_sync::record::kinds::SLOT_COUNT;
use verge_sync::record::region::Pin;
use verge_sync::record::{Draft, Effect, Kind, Slot};
use verge_sync::store::{MetaValue, Store, StoreError};

/// Tickets that can be out at once.
const TICKETS_MAX: usize = 32;
/// Newcomers that wait at once.
const WAITING_MAX: usize = 32;
/// A newcomer that was let in has this long to say where it is.
const RECORD_TIME: Duration = Duration::from_secs(30);
/// The `meta` key of the tickets.
const META_TICKETS: &str = "tickets";
/// A stored ticket: the digest of its secret, its slot (255: a new provider), and who used it.
const ROW_BYTES: usize = 32 + 1 + 32;
const NEW_PROVIDER: u8 = 255;

/// A provider that asks to become one of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Who it says it is.
    pub provider: Provider,
    /// The six words of its key.
    pub words: String,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// This node listens for nobody.
    #[error(
        "this node listens for no other nodes: set `listen.nodes` in config.toml and restart it"
    )]
    NotListening,
    /// The places are taken.
    #[error(transparent)]
    Region(#[from] WriteError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Makes tickets and answers those who come with one.
pub struct Porter {
    store: Store,
    region: Arc<RegionView>,
    node: NodeId,
    reached: Mutex<Reached>,
    tickets: Mutex<Vec<Issued>>,
    waiting: Seats<ProviderId, Asking>,
    /// Further nodes of this provider whose records its key, which is not here, has to sign.
    unsigned: Seats<NodeId, (Node, Draft)>,
}

/// Who waits, each with the serial number of its connection; at most [`WAITING_MAX`].
struct Seats<K, V>(Mutex<BTreeMap<K, (u64, V)>>);

/// A newcomer's place; an older connection of the same one does not take it away.
struct Seat<'a, K: Ord, V> {
    seats: &'a Seats<K, V>,
    id: K,
    serial: u64,
}

impl<K: Ord + Copy, V: Clone> Seats<K, V> {
    /// A place among those who wait, given up when it is dropped.
    fn take(&self, id: K, who: V) -> Result<Seat<'_, K, V>, JoinError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&id) {
            return Err(JoinError::Protocol("too many newcomers wait"));
        }
        let last = waiting.values().map(|(serial, _)| *serial).max();
        let serial = last.unwrap_or(0) + 1;
        waiting.insert(id, (serial, who));
        Ok(Seat {
            seats: self,
            id,
            serial,
        })
    }

    fn all(&self) -> Vec<V> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().map(|(_, who)| who.clone()).collect()
    }
}

impl<K: Ord, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let waiting = &self.seats.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.get(&self.id);
        if own.is_some_and(|(serial, _)| *serial == self.serial) {
            waiting.remove(&self.id);
        }
    }
}

/// A ticket that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Issued {
    secret: Digest,
    slot: Option<u8>,
    used_by: Option<NodeId>,
}

impl Porter {
    /// Opens the door of `node`, which is reached at `addresses`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        store: Store,
        region: Arc<RegionView>,
        node: NodeId,
        addresses: Vec<String>,
    ) -> Result<Self, StoreError> {
        let tickets = match store.records().meta(META_TICKETS)? {
            Some(MetaValue::Bytes(bytes)) => bytes.as_chunks::<ROW_BYTES>().0.to_vec(),
            _ => Vec::new(),
        };
        let tickets = tickets.iter().map(Issued::decode).collect();
        Ok(Self {
            store,
            region,
            node,
            reached: Mutex::new(Reached {
                nodes: addresses,
                visitors: None,
            }),
            tickets: Mutex::new(tickets),
            waiting: Seats(Mutex::default()),
            unsigned: Seats(Mutex::default()),
        })
    }

    /// A ticket for a new provider, or for a further node of this one.
    ///
    /// # Errors
    /// [`InviteError`].
    pub async fn invite(&self, for_own_node: bool) -> Result<Ticket, InviteError> {
        let Reached { nodes, .. } = self.reached();
        if nodes.is_empty() {
            return Err(InviteError::NotListening);
        }
        let slot = match for_own_node {
            true => Some(self.region.free_slot(&self.promised())?),
            false => None,
        };
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(InviteError::Random)?;
        let effect = self.region.effect();
        let step = effect.chain.current();
        let ticket = Ticket {
            region: effect.region,
            pin: Pin {
                number: step.body.number,
                id: step.id,
            },
            secret,
            node: self.node,
            addresses: nodes.into_iter().take(ADDRESSES_MAX).collect(),
            slot,
        };
        let issued = Issued {
            secret: digest(&secret),
            slot: slot.map(|slot| slot.number),
            used_by: None,
        };
        self.change_tickets(|tickets| {
            tickets.push(issued);
            let surplus = tickets.len().saturating_sub(TICKETS_MAX);
            tickets.drain(..surplus);
        })
        .await?;
        Ok(ticket)
    }

    /// The places for which a ticket is out that nobody has used.
    fn promised(&self) -> Vec<u8> {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let open = tickets.iter().filter(|ticket| ticket.used_by.is_none());
        open.filter_map(|ticket| ticket.slot).collect()
    }

    /// Voids every ticket that is out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn void_tickets(&self) -> Result<(), StoreError> {
        self.change_tickets(Vec::clear).await
    }

    /// The providers that ask to come in here, by their ids.
    #[must_use]
    pub fn asking(&self) -> Vec<Asking> {
        self.waiting.all()
    }

    /// Where this node is reached.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.clone()
    }

    /// Visitors are served at these addresses from now on.
    pub fn serves_visitors_at(&self, addresses: Vec<String>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.visitors = Some(addresses);
    }

    /// The further nodes of this provider that wait for the signature of its key, with what it has
    /// to sign.
    #[must_use]
    pub fn unsigned(&self) -> Vec<(Node, Draft)> {
        self.unsigned.all()
    }

    /// Answers callers until the task is dropped.
    pub async fn serve(self: Arc<Self>, mut callers: mpsc::Receiver<Caller>) {
        while let Some(caller) = callers.recv().await {
            let porter = Arc::clone(&self);
            tokio::spawn(async move {
                let node = caller.node;
                if let Err(error) = porter.meet(caller).await {
                    tracing::info!(%error, node = %node.short(), "a newcomer left");
                }
            });
        }
    }

    async fn meet(&self, mut caller: Caller) -> Result<(), JoinError> {
        match self.judge(&caller).await {
            Ok(Verdict::ComeIn) => {}
            Ok(Verdict::Wait(asking)) => {
                let seat = self.waiting.take(asking.provider.id, asking.clone())?;
                let words = &asking.words;
                let text = format!("wait until the providers agree; your words: {words}");
                caller.answer(&Answer::Waiting(text)).await?;
                tracing::info!(provider = %asking.provider.name, "asks to join: `verge provider approve`");
                let id = asking.provider.id;
                self.wait(|effect| effect.chain.lists(&id), &caller).await?;
                drop(seat);
            }
            Ok(Verdict::Sign(draft)) => {
                let (node, slot) = (caller.ask.node.clone(), caller.ask.slot);
                let seat = self.unsigned.take(node.id, (node.clone(), *draft))?;
                let text = "wait until the provider's key has signed: where the ticket was made, `verge node list` shows what";
                caller.answer(&Answer::Waiting(text.to_owned())).await?;
                tracing::info!(node = %node.id.short(), "a further node asks to join, and the provider's key has to sign: `verge node list`");
                let stands = |effect: &Effect| {
                    let known = effect.nodes.get(&node.id);
                    known.is_some_and(|known| known.is_member && known.slot == slot)
                };
                self.wait(stands, &caller).await?;
                drop(seat);
            }
            Err(why) => {
                caller.answer(&Answer::Refused(why)).await?;
                caller.finish().await;
                return Ok(());
            }
        }
        let records = chain_records(&self.region.effect());
        caller.answer(&Answer::Admitted(records)).await?;
        let records = tokio::time::timeout(RECORD_TIME, caller.records())
            .await
            .map_err(|_elapsed| JoinError::Protocol("no node record in time"))??;
        // A newcomer says where it is, and nothing else.
        let own = records
            .into_iter()
            .filter(|record| record.envelope().kind == Kind::NODE)
            .collect();
        if let Err(error) = self.region.take_in(own).await {
            tracing::warn!(%error, "the record of a newcomer");
        }
        caller.finish().await;
        Ok(())
    }

    /// Waits until the newcomer `is_in`; it may go away before.
    async fn wait(
        &self,
        is_in: impl Fn(&Effect) -> bool,
        caller: &Caller,
    ) -> Result<(), JoinError> {
        let mut effects = self.region.watch();
        let admitted = effects.wait_for(|effect| is_in(effect));
        tokio::select! {
            admitted = admitted => match admitted {
                Ok(_) => Ok(()),
                Err(_stopped) => Err(JoinError::Protocol("the node stops")),
            },
            () = caller.gone() => Err(JoinError::Protocol("it has gone away")),
        }
    }

    /// Whether a newcomer may come in, has to wait, or is refused, and why.
    async fn judge(&self, caller: &Caller) -> Result<Verdict, String> {
        let ask = &caller.ask;
        if self.is_member(caller.node) {
            tracing::info!(node = %caller.node.short(), "a member that lost its records comes back");
            return Ok(Verdict::ComeIn);
        }
        let issued = self.claim_ticket(ask, caller.node).await?;
        let effect = self.region.effect();
        if !ask.node.is_proven(&effect.region, ask.slot) {
            return Err("the node's proof is not right".to_owned());
        }
        match (&ask.petition, issued.slot) {
            (None, Some(number)) => {
                let own = self.region.slot().provider;
                if ask.slot
                    != (Slot {
                        provider: own,
                        number,
                    })
                {
                    return Err("the ticket is for another place".to_owned());
                }
                match self.region.add_node(ask.slot, ask.node.clone()).await {
                    Ok(()) => Ok(Verdict::ComeIn),
                    Err(WriteError::ToSign(draft)) => Ok(Verdict::Sign(draft)),
                    Err(error) => Err(error.to_string()),
                }
            }
            (Some(petition), None) => {
                let id = ask.slot.provider;
                if ask.slot.number != 0 || !petition.is_signed(&id, &effect.region, &caller.node) {
                    return Err("the provider's signature is not right".to_owned());
                }
                if effect.chain.lists(&id) {
                    return Ok(Verdict::ComeIn);
                }
                if !is_sayable(&petition.name) || !is_sayable(&petition.contact) {
                    return Err("a name without control characters, please".to_owned());
                }
                Ok(Verdict::Wait(Asking {
                    words: six_words(&effect.region, &id),
                    provider: Provider {
                        id,
                        name: petition.name.clone(),
                        contact: petition.contact.clone(),
                    },
                }))
            }
            _ => Err(
                "the ticket is for something else: `verge provider invite` makes one for a \
                      new provider, `verge node add` one for a further node"
                    .to_owned(),
            ),
        }
    }

    /// It has proved its key with the connection, and needs no ticket to be what it is.
    fn is_member(&self, node: NodeId) -> bool {
        let effect = self.region.effect();
        let known = effect.nodes.get(&node);
        known.is_some_and(|known| known.is_member)
    }

    /// A ticket is good for the first node that shows it.
    async fn claim_ticket(&self, ask: &Ask, node: NodeId) -> Result<Issued, String> {
        let secret = digest(&ask.secret);
        let mut found = None;
        let changed = self.change_tickets(|tickets| {
            let ticket = tickets.iter_mut().find(|ticket| ticket.secret == secret);
            if let Some(ticket) = ticket
                && ticket.used_by.is_none_or(|by| by == node)
            {
                ticket.used_by = Some(node);
                found = Some(*ticket);
            }
        });
        changed.await.map_err(|error| error.to_string())?;
        found.ok_or_else(|| "this ticket is not known here, or used: ask for a new one".to_owned())
    }

    async fn change_tickets(
        &self,
        change: impl FnOnce(&mut Vec<Issued>),
    ) -> Result<(), StoreError> {
        let bytes: Vec<u8> = {
            let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            let before = tickets.clone();
            change(&mut tickets);
            if *tickets == before {
                return Ok(());
            }
            tickets.iter().flat_map(Issued::encode).collect()
        };
        let value = MetaValue::Bytes(bytes);
        self.store.records().put_meta(META_TICKETS, value)?.await?;
        Ok(())
    }
}

enum Verdict {
    ComeIn,
    Wait(Asking),
    Sign(Box<Draft>),
}

impl Issued {
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        let (secret, rest) = row.split_at_mut(32);
        secret.copy_from_slice(self.secret.as_bytes());
        if let Some((slot, used_by)) = rest.split_first_mut() {
            *slot = self.slot.unwrap_or(NEW_PROVIDER);
            if let Some(node) = self.used_by {
                used_by.copy_from_slice(node.as_bytes());
            }
        }
        row
    }

    fn decode(row: &[u8; ROW_BYTES]) -> Self {
        let (secret, rest) = row.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        let (slot, used_by) = rest.split_first().unwrap_or((&NEW_PROVIDER, &[]));
        let used_by = used_by.first_chunk().copied().unwrap_or_default();
        Self {
            secret: Digest::from_bytes(*secret),
            slot: Some(*slot).filter(|slot| *slot < SLOT_COUNT),
            used_by: (used_by != [0; 32]).then(|| NodeId::from_bytes(used_by)),
        }
    }
}

fn digest(secret: &[u8; 16]) -> Digest {
    Digest::derive("verge 1 ticket", &[secret])
}

/// Whether a text can be shown in a terminal, on one line.
fn is_sayable(text: &str) -> bool {
    text.len() <= 200 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_is_out_is_read_back() {
        let node = NodeId::from_bytes([7; 32]);
        for (slot, used_by) in [(None, None), (Some(3), Some(node)), (Some(0), None)] {
            let issued = Issued {
                secret: digest(&[1; 16]),
                slot,
                used_by,
            };
            assert_eq!(Issued::decode(&issued.encode()), issued);
        }
    }
}
