//! The program from outside: what it prints, what it leaves on the disk, how it ends.

mod bench;
mod checkpoints;
mod evaluate;
mod fetch_https;
mod fetch_wheel;
mod inspect;
mod quantize;
mod scene;
mod server;
mod support;
mod train;
mod tutorial;
