//! A page of heaplay in a real Chromium, without a window.
//!
//! The browser is driven by the DevTools protocol: messages in JSON on two pipes, a zero byte after
//! each. Steps act in the page as a person would (see `driver.js`). The page runs under its own content
//! policy, and is opened by itself, without the pictures beside it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::on_path;
use super::skip::skip;

/// The actions and readings that steps are written with.
const DRIVER: &str = include_str!("driver.js");
/// After so long without a message the browser hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Chromium or Chrome; reports a skip where neither is there.
#[track_caller]
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find_map(|name| on_path(name));
    if found.is_none() {
        skip("chromium", "no chromium, chromium-browser or google-chrome in PATH");
    }
    found
}

/// Opens a page of that text by itself and runs `steps` in it, the body of an asynchronous function.
/// Gives what they return. Faults of the page fail the test.
pub fn drive(chromium: &Path, html: &str, fragment: &str, steps: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder for the page");
    let page = folder.path().join("index.html");
    fs::write(&page, html).expect("the page is written");
    let mut browser = Browser::open(chromium);
    browser.load(&format!("file://{}#{fragment}", page.display()));
    let found = browser.evaluate(&format!("(async () => {{\n{DRIVER}\n{steps}\n}})()"));
    assert!(browser.faults.is_empty(), "faults in the page: {:#?}", browser.faults);
    found
}

/// A browser with one page.
struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    sent: u64,
    session: Option<String>,
    is_loaded: bool,
    faults: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(chromium: &Path) -> Browser {
        let profile = tempfile::tempdir().expect("a folder for the profile");
        // The pipes of the protocol are the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1"])
            .arg(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"])
            .args(["--window-size=1200,900", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Browser {
            child,
            input,
            messages,
            sent: 0,
            session: None,
            is_loaded: false,
            faults: vec![],
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Page.enable", "Log.enable"] {
            browser.call(domain, &json!({}));
        }
        browser
    }

    fn load(&mut self, url: &str) {
        self.is_loaded = false;
        self.call("Page.navigate", &json!({ "url": url }));
        while !self.is_loaded {
            self.receive();
        }
    }

    /// The value of an expression, awaited.
    fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &parameters);
        let exception = answer.get("exceptionDetails");
        assert!(exception.is_none(), "the steps failed: {:#}", exception.unwrap_or(&Value::Null));
        answer["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.input.write_all(&text).expect("the browser reads");
        loop {
            let mut answer = self.receive();
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The next message. Notes faults of the page, and when it is loaded.
    fn receive(&mut self) -> Value {
        let message = self.messages.recv_timeout(SILENCE_MAX).expect("the browser answers");
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.faults.push(parameters.clone()),
            // The pictures are not beside the page here.
            Some("Log.entryAdded")
                if parameters["entry"]["level"] == "error"
                    && !parameters["entry"]["text"].to_string().contains("ERR_FILE_NOT_FOUND") =>
            {
                self.faults.push(parameters["entry"].clone());
            }
            Some("Page.loadEventFired") => self.is_loaded = true,
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
