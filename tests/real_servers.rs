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

/// What `c1m limit` says of a command, with so many words of its own before it.
fn limit(lab: &Lab, arguments: &[&str], command: &[&str]) -> Ended {
    let common = ["limit", "--progress", "none", "--hold", "2s"];
    lab.run(&[&common[..], arguments, &["--"], command].concat())
}

/// The number in the line `LIMIT 3,000 connections: …`.
fn limit_of(ended: &Ended) -> u64 {
    let line = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("LIMIT "))
        .unwrap_or_else(|| panic!("no limit in:\n{}\n{}", ended.stdout, ended.stderr));
    let number = line.split(' ').next().expect("a number");
    number.replace(',', "").parse().expect("a number")
}

#[track_caller]
fn tells(ended: &Ended, text: &str) {
    assert!(
        ended.stdout.contains(text),
        "no {text:?} in:\n{}",
        ended.stdout
    );
}

#[test]
fn the_limit_of_redis_is_its_maximum_of_clients() {
    let lab = Lab::new();
    let port = free_address()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let redis = program("redis-server", "redis-server");
    let ended = limit(
        &lab,
        &["--port", &port, "--send", r"PING\r\n", "--expect", "+PONG"],
        &[
            &redis,
            "--port",
            &port,
            "--maxclients",
            "700",
            "--save",
            "",
            "--protected-mode",
            "no",
        ],
    )
    .expect(0);
    assert_eq!(limit_of(&ended), 700);
    tells(&ended, "a maximum of the server's own");
    tells(&ended, "-ERR max number of clients reached");
    tells(&ended, "raise maxclients");
    tells(&ended, "held        630 connections for 2 s");
}

#[test]
fn the_limit_of_nginx_is_its_worker_connections() {
    let lab = Lab::new();
    let folder = lab.folder.path();
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port").to_owned();
    let home = folder.display();
    let configuration = folder.join("limit.conf");
    let text = format!(
        "worker_processes 1; pid {home}/limit.pid; error_log stderr info;\n\
         events {{ worker_connections 800; }}\n\
         http {{ access_log off; client_header_timeout 300;\n\
         client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;\n\
         uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;\n\
         server {{ listen {port}; return 200 'hello'; }} }}\n"
    );
    fs::write(&configuration, text).expect("the configuration is written");
    let nginx = program("nginx", "nginx-light");
    let path = configuration.to_string_lossy();
    let ended = limit(
        &lab,
        &["--port", &port],
        &[&nginx, "-e", "stderr", "-c", &path, "-g", "daemon off;"],
    )
    .expect(0);
    // A worker that has less than a sixteenth of its connections free closes idle ones.
    let found = limit_of(&ended);
    assert!((700..=800).contains(&found), "{found}: {}", ended.stdout);
    tells(&ended, "a maximum of the server's own");
    tells(&ended, "worker_connections");
}

#[test]
fn the_limit_of_a_thread_server_is_its_descriptors() {
    let lab = Lab::new();
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port").to_owned();
    let python = program("python3", "python3");
    let script = format!(
        "import socketserver\n\
         class H(socketserver.BaseRequestHandler):\n\
         \x20   def handle(self):\n\
         \x20       while (data := self.request.recv(4096)): self.request.sendall(data)\n\
         class S(socketserver.ThreadingTCPServer):\n\
         \x20   allow_reuse_address = daemon_threads = True\n\
         \x20   request_queue_size = 5\n\
         S(('127.0.0.1', {port}), H).serve_forever()\n"
    );
    let ended = limit(
        &lab,
        &[
            "--port",
            &port,
            "--protocol",
            "echo",
            "--set",
            "server.limits.nofile=400",
        ],
        &[&python, "-c", &script],
    )
    .expect(0);
    let found = limit_of(&ended);
    assert!((380..=400).contains(&found), "{found}: {}", ended.stdout);
    tells(&ended, "descriptors of the server");
    tells(&ended, "400 of 400 descriptors open");
}

#[test]
fn established_is_not_accepted() {
    let lab = Lab::new();
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port").to_owned();
    let python = program("python3", "python3");
    let script = format!(
        "import socket, time\n\
         s = socket.create_server(('127.0.0.1', {port}), backlog=500)\n\
         kept = [s.accept() for _ in range(100)]\n\
         time.sleep(600)\n"
    );
    let ended = lab
        .run(&[
            "run",
            "--progress",
            "none",
            "--port",
            &port,
            "-n",
            "200",
            "--set",
            "hold=1s",
            "--",
            &python,
            "-c",
            &script,
        ])
        .expect(6);
    tells(&ended, "the server accepted 100 of 200 connections");
    let result = lab.result();
    assert_eq!(result["connections"]["held"], 100);
    assert_eq!(result["connections"]["accepted"], 100);
    assert_eq!(result["connections"]["waiting"], 100);
}

#[test]
fn a_command_that_cannot_be_measured_is_told_and_leaves_nothing() {
    let lab = Lab::new();
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port").to_owned();
    for (command, says_so) in [
        (&["no-such-program"][..], "cannot start no-such-program"),
        (
            &["false"][..],
            "false exited with code 1 before it listened",
        ),
        (
            &["sh", "-c", "echo a last line; exit 3"][..],
            "its last lines: a last line",
        ),
        (&["sleep", "600"][..], "does not listen at 127.0.0.1:"),
    ] {
        let arguments = [
            "run",
            "--progress",
            "none",
            "--port",
            &port,
            "-n",
            "10",
            "--set",
            "server.ready_within=2s",
            "--",
        ];
        let ended = lab.run(&[&arguments[..], command].concat()).expect(5);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(says_so), "no {says_so:?} in:\n{all}");
    }
    lab.clean().expect(0);
}

#[test]
fn a_target_that_is_elsewhere_or_a_process_that_is_none_is_refused() {
    let lab = Lab::new();
    // TEST-NET-1 of RFC 5737, which is nobody's.
    for (arguments, says_so) in [
        (
            &["--target", "192.0.2.1:80"][..],
            "192.0.2.1:80 is not an address of this machine",
        ),
        (
            &["--target", "127.0.0.1:1"][..],
            "nothing listens at 127.0.0.1:1",
        ),
        (&["--pid", "4194303", "--port", "80"][..], "process 4194303"),
    ] {
        let common = ["run", "--progress", "none", "-n", "10"];
        let ended = lab.run(&[&common[..], arguments].concat()).expect(5);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(says_so), "no {says_so:?} in:\n{all}");
    }
}
