//! The report on a checkpoint.

use std::fmt;

use posterize::{
    Error, StateDict,
    checkpoint::{Contents, MismatchCause, ReadOptions},
    models::{self, Config},
};
use serde::Serialize;

use crate::{
    error::Result,
    ui::{Align, Table, bytes, count},
};

use super::module_path::is_below;

/// The largest checkpoint that is compared with the architectures, which are all smaller, in bytes.
const MAX_COMPARED: u64 = 1 << 29;

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: u64,
}

/// An architecture whose weights have the names and shapes of the tensors.
#[derive(Debug, Serialize)]
struct Fit {
    model: &'static str,
    num_classes: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: String,
    format: &'static str,
    /// The keys of the dictionaries in which the tensors are.
    keys: Vec<String>,
    /// The keys of other weights.
    others: Vec<String>,
    /// The keys of averaged weights that are not listed.
    averaged: Vec<String>,
    prefix: String,
    path: String,
    tensors: Vec<Tensor>,
    values: u64,
    bytes: u64,
    fits: Vec<Fit>,
    #[serde(skip)]
    selection: Option<String>,
}

impl Report {
    /// Lists the tensors of a file below a module path.
    pub(super) fn new(file: &str, path: &str, options: &ReadOptions) -> Result<Self> {
        let contents = Contents::open(file, options)?;
        let total: u64 = contents.tensors.iter().map(|tensor| tensor.bytes as u64).sum();
        let fits = if total <= MAX_COMPARED { fits(file, options) } else { Vec::new() };
        let listed: Vec<_> =
            contents.tensors.into_iter().filter(|tensor| is_below(path, &tensor.name)).collect();
        let selection = contents.selection;
        Ok(Self {
            file: file.to_owned(),
            format: contents.format,
            selection: (!selection.keys.is_empty()).then(|| selection.to_string()),
            keys: selection.keys,
            others: selection.others,
            averaged: selection.averaged,
            prefix: selection.prefix,
            path: path.to_owned(),
            values: listed.iter().map(|tensor| tensor.count() as u64).sum(),
            bytes: listed.iter().map(|tensor| tensor.bytes as u64).sum(),
            tensors: listed
                .into_iter()
                .map(|tensor| Tensor {
                    name: tensor.name,
                    dtype: tensor.dtype,
                    shape: tensor.shape,
                    bytes: tensor.bytes as u64,
                })
                .collect(),
            fits,
        })
    }
}

/// Returns the architectures that load the weights, for any number of classes.
fn fits(file: &str, options: &ReadOptions) -> Vec<Fit> {
    // Values of a type that cannot be read are no reason not to list them.
    let Ok(state) = StateDict::open_with(file, options) else { return Vec::new() };
    let fit = |model| {
        let config = models::config(model).ok()?;
        let load = |num_classes| {
            models::by_name(model, &Config { num_classes, ..config.clone() })?.load(&state)
        };
        let num_classes = match load(config.num_classes) {
            Ok(_) => config.num_classes,
            Err(Error::StateDict(mismatch)) => match mismatch.cause {
                Some(MismatchCause::NumClasses { file, .. }) => load(file).ok().map(|_| file)?,
                _ => return None,
            },
            Err(_) => return None,
        };
        Some(Fit { model, num_classes })
    };
    models::names().filter_map(fit).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            ("tensor", Align::Left),
            ("type", Align::Left),
            ("shape", Align::Left),
            ("bytes", Align::Right),
        ]);
        for tensor in &self.tensors {
            table.row([
                tensor.name.escape_debug().to_string(),
                tensor.dtype.clone(),
                format!("{:?}", tensor.shape),
                count(tensor.bytes),
            ]);
        }
        table.totals(["total".into(), String::new(), String::new(), count(self.bytes)]);
        writeln!(f, "{table}\n")?;
        write!(
            f,
            "{}: {} tensors, {} values, {}",
            self.format,
            count(self.tensors.len() as u64),
            count(self.values),
            bytes(self.bytes)
        )?;
        if let Some(selection) = &self.selection {
            write!(f, "\n{selection}")?;
            if !self.averaged.is_empty() {
                write!(f, " (--ema uses the averaged ones)")?;
            }
        }
        if !self.prefix.is_empty() {
            write!(f, "\nevery name begins with `{}`, which was removed", self.prefix)?;
        }
        match self.fits.as_slice() {
            [] => write!(f, "\nthe names and shapes are those of no built-in model"),
            [Fit { model, num_classes }] => write!(
                f,
                "\nthe names and shapes are those of {model} with {num_classes} classes; use it with \
                 `{model} --num-classes {num_classes} --weights {}`",
                self.file
            ),
            [Fit { num_classes, .. }, ..] => {
                let models: Vec<&str> = self.fits.iter().map(|fit| fit.model).collect();
                write!(
                    f,
                    "\nthe names and shapes are those of {} with {num_classes} classes, which differ in \
                     other respects",
                    models.join(" and of ")
                )
            }
        }
    }
}
