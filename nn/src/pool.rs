//! The working maps of forward passes: one set per thread at a time, kept for the next pass.

use candle_core::Result;
use std::sync::{Mutex, PoisonError};

/// Sets of maps that no thread uses.
pub struct Pool<T> {
    idle: Mutex<Vec<T>>,
    make: fn() -> Result<T>,
}

impl<T> Pool<T> {
    /// Starts empty; `make` makes a set when all are in use.
    pub fn new(make: fn() -> Result<T>) -> Self {
        Self { idle: Mutex::new(Vec::new()), make }
    }

    /// Lends a set. Its old content is irrelevant: every map is written before it is read.
    pub fn lend<R>(&self, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut maps = match taken {
            Some(maps) => maps,
            None => (self.make)()?,
        };
        let result = work(&mut maps);
        idle().push(maps);
        result
    }
}
