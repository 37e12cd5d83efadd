//! The maps that forward passes work in: one set a thread at a time, kept for the next.

use candle_core::Result;
use std::sync::{Mutex, PoisonError};

/// Sets of maps that no thread is using.
pub struct Pool<T> {
    idle: Mutex<Vec<T>>,
    make: fn() -> Result<T>,
}

impl<T> Pool<T> {
    /// No set yet; `make` makes one when all are in use.
    pub fn new(make: fn() -> Result<T>) -> Self {
        Self { idle: Mutex::new(Vec::new()), make }
    }

    /// Lends a set. Whatever it held, every map is written before it is read.
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
