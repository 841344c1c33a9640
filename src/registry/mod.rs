//! One line per entry: the macro from which the language, `mtorec list`, `check`'s suggestions
//! and the documentation of every model, balancer, dataset and metric follow.

mod label;

pub use label::{in_full, labels};

/// An enum that `registry!` declares.
pub trait Registered: serde::Serialize + serde::de::DeserializeOwned {
    /// The name of this entry, as a pipeline file spells it.
    fn registered_name(&self) -> &'static str;
}

/// What a registered type says of itself; everything `mtorec list` prints comes from here.
pub trait Describe {
    /// One line: what it is, in the field's terms.
    const SUMMARY: &'static str;
    /// Where it comes from: authors, venue, year. Empty for plain baselines.
    const SOURCE: &'static str;
}

/// A row of `mtorec list`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Entry {
    /// The name as a pipeline file spells it.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// Paper or origin.
    pub source: &'static str,
    /// The value with every default written out, as RON.
    pub defaults: String,
}

/// Writes any part of the language as one line of canonical RON: every default spelt out, no
/// extra parentheses round the hyper-parameters of a variant.
pub fn to_ron<T: serde::Serialize>(value: &T) -> String {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.to_string(value).expect("the language's own types always serialise")
}

/// Reads what [`to_ron`] wrote.
///
/// # Errors
/// When another version of this program wrote it, which knew other parts of the language.
pub fn of_ron<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ron::error::SpannedError> {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES).from_str(text)
}

/// Declares an open set of named things as an enum of one newtype variant each.
///
/// `registry! { /// docs  pub enum Balancer { Famo(loss::Famo), .. } }` yields the enum with its
/// serde implementation (so that `Famo(gamma: 1e-3)` parses) and `Balancer::entries()`.
/// Every payload implements [`Describe`], `Default`, `Serialize` and `Deserialize`.
#[macro_export]
macro_rules! registry {
    ($(#[$meta:meta])* $vis:vis enum $Name:ident { $($Variant:ident($Payload:ty)),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        $vis enum $Name {
            $(
                #[allow(missing_docs)]
                $Variant($Payload),
            )+
        }

        impl $Name {
            /// Everything registered here, in the order of the registry.
            pub fn entries() -> Vec<$crate::registry::Entry> {
                vec![$($crate::registry::Entry {
                    name: stringify!($Variant),
                    summary: <$Payload as $crate::registry::Describe>::SUMMARY,
                    source: <$Payload as $crate::registry::Describe>::SOURCE,
                    defaults: $crate::registry::to_ron(&$Name::$Variant(<$Payload>::default())),
                }),+]
            }

            /// The name of this entry, as a pipeline file spells it.
            pub fn name(&self) -> &'static str {
                match self {
                    $($Name::$Variant(_) => stringify!($Variant),)+
                }
            }
        }

        impl $crate::registry::Registered for $Name {
            fn registered_name(&self) -> &'static str {
                self.name()
            }
        }

        $(
            impl From<$Payload> for $Name {
                fn from(payload: $Payload) -> Self {
                    $Name::$Variant(payload)
                }
            }
        )+
    };
}
