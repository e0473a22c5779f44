//! The API's own document: OpenAPI 3.1, drawn from the handlers' arguments and answers, so that it says what the code does.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::generate::{GenContext, in_context};
use aide::openapi::{
    Components, Info, License, MediaType, OpenApi, ReferenceOr, Response, SchemaObject,
    SecurityScheme, StatusCode, Tag,
};
use aide::transform::TransformOperation;
use axum::Router;
use axum::http::StatusCode as Status;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;

use super::Api;
use super::problem::{Document, MEDIA_TYPE};

/// The name of the one way to say who asks.
pub(crate) const SECURITY: &str = "token";

/// Where all of it stands.
pub(super) const PREFIX: &str = "/v1";

/// What stands above all routes.
const DESCRIPTION: &str = "Baton runs IT processes over RabbitMQ. Everything that goes wrong is answered as a problem document (RFC 9457) \
whose `type` is stable and whose `detail` says what to do. Instants are milliseconds since 1970 UTC. `x-role` of an operation is the role it wants: \
viewer < auditor < operator < admin.";

/// The groups of routes.
const TAGS: [(&str, &str); 6] = [
    ("sagas", "Start, watch and steer sagas."),
    ("definitions", "Register and read saga definitions."),
    ("people", "What people have to decide."),
    ("fleet", "Workers, what they can do, and where time goes."),
    (
        "events",
        "Events, hooks and schedules that start and wake sagas.",
    ),
    ("access", "Tokens and this document."),
];

/// Makes the routes and the document that describes them.
pub(super) fn drawn(
    routes: impl FnOnce() -> (ApiRouter<Arc<Api>>, ApiRouter<Arc<Api>>),
) -> (Router<Arc<Api>>, Router<Arc<Api>>, OpenApi) {
    // schemas as OpenAPI 3.1 has them
    in_context(|ctx| {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "#/components/schemas/".into();
        });
        ctx.schema = SchemaGenerator::new(settings);
    });
    let (guarded, open) = routes();
    let mut api = OpenApi {
        info: Info {
            title: "Baton".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            license: Some(License {
                name: "Apache-2.0".to_owned(),
                identifier: Some("Apache-2.0".to_owned()),
                ..License::default()
            }),
            ..Info::default()
        },
        tags: TAGS
            .iter()
            .map(|(name, description)| Tag {
                name: (*name).to_owned(),
                description: Some((*description).to_owned()),
                ..Tag::default()
            })
            .collect(),
        components: Some(Components {
            security_schemes: [(
                SECURITY.to_owned(),
                ReferenceOr::Item(SecurityScheme::Http {
                    scheme: "bearer".to_owned(),
                    bearer_format: None,
                    description: Some(
                        "A named token; the first one is in the data folder, file `token`."
                            .to_owned(),
                    ),
                    extensions: Default::default(),
                }),
            )]
            .into_iter()
            .collect(),
            ..Components::default()
        }),
        ..OpenApi::default()
    };
    let guarded = guarded.finish_api(&mut api);
    let open = open.finish_api(&mut api);
    let paths = api.paths.get_or_insert_with(Default::default);
    paths.paths = std::mem::take(&mut paths.paths)
        .into_iter()
        .map(|(path, item)| (format!("{PREFIX}{path}"), item))
        .collect();
    (guarded, open, api)
}

/// What an operation is called and which problems it may answer beside those of its arguments.
pub(super) fn says(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    problems: &'static [u16],
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| {
        let mut operation = operation.id(id).tag(tag).summary(summary);
        in_context(|ctx| {
            let responses = &mut operation
                .inner_mut()
                .responses
                .get_or_insert_with(Default::default)
                .responses;
            for code in problems {
                let response = ReferenceOr::Item(problem(ctx, *code));
                responses.insert(StatusCode::Code(*code), response);
            }
        });
        operation
    }
}

/// A problem as it is documented.
pub(super) fn problem(ctx: &mut GenContext, code: u16) -> Response {
    let title = Status::from_u16(code)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("A problem");
    let schema = SchemaObject {
        json_schema: ctx.schema.subschema_for::<Document>(),
        external_docs: None,
        example: None,
    };
    let media = MediaType {
        schema: Some(schema),
        ..MediaType::default()
    };
    Response {
        description: title.to_owned(),
        content: [(MEDIA_TYPE.to_owned(), media)].into_iter().collect(),
        ..Response::default()
    }
}

/// The document as text, the same bytes for the same code.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn text(api: &OpenApi) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(api)?;
    value.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&value)?;
    text.push('\n');
    Ok(text)
}
