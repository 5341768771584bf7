//! Who clients may be, shown to those who may know.

use crate::client::{Admin, entry, with_tokens};
use crate::support::scratch;
use mcpd_proto::{Frame, Hello, MetaBuf};

/// SHA-256 of `test`.
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn principals_are_shown_with_what_is_made_of_them_and_without_their_tokens() {
    let dir = scratch();
    let file = dir.path().join("principals.yaml");
    let text = format!(
        "{{apiVersion: mcpd/v1, kind: Principals, principals: [
           {{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: ['own/${{client_id}}/#'], deny: [own/x],
             limits: {{connections: 3, bytes_per_second: 70}}, priority: {{max: 5}}}},
           {{name: other, certificates: [{{dns: '*.example'}}], jwt: [{{subject: a}}]}}]}}"
    );
    std::fs::write(&file, text).unwrap();
    let tokens = with_tokens(&[
        entry("r", "reader", "read"),
        entry("a", "auth", "auth, read"),
    ]);
    let start = tokens.set("AUTH__PRINCIPALS", file.to_str().unwrap());
    let server = start.spawn();
    let mut peer = server.peer();
    let mut meta = MetaBuf::new();
    meta.set_auth_token(b"test").unwrap();
    peer.frame(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    }));
    peer.expect();
    let with = |token: &str, path: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        server.admin("GET", path, &[&bearer], "")
    };
    assert!(with("reader", "principals").problem(403).contains("`auth`"));
    let shown = with("auth", "principals").ok();
    let expected = serde_json::json!([
        {"name": "till", "tokens": 1, "jwt": 0, "certificates": 0, "anonymous": false,
         "allow": ["own/${client_id}/#"], "deny": ["own/x"], "max_priority": 5,
         "limits": {"connections": 3, "bytes_per_second": 70}, "connections": 1, "in_flight": 0},
        {"name": "other", "tokens": 0, "jwt": 1, "certificates": 1, "anonymous": false,
         "allow": [], "deny": [], "max_priority": 7, "limits": {}, "connections": 0, "in_flight": 0},
    ]);
    assert_eq!(shown, expected);
    let connections = with("auth", "connections").ok();
    assert_eq!(connections["connections"][0]["principal"], "till");
}
