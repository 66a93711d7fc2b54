//! What a transformer computes on a CPU, and nothing about models: products with quantised matrices, attention over paged
//! keys and values, norms and gates.
//!
//! Weights keep the bits of their file and are laid out once in [`Panels`] of sixteen rows, so that one vector register holds
//! the same four columns of every row and no sum ever crosses its lanes. Activations are quantised to 8 bits a block of 32
//! ([`Inputs`]) and multiplied as integers, exactly; or, asked to be precise, everything is f32.
//!
//! Every kernel is written once, compiled for each instruction set ([`Isa`]) and chosen at run time: as plain loops, or, where quants
//! and f16 numbers are multiplied, over a dozen functions of a line for each instruction set, and integer products written by hand.

#![allow(
    clippy::inline_always,
    reason = "plain loops become an instruction set's only inside a function compiled for it"
)]

mod attend;
mod crew;
mod dispatch;
mod elements;
mod float;
mod inputs;
mod kernel;
mod low_rank;
mod multiply;
mod noise;
mod panels;
mod softmax;
mod workers;

pub use attend::{Attention, Seen, attend};
pub use crew::Crew;
pub use dispatch::Isa;
pub use elements::{Gate, add_normed, axpy, dot, gated, halves, rms_norm};
pub use inputs::{Block, Inputs, Piece, Precision, Second, Seconds};
pub use low_rank::add_low_rank;
pub use multiply::{multiply, panel_row};
pub use noise::noise_bounds;
pub use panels::{BLOCK, Layout, Levels, Line, PANEL, Panels, Scale};
pub use softmax::{Range, cross_sum, exp_sums, range};
pub use workers::Workers;
