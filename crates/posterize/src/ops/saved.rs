//! Short forms of hyper-parameters in saved files.

/// A pair `[h, w]`, which is saved as one number where both are equal.
pub(super) mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Saved {
        Both(usize),
        Each([usize; 2]),
    }

    pub(in crate::ops) fn serialize<S: Serializer>(
        pair: &[usize; 2],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let saved = if pair[0] == pair[1] { Saved::Both(pair[0]) } else { Saved::Each(*pair) };
        saved.serialize(serializer)
    }

    pub(in crate::ops) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[usize; 2], D::Error> {
        Ok(match Saved::deserialize(deserializer)? {
            Saved::Both(size) => [size; 2],
            Saved::Each(pair) => pair,
        })
    }

    /// The default of a dilation.
    pub(in crate::ops) const fn ones() -> [usize; 2] {
        [1; 2]
    }

    pub(in crate::ops) fn are_ones(pair: &[usize; 2]) -> bool {
        *pair == [1; 2]
    }
}

/// A padding, which is saved as one number where it is the same on all sides.
pub(super) mod padding {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::ops::Padding;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Saved {
        All(usize),
        Sides(Padding),
    }

    pub(in crate::ops) fn serialize<S: Serializer>(
        padding: &Padding,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let saved = match *padding {
            Padding::Explicit { top, .. } if *padding == Padding::all(top) => Saved::All(top),
            sides => Saved::Sides(sides),
        };
        saved.serialize(serializer)
    }

    pub(in crate::ops) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Padding, D::Error> {
        Ok(match Saved::deserialize(deserializer)? {
            Saved::All(pixels) => Padding::all(pixels),
            Saved::Sides(padding) => padding,
        })
    }
}
