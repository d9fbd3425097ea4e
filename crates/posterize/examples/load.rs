//! Sends pictures to a server from several clients at once, and prints how long the answers take.
//!
//! ```text
//! cargo run --release --example load -- 127.0.0.1:8080 cat.jpg
//! cargo run --release --example load -- 127.0.0.1:8080 cat.jpg 8 10 close
//! ```
//!
//! The arguments after the picture are the number of clients, the seconds and `keep-alive` or `close`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// How long answers of status 200 took.
    times: Vec<Duration>,
    /// The number of answers by status; 0 for connections that failed.
    statuses: BTreeMap<u16, usize>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, picture, ..] = &*arguments else {
        return Err("usage: load ADDRESS PICTURE [CLIENTS [SECONDS [keep-alive|close]]]".into());
    };
    let number =
        |index: usize, default: u64| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (clients, seconds) = (number(2, 8)?, number(3, 10)?);
    let keep_alive = arguments.get(4).is_none_or(|text| text == "keep-alive");
    let body = std::fs::read(picture)?;
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let head = format!(
        "POST /classify HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();

    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let client = || scope.spawn(|| client(address, &request, keep_alive, end));
        let clients: Vec<_> = (0..clients).map(|_| client()).collect();
        clients.into_iter().map(|client| client.join().expect("a client panicked")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();

    let mut times: Vec<Duration> = seen.iter().flat_map(|seen| seen.times.clone()).collect();
    times.sort_unstable();
    let mut statuses = BTreeMap::new();
    for (status, count) in seen.iter().flat_map(|seen| &seen.statuses) {
        *statuses.entry(status).or_insert(0) += count;
    }
    if times.is_empty() {
        return Err(format!("no request was answered with 200: {statuses:?}").into());
    }
    let quantile = |part: f64| {
        let index = (part * times.len() as f64).ceil() as usize;
        times[index.clamp(1, times.len()) - 1].as_secs_f64() * 1e3
    };
    println!(
        "{clients} clients, {connection}: {:.1} pictures/s; ms: p50 {:.1}, p99 {:.1}, max {:.1}; \
         answers by status: {statuses:?}",
        times.len() as f64 / seconds,
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
    Ok(())
}

/// Sends the request again and again until `end`.
fn client(address: &str, request: &[u8], keep_alive: bool, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut kept = None;
    while Instant::now() < end {
        let start = Instant::now();
        let answer = exchange(address, request, &mut kept);
        let status = answer.unwrap_or(0);
        if status == 200 {
            seen.times.push(start.elapsed());
        }
        *seen.statuses.entry(status).or_default() += 1;
        if !keep_alive || status == 0 {
            kept = None;
        }
        if status != 200 {
            // A client that is refused waits.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    seen
}

/// Sends the request over the connection that was kept, or a new one, and returns the status.
fn exchange(
    address: &str,
    request: &[u8],
    kept: &mut Option<BufReader<TcpStream>>,
) -> io::Result<u16> {
    let connection = if let Some(connection) = kept {
        connection
    } else {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        kept.insert(BufReader::new(stream))
    };
    connection.get_mut().write_all(request)?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(invalid)?;
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| invalid())?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(status)
}
