//! Evaluation: what synthetic images are worth, as figures with their number of images and a floor to read them by.

pub mod fidelity;
