//! The address of an operation over HTTP: a method and a path, whose `{…}` is a field.

use strum::IntoStaticStr;

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Method {
    /// A query; its fields are in the query of the address.
    Get,
    /// A request in the body.
    Post,
    /// A change of a record.
    Patch,
    /// A removal.
    Delete,
}

/// An address of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
}

impl Route {
    /// A query.
    pub(super) const fn get(path: &'static str) -> Self {
        Self { method: Method::Get, path }
    }

    /// A request in the body.
    pub(super) const fn post(path: &'static str) -> Self {
        Self { method: Method::Post, path }
    }

    /// A change of a record.
    pub(super) const fn patch(path: &'static str) -> Self {
        Self { method: Method::Patch, path }
    }

    /// A removal.
    pub(super) const fn delete(path: &'static str) -> Self {
        Self { method: Method::Delete, path }
    }

    /// Returns the fields in the path.
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
