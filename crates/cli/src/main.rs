//! `posterize`: the command line over the library.

fn main() {}
