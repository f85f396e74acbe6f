//! Random use against a plain array of bytes, and power that fails at any moment.

mod model;
mod power;
