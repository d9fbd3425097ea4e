//! Files of class names, as users of other tools have them.

use std::{fs, path::Path};

use posterize::Error;
use serde_json::Value;

/// Reads the names of `classes` classes, in the order of the class numbers.
///
/// The file is JSON or text. JSON is a list of names, or an object from class numbers to names, as
/// `imagenet_class_index.json` of Keras. A name is a string, or a list whose last entry is the name. Text
/// has one name on each line, or a class number, a comma and the name.
pub(crate) fn read(file: &Path, classes: usize) -> posterize::Result<Vec<String>> {
    let bytes = fs::read(file).map_err(Error::io(file, "read"))?;
    let failed = |problem: String| Error::Dataset { path: file.to_path_buf(), problem };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| failed("expected class names as UTF-8 text, found other bytes".into()))?;
    parse(text.trim_start_matches('\u{feff}'), classes).map_err(failed)
}

fn parse(text: &str, classes: usize) -> Result<Vec<String>, String> {
    let names = if text.trim_start().starts_with(['[', '{']) {
        match serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))? {
            Value::Array(names) => {
                let names = names.iter().enumerate();
                names.map(|(class, value)| Ok((class, name(class, value)?))).collect()
            }
            Value::Object(names) => names
                .iter()
                .map(|(class, value)| {
                    let class = class
                        .trim()
                        .parse()
                        .map_err(|_| format!("expected class numbers as keys, found {class:?}"))?;
                    Ok((class, name(class, value)?))
                })
                .collect::<Result<Vec<_>, String>>(),
            _ => unreachable!("it begins with a bracket"),
        }?
    } else {
        of_lines(text)
    };
    in_order(names, classes)
}

/// Returns the name in a value of JSON: a string, or the last entry of a list.
fn name(class: usize, value: &Value) -> Result<String, String> {
    let name = match value {
        Value::Array(entries) => entries.last().and_then(Value::as_str),
        value => value.as_str(),
    };
    name.map(str::to_owned)
        .ok_or_else(|| format!("class {class}: expected a name in quotes, found {value}"))
}

/// Returns the class numbers and names of lines. Lines without numbers count from 0. A first line that
/// alone has no number is a heading.
fn of_lines(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let numbered = |lines: &[&str]| {
        let numbered = |line: &&str| {
            let (class, name) = line.split_once(',')?;
            Some((class.trim().parse::<usize>().ok()?, unquoted(name.trim())))
        };
        lines.iter().map(numbered).collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
    };
    numbered(&lines)
        .or_else(|| lines.split_first().and_then(|(_, rest)| numbered(rest)))
        .unwrap_or_else(|| lines.iter().map(|name| unquoted(name)).enumerate().collect())
}

/// Returns the text in double quotes, in which two quotes are one, or the text itself.
fn unquoted(text: &str) -> String {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.map_or_else(|| text.to_owned(), |text| text.replace("\"\"", "\""))
}

/// Returns the names in the order of the class numbers, each of which must be there once.
fn in_order(names: Vec<(usize, String)>, classes: usize) -> Result<Vec<String>, String> {
    if names.len() != classes {
        return Err(format!(
            "it has {} names, but the network has {classes} classes; the file needs one for each",
            names.len()
        ));
    }
    let mut ordered: Vec<Option<String>> = vec![None; classes];
    for (class, name) in names {
        match ordered.get_mut(class) {
            Some(empty @ None) => *empty = Some(name),
            Some(Some(other)) => {
                return Err(format!("class {class} has two names, {other:?} and {name:?}"));
            }
            None => {
                return Err(format!(
                    "it has a name for class {class}, but the network's classes are 0 to {}",
                    classes - 1
                ));
            }
        }
    }
    Ok(ordered.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_usual_formats_are_read() {
        for text in [
            "tench\ngreat white shark, \"white\"\nhen\n",
            "tench\r\ngreat white shark, \"white\"\r\n\r\nhen",
            "0,tench\n2, hen\n1,\"great white shark, \"\"white\"\"\"\n",
            "index,name\n0,tench\n1,\"great white shark, \"\"white\"\"\"\n2,hen\n",
            r#"["tench", "great white shark, \"white\"", "hen"]"#,
            r#"{"2": "hen", "1": "great white shark, \"white\"", "0": "tench"}"#,
            r#"{"0": ["n01440764", "tench"], "1": ["n0148", "great white shark, \"white\""],
                "2": ["n01514859", "hen"]}"#,
        ] {
            let names = parse(text, 3).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(names, ["tench", "great white shark, \"white\"", "hen"], "{text}");
        }
        // One name may look like a number and a comma.
        assert_eq!(parse("3,a\nb\n7", 3).unwrap(), ["3,a", "b", "7"]);
    }

    #[test]
    fn files_that_do_not_name_every_class_once_are_errors() {
        for (text, problem) in [
            ("a\nb\n", "it has 2 names, but the network has 3 classes"),
            ("", "it has 0 names"),
            ("1,a\n2,b\n3,c", "a name for class 3, but the network's classes are 0 to 2"),
            ("0,a\n1,b\n1,c", "class 1 has two names, \"b\" and \"c\""),
            ("[\"a\", 5, \"c\"]", "class 1: expected a name in quotes, found 5"),
            ("[\"a\", [], \"c\"]", "class 1: expected a name in quotes, found []"),
            ("{\"zero\": \"a\"}", "expected class numbers as keys, found \"zero\""),
            ("[\"a\"", "not valid JSON: "),
        ] {
            let error = parse(text, 3).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
