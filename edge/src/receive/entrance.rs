//! Places for connections: those that have logged in, those that have not, and each network.
//!
//! Owns counts only. A connection enters as a stranger and becomes a guest by logging in; each
//! place is given back when what holds it is dropped.

use crate::receive::Limits;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places of this node.
#[derive(Debug)]
pub(crate) struct Entrance {
    strangers: Arc<Semaphore>,
    guests: Arc<Semaphore>,
    by_network: Arc<Mutex<HashMap<IpAddr, usize>>>,
    network_max: usize,
}

/// A connection's place, first among the strangers, then among those that have logged in.
#[derive(Debug)]
pub(crate) struct Place {
    guests: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
    _network: NetworkPlace,
}

/// A place in the count of one network, given back when dropped.
#[derive(Debug)]
struct NetworkPlace {
    network: IpAddr,
    by_network: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Entrance {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            strangers: Arc::new(Semaphore::new(limits.strangers)),
            guests: Arc::new(Semaphore::new(limits.connections)),
            by_network: Arc::default(),
            network_max: limits.connections_per_address,
        }
    }

    /// A place among the strangers, if there is one.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let held = Arc::clone(&self.strangers).try_acquire_owned().ok()?;
        let network = network(address);
        let mut counts = lock(&self.by_network);
        let count = counts.get(&network).copied().unwrap_or_default();
        if count >= self.network_max {
            return None;
        }
        counts.insert(network, count + 1);
        drop(counts);
        Some(Place {
            guests: Arc::clone(&self.guests),
            held,
            _network: NetworkPlace {
                network,
                by_network: Arc::clone(&self.by_network),
            },
        })
    }
}

impl Place {
    /// Goes from the strangers to the guests; false if there is no place among them.
    pub(crate) fn log_in(&mut self) -> bool {
        match Arc::clone(&self.guests).try_acquire_owned() {
            Ok(held) => {
                self.held = held;
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for NetworkPlace {
    fn drop(&mut self) {
        let mut counts = lock(&self.by_network);
        if let Some(count) = counts.get_mut(&self.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

fn lock(
    counts: &Mutex<HashMap<IpAddr, usize>>,
) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one machine may have all of: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(bits).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_is_one_network() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::"),
        ] {
            let [address, expected]: [IpAddr; 2] = [address, expected].map(|a| a.parse().unwrap());
            assert_eq!(network(address), expected, "{address}");
        }
    }

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let entrance = Entrance::new(&Limits {
            strangers: 3,
            connections: 1,
            connections_per_address: 2,
            ..Limits::default()
        });
        let enter = |address: &str| entrance.enter(address.parse().unwrap());
        let mut first = enter("2001:db8::1").unwrap();
        let mut second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "two of one network");
        let third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "three strangers");
        assert!(first.log_in());
        assert!(!second.log_in(), "one guest");
        assert!(enter("2001:db8::3").is_none(), "a guest still counts");
        drop(enter("192.0.2.2").unwrap());
        drop(first);
        assert!(second.log_in());
        drop((second, third));
        assert!(lock(&entrance.by_network).is_empty());
    }
}
