//! `log-filter`, `sampling` and `config`: what is set, and what may be set while the server runs.

use super::problem::{FieldError, Problem};
use super::{Api, Rates, body};
use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest filter.
const MAX_FILTER_LEN: usize = 4096;
/// Most routes with a share of their own.
const MAX_SAMPLED_ROUTES: usize = 1000;
/// Longest time after which a request is slow, in seconds: routes take an hour at most.
const MAX_SLOW: f64 = 3600.0;
/// Most sampled requests a second by the wish of clients, as in the configuration.
const MAX_PARENT_PER_SECOND: u32 = 1_000_000;
/// Most late spans a second, as in the configuration: they are examples.
const MAX_LATE_PER_SECOND: u32 = 1000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFilter {
    filter: String,
}

/// GET `log-filter`.
pub(super) async fn log_filter(State(api): State<Arc<Api>>) -> Json<LogFilter> {
    let filter = api.control.log_filter();
    Json(LogFilter { filter })
}

/// PUT `log-filter`.
pub(super) async fn set_log_filter(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<LogFilter>, Problem> {
    let wanted: LogFilter = body::json(request).await?;
    let set = match wanted.filter.len() {
        1..=MAX_FILTER_LEN => api.control.set_log_filter(&wanted.filter),
        _ => Err(format!(
            "has 1 to {MAX_FILTER_LEN} bytes, such as info or info,mcpd::conn=debug"
        )),
    };
    set.map_err(|detail| Problem::invalid("the filter is not one", vec![wrong("filter", detail)]))?;
    Ok(Json(wanted))
}

fn wrong(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        detail: detail.into(),
        line: None,
    }
}

/// GET `sampling`.
pub(super) async fn sampling(State(api): State<Arc<Api>>) -> Json<Rates> {
    Json(api.sampling.get().into())
}

/// What to change of the sampling; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default, deserialize_with = "given")]
    ratio: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    control_ratio: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    routes: Option<BTreeMap<String, f64>>,
    #[serde(default, deserialize_with = "given")]
    slow_seconds: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    parent_per_second: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    parent_per_principal: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    late_per_second: Option<u32>,
}

/// What is there has a value: null would be taken for what is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Wish {
    fn over(self, rates: Rates) -> Rates {
        Rates {
            ratio: self.ratio.unwrap_or(rates.ratio),
            control_ratio: self.control_ratio.unwrap_or(rates.control_ratio),
            routes: self.routes.unwrap_or(rates.routes),
            slow_seconds: self.slow_seconds.unwrap_or(rates.slow_seconds),
            parent_per_second: self.parent_per_second.unwrap_or(rates.parent_per_second),
            parent_per_principal: self
                .parent_per_principal
                .unwrap_or(rates.parent_per_principal),
            late_per_second: self.late_per_second.unwrap_or(rates.late_per_second),
        }
    }
}

/// PUT `sampling`.
pub(super) async fn set_sampling(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Rates>, Problem> {
    let wish: Wish = body::json(request).await?;
    let named = wish.routes.is_some();
    let before: Rates = api.sampling.get().into();
    let rates = wish.over(before.clone());
    let mut errors = misfits(&rates);
    if named {
        errors.extend(unknown_routes(&api, &rates, &before));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid("the sampling is as it was", errors));
    }
    // What it refuses was refused already.
    let set = api.sampling.set(rates.clone().into());
    set.map_err(|error| Problem::invalid(error.to_string(), Vec::new()))?;
    Ok(Json(rates))
}

fn misfits(rates: &Rates) -> Vec<FieldError> {
    let ratio = |value: f64| (0.0..=1.0).contains(&value);
    let mut errors = Vec::new();
    for (field, value) in [
        ("ratio", rates.ratio),
        ("control_ratio", rates.control_ratio),
    ] {
        if !ratio(value) {
            errors.push(wrong(field, "is a share from 0 to 1"));
        }
    }
    if !(0.0..=MAX_SLOW).contains(&rates.slow_seconds) {
        errors.push(wrong("slow_seconds", format!("is 0 to {MAX_SLOW}")));
    }
    for (field, value, most) in [
        (
            "parent_per_second",
            rates.parent_per_second,
            MAX_PARENT_PER_SECOND,
        ),
        (
            "parent_per_principal",
            rates.parent_per_principal,
            MAX_PARENT_PER_SECOND,
        ),
        (
            "late_per_second",
            rates.late_per_second,
            MAX_LATE_PER_SECOND,
        ),
    ] {
        if value > most {
            errors.push(wrong(field, format!("is 0 to {most}")));
        }
    }
    if rates.routes.len() > MAX_SAMPLED_ROUTES {
        errors.push(wrong("routes", format!("are at most {MAX_SAMPLED_ROUTES}")));
        return errors;
    }
    for (name, value) in rates.routes.iter().filter(|(_, value)| !ratio(**value)) {
        errors.push(wrong(
            format!("routes.{name}"),
            format!("{value} is no share from 0 to 1"),
        ));
    }
    errors
}

/// A share that is there already may stay when its route has gone: who changes another one need not know.
fn unknown_routes(api: &Api, rates: &Rates, before: &Rates) -> Vec<FieldError> {
    let version = api.control.live();
    let routes = version
        .as_ref()
        .map_or(&[][..], |version| &version.document.routes);
    let known: std::collections::HashSet<&str> =
        routes.iter().map(|route| route.name.as_str()).collect();
    let unknown = rates
        .routes
        .keys()
        .filter(|name| !known.contains(name.as_str()) && !before.routes.contains_key(*name));
    let error = |name: &String| wrong(format!("routes.{name}"), "there is no such route");
    unknown.take(MAX_SAMPLED_ROUTES).map(error).collect()
}

#[derive(Serialize)]
pub(super) struct Value {
    value: String,
    origin: String,
}

/// GET `config`.
pub(super) async fn config(State(api): State<Arc<Api>>) -> Json<BTreeMap<String, Value>> {
    let settings = api.control.settings().into_iter();
    let shown = settings.map(|setting| {
        let (value, origin) = (setting.value, setting.origin);
        (setting.key, Value { value, origin })
    });
    Json(shown.collect())
}
