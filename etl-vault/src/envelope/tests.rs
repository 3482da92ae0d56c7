use aes_gcm::aead::Aead;
use aes_gcm::aead::Payload;
use etl_core::model::CredentialId;
use uuid::Uuid;

use super::*;
use crate::key::Passphrase;

const NAMES: [&str; 20] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t",
];

fn place(at: usize) -> Place<'static> {
    Place {
        id: CredentialId(Uuid::from_u128(at as u128)),
        namespace: ["default", "other"][at % 2],
        name: NAMES[at],
        connector_type: ["command", "http"][at % 2],
        version: 1,
    }
}

fn key() -> Key {
    Key::new(Zeroizing::new([42; KEY_BYTES]))
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Test cases 13 to 16 of «The Galois/Counter Mode of Operation» (McGrew and Viega), which NIST took over for AES-256.
#[test]
fn the_cipher_gives_the_known_answers_of_nist() {
    let zeros = "00".repeat(32);
    let other = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                  8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    let bound = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let cases = [
        (
            zeros.as_str(),
            "000000000000000000000000",
            "",
            "",
            String::new(),
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            zeros.as_str(),
            "000000000000000000000000",
            &"00".repeat(16),
            "",
            "cea7403d4d606b6e074ec5d3baf39d18".into(),
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            other,
            "cafebabefacedbaddecaf888",
            text,
            "",
            sealed.into(),
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
        (
            other,
            "cafebabefacedbaddecaf888",
            &text[..120],
            bound,
            sealed[..120].into(),
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    for (key, nonce, text, bound, sealed, tag) in cases {
        let cipher = Aes256Gcm::new_from_slice(&hex(key)).unwrap();
        let payload = Payload {
            msg: &hex(text),
            aad: &hex(bound),
        };
        let nonce = hex(nonce);
        let got = cipher.encrypt(Nonce::from_slice(&nonce), payload).unwrap();
        assert_eq!(got, hex(&format!("{sealed}{tag}")));
        let key: [u8; KEY_BYTES] = hex(key).try_into().unwrap();
        let opened = decrypt(&key, &nonce, &hex(bound), &got).unwrap();
        assert_eq!(*opened, hex(text));
    }
}

/// PBKDF2-HMAC-SHA256 of «passwd» and «salt» (RFC 7914, section 11), and the same by 80,000 rounds.
#[test]
fn the_derivation_gives_the_known_answers_of_rfc_7914() {
    let mut got = [0; 64];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(b"passwd", b"salt", 1, &mut got);
    assert_eq!(
        got[..],
        hex(
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        )
    );
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(b"Password", b"NaCl", 80_000, &mut got);
    assert_eq!(
        got[..],
        hex(
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
             a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
        )
    );
}

#[test]
fn what_is_sealed_opens_in_its_own_place_and_in_no_other() {
    let key = key();
    let sealed: Vec<_> = (0..20)
        .map(|at| seal(&key, place(at), format!("secret {at}").as_bytes()).unwrap())
        .collect();
    let mut opened = 0;
    for (at, sealed) in sealed.iter().enumerate() {
        for row in 0..20 {
            match open(&key, place(row), sealed) {
                Ok(secret) => {
                    assert_eq!((row, &secret[..]), (at, format!("secret {at}").as_bytes()));
                    opened += 1;
                }
                Err(Shut) => assert_ne!(row, at),
            }
        }
    }
    assert_eq!(opened, 20);
    // Each part of the place by itself.
    let here = place(0);
    for there in [
        Place {
            id: CredentialId(Uuid::from_u128(9)),
            ..here
        },
        Place {
            namespace: "other",
            ..here
        },
        Place { name: "b", ..here },
        Place {
            connector_type: "http",
            ..here
        },
        Place { version: 2, ..here },
        Place {
            namespace: "defaulta",
            name: "",
            ..here
        },
    ] {
        assert_eq!(open(&key, there, &sealed[0]), Err(Shut), "{there:?}");
    }
}

#[test]
fn no_flipped_bit_and_no_cut_opens() {
    let from_file = key();
    let from_words = Passphrase::new("correct horse battery".into())
        .unwrap()
        .derive([9; SALT_BYTES]);
    for (key, secrets) in [(&from_file, 8), (&from_words, 2)] {
        for at in 0..secrets {
            let whole = seal(
                key,
                place(at),
                format!("{{\"password\":\"{at}\"}}").as_bytes(),
            )
            .unwrap();
            assert!(open(key, place(at), &whole).is_ok());
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(key, place(at), &flipped), Err(Shut), "bit {bit}");
            }
            for length in 0..whole.len() {
                assert_eq!(
                    open(key, place(at), &whole[..length]),
                    Err(Shut),
                    "{length}"
                );
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(open(key, place(at), &longer), Err(Shut));
        }
    }
}

#[test]
fn another_key_opens_nothing_even_under_the_same_id() {
    let sealed = seal(&key(), place(0), b"secret").unwrap();
    let other = Key::new(Zeroizing::new([43; KEY_BYTES]));
    assert_eq!(open(&other, place(0), &sealed), Err(Shut));
    let mut renamed = sealed;
    renamed[2..10].copy_from_slice(&other.id().0);
    assert_eq!(open(&other, place(0), &renamed), Err(Shut));
    assert_eq!(open(&key(), place(0), &renamed), Err(Shut));
}

#[test]
fn the_same_secret_is_never_sealed_alike() {
    let key = key();
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let sealed = seal(&key, place(0), b"secret").unwrap();
        assert!(
            nonces.insert(sealed[11..23].to_vec()),
            "the nonce under the master key"
        );
        assert!(
            nonces.insert(sealed[71..83].to_vec()),
            "the nonce of the secret"
        );
    }
}

#[test]
fn what_is_sealed_says_its_key_and_has_nothing_of_the_secret() {
    let secret = b"a canary that sings in the dark";
    let sealed = seal(&key(), place(0), secret).unwrap();
    let told = Header {
        key: key().id(),
        salt: None,
    };
    assert_eq!(header(&sealed), Ok(told));
    assert!(
        !sealed
            .windows(6)
            .any(|bytes| secret.windows(6).any(|of| of == bytes))
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, prefix in 0_usize..3) {
        let begin: [&[u8]; 3] = [&[], &[1, 1], &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
        let bytes = [begin[prefix], &bytes[..]].concat();
        proptest::prop_assert_eq!(open(&key(), place(0), &bytes), Err(Shut));
    }
}
