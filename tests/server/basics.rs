//! The first things anybody tries.

use crate::support::{Server, Start};
use mcpd_proto::ErrorCode;

#[test]
fn echo_answers_and_an_unknown_topic_is_refused() {
    let server = Server::start();
    let mut peer = server.peer();
    peer.request(1, "echo", b"hello");
    peer.request(2, "nowhere", b"");
    assert_eq!(peer.expect().response(), (1, b"hello".to_vec()));
    assert_eq!(peer.expect().error(), (2, ErrorCode::NO_ROUTE));
    peer.half_close();
    assert_eq!(peer.next(), None);
}

#[test]
fn requests_in_one_write_are_all_answered_after_a_half_close() {
    let server = Start::new().set("HANDLERS__ECHO__TYPE", "delay").spawn();
    let mut peer = server.peer();
    for seq in 1..=100 {
        peer.request(seq, "echo", &seq.to_be_bytes());
    }
    peer.half_close();
    let mut answers: Vec<_> = std::iter::from_fn(|| peer.next())
        .map(|got| got.response())
        .collect();
    answers.sort();
    let expected: Vec<_> = (1..=100u16)
        .map(|seq| (seq, seq.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(answers, expected);
}
