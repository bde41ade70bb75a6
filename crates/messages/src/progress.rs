//! How a stage tells how far it is, without knowing whether anybody watches.

/// Receives what a stage has to say. Methods may be called from several threads.
pub trait Progress: Send + Sync {
    /// A part of the stage begins: what it does, how many units it has (0: unknown), and what one unit is called.
    fn begin(&self, task: &str, total: u64, unit: &str);
    /// So many more units are done; `note` is shown behind the bar and may be empty.
    fn advance(&self, amount: u64, note: &str);
    /// The part begun last is over.
    fn end(&self);
    /// A sentence for the user.
    fn say(&self, sentence: &str);
    /// A sentence that only a user who asked for more (`-v`) wants.
    fn detail(&self, _sentence: &str) {}
}

/// Says nothing: for tests and for use as a library.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {}
    fn end(&self) {}
    fn say(&self, _sentence: &str) {}
}
