//! Tests of `posterize fetch mobilenet_v2` with a TLS server on the loopback interface.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    server::{Behaviour, Request, Server},
    support::{fails, fails_with_usage_error, files, noise, posterize, succeeds},
};

/// A server, the file it serves, and a cache folder to fetch it into.
struct Fixture {
    server: Server,
    body: Vec<u8>,
    name: String,
    folder: TempDir,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut Behaviour)) -> Self {
        let body = noise(300_000, 1);
        let digits = format!("{:08x}", u32::from_be_bytes(*digest(&body).first_chunk().unwrap()));
        let mut behaviour = Behaviour::good(body.clone());
        change(&mut behaviour);
        Self {
            server: Server::start(behaviour),
            body,
            name: format!("net-{digits}.pth"),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn file(&self) -> PathBuf {
        self.cache().join("mobilenet_v2").join(&self.name)
    }

    fn part(&self) -> PathBuf {
        self.cache().join("mobilenet_v2").join(format!("{}.part", self.name))
    }

    fn fetch(&self) -> Command {
        let mut command = posterize(&self.cache());
        command
            .args(["fetch", "mobilenet_v2", "--url", &self.server.url(&self.name)])
            .env("SSL_CERT_FILE", self.server.certificate(self.folder.path()));
        command
    }

    /// Writes the part that an interrupted download of this version would have left.
    fn write_part(&self, part: &[u8], etag: &str) {
        fs::create_dir_all(self.part().parent().unwrap()).unwrap();
        fs::write(self.part(), part).unwrap();
        fs::write(self.part().with_extension("part.etag"), etag).unwrap();
    }

    /// Checks that the file is complete and nothing else is in the cache.
    #[track_caller]
    fn assert_complete(&self) {
        assert!(fs::read(self.file()).unwrap() == self.body, "other bytes");
        assert_eq!(files(&self.cache()), [format!("mobilenet_v2/{}", self.name)]);
    }

    /// Checks that the cache is empty.
    #[track_caller]
    fn assert_empty(&self) {
        assert_eq!(files(&self.cache()), [""; 0]);
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.server.requests().into_iter().map(|request| request.range).collect()
    }
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[test]
fn a_file_is_downloaded_once() {
    let fixture = Fixture::new(|_| {});
    let printed = succeeds(&mut fixture.fetch());
    assert!(printed.starts_with("mobilenet_v2 downloaded: "), "{printed}");
    assert!(printed.contains("293.0 KiB"), "{printed}");
    fixture.assert_complete();
    let request = Request { path: format!("/models/{}", fixture.name), ..Request::default() };
    assert_eq!(fixture.server.requests(), [request]);

    let printed = succeeds(&mut fixture.fetch());
    assert!(printed.starts_with("mobilenet_v2 was in the cache already: "), "{printed}");
    succeeds(fixture.fetch().arg("--offline"));
    assert_eq!(fixture.server.requests(), []);
}

#[test]
fn json_reports_path_size_and_digest() {
    let fixture = Fixture::new(|_| {});
    let printed = succeeds(fixture.fetch().arg("--json"));
    let value: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(value["name"], "mobilenet_v2");
    assert_eq!(value["path"], fixture.file().to_str().unwrap());
    assert_eq!(value["bytes"], 300_000);
    assert_eq!(value["new"], true);
    assert_eq!(value["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn an_interrupted_download_is_continued() {
    let fixture = Fixture::new(|behaviour| behaviour.cut_after = Some(120_000));
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    let requests = fixture.server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].range, None);
    assert_eq!(requests[1].range.as_deref(), Some("bytes=120000-"));
    assert_eq!(requests[1].if_range.as_deref(), Some("\"v1\""));
    assert_eq!(requests[2].range.as_deref(), Some("bytes=240000-"));
}

#[test]
fn a_later_process_continues_an_interrupted_download() {
    let fixture = Fixture::new(|behaviour| {
        behaviour.cut_after = Some(100_000);
        behaviour.silent_from = Some(1);
    });
    let error = fails(&mut fixture.fetch());
    assert!(error.contains("was interrupted after 97.7 KiB"), "{error}");
    assert!(error.contains("run the same command again"), "{error}");
    assert!(!fixture.file().exists());
    assert_eq!(fs::metadata(fixture.part()).unwrap().len(), 100_000);
    fixture.server.requests();

    fixture.server.behave(|behaviour| *behaviour = Behaviour::good(behaviour.body.clone()));
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    assert_eq!(fixture.ranges(), [Some("bytes=100000-".to_owned())]);
}

#[test]
fn without_range_support_everything_is_downloaded_again() {
    let fixture = Fixture::new(|behaviour| behaviour.ranges = false);
    fixture.write_part(&fixture.body[..50_000], "\"v1\"");
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
}

#[test]
fn a_part_of_an_older_version_is_discarded() {
    let fixture = Fixture::new(|_| {});
    fixture.write_part(&noise(50_000, 2), "\"v0\"");
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    assert_eq!(fixture.ranges(), [Some("bytes=50000-".to_owned())]);
}

#[test]
fn a_wrong_part_is_discarded_because_of_its_digest() {
    let fixture = Fixture::new(|behaviour| behaviour.etag = None);
    fixture.write_part(&noise(50_000, 2), "");
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    assert_eq!(fixture.ranges(), [Some("bytes=50000-".to_owned()), None]);
}

#[test]
fn a_part_that_is_too_long_is_discarded() {
    let fixture = Fixture::new(|_| {});
    fixture.write_part(&noise(400_000, 2), "\"v1\"");
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    assert_eq!(fixture.ranges(), [Some("bytes=400000-".to_owned()), None]);
}

#[test]
fn a_complete_part_is_not_downloaded_again() {
    let fixture = Fixture::new(|_| {});
    fixture.write_part(&fixture.body, "\"v1\"");
    succeeds(&mut fixture.fetch());
    fixture.assert_complete();
    assert_eq!(fixture.server.requests(), []);
}

#[test]
fn a_wrong_digest_is_an_error() {
    let fixture = Fixture::new(|behaviour| behaviour.body[7] ^= 1);
    let error = fails(&mut fixture.fetch());
    assert!(error.contains("expected a sha256 that begins with"), "{error}");
    assert!(error.contains(&fixture.server.url(&fixture.name)), "{error}");
    fixture.assert_empty();
}

#[test]
fn the_status_of_the_server_is_reported() {
    let fixture = Fixture::new(|behaviour| behaviour.status = "404 Not Found");
    let error = fails(&mut fixture.fetch());
    assert!(error.contains("the server answered 404 Not Found"), "{error}");
    fixture.assert_empty();
}

#[test]
fn an_untrusted_certificate_is_an_error() {
    let fixture = Fixture::new(|_| {});
    let error = fails(fixture.fetch().env_remove("SSL_CERT_FILE"));
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(error.contains("set SSL_CERT_FILE"), "{error}");
    assert_eq!(fixture.server.requests(), []);
    fixture.assert_empty();

    let key = fixture.folder.path().join("empty.pem");
    fs::write(&key, "").unwrap();
    let error = fails(fixture.fetch().env("SSL_CERT_FILE", &key));
    assert!(error.contains("contains no certificate in PEM format"), "{error}");
}

#[test]
fn without_a_network_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // The listener is dropped at once, so the port is closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}/net-0123abcd.pth");
    let error = fails(posterize(folder.path()).args(["fetch", "mobilenet_v2", "--url", &url]));
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains("`posterize fetch mobilenet_v2 --from FILE`"), "{error}");
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn urls_without_tls_or_without_a_digest_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (url, reason) in [
        ("http://127.0.0.1/net-0123abcd.pth", "expected a URL that begins with https://"),
        ("https://127.0.0.1/net.pth", "expected a file name that ends in -DIGITS.pth"),
    ] {
        let mut command = posterize(folder.path());
        let error = fails_with_usage_error(
            command.args(["fetch", "mobilenet_v2"]).env("POSTERIZE_DOWNLOAD_URL", url),
        );
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn two_processes_at_once_download_once() {
    let fixture = Fixture::new(|behaviour| behaviour.cut_after = Some(100_000));
    let spawn = || fixture.fetch().stderr(std::process::Stdio::null()).spawn().unwrap();
    for mut child in [spawn(), spawn()] {
        assert!(child.wait().unwrap().success());
    }
    fixture.assert_complete();
    assert_eq!(fixture.server.requests().len(), 3);
}

/// Simulates a full disk with `/dev/full`, where every write fails with ENOSPC.
#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_nothing_is_left() {
    let fixture = Fixture::new(|_| {});
    fs::create_dir_all(fixture.part().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", fixture.part()).unwrap();
    let error = fails(&mut fixture.fetch());
    assert!(error.contains("No space left on device"), "{error}");
    assert!(
        error.contains("free some space, or choose another folder with --cache DIR"),
        "{error}"
    );
    assert!(Path::new("/dev/full").exists());
    fixture.assert_empty();
}

/// Limits files to 100 blocks of 1,024 or 512 bytes, so that writing fails during the download.
#[cfg(unix)]
#[test]
fn on_a_disk_that_fills_up_nothing_is_left() {
    let fixture = Fixture::new(|_| {});
    let fetch = fixture.fetch();
    let mut limited = Command::new("sh");
    // Without the trap, the system ends the program instead of failing its write.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""]);
    limited.arg(fetch.get_program()).args(fetch.get_args());
    for (name, value) in fetch.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let error = fails(&mut limited);
    assert!(error.contains("cannot write"), "{error}");
    assert!(error.contains("free some space"), "{error}");
    fixture.assert_empty();
}

#[cfg(unix)]
#[test]
fn a_cache_folder_that_cannot_be_created_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = fails(posterize(&file.join("cache")).args(["fetch", "mobilenet_v2"]));
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    assert!(error.contains("Not a directory"), "{error}");
}
