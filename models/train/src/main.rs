//! Fits doorward's own small models on the development photographs; `cargo xtask train-liveness` and
//! `cargo xtask train-attributes` run it.
//!
//! ```text
//! logistic    the one kind of model that is fitted
//! folds       who is judged by which model
//! ```
//!
//! Each command writes three files: the weights `models/NAME.gguf`, and `models/NAME.toml`, the
//! report: hash and size of the weights, what they were fitted on, and the errors on those
//! photographs from out-of-fold predictions alone. The same photographs give the same bytes.

mod folds;
mod logistic;

fn main() {}
