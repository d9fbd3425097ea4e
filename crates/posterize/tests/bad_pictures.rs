//! Tests that invalid pictures are errors that name the file and the problem.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use posterize::data::{MAX_PIXELS, Picture};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess/pictures").join(name)
}

fn problem(bytes: &[u8]) -> String {
    Picture::decode("some/picture.jpg", bytes).unwrap_err().to_string()
}

#[test]
fn truncated_files_are_errors() {
    for name in [
        "wide.jpg",
        "progressive.jpg",
        "grey.jpg",
        "cmyk_adobe.jpg",
        "restarts.jpg",
        "rgba.png",
        "palette.png",
        "interlaced.png",
        "true_color.bmp",
        "true_color.ppm",
        "lossless.webp",
        "../../decode/pictures/gif_001.gif",
        "../../exif/pictures/tiff_2.tif",
        "../../exif/pictures/tiff_6.tif",
    ] {
        let whole = fs::read(sample(name)).unwrap();
        assert!(Picture::decode(name, &whole).is_ok(), "{name}");
        let tenths = (1..10).map(|tenth| whole.len() * tenth / 10);
        for length in tenths.chain([3, 12, 40, whole.len() - 8]) {
            let message = match Picture::decode(name, &whole[..length]) {
                Ok(picture) => panic!("{name} cut to {length} bytes decoded to {picture:?}"),
                Err(error) => error.to_string(),
            };
            assert!(message.starts_with(name), "{message}");
        }
    }
    let whole = fs::read(sample("wide.jpg")).unwrap();
    for missing in 1..=2 {
        assert!(problem(&whole[..whole.len() - missing]).contains("truncated or corrupt JPEG"));
    }
}

#[test]
fn extra_bytes_around_the_end_of_a_jpeg_are_ignored() {
    let whole = fs::read(sample("wide.jpg")).unwrap();
    let picture = Picture::decode("whole", &whole).unwrap();
    let (body, end) = whole.split_at(whole.len() - 2);
    let after = [&whole[..], b"appended by some camera"].concat();
    assert_eq!(Picture::decode("after", &after).unwrap(), picture);
    let before_end = [body, &[0, 0, 0, 0], end].concat();
    assert_eq!(Picture::decode("before the end", &before_end).unwrap(), picture);
}

#[test]
fn the_error_says_what_another_file_is() {
    let start = "some/picture.jpg: ";
    assert!(problem(b"").starts_with(&format!("{start}the file is empty")));
    let message = problem(b"Dear diary, this is a text");
    assert!(message.starts_with(&format!(
        "{start}expected JPEG, PNG, BMP, PNM, WebP, GIF or TIFF, found a file that begins with \"Dear dia\""
    )));
    assert!(problem(b"GIF9").contains("found a file that begins with"));
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0";
    assert!(problem(avif).contains("AVIF is not supported; expected JPEG, PNG"));
    assert!(problem(avif).ends_with("convert the picture to PNG"));
    assert!(problem(b"\0\0\0\x18ftypheic").contains("HEIF is not supported"));
}

/// A PNG of a given size that has only a header.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(width.to_be_bytes());
    png.extend(height.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    png.extend(crc32(&png[12..]).to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[test]
fn pictures_above_the_limit_are_errors_before_memory_is_allocated() {
    let message = problem(&png_header(30_000, 30_000));
    let limit = MAX_PIXELS.to_string();
    assert!(message.contains("30000 x 30000") && message.contains(&limit), "{message}");
    assert!(problem(&png_header(u32::MAX, u32::MAX)).contains("found 4294967295 x 4294967295"));
    assert!(problem(&png_header(0, 7)).contains("0 x 7"));
    // Below the limit, the error is about the missing data.
    assert!(!problem(&png_header(30, 30)).contains("expected at most"));

    let mut jpeg = fs::read(sample("wide.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let message = problem(&jpeg);
    assert!(message.contains("30000 x 30000") && message.contains(&limit), "{message}");

    let message = problem(b"P6 30000 30000 255 ");
    assert!(message.contains("30000 x 30000") && message.contains(&limit), "{message}");
}

#[test]
fn sampling_factors_beyond_the_format_are_errors() {
    let mut jpeg = fs::read(sample("cmyk_plain.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    // Factors of the first two of four components.
    (jpeg[frame + 11], jpeg[frame + 14]) = (0x43, 0x13);
    let message = problem(&jpeg);
    assert!(message.contains("a scan has 17 blocks in a unit; the most are 10"), "{message}");
    (jpeg[frame + 11], jpeg[frame + 14]) = (0x31, 0x21);
    let message = problem(&jpeg);
    assert!(message.contains("the sampling factors 3x1, 2x1, 1x1, 1x1 is not"), "{message}");
}

#[test]
fn overwritten_picture_data_is_an_error() {
    let mut jpeg = fs::read(sample("large.jpg")).unwrap();
    let middle = jpeg.len() / 2;
    jpeg[middle..middle + 64].fill(0xFF);
    assert!(problem(&jpeg).contains("corrupt"));
    let mut png = fs::read(sample("rgba.png")).unwrap();
    let middle = png.len() / 2;
    png[middle..middle + 8].fill(0);
    assert!(problem(&png).contains("corrupt"));
}

#[test]
fn damaged_bytes_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % end
    };
    let own = ["gif", "tif"];
    let is_own = |path: &Path| own.iter().any(|own| path.extension().is_some_and(|e| e == *own));
    let files = |folder| fs::read_dir(sample(folder)).unwrap().map(|entry| entry.unwrap().path());
    for path in files("").chain(files("../../decode/pictures").filter(|path| is_own(path))) {
        let whole = fs::read(&path).unwrap();
        for _ in 0..60 {
            let mut damaged = whole.clone();
            for _ in 0..=random(4) {
                // Half of the changes are in the headers.
                let end = if random(2) == 0 { damaged.len().min(600) } else { damaged.len() };
                let at = random(end);
                damaged[at] = [0, 0xFF, damaged[at] ^ 1 << random(8), random(256) as u8][random(4)];
            }
            match Picture::decode("damaged", &damaged) {
                Ok(picture) => {
                    assert_eq!(picture.data().len(), picture.width() * picture.height() * 3);
                }
                // A decoder of another crate may panic inside.
                Err(error) => {
                    let has_panicked = error.to_string().contains("the decoder failed");
                    assert!(!(has_panicked && is_own(&path)), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn folders_and_missing_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let error = Picture::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("expected a picture, found a folder"), "{error}");
    let missing = folder.path().join("missing.png");
    let error = Picture::open(&missing).unwrap_err().to_string();
    assert!(error.contains("missing.png: cannot read"), "{error}");
}

/// Prints a message that the test harness does not capture.
fn print_uncaptured(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_an_error_that_names_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("closed.jpg");
    fs::copy(sample("grey.jpg"), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_ok() {
        print_uncaptured("SKIPPED: this user (root) may read files without permission");
        return;
    }
    let error = Picture::open(&file).unwrap_err().to_string();
    assert!(error.contains("closed.jpg: cannot read: Permission denied"), "{error}");
}
