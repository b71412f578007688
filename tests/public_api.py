#!/usr/bin/env python3
"""Compares the public API of the library, with all features, with tests/public-api.txt.

usage: tests/public_api.py [--write]

  --write   replaces the list; commit it together with the change of the API

The list has a line for each public item: its path, its signature, the traits it implements. An item
that has several paths is described under the shortest one. What is `#[doc(hidden)]` is not listed.

The items are read from rustdoc's JSON, which a stable toolchain prints only if it is treated as a
nightly one. That is done for rustdoc alone, so that the dependencies are not built twice.
"""

import difflib
import json
import re
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "public-api.txt"
# rustdoc of Rust 1.95. Another version may print other fields.
FORMAT = 57
# Set when cargo runs this script in place of rustdoc.
AS_RUSTDOC = "PINHOLD_PUBLIC_API_RUSTDOC"
# Nearly every type has these; those that are missing are listed.
AUTO_TRAITS = ["Send", "Sync", "Unpin", "UnwindSafe"]
# Types and traits of the standard library that are printed without their path.
UNQUALIFIED = set("""
    AsRef Box Clone Copy Debug Default Display Drop Eq Fn FnMut FnOnce From Hash Into IntoIterator
    Iterator Option Ord PartialEq PartialOrd Result Send Sized String Sync ToOwned TryFrom
    TryInto Vec
""".split())


def main():
    if os.environ.get(AS_RUSTDOC):
        environment = dict(os.environ, RUSTC_BOOTSTRAP="1")
        os.execvpe("rustdoc", ["rustdoc", *sys.argv[1:]], environment)
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(__doc__)
    lines = Listing(rustdoc_json()).lines()
    text = "".join(f"{line}\n" for line in lines)
    if sys.argv[1:]:
        LIST.write_text(text)
        return
    listed = LIST.read_text() if LIST.exists() else ""
    if text == listed:
        print(f"the public API is as listed, {len(lines)} lines")
        return
    sys.stdout.writelines(difflib.unified_diff(
        listed.splitlines(True), text.splitlines(True), "tests/public-api.txt", "public API", n=0))
    sys.exit("the public API differs from tests/public-api.txt; if that is meant, "
             "run tests/public_api.py --write")


def rustdoc_json():
    command = ["cargo", "rustdoc", "--locked", "--quiet", "--package", "pinhold", "--all-features",
               "--lib", "--", "--cap-lints", "allow", "-Z", "unstable-options", "--output-format",
               "json"]
    environment = dict(os.environ, RUSTDOC=str(Path(__file__).resolve()))
    environment[AS_RUSTDOC] = "1"
    # The flags of the documentation step are for people's documentation.
    environment.pop("RUSTDOCFLAGS", None)
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    crate = json.loads((ROOT / target / "doc" / "pinhold.json").read_text())
    if crate["format_version"] != FORMAT:
        print(f"rustdoc printed version {crate['format_version']} of its JSON format, expected "
              f"{FORMAT}; if this fails, use Rust 1.95 or adapt tests/public_api.py",
              file=sys.stderr)
    return crate


class Listing:
    def __init__(self, crate):
        self.index = crate["index"]
        self.paths = crate["paths"]
        self.root = crate["root"]
        # The paths of each public item, and the re-exports of other crates' items.
        self.public = {}
        self.reexports = []
        self.collect(self.root, "pinhold")

    def item(self, id):
        return self.index.get(str(id))

    def collect(self, id, path):
        self.public.setdefault(id, []).append(path)
        item = self.item(id)
        for child_id in item["inner"].get("module", {}).get("items", []):
            child = self.item(child_id)
            if child is None or child["visibility"] != "public":
                continue
            if "use" not in child["inner"]:
                self.collect(child_id, f"{path}::{child['name']}")
                continue
            use = child["inner"]["use"]
            if use["id"] is not None and self.item(use["id"]) is not None:
                self.collect(use["id"], f"{path}::{use['name']}")
            else:
                line = f"pub use {path}::{use['name']} = {use['source']}"
                self.reexports.append((f"{path}::{use['name']}", line))

    def lines(self):
        entries = [(path, 0, line) for path, line in self.reexports]
        for id, paths in self.public.items():
            path, *others = sorted(set(paths), key=lambda path: (path.count("::"), path))
            entries += self.describe(id, path)
            entries += [(other, 0, f"pub use {other} = {path}") for other in others]
        # By path: an item, then its fields and functions, then its traits. Attributes do not count.
        without_attributes = lambda line: re.sub(r"^(#\[[^]]*\] )*", "", line)
        entries = sorted(set(entries), key=lambda entry: (*entry[:2], without_attributes(entry[2])))
        return [line for _, _, line in entries]

    # The functions below make entries: a path, the place among the entries of that path, a line.

    def describe(self, id, path):
        item = self.item(id)
        (kind, inner), = item["inner"].items()
        head = attributes(item)
        if kind == "module":
            return [(path, 0, f"pub mod {path}")]
        if kind == "function":
            return [(path, 0, head + self.function(path, inner))]
        if kind == "constant":
            return [(path, 0, f"pub const {path}: {self.type(inner['type'])}")]
        if kind == "type_alias":
            return [(path, 0, f"pub type {path} = {self.type(inner['type'])}")]
        if kind not in ("struct", "enum", "union", "trait"):
            sys.exit(f"tests/public_api.py: does not know how to print {kind} {path}")
        line = f"{head}pub {kind} {path}{self.generics(inner['generics'])}"
        if kind == "trait":
            bounds = self.bounds(inner["bounds"])
            entries = [(path, 0, line + (f": {bounds}" if bounds else ""))]
            return entries + [entry for id in inner["items"] for entry in self.member(id, path)]
        entries = [(path, 0, line + self.where(inner["generics"]))]
        if kind == "enum":
            entries += [self.variant(self.item(id), path) for id in inner["variants"]]
        else:
            entries += self.fields(inner["kind"], path)
        return entries + self.implementations(id, inner["impls"], path)

    def variant(self, item, path):
        kind = item["inner"]["variant"]["kind"]
        line = f"{attributes(item)}variant {path}::{item['name']}"
        if "tuple" in kind:
            line += f"({', '.join(self.field_type(id) for id in kind['tuple'])})"
        elif "struct" in kind:
            ids = kind["struct"]["fields"]
            fields = [f"{self.item(id)['name']}: {self.field_type(id)}" for id in ids]
            line += f" {{ {', '.join(fields)} }}"
        return path, 1, line

    def field_type(self, id):
        item = self.item(id) if id is not None else None
        return self.type(item["inner"]["struct_field"]) if item else "_"

    def fields(self, kind, path):
        if kind == "unit":
            return []
        ids = kind["plain"]["fields"] if "plain" in kind else kind["tuple"]
        fields = [self.item(id) for id in ids if id is not None and self.item(id)]
        return [(path, 1, f"field {path}::{field['name']}: {self.field_type(field['id'])}")
                for field in fields if field["visibility"] == "public"]

    def implementations(self, type_id, ids, path):
        entries, plain, auto = [], [], []
        for id in ids:
            implementation = self.item(id)
            if implementation is None:
                continue
            inner = implementation["inner"]["impl"]
            trait = inner["trait"]
            if trait is None:
                entries += [entry for id in inner["items"] for entry in self.member(id, path)]
            elif inner["is_synthetic"]:
                if not inner["is_negative"]:
                    auto.append(self.name(trait).split("::")[-1])
            elif self.name(trait) == "std::marker::Unpin":
                # Written by pin-project-lite, over types of its own.
                continue
            elif inner["blanket_impl"] is None and "Structural" not in trait["path"]:
                text = self.implementation(type_id, inner)
                if " " in text:
                    entries.append((path, 3, text))
                else:
                    plain.append(text)
        missing = [f"not {name}" for name in AUTO_TRAITS if name not in auto]
        if plain or missing:
            entries.append((path, 2, f"impl {path}: {', '.join(sorted(plain) + missing)}"))
        return entries

    def implementation(self, type_id, inner):
        """The name of the trait alone, where nothing has parameters or associated types."""
        of = inner["for"].get("resolved_path")
        trait = self.path(inner["trait"])
        generics, where = self.generics(inner["generics"]), self.where(inner["generics"])
        types = [self.item(id) for id in inner["items"]]
        types = [f"{item['name']} = {self.type(item['inner']['assoc_type']['type'])}"
                 for item in types if item and "assoc_type" in item["inner"]]
        plain = not (generics or where or types or " " in trait)
        if plain and of and of["id"] == type_id and not of["args"]:
            return trait
        types = f" {{ {', '.join(types)} }}" if types else ""
        return f"impl{generics} {trait} for {self.type(inner['for'])}{where}{types}"

    def member(self, id, path):
        item = self.item(id)
        if item is None or item["visibility"] not in ("public", "default"):
            return []
        (kind, inner), = item["inner"].items()
        name = f"{path}::{item['name']}"
        if kind == "function":
            provided = " { .. }" if item["visibility"] == "default" and inner["has_body"] else ""
            return [(path, 1, attributes(item) + self.function(name, inner) + provided)]
        if kind == "assoc_const":
            return [(path, 1, f"pub const {name}: {self.type(inner['type'])}")]
        bounds = self.bounds(inner["bounds"])
        return [(path, 1, f"pub type {name}" + (f": {bounds}" if bounds else ""))]

    def function(self, path, inner):
        header, signature = inner["header"], inner["sig"]
        words = "pub " + "".join(
            f"{word} " for word in ("const", "async", "unsafe") if header[f"is_{word}"])
        inputs = []
        for name, type in signature["inputs"]:
            text = self.type(type)
            receivers = {"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}
            if name == "self":
                inputs.append(receivers.get(text, f"self: {text}"))
            else:
                inputs.append(f"{name}: {text}")
        output = f" -> {self.type(signature['output'])}" if signature["output"] else ""
        generics = self.generics(inner["generics"])
        where = self.where(inner["generics"])
        return f"{words}fn {path}{generics}({', '.join(inputs)}){output}{where}"

    def generics(self, generics):
        names = []
        for parameter in generics["params"]:
            (kind, inner), = parameter["kind"].items()
            if kind == "type" and not inner["is_synthetic"]:
                bounds = self.bounds(inner["bounds"])
                names.append(parameter["name"] + (f": {bounds}" if bounds else ""))
            elif kind == "const":
                names.append(f"const {parameter['name']}: {self.type(inner['type'])}")
            elif kind == "lifetime":
                names.append(parameter["name"])
        return f"<{', '.join(names)}>" if names else ""

    def where(self, generics):
        clauses = []
        for predicate in generics["where_predicates"]:
            (kind, inner), = predicate.items()
            if kind == "bound_predicate":
                clauses.append(f"{self.type(inner['type'])}: {self.bounds(inner['bounds'])}")
            elif kind == "lifetime_predicate":
                clauses.append(f"{inner['lifetime']}: {' + '.join(inner['outlives'])}")
            else:
                clauses.append(f"{self.type(inner['lhs'])} == {self.term(inner['rhs'])}")
        return f" where {', '.join(clauses)}" if clauses else ""

    def bounds(self, bounds):
        texts = []
        for bound in bounds:
            if "outlives" in bound:
                texts.append(bound["outlives"])
            elif "trait_bound" in bound:
                mark = "?" if bound["trait_bound"]["modifier"] == "maybe" else ""
                texts.append(mark + self.path(bound["trait_bound"]["trait"]))
            else:
                texts.append("use<..>")
        return " + ".join(texts)

    def path(self, path):
        return self.name(path) + self.arguments(path["args"])

    def name(self, path):
        known = self.paths.get(str(path["id"]))
        last = path["path"].split("::")[-1]
        if known is None:
            return last
        crate = "std" if known["path"][0] in ("alloc", "core") else known["path"][0]
        if known["crate_id"] == 0 or (crate == "std" and last in UNQUALIFIED):
            return last
        return "::".join([crate, *known["path"][1:]])

    def arguments(self, arguments):
        if not arguments:
            return ""
        (kind, inner), = arguments.items()
        if kind == "parenthesized":
            output = f" -> {self.type(inner['output'])}" if inner["output"] else ""
            return f"({', '.join(self.type(type) for type in inner['inputs'])}){output}"
        texts = []
        for argument in inner["args"]:
            if "type" in argument:
                texts.append(self.type(argument["type"]))
            elif "lifetime" in argument:
                texts.append(argument["lifetime"])
            else:
                texts.append(argument["const"]["expr"] if "const" in argument else "_")
        for constraint in inner["constraints"]:
            (kind, value), = constraint["binding"].items()
            value = f" = {self.term(value)}" if kind == "equality" else f": {self.bounds(value)}"
            texts.append(constraint["name"] + value)
        return f"<{', '.join(texts)}>" if texts else ""

    def term(self, term):
        return self.type(term["type"]) if "type" in term else term["constant"]["expr"]

    def type(self, type):
        (kind, inner), = type.items()
        match kind:
            case "resolved_path":
                return self.path(inner)
            case "generic" | "primitive":
                return inner
            case "borrowed_ref":
                lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
                target = self.type(inner["type"])
                target = f"({target})" if " + " in target and target.startswith("dyn") else target
                return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{target}"
            case "tuple":
                return f"({', '.join(self.type(type) for type in inner)})"
            case "slice":
                return f"[{self.type(inner)}]"
            case "array":
                return f"[{self.type(inner['type'])}; {inner['len']}]"
            case "impl_trait":
                return f"impl {self.bounds(inner)}"
            case "dyn_trait":
                bounds = [self.path(bound["trait"]) for bound in inner["traits"]]
                return f"dyn {' + '.join(bounds + [inner['lifetime']] * bool(inner['lifetime']))}"
            case "qualified_path":
                base = self.type(inner["self_type"])
                trait = inner["trait"]
                if trait and trait["path"]:
                    base = f"<{base} as {self.path(trait)}>"
                return f"{base}::{inner['name']}"
            case _:
                sys.exit(f"tests/public_api.py: does not know how to print {kind}: {inner}")


def attributes(item):
    known = {"non_exhaustive": "#[non_exhaustive] ", "must_use": "#[must_use] "}
    names = [next(iter(attribute)) if isinstance(attribute, dict) else attribute
             for attribute in item["attrs"]]
    deprecated = "#[deprecated] " if item["deprecation"] else ""
    return "".join(known.get(name, "") for name in names) + deprecated


if __name__ == "__main__":
    main()
