//! JPEGs, PNGs, GIFs and TIFFs of every kind against Pillow's pixels, made by testdata/decode/generate.py.

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
    assert!(pictures >= 200);
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

/// A TIFF of some tags of one LONG each, and one black pixel behind them.
fn tiff(tags: &[(u16, u32)]) -> Vec<u8> {
    let pixel = 10 + 12 * (tags.len() as u32 + 1);
    let mut tags = [tags, &[(273, pixel)]].concat();
    tags.sort_unstable();
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        tiff.extend(tag.to_le_bytes());
        tiff.extend([4, 0, 1, 0, 0, 0]);
        tiff.extend(value.to_le_bytes());
    }
    tiff.push(0);
    tiff
}

/// The tags of one grey pixel: width, length, bits, photometric interpretation.
const PIXEL: [(u16, u32); 4] = [(256, 1), (257, 1), (258, 8), (262, 1)];

fn tiff_problem(changes: &[(u16, u32)]) -> String {
    let mut tags = PIXEL.to_vec();
    tags.retain(|(tag, _)| changes.iter().all(|(changed, _)| changed != tag));
    tags.extend(changes);
    problem(&tiff(&tags))
}

#[test]
fn kinds_of_tiff_that_are_not_supported_are_named() {
    assert_eq!(Picture::decode("pixel", &tiff(&PIXEL)).unwrap().data(), [0; 3]);
    for (tag, value, expected) in [
        (259, 7, "a TIFF compressed with JPEG is not supported; expected none, LZW"),
        (259, 99, "a TIFF with the compression 99 is not supported"),
        (262, 6, "a TIFF of YCbCr is not supported; convert the picture to PNG"),
        (262, 8, "a TIFF of L*a*b* is not supported"),
        (339, 3, "a TIFF of samples that are not integers without a sign is not supported"),
        (258, 32, "a TIFF of samples of 32 bits is not supported"),
        (277, 3, "grey with 0 extra samples has 1 samples for each pixel, found 3"),
        (284, 3, "its PlanarConfiguration is 3"),
        (266, 3, "its FillOrder is 3"),
        (278, 0, "its strips or tiles are 1 x 0"),
        (322, 16, "it has neither strips nor tiles, or both"),
        (257, 0, "expected a picture with pixels, found 1 x 0"),
    ] {
        let message = tiff_problem(&[(tag, value)]);
        assert!(message.contains(expected), "{message}");
    }
    let message = tiff_problem(&[(262, 3)]);
    assert!(message.contains("its tag ColorMap is missing"), "{message}");
    let message = tiff_problem(&[(259, 5)]);
    assert!(message.contains("its tag StripByteCounts is missing"), "{message}");
    let message = tiff_problem(&[(259, 5), (279, 0)]);
    assert!(message.contains("strip 0 has no bytes"), "{message}");
    let message = tiff_problem(&[(256, 2), (256, 2)]);
    assert!(message.contains("it has two tags ImageWidth"), "{message}");
    let message = tiff_problem(&[(257, 2)]);
    assert!(message.contains("too little data in strip 0"), "{message}");
    let cut = tiff(&PIXEL);
    assert!(problem(&cut[..40]).contains("the file ends in its directory"));
    assert!(problem(b"II*\0\xFF\0\0\0").contains("its directory is not in the file"));
}

#[test]
fn a_tiff_of_tiles_that_take_more_memory_than_the_limit_is_an_error() {
    let sides = 3 << 16;
    let tile = [(322, sides), (323, sides), (324, 8), (325, 1), (259, 5)];
    let mut file = tiff(&[&PIXEL[..], &tile].concat());
    // Tiles instead of strips.
    let strips = file.windows(2).position(|tag| tag == 273_u16.to_le_bytes()).unwrap();
    file[strips..strips + 2].copy_from_slice(&305_u16.to_le_bytes());
    let message = problem(&file);
    assert!(message.contains(&format!("the limit is {MAX_DECODING_BYTES}")), "{message}");
}

#[test]
fn data_without_values_takes_no_time() {
    // A megabyte of codes that clear the table and then one pixel, which each of 20,000 strips has.
    let (rows, length) = (20_000_u32, 9 << 17);
    let numbers = |value: u32| (0..rows).flat_map(move |_| value.to_le_bytes());
    let places = 256;
    let lengths = places + 4 * rows;
    let data = lengths + 4 * rows;
    let tags = [&PIXEL[..1], &[(257, rows)], &PIXEL[2..], &[(259, 5), (278, 1), (279, lengths)]];
    let mut file = tiff(&tags.concat());
    for (tag, at) in [(273_u16, places), (279, lengths)] {
        let entry = file.windows(4).position(|entry| entry == [tag as u8, 1, 4, 0]).unwrap();
        file[entry + 4..entry + 8].copy_from_slice(&rows.to_le_bytes());
        file[entry + 8..entry + 12].copy_from_slice(&at.to_le_bytes());
    }
    file.resize(places as usize, 0);
    file.extend(numbers(data));
    file.extend(numbers(length));
    // Eight codes of 9 bits.
    let clear: [u8; 9] = std::array::from_fn(|at| (0x80 >> at) as u8);
    file.extend(clear.iter().cycle().take(length as usize - 9));
    file.extend([0; 9]);
    let message = problem(&file);
    assert!(message.contains("too little data in strip 0"), "{message}");
}

#[test]
fn the_first_picture_of_a_gif_is_decoded() {
    let gif = |frame: &[u8]| [b"GIF89a\x02\0\x01\0\x80\0\0\0\0\x07\xFF\xFE\xFD", frame].concat();
    // One pixel of the second colour at column 1.
    let frame = b",\x01\0\0\0\x01\0\x01\0\0\x02\x02\x4C\x01\0;";
    let picture = Picture::decode("gif", &gif(frame)).unwrap();
    assert_eq!((picture.width(), picture.height()), (2, 1));
    assert_eq!(picture.data(), [0, 0, 7, 255, 254, 253]);
    let transparent = [b"!\xF9\x04\x01\0\0\x01\0", &frame[..]].concat();
    let picture = Picture::decode("gif", &gif(&transparent)).unwrap();
    assert_eq!(picture.data(), [255, 254, 253, 255, 254, 253]);
    assert!(problem(&gif(b";")).contains("it has no picture"));
    assert!(problem(b"GIF87b").contains("truncated"));
    assert!(problem(&gif(&frame[..12])).contains("fewer pixels than its size says"));
    let mut empty = frame.to_vec();
    empty[5] = 0;
    assert!(problem(&gif(&empty)).contains("found 0 x 1"));
    let mut bits = frame.to_vec();
    bits[10] = 13;
    assert!(problem(&gif(&bits)).contains("its pixels have 13 bits, expected at most 8"));
    let mut wide = frame.to_vec();
    wide[5..9].fill(0xFF);
    assert!(problem(&gif(&wide)).contains("found 65536 x 65535"));
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
