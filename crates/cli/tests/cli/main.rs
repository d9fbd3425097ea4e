//! The program from outside: what it prints, what it leaves on the disk, how it ends.

mod fetch_https;
mod fetch_wheel;
mod server;
mod support;
