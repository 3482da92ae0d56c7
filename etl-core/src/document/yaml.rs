//! YAML 1.2 (core schema) to JSON, with the place of every key and value. JSON is a subset of it.
//!
//! It works on the parser's events, so that aliases are expanded within a budget and nothing is built that is over a limit.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use super::pointer::escape;
use crate::model::{Fault, MAX_DOCUMENT_BYTES};

/// How deep a document may nest.
const MAX_DEPTH: usize = 64;
/// How many values aliases may stand for, over all. A document of 1 MiB without aliases has fewer of its own.
const MAX_ALIASED: usize = 100_000;

/// A place in a text, counted from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// Where keys and values stand, by JSON pointer.
#[derive(Debug, Clone, Default)]
pub struct Places {
    keys: HashMap<String, Place>,
    values: HashMap<String, Place>,
}

impl Places {
    /// Where the key of this entry stands, or else its value, or else the nearest that it is part of.
    pub fn of(&self, pointer: &str) -> Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.keys.get(pointer).or_else(|| self.values.get(pointer)) {
                return *place;
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return Place::START,
            }
        }
    }

    /// Where this value stands, or else the nearest that it is part of.
    pub fn of_value(&self, pointer: &str) -> Place {
        self.values
            .get(pointer)
            .copied()
            .unwrap_or_else(|| self.of(pointer))
    }
}

/// A fault of the text itself: nothing can be read beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextFault {
    pub(super) place: Place,
    pub(super) message: String,
}

/// What a text holds.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) value: Value,
    pub(super) places: Places,
    /// Faults that do not keep the rest from being read, such as a key that is there twice.
    pub(super) faults: Vec<(Place, Fault)>,
}

/// A value without its places, for aliases.
#[derive(Debug)]
struct Anchored {
    value: Value,
    size: usize,
}

struct Loader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Rc<Anchored>>,
    aliased: usize,
    places: Places,
    faults: Vec<(Place, Fault)>,
}

/// Reads one document.
pub(super) fn load(text: &str) -> Result<Loaded> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the document is larger than {MAX_DOCUMENT_BYTES} bytes");
        return Err(TextFault {
            place: Place::START,
            message,
        });
    }
    let parser = Parser::new_from_str(text);
    let mut loader = Loader {
        parser,
        anchors: HashMap::new(),
        aliased: 0,
        places: Places::default(),
        faults: Vec::new(),
    };
    let value = loader.document()?;
    Ok(Loaded {
        value,
        places: loader.places,
        faults: loader.faults,
    })
}

type Result<T> = std::result::Result<T, TextFault>;

impl<'a> Loader<'a> {
    fn document(&mut self) -> Result<Value> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                Event::StreamEnd => return Ok(value.unwrap_or(Value::Null)),
                event if value.is_none() => {
                    value = Some(self.value(event, span, &mut String::new(), 0)?.0);
                }
                _ => {
                    return Err(fault(
                        span,
                        "the file has more than one document; give each pipeline its own file",
                    ));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let (place, message) = (
                    place(error.marker().line(), error.marker().col()),
                    error.info().to_owned(),
                );
                Err(TextFault {
                    place,
                    message: format!("this is not YAML: {message}"),
                })
            }
            None => Err(TextFault {
                place: Place::START,
                message: "the text ends too early".into(),
            }),
        }
    }

    /// A value and how many values it is made of.
    fn value(
        &mut self,
        event: Event<'a>,
        span: Span,
        pointer: &mut String,
        depth: usize,
    ) -> Result<(Value, usize)> {
        if depth > MAX_DEPTH {
            return Err(fault(
                span,
                format!("values are nested more than {MAX_DEPTH} deep"),
            ));
        }
        self.places.values.insert(pointer.clone(), start(span));
        let (anchor, value, size) = match event {
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(fault(
                        span,
                        "an alias within its own anchor would have no end",
                    ));
                };
                self.aliased += anchored.size;
                if self.aliased > MAX_ALIASED {
                    return Err(fault(
                        span,
                        format!("aliases stand for more than {MAX_ALIASED} values"),
                    ));
                }
                return Ok((anchored.value.clone(), anchored.size));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| (tag.handle.clone(), tag.suffix.clone()));
                (anchor, scalar(&text, style, tag, span)?, 1)
            }
            Event::SequenceStart(anchor, _) => {
                let (value, size) = self.sequence(pointer, depth)?;
                (anchor, value, size)
            }
            Event::MappingStart(anchor, _) => {
                let (value, size) = self.mapping(pointer, depth)?;
                (anchor, value, size)
            }
            _ => return Err(fault(span, "a value is missing here")),
        };
        if anchor > 0 {
            self.anchors.insert(
                anchor,
                Rc::new(Anchored {
                    value: value.clone(),
                    size,
                }),
            );
        }
        Ok((value, size))
    }

    fn sequence(&mut self, pointer: &mut String, depth: usize) -> Result<(Value, usize)> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok((Value::Array(items), size));
            }
            let length = pointer.len();
            pointer.push_str(&format!("/{}", items.len()));
            let (item, item_size) = self.value(event, span, pointer, depth + 1)?;
            pointer.truncate(length);
            size += item_size;
            items.push(item);
        }
    }

    fn mapping(&mut self, pointer: &mut String, depth: usize) -> Result<(Value, usize)> {
        let (mut object, mut size) = (Map::new(), 1);
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok((Value::Object(object), size)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(fault(span, "a key has to be text")),
            };
            let length = pointer.len();
            pointer.push('/');
            pointer.push_str(&escape(&key));
            let twice = object.contains_key(&key);
            if twice {
                let first = self.places.of(pointer).line;
                let message =
                    format!("the key {key:?} is there twice; the first is in line {first}");
                self.faults
                    .push((start(span), Fault::new(pointer.as_str(), message)));
            } else if key == "<<" {
                let message = "merge keys (`<<`) are not part of YAML 1.2";
                let hint = "write the keys out, or use an alias for the whole value";
                self.faults.push((
                    start(span),
                    Fault::new(pointer.as_str(), message).hint(hint),
                ));
            } else {
                self.places.keys.insert(pointer.clone(), start(span));
            }
            let (event, span) = self.next()?;
            let (value, value_size) = self.value(event, span, pointer, depth + 1)?;
            pointer.truncate(length);
            size += 1 + value_size;
            if !twice && key != "<<" {
                object.insert(key, value);
            }
        }
    }
}

/// A scalar by the core schema (YAML 1.2.2, 10.3): quoted is text, plain is what it looks like.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<(String, String)>,
    span: Span,
) -> Result<Value> {
    if let Some((handle, suffix)) = tag {
        let tag = if handle.starts_with("tag:yaml.org,2002:") || handle == "!!" {
            suffix
        } else {
            format!("{handle}{suffix}")
        };
        return match tag.as_str() {
            "str" | "!" | "" => Ok(Value::String(text.into())),
            "int" | "float" | "bool" | "null" => Ok(plain(text)),
            other => Err(fault(span, format!("the tag {other:?} is not supported"))),
        };
    }
    Ok(if style == ScalarStyle::Plain {
        plain(text)
    } else {
        Value::String(text.into())
    })
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = if let Some(hex) = text.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok().map(Number::from)
    } else if let Some(octal) = text.strip_prefix("0o") {
        u64::from_str_radix(octal, 8).ok().map(Number::from)
    } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        text.parse::<i64>()
            .map(Number::from)
            .or_else(|_| text.parse::<u64>().map(Number::from))
            .ok()
    } else if looks_like_float(digits) {
        text.parse::<f64>().ok().and_then(Number::from_f64)
    } else {
        None
    };
    number.map_or_else(|| Value::String(text.into()), Value::Number)
}

fn looks_like_float(digits: &str) -> bool {
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
}

fn place(line: usize, col: usize) -> Place {
    Place {
        line: line.max(1),
        column: col + 1,
    }
}

fn start(span: Span) -> Place {
    place(span.start.line(), span.start.col())
}

fn fault(span: Span, message: impl Into<String>) -> TextFault {
    TextFault {
        place: start(span),
        message: message.into(),
    }
}
