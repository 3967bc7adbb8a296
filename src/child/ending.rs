//! How a child is ended by somebody who does not wait for it: asked, then SIGTERM, then SIGKILL.

use std::time::{Duration, Instant};

use crate::child::Child;

/// How far the end of a child is. Its owner calls [`Ending::escalate`] at the time of [`Ending::until`];
/// whether the child has ended is [`Child::exit`]'s to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    /// The child is to live.
    #[default]
    No,
    /// It was asked to end, in a way that it understands, or is about to end by itself.
    Asked { until: Instant },
    /// SIGTERM was sent.
    Term { until: Instant },
    /// SIGKILL was sent, to its process group.
    Kill { until: Instant },
}

impl Ending {
    /// When the next step is due, if the child is to end at all.
    pub(crate) fn until(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Asked { until } | Self::Term { until } | Self::Kill { until } => Some(until),
        }
    }

    /// Whether a signal was sent. An end that was only asked for may be taken back.
    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Term { .. } | Self::Kill { .. })
    }

    /// Sends SIGTERM, unless a signal was sent before. The next step is due after `patience`.
    pub(crate) fn terminate(&mut self, child: &mut Child, patience: Duration, now: Instant) {
        if !self.is_forced() {
            child.terminate();
            *self = Self::Term { until: now + patience };
        }
    }

    /// Takes the next step: SIGTERM at first, SIGKILL from then on. The one after it is due after `patience`.
    pub(crate) fn escalate(&mut self, child: &mut Child, patience: Duration, now: Instant) {
        if self.is_forced() {
            child.kill();
            *self = Self::Kill { until: now + patience };
        } else {
            self.terminate(child, patience, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::Ending;
    use crate::child::{Child, ChildSpec};

    const SOON: Duration = Duration::from_secs(20);

    /// A shell that does this, once it says that it has begun.
    fn shell(script: &str) -> Child {
        let script = format!("{script}; echo ready; while :; do sleep 0.1; done");
        let (ready, begun) = std::sync::mpsc::channel();
        let spec = ChildSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            cwd: Path::new("/"),
            env: Vec::new(),
            pass_env: &[],
            name: "test",
        };
        let read = move |mut stdout| {
            let mut line = [0; 6];
            let _ = ready.send(std::io::Read::read_exact(&mut stdout, &mut line).is_ok());
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        };
        let child = Child::start(&spec, read).unwrap();
        assert!(begun.recv_timeout(SOON).unwrap());
        child
    }

    #[test]
    fn who_does_not_end_when_asked_gets_one_signal_after_the_other() {
        let patience = Duration::from_millis(300);
        for (script, signals) in [(":", 1), ("trap : TERM", 2)] {
            let (mut child, begin) = (shell(script), Instant::now());
            let mut ending = Ending::Asked { until: begin };
            let mut steps = 0;
            while child.exit().is_none() {
                let now = Instant::now();
                assert!(now < begin + SOON, "it does not end");
                if ending.until().is_some_and(|until| until <= now) {
                    ending.escalate(&mut child, patience, now);
                    steps += 1;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(ending.is_forced() && steps == signals, "{script}: {steps} signals");
        }
    }

    #[test]
    fn sigterm_is_sent_once() {
        let (mut child, now) = (shell("trap : TERM"), Instant::now());
        let mut ending = Ending::No;
        assert!(ending.until().is_none() && !ending.is_forced());
        ending.terminate(&mut child, Duration::from_secs(1), now);
        let first = ending;
        ending.terminate(&mut child, Duration::from_secs(2), now);
        assert_eq!((ending, ending.until()), (first, Some(now + Duration::from_secs(1))));
        child.kill();
    }
}
