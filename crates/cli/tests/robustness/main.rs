//! What must hold when things go wrong: runs that are killed, full disks, folders that do not belong together; and
//! whatever algorithm computes.

mod bad_input;
mod common;
mod early;
mod every_command;
mod interruptions;
mod numerics;
mod preparing;
mod resuming;
