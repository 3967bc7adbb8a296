//! Linking a phone, one login at a time: the sidecar is installed first if it has to be.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::time::Instant;

use serde_json::json;

use crate::channels::whatsapp::locate::{self, Found};
use crate::channels::whatsapp::process::Asked;
use crate::channels::whatsapp::{News, Told, Whatsapp};
use crate::channels::{ChannelEvent, LoginMethod, LoginStep};
use crate::child::{Child, ChildSpec};
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::protocol::call::Channel;
use crate::protocol::frame::cut_encoded;

/// A login under way.
pub(super) struct Login {
    method: LoginMethod,
    /// Makes the sidecar, while it does.
    installer: Option<Child>,
    /// Its last line.
    last_line: String,
}

impl Whatsapp {
    pub(super) fn begin_login(&mut self, method: LoginMethod, now: Instant) {
        let refusal = if !self.config.configured {
            Some("WhatsApp is not set up: set whatsapp.enabled in the config and restart the gateway")
        } else if !self.enabled {
            Some("WhatsApp is switched off: `clawdis channel whatsapp on` first")
        } else if self.life.is_linked() {
            Some("this gateway is linked already: `clawdis logout whatsapp` first")
        } else if self.login.is_some() {
            Some("another login is under way")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.step(LoginStep::Over(Err(refusal.to_owned())));
        }
        self.login = Some(Login { method, installer: None, last_line: String::new() });
        match locate::find(&self.config.own_exe, &self.config.folder) {
            Found::Installer { script, folder } => {
                if let Err(error) = self.install(script.into(), folder.into()) {
                    self.login_over(Err(format!("the sidecar's installer cannot be started: {error}")));
                }
            }
            _ if self.process.as_ref().is_some_and(|process| !process.is_ending()) => self.link(now),
            // Its greeting goes on with the login.
            _ => self.life.wake(now),
        }
    }

    fn install(&mut self, script: OsString, folder: OsString) -> std::io::Result<()> {
        let news = self.news.clone();
        let read = move |stdout| {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = news.send(News(Told::Installing(line)));
            }
            let _ = news.send(News(Told::Installed));
        };
        crate::store::folder::make_private(&self.config.folder)?;
        let spec = ChildSpec {
            program: "/bin/sh".into(),
            // What it says about its progress is on stderr.
            args: vec!["-c".into(), "exec \"$0\" \"$1\" 2>&1".into(), script, folder],
            cwd: &self.config.folder,
            env: Vec::new(),
            pass_env: &[],
            name: "installer",
        };
        let child = Child::start(&spec, read)?;
        if let Some(login) = &mut self.login {
            login.installer = Some(child);
        }
        Ok(())
    }

    pub(super) fn installing(&mut self, line: String) {
        let line = cut_encoded(&line, ERROR_TEXT_BYTES_MAX).to_owned();
        log::info!("whatsapp: {line}");
        if let Some(login) = &mut self.login {
            login.last_line.clone_from(&line);
        }
        self.step(LoginStep::Progress { state: "installing", reason: Some(line) });
    }

    pub(super) fn installed(&mut self, now: Instant) {
        let Some(login) = &mut self.login else { return };
        login.installer = None;
        let line = std::mem::take(&mut login.last_line);
        match locate::find(&self.config.own_exe, &self.config.folder) {
            Found::Program(_) => self.life.wake(now),
            _ => self.login_over(Err(format!("the sidecar could not be installed: {line}"))),
        }
    }

    /// Asks the sidecar for codes.
    pub(super) fn link(&mut self, now: Instant) {
        let Some(login) = &self.login else { return };
        let members = match &login.method {
            LoginMethod::Qr => json!({ "mode": "qr" }),
            LoginMethod::Code { phone } => json!({ "mode": "code", "phone": phone }),
        };
        self.life.set("linking", None);
        self.step(LoginStep::Progress { state: "linking", reason: None });
        self.ask("link", members, Asked::Link, now);
    }

    pub(super) fn login_qr(&self, data: String, ttl_ms: u64) {
        self.step(LoginStep::Qr { data, ttl_ms });
    }

    pub(super) fn login_code(&self, code: String, ttl_ms: u64) {
        self.step(LoginStep::Code { code, ttl_ms });
    }

    /// The login has come to an end, if there was one.
    pub(super) fn login_over(&mut self, result: Result<Option<String>, String>) {
        if self.login.take().is_some() {
            self.step(LoginStep::Over(result));
        }
    }

    fn step(&self, step: LoginStep) {
        self.tell(ChannelEvent::Login { channel: Channel::Whatsapp, step });
    }

    /// Unlinks the phone.
    pub(in crate::channels) fn log_out(&mut self, now: Instant) {
        if self.process.as_ref().is_some_and(|process| !process.is_ending()) && self.life.is_linked() {
            return self.ask("logout", json!({}), Asked::Logout, now);
        }
        let why = if self.life.is_linked() {
            "the sidecar is not running; `clawdis channel whatsapp on` starts it"
        } else {
            "no phone is linked"
        };
        self.logged_out(Err(why.to_owned()));
    }

    pub(super) fn logged_out(&mut self, result: Result<(), String>) {
        if result.is_ok() {
            self.life.set_linked(false);
        }
        self.tell(ChannelEvent::LoggedOut { channel: Channel::Whatsapp, result });
    }
}
