//! The HTTP endpoints, one file each.

pub mod health;
pub mod management;
pub mod poll;
pub mod status;
