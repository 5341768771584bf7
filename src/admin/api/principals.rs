//! `principals`: who clients may be, and what is being made of it. Changes are made in their document.

use super::{Api, Problem, offload};
use crate::auth::PrincipalView;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize)]
struct Shown {
    name: String,
    tokens: usize,
    jwt: usize,
    certificates: usize,
    anonymous: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    limits: BTreeMap<&'static str, u64>,
    max_priority: u8,
    connections: u32,
    in_flight: u32,
}

impl From<PrincipalView> for Shown {
    fn from(view: PrincipalView) -> Shown {
        Shown {
            name: view.name,
            tokens: view.tokens,
            jwt: view.jwt,
            certificates: view.certificates,
            anonymous: view.anonymous,
            allow: view.allow,
            deny: view.deny,
            limits: view.limits.into_iter().collect(),
            max_priority: view.max_priority,
            connections: view.connections,
            in_flight: view.in_flight,
        }
    }
}

/// GET `principals`.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    // There may be a thousand, of many patterns each.
    offload(move || {
        let principals = api.control.principals().into_iter().map(Shown::from);
        Json(principals.collect::<Vec<_>>()).into_response()
    })
    .await
}
