//! What must hold when things go wrong: runs that are killed, full disks, folders that do not belong together.

mod bad_input;
mod common;
mod interruptions;
