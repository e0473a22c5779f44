//! Answers that are more than JSON with status 200, and how they are documented.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{
    MediaType, Operation, Response as Documented, SchemaObject, StatusCode as Code,
};
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// 201 with what was made; 200 when it was there already.
#[derive(Debug)]
pub(crate) struct Created<T> {
    made: T,
    new: bool,
    place: Option<String>,
}

impl<T> Created<T> {
    /// It was just made.
    pub(crate) const fn new(made: T) -> Self {
        Self {
            made,
            new: true,
            place: None,
        }
    }

    /// It stands at `place`, and was there before unless it is `new`.
    pub(crate) const fn at(made: T, new: bool, place: String) -> Self {
        Self {
            made,
            new,
            place: Some(place),
        }
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let status = if self.new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let place = self.place.map(|place| [(header::LOCATION, place)]);
        match place {
            Some(place) => (status, place, Json(self.made)).into_response(),
            None => (status, Json(self.made)).into_response(),
        }
    }
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        let schema = ctx.schema.subschema_for::<T>();
        let said = |what: &str| documented(what, "application/json", schema.clone());
        vec![
            (Some(Code::Code(201)), said("Made.")),
            (Some(Code::Code(200)), said("It was there already.")),
        ]
    }
}

/// 202: kept, and carried out from here on.
#[derive(Debug)]
pub(crate) struct Accepted<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Accepted<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        let schema = ctx.schema.subschema_for::<T>();
        let said = documented("Kept.", "application/json", schema);
        vec![(Some(Code::Code(202)), said)]
    }
}

/// A saga definition, byte for byte as it was registered.
#[derive(Debug)]
pub(crate) struct YamlText(pub(crate) String);

/// The media type of saga definitions.
const YAML: &str = "application/yaml";

impl IntoResponse for YamlText {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, YAML)], self.0).into_response()
    }
}

impl OperationOutput for YamlText {
    type Inner = String;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        // no type: a client that reads the YAML finds an object where another one finds text
        let schema =
            schemars::json_schema!({ "description": "YAML, byte for byte as it was registered." });
        vec![(
            Some(Code::Code(200)),
            documented("The definition.", YAML, schema),
        )]
    }
}

/// A response of one media type.
pub(super) fn documented(
    description: &str,
    media_type: &str,
    schema: schemars::Schema,
) -> Documented {
    let media = MediaType {
        schema: Some(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    };
    Documented {
        description: description.to_owned(),
        content: [(media_type.to_owned(), media)].into_iter().collect(),
        ..Documented::default()
    }
}
