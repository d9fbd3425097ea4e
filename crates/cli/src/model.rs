//! The model that a command works on: an architecture by its name, with weights, or a saved model.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use posterize::{
    Architecture, Error, FloatModel, LoadOptions, LoadReport, StateDict,
    checkpoint::{Contents, MismatchCause, ReadOptions, StateDictMismatch},
    data::Preprocessing,
    format::SavedModel,
    import::onnx::OnnxOptions,
    models::{self, Config},
    ops::Activation,
};

use crate::{
    args::CacheArgs,
    embedded,
    error::{CliError, Result},
    fetch::{Fetcher, Item},
    loaded::{Loaded, precision},
    onnx::{self, OnnxFile},
    paths::Paths,
    preprocessing::{PreprocessingArgs, uncropped},
    ui::{Ui, Verbosity},
};

/// The help of MODEL in commands that need a float model.
pub(crate) const FLOAT_MODEL_HELP: &str = "\
mobilenet_v2, tf_mobilenet_v2, efficientnet_lite0 to efficientnet_lite4, resnet18, resnet50 or \
fashion_mobilenet_v2; or the path of an ONNX file, or of a float model that `posterize train` wrote";

/// The arguments that name a model.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// mobilenet_v2, tf_mobilenet_v2, efficientnet_lite0 to efficientnet_lite4, resnet18, resnet50 or
    /// fashion_mobilenet_v2; or the path of an ONNX file (.onnx), or of a model that `posterize train` or
    /// `posterize quantize` wrote
    #[arg(value_name = "MODEL", value_parser = ModelName, hide_possible_values = true)]
    pub(crate) name: String,

    /// Checkpoint with the weights: PyTorch (.pth, zip or legacy) or safetensors
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// Activation function to use instead of the published one, ReLU6 in the MobileNets
    #[arg(long, value_enum)]
    activation: Option<ActivationName>,

    /// Number of classes [default: that of the published model]
    #[arg(long, value_name = "N")]
    pub(crate) num_classes: Option<usize>,

    /// Factor for the number of channels of every layer, MobileNets only [default: that of the
    /// published model]
    #[arg(long, value_name = "FACTOR")]
    width_mult: Option<f64>,

    /// Use the averaged weights (EMA) of --weights, which are under state_dict_ema, model_ema or a
    /// similar key
    #[arg(long)]
    ema: bool,

    /// Ignore keys in --weights that the model does not have, such as a profiler's total_ops
    #[arg(long)]
    ignore_extra: bool,

    /// Values of an ONNX file to take as the outputs instead of its own, such as those before a
    /// detector's post-processing
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    outputs: Vec<String>,

    #[command(flatten)]
    pictures: PreprocessingArgs,
}

/// Accepts any text, because it may be a path, and offers the architectures to the completion of shells.
#[derive(Clone)]
struct ModelName;

impl TypedValueParser for ModelName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(models::names().map(PossibleValue::new)))
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationName {
    Relu,
    Relu6,
}

/// Whether a command needs to know how the values of pictures are normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Normalization {
    Needed,
    /// Any will do, for example to time a network.
    Any,
}

/// Whether `name` is an architecture.
fn is_architecture(name: &str) -> bool {
    models::names().any(|known| known == name)
}

impl ModelArgs {
    /// Whether the name is the path of a saved model and not an architecture.
    pub(crate) fn is_file(&self) -> bool {
        !is_architecture(&self.name)
            && (self.name.contains(['/', '\\', '.']) || Path::new(&self.name).exists())
    }

    /// Whether the name is the path of a checkpoint of weights, which is no saved model.
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.is_file() && Contents::can_list(&self.name)
    }

    /// Returns which weights of a checkpoint are read.
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions::new().averaged(self.ema)
    }

    /// Returns the files of the arguments, as files that a command reads.
    pub(crate) fn paths(&self) -> Paths {
        let model = self.is_file().then(|| PathBuf::from(&self.name));
        let paths = Paths::default().reads("MODEL", &model).reads("--weights", &self.weights);
        self.pictures.paths(paths)
    }

    /// Returns the float network to compare the saved int8 model `saved` with: the architecture
    /// `against`, or the network that the int8 one was made from with the weights of the file
    /// `against`.
    pub(crate) fn reference(
        &self,
        against: &str,
        saved: &SavedModel,
        cache: &CacheArgs,
        ui: &Ui,
    ) -> Result<FloatModel> {
        let of_architecture = |name: &str, weights: Option<PathBuf>| -> Result<FloatModel> {
            let num_classes = self.num_classes.or(saved.outputs());
            Self { name: name.to_owned(), weights, num_classes, ..self.clone() }
                .with_trained_weights(cache, ui)?
                .into_float()
        };
        if is_architecture(against) {
            return of_architecture(against, self.weights.clone());
        }
        let Some(graph) = &saved.float_graph else {
            // Files of format versions 1 and 2 have only the name of the architecture.
            return of_architecture(&saved.name, Some(against.into()));
        };
        self.refuse_architecture_options()?;
        let state = StateDict::open_with(against, &self.read_options())?;
        // The names that checkpoints of a known architecture may have.
        let known = models::config(&saved.name)
            .and_then(|config| models::by_name(&saved.name, &config))
            .map_or(Vec::new(), |known| known.namings().to_vec());
        let architecture =
            known.into_iter().fold(Architecture::from(graph.clone()), Architecture::also_named);
        let options = LoadOptions::new();
        self.load_into(&architecture, &state, Path::new(against), &options, ui)
            .map(|(model, _)| model)
    }

    /// Returns the arguments of another model, with the same options. A saved model has no options.
    pub(crate) fn other(&self, name: &str, weights: Option<PathBuf>) -> Self {
        let has_weights = weights.is_some();
        let other = Self {
            name: name.to_owned(),
            weights,
            ema: self.ema && has_weights,
            ignore_extra: self.ignore_extra && has_weights,
            ..self.clone()
        };
        if other.is_file() {
            let (ema, ignore_extra) = (false, false);
            Self {
                activation: None,
                num_classes: None,
                width_mult: None,
                ema,
                ignore_extra,
                ..other
            }
        } else {
            other
        }
    }

    /// Returns the network without weights.
    pub(crate) fn architecture(&self) -> Result<Architecture> {
        let published = models::config(&self.name)?;
        let config = Config {
            num_classes: self.num_classes.unwrap_or(published.num_classes),
            width_mult: self.width_mult.unwrap_or(published.width_mult),
            activation: self.activation.map(|activation| match activation {
                ActivationName::Relu => Activation::ReLU,
                ActivationName::Relu6 => Activation::ReLU6,
            }),
            ..published
        };
        Ok(models::by_name(&self.name, &config)?)
    }

    /// Returns the preprocessing that the published checkpoint was trained with, with the parts
    /// replaced that were given as options.
    pub(crate) fn preprocessing(&self) -> Result<Preprocessing> {
        self.refuse_onnx_options()?;
        self.pictures.apply(&models::preprocessing(&self.name)?)
    }

    /// Returns the first option of the preprocessing that was given.
    pub(crate) fn given_preprocessing(&self) -> Option<&'static str> {
        self.pictures.given()
    }

    /// Reads the saved model or the ONNX file. Height and width are `size` where an ONNX file leaves
    /// them open.
    pub(crate) fn saved(&self, size: Option<[usize; 2]>, ui: &Ui) -> Result<OnnxFile> {
        self.refuse_options()?;
        if onnx::is_onnx(&self.name) {
            let mut options = OnnxOptions::new();
            if let Some([height, width]) = size.or(self.pictures.crop()) {
                options = options.size(height, width);
            }
            if let Some(layout) = self.pictures.layout() {
                options = options.layout(layout);
            }
            let options = self.outputs.iter().fold(options, OnnxOptions::output);
            return onnx::open(&self.name, &options, ui);
        }
        self.refuse_onnx_options()?;
        let saved = SavedModel::open(&self.name)?;
        let crop = saved.preprocessing.as_ref().map(|preprocessing| preprocessing.crop);
        let input = crop.map(|[height, width]| [3, height, width]);
        Ok(OnnxFile { saved, input, takes_pixels: false, inputs: Vec::new() })
    }

    /// Returns an error if an option was given that is for ONNX files.
    fn refuse_onnx_options(&self) -> Result<()> {
        let given = [
            ("--layout", self.pictures.layout().is_some()),
            ("--outputs", !self.outputs.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(CliError::Usage(format!(
                "{}: {option} is for ONNX files; remove it",
                self.name
            ))),
        }
    }

    /// Returns an error if the model is a saved one and an option says what the file says, or is for
    /// --weights.
    fn refuse_options(&self) -> Result<()> {
        self.refuse_architecture_options()?;
        self.refuse_with_file(&[("--ema", self.ema), ("--ignore-extra", self.ignore_extra)])
    }

    /// Returns an error if the model is a saved one and an option says what the file says.
    fn refuse_architecture_options(&self) -> Result<()> {
        self.refuse_with_file(&[
            ("--weights", self.weights.is_some()),
            ("--activation", self.activation.is_some()),
            ("--num-classes", self.num_classes.is_some()),
            ("--width-mult", self.width_mult.is_some()),
        ])
    }

    /// Returns an error if the model is a saved one and one of these options was given.
    pub(crate) fn refuse_with_file(&self, options: &[(&str, bool)]) -> Result<()> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) if self.is_file() => Err(CliError::Usage(format!(
                "{}: {option} cannot be used with a saved model, which has its own; remove the option",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the saved model, or the network with the weights of `--weights`, or else with random
    /// weights that are the same every time.
    pub(crate) fn with_given_weights(&self, ui: &Ui) -> Result<Loaded> {
        if self.is_file() {
            return self.of_file(Normalization::Any, ui);
        }
        if let Some(file) = &self.weights {
            return self.load(file.clone(), &LoadOptions::new(), ui);
        }
        self.refuse_without_weights()?;
        self.loaded(self.architecture()?.init(0), None)
    }

    /// Returns an error if an option for the file of --weights was given without it.
    fn refuse_without_weights(&self) -> Result<()> {
        for (option, given) in [("--ema", self.ema), ("--ignore-extra", self.ignore_extra)] {
            if given {
                return Err(CliError::Usage(format!(
                    "{option} is for the file of --weights; pass --weights FILE, or leave it out"
                )));
            }
        }
        Ok(())
    }

    /// Returns the saved model, or the network with the weights of `--weights`, or else with the
    /// published weights, which are built in or downloaded.
    pub(crate) fn with_trained_weights(&self, cache: &CacheArgs, ui: &Ui) -> Result<Loaded> {
        self.with_weights(&LoadOptions::new(), cache, ui)
    }

    fn with_weights(&self, options: &LoadOptions, cache: &CacheArgs, ui: &Ui) -> Result<Loaded> {
        if self.is_file() {
            return self.of_file(Normalization::Needed, ui);
        }
        if let Some(file) = &self.weights {
            return self.load(file.clone(), options, ui);
        }
        self.refuse_without_weights()?;
        // So that a wrong name is reported as such, and not as missing weights.
        self.architecture()?;
        let item = match self.name.as_str() {
            embedded::MODEL => {
                let file = embedded::WEIGHTS_NAME.into();
                return self.with_state(&embedded::weights()?, file, options, ui);
            }
            "efficientnet_lite0" => Item::EfficientnetLite0,
            "mobilenet_v2" => Item::MobilenetV2,
            name => {
                return Err(CliError::Usage(format!(
                    "{name}: posterize has no weights of this model to download; pass a checkpoint \
                     with --weights FILE"
                )));
            }
        };
        self.load(Fetcher::new(cache)?.fetch_and_report(item, ui)?.path, options, ui)
    }

    /// Returns the float network to train, with the weights of `--weights`. Without that option it has
    /// random weights from `seed` in float training, and the published weights in QAT. A classifier for
    /// another number of classes starts at random.
    pub(crate) fn to_train(
        &self,
        qat: bool,
        seed: u64,
        cache: &CacheArgs,
        ui: &Ui,
    ) -> Result<Loaded> {
        if qat || self.weights.is_some() || self.is_file() {
            self.with_weights(&LoadOptions::new().new_classifier(seed), cache, ui)
        } else {
            self.refuse_without_weights()?;
            self.loaded(self.architecture()?.init(seed), None)
        }
    }

    /// Returns the saved model or the network of an ONNX file. Options of the preprocessing replace
    /// parts of what it was saved with.
    fn of_file(&self, normalization: Normalization, ui: &Ui) -> Result<Loaded> {
        let file = &self.name;
        let OnnxFile { saved, input, takes_pixels, .. } = self.saved(None, ui)?;
        let SavedModel { name, model: mut network, preprocessing, classes, .. } = saved;
        let mut preprocessing = match preprocessing {
            Some(saved) => {
                let applied = self.pictures.apply(&saved)?;
                if applied != saved {
                    ui.note(format_args!("{file}: pictures: {applied}; the file has: {saved}"));
                }
                applied
            }
            None if onnx::is_onnx(file) => {
                self.preprocessing_of_onnx(input, takes_pixels, normalization)?
            }
            None => self.pictures.complete(None, false)?.ok_or_else(|| {
                CliError::Usage(format!(
                    "{file}: the saved model has no preprocessing of its pictures; pass it with \
                     --crop, --mean and --std, or write it into the file with `posterize train`, \
                     `posterize quantize` or, in Rust, SavedModel::with_preprocessing"
                ))
            })?,
        };
        if onnx::is_onnx(file)
            && let Some(float) = network.as_float()
            && float.input_normalization().is_some()
        {
            let (folded, all) = float.fold_normalization(&preprocessing)?;
            (network, preprocessing) = (folded.into(), all);
            ui.note(format_args!("{file}: with the network's own normalization: {preprocessing}"));
        }
        let name = match network.as_float() {
            Some(_) => name,
            None => format!("{name} {}", precision(&network)),
        };
        let [height, width] = preprocessing.crop;
        // The options may say another size, except of a network that takes no pictures.
        let input = match input {
            Some(other @ [channels, ..]) if channels != 3 => other,
            _ => [3, height, width],
        };
        let (file, new_modules) = (Some(file.into()), Vec::new());
        Ok(Loaded { name, file, new_modules, network, preprocessing, classes, input })
    }

    /// Returns the preprocessing for an ONNX file that has none.
    fn preprocessing_of_onnx(
        &self,
        input: Option<[usize; 3]>,
        takes_pixels: bool,
        normalization: Normalization,
    ) -> Result<Preprocessing> {
        let size = input.filter(|[channels, ..]| *channels == 3).map(|[_, h, w]| [h, w]);
        match (self.pictures.complete(size, takes_pixels)?, normalization) {
            (Some(complete), _) if size.is_some() => Ok(complete),
            (_, Normalization::Any) => {
                Ok(uncropped(input.map_or([1, 1], |[_, height, width]| [height, width])))
            }
            _ => Err(onnx::ask_for_preprocessing(&self.name, input)),
        }
    }

    fn load(&self, weights: PathBuf, options: &LoadOptions, ui: &Ui) -> Result<Loaded> {
        self.with_state(
            &StateDict::open_with(&weights, &self.read_options())?,
            weights,
            options,
            ui,
        )
    }

    fn with_state(
        &self,
        state: &StateDict,
        weights: PathBuf,
        options: &LoadOptions,
        ui: &Ui,
    ) -> Result<Loaded> {
        let (model, report) =
            self.load_into(&self.architecture()?, state, &weights, options, ui)?;
        let names = report.initialized.iter().filter_map(|new| new.name.rsplit_once('.'));
        let mut new_modules: Vec<String> = names.map(|(module, _)| module.to_owned()).collect();
        new_modules.dedup();
        Ok(Loaded { new_modules, ..self.loaded(model, Some(weights))? })
    }

    /// Loads the weights of the file `weights` into a network, and prints what is notable about them.
    fn load_into(
        &self,
        architecture: &Architecture,
        state: &StateDict,
        weights: &Path,
        options: &LoadOptions,
        ui: &Ui,
    ) -> Result<(FloatModel, LoadReport)> {
        let selection = state.selection();
        if selection.has_others() {
            let offer = !self.ema && !selection.averaged.is_empty();
            let offer = if offer { " (--ema uses the averaged ones)" } else { "" };
            ui.note(format_args!("{}: {selection}{offer}", weights.display()));
        }
        let options = options.clone().ignore_extra(self.ignore_extra);
        let (model, report) =
            architecture.load_with(state, &options).map_err(|error| match error {
                Error::StateDict(mismatch) => CliError::Mismatch {
                    path: weights.to_path_buf(),
                    advice: advice(&mismatch),
                    mismatch,
                    max_lines: if ui.verbosity() >= Verbosity::Verbose {
                        usize::MAX
                    } else {
                        MAX_LINES
                    },
                },
                error => CliError::Weights { path: weights.to_path_buf(), source: Box::new(error) },
            })?;
        for note in notes(&report) {
            ui.note(format_args!("{}: {note}", weights.display()));
        }
        for tensor in state.non_finite() {
            ui.warn(format_args!(
                "{}: {} contains {} NaN and {} infinite values, so results will be wrong; check the \
                 checkpoint",
                weights.display(),
                tensor.name,
                tensor.nan,
                tensor.infinite
            ));
        }
        Ok((model, report))
    }

    fn loaded(&self, model: FloatModel, file: Option<PathBuf>) -> Result<Loaded> {
        let preprocessing = self.preprocessing()?;
        Ok(Loaded {
            name: self.name.clone(),
            file,
            new_modules: Vec::new(),
            network: model.into(),
            input: [3, preprocessing.crop[0], preprocessing.crop[1]],
            preprocessing,
            classes: Vec::new(),
        })
    }
}

/// The largest number of differences between weights and a network that are listed without `-v`.
const MAX_LINES: usize = 20;

/// Returns what to do about weights that do not fit, with options of this program, as a sentence; empty
/// if that is not known.
fn advice(mismatch: &StateDictMismatch) -> String {
    let mut advice = match mismatch.cause {
        Some(MismatchCause::NumClasses { file, .. }) => format!(
            "Pass --num-classes {file}, or train a new classifier with `posterize train --weights`"
        ),
        Some(MismatchCause::NoClassifier) => {
            "Train a new one with `posterize train --weights`".into()
        }
        Some(MismatchCause::ExtraKeys) => return "--ignore-extra ignores them.".into(),
        _ => return String::new(),
    };
    if !mismatch.unexpected.is_empty() {
        advice += "; --ignore-extra ignores unexpected keys";
    }
    advice + "."
}

/// Returns what was changed when weights were loaded, in sentences.
fn notes(report: &LoadReport) -> Vec<String> {
    let mut notes = Vec::new();
    if !report.prefix.is_empty() {
        notes.push(format!(
            "the names begin with `{}`, which was removed",
            report.prefix.escape_debug()
        ));
    }
    if let Some(renamed) = &report.renamed
        && let Some((theirs, ours)) = renamed.tensors.first()
    {
        let remark = if renamed.remark.is_empty() { "" } else { "; " };
        notes.push(format!(
            "the names are those of {}: {} tensors were renamed, such as {theirs} to {ours}{remark}{}",
            renamed.source,
            renamed.tensors.len(),
            renamed.remark
        ));
    }
    if !report.ignored.is_empty() {
        const SHOWN: usize = 20;
        let shown = |key: &String| format!("{:.100}", key.escape_debug().to_string());
        let mut keys: Vec<String> = report.ignored.iter().take(SHOWN).map(shown).collect();
        if report.ignored.len() > SHOWN {
            keys.push(format!("and {} more", report.ignored.len() - SHOWN));
        }
        notes.push(format!("{} keys are ignored: {}", report.ignored.len(), keys.join(", ")));
    }
    if !report.initialized.is_empty() {
        let tensors: Vec<String> = report
            .initialized
            .iter()
            .map(|new| match &new.replaced {
                Some(found) => format!("{} {:?} (the file has {found:?})", new.name, new.shape),
                None => format!("{} {:?} (not in the file)", new.name, new.shape),
            })
            .collect();
        notes.push(format!("a new classifier starts at random: {}", tensors.join(", ")));
    }
    notes
}
