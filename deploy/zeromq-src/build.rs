//! Lays out the headers that libzmq is built with and tells the library where libsodium lies.
//!
//! Cargo shows `DEP_SODIUM_*` to this script only, so they are handed on through `rustc-env`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=include/platform.hpp");

    let sodium_lib = from_sodium("DEP_SODIUM_LIB");
    let sodium_include = from_sodium("DEP_SODIUM_INCLUDE");

    // libzmq's build takes one include directory for libsodium. It comes before the one with the empty
    // `platform.hpp`, so ours goes in there too, and `sodium.h` only points on.
    let include = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("include");
    fs::create_dir_all(&include).expect("OUT_DIR is writable");
    fs::copy("include/platform.hpp", include.join("platform.hpp")).expect("OUT_DIR is writable");
    let pointer = format!("#include \"{}/sodium.h\"\n", sodium_include.replace('\\', "/"));
    fs::write(include.join("sodium.h"), pointer).expect("OUT_DIR is writable");

    println!("cargo:rustc-env=BUNDLED_SODIUM_LIB={sodium_lib}");
    println!("cargo:rustc-env=BUNDLED_INCLUDE={}", include.display());
}

/// What the build of libsodium says about itself. It says nothing when told to use another libsodium.
fn from_sodium(variable: &str) -> String {
    println!("cargo:rerun-if-env-changed={variable}");
    env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: libsodium was not built from its bundled source. \
             Unset SODIUM_LIB_DIR and SODIUM_USE_PKG_CONFIG and build again"
        )
    })
}
