//! Tests of `posterize completions` and `posterize man`.

use std::{fs, path::Path, process::Command};

use crate::support::{files, posterize, succeeds};

fn program() -> Command {
    posterize(Path::new("/no/such/cache"))
}

#[test]
fn every_shell_has_a_script_with_options_and_values() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeeds(program().args(["completions", shell]));
        for text in ["quantize", "per-tensor", "calibrate"] {
            assert!(script.contains(text), "{shell}: {text}");
        }
    }
}

/// Completes the last of `words` in bash, as the Tab key does before it looks for files.
#[cfg(unix)]
fn completed(words: &[&str]) -> Vec<String> {
    let script = succeeds(program().args(["completions", "bash"]));
    let line = r#"source /dev/stdin; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _posterize posterize "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights.pth"), "").unwrap();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", line, "bash"]).args(words).current_dir(folder.path());
    succeeds(bash.stdin(fs::File::open(&file).unwrap())).lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn bash_completes_commands_options_values_models_and_files() {
    assert_eq!(completed(&["posterize", "quan"]), ["quantize"]);
    assert_eq!(completed(&["posterize", "quantize", "--per-"]), ["--per-tensor"]);
    assert_eq!(completed(&["posterize", "quantize", "--qconfig", "fb"]), ["fbgemm"]);
    assert_eq!(completed(&["posterize", "bench", "--input", ""]), ["float", "pixels"]);
    assert_eq!(completed(&["posterize", "inspect", "resnet1"]), ["resnet18"]);
    assert_eq!(completed(&["posterize", "fetch", "sam"]), ["samples"]);
    assert_eq!(completed(&["posterize", "inspect", "--weights", "wei"]), ["weights.pth"]);
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let text = succeeds(program().arg("man").arg(&pages));
    assert!(text.contains("14 manual pages written"), "{text}");
    let names = files(&pages);
    assert_eq!(names.len(), 14);
    for name in ["posterize.1", "posterize-quantize.1", "posterize-man.1"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("posterize-quantize.1").starts_with(".ie"), "{}", page("posterize-quantize.1"));
    for text in ["\n.TH posterize-quantize 1", "\\-\\-per\\-tensor", "Examples:", "JSON output"] {
        assert!(page("posterize-quantize.1").contains(text), "{text}");
    }
    assert_eq!(succeeds(program().arg("man")), page("posterize.1"));
}
