//! Whose session it is.

use std::fmt;

/// A name of so many bytes needs no block of its own: a UUID as text, nearly every number and address.
const SHORT: usize = 38;

/// A session's user, kept where the session is. A block of the heap for each of a hundred thousand ended sessions would
/// hold the pages around it for minutes, when everything else of its connection has gone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Owner(Kept);

#[derive(Clone, PartialEq, Eq, Default)]
enum Kept {
    #[default]
    Nobody,
    /// So many bytes of these.
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

impl Owner {
    /// The user with this name; `None`: nobody.
    pub fn of(user: Option<&str>) -> Self {
        let Some(user) = user else { return Self::default() };
        let mut bytes = [0; SHORT];
        Self(match (bytes.get_mut(..user.len()), u8::try_from(user.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(user.as_bytes());
                Kept::Short(len, bytes)
            }
            _ => Kept::Long(user.into()),
        })
    }

    /// The name, if it is somebody's.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kept::Nobody => None,
            Kept::Short(len, bytes) => {
                Some(std::str::from_utf8(&bytes[..usize::from(*len)]).expect("a whole string was copied"))
            }
            Kept::Long(name) => Some(name),
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was() {
        let names =
            ["", "ann", "\u{e4}\u{1f600}", "0b9c4f3e-5a51-4a0e-8b8e-6a8a0e6f1c11", &"x".repeat(SHORT)];
        for name in names.into_iter().chain(["x".repeat(SHORT + 1), "y".repeat(300)].iter().map(|s| &**s)) {
            let owner = Owner::of(Some(name));
            assert_eq!(owner.name(), Some(name));
            assert_eq!(matches!(owner.0, Kept::Long(_)), name.len() > SHORT, "{name}");
            assert_ne!(owner, Owner::default(), "an empty name is somebody's");
        }
        assert_eq!(Owner::of(None).name(), None);
        assert!(size_of::<Owner>() <= 40, "{}", size_of::<Owner>());
    }
}
