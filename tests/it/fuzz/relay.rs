//! Children of the daemon whose parts are played here, on threads of the test: `tests/agents/relay.sh`
//! carries what they say and hear.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::repository;

/// Where the children connect to.
pub(crate) struct Relay {
    port: u16,
}

impl Relay {
    /// Plays every child that connects, each on a thread of its own, for as long as this process lives.
    pub(crate) fn start(play: impl Fn(Child) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let play = Arc::new(play);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let play = Arc::clone(&play);
                thread::spawn(move || play(Child::over(stream)));
            }
        });
        Self { port }
    }

    /// What a child's environment needs to find it.
    pub(crate) fn environment(&self) -> Value {
        serde_json::json!({"RELAY_PORT": self.port.to_string()})
    }

    /// The child's program.
    pub(crate) fn program() -> String {
        repository("tests/agents/relay.sh").to_str().unwrap().to_owned()
    }
}

/// One child. It ends with this.
pub(crate) struct Child {
    hears: BufReader<TcpStream>,
    says: TcpStream,
}

impl Child {
    fn over(stream: TcpStream) -> Self {
        // One that is not read any more, but is still there.
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let says = stream.try_clone().unwrap();
        Self { hears: BufReader::new(stream), says }
    }

    /// Says something, whole lines or not. `false` if nobody is there to hear it.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        self.says.write_all(bytes).is_ok()
    }

    /// Says one good line.
    pub(crate) fn line(&mut self, value: &Value) -> bool {
        self.say(format!("{value}\n").as_bytes())
    }

    /// The next thing that it is told, if there is one within that time.
    pub(crate) fn hear(&mut self, patience: Duration) -> Option<Value> {
        self.hears.get_ref().set_read_timeout(Some(patience)).ok()?;
        let mut line = String::new();
        self.hears.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        serde_json::from_str(&line).ok()
    }
}
