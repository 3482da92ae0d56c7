//! What is not an access token, in as many ways as are known, each made from a good one.

use std::collections::BTreeMap;

use ring::hmac;
use serde_json::{Map, Value, json};

use super::super::keys::Keys;
use super::super::secret::TokenKind;
use super::*;

const OURS: [u8; 32] = [1; 32];
const OTHERS: [u8; 32] = [2; 32];

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn claims() -> Claims {
    Claims::new(
        UserId(Uuid::from_u128(1)),
        SessionId(Uuid::from_u128(2)),
        3,
        now(),
    )
}

fn object(claims: &Claims) -> Map<String, Value> {
    let value = serde_json::to_value(claims).unwrap();
    value.as_object().unwrap().clone()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with another header, signed with our key nonetheless: the signature is never what refuses it.
fn with_header(header: &str, keys: &KeySet) -> String {
    let claims = serde_json::to_vec(&claims()).unwrap();
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = encoded(keys.sign(&signed));
    format!("{signed}.{signature}")
}

/// A token with other claims, signed with our key.
fn with_claims(text: &str, keys: &KeySet) -> String {
    sign_bytes(text.as_bytes(), keys)
}

#[derive(Default)]
struct Corpus(BTreeMap<String, String>);

impl Corpus {
    fn add(&mut self, name: impl Into<String>, token: impl Into<String>) {
        let name = name.into();
        let before = self.0.insert(name.clone(), token.into());
        assert!(before.is_none(), "{name} comes twice");
    }
}

fn headers(corpus: &mut Corpus, keys: &KeySet) {
    let public = keys.public_key(keys.header()).unwrap();
    for alg in [
        "none", "None", "NONE", "nOnE", "", " ", "EdDSA ", "eddsa", "EDDSA", "Ed25519", "Ed448",
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "ES512", "ES256K", "dir", "A256GCM", "RSA-OAEP", "EdDSA\0", "EdDSA\n",
    ] {
        let header = json!({ "alg": alg, "kid": "a", "typ": "at+jwt" }).to_string();
        corpus.add(format!("alg {alg:?}"), with_header(&header, keys));
        let unsigned = with_header(&header, keys);
        let (signed, _) = unsigned.rsplit_once('.').unwrap();
        corpus.add(format!("alg {alg:?}, unsigned"), format!("{signed}."));
        corpus.add(format!("alg {alg:?}, two parts"), signed);
        // The public key as the secret of a MAC, in the forms that it is found in.
        for (form, secret) in [
            ("raw", public.to_vec()),
            ("base64", encoded(public).into_bytes()),
            (
                "jwk",
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(public) })
                    .to_string()
                    .into_bytes(),
            ),
            ("nothing", Vec::new()),
        ] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = encoded(hmac::sign(&key, signed.as_bytes()));
            corpus.add(
                format!("alg {alg:?}, MAC by {form}"),
                format!("{signed}.{tag}"),
            );
        }
    }
    for alg in [
        json!(null),
        json!(1),
        json!(true),
        json!(["EdDSA"]),
        json!({ "alg": "EdDSA" }),
    ] {
        let header = json!({ "alg": alg, "kid": "a", "typ": "at+jwt" }).to_string();
        corpus.add(format!("alg {alg}"), with_header(&header, keys));
    }
    for kid in [
        json!("b"),
        json!("own"),
        json!(""),
        json!(null),
        json!(0),
        json!(["a"]),
        json!({ "a": 1 }),
        json!("A"),
        json!("a\0"),
        json!("a "),
        json!("../../dev/null"),
        json!("/dev/null"),
        json!("file:///dev/null"),
        json!("http://127.0.0.1/key"),
        json!("a' OR '1'='1"),
        json!("a' UNION SELECT 'x"),
        json!("a; DROP TABLE users"),
        json!("$(id)"),
        json!("a".repeat(65_536)),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt" }).to_string();
        let name: String = format!("kid {kid}").chars().take(60).collect();
        corpus.add(name, with_header(&header, keys));
    }
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!("dpop+jwt"),
        json!(null),
        json!(1),
        json!(""),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": typ }).to_string();
        corpus.add(format!("typ {typ}"), with_header(&header, keys));
    }
    for (name, value) in [
        ("jku", json!("https://example.org/keys")),
        (
            "jwk",
            json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(public) }),
        ),
        ("x5u", json!("https://example.org/cert")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
        ("crit", json!(["exp"])),
        ("crit-unknown", json!(["http://example.org/x"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("enc", json!("A256GCM")),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "a", "typ": "at+jwt" });
        header[name.split('-').next().unwrap()] = value;
        corpus.add(
            format!("header with {name}"),
            with_header(&header.to_string(), keys),
        );
    }
    for (name, header) in [
        (
            "in another order",
            r#"{"typ":"at+jwt","kid":"a","alg":"EdDSA"}"#,
        ),
        (
            "with whitespace",
            r#"{"alg":"EdDSA","kid":"a","typ":"at+jwt"} "#,
        ),
        (
            "with whitespace inside",
            r#"{ "alg":"EdDSA","kid":"a","typ":"at+jwt"}"#,
        ),
        (
            "with alg twice",
            r#"{"alg":"none","alg":"EdDSA","kid":"a","typ":"at+jwt"}"#,
        ),
        (
            "with alg twice, other way",
            r#"{"alg":"EdDSA","alg":"none","kid":"a","typ":"at+jwt"}"#,
        ),
        (
            "escaped",
            r#"{"\u0061lg":"EdDSA","kid":"a","typ":"at+jwt"}"#,
        ),
        ("without kid", r#"{"alg":"EdDSA","typ":"at+jwt"}"#),
        ("without typ", r#"{"alg":"EdDSA","kid":"a"}"#),
        ("empty", "{}"),
        ("nothing", ""),
        ("a list", "[]"),
        ("null", "null"),
        (
            "with a mark",
            "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"a\",\"typ\":\"at+jwt\"}",
        ),
    ] {
        corpus.add(format!("header {name}"), with_header(header, keys));
    }
}

fn signatures(corpus: &mut Corpus, good: &str, keys: &KeySet) {
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let bytes = decode(signature).unwrap();
    for bit in (0..bytes.len() * 8).step_by(16) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        corpus.add(
            format!("signature, bit {bit}"),
            format!("{signed}.{}", encoded(flipped)),
        );
    }
    for length in [0, 1, 31, 32, 33, 63, 65, 96, 128] {
        let mut cut = bytes.clone();
        cut.resize(length, 0);
        corpus.add(
            format!("signature of {length} bytes"),
            format!("{signed}.{}", encoded(cut)),
        );
    }
    corpus.add(
        "signature of zeros",
        format!("{signed}.{}", encoded([0; 64])),
    );
    corpus.add("signature of the neutral element", {
        let mut neutral = [0; 64];
        neutral[0] = 1;
        format!("{signed}.{}", encoded(neutral))
    });
    corpus.add("signature made larger by the order", {
        // L of Ed25519, little endian: S + L is the same number to who does not look.
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut larger = bytes.clone();
        let mut carry = 0_u16;
        for (byte, add) in larger[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        format!("{signed}.{}", encoded(larger))
    });
    corpus.add("signature twice", format!("{good}.{signature}"));
    corpus.add("signature of other claims", {
        let other = sign(
            &Claims::new(
                UserId(Uuid::from_u128(9)),
                super::tests::claims().sid,
                3,
                now(),
            ),
            keys,
        );
        format!("{signed}.{}", other.rsplit_once('.').unwrap().1)
    });
    for (name, token) in [
        ("nothing", String::new()),
        ("a dot", ".".into()),
        ("two dots", "..".into()),
        ("one part", header.into()),
        ("header and claims", format!("{header}.{claims}")),
        ("header, claims and a dot", format!("{header}.{claims}.")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("four parts", format!("{good}.{claims}")),
        (
            "five parts",
            format!("{header}.{claims}.{claims}.{claims}.{signature}"),
        ),
        ("in another order", format!("{claims}.{header}.{signature}")),
        ("a space before", format!(" {good}")),
        ("a space after", format!("{good} ")),
        ("a line after", format!("{good}\n")),
        ("a NUL after", format!("{good}\0")),
        ("a space in between", good.replacen('.', " .", 1)),
        (
            "a line in the claims",
            format!("{header}.{claims}\n.{signature}"),
        ),
        ("padded signature", format!("{good}==")),
        ("padded claims", format!("{header}.{claims}=.{signature}")),
        ("padded header", format!("{header}=.{claims}.{signature}")),
        (
            "signature in plain base64",
            format!(
                "{signed}.{}",
                base64::engine::general_purpose::STANDARD.encode(&bytes)
            ),
        ),
        ("other case", good.to_uppercase()),
        ("quoted", format!("\"{good}\"")),
        ("with its scheme", format!("Bearer {good}")),
        ("nested", with_claims(&json!(good).to_string(), keys)),
        ("100 KiB", format!("{good}{}", "A".repeat(100 * 1024))),
        (
            "100 KiB of header",
            format!("{}.{claims}.{signature}", "A".repeat(100 * 1024)),
        ),
    ] {
        corpus.add(format!("form: {name}"), token);
    }
    // The last character of a base64 text has bits that say nothing.
    let last = signature.chars().last().unwrap();
    for other in ['A', 'B', 'C', 'D', 'g', 'w', 'x', '-', '_'] {
        if other != last {
            let cut = &signature[..signature.len() - 1];
            corpus.add(
                format!("signature with last {other:?}"),
                format!("{signed}.{cut}{other}"),
            );
        }
    }
}

fn other_claims(corpus: &mut Corpus, keys: &KeySet) {
    let good = object(&claims());
    for name in good.keys() {
        let mut without = good.clone();
        without.remove(name);
        corpus.add(
            format!("without {name}"),
            with_claims(&json!(without).to_string(), keys),
        );
        for value in [
            json!(null),
            json!(true),
            json!(1.5),
            json!(-1),
            json!([]),
            json!({}),
            json!(""),
            json!([good[name].clone()]),
            json!("x"),
            json!(u64::MAX),
            json!(good[name].to_string()),
        ] {
            if name == "epoch" && value.is_u64() {
                continue;
            }
            let mut typed = good.clone();
            typed.insert(name.clone(), value.clone());
            corpus.add(
                format!("{name} is {value}"),
                with_claims(&json!(typed).to_string(), keys),
            );
        }
        for raw in [
            "1e400",
            "-0.0",
            "18446744073709551616",
            "01",
            "NaN",
            "\"\\ud800\"",
        ] {
            let text = json!(good).to_string();
            let value = good[name].to_string();
            let text = text.replacen(
                &format!("\"{name}\":{value}"),
                &format!("\"{name}\":{raw}"),
                1,
            );
            corpus.add(format!("{name} is raw {raw}"), with_claims(&text, keys));
        }
        let text = json!(good).to_string();
        let twice = format!("{{\"{name}\":{},{}", good[name], &text[1..]);
        corpus.add(format!("{name} twice"), with_claims(&twice, keys));
    }
    for (name, value) in [
        ("role", json!("admin")),
        ("scope", json!("*")),
        ("admin", json!(true)),
        ("cnf", json!({})),
        ("act", json!({ "sub": "x" })),
    ] {
        let mut more = good.clone();
        more.insert(name.into(), value);
        corpus.add(
            format!("with {name}"),
            with_claims(&json!(more).to_string(), keys),
        );
    }
    let list: Vec<_> = good.values().cloned().collect();
    let in_order = json!([
        good["iss"],
        good["aud"],
        good["sub"],
        good["sid"],
        good["epoch"],
        good["jti"],
        good["iat"],
        good["nbf"],
        good["exp"]
    ]);
    for (name, text) in [
        ("as a list", in_order.to_string()),
        ("as a list of any order", json!(list).to_string()),
        ("in a list", json!([good]).to_string()),
        ("twice", format!("{0}{0}", json!(good))),
        ("with more after", format!("{},", json!(good))),
        (
            "not whole",
            json!(good).to_string().trim_end_matches('}').into(),
        ),
        ("nothing", String::new()),
        ("null", "null".into()),
        ("not UTF-8, nearly", "{\"iss\":\"\\xff\"}".into()),
    ] {
        corpus.add(format!("claims {name}"), with_claims(&text, keys));
    }
    for iss in ["ETL", "etl ", "https://etl", "etl-api", "other"] {
        let claims = Claims {
            iss: iss.into(),
            ..claims()
        };
        corpus.add(format!("iss {iss:?}"), sign(&claims, keys));
    }
    for aud in ["etl", "ETL-API", "etl-api ", "etl-ui", "*"] {
        let claims = Claims {
            aud: aud.into(),
            ..claims()
        };
        corpus.add(format!("aud {aud:?}"), sign(&claims, keys));
    }
    let at = seconds(now());
    for (name, iat, nbf, exp) in [
        ("expired", at - 901, at - 901, at - 1),
        ("expired just now", at - 900, at - 900, at),
        ("of the past", 0, 0, 900),
        ("of before", -1000, -1000, -100),
        ("not yet", at, at + SKEW + 1, at + 900),
        ("of the future", at + SKEW + 1, at, at + 900),
        ("far ahead", at + 86_400, at + 86_400, at + 87_300),
        ("for too long", at, at, at + 901),
        ("for ever", at, at, i64::MAX),
        ("since ever", i64::MIN, i64::MIN, i64::MAX),
        ("until before", at, at, i64::MIN),
        ("at the end of time", i64::MAX, i64::MAX, i64::MAX),
    ] {
        let claims = Claims {
            iat,
            nbf,
            exp,
            ..claims()
        };
        corpus.add(format!("times {name}"), sign(&claims, keys));
    }
}

fn other_keys(corpus: &mut Corpus) {
    // Another deployment's, under its own name and under ours.
    for name in ["a", "b", "own"] {
        let keys = Keys::of_seeds(&[(name, OTHERS)]);
        let keys = keys.now();
        corpus.add(
            format!("key of others, called {name}"),
            sign(&claims(), &keys),
        );
    }
    for kind in [
        TokenKind::Refresh,
        TokenKind::ApiKey,
        TokenKind::Challenge,
        TokenKind::Setup,
    ] {
        corpus.add(format!("{kind:?}"), kind.token().unwrap().expose());
    }
}

#[tokio::test]
async fn nothing_but_an_access_token_is_one() {
    let keys = Keys::of_seeds(&[("a", OURS), ("c", [3; 32])]).get().await;
    let good = sign(&claims(), &keys);
    let mut corpus = Corpus::default();
    headers(&mut corpus, &keys);
    signatures(&mut corpus, &good, &keys);
    other_claims(&mut corpus, &keys);
    other_keys(&mut corpus);
    assert!(corpus.0.len() >= 500, "{}", corpus.0.len());
    let accepted: Vec<_> = corpus
        .0
        .iter()
        .filter(|(_, token)| read(token, &keys, now()).is_ok())
        .map(|(name, _)| name)
        .collect();
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[tokio::test]
async fn good_tokens_are_accepted() {
    let keys = Keys::of_seeds(&[("a", OURS), ("c", [3; 32])]).get().await;
    let expected = claims();
    let token = sign(&expected, &keys);
    assert_eq!(read(&token, &keys, now()), Ok(expected.clone()));
    // By any key that may sign now, in any order of claims, until its end, and by a clock that is a little behind.
    let signed_before = Keys::of_seeds(&[("c", [3; 32])]).get().await;
    assert!(read(&sign(&expected, &signed_before), &keys, now()).is_ok());
    let text = serde_json::to_string(&object(&expected)).unwrap();
    assert!(read(&with_claims(&text, &keys), &keys, now()).is_ok());
    assert!(read(&token, &keys, now() + Duration::from_secs(899)).is_ok());
    assert!(read(&token, &keys, now() - Duration::from_secs(SKEW as u64)).is_ok());
    assert_eq!(read(&token, &keys, now() + LIFE), Err(Flaw::NotGood));
    assert_eq!(read(&token, &signed_before, now()), Err(Flaw::UnknownKey));
}
