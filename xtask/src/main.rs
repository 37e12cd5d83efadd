//! doorward's chores.
fn main() {}
