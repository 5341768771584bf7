//! `routes`: the document as a whole, and one route of it by name.

use super::control::{Arrived, Change, Edit, Precondition, Refused, Version, WriteError, Written};
use super::guard::Deadline;
use super::problem::{FieldError, Problem};
use super::wait::{self, Whom};
use super::{Api, body, offload, version};
use crate::router::document::{self, Document, ParseOptions, Problems, RouteSpec, is_name};
use crate::router::store::StoreErrorKind;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowToRead {
    format: Option<Format>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Yaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowToWrite {
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "strictly")]
    strict: bool,
    wait: Option<Whom>,
    timeout: Option<String>,
}

impl HowToWrite {
    /// How long the answer may wait for all servers, if it is to.
    fn patience(&self) -> Result<Option<Duration>, Problem> {
        let patience = wait::patience(self.wait, self.timeout.as_deref());
        Ok(patience?.filter(|_| !self.dry_run))
    }
}

fn strictly() -> bool {
    true
}

/// What a write came to.
#[derive(Serialize)]
struct Outcome {
    revision: u64,
    hash: String,
    etag: String,
    routes: usize,
    changed: bool,
    dry_run: bool,
    changes: Changes,
    warnings: Vec<FieldError>,
    /// Of a write that was to wait for all servers.
    #[serde(flatten)]
    arrived: Option<Arrived>,
}

/// What differs, by name.
#[derive(Debug, Default, Serialize)]
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let read = query.map(|Query(query)| query);
    read.map_err(|error| Problem::bad_request(error.body_text()))
}

fn route_name(name: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let name = name.map(|Path(name)| name).ok();
    name.filter(|name| is_name(name)).ok_or_else(|| {
        Problem::bad_request("this is no name of a route; names are [a-z0-9._-]{1,63}")
    })
}

/// Nothing of a write is looked at where nothing may be written.
fn writable(api: &Api) -> Result<(), Problem> {
    if api.control.may_change() {
        return Ok(());
    }
    let text =
        "the routes are declared elsewhere (kubernetes.mode: declarative); change them there";
    let refused = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text);
    Err(refused.with(header::ALLOW, "GET, HEAD"))
}

async fn current(api: &Api) -> Result<Arc<Version>, Problem> {
    api.control.routes().await.map_err(|error| {
        let text = format!("there are no routes yet: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

/// GET `routes`.
pub(super) async fn get_all(
    State(api): State<Arc<Api>>,
    how: Result<Query<HowToRead>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = query(how)?.format.unwrap_or_else(|| accepted(&headers));
    let version = current(&api).await?;
    let tag = [(header::ETAG, version.etag.to_string())];
    let vary = [(header::VARY, "Accept")];
    if version::is_known(&headers, version.etag) {
        return Ok((StatusCode::NOT_MODIFIED, tag, vary).into_response());
    }
    let write = move || match format {
        Format::Json => (JSON, version.document.to_json().to_string()),
        Format::Yaml => (YAML, version.document.to_yaml()),
    };
    let (kind, text) = offload(write).await?;
    Ok((tag, vary, [(header::CONTENT_TYPE, kind)], text).into_response())
}

/// YAML for who asks for it before JSON or anything.
fn accepted(headers: &HeaderMap) -> Format {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.filter_map(|value| value.to_str().ok());
    let ranges = ranges.flat_map(|value| value.split(','));
    for range in ranges {
        match range.split(';').next().unwrap_or_default().trim() {
            JSON | "application/*" | "*/*" => return Format::Json,
            YAML | "text/yaml" | "application/x-yaml" | "text/x-yaml" => return Format::Yaml,
            _ => {}
        }
    }
    Format::Json
}

/// GET `routes/{name}`.
pub(super) async fn get_one(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = route_name(name)?;
    let version = current(&api).await?;
    let mut routes = version.document.routes.iter();
    let route = routes
        .find(|route| route.name == name)
        .ok_or_else(|| unknown(&name))?;
    let tag = [(header::ETAG, version.etag.to_string())];
    Ok((tag, Json(route.to_json())).into_response())
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no route {name:?}"))
}

/// PUT `routes`.
pub(super) async fn put_all(
    State(api): State<Arc<Api>>,
    how: Result<Query<HowToWrite>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    writable(&api)?;
    let how = query(how)?;
    let patience = how.patience()?;
    let precondition = version::precondition(request.headers())?;
    if precondition == Precondition::None {
        return Err(version::required());
    }
    let (deadline, body) = document_body(&api, request).await?;
    let options = api.parse_options(how.strict);
    let loaded = offload(move || Document::parse(&body, &options)).await?;
    let loaded = loaded.map_err(|error| invalid(&error.problems, None))?;
    let document = loaded.document;
    let edit: Edit = Box::new(move |_| Ok(document.clone()));
    let change = Change {
        precondition,
        edit,
        dry_run: how.dry_run,
    };
    let times = (deadline, patience);
    write(&api, change, times, None, &loaded.warnings).await
}

/// PUT `routes/{name}`.
pub(super) async fn put_one(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
    how: Result<Query<HowToWrite>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    writable(&api)?;
    let (name, how) = (route_name(name)?, query(how)?);
    let patience = how.patience()?;
    let precondition = version::precondition(request.headers())?;
    let (deadline, body) = document_body(&api, request).await?;
    let (options, named) = (api.parse_options(how.strict), name.clone());
    let read = offload(move || RouteSpec::parse(&body, &named, &options)).await?;
    let (route, warnings) = read.map_err(|error| invalid(&error.problems, None))?;
    // Of one route, "nothing is there" means that this one is not.
    let (precondition, create) = match precondition {
        Precondition::Absent => (Precondition::None, true),
        other => (other, false),
    };
    let edit: Edit = Box::new(move |before| put_into(before, &route, create));
    let change = Change {
        precondition,
        edit,
        dry_run: how.dry_run,
    };
    let times = (deadline, patience);
    write(&api, change, times, Some(&name), &warnings).await
}

fn put_into(
    before: Option<&Document>,
    route: &RouteSpec,
    create: bool,
) -> Result<Document, Refused> {
    let mut document = before.cloned().unwrap_or_default();
    let same_topic =
        |other: &&RouteSpec| other.pattern == route.pattern && other.name != route.name;
    if let Some(other) = document.routes.iter().find(same_topic) {
        let text = format!("the route {:?} has this topic already", other.name);
        let problem = document::Problem::new(route.line, "topic", text);
        return Err(Refused::Invalid(problem.into()));
    }
    match document
        .routes
        .iter_mut()
        .find(|other| other.name == route.name)
    {
        Some(_) if create => return Err(Refused::Exists),
        Some(other) => *other = route.clone(),
        None => document.routes.push(route.clone()),
    }
    Ok(document)
}

/// DELETE `routes/{name}`.
pub(super) async fn delete_one(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
    how: Result<Query<HowToWrite>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    writable(&api)?;
    let (name, how) = (route_name(name)?, query(how)?);
    let patience = how.patience()?;
    let precondition = version::precondition(request.headers())?;
    if precondition == Precondition::Absent {
        return Err(Problem::bad_request(
            "nothing that is not there can be deleted",
        ));
    }
    let deadline = deadline(&request);
    let removed = name.clone();
    let edit: Edit = Box::new(move |before| {
        let mut document = before.cloned().unwrap_or_default();
        let count = document.routes.len();
        document.routes.retain(|route| route.name != removed);
        match document.routes.len() < count {
            true => Ok(document),
            false => Err(Refused::NotFound),
        }
    });
    let change = Change {
        precondition,
        edit,
        dry_run: how.dry_run,
    };
    let times = (deadline, patience);
    write(&api, change, times, Some(&name), &Problems::default()).await
}

fn deadline(request: &Request) -> Deadline {
    let deadline = request.extensions().get::<Deadline>().copied();
    deadline.unwrap_or(Deadline(Instant::now()))
}

async fn document_body(
    api: &Api,
    request: Request,
) -> Result<(Deadline, axum::body::Bytes), Problem> {
    let deadline = deadline(&request);
    let media_type = body::media_type(request.headers());
    let known = [
        "",
        JSON,
        YAML,
        "text/yaml",
        "application/x-yaml",
        "text/x-yaml",
    ];
    if !known.contains(&media_type.as_str()) {
        body::discard(request).await;
        return Err(body::unsupported("application/yaml, application/json"));
    }
    Ok((deadline, body::read(request, api.max_document).await?))
}

async fn write(
    api: &Api,
    change: Change,
    (deadline, patience): (Deadline, Option<Duration>),
    name: Option<&str>,
    warnings: &Problems,
) -> Result<Response, Problem> {
    let dry_run = change.dry_run;
    let written = api.control.change(change, deadline.left()).await;
    let written = written.map_err(|error| failed(error, name))?;
    let tag = [(header::ETAG, written.after.etag.to_string())];
    let warnings = FieldError::list(warnings);
    let arrived = match patience {
        Some(patience) => Some(api.control.converged(&written.after.hash, patience).await),
        None => None,
    };
    let status = match &arrived {
        Some(arrived) if !arrived.converged => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    let told = move || Json(outcome(&written, dry_run, warnings, arrived)).into_response();
    Ok((status, tag, offload(told).await?).into_response())
}

fn outcome(
    written: &Written,
    dry_run: bool,
    warnings: Vec<FieldError>,
    arrived: Option<Arrived>,
) -> Outcome {
    let after = &written.after;
    let before = written.before.as_ref().map(|before| &before.document);
    Outcome {
        revision: after.document.revision,
        hash: after.hash.clone(),
        etag: after.etag.to_string(),
        routes: after.document.routes.len(),
        changed: written.changed,
        dry_run,
        changes: match written.changed {
            true => differences(before, &after.document),
            false => Changes::default(),
        },
        warnings,
        arrived,
    }
}

fn differences(before: Option<&Document>, after: &Document) -> Changes {
    let mut changes = Changes::default();
    let before = before.map_or(&[][..], |before| &before.routes);
    let mut gone: BTreeMap<&str, &RouteSpec> = before
        .iter()
        .map(|route| (route.name.as_str(), route))
        .collect();
    for route in &after.routes {
        match gone.remove(route.name.as_str()) {
            None => changes.added.push(route.name.clone()),
            Some(old) if !route.says_the_same(old) => changes.changed.push(route.name.clone()),
            Some(_) => {}
        }
    }
    changes.removed = gone.into_keys().map(str::to_owned).collect();
    changes.added.sort_unstable();
    changes.changed.sort_unstable();
    changes
}

fn failed(error: WriteError, name: Option<&str>) -> Problem {
    let unavailable = |text: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
    match error {
        WriteError::Precondition(current) => version::failed(current),
        WriteError::Refused(Refused::NotFound) => unknown(name.unwrap_or_default()),
        WriteError::Refused(Refused::Exists) => {
            let text = "there is a route of this name already";
            Problem::new(StatusCode::PRECONDITION_FAILED, text)
        }
        WriteError::Refused(Refused::Invalid(problems)) => invalid(&problems, name),
        WriteError::Handlers(text) => unavailable(format!("nothing was written: {text}")),
        WriteError::Store(error) => store_failed(&error),
        WriteError::NotLive(text) => {
            let text = format!("the routes are written, and not live: {text}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        WriteError::Busy => {
            let text = "nothing was written: earlier writes take too long";
            unavailable(text.to_owned()).with(header::RETRY_AFTER, 1)
        }
        WriteError::Unknown => unknown_outcome("the write takes longer than admin.timeout"),
    }
}

fn store_failed(error: &crate::router::store::StoreError) -> Problem {
    match error.kind() {
        StoreErrorKind::OutcomeUnknown => unknown_outcome(&error.to_string()),
        StoreErrorKind::TooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("nothing was written: {error}"),
        ),
        _ => {
            let more = error.document_error().map(ToString::to_string);
            let more = more.map(|more| format!(": {more}")).unwrap_or_default();
            let text = format!("nothing was written: {error}{more}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

fn unknown_outcome(why: &str) -> Problem {
    let text = format!("the outcome is unknown: {why}; read the routes to see");
    Problem::new(StatusCode::GATEWAY_TIMEOUT, text)
}

/// Names the fields of a single route as they stand in its own body.
fn invalid(problems: &Problems, name: Option<&str>) -> Problem {
    let mut errors = FieldError::list(problems);
    if name.is_some() {
        for error in &mut errors {
            let inner = error
                .field
                .split_once("].")
                .map(|(_, inner)| inner.to_owned());
            // A line of its own body: the other routes have none.
            if let Some(inner) = inner.filter(|_| error.line.is_some()) {
                error.field = inner;
            }
        }
    }
    let omitted = problems.total() - errors.len();
    let more = match omitted {
        0 => String::new(),
        many => format!("; {many} more are not listed"),
    };
    Problem::invalid(format!("the routes are not valid{more}"), errors)
}

impl Api {
    fn parse_options(&self, strict: bool) -> ParseOptions {
        ParseOptions {
            strict,
            max_bytes: self.max_document,
        }
    }
}
