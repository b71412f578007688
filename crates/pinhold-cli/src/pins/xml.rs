//! Reading and writing of XML and of property lists in XML.

use std::collections::HashSet;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use roxmltree::{Document, Node, ParsingOptions};

use crate::pins::source::{InputError, Place};

/// Elements within elements that are read, more than any configuration has.
const MAX_DEPTH: usize = 64;

/// Parses a document.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, InputError> {
    ensure_shallow(text)?;
    // Property lists have a DTD. The parser limits the expansion of its entities.
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| {
        let number = |number| usize::try_from(number).unwrap_or(0);
        let place = Place::Position {
            line: number(error.pos().row),
            column: number(error.pos().col),
        };
        let text = error.to_string();
        let text = text.split(" at ").next().unwrap_or_default();
        place.error(format!("not XML: {text}"))
    })
}

/// Fails for deep nesting, on which parsers that call themselves for each level end the process.
fn ensure_shallow(text: &str) -> Result<(), InputError> {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    let mut depth = 0_usize;
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            // The text of an entity may have elements, whose depth is not counted here.
            Ok(Event::DocType(text)) if text.contains('[') => {
                return Err(InputError::whole(
                    "not a configuration: the DTD declares entities",
                ));
            }
            // The other parser says where and why.
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        if depth > MAX_DEPTH {
            let text = format!("not a configuration: more than {MAX_DEPTH} elements are nested");
            return Err(InputError::whole(text));
        }
    }
}

/// Returns where an element begins.
pub(crate) fn place(node: Node<'_, '_>) -> Place {
    Place::Offset(node.range().start)
}

/// Returns the text of an element, without white space around it. Comments are no part of it.
pub(crate) fn text(node: Node<'_, '_>) -> Result<String, InputError> {
    Ok(whole_text(node)?.trim().to_owned())
}

fn whole_text(node: Node<'_, '_>) -> Result<String, InputError> {
    if let Some(inner) = node.children().find(Node::is_element) {
        let (inner, outer) = (inner.tag_name().name(), node.tag_name().name());
        let text = format!("<{inner}> in <{outer}>, expected text alone");
        return Err(place(node).error(text));
    }
    let texts = node.children().filter(Node::is_text);
    Ok(texts.filter_map(|text| text.text()).collect())
}

/// A writer of XML, indented.
pub(crate) type Xml = Writer<Vec<u8>>;

/// Writes a document.
pub(crate) fn write(contents: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    contents(&mut writer)?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    Ok(text + "\n")
}

/// A value of a property list.
#[derive(Debug)]
pub(crate) enum Plist {
    Array(Vec<Entry>),
    Bool(bool),
    Dict(Vec<(String, Entry)>),
    String(String),
    /// A number, a date or data.
    Other,
}

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Plist,
    pub(crate) place: Place,
}

impl Entry {
    /// Returns the value of a key in a dictionary.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Plist::Dict(entries) = &self.value else {
            return None;
        };
        let mut entries = entries.iter();
        entries.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(crate) fn dict(&self, name: &str) -> Result<&[(String, Self)], InputError> {
        match &self.value {
            Plist::Dict(entries) => Ok(entries),
            _ => Err(self.place.error(format!("{name} is not a dictionary"))),
        }
    }

    pub(crate) fn array(&self, name: &str) -> Result<&[Self], InputError> {
        match &self.value {
            Plist::Array(entries) => Ok(entries),
            _ => Err(self.place.error(format!("{name} is not an array"))),
        }
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool, InputError> {
        match self.value {
            Plist::Bool(value) => Ok(value),
            _ => Err(self
                .place
                .error(format!("{name} is neither true nor false"))),
        }
    }

    pub(crate) fn string(&self, name: &str) -> Result<&str, InputError> {
        match &self.value {
            Plist::String(value) => Ok(value),
            _ => Err(self.place.error(format!("{name} is not a string"))),
        }
    }
}

/// Reads a property list in XML.
pub(crate) fn read_plist(text: &str) -> Result<Entry, InputError> {
    if text.starts_with("bplist") {
        return Err(InputError::whole(
            "a binary property list, expected XML: `plutil -convert xml1 FILE` converts it",
        ));
    }
    let document = parse(text)?;
    let root = document.root_element();
    let value = root.children().find(Node::is_element);
    match value {
        Some(value) if root.has_tag_name("plist") => entry(value),
        _ => Err(place(root).error("not a property list: expected the element <plist>")),
    }
}

fn entry(node: Node<'_, '_>) -> Result<Entry, InputError> {
    let children = node.children().filter(Node::is_element);
    let value = match node.tag_name().name() {
        "array" => Plist::Array(children.map(entry).collect::<Result<_, _>>()?),
        "dict" => Plist::Dict(dict(children)?),
        "false" => Plist::Bool(false),
        "string" => Plist::String(whole_text(node)?),
        "true" => Plist::Bool(true),
        "data" | "date" | "integer" | "real" => Plist::Other,
        name => return Err(place(node).error(format!("<{name}> in a property list"))),
    };
    let place = place(node);
    Ok(Entry { value, place })
}

fn dict<'d, 'i: 'd>(
    children: impl Iterator<Item = Node<'d, 'i>>,
) -> Result<Vec<(String, Entry)>, InputError> {
    let mut entries: Vec<(String, Entry)> = Vec::new();
    let mut known = HashSet::new();
    let mut children = children;
    while let Some(key) = children.next() {
        if !key.has_tag_name("key") {
            return Err(place(key).error("a value without its <key>"));
        }
        let name = text(key)?;
        let Some(value) = children.next() else {
            return Err(place(key).error(format!("the key {name} has no value")));
        };
        if !known.insert(name.clone()) {
            return Err(place(key).error(format!("the key {name} twice")));
        }
        entries.push((name, entry(value)?));
    }
    Ok(entries)
}

/// Writes a property list with this dictionary.
pub(crate) fn write_plist(contents: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<String> {
    write(|xml| {
        let doctype = "plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                       \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\"";
        xml.write_event(Event::DocType(BytesText::from_escaped(doctype)))?;
        let plist = xml
            .create_element("plist")
            .with_attribute(("version", "1.0"));
        plist.write_inner_content(|xml| dict_of(xml, contents))?;
        Ok(())
    })
}

pub(crate) fn dict_of(
    xml: &mut Xml,
    contents: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element("dict").write_inner_content(contents)?;
    Ok(())
}

/// Writes an element with this text.
pub(crate) fn element(xml: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    xml.create_element(name)
        .write_text_content(BytesText::new(text))?;
    Ok(())
}

/// Writes a key and the dictionary that is its value.
pub(crate) fn dict_entry(
    xml: &mut Xml,
    key: &str,
    contents: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    element(xml, "key", key)?;
    dict_of(xml, contents)
}

pub(crate) fn bool_entry(xml: &mut Xml, key: &str, value: bool) -> io::Result<()> {
    element(xml, "key", key)?;
    xml.create_element(if value { "true" } else { "false" })
        .write_empty()?;
    Ok(())
}

pub(crate) fn string_entry(xml: &mut Xml, key: &str, value: &str) -> io::Result<()> {
    element(xml, "key", key)?;
    element(xml, "string", value)
}

pub(crate) fn array_entry(
    xml: &mut Xml,
    key: &str,
    contents: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    element(xml, "key", key)?;
    xml.create_element("array").write_inner_content(contents)?;
    Ok(())
}
