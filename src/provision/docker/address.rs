//! Where the Docker engine is to be looked for, decided as the `docker` command decides it: `DOCKER_HOST`, then
//! `DOCKER_CONTEXT` or the current context of `config.json`, then the system's socket, then a rootless one.

use std::path::{Path, PathBuf};
use std::sync::Once;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The socket of an engine that root runs.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// What names an address that nothing else names.
const BY_DEFAULT: &str = "the default socket";

/// What of the process's environment has a say in where the engine is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// `DOCKER_HOST`.
    pub(super) host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub(super) context: Option<String>,
    /// `DOCKER_CONFIG`, or `.docker` in the home directory.
    pub(super) config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, where rootless engines have their socket.
    pub(super) runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            config: text("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| text("HOME").map(|home| Path::new(&home).join(".docker"))),
            runtime_dir: text("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// The address of the engine, with what named it.
    ///
    /// # Errors
    /// When the named context does not exist or cannot be read.
    pub(super) fn engine(&self) -> Result<EngineAddress, String> {
        if let Some(host) = &self.host {
            return Ok(EngineAddress::new(host, "DOCKER_HOST"));
        }
        if let Some(name) = self.named_context() {
            let host = self.host_of_context(&name)?;
            return Ok(EngineAddress::new(&host, &format!("context {name}")));
        }
        let system = Path::new(SYSTEM_SOCKET);
        let rootless = self.runtime_dir.as_ref().map(|dir| dir.join("docker.sock"));
        Ok(match rootless {
            Some(path) if !may_connect(system) && path.exists() => {
                EngineAddress::new(&format!("unix://{}", path.display()), "the rootless socket")
            }
            _ => EngineAddress::new(&format!("unix://{SYSTEM_SOCKET}"), BY_DEFAULT),
        })
    }

    /// The context that is in use, unless it is the default one, which means no context at all.
    fn named_context(&self) -> Option<String> {
        let current = match (&self.context, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(dir)) => current_context(&dir.join("config.json")),
            (None, None) => None,
        };
        current.filter(|name| name != "default")
    }

    /// A context is kept in a directory that has the SHA-256 of its name as its own.
    fn host_of_context(&self, name: &str) -> Result<String, String> {
        let dir = self.config.as_ref().ok_or_else(|| {
            format!("context {name} is asked for, and there is no home directory to find it in")
        })?;
        let digest = hexadecimal(&Sha256::digest(name.as_bytes()));
        let path = dir.join("contexts/meta").join(digest).join("meta.json");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("cannot read context {name} at {}: {error}", path.display())
        })?;
        let context: Context = serde_json::from_str(&text).map_err(|error| {
            format!(
                "cannot understand context {name} at {}: {error}",
                path.display()
            )
        })?;
        Ok(context.endpoints.docker.host)
    }
}

/// Where an engine is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineAddress {
    /// As `DOCKER_HOST` writes it: `unix:///var/run/docker.sock`.
    pub(super) url: String,
    /// What named it.
    pub(super) named_by: String,
}

/// The ways to reach an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    /// A socket in the file system.
    Unix(PathBuf),
    /// TCP to this machine's own loopback, without TLS.
    LocalTcp,
    /// Anything that leads to another machine, or may.
    Remote,
}

impl EngineAddress {
    fn new(url: &str, named_by: &str) -> Self {
        Self {
            url: url.to_owned(),
            named_by: named_by.to_owned(),
        }
    }

    /// Whether nothing named it, and it is where the system's engine is by default.
    pub(super) fn is_default(&self) -> bool {
        self.named_by == BY_DEFAULT
    }

    /// How it is reached.
    pub(super) fn transport(&self) -> Transport {
        if let Some(path) = self.url.strip_prefix("unix://") {
            return Transport::Unix(PathBuf::from(path));
        }
        let host = self
            .url
            .strip_prefix("tcp://")
            .or_else(|| self.url.strip_prefix("http://"))
            .and_then(|rest| rest.rsplit_once(':'))
            .map(|(host, _)| host.trim_matches(['[', ']']));
        match host {
            Some("localhost" | "::1") => Transport::LocalTcp,
            Some(host) if host.starts_with("127.") => Transport::LocalTcp,
            _ => Transport::Remote,
        }
    }
}

/// Whether a socket is there and this user may write to it: a cheap look, the engine's answer is what counts.
fn may_connect(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The `currentContext` of Docker's `config.json`; nothing where there is no such file. One that cannot be read or
/// understood is warned of and passed over, as the `docker` command does: it may be that of another user's home.
fn current_context(path: &Path) -> Option<String> {
    let passed_over = |why: String| {
        // The engine is looked for several times, and once is enough.
        WARNED.call_once(|| {
            tracing::warn!("{why}; going on without it, with the default Docker engine");
        });
        None
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return passed_over(format!("cannot read {}: {error}", path.display())),
    };
    match serde_json::from_str::<ClientConfig>(&text) {
        Ok(config) => config.current_context.filter(|name| !name.is_empty()),
        Err(error) => passed_over(format!("cannot understand {}: {error}", path.display())),
    }
}

static WARNED: Once = Once::new();

/// Digits of a digest, as file names and labels have them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Deserialize)]
struct ClientConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host")]
    host: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_context(current: &str, name: &str, host: &str) -> (tempfile::TempDir, Surroundings) {
        let dir = tempfile::tempdir().expect("a directory");
        let digest = hexadecimal(&Sha256::digest(name.as_bytes()));
        let meta = dir.path().join("contexts/meta").join(digest);
        std::fs::create_dir_all(&meta).expect("made");
        std::fs::write(
            dir.path().join("config.json"),
            format!(r#"{{"auths":{{}},"currentContext":"{current}"}}"#),
        )
        .expect("written");
        std::fs::write(
            meta.join("meta.json"),
            format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#),
        )
        .expect("written");
        let surroundings = Surroundings {
            config: Some(dir.path().to_owned()),
            ..Surroundings::default()
        };
        (dir, surroundings)
    }

    #[test]
    fn docker_host_outranks_a_context() {
        let (_dir, mut around) = with_context("far", "far", "ssh://me@far");
        around.host = Some("unix:///run/other.sock".to_owned());
        let found = around.engine().expect("an address");
        assert_eq!(found.named_by, "DOCKER_HOST");
        assert_eq!(
            found.transport(),
            Transport::Unix(PathBuf::from("/run/other.sock"))
        );
    }

    #[test]
    fn the_current_context_is_honoured_and_a_far_one_is_known_as_remote() {
        let (_dir, around) = with_context("far", "far", "ssh://me@far");
        let found = around.engine().expect("an address");
        assert_eq!(
            (found.url.as_str(), found.named_by.as_str()),
            ("ssh://me@far", "context far")
        );
        assert_eq!(found.transport(), Transport::Remote);
    }

    #[test]
    fn the_default_context_means_no_context() {
        let (_dir, around) = with_context("default", "far", "ssh://me@far");
        assert!(
            around
                .engine()
                .expect("an address")
                .url
                .starts_with("unix://")
        );
    }

    #[test]
    fn a_context_that_does_not_exist_is_named() {
        let (_dir, mut around) = with_context("far", "far", "ssh://me@far");
        around.context = Some("gone".to_owned());
        assert!(
            around
                .engine()
                .expect_err("no such context")
                .contains("context gone")
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_read_or_understood_is_passed_over() {
        let broken = tempfile::tempdir().expect("a directory");
        std::fs::write(broken.path().join("config.json"), "{").expect("written");
        let no_file = tempfile::tempdir().expect("a directory");
        // Reading a directory fails for root too.
        std::fs::create_dir(no_file.path().join("config.json")).expect("made");
        for dir in [&broken, &no_file] {
            let around = Surroundings {
                config: Some(dir.path().to_owned()),
                ..Surroundings::default()
            };
            assert!(around.engine().expect("an address").is_default());
        }
    }

    #[test]
    fn tcp_to_the_loopback_is_local_and_any_other_is_remote() {
        let of = |url: &str| EngineAddress::new(url, "test").transport();
        assert_eq!(of("tcp://127.0.0.1:2375"), Transport::LocalTcp);
        assert_eq!(of("tcp://[::1]:2375"), Transport::LocalTcp);
        assert_eq!(of("tcp://10.0.0.7:2375"), Transport::Remote);
        assert_eq!(of("https://127.0.0.1:2376"), Transport::Remote);
    }
}
