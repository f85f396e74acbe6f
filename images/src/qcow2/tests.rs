//! Random use against a plain array of bytes, power that fails at any moment, and tables that grow.

mod grow;
mod model;
mod power;
