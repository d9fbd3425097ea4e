//! Answers of [`Operator`](super::Operator) that many operators share.
//!
//! The trait has no defaults, so that a new operator is asked everything. Naming a group of answers
//! is an answer.

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

/// It takes two tensors, which are broadcast as NumPy does, and has no parameters.
macro_rules! takes_two_broadcast {
    () => {
        fn arity(&self) -> std::ops::RangeInclusive<usize> {
            2..=2
        }

        $crate::ops::answers::no_parameters!();

        fn validate(&self) -> Result<(), String> {
            Ok(())
        }

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

        fn with_activation(&self, _: $crate::ops::Activation) -> Option<Self> {
            None
        }

        fn with_batch_norm(&self, _: u8) -> Option<Self> {
            None
        }
    };
}

/// It prints as `kind(python)` wherever it is a module, in int8 as well.
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

/// It is a function of several tensors, which prints as the `FloatFunctional` that calls it.
macro_rules! prints_as_a_functional {
    () => {
        fn python(&self) -> String {
            String::new()
        }

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

pub(super) use {
    fuses_nothing, no_parameters, prints_as_a_functional, prints_as_a_layer, takes_two_broadcast,
};
