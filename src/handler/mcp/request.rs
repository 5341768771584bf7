//! What the next server is asked: the request as it came, under this server's name.

use crate::handler::onward;
use crate::handler::template::Template;
use crate::message::{Answer, Call};
use mcpd_client::Request;
use mcpd_proto::topic::Topic;
use mcpd_proto::{ErrorCode, MetaBuf, MetaError};

/// Makes of a call what the next server is asked, for as many attempts as it takes. A connection sets TIMEOUT_MS when it makes the frame, so that time that passes before counts.
///
/// # Errors
/// The refusal of a call that cannot be passed on.
pub(super) fn onward(
    call: &Call<'_>,
    template: Option<&Template>,
    hops: u8,
    onward: &mut Request,
) -> Result<(), Answer<'static>> {
    // Routes refuse it in the protocol's order already; those with several handlers may not.
    if call.meta.hops() == Some(0) {
        let text = "it was forwarded as often as it may be; look for a loop of servers";
        return Err(Answer::error(ErrorCode::HOP_LIMIT, text));
    }
    match template {
        None => onward.renew(call.topic),
        Some(template) => rewrite(call.topic, template, onward)?,
    }
    onward.set_body(call.body);
    onward.set_priority(call.priority);
    meta(call, hops, onward.meta_mut()).map_err(|error| invalid(error.to_string()))
}

/// Renews the request with the topic that the template makes of this one.
fn rewrite(
    topic: Topic<'_>,
    template: &Template,
    onward: &mut Request,
) -> Result<(), Answer<'static>> {
    let plain = |level: &str, name: &mut String| name.push_str(level);
    let name = template.expand(topic, '/', plain);
    let name = name.map_err(|missing| invalid(missing.to_string()))?;
    match Topic::parse(name.as_bytes()) {
        Ok(topic) if topic.is_reserved() => Err(invalid(format!(
            "it would become the reserved topic {name:?}"
        ))),
        Ok(topic) => {
            onward.renew(topic);
            Ok(())
        }
        Err(problem) => Err(invalid(format!(
            "it would become the topic {name:?}: {problem}"
        ))),
    }
}

/// The metadata that goes along, in the order in which it is written.
fn meta(call: &Call<'_>, hops: u8, meta: &mut MetaBuf) -> Result<(), MetaError> {
    if let Some(trace) = onward::trace(call) {
        meta.set_trace(trace);
    }
    if let Some(state) = call.meta.tracestate() {
        meta.set_tracestate(state)?;
    }
    // The place for it: connections write there what is left.
    meta.set_timeout_ms(0);
    if let Some(key) = onward::message_key(call) {
        meta.set_message_id(key);
    }
    if let Some(content_type) = call.meta.content_type() {
        meta.set_content_type(content_type)?;
    }
    for (key, value) in call.meta.headers() {
        meta.add_header(key, value)?;
    }
    meta.set_hops(onward::hops(call, hops));
    if let Some(age) = call.meta.age_ms() {
        let waited = u32::try_from(call.received.elapsed().as_millis()).unwrap_or(u32::MAX);
        meta.set_age_ms(age.saturating_add(waited));
    }
    Ok(())
}

fn invalid(text: String) -> Answer<'static> {
    Answer::error(ErrorCode::INVALID_REQUEST, text)
}
