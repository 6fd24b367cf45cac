//! Names that end up in labels, file names and URLs: validated once, cheap to clone.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Alerts of journeyd itself are those of a journey of this name, which no file can have.
pub const OWN_JOURNEY: &str = "journeyd";

/// What every id looks like, for messages.
pub const ID_RULE: &str =
    "lower-case letters, digits, `-` and `_`, starting with a letter or digit, at most 63 characters";

/// The same for schemas.
pub const ID_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Whether `text` matches `^[a-z0-9][a-z0-9_-]{0,62}$`.
pub fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !bytes.is_empty()
        && bytes.len() <= 63
        && plain(&bytes[0])
        && bytes.iter().all(|b| plain(b) || matches!(b, b'_' | b'-'))
}

/// Whether `text` matches `^[A-Za-z_][A-Za-z0-9_]{0,62}$`, the form of vars, captures and secrets.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// The nearest of `known` to `word`, if it is near enough to be a typing mistake.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // Two slips in a long word, one in a short one: half of another word is not a typing mistake.
        .filter(|(distance, candidate)| {
            *distance <= if candidate.len() > 4 { 2 } else { 1 } && *distance < candidate.len()
        })
        .min()
        .map(|(_, candidate)| candidate)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// `None` when `text` does not follow [`ID_RULE`].
            pub fn new(text: &str) -> Option<Self> {
                is_id(text).then(|| Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an id")))
            }
        }
    };
}

id_type!(
    /// A journey: the stem of its file.
    JourneyId
);
id_type!(
    /// A variant of a journey.
    VariantId
);
id_type!(
    /// A step, unique within its journey (cleanup included).
    StepId
);

id_type!(
    /// An alert rule, unique within its journey.
    RuleId
);
impl RuleId {
    /// The built-in rule of every journey.
    pub fn down() -> Self {
        Self::of("down")
    }

    /// A rule of journeyd's own.
    pub fn of(name: &'static str) -> Self {
        Self(name.into())
    }
}

id_type!(
    /// A named destination of messages.
    ReceiverId
);

/// What is scheduled, measured and alerted on: a journey, or one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JourneyKey {
    pub journey: JourneyId,
    pub variant: Option<VariantId>,
}

impl JourneyKey {
    /// The value of the `variant` label: empty without variants.
    pub fn variant_label(&self) -> &str {
        self.variant.as_ref().map_or("", VariantId::as_str)
    }
}

impl JourneyKey {
    /// From the two labels, as the store keeps them.
    pub fn from_labels(journey: &str, variant: &str) -> Option<Self> {
        let variant = if variant.is_empty() { None } else { Some(VariantId::new(variant)?) };
        Some(Self { journey: JourneyId::new(journey)?, variant })
    }
}

impl fmt::Display for JourneyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Some(variant) => write!(f, "{}/{variant}", self.journey),
            None => write!(f, "{}", self.journey),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_documented_rule() {
        for good in ["a", "0", "check-out_2", &"a".repeat(63)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(!is_id(bad), "{bad}");
        }
        for good in ["a", "_x", "Ab9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "9a", "a-b", "a.b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("expcet", ["request", "expect"]), Some("expect"));
        assert_eq!(nearest("zzz", ["request", "expect"]), None);
        assert_eq!(nearest("x", ["id"]), None);
    }
}
