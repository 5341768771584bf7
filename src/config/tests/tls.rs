//! Keys of TLS that need one another.

use super::{lines, yaml};
use crate::config::ClientAuth;

#[test]
fn a_ca_asks_for_certificates_unless_told_otherwise() {
    let auth = |rest: &str| {
        let config = yaml(&format!("data: {{tls: {{certificate: c, key: k{rest}}}}}")).unwrap();
        config.data.tls.unwrap().client_auth
    };
    assert_eq!(auth(""), ClientAuth::Off);
    assert_eq!(auth(", client_ca: a"), ClientAuth::Required);
    assert_eq!(auth(", client_ca: a, client_auth: off"), ClientAuth::Off);
    let optional = ", client_ca: a, client_auth: optional";
    assert_eq!(auth(optional), ClientAuth::Optional);
}

#[test]
fn half_of_tls_is_none() {
    let listen = "listen: '127.0.0.1:8089'";
    for (text, told) in [
        ("data: {tls: {certificate: c}}", "data.tls.certificate"),
        ("data: {tls: {key: k}}", "data.tls.key"),
        ("data: {tls: {client_ca: a}}", "data.tls.client_ca"),
        (
            "data: {tls: {certificate: c, key: k, client_auth: required}}",
            "data.tls.client_auth",
        ),
        (
            &format!("admin: {{{listen}, tls: {{key: k}}}}"),
            "admin.tls.key",
        ),
    ] {
        let lines = lines(yaml(text));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(told), "{lines:?}");
        assert!(lines[0].contains("is of no use without"), "{lines:?}");
    }
    let lines = lines(yaml("admin: {tls: {certificate: c, key: k}}"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("set admin.listen"), "{lines:?}");
}
