//! The header that a TCP proxy puts before a visitor's bytes: the PROXY protocol, version 2
//! (haproxy.org, "The PROXY protocol", section 2.2).
//!
//! Read exactly, never beyond: what follows it is the visitor's. Extensions are passed over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses are at most 36 bytes; the rest is for extensions, of which proxies send some hundred.
const BODY_BYTES_MAX: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A visitor at this address.
    Visitor(IpAddr),
    /// The proxy itself, looking whether we live; or a visitor whose address it does not tell.
    Proxy,
}

/// Why no header was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("read a PROXY protocol header")]
    Read(#[from] io::Error),
    #[error(
        "the connection of a configured proxy begins without a PROXY protocol header, version 2"
    )]
    Malformed,
}

/// Reads the header, and not one byte more.
///
/// # Errors
/// [`ProxyHeaderError`]; the connection cannot be used then.
pub(crate) async fn read_header<S>(stream: &mut S) -> Result<Origin, ProxyHeaderError>
where
    S: AsyncRead + Unpin,
{
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).await?;
    let (signature, rest) = fixed.split_at(SIGNATURE.len());
    let &[version_command, family, high, low] = rest else {
        return Err(ProxyHeaderError::Malformed);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if signature != SIGNATURE || length > BODY_BYTES_MAX {
        return Err(ProxyHeaderError::Malformed);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    origin(version_command, family, &body).ok_or(ProxyHeaderError::Malformed)
}

fn origin(version_command: u8, family: u8, body: &[u8]) -> Option<Origin> {
    match (version_command, family) {
        // LOCAL: whatever the addresses say, they are to be ignored. PROXY without a family.
        (0x20, _) | (0x21, 0x00) => Some(Origin::Proxy),
        // TCP over IPv4: source, destination, ports.
        (0x21, 0x11) => {
            let source: [u8; 4] = body.get(..12)?.first_chunk().copied()?;
            Some(Origin::Visitor(Ipv4Addr::from(source).into()))
        }
        (0x21, 0x21) => {
            let source: [u8; 16] = body.get(..36)?.first_chunk().copied()?;
            Some(Origin::Visitor(IpAddr::from(Ipv6Addr::from(source))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(length);
        bytes.extend(body);
        bytes
    }

    async fn read(bytes: &[u8]) -> (Option<Origin>, Vec<u8>) {
        let mut rest = bytes;
        let origin = read_header(&mut rest).await.ok();
        (origin, rest.to_vec())
    }

    #[tokio::test]
    async fn headers_are_read_to_their_end() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 0, 80];
        let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[5], &[0; 20]].concat();
        let extended = [&four[..], &[4, 0, 1, 9]].concat();
        let visitor = |text: &str| Some(Origin::Visitor(text.parse().unwrap()));
        let rows = [
            (header(0x21, 0x11, &four), visitor("192.0.2.1")),
            (header(0x21, 0x11, &extended), visitor("192.0.2.1")),
            (header(0x21, 0x21, &six), visitor("2001:db8::5")),
            (header(0x20, 0, &[]), Some(Origin::Proxy)),
            (header(0x20, 0x11, &four), Some(Origin::Proxy)),
            (header(0x21, 0, &[]), Some(Origin::Proxy)),
            (header(0x21, 0x11, &four[..11]), None),
            (header(0x21, 0x21, &four), None),
            (header(0x21, 0x12, &four), None),
            (header(0x21, 0x31, &[0; 216]), None),
            (header(0x22, 0x11, &four), None),
            (header(0x11, 0x11, &four), None),
            (header(0x21, 0x11, &[0; 4097]), None),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(), None),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), None),
            (SIGNATURE.to_vec(), None),
        ];
        for (bytes, expected) in rows {
            let (origin, rest) = read(&[&bytes[..], b"GET"].concat()).await;
            assert_eq!(origin, expected, "{bytes:02x?}");
            if origin.is_some() {
                assert_eq!(rest, b"GET");
            }
        }
    }
}
