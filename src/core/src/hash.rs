//! H64: the one hash by which hosts agree on an order or a place without talking.
//!
//! Used for the page of a domain's uuid, the order in which a machine tries slots, the preference of hosts for a domain
//! (rendezvous hashing), and the hash of a disk chain. It decides nothing about safety: two hosts that disagree on an
//! order meet at the domain lease.

use sha2::{Digest, Sha256};

/// H64(x): the first 8 bytes, little endian, of SHA-256 over the parts one after another.
///
/// The caller makes the parts unambiguous: fixed lengths, or a length before each.
#[must_use]
pub fn h64(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_first_eight_bytes_little_endian_of_sha256() {
        // SHA-256("") begins with e3b0c44298fc1c14, SHA-256("abc") with ba7816bf8f01cfea.
        assert_eq!(h64(&[]), 0x141c_fc98_42c4_b0e3);
        assert_eq!(h64(&[b"abc"]), 0xeacf_018f_bf16_78ba);
        assert_eq!(h64(&[b"a", b"bc"]), h64(&[b"abc"]), "parts are simply joined");
    }
}
