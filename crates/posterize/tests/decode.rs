//! JPEGs and PNGs of every kind against Pillow's pixels, made by testdata/decode/generate.py.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use posterize::data::{MAX_DECODING_BYTES, Picture};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decode")
}

#[test]
fn pixels_equal_pillows() {
    let expected = fs::read_to_string(testdata().join("expected.txt")).unwrap();
    let mut failures = Vec::new();
    for line in expected.lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let found = match Picture::open(testdata().join("pictures").join(name)) {
            Ok(picture) => {
                let digest = crc32fast::hash(picture.data());
                format!("{} {} {digest:08x}", picture.width(), picture.height())
            }
            Err(error) => {
                assert!(error.to_string().contains(name), "{error}");
                "refused".to_owned()
            }
        };
        // Some files that Pillow refuses are whole but for what follows the picture.
        if found != expected && expected != "refused" {
            failures.push(format!("{name}: {found}, but Pillow: {expected}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let pictures = fs::read_dir(testdata().join("pictures")).unwrap().count();
    assert_eq!(expected.lines().count(), pictures);
    assert!(pictures >= 100);
}

fn problem(bytes: &[u8]) -> String {
    Picture::decode("some.jpg", bytes).unwrap_err().to_string()
}

/// A whole baseline JPEG.
fn grey() -> Vec<u8> {
    fs::read(testdata().join("../preprocess/pictures/grey.jpg")).unwrap()
}

/// Where a marker stands first.
fn marker(jpeg: &[u8], marker: u8) -> usize {
    jpeg.windows(2).position(|pair| pair == [0xFF, marker]).unwrap()
}

#[test]
fn kinds_that_are_not_supported_are_named() {
    let mut jpeg = grey();
    let frame = marker(&jpeg, 0xC0);
    jpeg[frame + 1] = 0xC3;
    assert!(problem(&jpeg).contains("a lossless JPEG is not supported"));
    jpeg[frame + 1] = 0xC5;
    assert!(problem(&jpeg).contains("a hierarchical JPEG is not supported"));
    jpeg[frame + 1] = 0xC0;
    jpeg[frame + 4] = 12;
    assert!(
        problem(&jpeg).contains("a JPEG of 12 bits per sample is not supported; expected 8 bits")
    );
}

#[test]
fn what_a_corrupt_header_lacks_is_said() {
    let jpeg = grey();
    let without = |kind: u8| {
        let at = marker(&jpeg, kind);
        let length = usize::from(jpeg[at + 2]) << 8 | usize::from(jpeg[at + 3]);
        [&jpeg[..at], &jpeg[at + 2 + length..]].concat()
    };
    assert!(problem(&without(0xC0)).contains("a scan comes before the frame"));
    let mut end = jpeg[..marker(&jpeg, 0xDA)].to_vec();
    end.extend([0xFF, 0xD9]);
    assert!(problem(&end).contains("it has no scan"));
    let mut name = jpeg.clone();
    let scan = marker(&jpeg, 0xDA);
    name[scan + 5] = 77;
    assert!(problem(&name).contains("a scan names component 77, which is not in its frame"));
    let mut factors = jpeg.clone();
    factors[marker(&jpeg, 0xC0) + 11] = 0x51;
    assert!(problem(&factors).contains("its sampling factors are 5x1, expected 1 to 4"));
}

/// A PNG of black RGBA pixels of 16 bits.
fn wide_png(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let from = png.len();
        png.extend_from_slice(kind);
        png.extend_from_slice(data);
        png.extend(crc32fast::hash(&png[from..]).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[16, 6, 0, 0, 0]].concat());
    let mut body = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..height {
        body.write_all(&vec![0; 1 + 8 * width as usize]).unwrap();
    }
    chunk(b"IDAT", &body.finish().unwrap());
    chunk(b"IEND", &[]);
    png
}

#[test]
fn a_picture_that_takes_more_memory_than_the_limit_is_an_error() {
    assert_eq!(Picture::decode("small", &wide_png(20, 3)).unwrap().data(), [0; 180]);
    // Its rows alone take more than all threads may.
    let mut png = wide_png(20, 1);
    png[16..20].copy_from_slice(&150_000_000_u32.to_be_bytes());
    let digest = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&digest);
    let message = problem(&png);
    let limit = format!("the limit is {MAX_DECODING_BYTES}");
    assert!(message.contains("bytes of memory") && message.contains(&limit), "{message}");
}
