//! Tests that threads that were started before the process got permission to use AMX tiles can use
//! them. It is a test program of its own, because the permission lasts as long as the process.

use std::sync::mpsc;

use posterize_kernels::int8::{Linear, Requantize};
use posterize_kernels::{Isa, Pool};

fn product(isa: Isa) -> Vec<u8> {
    let (batch, k, n) = (40, 100, 50);
    let weight: Vec<i8> = (0..n * k).map(|i| (i * 37 % 255) as i8).collect();
    let requantize = Requantize { multiplier: vec![1e-3; n], zero_point: 100, min: 0, max: 255 };
    let linear = Linear::new(isa, k, n, &weight, &vec![7; n], 128, &requantize);
    let input: Vec<u8> = (0..batch * k).map(|i| (i * 91 % 256) as u8).collect();
    let mut output = vec![0; batch * n];
    linear.run(&Pool::new(1), batch, &input, &mut output);
    output
}

#[test]
fn threads_started_before_detection_compute_the_same() {
    let (send, receive) = mpsc::channel();
    let started_before = std::thread::spawn(move || product(receive.recv().unwrap()));
    let isa = Isa::detect();
    let started_after = std::thread::spawn(move || product(isa));
    send.send(isa).unwrap();
    let expected = product(Isa::SCALAR);
    assert!(expected.iter().any(|&x| x != expected[0]), "the outputs must differ from each other");
    assert_eq!(started_before.join().unwrap(), expected);
    assert_eq!(started_after.join().unwrap(), expected);
}
