//! Keys `auth.*`: what is wrong with a way to judge tokens is said before anybody relies on it.

use super::{env, lines, yaml};
use crate::auth::Algorithm;

const FILE: &str = "auth: {principals: p.yaml, jwt: {jwks_file: k.json, issuer: i, audience: a";

#[test]
fn a_source_of_keys_with_all_that_belongs_to_it_is_taken() {
    let config = yaml(&format!("{FILE}, algorithms: 'ES256, EdDSA'}}}}")).unwrap();
    let jwt = &config.auth.jwt;
    assert_eq!(jwt.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
    assert_eq!((jwt.issuer.as_deref(), jwt.audience.len()), (Some("i"), 1));
    let variables = [
        ("MCPD__AUTH__PRINCIPALS", "p.yaml"),
        ("MCPD__AUTH__JWT__JWKS_URL", "http://[::1]:80/keys"),
        ("MCPD__AUTH__JWT__ISSUER", "https://id.example"),
        ("MCPD__AUTH__JWT__AUDIENCE", "mcpd, tills"),
        ("MCPD__AUTH__JWT__MAX_STALE", "0s"),
    ];
    let config = env(&variables).unwrap();
    assert_eq!(config.auth.jwt.audience, ["mcpd", "tills"]);
    assert_eq!(config.auth.jwt.max_stale, None);
}

#[test]
fn what_would_let_strangers_in_or_nobody_is_refused() {
    let url = |url: &str| {
        format!("auth: {{principals: p, jwt: {{jwks_url: '{url}', issuer: i, audience: a}}}}")
    };
    for (text, wanted) in [
        (
            "auth: {principals: p, jwt: {jwks_file: k, audience: a}}",
            "needs auth.jwt.issuer",
        ),
        (
            "auth: {principals: p, jwt: {jwks_file: k, issuer: i}}",
            "needs auth.jwt.audience",
        ),
        (
            "auth: {jwt: {jwks_file: k, issuer: i, audience: a}}",
            "without auth.principals",
        ),
        (
            "auth: {principals: p, jwt: {jwks_file: k, issuer: i, audience: ','}}",
            "names nobody",
        ),
        (
            &format!("{FILE}, algorithms: 'ES256,HS256'}}}}"),
            "\"HS256\", which is none",
        ),
        (
            &format!("{FILE}, algorithms: none}}}}"),
            "\"none\", which is none",
        ),
        (&format!("{FILE}, algorithms: ','}}}}"), "names none"),
        (
            &format!("{FILE}, jwks_url: 'https://a/b'}}}}"),
            "two places for the same keys",
        ),
        (&url("http://keys.example/"), "is not encrypted"),
        (&url("http://127.0.0.1.example/"), "is not encrypted"),
        (&url("http://localhost.example/"), "is not encrypted"),
        (
            &url("https://user:s3cret@keys.example/"),
            "has a user or a password",
        ),
        (&url("ftp://127.0.0.1/"), "is no URL"),
    ] {
        let told = lines(yaml(text)).join("\n");
        assert!(told.contains(wanted), "{text}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    for good in [
        "https://keys.example/",
        "http://127.0.0.1:1/",
        "http://localhost/",
    ] {
        assert!(yaml(&url(good)).is_ok(), "{good}");
    }
}
