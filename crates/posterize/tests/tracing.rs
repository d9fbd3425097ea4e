//! Tests of the spans and their fields.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use posterize::data::{ImageFolder, Loader, Preprocessing};
use posterize::format::SavedModel;
use posterize::nn::{Flatten, Sequential};
use posterize::ops::{Activation, Conv2d, Linear};
use posterize::quantization::{QConfig, QConfigMapping};
use posterize::runtime::{Options, compile};
use posterize::training::{Network, TrainOptions, Trainer, Watch};
use posterize::{Architecture, FloatModel, StateDict, Tensor};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down each span that is entered: its level, its name and its fields, indented by its depth.
#[derive(Default)]
struct Collector {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    made: Vec<(Id, String)>,
    entered: Vec<Id>,
    lines: Vec<String>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.0, " {field}={value}");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("posterize")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = Id::from_u64(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let mut line = format!("{} {}", span.metadata().level(), span.metadata().name());
        span.record(&mut Fields(&mut line));
        self.state.lock().unwrap().made.push((id.clone(), line));
        id
    }

    fn enter(&self, span: &Id) {
        let mut state = self.state.lock().unwrap();
        let found = state.made.iter().find(|(id, _)| id == span).unwrap();
        let line = format!("{}{}", "  ".repeat(state.entered.len()), found.1);
        state.lines.push(line);
        state.entered.push(span.clone());
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.state.lock().unwrap().entered.pop().as_ref(), Some(span));
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

/// Returns the spans that are entered on this thread meanwhile.
fn spans(run: impl FnOnce()) -> Vec<String> {
    let collector = Arc::new(Collector::default());
    tracing::subscriber::with_default(Arc::clone(&collector), run);
    let state = collector.state.lock().unwrap();
    assert!(state.entered.is_empty());
    state.lines.clone()
}

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(file)
}

/// Five nodes with the input, four of them once the ReLU is fused.
fn model() -> FloatModel {
    let net = Sequential::new().then(Conv2d::new(3, 8, 3)).then(Activation::ReLU).then(Flatten);
    Architecture::trace(&net.then(Linear::new(8 * 36, 2))).unwrap().init(1)
}

#[test]
fn loading_and_planning_name_the_file_and_the_layers() {
    let path = testdata("format_v1/fbgemm.safetensors");
    let mut layers = 0;
    let found = spans(|| {
        let model = SavedModel::open(&path).unwrap().model;
        layers = model.graph().nodes().len();
        let mut engine = compile(&model, Options::new(1).unwrap()).unwrap();
        for batch in [1, 2, 1] {
            engine.run(&Tensor::zeros([batch, 3, 32, 32])).unwrap();
        }
    });
    let load = format!("INFO load path={}", path.display());
    assert_eq!(found, [load, format!("INFO plan layers={layers}")], "one plan for all batches");

    let path = testdata("checkpoints/weights.safetensors");
    let found = spans(|| drop(StateDict::open(&path).unwrap()));
    assert_eq!(found, [format!("INFO load path={}", path.display())]);
}

#[test]
fn calibration_has_a_span_for_each_batch() {
    let mut observed =
        model().fuse().unwrap().prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
    let batches = [2, 1].map(|pictures| Ok(Tensor::zeros([pictures, 3, 8, 8])));
    let found = spans(|| {
        observed.calibrate(Options::new(1).unwrap(), batches).unwrap();
        observed.convert().unwrap();
    });
    assert_eq!(
        found,
        [
            "INFO calibrate layers=4",
            "  DEBUG batch batch=0 pictures=2",
            "    INFO plan layers=4",
            "  DEBUG batch batch=1 pictures=1",
            "INFO convert layers=4",
        ]
    );
}

#[test]
fn training_has_a_span_for_each_epoch_and_batch() {
    struct Silent;
    impl Watch for Silent {}

    let root = tempfile::tempdir().unwrap();
    for class in ["ant", "bee"] {
        std::fs::create_dir(root.path().join(class)).unwrap();
        std::fs::write(root.path().join(class).join("0.ppm"), b"P6 1 1 255 rgb").unwrap();
    }
    let folder = ImageFolder::open(root.path(), None).unwrap();
    let small = Preprocessing::imagenet().with_sizes(8, 8);
    let loader = Loader::new(&folder, small).threads(1);
    let options = Options::new(1).unwrap();
    let network = Network::float(&model(), options).unwrap();
    let settings = TrainOptions { epochs: 2, batches: None, batch_size: 1, ..Default::default() };
    let mut trainer = Trainer::new(network, &loader, &loader, settings, options).unwrap();
    let mut found = spans(|| {
        trainer.run(&mut Silent).unwrap();
    });
    // The engine of the validation plans too.
    found.retain(|line| !line.trim_start().starts_with("INFO plan"));
    assert_eq!(
        found,
        [
            "INFO epoch epoch=0",
            "  DEBUG batch batch=0 pictures=1",
            "  DEBUG batch batch=1 pictures=1",
            "INFO epoch epoch=1",
            "  DEBUG batch batch=0 pictures=1",
            "  DEBUG batch batch=1 pictures=1",
        ]
    );
}
