//! The keys that JWTs are signed with: a JWKS document.

use super::json;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Most keys of a document: the one in use, and those it is changed for, for a few issuers' worth.
const MAX_KEYS: usize = 64;
/// Longest `kid`.
pub(super) const MAX_KID: usize = 256;

/// How a JWT is signed. Only ways in which verifying needs no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "these are the names of RFC 7518 and 8037")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, with the name that `alg` has for it.
    pub const ALL: [(Algorithm, &'static str); 9] = [
        (Algorithm::Rs256, "RS256"),
        (Algorithm::Rs384, "RS384"),
        (Algorithm::Rs512, "RS512"),
        (Algorithm::Ps256, "PS256"),
        (Algorithm::Ps384, "PS384"),
        (Algorithm::Ps512, "PS512"),
        (Algorithm::Es256, "ES256"),
        (Algorithm::Es384, "ES384"),
        (Algorithm::EdDsa, "EdDSA"),
    ];

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Algorithm> {
        let mut all = Algorithm::ALL.iter();
        all.find(|(_, known)| *known == name).map(|(this, _)| *this)
    }
}

/// Public keys by their `kid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys of the document that are of no use here.
    pub unused: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    kid: Option<String>,
    /// The one algorithm that it is for, if its owner says so.
    only: Option<Algorithm>,
    public: Public,
    /// Tells it from every other one.
    pub(super) id: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// Reads a JWKS document. Keys for encryption, for other algorithms and symmetric ones are left out.
    ///
    /// # Errors
    /// What is wrong, without what a key holds.
    ///
    /// ```
    /// use mcpd::auth::KeySet;
    ///
    /// let key = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///                          "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// assert_eq!(KeySet::parse(key)?.len(), 1);
    /// assert!(KeySet::parse(br#"{"keys": []}"#).is_err());
    /// # Ok::<(), String>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<KeySet, String> {
        let object = json::object(text).ok_or("is no JSON object, or has a key twice")?;
        let Some(Value::Array(items)) = object.get("keys") else {
            return Err("is no JWKS document: it has no list `keys`".to_owned());
        };
        if items.len() > MAX_KEYS {
            return Err(format!("has too many keys; at most {MAX_KEYS} are taken"));
        }
        let mut keys: Vec<Key> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let key = Key::read(item).map_err(|why| format!("keys[{at}] {why}"))?;
            let Some(key) = key else { continue };
            if key.kid.is_some() && keys.iter().any(|other| other.kid == key.kid) {
                return Err(format!("keys[{at}] has the kid of an earlier one"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("has no key that a JWT could be verified with".to_owned());
        }
        let unused = items.len() - keys.len();
        Ok(KeySet { keys, unused })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never, as a document has at least one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a token names; one that names none gets the only key there is.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    pub(super) fn has(&self, id: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key.id == *id)
    }
}

impl Key {
    fn read(item: &Value) -> Result<Option<Key>, &'static str> {
        let Value::Object(fields) = item else {
            return Err("is no object");
        };
        let text = |key: &str| json::text(fields, key).map_err(|()| "has a field that is no text");
        if !is_for_signatures(fields) {
            return Ok(None);
        }
        let only = match text("alg")? {
            None => None,
            Some(name) => match Algorithm::named(name) {
                None => return Ok(None),
                known => known,
            },
        };
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err("has a kid that is too long");
        }
        let public = match (text("kty")?, text("crv")?) {
            (Some("RSA"), _) => rsa(fields)?,
            (Some("EC"), Some("P-256")) => Public::P256(point(fields, 32)?),
            (Some("EC"), Some("P-384")) => Public::P384(point(fields, 48)?),
            (Some("OKP"), Some("Ed25519")) => Public::Ed25519(exactly(fields, "x", 32)?),
            (None, _) => return Err("has no kty"),
            _ => return Ok(None),
        };
        // Whoever can read the document could sign with it.
        if fields.contains_key("d") {
            return Err("holds a private key; publish its public part alone, and replace it");
        }
        let id = public.id(kid.as_deref());
        Ok(Some(Key {
            kid,
            only,
            public,
            id,
        }))
    }

    /// How to verify `algorithm` with this key; `None` if it is not for that. Whatever the token says,
    /// an RSA key verifies RSA signatures and nothing else.
    pub(super) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        use Algorithm as A;
        if self.only.is_some_and(|only| only != algorithm) {
            return None;
        }
        let rsa = |n: &Vec<u8>, e: &Vec<u8>, how| {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(how, message, signature).is_ok()
        };
        let other = |bytes: &Vec<u8>, how: &'static dyn signature::VerificationAlgorithm| {
            let key = UnparsedPublicKey::new(how, bytes);
            key.verify(message, signature).is_ok()
        };
        Some(match (&self.public, algorithm) {
            (Public::Rsa { n, e }, A::Rs256) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA256),
            (Public::Rsa { n, e }, A::Rs384) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA384),
            (Public::Rsa { n, e }, A::Rs512) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA512),
            (Public::Rsa { n, e }, A::Ps256) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA256),
            (Public::Rsa { n, e }, A::Ps384) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA384),
            (Public::Rsa { n, e }, A::Ps512) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA512),
            (Public::P256(point), A::Es256) => other(point, &signature::ECDSA_P256_SHA256_FIXED),
            (Public::P384(point), A::Es384) => other(point, &signature::ECDSA_P384_SHA384_FIXED),
            (Public::Ed25519(x), A::EdDsa) => other(x, &signature::ED25519),
            _ => return None,
        })
    }
}

impl Public {
    fn id(&self, kid: Option<&str>) -> [u8; 32] {
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Public::Rsa { n, e } => (0, [n, e]),
            Public::P256(point) => (1, [point, &[]]),
            Public::P384(point) => (2, [point, &[]]),
            Public::Ed25519(x) => (3, [x, &[]]),
        };
        let mut hash = Sha256::new();
        hash.update([kind, u8::from(kid.is_some())]);
        for part in parts.into_iter().chain(kid.map(str::as_bytes)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

fn is_for_signatures(fields: &Map<String, Value>) -> bool {
    let signs = fields.get("use").is_none_or(|what| what == "sig");
    let verifies = |ops: &Value| {
        let ops = ops.as_array();
        ops.is_some_and(|ops| ops.iter().any(|op| op == "verify"))
    };
    signs && fields.get("key_ops").is_none_or(verifies)
}

fn rsa(fields: &Map<String, Value>) -> Result<Public, &'static str> {
    let number = |key: &str| -> Result<Vec<u8>, &'static str> {
        let mut bytes = bytes(fields, key)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeros);
        Ok(bytes)
    };
    let (n, e) = (number("n")?, number("e")?);
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) || e.is_empty() || e.len() > 8 {
        return Err("is no RSA key of 2048 to 8192 bits");
    }
    Ok(Public::Rsa { n, e })
}

/// A point as ring wants it, uncompressed.
fn point(fields: &Map<String, Value>, len: usize) -> Result<Vec<u8>, &'static str> {
    let mut point = vec![4];
    point.extend(exactly(fields, "x", len)?);
    point.extend(exactly(fields, "y", len)?);
    Ok(point)
}

fn exactly(fields: &Map<String, Value>, key: &str, len: usize) -> Result<Vec<u8>, &'static str> {
    let bytes = bytes(fields, key)?;
    match bytes.len() == len {
        true => Ok(bytes),
        false => Err("is of another length than its curve"),
    }
}

fn bytes(fields: &Map<String, Value>, key: &str) -> Result<Vec<u8>, &'static str> {
    let text = json::text(fields, key).ok().flatten();
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or("lacks a number in base64url")
}
