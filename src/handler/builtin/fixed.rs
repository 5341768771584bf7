//! `echo`, `discard` and `static`: answers that are there at once.

use crate::handler::Handler;
use crate::message::{Answer, Body, Call, Outcome};
use bytes::Bytes;
use std::borrow::Cow;

/// Answers with the body it got, and its CONTENT_TYPE.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Handler for Echo {
    #[inline]
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let content_type = call.meta.content_type().map(Cow::Borrowed);
        Outcome::Now(Answer::Response {
            body: Body::Borrowed(call.body),
            content_type,
        })
    }
}

/// Takes everything and answers with nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Handler for Discard {
    fn call<'a>(&'a self, _: &Call<'a>) -> Outcome<'a> {
        Outcome::Now(Answer::bytes(&[]))
    }
}

/// Always gives the same answer.
#[derive(Debug, Clone, Default)]
pub struct Static {
    /// The answer.
    pub body: Bytes,
    /// Its media type.
    pub content_type: Option<String>,
}

impl Handler for Static {
    fn call<'a>(&'a self, _: &Call<'a>) -> Outcome<'a> {
        let content_type = self.content_type.as_deref().map(Cow::Borrowed);
        Outcome::Now(Answer::Response {
            body: Body::Shared(self.body.clone()),
            content_type,
        })
    }
}
