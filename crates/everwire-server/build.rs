//! Pages are embedded: a new one among them must rebuild the crate, which the compiler alone would not notice.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    for folder in ["../../web/assets", "../../web/demos", "../../sdk/js/src"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
