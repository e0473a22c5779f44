//! The contract, tested from outside: what is written down for others (schemas, examples, vectors, the `AsyncAPI` document)
//! and what this crate reads and writes are the same.

#[path = "../../examples/generate/asyncapi/mod.rs"]
mod asyncapi;
#[path = "../../examples/generate/catalogue.rs"]
mod catalogue;
#[path = "../../examples/generate/documents.rs"]
mod documents;
#[path = "../../examples/generate/schemas.rs"]
mod schemas;
#[path = "../../examples/generate/vectors.rs"]
mod vectors;

mod any_message;
mod asyncapi_document;
mod audit_rows;
mod catalogue_file;
mod derived_ids;
mod generated_files;
mod golden_examples;
mod kinds;
mod round_trips;
