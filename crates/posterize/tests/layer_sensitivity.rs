//! The sensitivity of layers of a saved int8 network, compared with that of one that was just calibrated.

use std::sync::Arc;

use posterize::models::{self, Config};
use posterize::ops::{Linear, Role};
use posterize::quantization::{
    Equalization, LayerSensitivity, ObserverSpec, PostTraining, QConfig, QConfigMapping, Remedy,
    Rounding, Sensitivity,
};
use posterize::report::layer_sensitivity;
use posterize::runtime::Options;
use posterize::{Architecture, FloatModel, Tensor};

fn pictures(count: usize, seed: usize) -> Tensor {
    let values = (0..count * 3 * 48 * 48).map(|i| ((i * 7919 + seed) % 1009) as f32 / 252.0 - 2.0);
    Tensor::new([count, 3, 48, 48], values.collect()).unwrap()
}

fn both(model: &FloatModel, qconfig: QConfig, passes: &PostTraining) -> [Sensitivity; 2] {
    let options = Options::new(2).unwrap();
    let mapping = QConfigMapping::global(qconfig).set_module_name("features.5.conv.1", None);
    let result = model.quantize(&mapping, passes, options, &mut vec![pictures(6, 0)]).unwrap();
    let batches = [vec![pictures(4, 77)]];
    let direct = result.sensitivity(&batches, None, options, &mut |_, _| ()).unwrap();
    let mut steps = Vec::new();
    let progress = &mut |done, total| steps.push((done, total));
    let float = model.fuse().unwrap();
    let saved =
        layer_sensitivity(&float, &result.model, &batches, None, options, progress).unwrap();
    assert_eq!(steps.last(), Some(&(direct.layers.len(), direct.layers.len())));
    [direct, saved]
}

#[test]
fn a_saved_network_has_the_sensitivities_of_the_calibrated_one() {
    let config = Config { num_classes: 10, width_mult: 0.25, ..Config::default() };
    let model = models::mobilenet_v2(&config).unwrap().init(3);
    let recommended = PostTraining::recommended();
    let adaround =
        recommended.clone().equalization(Equalization::Never).rounding(Rounding::AdaRound);
    for (qconfig, passes, tolerance) in [
        (QConfig::recommended(), recommended.clone().equalization(Equalization::Never), 1e-6),
        (QConfig::recommended(), recommended.equalization(Equalization::Always), 0.2),
        (QConfig::fbgemm(), adaround, 1e-6),
        (QConfig::default_qconfig(), PostTraining::pytorch(), 1e-6),
    ] {
        let [direct, saved] = both(&model, qconfig, &passes);
        assert_eq!(direct.pictures, saved.pictures);
        assert!((direct.int8.sqnr_db - saved.int8.sqnr_db).abs() < tolerance, "{passes:?}");
        for layer in &direct.layers {
            let other = saved.layers.iter().find(|other| other.name == layer.name).unwrap();
            for (a, b) in
                [(&layer.only_int8, &other.only_int8), (&layer.only_float, &other.only_float)]
            {
                assert!(
                    (a.sqnr_db - b.sqnr_db).abs() < tolerance,
                    "{passes:?} {}: {a:?} {b:?}",
                    layer.name
                );
            }
            assert_eq!(layer.extra_bytes, other.extra_bytes);
            let share = |layer: &LayerSensitivity| {
                layer.facts.weight.as_ref().map_or(0.0, |weight| weight.noise_share)
            };
            assert!(
                (share(layer) / share(other).max(1e-9) - 1.0).abs() < 0.05 || share(layer) < 1e-3
            );
            let causes = |layer: &LayerSensitivity| {
                layer.causes.iter().map(|cause| cause.remedy).collect::<Vec<_>>()
            };
            if tolerance < 1e-3 {
                assert_eq!(causes(layer), causes(other), "{passes:?} {}", layer.name);
            }
        }
    }
}

/// Weights that are multiples of their scale add no noise, and coarse ones most of it.
#[test]
fn the_share_of_the_weights_is_that_of_their_rounding() {
    let options = Options::new(1).unwrap();
    // Of 4 bits, so that their rounding is more than that of the activations.
    let QConfig { activation, weight } = QConfig::recommended();
    let weight = ObserverSpec { quant_range: Some((-7, 7)), ..weight };
    let mapping = QConfigMapping::global(QConfig { activation, weight });
    // Inputs that are correlated, so that their errors add up.
    let value = |i: usize| ((i / 8 * 37 % 101) as f32 - 50.0) / 60.0 + (i * 29 % 83) as f32 / 400.0;
    let x = Tensor::new([40, 8], (0..40 * 8).map(value).collect()).unwrap();
    let model = Architecture::trace(&Linear::new(8, 3)).unwrap().init(5);
    let with_weights = |weight: &dyn Fn(usize) -> f32| {
        let mut parameters = model.parameters().clone();
        let (_, tensor) =
            parameters.iter_mut().find(|((_, role), _)| *role == Role::Weight).unwrap();
        for (i, w) in Arc::make_mut(tensor).data_mut().iter_mut().enumerate() {
            *w = if i % 8 == 0 { 0.7 } else { weight(i) };
        }
        FloatModel::new(model.graph().clone(), parameters).unwrap()
    };
    let layer = |model: FloatModel, rounding| {
        let passes = PostTraining::pytorch().rounding(rounding);
        let result = model.quantize(&mapping, &passes, options, &mut vec![x.clone()]).unwrap();
        let batches = [vec![x.clone()]];
        let float = model.fuse().unwrap();
        let found =
            layer_sensitivity(&float, &result.model, &batches, None, options, &mut |_, _| ());
        found.unwrap().layers.swap_remove(0)
    };
    let share = |layer: &LayerSensitivity| layer.facts.weight.unwrap().noise_share;
    let exact = layer(with_weights(&|i| (i * 5 % 12) as f32 * 0.1 - 0.5), Rounding::Nearest);
    assert!(share(&exact) < 1e-4, "{exact:?}");
    // Almost half a step above a multiple, so that all are rounded down.
    let coarse = with_weights(&|i| ((i * 5 % 12) as f32 + 0.45) * 0.1 - 0.5);
    let nearest = layer(coarse.clone(), Rounding::Nearest);
    assert!(share(&nearest) > 0.5, "{nearest:?}");
    assert!(nearest.causes.iter().any(|cause| cause.remedy == Remedy::Rounding), "{nearest:?}");
    let rounded = layer(coarse, Rounding::CoordinateDescent);
    assert!(rounded.only_int8.sqnr_db > nearest.only_int8.sqnr_db, "{rounded:?}");
    assert!(rounded.causes.iter().all(|cause| cause.remedy != Remedy::Rounding), "{rounded:?}");
}
