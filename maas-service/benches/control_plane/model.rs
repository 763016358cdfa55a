//! A trivial native model: this very program, told to be one. It binds a port, writes `endpoint.dat` and answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use test_support::ModelFolder;

/// By this argument the program knows that it is to be a model.
pub(crate) const ARGUMENT: &str = "model";

/// By this one it knows that it is to answer only when a file of this name lies in its folder.
pub(crate) const ANSWER: &str = "answer";

/// The model as a folder to deploy.
pub(crate) fn folder() -> ModelFolder {
    folder_with("")
}

/// A model that takes connections at once and answers only when it may.
pub(crate) fn patient_folder() -> ModelFolder {
    folder_with(ANSWER)
}

fn folder_with(more: &str) -> ModelFolder {
    let program = std::env::current_exe().unwrap();
    ModelFolder::with_script(&format!("exec '{}' {ARGUMENT} {more}", program.display()))
}

/// Is the model, until it is ended. With the name of a file, it answers when that is there.
pub(crate) fn serve(may_answer: Option<&str>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = format!(r#"{{"url":"http://0.0.0.0:{port}"}}"#);
    std::fs::write(".endpoint", endpoint).unwrap();
    std::fs::rename(".endpoint", "endpoint.dat").unwrap();
    while may_answer.is_some_and(|file| !Path::new(file).exists()) {
        std::thread::yield_now();
    }
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || answer_all(connection));
    }
}

/// Answers the requests of one connection, for as long as it is kept.
fn answer_all(mut connection: std::net::TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"ready\":true}";
    let mut request = Vec::new();
    let mut part = [0; 4096];
    let _answers_are_small = connection.set_nodelay(true);
    while let Ok(length @ 1..) = connection.read(&mut part) {
        request.extend(&part[..length]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        // Who asks for an end to the connection gets it; who does not say so keeps it.
        let last = String::from_utf8_lossy(&request)
            .to_ascii_lowercase()
            .contains("connection: close");
        if connection.write_all(ANSWER).is_err() || last {
            return;
        }
        request.clear();
    }
}
