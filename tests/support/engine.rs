//! A Docker engine that a test made up: it answers at a socket of its own with the objects that it was given, and keeps what
//! it was asked to do. Its listener is the test, so nothing proves that it runs on this kernel.

#![allow(dead_code)] // each suite uses its part

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The engine, until it is dropped.
pub(crate) struct FakeEngine {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What it says of itself and has.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// The release of its kernel; this one's where none is given.
    pub(crate) kernel: Option<String>,
    /// As `/containers/json` lists them.
    pub(crate) containers: Vec<Value>,
    /// As `/networks` lists them.
    pub(crate) networks: Vec<Value>,
}

impl FakeEngine {
    pub(crate) fn with(contents: Contents) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("listens");
        let asked = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (contents, asked) = (contents.clone(), Arc::clone(&asked));
                    thread::spawn(move || answer_all(&stream, &contents, &asked));
                }
            }
        });
        Self { folder, asked }
    }

    pub(crate) fn empty() -> Self {
        Self::with(Contents::default())
    }

    /// Lets users other than the caller ask it.
    pub(crate) fn let_everybody_in(&self) {
        for (path, mode) in [
            (self.folder.path().to_owned(), 0o755),
            (self.socket(), 0o666),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("opens it");
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// As `DOCKER_HOST` names it.
    pub(crate) fn url(&self) -> String {
        format!(
            "unix://{}",
            self.folder.path().join("docker.sock").display()
        )
    }

    /// What it was asked to change.
    pub(crate) fn changes(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("no thread panicked");
        asked
            .iter()
            .filter(|line| !line.starts_with("GET ") && !line.starts_with("HEAD "))
            .cloned()
            .collect()
    }
}

fn answer_all(stream: &UnixStream, contents: &Contents, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        asked
            .lock()
            .expect("no thread panicked")
            .push(first.trim().to_owned());
        let (status, answer) = answer(&first, contents);
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        if writer.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &str, contents: &Contents) -> (&'static str, Value) {
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let here = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let kernel = contents.kernel.as_deref().unwrap_or_else(|| here.trim());
    if path.ends_with("/version") {
        let answer = json!({
            "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12",
            "Os": "linux", "KernelVersion": kernel,
        });
        ("200 OK", answer)
    } else if path.ends_with("/info") {
        (
            "200 OK",
            json!({"KernelVersion": kernel, "OperatingSystem": "Debian GNU/Linux 12"}),
        )
    } else if path.ends_with("/containers/json") {
        ("200 OK", Value::Array(contents.containers.clone()))
    } else if path.ends_with("/networks") {
        ("200 OK", Value::Array(contents.networks.clone()))
    } else {
        ("404 Not Found", json!({"message": "no such object"}))
    }
}
