//! The ticket: one line, or one square of dots, with which a newcomer asks to join.

use data_encoding::BASE32_NOPAD;
use std::fmt;
use std::str::FromStr;
use verge_sync::digest::Digest;
use verge_sync::id::{NodeId, ProviderId, RecordId, RegionId};
use verge_sync::record::Slot;
use verge_sync::record::cbor::{self, Fields, Map};
use verge_sync::record::region::Pin;

/// What every ticket begins with.
const PREFIX: &str = "VERGE1";
/// Addresses in a ticket.
pub(super) const ADDRESSES_MAX: usize = 3;
const VERSION: u8 = 1;

/// The right to ask, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The region.
    pub region: RegionId,
    /// The step that the region stood on when the ticket was made; the newcomer never goes below.
    pub pin: Pin,
    /// Known to the node that made the ticket, and good once.
    pub secret: [u8; 16],
    /// The node that made it.
    pub node: NodeId,
    /// Where that node is.
    pub addresses: Vec<String>,
    /// The place of a further node of a provider; none for a new provider.
    pub slot: Option<Slot>,
}

/// A line that is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no ticket, or not the whole of one: copy the line that begins with VERGE1 to its end"
)]
pub struct NotATicket;

impl Ticket {
    fn encode(&self) -> Vec<u8> {
        let map = Map::new()
            .uint(0, VERSION)
            .bytes(1, self.region.as_bytes())
            .uint(2, self.pin.number)
            .bytes(3, self.pin.id.as_bytes())
            .bytes(4, &self.secret)
            .bytes(5, self.node.as_bytes())
            .texts(6, &self.addresses);
        let map = match &self.slot {
            Some(slot) => map.bytes(7, slot.provider.as_bytes()).uint(8, slot.number),
            None => map,
        };
        let mut bytes = map.finish();
        // A slip of the pen is noticed before anybody is asked.
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(check.as_bytes().get(..4).unwrap_or_default());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, check) = bytes.split_last_chunk::<4>()?;
        if !Digest::of(bytes).as_bytes().starts_with(check) {
            return None;
        }
        cbor::check(bytes).ok()?;
        let fields = Fields::read(bytes).ok()?;
        if fields.uint::<u8>(0).ok()? != VERSION {
            return None;
        }
        let slot = match fields.raw(7) {
            Some(_) => Some(Slot {
                provider: ProviderId::from_bytes(fields.fixed(7).ok()?),
                number: fields.uint(8).ok()?,
            }),
            None => None,
        };
        Some(Self {
            region: RegionId::from_bytes(fields.fixed(1).ok()?),
            pin: Pin {
                number: fields.uint(2).ok()?,
                id: RecordId::from_bytes(fields.fixed(3).ok()?),
            },
            secret: fields.fixed(4).ok()?,
            node: NodeId::from_bytes(fields.fixed(5).ok()?),
            addresses: fields.texts(6, ADDRESSES_MAX).ok()?,
            slot,
        })
    }

    /// As a square that a telephone reads, in characters of a terminal.
    #[must_use]
    pub fn square(&self) -> Vec<String> {
        use qrcode::render::unicode::Dense1x2;
        let Ok(code) =
            qrcode::QrCode::with_error_correction_level(self.to_string(), qrcode::EcLevel::L)
        else {
            return Vec::new();
        };
        // Dark terminals are the rule: the dots are the background.
        let drawn = code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build();
        drawn.lines().map(str::to_owned).collect()
    }
}

/// Capital letters and digits only: the denser alphabet of a QR code, and safe to read out.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&self.encode()))
    }
}

impl FromStr for Ticket {
    type Err = NotATicket;

    fn from_str(text: &str) -> Result<Self, NotATicket> {
        // A line may have been broken by a mail program, or typed in small letters.
        let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        text.make_ascii_uppercase();
        let body = text.strip_prefix(PREFIX).ok_or(NotATicket)?;
        let bytes = BASE32_NOPAD.decode(body.as_bytes());
        let bytes = bytes.map_err(|_letters| NotATicket)?;
        Self::decode(&bytes).ok_or(NotATicket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(slot: Option<Slot>) -> Ticket {
        Ticket {
            region: RegionId::from_bytes([1; 32]),
            pin: Pin {
                number: 7,
                id: RecordId::from_bytes([2; 32]),
            },
            secret: [3; 16],
            node: NodeId::from_bytes([4; 32]),
            addresses: vec![
                "203.0.113.5:4420".to_owned(),
                "[2001:db8::5]:4420".to_owned(),
            ],
            slot,
        }
    }

    #[test]
    fn a_ticket_is_read_back_as_people_pass_it_on() {
        let slot = Slot {
            provider: ProviderId::from_bytes([5; 32]),
            number: 3,
        };
        for ticket in [ticket(None), ticket(Some(slot))] {
            let line = ticket.to_string();
            assert_eq!(line.parse(), Ok(ticket.clone()));
            let broken: String = line
                .to_lowercase()
                .as_bytes()
                .chunks(60)
                .map(|part| String::from_utf8_lossy(part).into_owned() + "\n ")
                .collect();
            assert_eq!(broken.parse(), Ok(ticket.clone()));
            let width = ticket.square().first().map_or(0, |row| row.chars().count());
            assert!((40..=80).contains(&width), "{width} columns");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_ticket() {
        let line = ticket(None).to_string();
        for length in 0..line.len() {
            assert_eq!(
                line[..length].parse::<Ticket>(),
                Err(NotATicket),
                "{length}"
            );
        }
        for index in PREFIX.len()..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<Ticket>(), Err(NotATicket), "{index}");
        }
    }
}
