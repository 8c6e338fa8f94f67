//! Servers that many people run, asked in their own protocol: nginx and Redis. Each is started by its test, with a
//! configuration, a folder and a port of its own, and ended by it. A program that is missing fails the suite.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Ended, Lab, Running};

/// A server of a test, until it is dropped.
struct Server {
    running: Running,
    address: String,
}

impl Server {
    /// Starts a program and waits for the line of its log that says that it listens.
    fn start(mut command: Command, address: String, ready: &str) -> Self {
        command.stdin(Stdio::null());
        let mut running = Running::start(command);
        running.await_line(ready);
        Self { running, address }
    }

    /// nginx with these directives in its server block.
    fn nginx(folder: &Path, worker_connections: u32, directives: &str) -> Self {
        let address = free_address();
        let home = folder.display();
        let configuration = folder.join("nginx.conf");
        let text = format!(
            "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log stderr notice;\n\
             events {{ worker_connections {worker_connections}; }}\n\
             http {{\n\
             access_log off; keepalive_timeout 300; keepalive_requests 100000;\n\
             client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;\n\
             uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;\n\
             server {{ listen {address} backlog=4096; {directives} }}\n\
             }}\n"
        );
        fs::write(&configuration, text).expect("the configuration is written");
        let mut command = Command::new(program("nginx", "nginx-light"));
        command
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(&configuration);
        Self::start(command, address, "start worker process ")
    }

    /// Redis that takes so many clients.
    fn redis(folder: &Path, clients: u32) -> Self {
        let address = free_address();
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let mut command = Command::new(program("redis-server", "redis-server"));
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .args([
                "--protected-mode",
                "no",
                "--appendonly",
                "no",
                "--logfile",
                "/dev/stderr",
            ])
            .args(["--tcp-backlog", "4096", "--dir"])
            .arg(folder)
            .args(["--maxclients", &clients.to_string()]);
        Self::start(command, address, "Ready to accept connections")
    }

    /// What `c1m client` says of this server.
    fn ask(&self, lab: &Lab, engine: &str, arguments: &[&str]) -> Ended {
        let common = ["client", &self.address, "--engine", engine, "--hold", "1s"];
        lab.run(&[&common[..], arguments].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not SIGKILL, after which the workers of nginx would stay.
        self.running.signal("TERM");
        let _ = self.running.child.wait();
    }
}

/// An address with a port that nobody had a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("an address").to_string()
}

/// The program, which an ordinary user's PATH may not have.
fn program(name: &str, package: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let paths = places.map(|place| format!("{place}/{name}"));
    let found = paths.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

#[track_caller]
fn says(ended: &Ended, text: &str) {
    assert!(
        ended.stderr.contains(text),
        "no {text:?} in:\n{}",
        ended.stderr
    );
}

#[test]
fn nginx_answers_each_connection() {
    let lab = Lab::new();
    let directives = "location / { return 200 'hello'; }\n\
        location /user/ { return 200 '$request_uri from $remote_addr for $http_x_name'; }\n\
        location /text { root PLACE; gzip on; gzip_types *; gzip_min_length 1; }\n\
        location /empty { return 204; }\n\
        location /closing { keepalive_timeout 0; return 200 'bye'; }";
    let folder = lab.folder.path();
    fs::write(folder.join("text"), "a line of text\n".repeat(20_000)).expect("writes");
    // The workers of a master that runs as root are another user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder, open).expect("the folder is ours");
    let directives = directives.replace("PLACE", &folder.to_string_lossy());
    let server = Server::nginx(folder, 4096, &directives);
    for engine in ["epoll", "tokio"] {
        let many = ["-n", "500"];
        for words in [
            &["--protocol", "http"][..],
            &["--path", "/user/{n}", "--header", "X-Name: {source}"],
            // 300,000 bytes by Content-Length, and as many in chunks of gzip.
            &["--path", "/text"],
            &["--path", "/text", "--header", "Accept-Encoding: gzip"],
            &["--path", "/empty", "--status", "204"],
        ] {
            let ended = server
                .ask(&lab, engine, &[&many[..], words].concat())
                .expect(0);
            says(&ended, "500 of 500 answered, 0 silent");
        }
        let missing = ["-n", "50", "--path", "/empty", "--status", "200"];
        let ended = server.ask(&lab, engine, &missing).expect(6);
        says(&ended, "0 of 50 answered, 0 silent");
        says(&ended, "50 failed: status 204");
        says(
            &ended,
            "status 204, expected 200: `HTTP/1.1 204 No Content`",
        );
        let ended = server
            .ask(&lab, engine, &["-n", "50", "--path", "/closing"])
            .expect(6);
        says(
            &ended,
            "failed: closed: the response says `Connection: close`",
        );
        let ended = server
            .ask(
                &lab,
                engine,
                &["-n", "50", "--send", r"nonsense\r\n\r\n", "--expect", "+OK"],
            )
            .expect(6);
        says(&ended, "expected `+OK`, got `");
    }
}

#[test]
fn nginx_with_too_few_connections_does_not_pass_for_one_that_has_enough() {
    let lab = Lab::new();
    let server = Server::nginx(lab.folder.path(), 256, "location / { return 200 'hello'; }");
    for engine in ["epoll", "tokio"] {
        let ended = server
            .ask(&lab, engine, &["-n", "1000", "--protocol", "http"])
            .expect(6);
        assert!(
            !ended.stderr.contains("1,000 of 1,000 answered"),
            "{engine}"
        );
    }
}

#[test]
fn redis_answers_each_connection_up_to_its_limit() {
    let lab = Lab::new();
    let server = Server::redis(lab.folder.path(), 300);
    let ping = ["--send", r"PING\r\n", "--expect", "+PONG"];
    for engine in ["epoll", "tokio"] {
        let ended = server
            .ask(&lab, engine, &[&["-n", "200"][..], &ping].concat())
            .expect(0);
        says(&ended, "200 of 200 answered, 0 silent");
        let values = [
            "-n",
            "200",
            "--send",
            r"SET k{n} {source}\r\n",
            "--expect",
            r"+OK\r\n",
            "--send",
            r"GET k{n}\r\n",
            "--expect",
            r"$9\r\n127.1.0.1",
        ];
        let ended = server.ask(&lab, engine, &values).expect(0);
        says(&ended, "200 of 200 answered, 0 silent");
        let ended = server
            .ask(
                &lab,
                engine,
                &["-n", "20", "--send", r"PINK\r\n", "--expect", "+PONG"],
            )
            .expect(6);
        says(&ended, "expected `+PONG`, got `-ERR unknown command");
        let ended = server
            .ask(&lab, engine, &[&["-n", "1000"][..], &ping].concat())
            .expect(6);
        says(&ended, "-ERR max number of clients reached");
        let ended = server
            .ask(&lab, engine, &["-n", "20", "--protocol", "http"])
            .expect(6);
        // Redis takes a line with `Host:` for an attack by a browser, and closes without a word.
        says(&ended, "20 failed: closed by the peer (FIN)");
    }
}
