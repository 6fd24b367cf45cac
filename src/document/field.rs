//! Field tables: every key that a file may hold, written once.
//!
//! One [`Field`] says a key's name, what it takes and what it is for. The parser, the hints, the JSON schema and the
//! reference in `docs/` are all made from it.

/// A key that a table may hold.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// Fits after "expected".
    pub expects: &'static str,
    pub shape: Shape,
    /// What it is for, in a sentence or two.
    pub doc: &'static str,
    /// What holds without it, as TOML; empty when there is nothing to say.
    pub default: &'static str,
    /// As TOML; empty when the default or the shape shows enough.
    pub example: &'static str,
    /// Part of the language, but not of this version: using it is an error that says so, never ignored.
    pub planned: bool,
}

/// What a key takes.
#[derive(Debug)]
pub enum Shape {
    Text,
    /// A string, number or boolean; templates allowed.
    Scalar,
    Boolean,
    True,
    Integer(i64, i64),
    Number,
    Duration,
    Size,
    Id,
    Url,
    Word(&'static [&'static str]),
    /// Any value.
    Any,
    Table(&'static TableKind),
    /// `[[name]]`.
    Tables(&'static TableKind),
    /// A string of this form.
    Form(&'static str),
    /// A table with free keys.
    Map(&'static Shape),
    /// A table with free keys of this form.
    Named(&'static str, &'static Shape),
    /// A list with at least one item.
    Some(&'static Shape),
    List(&'static Shape),
    Either(&'static [Shape]),
}

impl Field {
    pub const fn planned(name: &'static str) -> Self {
        Self { name, expects: "", shape: Shape::Any, doc: "", default: "", example: "", planned: true }
    }
}

/// A kind of table and its keys.
#[derive(Debug)]
pub struct TableKind {
    /// For the schema: a word.
    pub name: &'static str,
    /// With its article: "a step".
    pub what: &'static str,
    pub fields: &'static [&'static Field],
    /// Keys of which at most one stands.
    pub one_of: &'static [&'static str],
    /// What to say of a key that belongs elsewhere.
    pub misplaced: fn(&str) -> Option<String>,
}

impl TableKind {
    /// The keys of this version.
    pub fn known(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().copied().filter(|f| !f.planned)
    }
}

/// Declares the keys of a table once: a constant per key, and the table of all of them.
macro_rules! fields {
    ($(#[$doc:meta])* $module:ident, $what:literal {
        $($konst:ident: $name:literal, $expects:literal, $shape:expr, $about:literal
            $(, default $default:literal)? $(, example $example:literal)?;)*
    } planned { $($planned:literal),* } $(one_of { $($one:literal),* })? $(misplaced $hint:path)?) => {
        $(#[$doc])*
        pub mod $module {
            #[allow(unused_imports, reason = "not every table takes every shape")]
            use $crate::document::{Field, Shape, Shape::*, TableKind};
            $(pub static $konst: Field = {
                #[allow(unused_mut, unused_assignments, reason = "set where given")]
                let mut default = "";
                $(default = $default;)?
                #[allow(unused_mut, unused_assignments, reason = "set where given")]
                let mut example = "";
                $(example = $example;)?
                Field { name: $name, expects: $expects, shape: $shape, doc: $about, default, example, planned: false }
            };)*
            pub static TABLE: TableKind = TableKind {
                name: stringify!($module),
                what: $what,
                fields: &[$(&$konst,)* $(&Field::planned($planned),)*],
                one_of: &[$($($one),*)?],
                misplaced: {
                    #[allow(unused_variables, reason = "replaced where a table has hints")]
                    let hint: fn(&str) -> Option<String> = |_| None;
                    $(let hint: fn(&str) -> Option<String> = $hint;)?
                    hint
                },
            };
        }
    };
}
pub(crate) use fields;
