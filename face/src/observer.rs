//! Who is told which stage of the work on a picture runs. That is how stages are timed although
//! nothing here reads a clock: the observer that a caller passes in does.

/// Is told of stages: decode, detect, quality, liveness, embed and so on. One runs at a time.
pub trait Observer {
    /// The stage begins.
    fn began(&mut self, stage: &'static str);
    /// The stage that began last has ended, however it ended.
    fn ended(&mut self, stage: &'static str);
}

impl dyn Observer + '_ {
    /// Runs a stage under observation.
    pub fn stage<T>(&mut self, stage: &'static str, run: impl FnOnce() -> T) -> T {
        self.began(stage);
        let result = run();
        self.ended(stage);
        result
    }
}

/// Observes nothing.
impl Observer for () {
    fn began(&mut self, _: &'static str) {}
    fn ended(&mut self, _: &'static str) {}
}
