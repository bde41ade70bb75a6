//! From files to a dataset: public collections ([`presets`]), archives that are read in place ([`archive`]), and
//! [`prepare`], which decodes, checks, splits and writes; and what two datasets share ([`mod@compare`]). No networks,
//! so that it is quick to build, to test and to fuzz. It never prints: what it has to say goes through
//! [`messages::Progress`].

pub mod archive;
pub mod compare;
mod notes;
pub mod prepare;
pub mod presets;
mod spelling;
mod tables;
