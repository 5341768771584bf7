//! Tokens that are good, and all the ways in which they are not.

use super::token::verify;
use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

/// The modulus of RFC 7515, appendix A.2, and tokens that were signed with it elsewhere.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJqb2UiLCJhdWQiOiJtY3BkIiwic3ViIjoidGlsbC03IiwiZXhwIjo0MTAyNDQ0ODAwfQ.ZebrdMR1Ru3V4QvG532ymPWBGn2Uzjk5YKv8eLaQdZCr0uGiAhGMsIy2atDaVGuTHxy2fEtspzMq2uw4NoGO76Td_XSunG5z7bM9Arh55KFvBVc_BBH2iq_RAh7XtXJsc2zyqhEKxy53PXDhLqnBYY8R1wz5ou9idSOKy3b5Q9XU-d3vR6q0ZAs-iQVrQL8QPboGqrJYHfTFu_ORiv7G3pDyEGrUvqok36cGXB0Ali-wxUYTqKC9DkAiA0ANOi0U0nlmmOwDsMRZuyjNawr8xnDEUD9XU5Ya_9Jh_RjvkrHFpCHescyyCcdk0qrD3edDeyeenBThRhFMfilGaDzRKg";
const PS256: &str = "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJqb2UiLCJhdWQiOiJtY3BkIiwic3ViIjoidGlsbC03IiwiZXhwIjo0MTAyNDQ0ODAwfQ.U4jXjBa3LzgltMa_PmedxQfFQxFC1mNJAMQ-pg3eXCnaR3eKzL7jVdujH8dYJ-TWJgFrIglli5APGWn-U2SFwNykFIEPNtU01v94XtQ5McL-yrFemoq_S1OfA0sNJHCFcvyifGvlNhveEjL4Xp_S8CF5jmoqVIp7c4a1Cb5Wn-DCy5hvcXs6lJs5_ZdbbuH7S5Cq9jdcrfDu5G7qW6S7lAP_EXdWlPURrLHQJMk5mk84j9DXqx6qsIXo3JJujm4TM1FikDF2QZdWdzE-dPzSnZKxucg8NpCAm7kQ1LGq-m5S2UaPhm4naaTQyTR8qmFwIfNQ-ec05fHOhkbcCnmPuA";

/// A P-256 key and an Ed25519 one, made anew.
struct Signers {
    p256: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signers {
    fn new() -> Signers {
        let (random, how) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let p256 = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Signers {
            p256: EcdsaKeyPair::from_pkcs8(how, p256.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let (x, y) = self.p256.public_key().as_ref()[1..].split_at(32);
        let ed = encode(self.ed.public_key());
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(x), "y": encode(y), "use": "sig"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": ed},
            {"kty": "RSA", "kid": "rsa", "n": N, "e": "AQAB"},
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": N, "e": "AQAB"},
            {"kty": "EC", "crv": "P-521", "kid": "large", "x": "AA", "y": "AA"},
        ]})
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(self.jwks().to_string().as_bytes()).unwrap()
    }

    /// A token of this header and these claims, signed as the header says; with a key of ours whatever
    /// it says.
    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = match header.contains("EdDSA") {
            true => encode(self.ed.sign(signed.as_bytes())),
            false => {
                let random = SystemRandom::new();
                encode(self.p256.sign(&random, signed.as_bytes()).unwrap())
            }
        };
        format!("{signed}.{signature}")
    }
}

const EC: &str = r#"{"alg": "ES256", "kid": "ec", "typ": "JWT"}"#;
const GOOD: &str = r#"{"iss": "joe", "aud": ["x", "mcpd"], "sub": "till-7", "exp": 2000, "nbf": 1000,
    "groups": ["a", "b"], "tenant": "acme", "n": 1}"#;

fn rules() -> Rules {
    let asymmetric = Algorithm::ALL.map(|(algorithm, _)| algorithm);
    Rules {
        issuer: "joe".to_owned(),
        audiences: vec!["other".to_owned(), "mcpd".to_owned()],
        leeway: Duration::from_secs(10),
        algorithms: asymmetric.to_vec(),
        subject_claim: "sub".to_owned(),
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn refused(signers: &Signers, token: &str) -> AuthResult {
    let judged = verify(token.as_bytes(), &signers.keys(), &rules(), at(1500));
    judged.expect_err(token)
}

#[test]
fn good_tokens_of_every_kind_are_believed() {
    let signers = Signers::new();
    let keys = signers.keys();
    assert_eq!((keys.len(), keys.unused), (3, 3));
    let ed = signers.sign(r#"{"alg": "EdDSA", "kid": "ed"}"#, GOOD);
    for token in [&signers.sign(EC, GOOD), &ed, RS256, PS256] {
        let claims = verify(token.as_bytes(), &keys, &rules(), at(1500)).unwrap();
        assert_eq!(claims.subject(), "till-7");
    }
    let claims = verify(ed.as_bytes(), &keys, &rules(), at(1500)).unwrap();
    assert_eq!(claims.expires, at(2010));
    for (name, value, has) in [
        ("groups", "b", true),
        ("groups", "c", false),
        ("tenant", "acme", true),
        ("tenant", "acm", false),
        ("n", "1", false),
        ("none", "", false),
    ] {
        assert_eq!(claims.has(name, value), has, "{name} {value}");
    }
}

#[test]
fn a_signature_is_of_the_key_that_is_named_and_of_every_byte() {
    let signers = Signers::new();
    let good = signers.sign(EC, GOOD);
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let judged = verify(&bytes, &signers.keys(), &rules(), super::tests::at(1500));
        assert!(judged.is_err(), "byte {at}");
    }
    let stranger = Signers::new().sign(EC, GOOD);
    assert_eq!(refused(&signers, &stranger), AuthResult::Signature);
    // Another key of the same document.
    let ed = r#"{"alg": "ES256", "kid": "ed"}"#;
    assert_eq!(
        refused(&signers, &signers.sign(ed, GOOD)),
        AuthResult::Algorithm
    );
    assert_eq!(
        refused(&signers, &format!("{good}A")),
        AuthResult::Signature
    );
}

#[test]
fn algorithms_are_what_we_say_and_not_what_the_token_says() {
    let signers = Signers::new();
    for (header, wanted) in [
        (r#"{"alg": "none"}"#, AuthResult::Algorithm),
        (r#"{"alg": "none", "kid": "ec"}"#, AuthResult::Algorithm),
        (r#"{"alg": "NONE", "kid": "ec"}"#, AuthResult::Algorithm),
        (r#"{"alg": "", "kid": "ec"}"#, AuthResult::Algorithm),
        (r#"{"kid": "ec"}"#, AuthResult::Algorithm),
        (r#"{"alg": 7, "kid": "ec"}"#, AuthResult::Header),
        (
            r#"{"alg": "HS256", "kid": "secret"}"#,
            AuthResult::Algorithm,
        ),
        (r#"{"alg": "RS256", "kid": "ec"}"#, AuthResult::Algorithm),
        (r#"{"alg": "RS256", "kid": "enc"}"#, AuthResult::Key),
        (r#"{"alg": "ES384", "kid": "ec"}"#, AuthResult::Algorithm),
    ] {
        assert_eq!(
            refused(&signers, &signers.sign(header, GOOD)),
            wanted,
            "{header}"
        );
    }
    let unsigned = format!("{}.{}.", encode(r#"{"alg": "none"}"#), encode(GOOD));
    assert_eq!(refused(&signers, &unsigned), AuthResult::Algorithm);
    // The public key of RSA as the secret of an HMAC.
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg": "HS256", "kid": "rsa"}"#),
        encode(GOOD)
    );
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, N.as_bytes());
    let confused = format!(
        "{signed}.{}",
        encode(ring::hmac::sign(&secret, signed.as_bytes()))
    );
    assert_eq!(refused(&signers, &confused), AuthResult::Algorithm);
    // One that is allowed to nobody here.
    let few = Rules {
        algorithms: vec![Algorithm::Rs256],
        ..rules()
    };
    let token = signers.sign(EC, GOOD);
    let judged = verify(token.as_bytes(), &signers.keys(), &few, at(1500));
    assert_eq!(judged.unwrap_err(), AuthResult::Algorithm);
}

#[test]
fn headers_that_bring_their_own_keys_or_meaning_are_refused() {
    let signers = Signers::new();
    for field in [
        r#""jku": "https://evil.example/keys""#,
        r#""x5u": "https://evil.example/cert""#,
        r#""jwk": {"kty": "oct"}"#,
        r#""x5c": []"#,
        r#""crit": ["exp"]"#,
        r#""crit": []"#,
        r#""b64": false"#,
        r#""zip": "DEF""#,
        r#""enc": "A128GCM""#,
        r#""cty": "JWT""#,
        r#""typ": "dpop+jwt""#,
        r#""typ": 1"#,
    ] {
        let header = format!(r#"{{"alg": "ES256", "kid": "ec", {field}}}"#);
        assert_eq!(
            refused(&signers, &signers.sign(&header, GOOD)),
            AuthResult::Header,
            "{field}"
        );
    }
    for (header, wanted) in [
        (r#"{"alg": "ES256"}"#, AuthResult::Key),
        (r#"{"alg": "ES256", "kid": "eC"}"#, AuthResult::Key),
        (r#"{"alg": "ES256", "kid": 7}"#, AuthResult::Header),
        (
            r#"{"alg": "none", "alg": "ES256", "kid": "ec"}"#,
            AuthResult::Malformed,
        ),
        (
            r#"{"alg": "ES256", "kid": "x", "k\u0069d": "ec"}"#,
            AuthResult::Malformed,
        ),
        ("[]", AuthResult::Malformed),
        ("", AuthResult::Malformed),
    ] {
        assert_eq!(
            refused(&signers, &signers.sign(header, GOOD)),
            wanted,
            "{header}"
        );
    }
    let long = format!(r#"{{"alg": "ES256", "kid": "{}"}}"#, "k".repeat(300));
    assert_eq!(
        refused(&signers, &signers.sign(&long, GOOD)),
        AuthResult::Header
    );
    let typed = r#"{"alg": "ES256", "kid": "ec", "typ": "application/at+jwt", "x5t": "a"}"#;
    let token = signers.sign(typed, GOOD);
    assert!(verify(token.as_bytes(), &signers.keys(), &rules(), at(1500)).is_ok());
}

#[test]
fn claims_have_to_be_there_to_be_ours_and_to_be_of_now() {
    let signers = Signers::new();
    let (iss, aud, sub) = (r#""iss":"joe""#, r#""aud":"mcpd""#, r#""sub":"a""#);
    let exp = r#""exp":2000"#;
    for (claims, wanted) in [
        (format!("{iss},{aud},{sub}"), AuthResult::Claims),
        (
            format!(r#"{iss},{aud},{sub},"exp":"2000""#),
            AuthResult::Claims,
        ),
        (format!(r#"{iss},{aud},{sub},"exp":-1"#), AuthResult::Claims),
        (
            format!(r#"{iss},{aud},{sub},"exp":1e300"#),
            AuthResult::Claims,
        ),
        (
            format!(r#"{iss},{aud},{sub},"exp":null"#),
            AuthResult::Claims,
        ),
        (
            format!(r#"{iss},{aud},{sub},"exp":1490"#),
            AuthResult::Expired,
        ),
        (format!(r#"{iss},{aud},{sub},"exp":0"#), AuthResult::Expired),
        (
            format!(r#"{iss},{aud},{sub},{exp},"nbf":1511"#),
            AuthResult::NotYet,
        ),
        (
            format!(r#"{iss},{aud},{sub},{exp},"nbf":"x""#),
            AuthResult::Claims,
        ),
        (format!("{aud},{sub},{exp}"), AuthResult::Issuer),
        (
            format!(r#""iss":"Joe",{aud},{sub},{exp}"#),
            AuthResult::Issuer,
        ),
        (
            format!(r#""iss":["joe"],{aud},{sub},{exp}"#),
            AuthResult::Issuer,
        ),
        (
            format!(r#""iss":"joe/",{aud},{sub},{exp}"#),
            AuthResult::Issuer,
        ),
        (format!("{iss},{sub},{exp}"), AuthResult::Audience),
        (
            format!(r#"{iss},{sub},{exp},"aud":"mcpd2""#),
            AuthResult::Audience,
        ),
        (
            format!(r#"{iss},{sub},{exp},"aud":[]"#),
            AuthResult::Audience,
        ),
        (
            format!(r#"{iss},{sub},{exp},"aud":{{"mcpd":1}}"#),
            AuthResult::Audience,
        ),
        (format!("{iss},{aud},{exp}"), AuthResult::Claims),
        (format!(r#"{iss},{aud},{exp},"sub":7"#), AuthResult::Claims),
        (format!(r#"{iss},{aud},{exp},"sub":"""#), AuthResult::Claims),
        (
            format!(r#"{iss},{aud},{exp},"sub":"a\nb""#),
            AuthResult::Claims,
        ),
        (
            format!(r#"{iss},{aud},{sub},{exp},"exp":9000"#),
            AuthResult::Malformed,
        ),
        (
            format!(r#"{iss},{aud},{sub},{exp},"sub":"admin""#),
            AuthResult::Malformed,
        ),
    ] {
        let token = signers.sign(EC, &format!("{{{claims}}}"));
        assert_eq!(refused(&signers, &token), wanted, "{claims}");
    }
    // Within the leeway.
    let edge = format!(r#"{{{iss},{aud},{sub},"exp":1491,"nbf":1510}}"#);
    let token = signers.sign(EC, &edge);
    assert!(verify(token.as_bytes(), &signers.keys(), &rules(), at(1500)).is_ok());
}

#[test]
fn what_is_no_jwt_or_too_much_of_one_is_refused() {
    let signers = Signers::new();
    let good = signers.sign(EC, GOOD);
    let (parts, _) = good.rsplit_once('.').unwrap();
    for token in ["..", "a.b.c", "a.b.c.d", parts, "", "....", "\u{e9}.b.c"] {
        assert_eq!(refused(&signers, token), AuthResult::Malformed, "{token}");
    }
    let padded = format!("{good}==");
    assert_eq!(refused(&signers, &padded), AuthResult::Malformed);
    let large = signers.sign(EC, &format!(r#"{{"x": "{}"}}"#, "x".repeat(8 << 10)));
    assert_eq!(refused(&signers, &large), AuthResult::Oversized);
    let header = format!(r#"{{"alg": "ES256", "x": "{}"}}"#, "x".repeat(2 << 10));
    assert_eq!(
        refused(&signers, &signers.sign(&header, GOOD)),
        AuthResult::Oversized
    );
    assert!(is_jwt(good.as_bytes()) && !is_jwt(b"mcpd_abc") && !is_jwt(b"a.b"));
}

#[test]
fn documents_of_keys_are_taken_whole_or_not_at_all() {
    let key =
        |rest: &str| format!(r#"{{"keys": [{{"kty": "RSA", "n": "{N}", "e": "AQAB"{rest}}}]}}"#);
    assert!(KeySet::parse(key("").as_bytes()).is_ok());
    let two = format!(
        r#"{{"keys": [{0}, {0}]}}"#,
        format_args!(r#"{{"kty":"RSA","kid":"a","n":"{N}","e":"AQAB"}}"#)
    );
    let many = format!(r#"{{"keys": [{}]}}"#, vec!["{}"; 65].join(","));
    for (text, wanted) in [
        ("", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "no list `keys`"),
        (r#"{"keys": {}}"#, "no list `keys`"),
        (r#"{"keys": [], "keys": []}"#, "a key twice"),
        (r#"{"keys": []}"#, "no key"),
        (r#"{"keys": [7]}"#, "keys[0] is no object"),
        (r#"{"keys": [{}]}"#, "keys[0] has no kty"),
        (r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, "no key"),
        (
            r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#,
            "no RSA key of 2048",
        ),
        (
            r#"{"keys": [{"kty": "RSA", "n": "+/==", "e": "AQAB"}]}"#,
            "base64url",
        ),
        (
            r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}"#,
            "another length",
        ),
        (&key(r#", "d": "AQAB""#), "private key"),
        (&key(r#", "kid": 7"#), "no text"),
        (&key(r#", "use": "enc""#), "no key"),
        (&key(r#", "key_ops": ["encrypt"]"#), "no key"),
        (&two, "kid of an earlier one"),
        (&many, "too many keys"),
    ] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
        assert!(!error.contains("c2VjcmV0") && !error.contains(N), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_look_for_keys_serves_all_who_ask_and_then_there_is_a_pause() {
    let jwt = Jwt::new(rules(), true);
    let now = Instant::now();
    let (first, second) = (jwt.ask(now).unwrap(), jwt.ask(now).unwrap());
    jwt.asked().await;
    // There is but the one.
    let more = tokio::time::timeout(Duration::from_secs(1), jwt.asked()).await;
    assert!(more.is_err());
    jwt.looked();
    tokio::join!(first, second);
    assert!(jwt.ask(now + ASK_AGAIN - Duration::from_nanos(1)).is_none());
    assert!(jwt.ask(now + ASK_AGAIN).is_some());
    assert!(Jwt::new(rules(), false).ask(now).is_none());
}

proptest::proptest! {
    /// Nothing that a client could send is believed, or breaks anything.
    #[test]
    fn made_up_tokens_are_refused(header in ".{0,30}", claims in ".{0,30}", rest in "[A-Za-z0-9_.=-]{0,30}") {
        let signers = Signers::new();
        let keys = signers.keys();
        for token in [
            format!("{}.{}.{rest}", encode(&header), encode(&claims)),
            format!("{}.{}.{rest}", encode(EC), encode(GOOD)),
            rest.clone(),
        ] {
            let judged = verify(token.as_bytes(), &keys, &rules(), at(1500));
            proptest::prop_assert!(judged.is_err());
        }
        let _ = KeySet::parse(header.as_bytes());
    }
}
