//! Who is enrolled.
