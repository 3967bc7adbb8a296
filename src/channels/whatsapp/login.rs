//! Logins, one at a time: a phone is linked, and the sidecar installed first if it has to be. And logouts.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Instant;

use serde_json::json;

use crate::channels::whatsapp::locate::{self, SidecarProgram};
use crate::channels::whatsapp::sidecar::{self, Generation, Request};
use crate::channels::whatsapp::{EventKind, Whatsapp, WhatsappEvent};
use crate::channels::{ChannelEvent, LoginStep};
use crate::child::{Child, ChildSpec, guard};
use crate::limits::{ERROR_TEXT_BYTES_MAX, INSTALLER_LINE_BYTES_MAX, WHATSAPP_INSTALL_TIMEOUT};
use crate::protocol::call::Channel;
use crate::protocol::frame::cut_encoded;

/// The login that is under way.
pub(super) struct Login {
    /// The phone on which a code is typed; without one a phone scans a code.
    phone: Option<String>,
    /// The installer of the sidecar while it runs, its number, and when it is given up.
    installer: Option<(Child, Generation, Instant)>,
    /// The last line of the installer.
    last_installer_line: String,
}

impl Login {
    pub(super) fn new(phone: Option<String>) -> Self {
        Self { phone, installer: None, last_installer_line: String::new() }
    }

    /// When the installer is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.installer.as_ref().map(|(_, _, until)| *until)
    }

    fn is_installed_by(&self, generation: Generation) -> bool {
        self.installer.as_ref().is_some_and(|(_, of, _)| *of == generation)
    }
}

impl Whatsapp {
    /// Begins to link a phone, by a code to scan or one to type.
    pub(in crate::channels) fn log_in(&mut self, phone: Option<String>, now: Instant) {
        let refusal = if !self.health.known.configured {
            Some("WhatsApp is not set up: set whatsapp.enabled in the config and restart the gateway")
        } else if !self.health.known.enabled {
            Some("WhatsApp is switched off: `clawdis channel whatsapp on` first")
        } else if self.health.is_linked() {
            Some("this gateway is linked already: `clawdis logout whatsapp` first")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.send_login_step(LoginStep::Over(Err(refusal.to_owned())));
        }
        if self.login.is_some() {
            return self.replace_login(phone, now);
        }
        self.login = Some(Login::new(phone));
        match locate::find(&self.setup.own_exe, &self.setup.folder) {
            SidecarProgram::Installer { script, folder } => {
                if let Err(error) = self.install(script.into(), folder.into(), now) {
                    self.finish_login(Err(format!("the sidecar's installer cannot be started: {error}")));
                }
            }
            _ if self.reach_sidecar(now) => self.link(now),
            _ => {}
        }
    }

    /// Begins a login in place of the one under way, which nobody waits for any more. Its installer goes on.
    fn replace_login(&mut self, phone: Option<String>, now: Instant) {
        self.send_login_step(LoginStep::Over(Err("another login took its place".to_owned())));
        let Some(login) = &mut self.login else { return };
        login.phone = phone;
        // The greeting of a sidecar that was not greeted yet goes on with the new one. Codes that were shown are
        // good for nothing any more once their sidecar is gone.
        let greeted = self.sidecar.as_mut().filter(|sidecar| sidecar.is_greeted);
        if let (None, Some(sidecar)) = (&login.installer, greeted) {
            sidecar.end(now);
            self.lifecycle.start_now(now);
        }
    }

    fn install(&mut self, script: OsString, folder: OsString, now: Instant) -> std::io::Result<()> {
        let (to_loop, generation) = (self.to_loop.clone(), self.lifecycle.next_generation());
        let read = move |stdout| {
            // More than that of one line is nobody's to read.
            let mut lines = BufReader::new(stdout);
            let mut line = Vec::new();
            while matches!(
                lines.by_ref().take(INSTALLER_LINE_BYTES_MAX).read_until(b'\n', &mut line),
                Ok(1..)
            ) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let _ = to_loop.send(WhatsappEvent(EventKind::InstallerLine(generation, text)));
                line.clear();
            }
            let _ = to_loop.send(WhatsappEvent(EventKind::InstallerEnded(generation)));
        };
        sidecar::make_home(&self.setup.folder)?;
        let spec = ChildSpec {
            // Under the guard: it has children of its own, which must not outlive us.
            program: self.setup.own_exe.clone(),
            // What it says about its progress is on stderr.
            args: guard::args(vec![
                "/bin/sh".into(),
                "-c".into(),
                "exec \"$0\" \"$1\" 2>&1".into(),
                script,
                folder,
            ]),
            cwd: &self.setup.folder,
            env: Vec::new(),
            pass_env: &[],
            name: "installer",
        };
        let child = Child::start(&spec, read)?;
        if let Some(login) = &mut self.login {
            login.installer = Some((child, generation, now + WHATSAPP_INSTALL_TIMEOUT));
        }
        Ok(())
    }

    pub(super) fn on_installer_line(&mut self, generation: Generation, line: &str) {
        let line = cut_encoded(line.trim(), ERROR_TEXT_BYTES_MAX).to_owned();
        if line.is_empty() {
            return;
        }
        log::info!("whatsapp: {line}");
        let Some(login) = self.login.as_mut().filter(|login| login.is_installed_by(generation)) else {
            return;
        };
        login.last_installer_line.clone_from(&line);
        self.send_login_step(LoginStep::Progress { state: "installing", reason: Some(line) });
    }

    pub(super) fn on_installer_ended(&mut self, generation: Generation, now: Instant) {
        let Some(login) = self.login.as_mut().filter(|login| login.is_installed_by(generation)) else {
            return;
        };
        login.installer = None;
        let line = std::mem::take(&mut login.last_installer_line);
        match locate::find(&self.setup.own_exe, &self.setup.folder) {
            SidecarProgram::Ready(_) => self.lifecycle.start_now(now),
            _ => self.finish_login(Err(format!("the sidecar could not be installed: {line}"))),
        }
    }

    /// Asks the sidecar for codes.
    pub(super) fn link(&mut self, now: Instant) {
        let Some(login) = &self.login else { return };
        let members = match &login.phone {
            None => json!({ "mode": "qr" }),
            Some(phone) => json!({ "mode": "code", "phone": phone }),
        };
        self.health.set("linking", None);
        self.send_login_step(LoginStep::Progress { state: "linking", reason: None });
        self.request(Request::Link, members, now);
    }

    /// Ends the login, if there is one, and tells state how.
    pub(super) fn finish_login(&mut self, result: Result<Option<String>, String>) {
        if self.login.take().is_some() {
            self.send_login_step(LoginStep::Over(result));
        }
    }

    pub(super) fn send_login_step(&self, step: LoginStep) {
        self.send(ChannelEvent::Login { channel: Channel::Whatsapp, step });
    }

    /// Unlinks the phone. A sidecar that is not running is started for it.
    pub(in crate::channels) fn log_out(&mut self, now: Instant) {
        if !self.health.known.configured {
            return self.finish_logout(Err("WhatsApp is not set up".to_owned()));
        }
        if self.login.is_some() {
            self.finish_login(Err("it was given up".to_owned()));
            self.stop_sidecar("unlinked", None, now);
            return self.finish_logout(Ok(()));
        }
        self.logout_wanted = true;
        if self.reach_sidecar(now) {
            self.request(Request::Logout, json!({}), now);
        }
    }

    /// Ends a logout, if somebody waits for one: no sidecar will answer it.
    pub(super) fn refuse_logout(&mut self, why: &str) {
        if self.logout_wanted {
            self.finish_logout(Err(why.to_owned()));
        }
    }

    /// Ends a login or logout that somebody waits for: there is no sidecar to do it.
    pub(super) fn refuse_login_and_logout(&mut self, why: &str) {
        self.finish_login(Err(why.to_owned()));
        self.refuse_logout(why);
    }

    pub(super) fn finish_logout(&mut self, result: Result<(), String>) {
        self.logout_wanted = false;
        if result.is_ok() {
            self.health.known.linked = Some(false);
        }
        self.send(ChannelEvent::LoggedOut { channel: Channel::Whatsapp, result });
    }
}
