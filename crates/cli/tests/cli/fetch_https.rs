//! `posterize fetch mobilenet_v2` against a TLS server on loopback.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    server::{Behaviour, Request, Server},
    support::{fails, files, noise, posterize, succeeds},
};

/// A server, the file it serves, and a cache folder to fetch it into.
struct Scene {
    server: Server,
    body: Vec<u8>,
    name: String,
    folder: TempDir,
}

impl Scene {
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

    /// An earlier run left these bytes, of this version of the file.
    fn left_behind(&self, part: &[u8], etag: &str) {
        fs::create_dir_all(self.part().parent().unwrap()).unwrap();
        fs::write(self.part(), part).unwrap();
        fs::write(self.part().with_extension("part.etag"), etag).unwrap();
    }

    /// The file is whole, and nothing else is in the cache.
    #[track_caller]
    fn is_whole(&self) {
        assert!(fs::read(self.file()).unwrap() == self.body, "other bytes");
        assert_eq!(files(&self.cache()), [format!("mobilenet_v2/{}", self.name)]);
    }

    #[track_caller]
    fn nothing_is_left(&self) {
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
    let scene = Scene::new(|_| {});
    let printed = succeeds(&mut scene.fetch());
    assert!(printed.starts_with("mobilenet_v2 fetched: "), "{printed}");
    assert!(printed.contains("293.0 KiB"), "{printed}");
    scene.is_whole();
    let request = Request { path: format!("/models/{}", scene.name), ..Request::default() };
    assert_eq!(scene.server.requests(), [request]);

    let printed = succeeds(&mut scene.fetch());
    assert!(printed.starts_with("mobilenet_v2 already there: "), "{printed}");
    succeeds(scene.fetch().arg("--offline"));
    assert_eq!(scene.server.requests(), []);
}

#[test]
fn json_says_what_is_where() {
    let scene = Scene::new(|_| {});
    let printed = succeeds(scene.fetch().arg("--json"));
    let value: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(value["name"], "mobilenet_v2");
    assert_eq!(value["path"], scene.file().to_str().unwrap());
    assert_eq!(value["bytes"], 300_000);
    assert_eq!(value["new"], true);
    assert_eq!(value["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let scene = Scene::new(|behaviour| behaviour.cut_after = Some(120_000));
    succeeds(&mut scene.fetch());
    scene.is_whole();
    let requests = scene.server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].range, None);
    assert_eq!(requests[1].range.as_deref(), Some("bytes=120000-"));
    assert_eq!(requests[1].if_range.as_deref(), Some("\"v1\""));
    assert_eq!(requests[2].range.as_deref(), Some("bytes=240000-"));
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_gave_up() {
    let scene = Scene::new(|behaviour| {
        behaviour.cut_after = Some(100_000);
        behaviour.silent_from = Some(1);
    });
    let error = fails(&mut scene.fetch());
    assert!(error.contains("cut off after 97.7 KiB"), "{error}");
    assert!(error.contains("run the same command again"), "{error}");
    assert!(!scene.file().exists());
    assert_eq!(fs::metadata(scene.part()).unwrap().len(), 100_000);
    scene.server.requests();

    scene.server.behave(|behaviour| *behaviour = Behaviour::good(behaviour.body.clone()));
    succeeds(&mut scene.fetch());
    scene.is_whole();
    assert_eq!(scene.ranges(), [Some("bytes=100000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let scene = Scene::new(|behaviour| behaviour.ranges = false);
    scene.left_behind(&scene.body[..50_000], "\"v1\"");
    succeeds(&mut scene.fetch());
    scene.is_whole();
}

#[test]
fn a_part_of_an_older_version_is_thrown_away() {
    let scene = Scene::new(|_| {});
    scene.left_behind(&noise(50_000, 2), "\"v0\"");
    succeeds(&mut scene.fetch());
    scene.is_whole();
    assert_eq!(scene.ranges(), [Some("bytes=50000-".to_owned())]);
}

#[test]
fn a_foreign_part_is_found_out_by_its_digest() {
    let scene = Scene::new(|behaviour| behaviour.etag = None);
    scene.left_behind(&noise(50_000, 2), "");
    succeeds(&mut scene.fetch());
    scene.is_whole();
    assert_eq!(scene.ranges(), [Some("bytes=50000-".to_owned()), None]);
}

#[test]
fn a_part_that_is_too_long_is_thrown_away() {
    let scene = Scene::new(|_| {});
    scene.left_behind(&noise(400_000, 2), "\"v1\"");
    succeeds(&mut scene.fetch());
    scene.is_whole();
    assert_eq!(scene.ranges(), [Some("bytes=400000-".to_owned()), None]);
}

#[test]
fn a_part_that_lacks_nothing_but_its_name_is_whole() {
    let scene = Scene::new(|_| {});
    scene.left_behind(&scene.body, "\"v1\"");
    succeeds(&mut scene.fetch());
    scene.is_whole();
    assert_eq!(scene.server.requests(), []);
}

#[test]
fn another_file_is_refused_by_its_digest() {
    let scene = Scene::new(|behaviour| behaviour.body[7] ^= 1);
    let error = fails(&mut scene.fetch());
    assert!(error.contains("its sha256 should begin with"), "{error}");
    assert!(error.contains(&scene.server.url(&scene.name)), "{error}");
    scene.nothing_is_left();
}

#[test]
fn a_file_that_is_not_there_is_reported() {
    let scene = Scene::new(|behaviour| behaviour.status = "404 Not Found");
    let error = fails(&mut scene.fetch());
    assert!(error.contains("the server answered 404 Not Found"), "{error}");
    scene.nothing_is_left();
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let scene = Scene::new(|_| {});
    let error = fails(scene.fetch().env_remove("SSL_CERT_FILE"));
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(error.contains("set SSL_CERT_FILE"), "{error}");
    assert_eq!(scene.server.requests(), []);
    scene.nothing_is_left();

    let key = scene.folder.path().join("empty.pem");
    fs::write(&key, "").unwrap();
    let error = fails(scene.fetch().env("SSL_CERT_FILE", &key));
    assert!(error.contains("holds no certificate in PEM"), "{error}");
}

#[test]
fn a_machine_without_a_network_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago, and where nobody listens now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}/net-0123abcd.pth");
    let error = fails(posterize(folder.path()).args(["fetch", "mobilenet_v2", "--url", &url]));
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains("`posterize fetch mobilenet_v2 --from FILE`"), "{error}");
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn addresses_without_tls_or_without_a_digest_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (url, reason) in [
        ("http://127.0.0.1/net-0123abcd.pth", "only https:// is trusted"),
        ("https://127.0.0.1/net.pth", "must end in -DIGITS.pth"),
    ] {
        let mut command = posterize(folder.path());
        let error =
            fails(command.args(["fetch", "mobilenet_v2"]).env("POSTERIZE_DOWNLOAD_URL", url));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn two_runs_at_once_download_once() {
    let scene = Scene::new(|behaviour| behaviour.cut_after = Some(100_000));
    let spawn = || scene.fetch().stderr(std::process::Stdio::null()).spawn().unwrap();
    for mut child in [spawn(), spawn()] {
        assert!(child.wait().unwrap().success());
    }
    scene.is_whole();
    assert_eq!(scene.server.requests().len(), 3);
}

/// The whole program on a disk that takes no more: `/dev/full` answers every write with ENOSPC.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let scene = Scene::new(|_| {});
    fs::create_dir_all(scene.part().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", scene.part()).unwrap();
    let error = fails(&mut scene.fetch());
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("make room, or choose another folder with --cache DIR"), "{error}");
    assert!(Path::new("/dev/full").exists());
    scene.nothing_is_left();
}

/// A file that may grow to 100 blocks of 1,024 or 512 bytes only, in the middle of the download.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let scene = Scene::new(|_| {});
    let fetch = scene.fetch();
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
    assert!(error.contains("make room"), "{error}");
    scene.nothing_is_left();
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = fails(posterize(&file.join("cache")).args(["fetch", "mobilenet_v2"]));
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    assert!(error.contains("Not a directory"), "{error}");
}
