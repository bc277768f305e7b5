//! The frame codec against itself, however its bytes are cut, and against tungstenite.

mod dice;
mod frames;
mod properties;
mod streams;
mod differences;
mod differential;
