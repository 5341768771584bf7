//! Reads `frames.json` strictly: a key that nobody checks is a test that does not test.

use mcpd_proto::ErrorCode;
use serde_json::{Map, Value};

pub(crate) struct Fixture {
    pub(crate) valid: Vec<ValidCase>,
    pub(crate) connection_error: Vec<Case>,
    pub(crate) request_error: Vec<Case>,
}

pub(crate) struct ValidCase {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frame: Described,
    pub(crate) decode_only: bool,
}

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) code: ErrorCode,
}

/// A frame in the fixture's words. What it leaves out is zero, false or empty.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Described {
    pub(crate) kind: String,
    pub(crate) seq: u16,
    pub(crate) priority: u8,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) ignorable: bool,
    pub(crate) reply: bool,
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
    pub(crate) code: u16,
    pub(crate) reason: u16,
    pub(crate) text: String,
    pub(crate) meta: Map<String, Value>,
}

/// An object whose every key must be asked for.
struct Object(Map<String, Value>);

impl Object {
    fn of(value: Value) -> Object {
        match value {
            Value::Object(map) => Object(map),
            other => panic!("not an object: {other}"),
        }
    }

    fn take(&mut self, key: &str) -> Value {
        self.0.remove(key).unwrap_or(Value::Null)
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &str) -> T {
        let value = self.take(key);
        let number = if value.is_null() {
            Some(0)
        } else {
            value.as_u64()
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or_else(|| panic!("{key}: {value}"))
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.take(key) {
            Value::Null => false,
            Value::Bool(flag) => flag,
            other => panic!("{key}: {other}"),
        }
    }

    fn text(&mut self, key: &str) -> String {
        match self.take(key) {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => panic!("{key}: {other}"),
        }
    }

    fn bytes(&mut self, key: &str) -> Vec<u8> {
        from_hex(&self.text(key))
    }

    fn list<T>(&mut self, key: &str, read: fn(Object) -> T) -> Vec<T> {
        match self.take(key) {
            Value::Array(items) => items.into_iter().map(Object::of).map(read).collect(),
            other => panic!("{key}: {other}"),
        }
    }

    fn end(self) {
        let left: Vec<&String> = self.0.keys().collect();
        assert!(left.is_empty(), "unknown key {left:?}");
    }
}

impl Fixture {
    pub(crate) fn load() -> Fixture {
        Fixture::parse(include_str!("../fixtures/frames.json"))
    }

    pub(crate) fn parse(text: &str) -> Fixture {
        let mut root = Object::of(serde_json::from_str(text).expect("the fixture is JSON"));
        root.text("note");
        let fixture = Fixture {
            valid: root.list("valid", ValidCase::read),
            connection_error: root.list("connection_error", Case::read),
            request_error: root.list("request_error", Case::read),
        };
        root.end();
        fixture
    }
}

impl ValidCase {
    fn read(mut object: Object) -> ValidCase {
        let case = ValidCase {
            name: object.text("name"),
            bytes: object.bytes("hex"),
            frame: Described::read(Object::of(object.take("frame"))),
            decode_only: object.flag("decode_only"),
        };
        object.end();
        case
    }
}

impl Case {
    fn read(mut object: Object) -> Case {
        let case = Case {
            name: object.text("name"),
            bytes: object.bytes("hex"),
            code: ErrorCode::new(object.number("code")),
        };
        object.end();
        case
    }
}

impl Described {
    fn read(mut object: Object) -> Described {
        let described = Described {
            kind: object.text("type"),
            seq: object.number("seq"),
            priority: object.number("priority"),
            qos: object.number("qos"),
            dup: object.flag("dup"),
            ignorable: object.flag("ignorable"),
            reply: object.flag("reply"),
            topic: object.text("topic"),
            body: object.bytes("body"),
            code: object.number("code"),
            reason: object.number("reason"),
            text: object.text("text"),
            meta: match object.take("meta") {
                Value::Null => Map::new(),
                value => Object::of(value).0,
            },
        };
        object.end();
        described
    }
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte: {hex}");
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
