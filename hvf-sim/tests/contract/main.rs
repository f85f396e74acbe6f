//! The simulator behaves as the tables of what is known of the framework say, tells on who breaks
//! its rules, and makes happen what is asked for. Tests call the functions as C would.

mod exits;
mod faults;
mod kicks;
mod memory;
mod registers;
mod support;
mod timer;
mod vcpus;
mod vm;
