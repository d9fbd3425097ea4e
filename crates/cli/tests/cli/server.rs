//! A TLS server on the loopback interface that serves one file and can simulate failures.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// The behaviour of the server.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: Option<&'static str>,
    /// Whether it supports range requests.
    pub(crate) ranges: bool,
    /// Number of bytes of a body after which it drops the connection.
    pub(crate) cut_after: Option<usize>,
    /// Number of the first request, counted from 0, that it does not answer.
    pub(crate) silent_from: Option<usize>,
    pub(crate) status: &'static str,
}

impl Behaviour {
    /// Serves `body` without failures.
    pub(crate) fn good(body: Vec<u8>) -> Self {
        Self {
            body,
            etag: Some("\"v1\""),
            ranges: true,
            cut_after: None,
            silent_from: None,
            status: "200 OK",
        }
    }
}

/// The path and the headers of a request that tests check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
}

/// A server that runs until the tests end.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    certificate: String,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server on a free port.
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], PrivateKeyDer::Pkcs8(der))
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            certificate: key.cert.pem(),
            behaviour: Arc::new(Mutex::new(behaviour)),
            requests: Arc::default(),
        };
        let (behaviour, requests) = (server.behaviour.clone(), server.requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = ServerConnection::new(config.clone()).unwrap();
                // A client that hangs up, or does not trust the certificate, is part of the tests.
                let _ = serve(StreamOwned::new(tls, stream.unwrap()), &behaviour, &requests);
            }
        });
        server
    }

    /// Returns the URL of the file `name`.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/models/{name}", self.port)
    }

    /// Writes the server's certificate to a PEM file in `folder`, and returns its path.
    pub(crate) fn certificate(&self, folder: &Path) -> PathBuf {
        let path = folder.join("certificate.pem");
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }

    /// Changes the behaviour.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// Returns the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    behaviour: &Mutex<Behaviour>,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let request = read_request(&mut stream)?;
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    let behaviour = behaviour.lock().unwrap().clone();
    if behaviour.silent_from.is_some_and(|first| number >= first) {
        return Ok(());
    }
    let mut status = behaviour.status;
    let mut headers = Vec::new();
    let mut body = behaviour.body.as_slice();
    if let Some(etag) = behaviour.etag {
        headers.push(format!("ETag: {etag}"));
    }
    let same_version = request.if_range.is_none() || request.if_range.as_deref() == behaviour.etag;
    if let (Some(range), true, true) = (&request.range, behaviour.ranges, same_version) {
        let first = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let first: usize = first.expect("an open range").parse().expect("a number");
        let total = body.len();
        if first < total {
            status = "206 Partial Content";
            body = &body[first..];
            headers.push(format!("Content-Range: bytes {first}-{}/{total}", total - 1));
        } else {
            status = "416 Range Not Satisfiable";
            body = &[];
            headers.push(format!("Content-Range: bytes */{total}"));
        }
    }
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n",
        body.len(),
        headers.iter().map(|header| header.clone() + "\r\n").collect::<String>()
    )?;
    let sent = behaviour.cut_after.unwrap_or(body.len()).min(body.len());
    stream.write_all(&body[..sent])?;
    stream.flush()?;
    if sent == body.len() {
        // Without close_notify the client treats the connection as interrupted.
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}

fn read_request(stream: &mut impl Read) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).expect("ASCII");
    let mut request =
        Request { path: text.split(' ').nth(1).expect("a path").to_owned(), ..Request::default() };
    for line in text.lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "if-range" => request.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(request)
}
