//! Implementations of methods of [`Operator`](super::Operator) and the other traits of operators that
//! many operators share.
//!
//! The traits have no default methods, so that none is forgotten for a new operator. An operator that
//! uses one of these macros names what it shares with others.

/// There are no hyper-parameters.
macro_rules! no_hyper_parameters {
    () => {
        fn python(&self) -> String {
            String::new()
        }

        fn validate(&self) -> Result<(), String> {
            Ok(())
        }
    };
}

/// There are no parameters, and no products are computed.
macro_rules! no_parameters {
    () => {
        fn parameters(&self) -> Vec<$crate::ops::Parameter> {
            Vec::new()
        }

        fn multiply_adds(&self, _: &[usize]) -> u64 {
            0
        }
    };
}

/// It reads each value of its inputs once, and writes each value of its output once.
macro_rules! reads_each_value_once {
    () => {
        fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
            $crate::ops::work::of_values(inputs, output)
        }
    };
}

/// It takes one input.
macro_rules! takes_one_input {
    () => {
        fn arity(&self) -> std::ops::RangeInclusive<usize> {
            1..=1
        }
    };
}

/// It takes one input, reads each of its values once, and its output has the same shape.
macro_rules! keeps_the_shape {
    () => {
        $crate::ops::answers::takes_one_input!();

        $crate::ops::answers::reads_each_value_once!();

        fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
            Ok(inputs[0].to_vec())
        }
    };
}

/// It pools `[N, C, H, W]` to the height and width in its field `output_size`.
macro_rules! pools_to_a_size {
    () => {
        fn python(&self) -> String {
            format!("output_size={}", $crate::ops::python::pair(self.output_size))
        }

        $crate::ops::answers::takes_one_input!();

        $crate::ops::answers::no_parameters!();

        fn work(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
            use $crate::ops::work;
            // Neighboring windows overlap by at most one row and one column.
            let mut read = inputs[0].to_vec();
            for (size, windows) in read.iter_mut().skip(2).zip(self.output_size) {
                *size = size.saturating_add(windows);
            }
            work::of_values(&[], output).saturating_add(work::of_windows(&read, 1))
        }

        fn validate(&self) -> Result<(), String> {
            $crate::ops::limits::check_sizes(&self.output_size)?;
            if self.output_size.contains(&0) {
                return Err(format!(
                    "output_size must be at least 1, found {:?}",
                    self.output_size
                ));
            }
            Ok(())
        }

        fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
            let [n, c, _, _] = $crate::ops::shapes::picture(inputs[0])?;
            Ok(vec![n, c, self.output_size[0], self.output_size[1]])
        }
    };
}

/// It takes two tensors, which are broadcast as NumPy does, reads each value once and has no
/// parameters.
macro_rules! takes_two_broadcast {
    () => {
        fn arity(&self) -> std::ops::RangeInclusive<usize> {
            2..=2
        }

        $crate::ops::answers::no_parameters!();

        $crate::ops::answers::reads_each_value_once!();

        fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
            $crate::ops::shapes::broadcast(inputs[0], inputs[1])
        }
    };
}

/// Nothing is fused into the operator.
macro_rules! fuses_nothing {
    () => {
        fn activation(&self) -> Option<$crate::ops::Activation> {
            None
        }

        $crate::ops::answers::cannot_be_fused_into!();
    };
}

/// Neither an activation nor a batch norm is fused into the operator.
macro_rules! cannot_be_fused_into {
    () => {
        fn with_activation(&self, _: $crate::ops::Activation) -> Option<Self> {
            None
        }

        fn with_batch_norm(&self, _: u8) -> Option<Self> {
            None
        }
    };
}

/// For a layer that is printed as `kind(python)` in float and int8.
macro_rules! prints_as_a_layer {
    () => {
        fn leaf(&self) -> $crate::ops::Leaf {
            $crate::ops::Leaf::new(self.kind(), self.python())
        }

        fn quantized_leaf(&self, _: &$crate::ops::QuantizedOutput) -> Option<$crate::ops::Leaf> {
            None
        }
    };
}

/// For a function of several tensors, printed as the `FloatFunctional` that calls it.
macro_rules! prints_as_a_functional {
    () => {
        fn leaf(&self) -> $crate::ops::Leaf {
            $crate::ops::Leaf::functional()
        }

        fn quantized_leaf(
            &self,
            output: &$crate::ops::QuantizedOutput,
        ) -> Option<$crate::ops::Leaf> {
            Some($crate::ops::Leaf::quantized_functional(&self.kind(), output))
        }
    };
}

/// In float its output is its input; in int8 it is what the expression gives.
macro_rules! is_the_identity {
    ($int8:expr) => {
        fn float(
            &self,
            _: &$crate::ops::kernel::FloatContext<'_>,
            _: &$crate::ops::kernel::Shapes,
        ) -> $crate::ops::kernel::Made<f32> {
            Ok(None)
        }

        fn int8(
            &self,
            _: &$crate::ops::kernel::Int8Context<'_>,
            _: &$crate::ops::kernel::Shapes,
        ) -> $crate::ops::kernel::Made<u8> {
            $int8
        }
    };
}

pub(super) use {
    cannot_be_fused_into, fuses_nothing, is_the_identity, keeps_the_shape, no_hyper_parameters,
    no_parameters, pools_to_a_size, prints_as_a_functional, prints_as_a_layer,
    reads_each_value_once, takes_one_input, takes_two_broadcast,
};
