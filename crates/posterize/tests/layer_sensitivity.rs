//! The sensitivity of layers of a saved int8 network, compared with that of one that was just calibrated.

use posterize::models::{self, Config};
use posterize::quantization::{
    Equalization, PostTraining, QConfig, QConfigMapping, Rounding, Sensitivity,
};
use posterize::report::layer_sensitivity;
use posterize::runtime::Options;
use posterize::{FloatModel, Tensor};

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
        (QConfig::recommended(), recommended.equalization(Equalization::Always), 0.05),
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
            let causes = |layer: &posterize::quantization::LayerSensitivity| {
                layer.causes.iter().map(|cause| cause.remedy).collect::<Vec<_>>()
            };
            if tolerance < 1e-3 {
                assert_eq!(causes(layer), causes(other), "{passes:?} {}", layer.name);
            }
        }
    }
}
