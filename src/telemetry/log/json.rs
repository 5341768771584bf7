//! A log line as one JSON object, with our names or those of the Elastic Common Schema.

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde_json::Value;
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The version of the schema whose names are used.
const ECS_VERSION: &str = "8.17.0";

/// Longest text of a field, in bytes: an error from afar must not make a line of megabytes.
const MAX_TEXT: usize = 4096;

/// Formats events as JSON objects.
pub(super) struct Json {
    ecs: bool,
    server_id: String,
}

impl Json {
    pub(super) fn new(ecs: bool, server_id: String) -> Json {
        Json { ecs, server_id }
    }

    fn name(&self, field: &str) -> String {
        match (self.ecs, field) {
            (false, name) => name.to_owned(),
            (true, "message") => "message".to_owned(),
            (true, "trace_id") => "trace.id".to_owned(),
            (true, "span_id") => "span.id".to_owned(),
            (true, "error") => "error.message".to_owned(),
            // What the schema has no name for stands below one of our own.
            (true, name) => format!("mcpd.{name}"),
        }
    }

    fn object(&self, time: &str, event: &Event<'_>) -> Result<String, fmt::Error> {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.find("trace_id").is_none() {
            fields.add_context();
        }
        let mut object = Object::default();
        let level = metadata.level().as_str();
        if self.ecs {
            object.put("@timestamp", time)?;
            object.put("log.level", level.to_ascii_lowercase())?;
        } else {
            object.put("timestamp", time)?;
            object.put("level", level)?;
        }
        if let Some(message) = fields.find("message") {
            object.put("message", message.clone())?;
        }
        for (name, value) in fields.0 {
            if name != "message" {
                object.put(&self.name(name), value)?;
            }
        }
        if self.ecs {
            object.put("log.logger", metadata.target())?;
            object.put("ecs.version", ECS_VERSION)?;
            object.put("service.name", "mcpd")?;
            object.put("service.version", env!("CARGO_PKG_VERSION"))?;
            object.put("service.node.name", self.server_id.as_str())?;
        } else {
            object.put("target", metadata.target())?;
        }
        object.end()
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        writeln!(writer, "{}", self.object(&time, event)?)
    }
}

/// Keys in the order in which they were put.
#[derive(Default)]
struct Object(String);

impl Object {
    fn put(&mut self, key: &str, value: impl Into<Value>) -> fmt::Result {
        let separator = if self.0.is_empty() { '{' } else { ',' };
        let (key, value) = (Value::from(key), value.into());
        write!(self.0, "{separator}{key}:{value}")
    }

    fn end(mut self) -> Result<String, fmt::Error> {
        self.0.write_char('}')?;
        Ok(self.0)
    }
}

#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn find(&self, wanted: &str) -> Option<&Value> {
        let mut fields = self.0.iter();
        fields.find_map(|(name, value)| (*name == wanted).then_some(value))
    }

    /// The ids of the span within which a line is written, when it is sampled.
    fn add_context(&mut self) {
        Context::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            if ids.is_sampled() {
                self.0.push(("trace_id", ids.trace_id().to_string().into()));
                self.0.push(("span_id", ids.span_id().to_string().into()));
            }
        });
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        self.0.push((field.name(), text.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Out {
        type Writer = Out;

        fn make_writer(&'w self) -> Out {
            self.clone()
        }
    }

    fn logged(ecs: bool, tell: impl FnOnce()) -> (String, Value) {
        let out = Out::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(out.clone())
            .event_format(Json::new(ecs, "pod-1".to_owned()));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, tell);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
        let parsed = serde_json::from_str(&text).unwrap();
        (text, parsed)
    }

    fn tell() {
        let error = "a \"quote\"\nand a break";
        tracing::warn!(target: "mcpd::x", trace_id = "ab", route = "r", n = 3, error, "it broke");
    }

    #[test]
    fn our_names() {
        let (text, line) = logged(false, tell);
        assert!(text.starts_with("{\"timestamp\":\"2"), "{text}");
        let expected = serde_json::json!({
            "timestamp": line["timestamp"], "level": "WARN", "message": "it broke",
            "trace_id": "ab", "route": "r", "n": 3, "error": "a \"quote\"\nand a break",
            "target": "mcpd::x",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn the_names_of_the_elastic_common_schema() {
        let (_, line) = logged(true, tell);
        let expected = serde_json::json!({
            "@timestamp": line["@timestamp"], "log.level": "warn", "message": "it broke",
            "trace.id": "ab", "mcpd.route": "r", "mcpd.n": 3,
            "error.message": "a \"quote\"\nand a break",
            "log.logger": "mcpd::x", "ecs.version": ECS_VERSION, "service.name": "mcpd",
            "service.version": env!("CARGO_PKG_VERSION"), "service.node.name": "pod-1",
        });
        assert_eq!(line, expected);
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let text = "é".repeat(MAX_TEXT);
        let (_, line) = logged(false, || tracing::info!(text, "long"));
        assert_eq!(
            line["text"].as_str().unwrap().len(),
            MAX_TEXT + '…'.len_utf8()
        );
    }
}
