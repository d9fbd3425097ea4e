//! Tells the program which target it is built for.

fn main() {
    let target = std::env::var("TARGET").expect("Cargo sets TARGET");
    println!("cargo::rustc-env=POSTERIZE_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
