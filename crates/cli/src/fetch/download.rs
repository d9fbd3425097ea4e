//! Downloads over HTTPS that can be resumed.
//!
//! The bytes are written to a `.part` file. A later attempt requests only the rest (RFC 9110, sections
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

/// Maximum size of a download. It is much larger than any file of the catalogue, and stops a server
/// that sends without end.
const MAX_BYTES: u64 = 1 << 30;

/// Maximum number of attempts in a row that receive nothing.
const MAX_EMPTY_ATTEMPTS: u32 = 2;

/// Maximum number of attempts.
const MAX_ATTEMPTS: u32 = 10;

/// Downloads `url` to `part`, and continues an earlier download that is there. The caller verifies the
/// digest and gives the file its final name.
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
    // An earlier process may have been stopped after downloading everything.
    let complete = resumed && expected.matches(&digest::of_file(&part.path)?);
    let download = Download { url, item, agent, part, ui };
    if !complete {
        download.run()?;
    }
    // If the server sends no ETag, the old part may have been of another version of the file. Then
    // everything is downloaded again.
    if resumed && !expected.matches(&digest::of_file(&download.part.path)?) {
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

/// The end of an attempt that did not fail for good.
enum Outcome {
    Complete,
    /// The part on disk could not be continued, and was removed.
    Restart,
    /// The connection was interrupted, for this reason.
    Interrupted(String),
}

impl Download<'_> {
    /// Makes attempts until the file is complete or the maximum number is reached.
    fn run(&self) -> Result<()> {
        let mut empty = 0;
        for attempt in 1.. {
            let before = self.part.len();
            let reason = match self.attempt()? {
                Outcome::Complete => return Ok(()),
                Outcome::Restart => "the server cannot continue the download".into(),
                Outcome::Interrupted(reason) => reason,
            };
            let received = self.part.len();
            empty = if received > before { 0 } else { empty + 1 };
            if empty >= MAX_EMPTY_ATTEMPTS || attempt >= MAX_ATTEMPTS {
                return Err(FetchError::Interrupted { url: self.url.into(), received, reason });
            }
            thread::sleep(Duration::from_millis(100) * attempt);
        }
        unreachable!("the loop ends at MAX_ATTEMPTS")
    }

    /// Requests the bytes that are missing.
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
                return Ok(Outcome::Interrupted(reason(&error)));
            }
            Err(error) => return Err(self.request_error(&error)),
        };
        match response.status() {
            StatusCode::OK => {
                let total = response.body().content_length();
                self.receive(response, 0, total)
            }
            StatusCode::PARTIAL_CONTENT if have > 0 => match content_range(&response) {
                Some((first, total)) if first == have => self.receive(response, have, total),
                _ => Ok(self.restart()),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(self.restart()),
            status => Err(FetchError::Status {
                url: self.url.into(),
                status: status.to_string(),
                item: self.item,
            }),
        }
    }

    /// Removes the part, so that the next attempt downloads everything.
    fn restart(&self) -> Outcome {
        self.part.remove();
        Outcome::Restart
    }

    /// Writes the body of a response after the first `have` bytes of the part.
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
            self.part.save_version(&response)?;
        }
        let bar = self.ui.bytes_bar(self.item.name(), total);
        bar.set_position(have);
        let mut received = have;
        let end = copy(&mut response.into_body().into_reader(), &mut file, &bar, &mut received);
        bar.finish_and_clear();
        match end {
            Ok(()) => {}
            Err(CopyError::Read(error)) => return Ok(Outcome::Interrupted(error.to_string())),
            Err(CopyError::Write(error)) => {
                if is_full(&error) {
                    // Frees the space for other files.
                    drop(file);
                    self.part.remove();
                }
                return Err(FetchError::io(part, "write")(error));
            }
            Err(CopyError::TooLarge) => {
                self.part.remove();
                return Err(self.too_large());
            }
        }
        match total {
            Some(total) if received < total => {
                Ok(Outcome::Interrupted("the server closed the connection".into()))
            }
            _ => {
                file.sync_all()
                    .or_else(ignore_unsupported)
                    .map_err(FetchError::io(part, "write"))?;
                Ok(Outcome::Complete)
            }
        }
    }

    /// Returns the error of a request that got no response.
    fn request_error(&self, error: &ureq::Error) -> FetchError {
        let (url, reason) = (self.url.into(), reason(error));
        if is_certificate(error) {
            FetchError::Certificate { url, reason }
        } else {
            FetchError::Network { url, reason, item: self.item }
        }
    }

    fn too_large(&self) -> FetchError {
        let problem =
            format!("the server sends more than {MAX_BYTES} bytes, so this is not the right file");
        FetchError::Url { url: self.url.into(), problem }
    }
}

/// The reason why [`copy`] failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
    TooLarge,
}

/// Copies bytes like `io::copy`, but tells read errors from write errors and advances a progress bar.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    bar: &ProgressBar,
    received: &mut u64,
) -> Result<(), CopyError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(CopyError::Write)?;
        *received += count as u64;
        bar.set_position(*received);
        if *received > MAX_BYTES {
            return Err(CopyError::TooLarge);
        }
    }
}

/// Ignores the errors of file systems that do not support `fsync`.
fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => Ok(()),
        _ => Err(error),
    }
}

/// A partly downloaded file, and a file beside it with the ETag of the version it belongs to.
struct Part {
    path: PathBuf,
    version: PathBuf,
}

/// Returns the path of the file with the ETag of a part.
pub(super) fn version(part: &Path) -> PathBuf {
    let mut version = part.as_os_str().to_owned();
    version.push(".etag");
    version.into()
}

impl Part {
    fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), version: version(path) }
    }

    fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn version(&self) -> Option<String> {
        fs::read_to_string(&self.version).ok().filter(|version| !version.is_empty())
    }

    /// Saves the ETag of a response if it is strong, because If-Range accepts no other (RFC 9110,
    /// section 13.1.5).
    fn save_version(&self, response: &Response<Body>) -> Result<()> {
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

/// Returns the first byte and the total of a header such as `Content-Range: bytes 200-1000/67589`.
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

/// Returns an HTTPS client. It trusts Mozilla's root certificates, or those in the file that
/// `SSL_CERT_FILE` names, as in OpenSSL.
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
            "SSL_CERT_FILE names this file, but it contains no certificate in PEM format",
        );
        return Err(FetchError::io(path, "read")(source));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn is_certificate(error: &ureq::Error) -> bool {
    // ureq does not expose rustls' error type, so only the text can be examined.
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
    fn content_ranges_are_parsed() {
        assert_eq!(parse_content_range("bytes 200-1000/67589"), Some((200, Some(67589))));
        assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, None)));
        for malformed in ["bytes */67589", "200-1000/67589", "bytes 200-1000", "bytes a-b/c", ""] {
            assert_eq!(parse_content_range(malformed), None, "{malformed}");
        }
    }
}
