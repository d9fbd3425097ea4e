//! Tests of the loader: the order and content of batches, threads, and pictures that cannot be
//! read.

use std::fs;
use std::path::{Path, PathBuf};

use posterize::data::{
    Augmentation, ImageFolder, Loader, Picture, PixelBatch, Preprocessing, RandomSampler, Sampler,
    load_picture,
};
use posterize::{Error, Tensor};
use tempfile::TempDir;

const PICTURES: [&str; 7] = [
    "tall.png",
    "wide.jpg",
    "grey.jpg",
    "rgba.png",
    "progressive.jpg",
    "five_by_three.jpg",
    "palette.png",
];

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/preprocess/pictures").join(name)
}

/// Creates a folder with two classes of `count` pictures: 000.jpg, 001.jpg and so on.
fn pictures(count: usize) -> (TempDir, ImageFolder) {
    let root = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(root.path().join(class)).unwrap();
        for number in 0..count {
            let file = root.path().join(format!("{class}/{number:03}.jpg"));
            fs::copy(picture(PICTURES[number % PICTURES.len()]), file).unwrap();
        }
    }
    let folder = ImageFolder::open(root.path(), None).unwrap();
    (root, folder)
}

fn small() -> Preprocessing {
    Preprocessing::imagenet().with_sizes(20, 16)
}

#[test]
fn batches_have_the_samples_in_order() {
    let (_root, folder) = pictures(5);
    let loader = Loader::new(&folder, small()).batch_size(4).threads(3);
    let batches: Vec<_> = loader.pixels().map(Result::unwrap).collect();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.labels.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(batches[1].indices, [4, 5, 6, 7]);
    assert_eq!(batches[1].labels, [0, 1, 1, 1]);
    assert_eq!(batches[2].images.shape(), [2, 16, 16]);
    for batch in &batches {
        for (crop, &index) in batch.images.data().chunks_exact(16 * 16 * 3).zip(&batch.indices) {
            let alone = load_picture(&folder.samples()[index].path, &small()).unwrap();
            assert_eq!(crop, alone.data());
        }
    }
    let sizes = |loader: Loader| -> Vec<usize> {
        loader.pixels().map(|batch| batch.unwrap().labels.len()).collect()
    };
    assert_eq!(sizes(loader.clone().drop_last(true)), [4, 4]);
    assert_eq!(sizes(loader.clone().limit(5)), [4, 1]);
    assert_eq!(sizes(loader.clone().limit(0)), [0; 0]);
    assert_eq!(sizes(loader.clone().limit(99).batch_size(100)), [10]);
    assert_eq!(sizes(loader.limit(None).batch_size(0)), [1; 10]);
}

#[test]
fn tensors_are_the_normalized_pixels() {
    let (_root, folder) = pictures(3);
    let loader = Loader::new(&folder, small()).batch_size(6);
    let pixels = loader.pixels().next().unwrap().unwrap().images;
    let tensor = loader.tensors().next().unwrap().unwrap().images;
    assert_eq!(tensor.shape(), [6, 3, 16, 16]);
    let crops: Vec<Picture> = pixels
        .data()
        .chunks_exact(16 * 16 * 3)
        .map(|crop| Picture::new(16, 16, crop.to_vec()).unwrap())
        .collect();
    assert_eq!(small().tensor(&crops).unwrap(), tensor);
    let expected = (f32::from(pixels.data()[4]) / 255.0 - 0.456) / 0.224;
    assert_eq!(tensor.data()[4], expected);
}

#[test]
fn any_number_of_threads_gives_the_same_batches() {
    let (_root, folder) = pictures(9);
    fs::write(&folder.samples()[5].path, b"not a picture").unwrap();
    let augmentation = Augmentation::new(&small(), 3);
    let epoch = |threads: usize, epoch: u64| -> Vec<(PixelBatch, Vec<usize>)> {
        Loader::new(&folder, augmentation.clone())
            .sampler(RandomSampler { seed: 11 })
            .batch_size(4)
            .threads(threads)
            .epoch(epoch)
            .pixels()
            .map(|batch| batch.map(|b| (b.images, b.indices)).unwrap())
            .collect()
    };
    let alone = epoch(1, 0);
    assert_eq!(alone.iter().map(|(_, indices)| indices.len()).sum::<usize>(), 17);
    for threads in [0, 2, 5, 40] {
        assert!(epoch(threads, 0) == alone, "{threads} threads");
    }
    let other = epoch(2, 1);
    assert_ne!(other[0].1, alone[0].1, "another order");
    let find = |epoch: &[(PixelBatch, Vec<usize>)], sample: usize| -> Vec<u8> {
        epoch
            .iter()
            .flat_map(|(images, indices)| {
                indices.iter().zip(images.data().chunks_exact(16 * 16 * 3))
            })
            .find_map(|(&index, crop)| (index == sample).then(|| crop.to_vec()))
            .unwrap()
    };
    assert_ne!(find(&other, 1), find(&alone, 1), "another crop of the same picture");
}

#[test]
fn a_corrupt_picture_is_skipped_and_listed() {
    let (_root, folder) = pictures(5);
    let path = &folder.samples()[4].path;
    let whole = fs::read(picture("wide.jpg")).unwrap();
    fs::write(path, &whole[..whole.len() / 2]).unwrap();

    let loader = Loader::new(&folder, small()).batch_size(3).threads(2);
    let mut batches = loader.tensors();
    let drawn: Vec<Vec<usize>> = batches.by_ref().map(|batch| batch.unwrap().indices).collect();
    assert_eq!(drawn, [vec![0, 1, 2], vec![3, 5, 6], vec![7, 8, 9]], "batches are filled up");
    let [skipped] = batches.skipped() else { panic!("{:?}", batches.skipped()) };
    assert_eq!((skipped.index, &skipped.path), (4, path));
    assert!(skipped.error.to_string().contains("cat/004.jpg: truncated or corrupt JPEG"));
    assert_eq!(batches.into_skipped().len(), 1);

    let mut strict = loader.strict(true).tensors();
    assert_eq!(strict.next().unwrap().unwrap().indices, [0, 1, 2]);
    let error = strict.next().unwrap().unwrap_err();
    assert!(matches!(error, Error::Image { path: ref found, .. } if found == path), "{error}");
    assert!(strict.next().is_none(), "an error ends the iteration");
}

#[test]
fn a_deleted_picture_is_skipped_and_listed() {
    let (_root, folder) = pictures(1);
    fs::remove_file(&folder.samples()[0].path).unwrap();
    let mut batches = Loader::new(&folder, small()).tensors();
    assert_eq!(batches.by_ref().map(|batch| batch.unwrap().labels).collect::<Vec<_>>(), [[1]]);
    let error = batches.skipped()[0].error.to_string();
    assert!(error.contains("cat/000.jpg: cannot read"), "{error}");
    fs::remove_file(&folder.samples()[1].path).unwrap();
    let mut batches = Loader::new(&folder, small()).tensors();
    assert!(batches.next().is_none(), "no picture, no batch");
    assert_eq!(batches.skipped().len(), 2);
}

#[test]
fn dropping_the_batches_early_stops_the_workers() {
    let (root, folder) = pictures(100);
    let loader = Loader::new(&folder, small()).batch_size(2).threads(4);
    let mut batches = loader.tensors();
    batches.next().unwrap().unwrap();
    drop(batches);
    drop(loader.tensors());
    // The folder can be deleted because no worker opens its files.
    root.close().unwrap();
}

#[test]
fn invalid_settings_are_an_error() {
    let (_root, folder) = pictures(1);
    let mut batches = Loader::new(&folder, small().with_sizes(20, 0)).tensors();
    assert!(matches!(batches.next(), Some(Err(Error::Argument(_)))));
    assert!(batches.next().is_none());
    let reversed = Augmentation { scale: [1.0, 0.5], ..Augmentation::new(&small(), 0) };
    assert!(Loader::new(&folder, reversed).pixels().next().unwrap().is_err());
}

#[test]
fn a_sampler_may_repeat_samples_but_indices_must_be_in_range() {
    struct Own(Vec<usize>);
    impl Sampler for Own {
        fn indices(&self, _len: usize, _epoch: u64) -> Vec<usize> {
            self.0.clone()
        }
    }
    let (_root, folder) = pictures(2);
    let loader = |order: &[usize]| {
        Loader::new(&folder, small()).sampler(Own(order.to_vec())).batch_size(9).tensors()
    };
    let drawn = |mut batches: posterize::data::Batches<Tensor>| batches.next().unwrap();
    assert_eq!(drawn(loader(&[3, 3, 0])).unwrap().indices, [3, 3, 0]);
    let error = drawn(loader(&[1, 4])).unwrap_err().to_string();
    assert!(error.contains("index 4; expected indices below 4"), "{error}");
}

#[test]
fn an_epoch_continues_where_it_stopped() {
    let (root, folder) = pictures(6);
    fs::write(root.path().join("dog/001.jpg"), "no picture").unwrap();
    let augmentation = Augmentation::new(&small(), 2);
    let loader = Loader::new(&folder, augmentation)
        .sampler(RandomSampler { seed: 4 })
        .batch_size(3)
        .limit(11)
        .epoch(5);
    let mut batches = loader.tensors();
    let whole: Vec<_> = batches.by_ref().map(Result::unwrap).collect();
    assert_eq!((whole.len(), batches.skipped().len(), batches.place()), (4, 1, 11));
    for stop in 0..=whole.len() {
        let mut first = loader.tensors();
        first.by_ref().take(stop).for_each(|batch| drop(batch.unwrap()));
        let rest = loader.clone().start(first.place());
        assert_eq!(rest.len(), 11 - first.place());
        let rest: Vec<_> = rest.tensors().map(Result::unwrap).collect();
        assert_eq!(rest, whole[stop..]);
    }
    assert!(loader.start(99).is_empty());
}
