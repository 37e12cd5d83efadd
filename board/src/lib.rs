//! What doorward does to the world, behind [`embedded_hal`] traits.
