//! Visitors' addresses: which of them are proxies that are believed, and how many connections each
//! may hold.
//!
//! Addresses live in memory only: counted under a keyed hash whose key is random and replaced every
//! hour, never stored, never logged. A crash loses the counts with the connections.

use crate::http::room::{Rooms, Share};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use verge_sync::Digest;

/// How long one key hides addresses.
const KEY_LIFE: Duration = Duration::from_hours(1);

/// Addresses with a common beginning, as `10.0.0.0/8`, `fd00::/8`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an address or a network, such as \"10.0.0.0/8\" or \"fd00::1\"")]
pub struct NetworkError;

impl Network {
    /// Whether `address` lies in it; an IPv4 address in its IPv6 clothes is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix_bits));
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix_bits));
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_not_an_address| NetworkError)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) => bits.parse().map_err(|_not_a_number| NetworkError)?,
            None => bits_max,
        };
        if prefix_bits > bits_max {
            return Err(NetworkError);
        }
        Ok(Self {
            address,
            prefix_bits,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// Who stands between visitors and this node, and is believed about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Whose connections must begin with a PROXY protocol header, version 2.
    pub proxy_protocol_from: Vec<Network>,
    /// Whose requests must carry `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub forwarded_from: Vec<Network>,
}

impl Proxies {
    /// Whether a connection from `address` begins with a PROXY protocol header.
    #[must_use]
    pub fn speaks_proxy_protocol(&self, address: IpAddr) -> bool {
        contains(&self.proxy_protocol_from, address)
    }

    /// Whether anybody stands in between: what is counted was then delivered to the proxy.
    #[must_use]
    pub fn are_any(&self) -> bool {
        !self.proxy_protocol_from.is_empty() || !self.forwarded_from.is_empty()
    }

    /// Whether `X-Forwarded-*` of `address` count.
    #[must_use]
    pub fn forwards(&self, address: IpAddr) -> bool {
        contains(&self.forwarded_from, address)
    }
}

fn contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Connections per address, of the whole process.
pub(crate) struct Callers {
    count_max: u32,
    rooms: Arc<Rooms>,
    counts: Mutex<Counts>,
}

/// Under the key of this hour and of the last; what is open for longer is not counted any more.
struct Counts {
    generation: u64,
    key: [u8; 32],
    key_made: Instant,
    now: HashMap<u64, Caller>,
    before: HashMap<u64, Caller>,
}

/// One address.
struct Caller {
    connection_count: u32,
    share: Share,
}

/// One counted connection; dropping it ends the count.
pub(crate) struct Counted {
    callers: Arc<Callers>,
    generation: u64,
    caller: u64,
    /// Of the memory for answers.
    pub(crate) share: Share,
}

impl Callers {
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new(count_max: u32, rooms: Arc<Rooms>) -> Result<Arc<Self>, getrandom::Error> {
        let counts = Counts {
            generation: 0,
            key: random_key()?,
            key_made: Instant::now(),
            now: HashMap::new(),
            before: HashMap::new(),
        };
        Ok(Arc::new(Self {
            count_max,
            rooms,
            counts: Mutex::new(counts),
        }))
    }

    /// Counts a connection of `address`; `None` if it has enough of them.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        self.admit_at(address, Instant::now())
    }

    fn admit_at(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Counted> {
        let mut counts = self.lock();
        counts.renew_key(now);
        let caller = counts.caller(address);
        let entry = counts.now.entry(caller).or_insert_with(|| Caller {
            connection_count: 0,
            share: self.rooms.share(),
        });
        if entry.connection_count >= self.count_max {
            return None;
        }
        entry.connection_count = entry.connection_count.saturating_add(1);
        let share = Arc::clone(&entry.share);
        Some(Counted {
            callers: Arc::clone(self),
            generation: counts.generation,
            caller,
            share,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every statement.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn renew_key(&mut self, now: Instant) {
        if now.saturating_duration_since(self.key_made) < KEY_LIFE {
            return;
        }
        // Without randomness the old key does for longer.
        if let Ok(key) = random_key() {
            self.key = key;
            self.before = std::mem::take(&mut self.now);
            self.generation = self.generation.wrapping_add(1);
        }
        self.key_made = now;
    }

    /// Whoever has an IPv6 address has a /64 of them.
    fn caller(&self, address: IpAddr) -> u64 {
        let hash = match address.to_canonical() {
            IpAddr::V4(address) => self.hash(&address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                self.hash(&[a, b, c, d, e, f, g, h])
            }
        };
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn hash(&self, network: &[u8]) -> Digest {
        Digest::derive("verge 1 visitor network", &[&self.key, network])
    }

    fn forget(&mut self, generation: u64, caller: u64) {
        let table = if generation == self.generation {
            &mut self.now
        } else if generation.wrapping_add(1) == self.generation {
            &mut self.before
        } else {
            return;
        };
        if let Some(entry) = table.get_mut(&caller) {
            entry.connection_count = entry.connection_count.saturating_sub(1);
            if entry.connection_count == 0 {
                table.remove(&caller);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.callers.lock().forget(self.generation, self.caller);
    }
}

fn random_key() -> Result<[u8; 32], getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_compared() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "2001:db8::1", true),
            ("::1", "::1", true),
        ];
        for (network, visitor, inside) in rows {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address(visitor)),
                inside,
                "{network} {visitor}"
            );
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    #[test]
    fn an_address_holds_so_many_connections() {
        let callers = Callers::new(2, Arc::new(Rooms::new(1 << 20))).unwrap();
        let first = callers.admit(address("2001:db8::1")).unwrap();
        let _second = callers.admit(address("2001:db8::2")).unwrap();
        assert!(callers.admit(address("2001:db8::3")).is_none(), "one /64");
        assert!(callers.admit(address("2001:db8:0:1::1")).is_some());
        assert!(callers.admit(address("192.0.2.1")).is_some());
        drop(first);
        let third = callers.admit(address("2001:db8::3")).unwrap();
        assert!(callers.admit(address("2001:db8::3")).is_none());
        let old_key = callers.lock().key;
        let later = Instant::now() + KEY_LIFE;
        let again = callers.admit_at(address("2001:db8::1"), later).unwrap();
        assert_ne!(callers.lock().key, old_key, "a new hour, a new key");
        assert_eq!(callers.lock().before.len(), 1);
        drop((third, _second, again));
        assert!(callers.lock().before.is_empty() && callers.lock().now.is_empty());
    }
}
