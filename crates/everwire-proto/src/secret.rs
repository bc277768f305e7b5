//! What may be used and never shown.

use std::fmt;
use std::ops::Deref;

/// A secret: a token, a key. It reads as what is inside; its `Debug` prints `***`, so that no derived one tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<T>(pub T);

impl<T> Deref for Secret<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'a, T: From<&'a str>> From<&'a str> for Secret<T> {
    fn from(text: &'a str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_used_and_not_shown() {
        let secret: Secret<Box<str>> = "a.b.c".into();
        assert_eq!(secret.len(), 5);
        assert_eq!(format!("{:?} {:#?}", secret, Some(&secret)), "*** Some(\n    ***,\n)");
    }
}
