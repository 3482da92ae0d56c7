//! YAML 1.2 (core schema) to JSON, with the place of every key and value. JSON is a subset of it.
//!
//! It works on the parser's events, so that aliases are expanded within a budget and nothing is built that is over a limit.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::places::{Parts, Place, Places, Spot};
use super::pointer::escape;
use super::scalar::{scalar, unsupported};
use super::surrogates::{self, Joined};
use crate::model::{Fault, MAX_DOCUMENT_BYTES};

/// How deep a document may nest.
const MAX_DEPTH: usize = 64;
/// How many bytes what aliases stand for may have, over all: they may double the largest document and no more.
const MAX_ALIASED: usize = MAX_DOCUMENT_BYTES;
/// How long the pointer to a value may be, in bytes. Faults hold pointers, and a document may have many faults.
const MAX_POINTER: usize = 2048;
/// How many faults of the text itself are kept.
const MAX_FAULTS: usize = 1000;

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

/// A value that was read.
struct Node {
    value: Value,
    spot: Spot,
    /// What it would take written out, in bytes, about.
    size: usize,
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    joined: Joined,
    anchors: HashMap<usize, Rc<(Value, usize)>>,
    aliased: usize,
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
    let (text, joined) = surrogates::join(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut loader = Loader {
        parser: Parser::new_from_str(&text),
        joined,
        anchors: HashMap::new(),
        aliased: 0,
        faults: Vec::new(),
    };
    let Node { value, spot, .. } = loader.document()?;
    Ok(Loaded {
        value,
        places: Places::new(spot),
        faults: loader.faults,
    })
}

type Result<T> = std::result::Result<T, TextFault>;

impl<'a> Loader<'a> {
    fn document(&mut self) -> Result<Node> {
        let mut node = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                Event::StreamEnd => {
                    return Ok(node.unwrap_or(Node {
                        value: Value::Null,
                        spot: Spot::new(Place::START),
                        size: 0,
                    }));
                }
                event if node.is_none() => {
                    node = Some(self.value(event, span, &mut String::new(), 0)?);
                }
                _ => {
                    return Err(self.fatal(
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
            Some(Err(error)) => Err(TextFault {
                place: self
                    .joined
                    .original(place(error.marker().line(), error.marker().col())),
                message: format!("this is not YAML: {}", error.info()),
            }),
            None => Err(TextFault {
                place: Place::START,
                message: "the text ends too early".into(),
            }),
        }
    }

    fn value(
        &mut self,
        event: Event<'a>,
        span: Span,
        pointer: &mut String,
        depth: usize,
    ) -> Result<Node> {
        if depth > MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep");
            return Err(self.fatal(span, message));
        }
        if pointer.len() > MAX_POINTER {
            let message =
                format!("the keys that lead here have more than {MAX_POINTER} bytes together");
            return Err(self.fatal(span, message));
        }
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let value = match scalar(&text, style, tag.as_deref()) {
                    Ok(value) => value,
                    Err(fault) => {
                        self.fault(span, fault.below(pointer));
                        Value::String(text.clone().into_owned())
                    }
                };
                let node = Node {
                    value,
                    spot: Spot::new(self.start(span)),
                    size: text.len() + 2,
                };
                (anchor, node)
            }
            Event::SequenceStart(anchor, tag) => {
                self.container_tag(tag.as_deref(), "seq", span, pointer);
                (anchor, self.sequence(span, pointer, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.container_tag(tag.as_deref(), "map", span, pointer);
                (anchor, self.mapping(span, pointer, depth)?)
            }
            _ => return Err(self.fatal(span, "a value is missing here")),
        };
        if anchor > 0 {
            // What an anchor keeps is a copy too.
            self.spend(node.size, span)?;
            let anchored = (node.value.clone(), node.size);
            self.anchors.insert(anchor, Rc::new(anchored));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node> {
        let Some(anchored) = self.anchors.get(&anchor).cloned() else {
            return Err(self.fatal(span, "an alias within its own anchor would have no end"));
        };
        self.spend(anchored.1, span)?;
        Ok(Node {
            value: anchored.0.clone(),
            spot: Spot::new(self.start(span)),
            size: anchored.1,
        })
    }

    fn spend(&mut self, size: usize, span: Span) -> Result<()> {
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            let message = format!("anchors and aliases stand for more than {MAX_ALIASED} bytes");
            return Err(self.fatal(span, message));
        }
        Ok(())
    }

    fn sequence(&mut self, span: Span, pointer: &mut String, depth: usize) -> Result<Node> {
        let mut spot = Spot::new(self.start(span));
        let (mut items, mut spots, mut size) = (Vec::new(), Vec::new(), 2);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                spot.parts = Parts::List(spots);
                let value = Value::Array(items);
                return Ok(Node { value, spot, size });
            }
            let length = pointer.len();
            pointer.push_str(&format!("/{}", items.len()));
            let item = self.value(event, span, pointer, depth + 1)?;
            pointer.truncate(length);
            size += item.size;
            items.push(item.value);
            spots.push(item.spot);
        }
    }

    fn mapping(&mut self, span: Span, pointer: &mut String, depth: usize) -> Result<Node> {
        let mut spot = Spot::new(self.start(span));
        let (mut object, mut spots, mut size) = (Map::new(), HashMap::<String, Spot>::new(), 2);
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => {
                    spot.parts = Parts::Object(spots);
                    let value = Value::Object(object);
                    return Ok(Node { value, spot, size });
                }
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(self.fatal(span, "a key has to be text")),
            };
            let at = self.start(span);
            let length = pointer.len();
            pointer.push('/');
            pointer.push_str(&escape(&key));
            let first = spots.get(&key).and_then(|first| first.key);
            if let Some(first) = first {
                let message = format!(
                    "the key {key:?} is there twice; the first is in line {}",
                    first.line
                );
                self.fault(span, Fault::new(pointer.as_str(), message));
            } else if key == "<<" {
                let fault = Fault::new(
                    pointer.as_str(),
                    "merge keys (`<<`) are not part of YAML 1.2",
                );
                self.fault(
                    span,
                    fault.hint("write the keys out, or use an alias for the whole value"),
                );
            }
            let (event, span) = self.next()?;
            let entry = self.value(event, span, pointer, depth + 1)?;
            pointer.truncate(length);
            size += key.len() + 2 + entry.size;
            if first.is_none() && key != "<<" {
                object.insert(key.clone(), entry.value);
                let key_spot = Spot {
                    key: Some(at),
                    ..entry.spot
                };
                spots.insert(key, key_spot);
            }
        }
    }

    fn container_tag(&mut self, tag: Option<&Tag>, own: &str, span: Span, pointer: &str) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == own)) {
            self.fault(span, unsupported(tag).below(pointer));
        }
    }

    /// A fault beyond which the text can still be read.
    fn fault(&mut self, span: Span, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push((self.start(span), fault));
        }
    }

    /// A fault beyond which nothing can be read.
    fn fatal(&self, span: Span, message: impl Into<String>) -> TextFault {
        TextFault {
            place: self.start(span),
            message: message.into(),
        }
    }

    fn start(&self, span: Span) -> Place {
        self.joined
            .original(place(span.start.line(), span.start.col()))
    }
}

fn place(line: usize, col: usize) -> Place {
    Place {
        line: line.max(1),
        column: col + 1,
    }
}
