//! How functions are told apart, and what a call of one locks.

/// What a call is to lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKey {
    /// This key, among the keys of the function.
    Lock(String),
    /// Nothing: the call needs no lock.
    Skip,
}

impl From<String> for CallKey {
    fn from(key: String) -> Self {
        CallKey::Lock(key)
    }
}

impl From<&str> for CallKey {
    fn from(key: &str) -> Self {
        CallKey::Lock(key.to_string())
    }
}

/// What stands before a function's keys.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Own(String),
    /// Only a type name, which other functions may have, too.
    None(&'static str),
}

impl Name {
    pub(super) fn of<F>() -> Self {
        let name = std::any::type_name::<F>();
        // The type of a named function has no other value; that of a function pointer, or of a closure that captures
        // something, has. All closures of one function have the same type name, and what is defined in them has, too.
        let is_function = size_of::<F>() == 0 && !name.contains("{{closure}}");
        if is_function { Name::Own(name.to_string()) } else { Name::None(name) }
    }

    /// Returns what a call locks, if anything; the error is the type name.
    pub(super) fn key(&self, key: CallKey) -> Result<Option<String>, &'static str> {
        match (self, key) {
            (Name::Own(name), CallKey::Lock(key)) => Ok(Some(format!("{name}:{key}"))),
            (Name::Own(_), CallKey::Skip) => Ok(None),
            (Name::None(type_name), _) => Err(type_name),
        }
    }
}
