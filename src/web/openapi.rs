//! The API as an OpenAPI document; a test holds it equal to the routes.

pub const DOCUMENT: &str = include_str!("openapi.json");
