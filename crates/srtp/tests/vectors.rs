//! Published test vectors.

use rtc_srtp::crypto::providers::RingProvider;
use rtc_srtp::crypto::{AeadAlgorithm, HmacAlgorithm, RTCCryptoProvider as _, StreamCipherAlgorithm};
use vox_frame::Stamp;
use vox_srtp::{MasterKey, Protector, Suite, Unprotector};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Key and salt of RFC 3711, appendix B.3, and the packets that libsrtp's own test makes with them.
const CM_KEY: &str = "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6";
const RTP: &str = "800f1234decafbadcafebabe abababababababababababababababab";
const RTCP: &str = "81c8000bcafebabe abababababababababababababababab";

fn assert_both_ways(suite: Suite, key: &str, plain: &str, secured: &str, is_rtcp: bool) {
    let key = MasterKey::from_bytes(suite, &hex(key)).expect("a key");
    let (mut out, mut back) = (Vec::new(), Vec::new());
    let (mut protector, mut unprotector) = (Protector::new(&key), Unprotector::new(key, 1));
    if is_rtcp {
        protector.protect_rtcp(&hex(plain), &mut out).expect("protected");
        unprotector.handle_rtcp(Stamp::ZERO, &hex(secured), &mut back).expect("opened");
    } else {
        protector.protect_rtp(&hex(plain), &mut out).expect("protected");
        unprotector.handle_rtp(Stamp::ZERO, &hex(secured), &mut back).expect("opened");
    }
    assert_eq!(out, hex(secured), "{suite}");
    assert_eq!(back, hex(plain), "{suite}");
}

#[test]
fn counter_mode_packets_are_those_of_libsrtp() {
    let rtp = "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb";
    assert_both_ways(Suite::AesCm128HmacSha1_80, CM_KEY, RTP, rtp, false);
    let rtcp = "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798";
    let short = "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc";
    assert_both_ways(Suite::AesCm128HmacSha1_32, CM_KEY, RTP, short, false);
    assert_both_ways(Suite::AesCm128HmacSha1_80, CM_KEY, RTCP, rtcp, true);
    assert_both_ways(Suite::AesCm128HmacSha1_32, CM_KEY, RTCP, rtcp, true);
}

#[test]
fn galois_counter_mode_packets_are_those_of_libsrtp() {
    let key = "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab";
    let rtp = "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392";
    assert_both_ways(Suite::AeadAes128Gcm, key, RTP, rtp, false);
    let rtcp = "81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001";
    assert_both_ways(Suite::AeadAes128Gcm, key, RTCP, rtcp, true);
}

/// RFC 3711, appendix B.3: the session keys that come of the master key above secure the packet as our own code does.
#[test]
fn session_keys_are_those_of_rfc_3711() {
    let provider = RingProvider::new();
    let (session_key, session_salt) = (hex("c61e7a93744f39ee10734afe3ff7a087"), hex("30cbbc08863d8c85d49db34a9ae1"));
    let auth_key = hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4");
    let mut expected = hex(RTP);
    // Section 4.1.1: IV = (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16).
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(&session_salt);
    for (byte, with) in iv[4..].iter_mut().zip(hex("cafebabe 00000000 1234")) {
        *byte ^= with;
    }
    let crypto = provider.crypto();
    let mut cipher = crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &session_key).unwrap();
    cipher.apply_keystream(&iv, &mut expected[12..]).unwrap();
    let mut tag = [0; 20];
    crypto.new_hmac(HmacAlgorithm::Sha1, &auth_key).unwrap().sign(&[&expected, &[0; 4]], &mut tag).unwrap();
    expected.extend_from_slice(&tag[..10]);

    let key = MasterKey::from_bytes(Suite::AesCm128HmacSha1_80, &hex(CM_KEY)).unwrap();
    let mut out = Vec::new();
    Protector::new(&key).protect_rtp(&hex(RTP), &mut out).unwrap();
    assert_eq!(out, expected);
}

/// RFC 3711, appendix B.2: the first two and the last three blocks of a key stream.
#[test]
fn the_key_stream_is_that_of_rfc_3711() {
    let provider = RingProvider::new();
    let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(&hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd"));
    let mut stream = vec![0; 0xff02 * 16];
    let mut cipher = provider.crypto().new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &key).unwrap();
    cipher.apply_keystream(&iv, &mut stream).unwrap();
    assert_eq!(stream[..32], hex("e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab"));
    let last = "ec8cdf7398607cb0f2d21675ea9ea1e4 362b7c3c6773516318a077d7fc5073ae 6a2cc3787889374fbeb4c81b17ba6c44";
    assert_eq!(stream[0xfeff * 16..], hex(last));
}

/// RFC 7714, section 16.1.1: its key and salt are those of the session, so the cipher is called with them.
#[test]
fn galois_counter_mode_is_that_of_rfc_7714() {
    let provider = RingProvider::new();
    let header = hex("8040f17b 8041f8d3 5501a0b2");
    let mut payload = hex("47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let salt = hex("517569642070726f2071756f");
    // Section 8.1: two zeros, SSRC, roll-over counter, sequence number, and the salt.
    let iv: Vec<u8> = hex("0000 5501a0b2 00000000 f17b").iter().zip(&salt).map(|(a, b)| a ^ b).collect();
    assert_eq!(iv, hex("51753c6580c2726f20718414"));
    let key = hex("000102030405060708090a0b0c0d0e0f");
    let mut cipher = provider.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &key).unwrap();
    let mut tag = [0; 16];
    cipher.seal_in_place(&iv, &header, &mut payload, &mut tag).unwrap();
    let expected = hex("f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833");
    assert_eq!(payload, expected);
    assert_eq!(tag.to_vec(), hex("899d7f27 beb16a91 52cf765e e4390cce"));
}
