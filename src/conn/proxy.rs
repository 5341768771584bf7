//! PROXY protocol version 2: who the client is, told by the load balancer in front.

use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Signature, command, family and length.
const FIXED: usize = 16;
/// Longest rest of a header: two IPv6 addresses take 36 bytes, what is above that are TLVs nobody
/// needs here; balancers send at most a few hundred bytes of them.
const MAX_REST: usize = 1024;

/// Reads the header; `None` when the balancer speaks for itself (a health check).
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; FIXED];
    stream.read_exact(&mut header).await?;
    let len = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if !header.starts_with(ppp::v2::PROTOCOL_PREFIX) || len > MAX_REST {
        return Err(invalid("no PROXY v2 header"));
    }
    header.resize(FIXED + len, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    let parsed =
        ppp::v2::Header::try_from(&header[..]).map_err(|error| invalid(error.to_string()))?;
    Ok(match (parsed.command, parsed.addresses) {
        (ppp::v2::Command::Local, _) => None,
        (_, ppp::v2::Addresses::IPv4(ip)) => Some(SocketAddr::new(
            IpAddr::V4(ip.source_address),
            ip.source_port,
        )),
        (_, ppp::v2::Addresses::IPv6(ip)) => Some(SocketAddr::new(
            IpAddr::V6(ip.source_address),
            ip.source_port,
        )),
        _ => None,
    })
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [PREFIX, &[command, family], &len, rest].concat()
    }

    async fn parse(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        let mut rest = bytes;
        read(&mut rest).await.map(|addr| (addr, rest.len()))
    }

    #[tokio::test]
    async fn tells_the_client_and_takes_not_one_byte_of_the_first_frame() {
        let rest = [10, 1, 2, 3, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let bytes = [header(0x21, 0x11, &rest), b"frame".to_vec()].concat();
        let addr = "10.1.2.3:4660".parse().unwrap();
        assert_eq!(parse(&bytes).await.unwrap(), (Some(addr), 5));
    }

    #[tokio::test]
    async fn a_health_check_speaks_for_itself() {
        assert_eq!(parse(&header(0x20, 0, &[])).await.unwrap(), (None, 0));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        assert!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n").await.is_err());
        assert!(parse(&header(0x21, 0x11, &[1, 2, 3])).await.is_err());
        assert!(parse(&header(0x21, 0x11, &[0; 1025])).await.is_err());
        assert!(parse(&header(0x31, 0x11, &[0; 12])).await.is_err());
        assert!(parse(&PREFIX[..7]).await.is_err());
    }
}
