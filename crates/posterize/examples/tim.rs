#![allow(missing_docs)]
use posterize::executor::*;
use posterize::quantization::*;
use posterize::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let model = models::by_name("tf_mobilenet_v2", &models::Config::default())
        .unwrap()
        .load(&StateDict::open("/work/shared/assets/tf_mobilenet_v2.pth").unwrap())
        .unwrap()
        .fuse()
        .unwrap();
    for t in [1, 2] {
        let b: usize = a[2].parse().unwrap();
        let o = Options::new(t).unwrap();
        let x = Tensor::channels_last(
            [b, 3, 224, 224],
            (0..b * 3 * 224 * 224)
                .map(|i| ((i * 2654435761) % 1000) as f32 / 250.0 - 2.0)
                .collect(),
        )
        .unwrap();
        let mut e: Box<dyn Engine> = if a[1] == "f32" {
            Box::new(FloatEngine::new(&model, o))
        } else {
            let mut ob = model.prepare(&QConfigMapping::global(QConfig::recommended())).unwrap();
            ob.calibrate(o, [Ok(x.clone())]).unwrap();
            Box::new(Int8Engine::new(&ob.convert().unwrap(), o))
        };
        let mut ts = vec![];
        for _ in 0..(if b == 1 { 30 } else { 4 }) {
            let s = std::time::Instant::now();
            e.run(&x).unwrap();
            ts.push(s.elapsed().as_secs_f64() * 1e3 / b as f64);
        }
        ts.sort_by(f64::total_cmp);
        println!("{} b{b} t{t} min {:.2} med {:.2}", a[1], ts[0], ts[ts.len() / 2]);
        if a.len() > 3 && t == 1 {
            let p = e.profile(&x, 10).unwrap();
            println!("bytes {}", p.activation_bytes);
            for l in &p.layers {
                println!(
                    "{:24} {:14} {:26} {:?} {:.3} ms {:.1} G/s",
                    l.name,
                    l.kind,
                    l.kernel,
                    l.shape,
                    l.seconds * 1e3,
                    l.multiply_adds as f64 / l.seconds / 1e9
                );
            }
        }
    }
}
