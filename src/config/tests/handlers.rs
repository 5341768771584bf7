//! The `handlers` section.

use std::time::Duration;

use super::{load_all, yaml};
use crate::config::*;

#[test]
fn handlers_come_from_the_file_and_from_the_environment() {
    let text = "handlers:\n  echo: {type: static, body: hi, content_type: text/plain}\n  \
                monitor: {max_topics: 5}\n  r: {type: delay, min: 1ms, max: 2ms, concurrency: 3}\n";
    let env = [
        ("MCPD__HANDLERS__SLOW__TYPE", "delay"),
        ("MCPD__HANDLERS__SLOW__FAILURE_PERCENT", "7"),
    ];
    let config = load_all(("mcpd.yaml", text), &env, &[]).unwrap();
    let ms = Duration::from_millis;
    assert_eq!(
        config.handlers["echo"],
        HandlerConfig::Static {
            body: StaticBody::Inline("hi".to_owned()),
            content_type: Some("text/plain".to_owned()),
        }
    );
    assert_eq!(
        config.handlers["monitor"],
        HandlerConfig::Monitor { max_topics: 5 }
    );
    assert_eq!(
        config.handlers["r"],
        HandlerConfig::Delay {
            latency: Latency::Uniform {
                min: ms(1),
                max: ms(2)
            },
            failure_percent: 0,
            concurrency: Some(3),
            queue: 1000,
        }
    );
    assert_eq!(
        config.handlers["slow"],
        HandlerConfig::Delay {
            latency: Latency::Fixed(ms(10)),
            failure_percent: 7,
            concurrency: None,
            queue: 1000,
        }
    );
    let effective = config.effective();
    let keys: Vec<&str> = effective
        .iter()
        .map(|setting| setting.key.as_str())
        .filter(|key| key.starts_with("handlers.echo"))
        .collect();
    assert_eq!(
        keys,
        [
            "handlers.echo.type",
            "handlers.echo.body",
            "handlers.echo.content_type"
        ]
    );
}

#[test]
fn handlers_that_make_no_sense_are_explained() {
    let cases = [
        (
            "{latency: 5ms}",
            "h.latency",
            "belongs to a handler without a type; set handlers.h.type to one of `echo`, `monitor`, `static`, `discard`, `delay`",
        ),
        ("{type: eco}", "h.type", "is unknown; did you mean `echo`?"),
        (
            "{type: static}",
            "h.type",
            "is `static` and has no answer; set body or body_file",
        ),
        (
            "{type: static, body: a, body_file: b}",
            "h.body_file",
            "is given beside body; keep one of the two",
        ),
        (
            "{type: static, body_file: no-such-file}",
            "h.body_file",
            "cannot be read",
        ),
        (
            "{type: static, body_file: /}",
            "h.body_file",
            "is not a regular file",
        ),
        (
            "{type: static, body: a, content_type: ä}",
            "h.content_type",
            "has characters outside ASCII",
        ),
        (
            "{type: echo, latency: 5ms}",
            "h.latency",
            "belongs to handlers of type `delay`, and this one is `echo`",
        ),
        (
            "{type: delay, min: 5ms}",
            "h.min",
            "is given without max; set both",
        ),
        (
            "{type: delay, max: 5ms}",
            "h.max",
            "is given without min; set both",
        ),
        (
            "{type: delay, latency: 1s, min: 5ms, max: 1s}",
            "h.latency",
            "is given beside min or max",
        ),
        (
            "{type: delay, min: 6ms, max: 5ms}",
            "h.min",
            "is more than handlers.h.max = 5ms",
        ),
        (
            "{type: delay, failure_percent: 101}",
            "h.failure_percent",
            "is above the most allowed; write 0 to 100",
        ),
        (
            "{type: delay, latncy: 1s}",
            "h.latncy",
            "is an unknown key; did you mean `handlers.h.latency`?",
        ),
        ("{}", "h", "has no keys; give it a type or remove it"),
        (
            "5",
            "h",
            "is a section, not a value; write its keys below it, such as `type: echo`",
        ),
    ];
    for (handler, key, message) in cases {
        let errors = yaml(&format!("handlers:\n  h: {handler}\n")).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{handler}: {errors}");
        let problem = &errors.problems[0];
        assert_eq!(problem.key, format!("handlers.{key}"));
        assert!(problem.message.starts_with(message), "{handler}: {errors}");
        assert!(problem.origin.contains("line 2"), "{errors}");
    }
    for name in ["Big", "a b", "ä", &"x".repeat(64)] {
        let errors = yaml(&format!("handlers: {{'{name}': {{type: echo}}}}")).unwrap_err();
        assert!(
            errors.to_string().contains("is not a name for a handler"),
            "{errors}"
        );
    }
}

#[test]
fn a_body_file_is_accepted_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answer.json");
    std::fs::write(&path, "{}").unwrap();
    let text = format!(
        "handlers: {{h: {{type: static, body_file: '{}'}}}}",
        path.display()
    );
    let config = yaml(&text).unwrap();
    let HandlerConfig::Static { body, .. } = &config.handlers["h"] else {
        panic!("{config:?}");
    };
    assert_eq!(body, &StaticBody::File(path));
}

#[test]
fn a_reload_names_handlers_by_name() {
    let before = yaml("handlers: {gone: {type: echo}, same: {type: echo}}").unwrap();
    let after = yaml("handlers: {new: {type: echo}, same: {type: echo}, echo: {type: discard}}");
    let diff = before.diff_reloadable(&after.unwrap());
    assert_eq!(
        diff.changed_reloadable,
        ["handlers.echo", "handlers.gone", "handlers.new"]
    );
    assert!(diff.needs_restart.is_empty());
    assert_eq!(before.diff_reloadable(&before), ReloadDiff::default());
}
