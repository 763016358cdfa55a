//! Folders to deploy: small models with every virtue and every vice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A server in a few lines of Python: answers every GET with a JSON object that tells its process id, the path and
/// its own arguments. It serves on every address and writes `endpoint.dat` once it listens.
const SERVER: &str = r#"
import json, os, signal, socket, sys, threading
listener = socket.socket()
listener.bind(("0.0.0.0", 0))
listener.listen(64)
def publish():
    with open(".endpoint", "w") as file:
        json.dump({"url": "http://0.0.0.0:%d" % listener.getsockname()[1]}, file)
    os.rename(".endpoint", "endpoint.dat")
def answer(connection):
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65536)
            if not more:
                return
            request += more
        path = request.split(b" ")[1].decode()
        body = json.dumps({"pid": os.getpid(), "path": path, "arguments": sys.argv[1:]}).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        connection.sendall((head % len(body)).encode() + body)
def serve():
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
publish()
serve()
"#;

/// Runs the server with a Python that starts fast: a version manager's stand-in takes longer than the server itself.
const START: &str = r#"python=/usr/bin/python3; [ -x "$python" ] || python=python3
"#;

/// A folder to deploy. Gone when dropped.
#[derive(Debug)]
pub struct ModelFolder {
    folder: TempDir,
}

impl ModelFolder {
    /// A folder with this `start.sh`, in which `$python serve.py` starts a server that answers.
    ///
    /// # Panics
    ///
    /// When the folder can't be written.
    pub fn with_script(script: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::write(folder.path().join("serve.py"), SERVER).expect("the folder can be written");
        fs::write(
            folder.path().join("start.sh"),
            format!("#!/bin/sh\n{START}{script}\n"),
        )
        .expect("the folder can be written");
        make_executable(&folder.path().join("start.sh"));
        Self { folder }
    }

    /// A model that does what it should.
    pub fn answering() -> Self {
        Self::with_script(r#"exec "$python" -S -E serve.py"#)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Lets everybody execute a file.
///
/// # Panics
///
/// When there is no such file of ours.
pub fn make_executable(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("the file is ours");
}
