//! Enums that are one byte on disk: their codes, and the words for them in output.

/// Gives an enum `code`, `from_code` and `as_str`.
macro_rules! codes {
    ($name:ident, $field:literal: $($variant:ident = $code:literal $word:literal),+ $(,)?) => {
        impl $name {
            /// Its code on disk.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The value of a code.
            ///
            /// # Errors
            /// [`DecodeError::BadValue`] for a code that this version does not know.
            pub fn from_code(code: u8) -> Result<Self, DecodeError> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    other => Err(DecodeError::BadValue { field: $field, value: other.into() }),
                }
            }

            /// The word for it in output.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

pub(super) use codes;
