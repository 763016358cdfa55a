//! What the OpenAPI documents of all models have in common.

use utoipa::openapi::OpenApi;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType};

/// The schema of a batch: an array of one to `most` items of any kind, for each item is answered for itself.
pub fn batch_schema(most: usize) -> Schema {
    let item = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    ArrayBuilder::new()
        .items(item)
        .min_items(Some(1))
        .max_items(Some(most))
        .into()
}

/// An OpenAPI document as it is checked in and served.
pub fn openapi_text(document: &OpenApi) -> String {
    let text = document.to_pretty_json();
    text.expect("strings, numbers and maps with string keys are JSON") + "\n"
}
