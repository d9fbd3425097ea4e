//! Decodes the pictures whose names it reads, a line each, and prints of each one line: its width,
//! height and the CRC-32 of its pixels, or `refused` and why. `testdata/decode/generate.py` compares
//! them with Pillow's.

use std::io::{self, BufRead, Write};

use posterize::data::Picture;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for name in io::stdin().lock().lines() {
        match Picture::open(name?) {
            Ok(picture) => {
                let digest = crc32fast::hash(picture.data());
                writeln!(out, "{} {} {digest:08x}", picture.width(), picture.height())?;
            }
            Err(error) => writeln!(out, "refused {}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}
