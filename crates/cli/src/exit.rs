//! The exit codes of the program.

use std::process::ExitCode;

use posterize::ErrorKind;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// A failure that is none of the others.
    Failure,
    /// Wrong arguments. clap uses the same code.
    Usage,
    /// A file, picture or model cannot be used.
    BadInput,
    /// The operating system or the network refused something.
    Io,
    /// The result does not reach what the arguments demand of it.
    NotMet,
    /// The network of a file has nodes that are not supported.
    UnsupportedNetwork,
    /// Ctrl-C. Shells report the same code for a program that SIGINT ended.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub(crate) const ALL: [Self; 8] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::BadInput,
        Self::Io,
        Self::NotMet,
        Self::UnsupportedNetwork,
        Self::Interrupted,
    ];

    /// Returns the number that the operating system gets.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::BadInput => 3,
            Self::Io => 4,
            Self::NotMet => 5,
            Self::UnsupportedNetwork => 6,
            Self::Interrupted => 130,
        }
    }

    /// Describes it in the help.
    const fn help(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Any other failure, such as a network that is larger than the limits",
            Self::Usage => "Wrong arguments",
            Self::BadInput => "A file, picture, folder or model that cannot be used",
            Self::Io => "A missing file, no permission, a full disk, too little memory, no network",
            Self::NotMet => {
                "A result that misses its target: that of `quantize --max-drop`, or of `run --expect`"
            }
            Self::UnsupportedNetwork => {
                "An ONNX file with nodes that posterize does not support; all are listed"
            }
            Self::Interrupted => "Ctrl-C; `train` writes its checkpoint first",
        }
    }

    /// Lists all codes for the help.
    pub(crate) fn list() -> String {
        Self::ALL.map(|exit| format!("{:>5}  {}", exit.code(), exit.help())).join("\n")
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Io | ErrorKind::OutOfResources => Self::Io,
            ErrorKind::CorruptFile
            | ErrorKind::StateDictMismatch
            | ErrorKind::ShapeMismatch
            | ErrorKind::InvalidLayer
            | ErrorKind::UnsupportedOperator
            | ErrorKind::NotCalibrated
            | ErrorKind::InvalidRanges
            | ErrorKind::NotFinite
            | ErrorKind::Image
            | ErrorKind::Dataset => Self::BadInput,
            ErrorKind::UnsupportedNetwork => Self::UnsupportedNetwork,
            ErrorKind::InvalidArgument => Self::Usage,
            ErrorKind::Interrupted => Self::Interrupted,
            // Kinds that a later version of the library adds.
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_code() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 130]);
        let list = Exit::list();
        assert!(list.starts_with("    0  Success\n    1  Any other failure"), "{list}");
        assert!(list.contains("\n  130  Ctrl-C;"), "{list}");
        assert!(list.lines().all(|line| line.chars().count() <= 100), "{list}");
    }

    #[test]
    fn kinds_of_errors_have_fixed_codes() {
        for (kind, code) in [
            (ErrorKind::Io, 4),
            (ErrorKind::OutOfResources, 4),
            (ErrorKind::CorruptFile, 3),
            (ErrorKind::StateDictMismatch, 3),
            (ErrorKind::ShapeMismatch, 3),
            (ErrorKind::InvalidLayer, 3),
            (ErrorKind::UnsupportedOperator, 3),
            (ErrorKind::UnsupportedNetwork, 6),
            (ErrorKind::NotCalibrated, 3),
            (ErrorKind::InvalidRanges, 3),
            (ErrorKind::NotFinite, 3),
            (ErrorKind::Image, 3),
            (ErrorKind::Dataset, 3),
            (ErrorKind::LimitExceeded, 1),
            (ErrorKind::InvalidArgument, 2),
            (ErrorKind::Interrupted, 130),
        ] {
            assert_eq!(Exit::from(kind).code(), code, "{kind:?}");
        }
    }
}
