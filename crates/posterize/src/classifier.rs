//! Classifying pictures with a saved model.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "data")]
use crate::data::ExifOrientation;
use crate::data::{Class, Picture, Preprocessing};
use crate::error::{Error, Result};
use crate::format::SavedModel;
use crate::pixels::PixelView;
use crate::runtime::{Engine, Model, Options, compile};
use crate::{logits, metrics};

/// Classifies pictures: resizes and crops them, runs a network, and names the classes.
///
/// A classifier belongs to one thread at a time. A clone is for another thread, and costs little: it
/// shares the packed weights, the threads and the names, and has its own memory for activations. In a
/// server, give each worker a clone; see `examples/serve.rs`.
///
/// ```
/// # #[cfg(feature = "save")] {
/// use posterize::data::{Class, Picture, Preprocessing};
/// use posterize::format::SavedModel;
/// use posterize::nn::Sequential;
/// use posterize::ops::{Flatten, Linear};
/// use posterize::{Architecture, Classifier};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("small.safetensors");
/// let net = Sequential::new().then(Flatten).then(Linear::new(3 * 8 * 8, 2));
/// let class = |name: &str| Class { folder: name.into(), name: name.into() };
/// SavedModel::new(Architecture::trace(&net)?.init(0))
///     .with_preprocessing(Preprocessing::imagenet().with_sizes(9, 8))
///     .with_classes([class("ant"), class("bee")])
///     .save(&path)?;
///
/// let mut classifier = Classifier::open(&path)?;
/// let picture = Picture::new(30, 20, vec![200; 30 * 20 * 3])?;
/// let found = classifier.classify(&picture)?;
/// let best = found.best();
/// assert!(["ant", "bee"].contains(&best.name.unwrap()) && best.probability >= 0.5);
/// assert_eq!(found.top(5).len(), 2);
/// # }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Classifier {
    engine: Engine,
    preprocessing: Arc<Preprocessing>,
    classes: Arc<[Class]>,
}

impl Classifier {
    /// Reads a saved model, float or int8, and compiles it for all processors.
    ///
    /// # Errors
    /// Returns the errors of [`SavedModel::open`] and [`Classifier::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let saved = SavedModel::open(path)?;
        Self::new(saved, Options::all_threads()?).map_err(|error| error.of_file(path))
    }

    /// Compiles a model with options. A float model is fused first.
    ///
    /// Servers that classify several pictures at once should use `Options::new(1)` and a clone for each
    /// thread.
    ///
    /// # Errors
    /// Returns an error if the model has no preprocessing, several inputs or outputs, or another output
    /// than `[N, classes]`, and the errors of [`compile`].
    pub fn new(saved: SavedModel, options: Options) -> Result<Self> {
        let SavedModel { name, model, preprocessing, classes, .. } = saved;
        let preprocessing = preprocessing.ok_or_else(|| {
            Error::Argument(format!(
                "the model {name:?} has no preprocessing of its pictures; add it with \
                 SavedModel::with_preprocessing"
            ))
        })?;
        preprocessing.validate()?;
        let model = match model {
            Model::Float(float) => Model::Float(float.fuse()?),
            int8 @ Model::Quantized(_) => int8,
        };
        let mut engine = compile(model, options.pictures(&preprocessing))?;
        engine.check_one_output()?;
        let [height, width] = preprocessing.crop;
        let output = engine.output_shape([1, 3, height, width])?;
        let fits = logits::shape(&output).is_some_and(|[_, outputs]| {
            outputs > 0 && (classes.is_empty() || classes.len() == outputs)
        });
        if !fits {
            return Err(Error::shape(
                &engine.model().graph().outputs()[0].name,
                format!(
                    "expected an output [1, classes] with as many values as there are classes ({}), \
                     found {output:?}",
                    classes.len()
                ),
            ));
        }
        Ok(Self { engine, preprocessing: Arc::new(preprocessing), classes: classes.into() })
    }

    /// Resizes, crops and classifies a picture.
    ///
    /// # Errors
    /// Returns [`Error::NotFinite`] if a logit is NaN or infinite, and the errors of [`Engine::run`].
    pub fn classify(&mut self, picture: &Picture) -> Result<Classification> {
        self.classify_crop(&self.preprocessing.apply(picture))
    }

    /// Reads a picture from a file, turns it as its EXIF orientation says and classifies it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or decoded, and the errors of
    /// [`Classifier::classify`].
    #[cfg(feature = "data")]
    pub fn classify_file(&mut self, path: impl AsRef<Path>) -> Result<Classification> {
        self.classify(&Picture::open_with(path, ExifOrientation::Applied)?)
    }

    /// Decodes a picture from the bytes of a file, such as the body of a request, turns it as its EXIF
    /// orientation says and classifies it. `name` is its name in errors.
    ///
    /// # Errors
    /// Returns an error if the bytes cannot be decoded, and the errors of [`Classifier::classify`].
    #[cfg(feature = "data")]
    pub fn classify_bytes(
        &mut self,
        name: impl AsRef<Path>,
        bytes: &[u8],
    ) -> Result<Classification> {
        self.classify(&Picture::decode_with(name, bytes, ExifOrientation::Applied)?)
    }

    /// Classifies decoded 8-bit RGB pixels of shape `[height, width, 3]`.
    ///
    /// # Errors
    /// Returns an error if there are not `height * width * 3` bytes, and the errors of
    /// [`Classifier::classify`].
    pub fn classify_rgb(
        &mut self,
        width: usize,
        height: usize,
        rgb: &[u8],
    ) -> Result<Classification> {
        self.classify(&Picture::new(width, height, rgb.to_vec())?)
    }

    /// Classifies a picture that [`Preprocessing::apply`] has resized and cropped.
    ///
    /// # Errors
    /// Returns an error if the picture does not have the size of the crop, and the errors of
    /// [`Classifier::classify`].
    pub fn classify_crop(&mut self, crop: &Picture) -> Result<Classification> {
        let [height, width] = self.preprocessing.crop;
        if [crop.height(), crop.width()] != [height, width] {
            return Err(Error::shape(
                "crop",
                format!(
                    "expected a crop of {width} x {height} pixels, found {} x {}; call \
                     Classifier::classify, which resizes and crops",
                    crop.width(),
                    crop.height()
                ),
            ));
        }
        let logits = logits::run(&mut self.engine, PixelView::from(crop).into())?.into_data();
        let probabilities = metrics::softmax(&logits);
        Ok(Classification { logits, probabilities, classes: Arc::clone(&self.classes) })
    }

    /// Returns the preprocessing of the pictures.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns the classes in the order of the logits; empty if they are not known.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Returns the engine, for batches and profiles.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// The result of classifying one picture.
///
/// ```
/// # use posterize::{Architecture, Classifier, data::{Picture, Preprocessing}, format::SavedModel};
/// # use posterize::{nn::Sequential, ops::{Flatten, Linear}, runtime::Options};
/// # let net = Sequential::new().then(Flatten).then(Linear::new(3 * 8 * 8, 4));
/// # let preprocessing = Preprocessing::imagenet().with_sizes(8, 8);
/// # let saved = SavedModel::new(Architecture::trace(&net)?.init(0)).with_preprocessing(preprocessing);
/// # let mut classifier = Classifier::new(saved, Options::new(1)?)?;
/// let picture = Picture::new(8, 8, vec![90; 8 * 8 * 3])?;
/// let found = classifier.classify(&picture)?;
/// assert_eq!(found.logits().len(), 4);
/// assert!((found.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-9);
/// assert_eq!(found.top(2)[0], found.best());
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    logits: Vec<f32>,
    probabilities: Vec<f64>,
    classes: Arc<[Class]>,
}

/// A class and its probability.
///
/// ```
/// # use posterize::{Architecture, Classifier, data::{Picture, Preprocessing}, format::SavedModel};
/// # use posterize::{nn::Sequential, ops::{Flatten, Linear}, runtime::Options};
/// # let net = Sequential::new().then(Flatten).then(Linear::new(3 * 8 * 8, 4));
/// # let preprocessing = Preprocessing::imagenet().with_sizes(8, 8);
/// # let saved = SavedModel::new(Architecture::trace(&net)?.init(0)).with_preprocessing(preprocessing);
/// # let mut classifier = Classifier::new(saved, Options::new(1)?)?;
/// let picture = Picture::new(8, 8, vec![90; 8 * 8 * 3])?;
/// for prediction in classifier.classify(&picture)?.top(2) {
///     // The names are known if the model was saved with its classes.
///     println!("{} {:?}: {:.3}", prediction.class, prediction.name, prediction.probability);
/// }
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction<'a> {
    /// The class number, counted from 0.
    pub class: usize,
    /// The name of the class's folder; `None` if the model does not know its classes.
    pub folder: Option<&'a str>,
    /// The readable name of the class; `None` if the model does not know its classes.
    pub name: Option<&'a str>,
    /// The softmax of the logits, 0 to 1.
    pub probability: f64,
    /// The logit.
    pub logit: f32,
}

impl Classification {
    /// Returns the `k` most probable classes, most probable first; all classes if there are fewer.
    pub fn top(&self, k: usize) -> Vec<Prediction<'_>> {
        let best = metrics::topk(&self.logits, k);
        best.into_iter().map(|(class, _)| self.prediction(class)).collect()
    }

    /// Returns the most probable class.
    pub fn best(&self) -> Prediction<'_> {
        let best = metrics::topk(&self.logits, 1);
        // A classifier has at least one class.
        self.prediction(best.first().map_or(0, |&(class, _)| class))
    }

    /// Returns the logits of all classes. Of a network that ends in a softmax, these are the logarithms of
    /// the probabilities.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Returns the probabilities of all classes, which sum to 1.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    fn prediction(&self, class: usize) -> Prediction<'_> {
        let known = self.classes.get(class);
        Prediction {
            class,
            folder: known.map(|class| class.folder.as_str()),
            name: known.map(|class| class.name.as_str()),
            probability: self.probabilities[class],
            logit: self.logits[class],
        }
    }
}
