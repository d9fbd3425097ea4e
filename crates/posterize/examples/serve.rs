//! Serves a saved model over HTTP: `POST /classify` with a picture as the body returns the five most
//! probable classes as JSON.
//!
//! ```text
//! cargo run --release --example serve -- mobilenet.int8.safetensors 127.0.0.1:8080
//! curl --data-binary @cat.jpg http://127.0.0.1:8080/classify
//! ```
//!
//! Each connection has a thread, which reads requests and writes answers, so a slow client delays no
//! other. Pictures go through a queue of bounded length to workers, each with a clone of the classifier
//! that runs on the worker's thread alone: with as many workers as processors, requests do not wait for
//! each other's threads. If the queue is full, the answer is 503 at once.
//!
//! The HTTP is the part of it that this needs. A public server should be behind a proxy.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use posterize::format::SavedModel;
use posterize::runtime::Options;
use posterize::{Classifier, ErrorKind};
use serde_json::{Value, json};

/// The largest body of a request, in bytes.
const MAX_BODY: u64 = 32 << 20;
/// The largest head of a request, in bytes.
const MAX_HEAD: u64 = 16 << 10;
/// The largest number of connections.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may be idle, and a read or write may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The status and the body of an answer.
type Answer = (u16, Value);

/// A picture to classify, and where to send the answer.
struct Job {
    picture: Vec<u8>,
    answer: SyncSender<Answer>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: serve FILE [ADDRESS [WORKERS [QUEUE [THREADS]]]]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let workers = number(thread::available_parallelism()?.get())?.max(1);
    let queue = number(4 * workers)?;
    // More threads for each request are faster only while there are fewer requests than processors.
    let threads = number(1)?;

    let classifier = Classifier::new(SavedModel::open(&file)?, Options::new(threads)?)?;
    let listener = TcpListener::bind(&address)?;
    eprintln!("listening on {}: {workers} workers, queue {queue}", listener.local_addr()?);

    let (jobs, queued) = sync_channel(queue);
    let queued = Arc::new(Mutex::new(queued));
    for _ in 0..workers {
        let (classifier, queued) = (classifier.clone(), Arc::clone(&queued));
        thread::spawn(move || work(classifier, &queued));
    }
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // A client may be gone before it is accepted.
        let Ok(mut stream) = stream else { continue };
        if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            let _ = write(&mut stream, &busy(), false);
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (jobs, connections) = (jobs.clone(), Arc::clone(&connections));
        thread::spawn(move || {
            // Errors are those of clients that went away or sent something else than HTTP.
            let _ = serve(stream, &jobs);
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// Classifies the pictures of the queue.
fn work(mut classifier: Classifier, queued: &Mutex<Receiver<Job>>) {
    loop {
        let job = queued.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { picture, answer }) = job else { return };
        // The client may have gone.
        let _ = answer.send(classify(&mut classifier, &picture));
    }
}

fn classify(classifier: &mut Classifier, picture: &[u8]) -> Answer {
    let found = match classifier.classify_bytes("the body", picture) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Image => {
            return (415, json!({"error": error.to_string()}));
        }
        Err(error) => return (500, json!({"error": error.to_string()})),
    };
    let classes = found.top(5).into_iter().map(|prediction| {
        json!({
            "class": prediction.class,
            "name": prediction.name,
            "probability": prediction.probability,
        })
    });
    (200, json!({"classes": classes.collect::<Vec<_>>()}))
}

fn busy() -> Answer {
    (503, json!({"error": "all workers are busy; try again later"}))
}

/// Answers the requests of a connection until it is closed.
fn serve(stream: TcpStream, jobs: &SyncSender<Job>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = Head::read(&mut stream)? {
        let refused = if !head.is_classify {
            Some((404, json!({"error": "expected POST /classify"})))
        } else if head.length > MAX_BODY {
            Some((413, json!({"error": format!("expected at most {MAX_BODY} bytes")})))
        } else {
            None
        };
        if let Some(answer) = refused {
            // The body was not read, so the connection cannot go on.
            return write(stream.get_mut(), &answer, false);
        }
        if head.expects_continue {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut picture = Vec::new();
        (&mut stream).take(head.length).read_to_end(&mut picture)?;
        if (picture.len() as u64) < head.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (answer, answered) = sync_channel(1);
        let answer = match jobs.try_send(Job { picture, answer }) {
            Ok(()) => answered.recv().unwrap_or_else(|_| busy()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => busy(),
        };
        write(stream.get_mut(), &answer, head.keep_alive)?;
        if !head.keep_alive {
            break;
        }
    }
    Ok(())
}

/// What matters in the head of a request.
struct Head {
    is_classify: bool,
    length: u64,
    keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// Reads a head; `None` if the client closed the connection.
    fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut lines = stream.take(MAX_HEAD);
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut head = Self {
            is_classify: line.starts_with("POST /classify "),
            length: 0,
            keep_alive: line.trim_end().ends_with("HTTP/1.1"),
            expects_continue: false,
        };
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Err(invalid());
            }
            if line.trim_end().is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = line.split_once(':').ok_or_else(invalid)?;
            let value = value.trim();
            match &*name.to_ascii_lowercase() {
                "content-length" => head.length = value.parse().map_err(|_| invalid())?,
                "connection" => head.keep_alive &= !value.eq_ignore_ascii_case("close"),
                "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
                "transfer-encoding" => return Err(invalid()),
                _ => {}
            }
        }
    }
}

fn write(stream: &mut TcpStream, (status, body): &Answer, keep_alive: bool) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let body = body.to_string();
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes())
}
