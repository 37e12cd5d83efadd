//! Observes which stage of the work on a picture runs. Stages are timed by the observer that a
//! caller passes in, because nothing here reads a clock.

/// Receives the stages: decode, detect, quality, liveness, embed and so on. One runs at a time.
pub trait Observer {
    /// The stage begins.
    fn began(&mut self, stage: &'static str);
    /// The last begun stage has ended, with or without an error.
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
