//! What a server's session asks of its driver.

use super::link::LinkReport;
use crate::code::ErrorCode;
use crate::frame::{Hello, Request};
use crate::topic::Topic;

/// A request that passed everything a connection can judge by itself.
#[derive(Debug, Clone, Copy)]
pub struct Admitted<'a> {
    /// The frame.
    pub request: Request<'a>,
    /// Its topic, valid.
    pub topic: Topic<'a>,
}

/// What a frame asks the driver to do.
#[derive(Debug)]
pub enum ServerEvent<'a> {
    /// Nothing: it was dealt with.
    None,
    /// Run this. Call [`super::Server::begin`] unless it was answered at once.
    Request(Admitted<'a>),
    /// Answer this with an ERROR; the connection goes on.
    Refused(Request<'a>, ErrorCode, String),
    /// Stop the work on this unanswered request, then answer CANCELLED.
    Cancel(u16),
    /// Decide on this HELLO, with [`super::Server::welcome`] or by ending the connection, before the next
    /// frame is looked at.
    Hello(Hello<'a>),
    /// The outcome of this message id has arrived.
    Confirm([u8; 16]),
    /// A heartbeat taught something.
    Link(LinkReport),
    /// The peer reports a connection error; it is to be logged, not answered.
    PeerError(ErrorCode, &'a str),
}
