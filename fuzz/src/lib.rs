//! What the fuzz targets do with their bytes. A program in `fuzz_targets` only calls one of these functions; the tests
//! of the crates include the same files and call them with `corpus/<target>/*`, so that every former finding stays one.

pub mod names;
pub mod wire;
