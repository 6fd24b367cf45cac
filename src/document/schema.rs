//! JSON schemas from field tables, for editors (draft 2020-12).

use serde_json::{Map, Value as Json, json};

use crate::document::{Field, Shape, TableKind};
use crate::ids::ID_PATTERN;
use crate::quantity::{DURATION_PATTERN, SIZE_PATTERN};

/// The schema of a file whose root is `kind`.
pub fn schema(kind: &'static TableKind, title: &str) -> Json {
    let mut definitions = Definitions::default();
    let mut root = definitions.table(kind);
    while let Some(next) = definitions.waiting.pop() {
        let body = definitions.table(next);
        definitions.done.insert(next.name.to_owned(), body);
    }
    let mut out = Map::new();
    out.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    out.insert("title".into(), title.into());
    if let Some(root) = root.as_object_mut() {
        out.append(root);
    }
    let mut done: Vec<(String, Json)> = definitions.done.into_iter().collect();
    done.sort_by(|a, b| a.0.cmp(&b.0));
    out.insert("$defs".into(), Json::Object(done.into_iter().collect()));
    Json::Object(out)
}

#[derive(Default)]
struct Definitions {
    done: Map<String, Json>,
    waiting: Vec<&'static TableKind>,
}

impl Definitions {
    fn table(&mut self, kind: &'static TableKind) -> Json {
        let properties: Map<String, Json> =
            kind.known().map(|field| (field.name.to_owned(), self.field(field))).collect();
        let mut out = json!({ "type": "object", "additionalProperties": false, "properties": properties });
        if let (Some(map), [_, _, ..]) = (out.as_object_mut(), kind.one_of) {
            let pairs: Vec<Json> = (0..kind.one_of.len())
                .flat_map(|i| kind.one_of[i + 1..].iter().map(move |b| json!({ "required": [kind.one_of[i], b] })))
                .collect();
            map.insert("not".to_owned(), json!({ "anyOf": pairs }));
        }
        out
    }

    fn field(&mut self, field: &'static Field) -> Json {
        let mut out = self.shape(&field.shape);
        let Some(map) = out.as_object_mut() else { return out };
        map.insert("description".into(), field.doc.into());
        if let Some(value) = toml_value(field.default) {
            map.insert("default".into(), value);
        }
        if let Some(value) = toml_value(field.example) {
            map.insert("examples".into(), json!([value]));
        }
        out
    }

    fn shape(&mut self, shape: &'static Shape) -> Json {
        match shape {
            Shape::Text | Shape::Url => json!({ "type": "string" }),
            Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::True => json!({ "const": true }),
            Shape::Integer(least, i64::MAX) => json!({ "type": "integer", "minimum": least }),
            Shape::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Shape::Number => json!({ "type": "number" }),
            Shape::Duration => json!({ "type": "string", "pattern": DURATION_PATTERN }),
            Shape::Size => json!({ "type": "string", "pattern": SIZE_PATTERN }),
            Shape::Id => json!({ "type": "string", "pattern": ID_PATTERN }),
            Shape::Word(words) => json!({ "enum": words }),
            Shape::Any => json!({ "additionalProperties": true }),
            Shape::Table(kind) => self.reference(kind),
            Shape::Tables(kind) => json!({ "type": "array", "items": self.reference(kind) }),
            Shape::Map(inner) => json!({ "type": "object", "additionalProperties": self.shape(inner) }),
            Shape::Form(pattern) => json!({ "type": "string", "pattern": pattern }),
            Shape::Named(pattern, inner) => json!({
                "type": "object",
                "propertyNames": { "pattern": pattern },
                "additionalProperties": self.shape(inner)
            }),
            Shape::Some(inner) => json!({ "type": "array", "minItems": 1, "items": self.shape(inner) }),
            Shape::List(inner) => json!({ "type": "array", "items": self.shape(inner) }),
            Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(|s| self.shape(s)).collect::<Vec<_>>() }),
        }
    }

    fn reference(&mut self, kind: &'static TableKind) -> Json {
        if !self.done.contains_key(kind.name) && !self.waiting.iter().any(|k| k.name == kind.name) {
            self.done.insert(kind.name.to_owned(), Json::Null);
            self.waiting.push(kind);
        }
        json!({ "$ref": format!("#/$defs/{}", kind.name) })
    }
}

/// A value written as TOML; `None` for prose such as "the file's name".
fn toml_value(text: &str) -> Option<Json> {
    if text.is_empty() {
        return None;
    }
    let table: toml::Table = toml::from_str(&format!("v = {text}")).ok()?;
    serde_json::to_value(table.get("v")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::fields;

    fields!(wheel, "a wheel" { SPOKES: "spokes", "a number", Integer(3, 36), "How many.", default "32"; } planned { "tube" });
    fields!(brake, "a brake" { RIM: "rim", "a boolean", Boolean, "On the rim."; DISC: "disc", "a boolean", Boolean, "On a disc."; } planned {} one_of { "rim", "disc" });
    fields!(bike, "a bike" {
        NAME: "name", "a string", Text, "What it is called.", default "the brand", example "'Rosinante'";
        WHEELS: "wheels", "[[wheels]]", Tables(&super::wheel::TABLE), "Two.";
        SPARE: "spare", "a wheel", Table(&super::wheel::TABLE), "A third.";
    } planned {});

    #[test]
    fn of_keys_that_exclude_each_other_at_most_one_stands() {
        let schema = schema(&brake::TABLE, "A brake");
        assert_eq!(schema["not"], json!({ "anyOf": [{ "required": ["rim", "disc"] }] }));
    }

    #[test]
    fn a_schema_has_every_key_of_this_version_with_description_default_and_example() {
        assert_eq!(
            schema(&bike::TABLE, "A bike"),
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "A bike",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "name": { "type": "string", "description": "What it is called.", "examples": ["Rosinante"] },
                    "wheels": { "type": "array", "items": { "$ref": "#/$defs/wheel" }, "description": "Two." },
                    "spare": { "$ref": "#/$defs/wheel", "description": "A third." }
                },
                "$defs": { "wheel": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "spokes": { "type": "integer", "minimum": 3, "maximum": 36, "description": "How many.", "default": 32 } }
                } }
            })
        );
    }
}
