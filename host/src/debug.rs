//! `Debug` for the types that have a session, a store or a function in them: it shows what tells one from another.

/// Implements `Debug` with the fields that are named.
macro_rules! debug_fields {
    ($type:ident $(<$($param:ident),*>)?, |$this:pat_param| $($field:ident = $value:expr),*) => {
        impl$(<$($param),*>)? std::fmt::Debug for $type$(<$($param),*>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($type))$(.field(stringify!($field), &$value))*.finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use debug_fields;
