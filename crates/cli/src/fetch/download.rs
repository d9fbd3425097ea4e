//! Downloads over HTTPS that go on where they were cut off.
//!
//! The bytes collect in a `.part` file. A later attempt asks for the rest only (RFC 9110, sections
//! 13.1.5 and 14), on condition that the server still has the same version of the file.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use indicatif::ProgressBar;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
};

use crate::ui::Ui;

use super::{
    FetchError, Item, Result,
    cache::{Draft, create_parent},
    digest::{self, Sha256Prefix},
    error::is_full,
};

/// More than any file of the catalogue by far: a server that sends without end is stopped here.
const MAX_BYTES: u64 = 1 << 30;

/// How often in a row an attempt may bring nothing new before the download is given up.
const MAX_FRUITLESS: u32 = 2;

/// How often the connection may break at all.
const MAX_CUTS: u32 = 10;

/// Downloads `url` to `part`, from where an earlier run left off. The caller verifies the digest
/// once more and gives the file its name.
pub(super) fn download(
    url: &str,
    item: Item,
    expected: &Sha256Prefix,
    part: &Path,
    ui: &Ui,
) -> Result<Draft> {
    create_parent(part)?;
    let agent = agent()?;
    let part = Part::new(part);
    let resumed = part.len() > 0;
    // An earlier run may have been stopped just before it could give the file its name.
    let whole = resumed && expected.begins(&digest::of_file(&part.path)?);
    let download = Download { url, item, agent, part, ui };
    if !whole {
        download.run()?;
    }
    // An old part may have been of another version, where the server names none; a whole new
    // download settles it.
    if resumed && !expected.begins(&digest::of_file(&download.part.path)?) {
        download.part.remove();
        download.run()?;
    }
    download.part.forget_version();
    Ok(Draft::Part { path: download.part.path, origin: url.into() })
}

struct Download<'a> {
    url: &'a str,
    item: Item,
    agent: Agent,
    part: Part,
    ui: &'a Ui,
}

/// How an attempt ended that may be followed by another.
enum Outcome {
    Whole,
    /// The part on disk was of no use, and has been removed.
    StartAgain,
    Cut(String),
}

impl Download<'_> {
    /// Attempts until the file is whole, as long as they bring something.
    fn run(&self) -> Result<()> {
        let mut fruitless = 0;
        for cut in 1.. {
            let before = self.part.len();
            let reason = match self.attempt()? {
                Outcome::Whole => return Ok(()),
                Outcome::StartAgain => "the server does not go on where it left off".into(),
                Outcome::Cut(reason) => reason,
            };
            let received = self.part.len();
            fruitless = if received > before { 0 } else { fruitless + 1 };
            if fruitless >= MAX_FRUITLESS || cut >= MAX_CUTS {
                return Err(FetchError::CutOff { url: self.url.into(), received, reason });
            }
            thread::sleep(Duration::from_millis(100) * cut);
        }
        unreachable!("the loop ends at MAX_CUTS")
    }

    fn attempt(&self) -> Result<Outcome> {
        let have = self.part.len();
        let mut request = self.agent.get(self.url).header(header::ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            if let Some(version) = self.part.version() {
                request = request.header(header::IF_RANGE, version);
            }
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) if have > 0 && !is_certificate(&error) => {
                return Ok(Outcome::Cut(reason(&error)));
            }
            Err(error) => return Err(self.unreachable(&error)),
        };
        match response.status() {
            StatusCode::OK => {
                let total = response.body().content_length();
                self.receive(response, 0, total)
            }
            StatusCode::PARTIAL_CONTENT if have > 0 => match content_range(&response) {
                Some((first, total)) if first == have => self.receive(response, have, total),
                _ => Ok(self.start_again()),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(self.start_again()),
            status => Err(FetchError::Status { url: self.url.into(), status: status.to_string() }),
        }
    }

    fn start_again(&self) -> Outcome {
        self.part.remove();
        Outcome::StartAgain
    }

    /// Writes the body behind the first `have` bytes of the part.
    fn receive(&self, response: Response<Body>, have: u64, total: Option<u64>) -> Result<Outcome> {
        if total.is_some_and(|total| total > MAX_BYTES) {
            return Err(self.too_large());
        }
        let part = &self.part.path;
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(have > 0)
            .truncate(have == 0)
            .open(part)
            .map_err(FetchError::io(part, "create"))?;
        if have == 0 {
            self.part.remember_version(&response)?;
        }
        let bar = self.ui.bytes_bar(self.item.name(), total);
        bar.set_position(have);
        let mut received = have;
        let end = copy(&mut response.into_body().into_reader(), &mut file, &bar, &mut received);
        bar.finish_and_clear();
        match end {
            Ok(()) => {}
            Err(Broken::Read(error)) => return Ok(Outcome::Cut(error.to_string())),
            Err(Broken::Write(error)) => {
                if is_full(&error) {
                    // Nothing else will fit either while it lies there.
                    drop(file);
                    self.part.remove();
                }
                return Err(FetchError::io(part, "write")(error));
            }
            Err(Broken::TooLarge) => {
                self.part.remove();
                return Err(self.too_large());
            }
        }
        match total {
            Some(total) if received < total => {
                Ok(Outcome::Cut("the server closed the connection".into()))
            }
            _ => {
                file.sync_all()
                    .or_else(ignore_unsupported)
                    .map_err(FetchError::io(part, "write"))?;
                Ok(Outcome::Whole)
            }
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> FetchError {
        let (url, reason) = (self.url.into(), reason(error));
        if is_certificate(error) {
            FetchError::Certificate { url, reason }
        } else {
            FetchError::Network { url, reason, item: self.item }
        }
    }

    fn too_large(&self) -> FetchError {
        let problem = format!("more than {MAX_BYTES} bytes: not the file that was asked for");
        FetchError::Url { url: self.url.into(), problem }
    }
}

enum Broken {
    Read(io::Error),
    Write(io::Error),
    TooLarge,
}

/// Like `io::copy`, but says which side failed, and shows how far it is.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    bar: &ProgressBar,
    received: &mut u64,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(Broken::Write)?;
        *received += count as u64;
        bar.set_position(*received);
        if *received > MAX_BYTES {
            return Err(Broken::TooLarge);
        }
    }
}

/// Some file systems cannot sync.
fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => Ok(()),
        _ => Err(error),
    }
}

/// A file that is being downloaded, and beside it the version (ETag) of what it is a part of.
struct Part {
    path: PathBuf,
    version: PathBuf,
}

impl Part {
    fn new(path: &Path) -> Self {
        let mut version = path.as_os_str().to_owned();
        version.push(".etag");
        Self { path: path.to_path_buf(), version: version.into() }
    }

    fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn version(&self) -> Option<String> {
        fs::read_to_string(&self.version).ok().filter(|version| !version.is_empty())
    }

    /// If-Range takes strong validators only (RFC 9110, section 13.1.5).
    fn remember_version(&self, response: &Response<Body>) -> Result<()> {
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        if let Some(etag) = etag.filter(|etag| etag.starts_with('"')) {
            return fs::write(&self.version, etag).map_err(FetchError::io(&self.version, "write"));
        }
        self.forget_version();
        Ok(())
    }

    fn forget_version(&self) {
        let _ = fs::remove_file(&self.version);
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        self.forget_version();
    }
}

/// The first byte and the total of `Content-Range: bytes 200-1000/67589`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    parse_content_range(value)
}

fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.trim().parse().ok()?, total))
}

/// Mozilla's root certificates, or those of the file that `SSL_CERT_FILE` names, as OpenSSL has it.
fn agent() -> Result<Agent> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        tls = tls.root_certs(certificates(Path::new(&path))?);
    }
    let seconds = |count| Some(Duration::from_secs(count));
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .https_only(true)
        .http_status_as_error(false)
        .user_agent(concat!("posterize/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(seconds(20))
        .timeout_connect(seconds(20))
        .timeout_recv_response(seconds(60))
        .timeout_per_read(seconds(60))
        .build();
    Ok(Agent::new_with_config(config))
}

fn certificates(path: &Path) -> Result<RootCerts> {
    let pem = fs::read(path).map_err(FetchError::io(path, "read"))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            "SSL_CERT_FILE names it, but it holds no certificate in PEM",
        );
        return Err(FetchError::io(path, "read")(source));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn is_certificate(error: &ureq::Error) -> bool {
    // rustls' own error type is no part of ureq's interface; its words are.
    error.to_string().contains("certificate")
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "the host name cannot be resolved".into(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_content_range;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 200-1000/67589"), Some((200, Some(67589))));
        assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, None)));
        for malformed in ["bytes */67589", "200-1000/67589", "bytes 200-1000", "bytes a-b/c", ""] {
            assert_eq!(parse_content_range(malformed), None, "{malformed}");
        }
    }
}
