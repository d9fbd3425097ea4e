//! A small network with a checkpoint and a folder of pictures, for tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use posterize::{
    FloatModel,
    models::{self, Config},
};
use tempfile::TempDir;

use crate::support::{noise, posterize};

/// MobileNetV2 with a width multiplier of 0.1 and three classes, and twelve pictures.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) model: FloatModel,
}

pub(crate) const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = models::mobilenet_v2(&config()).unwrap().init(3);
        model.state_dict().save_safetensors(folder.path().join("small.safetensors")).unwrap();
        for (number, class) in CLASSES.iter().enumerate() {
            for picture in 0..4 {
                let path = folder.path().join(format!("data/{class}/{picture}.ppm"));
                write_picture(&path, [40 + 60 * number, 90], (10 * number + picture) as u64);
            }
        }
        Self { folder, model }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Returns `posterize COMMAND mobilenet_v2` with the options of the small network.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut posterize = posterize(&self.path("cache"));
        posterize.args([command, "mobilenet_v2", "--num-classes", "3", "--width-mult", "0.1"]);
        posterize
    }

    /// Returns `posterize evaluate` with the checkpoint and the pictures.
    pub(crate) fn evaluate(&self) -> Command {
        let mut command = self.command("evaluate");
        command.arg("--weights").arg(self.path("small.safetensors")).arg("--data").arg(self.data());
        command
    }
}

pub(crate) fn config() -> Config {
    Config { num_classes: 3, width_mult: 0.1, ..Config::default() }
}

/// Writes a picture of noise in PPM format.
fn write_picture(path: &Path, [height, width]: [usize; 2], seed: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
    bytes.extend(noise(3 * height * width, seed));
    fs::write(path, bytes).unwrap();
}
