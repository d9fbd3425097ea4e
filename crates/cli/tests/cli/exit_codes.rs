//! Tests of the exit codes, each with a command that ends with it.

use std::{fs, path::Path, process::Command};

use crate::{
    fixture::Fixture,
    support::{posterize, run, succeeds},
};

#[track_caller]
fn code(command: &mut Command) -> i32 {
    let output = run(command);
    let code = output.status.code().expect("it ended by itself");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.contains("error:"), code != 0, "{error}");
    code
}

#[test]
fn kinds_of_failures_have_exit_codes_of_their_own() {
    let fixture = Fixture::new();
    let inspect = |weights: &Path| {
        let mut command = fixture.command("inspect");
        command.arg("--weights").arg(weights);
        command
    };
    assert_eq!(code(&mut inspect(&fixture.path("small.safetensors"))), 0);

    // Wrong arguments: for clap, for a command, and for the library.
    assert_eq!(code(fixture.command("inspect").arg("--no-such-option")), 2);
    let mut no_weights = posterize(&fixture.path("cache"));
    assert_eq!(code(no_weights.args(["evaluate", "resnet50", "--data"]).arg(fixture.data())), 2);
    assert_eq!(code(posterize(&fixture.path("cache")).args(["inspect", "vgg16"])), 2);

    // Files that cannot be used: damaged, for another network, no pictures, not what was published.
    fs::write(fixture.path("damaged.pth"), "no checkpoint").unwrap();
    assert_eq!(code(&mut inspect(&fixture.path("damaged.pth"))), 3);
    let mut other = posterize(&fixture.path("cache"));
    other.args(["inspect", "resnet18", "--weights"]).arg(fixture.path("small.safetensors"));
    assert_eq!(code(&mut other), 3);
    let empty = fixture.path("empty");
    fs::create_dir(&empty).unwrap();
    let weights = fixture.path("small.safetensors");
    let evaluate = |data: &Path| {
        let mut command = fixture.command("evaluate");
        command.arg("--weights").arg(&weights).arg("--data").arg(data);
        command
    };
    assert_eq!(code(&mut evaluate(&empty)), 3);
    let mut fetch = posterize(&fixture.path("cache"));
    fetch.args(["fetch", "efficientnet_lite0", "--from"]).arg(&weights);
    assert_eq!(code(&mut fetch), 3);

    // Files that are missing or cannot be written, and no network.
    assert_eq!(code(&mut inspect(&fixture.path("missing.pth"))), 4);
    assert_eq!(code(evaluate(&fixture.data()).args(["--predictions", "/no/such/folder/p.csv"])), 4);
    assert_eq!(code(posterize(&empty).args(["fetch", "mobilenet_v2", "--offline"])), 4);
    #[cfg(target_os = "linux")]
    assert_eq!(code(evaluate(&fixture.data()).args(["--predictions", "/dev/full"])), 4);
}

#[test]
fn the_help_lists_the_exit_codes() {
    let help = succeeds(posterize(Path::new("/no/such/cache")).arg("--help"));
    let (_, list) = help.split_once("Exit codes:\n").expect("a list of exit codes");
    let codes: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "130"]);
}

/// SIGINT ends the program while it works, which a shell reports as 130.
#[cfg(unix)]
#[test]
fn ctrl_c_is_130_in_a_shell() {
    use std::os::unix::process::ExitStatusExt;

    let fixture = Fixture::new();
    let mut command = fixture.command("bench");
    let mut bench = command.args(["--runs", "4000000000"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let id = bench.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let status = bench.wait().unwrap();
    let reported = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    assert_eq!(reported, Some(130), "{status:?}");
}
