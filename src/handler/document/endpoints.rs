//! `endpoints`: hosts that are written down, or a Service of Kubernetes.

use super::value::{list, of_text, section};
use crate::router::document::reading::{self, Fields, Report};
use crate::upstream::{Discover, Services};
use crate::upstream::{Names, Port, ServiceName, ServicePort, SystemResolver};
use std::sync::Arc;

/// Most addresses that are written down.
const MAX_HOSTS: usize = 256;

/// A host and its port.
type Host = (String, u16);

/// Where endpoints come from.
pub(super) enum Endpoints {
    Hosts(Vec<Host>),
    Service(ServicePort),
}

/// Reads the key, if it is there. `host` is how one entry of a list is read.
pub(super) fn read(
    fields: &Fields<'_>,
    host: impl Fn(&str) -> Result<Host, String>,
    report: &mut Report,
) -> Option<Endpoints> {
    let field = fields.get("endpoints")?;
    if field.is_list() {
        return list(fields, "endpoints", MAX_HOSTS, host, report).map(Endpoints::Hosts);
    }
    if !field.is_mapping() {
        let message = "is neither a list of hosts nor a Service; write [host, …] or {service: name, port: http}";
        reading::wrong(&field, message, report);
        return None;
    }
    let service = section(fields, "endpoints", &["service", "port"], report)?;
    let (name, port) = (
        service.require("service", report),
        service.require("port", report),
    );
    let name = name.and_then(|field| of_text(&field, ServiceName::parse, report));
    let port = port.and_then(|field| {
        let port = Port::parse(reading::written(&field, report)?);
        let wrong = |message: String| reading::wrong(&field, &message, report);
        port.map_err(wrong).ok()
    });
    Some(Endpoints::Service(ServicePort {
        service: name?,
        port: port?,
    }))
}

/// What finds the endpoints of a handler: the Service if it has one, else its hosts.
///
/// # Errors
/// It has a Service, and there is nobody to ask for it.
pub(super) fn discover(
    service: Option<&ServicePort>,
    hosts: impl FnOnce() -> Vec<Host>,
    services: Option<&dyn Services>,
) -> Result<Arc<dyn Discover>, String> {
    match (service, services) {
        (None, _) => Ok(Arc::new(Names::new(hosts(), Arc::new(SystemResolver)))),
        (Some(service), Some(services)) => Ok(services.discover(service)),
        (Some(service), None) => Err(format!(
            "endpoints: Service {} is known to Kubernetes alone, and this server is in none: set \
             kubernetes.name where KUBECONFIG leads to one, or write a list of hosts",
            service.service
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, Document};
    use crate::telemetry::UpstreamCatalog;
    use crate::upstream::Unasked;

    fn document(handler: &str) -> Result<Document, String> {
        let text =
            format!("apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n  - {{name: x, {handler}}}\n");
        Document::parse(text.as_bytes())
    }

    #[test]
    fn a_service_is_read_with_a_port_of_either_kind() {
        for (written, shown) in [
            ("{service: orders, port: http}", "Service orders, port http"),
            (
                "{service: orders.shop, port: 8080}",
                "Service orders.shop, port 8080",
            ),
            (
                "{service: orders, port: \"8080\"}",
                "Service orders, port 8080",
            ),
        ] {
            for kind in ["type: mcp", "type: http, url: \"http://orders/\""] {
                let document = document(&format!("{kind}, endpoints: {written}")).unwrap();
                assert_eq!(document.handlers[0].settings()["endpoints"], shown);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        for (written, problem) in [
            (
                "orders",
                "endpoints: is neither a list of hosts nor a Service",
            ),
            ("{service: orders}", "endpoints.port: is missing"),
            ("{port: http}", "endpoints.service: is missing"),
            (
                "{service: orders.shop.svc, port: http}",
                "endpoints.service: is no Service",
            ),
            ("{service: orders, port: 0}", "endpoints.port: is no port"),
            (
                "{service: orders, port: http, zone: a}",
                "endpoints.zone: is not a key",
            ),
        ] {
            let told = document(&format!("type: mcp, endpoints: {written}")).unwrap_err();
            assert!(told.contains(problem), "{written}: {told}");
        }
    }

    /// Requests must not wait for what cannot come.
    #[tokio::test]
    async fn without_kubernetes_a_service_is_refused_and_with_it_taken() {
        let document = document("type: mcp, endpoints: {service: orders, port: mcp}").unwrap();
        let upstreams = UpstreamCatalog::default();
        let mut context = Context {
            upstreams: &upstreams,
            services: None,
        };
        let Err(told) = document.handlers[0].build(&context) else {
            panic!("it is taken")
        };
        assert!(
            told.contains("Service orders") && told.contains("kubernetes.name"),
            "{told}"
        );
        context.services = Some(&Unasked);
        assert!(document.handlers[0].build(&context).is_ok());
    }
}
