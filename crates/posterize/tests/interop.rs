//! Tests of pictures of the crate `image` and arrays of the crate `ndarray` as inputs and outputs.
#![cfg(any(feature = "image", feature = "ndarray"))]

use posterize::ops::Conv2d;
use posterize::runtime::{Engine, Normalize, Options, compile};
use posterize::{Architecture, Error};

fn engine() -> Engine {
    let normalize = Normalize::Rgb { mean: [0.4, 0.5, 0.6], std: [0.1, 0.2, 0.3] };
    let model = Architecture::trace(&Conv2d::new(3, 4, 3)).unwrap().init(1);
    compile(model, Options::new(1).unwrap().normalize(normalize)).unwrap()
}

#[track_caller]
fn text<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it is accepted"),
        Err(error) => error.to_string(),
    }
}

#[cfg(feature = "image")]
mod image {
    use ::image::buffer::ConvertBuffer;
    use ::image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage, RgbaImage};
    use posterize::{PixelOrder, PixelView};

    use super::{engine, text};

    #[test]
    fn pictures_give_the_bits_of_their_rgb_pixels() {
        let picture = RgbImage::from_fn(9, 7, |x, y| Rgb([x as u8 * 20, y as u8 * 30, 255]));
        let mut engine = engine();
        let mut check = |view: PixelView<'_>, order: PixelOrder, rgb: &RgbImage| {
            assert_eq!((view.shape(), view.order()), ([1, 7, 9], order));
            let rgb = PixelView::new([1, 7, 9], PixelOrder::Rgb, rgb.as_raw()).unwrap();
            assert_eq!(engine.run(view).unwrap(), engine.run(rgb).unwrap());
        };
        let view = PixelView::try_from(&picture).unwrap();
        assert_eq!(view.row(0, 0).as_ptr(), picture.as_ptr());
        check(view, PixelOrder::Rgb, &picture);
        let rgba: RgbaImage = picture.convert();
        check((&rgba).try_into().unwrap(), PixelOrder::Rgba, &picture);
        let gray: GrayImage = picture.convert();
        check((&gray).try_into().unwrap(), PixelOrder::Gray, &gray.convert());

        for (any, order, rgb) in [
            (DynamicImage::from(picture.clone()), PixelOrder::Rgb, picture.clone()),
            (rgba.into(), PixelOrder::Rgba, picture.clone()),
            (gray.clone().into(), PixelOrder::Gray, gray.convert()),
        ] {
            check((&any).try_into().unwrap(), order, &rgb);
        }
    }

    #[test]
    fn pictures_that_cannot_be_borrowed_are_refused() {
        assert_eq!(
            text(PixelView::try_from(&RgbImage::new(0, 4))),
            "pixels: the shape [N, H, W] = [1, 4, 0] has an empty axis; expected at least 1 everywhere"
        );
        assert_eq!(
            text(PixelView::try_from(&DynamicImage::new_luma_a8(4, 4))),
            "pixels: expected a picture of type Rgb8, Rgba8 or L8, found La8: convert it with \
             DynamicImage::to_rgb8 or to_luma8"
        );
        // The memory may be longer than its picture.
        let longer: GrayImage = ImageBuffer::<Luma<u8>, _>::from_raw(2, 2, vec![5; 9]).unwrap();
        assert_eq!(PixelView::try_from(&longer).unwrap().row(0, 1), [5, 5]);
    }
}

#[cfg(feature = "ndarray")]
mod ndarray {
    use ::ndarray::{Array1, Array4, ArrayD, ArrayView4, ArrayViewD, Axis, Slice};
    use posterize::{MemoryFormat, Tensor, TensorView};

    use super::{engine, text};

    fn images() -> Array4<f32> {
        let mut value = -1.0;
        Array4::from_shape_simple_fn([2, 3, 5, 6], || {
            value += 0.25;
            value
        })
    }

    #[test]
    fn arrays_give_the_bits_of_their_tensors() {
        let images = images();
        let tensor = Tensor::new([2, 3, 5, 6], images.iter().copied().collect()).unwrap();
        let mut engine = engine();
        let expected = engine.run(&tensor).unwrap();

        let view: ArrayView4<'_, f32> = images.view();
        let any: ArrayViewD<'_, f32> = images.view().into_dyn();
        for view in [
            TensorView::try_from(&images).unwrap(),
            TensorView::try_from(&view).unwrap(),
            TensorView::try_from(&any).unwrap(),
        ] {
            assert_eq!(view, tensor.view());
            assert_eq!(view.data().as_ptr(), images.as_ptr());
            assert_eq!(engine.run(view).unwrap(), expected);
        }

        let last = images.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        let last = last.permuted_axes([0, 3, 1, 2]);
        assert_eq!(last, images);
        let view = TensorView::try_from(&last).unwrap();
        assert_eq!(view, tensor.to_format(MemoryFormat::ChannelsLast).view());
        assert_eq!(engine.run(view).unwrap(), expected);
    }

    #[test]
    fn arrays_that_lie_otherwise_are_refused() {
        let images = images();
        let part = images.slice_axis(Axis(2), (1..).into());
        assert_eq!(
            text(TensorView::try_from(&part)),
            "tensor: expected an array in standard layout or [N, C, H, W] in channels-last order, found \
             one of shape [2, 3, 4, 6] and strides [90, 30, 6, 1]: make a view of its \
             as_standard_layout()"
        );
        let copy = part.as_standard_layout();
        assert!(TensorView::try_from(&copy).unwrap().data().iter().eq(part.iter()));
        let backwards = Array1::from(vec![1.0_f32, 2.0]);
        let backwards = backwards.slice_axis(Axis(0), Slice::new(0, None, -1));
        assert!(text(TensorView::try_from(&backwards)).contains("strides [-1]"));
        // Twice the same value, without a place for each.
        let twice = images.broadcast([2, 2, 3, 5, 6]).unwrap();
        assert!(TensorView::try_from(&twice).is_err());
    }

    #[test]
    fn tensors_become_arrays_of_their_shape() {
        let images = images();
        let tensor = Tensor::new([2, 3, 5, 6], images.iter().copied().collect()).unwrap();
        for format in [MemoryFormat::Contiguous, MemoryFormat::ChannelsLast] {
            let tensor = tensor.to_format(format);
            let values = tensor.data().as_ptr();
            let array = ArrayD::from(tensor.clone());
            assert_eq!(array, images.clone().into_dyn());
            assert_eq!(TensorView::try_from(&array).unwrap(), tensor.view());
            let moved = ArrayD::from(tensor);
            assert_eq!(moved.as_ptr(), values);
        }
        let empty = ArrayD::from(Tensor::zeros([0, 3]));
        assert_eq!(empty.shape(), [0, 3]);
    }
}
