//! Which endpoint is asked: of two drawn at random the one with less to do, or always the same for the
//! same key.

use std::net::SocketAddr;

/// Draws two different of `n` places; the same one twice where there is only one.
pub(super) fn two_of(n: usize, random: u64) -> (usize, usize) {
    if n < 2 {
        return (0, 0);
    }
    let below = |bits: u32, n: usize| ((u64::from(bits) * n as u64) >> 32) as usize;
    // The halves are independent; a set of endpoints is far smaller than 2^32.
    let first = below(random as u32, n);
    let second = below((random >> 32) as u32, n - 1);
    (first, second + usize::from(second >= first))
}

/// The key of a text, the same on every server.
pub fn key_of(bytes: &[u8]) -> u64 {
    // FNV-1a, whose low bits alone would be poor.
    let hashed = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hashed)
}

/// The address of an endpoint as a key.
pub(super) fn key_of_addr(addr: SocketAddr) -> u64 {
    let mut bytes = [0; 18];
    match addr.ip() {
        std::net::IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        std::net::IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
    bytes[16..].copy_from_slice(&addr.port().to_be_bytes());
    key_of(&bytes)
}

/// How much an endpoint is wanted for a key: the one that is wanted most is asked (rendezvous hashing). So
/// only the keys of an endpoint that goes move, and they come back with it.
pub(super) fn weight(key: u64, endpoint: u64) -> u64 {
    mix(key ^ endpoint.rotate_left(17))
}

/// The finalizer of SplitMix64.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_different_and_everybody_gets_a_turn() {
        assert_eq!(two_of(0, u64::MAX), (0, 0));
        assert_eq!(two_of(1, u64::MAX), (0, 0));
        let mut seen = [0; 5];
        for n in 0..10_000 {
            let (a, b) = two_of(5, mix(n));
            assert_ne!(a, b);
            seen[a] += 1;
            seen[b] += 1;
        }
        assert!(seen.iter().all(|n| (3700..4300).contains(n)), "{seen:?}");
    }

    fn owner(key: u64, endpoints: &[u64]) -> u64 {
        let most = endpoints.iter().max_by_key(|one| weight(key, **one));
        *most.unwrap()
    }

    #[test]
    fn only_the_keys_of_the_one_that_goes_move() {
        let addr = |n: u16| key_of_addr(SocketAddr::from(([10, 0, 0, 1], n)));
        let all: Vec<u64> = (1..=10).map(addr).collect();
        let (gone, rest) = all.split_last().unwrap();
        let mut shares = [0; 10];
        for n in 0..10_000_u32 {
            let key = key_of(&n.to_be_bytes());
            let before = owner(key, &all);
            shares[all.iter().position(|one| *one == before).unwrap()] += 1;
            if before != *gone {
                assert_eq!(owner(key, rest), before);
            }
        }
        assert!(shares.iter().all(|n| (850..1150).contains(n)), "{shares:?}");
    }
}
