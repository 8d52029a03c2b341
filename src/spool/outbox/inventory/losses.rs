//! What people must know: samples that were lost in the spool, and why.

/// The losses and messages since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    samples: u64,
    messages: Vec<String>,
}

impl Losses {
    /// Counts samples as lost, and logs why.
    pub(crate) fn lose(&mut self, samples: u64, message: String) {
        self.samples += samples;
        self.say(message);
    }

    /// Logs a message, and keeps it for the report.
    pub(crate) fn say(&mut self, message: String) {
        tracing::error!("{message}");
        self.messages.push(message);
    }

    /// Samples that were lost since the last call.
    pub(crate) fn take_samples(&mut self) -> u64 {
        std::mem::take(&mut self.samples)
    }

    /// Messages since the last call.
    pub(crate) fn take_messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_and_are_taken_once() {
        let mut losses = Losses::default();
        losses.lose(3, "one".to_owned());
        losses.say("two".to_owned());
        losses.lose(4, "three".to_owned());
        assert_eq!((losses.take_samples(), losses.take_samples()), (7, 0));
        assert_eq!(losses.take_messages(), ["one", "two", "three"]);
        assert!(losses.take_messages().is_empty());
    }
}
