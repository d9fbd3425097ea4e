//! What this build of the program is.

use posterize::runtime::Isa;

/// Describes the build and the instruction set that it uses on this machine.
pub(crate) fn details() -> String {
    let names = Isa::supported().into_iter().map(Isa::name).collect::<Vec<_>>().join(", ");
    let isa = match Isa::from_env() {
        Ok(isa) => format!("{isa} (of {names})"),
        Err(error) => format!("none: {error}"),
    };
    format!(
        "posterize {}\ntarget: {}\ninstruction set: {isa}\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        env!("POSTERIZE_TARGET"),
        posterize::FEATURES.join(", ")
    )
}
