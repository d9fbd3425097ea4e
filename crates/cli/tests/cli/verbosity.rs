//! Tests of `-q` and `-v`.

use std::fs;

use serde_json::Value;

use crate::{fixture::Fixture, support::run};

/// Quantizes with these options, and returns what is printed on stdout and stderr.
fn quantized(fixture: &Fixture, options: &[&str]) -> (String, String) {
    let mut command = fixture.command("quantize");
    command.arg("--weights").arg(fixture.path("small.safetensors")).arg("--calibrate");
    command.arg(fixture.data()).arg("-o").arg(fixture.path("int8.safetensors")).args(options);
    let output = run(&mut command);
    let (stdout, stderr) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
    assert!(output.status.success(), "{stderr}");
    (stdout, stderr)
}

#[test]
fn each_level_prints_what_the_ones_before_it_print() {
    let fixture = Fixture::new();
    fs::write(fixture.data().join("bee/1.ppm"), "no picture").unwrap();
    let warning = "warning: ";
    let note = "calibrated on 11 pictures, fewer than";
    let result = "int8 layers";
    let list = "output of";
    for (options, expected) in [
        (&["-v"][..], [true; 4]),
        (&["--verbose"], [true; 4]),
        (&[], [true, true, true, false]),
        (&["-q"], [true, true, false, false]),
        (&["--quiet"], [true, true, false, false]),
        (&["-qq"], [false; 4]),
        (&["-q", "-q"], [false; 4]),
    ] {
        let (stdout, stderr) = quantized(&fixture, options);
        let found = [
            stdout.contains(result),
            stderr.contains(warning),
            stderr.contains(note),
            stdout.contains(list),
        ];
        assert_eq!(found, expected, "{options:?}: {stdout}{stderr}");
    }
    assert_eq!(quantized(&fixture, &["-qq"]), (String::new(), String::new()));
    // Who asks for the object gets it.
    let (stdout, stderr) = quantized(&fixture, &["-qq", "--json"]);
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&object["pictures"], &*stderr), (&serde_json::json!(11), ""));
}

#[test]
fn errors_are_printed_at_every_level() {
    let fixture = Fixture::new();
    for options in [&["-q"][..], &["-qq"], &["-v"]] {
        let output =
            run(fixture.command("inspect").args(["--weights", "/no/such.pth"]).args(options));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            stderr,
            "error: /no/such.pth: cannot open: No such file or directory (os error 2)\n"
        );
    }
    let output = run(fixture.command("inspect").args(["-q", "-v"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot be used with"));
}
