//! An issuer of JWTs: keys of its own, tokens signed with them, and a URL where the keys are got from.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, header::LOCATION};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970, so many from now.
pub(crate) fn from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() as i64 + seconds
}

/// One key.
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &'static str) -> Signer {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
        Signer { kid, pair }
    }

    fn jwk(&self) -> Value {
        let x = encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
    }

    /// A token of any header and claims.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A token that is good for an hour, but for these claims.
    pub(crate) fn token(&self, claims: Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"});
        self.sign(&header, &good(claims))
    }
}

/// Claims that are good for an hour, but for these.
pub(crate) fn good(changes: Value) -> Value {
    let mut claims = json!({"iss": "joe", "aud": "mcpd", "sub": "till-7", "exp": from_now(3600)});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A JWKS document with these keys.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// What a URL gives.
#[derive(Clone)]
pub(crate) enum Reply {
    Keys(String),
    Status(u16),
    Redirect(String),
}

#[derive(Clone)]
struct Seen(Arc<Mutex<(Reply, usize)>>);

/// A URL that gives keys.
pub(crate) struct Endpoint {
    addr: SocketAddr,
    seen: Seen,
    _runtime: tokio::runtime::Runtime,
}

impl Endpoint {
    pub(crate) fn new(reply: Reply) -> Endpoint {
        let seen = Seen(Arc::new(Mutex::new((reply, 0))));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/keys", get(answer))
            .with_state(seen.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Endpoint {
            addr,
            seen,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.addr)
    }

    pub(crate) fn set(&self, reply: Reply) {
        self.seen.0.lock().unwrap().0 = reply;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.seen.0.lock().unwrap().1
    }
}

async fn answer(State(seen): State<Seen>) -> Response<Body> {
    let reply = {
        let mut seen = seen.0.lock().unwrap();
        seen.1 += 1;
        seen.0.clone()
    };
    let answer = Response::builder();
    let answer = match reply {
        Reply::Keys(text) => answer.body(Body::from(text)),
        Reply::Status(status) => answer.status(status).body(Body::empty()),
        Reply::Redirect(to) => answer.status(302).header(LOCATION, to).body(Body::empty()),
    };
    answer.unwrap()
}
