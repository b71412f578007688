#!/usr/bin/env python3
"""Writes the bundles and roots of this folder, and the outcome that is expected of each.

usage: make.py FOLDER

Only the standard library is used, and no code of pinhold: notes, keys and Ed25519 are written after
their specifications. All keys come from fixed seeds, so that each run writes the same bytes.

The list `index.json` has an entry for each bundle: its file, the root that the client has, and what
is expected. An entry with "after" is of a client that has accepted that bundle before. An entry with
"contained" is a root in an application, with a bundle that is right.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

# Ed25519, RFC 8032 section 5.1.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(one, other):
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    product = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            product = add(product, point)
        point = add(point, point)
        scalar >>= 1
    return product


def base_point():
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x & 1:
        x = P - x
    return x, y, 1, x * y % P


BASE = base_point()


def compress(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def sha512_number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


class Key:
    """A signer: a name and the key of a seed."""

    def __init__(self, name, seed):
        self.name = name
        secret = hashlib.sha512(hashlib.sha256(seed.encode()).digest()).digest()
        scalar = int.from_bytes(secret[:32], "little")
        self.scalar = scalar & (1 << 254) - 8 | 1 << 254
        self.prefix = secret[32:]
        self.public = compress(multiply(self.scalar, BASE))

    def renamed(self, name):
        copy = object.__new__(Key)
        copy.__dict__.update(self.__dict__, name=name)
        return copy

    def id(self):
        return key_id(self.name, b"\x01" + self.public)

    def text(self):
        return key_text(self.name, b"\x01" + self.public)

    def sign(self, message):
        r = sha512_number(self.prefix, message) % ORDER
        commitment = compress(multiply(r, BASE))
        k = sha512_number(commitment, self.public, message) % ORDER
        s = (r + k * self.scalar) % ORDER
        return commitment + s.to_bytes(32, "little")

    def line(self, text):
        return line(self.name, self.id(), self.sign(text.encode()))


# Signed notes, https://c2sp.org/signed-note.


def key_id(name, typed):
    return hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]


def key_text(name, typed):
    return f"{name}+{key_id(name, typed).hex()}+{base64.b64encode(typed).decode()}"


def line(name, identifier, signature):
    return f"\u2014 {name} {base64.b64encode(identifier + signature).decode()}\n"


def note(text, keys, more=""):
    """Returns the note of a text that these keys have signed, with more lines after theirs."""
    return text + "\n" + "".join(key.line(text) for key in keys) + more


# The keys of the operator, of a thief, and of a signer of the future.
ONE = Key("example.com/pins/1", "one")
TWO = Key("example.com/pins/2", "two")
THREE = Key("example.com/pins/3", "three")
FOUR = Key("example.com/pins/4", "four")
FIVE = Key("example.com/pins/5", "five")
OTHER = Key("example.net/other", "other")
BOTH, NEW = [ONE, TWO], [FOUR, FIVE]
ML_DSA_44 = b"\xff" + b"example.com/ml-dsa-44" + bytes(range(256)) * 5
ML_DSA_44_NAME = "example.com/pins/pq"


def unknown_lines():
    """Signatures of types, names and IDs that no client knows, beside an empty one of 1 byte."""
    size = bytes(index * 7 % 256 for index in range(2420))
    long = line(ML_DSA_44_NAME, key_id(ML_DSA_44_NAME, ML_DSA_44), size)
    longer = line("example.com/pins/slh-dsa", b"\xfe\xfe\xfe\xfe", size * 2)
    short = line("\u00fcber.example/\u9375", b"\0\0\0\0", b"\0")
    same_name = line(ONE.name, TWO.id(), bytes(64))
    same_id = line("example.com/pins/1a", ONE.id(), bytes(64))
    return long + longer + short + same_name + same_id


# Texts.


def dump(members):
    return json.dumps(members, indent=2, ensure_ascii=False) + "\n"


def root_members(version, threshold, keys, **more):
    keys = [key if isinstance(key, str) else key.text() for key in keys]
    members = {"type": "pin-root", "version": version, "threshold": threshold, "keys": keys}
    return {**members, **more}


def root(version, threshold, keys, signers, **more):
    return note(dump(root_members(version, threshold, keys, **more)), signers)


def pin(number):
    return "sha256/" + base64.b64encode(hashlib.sha256(b"key %d" % number).digest()).decode()


def policy(host, number, **more):
    return {"hosts": [host], "pins": [pin(number), pin(number + 1)], **more}


def bundle_members(version=7, root_version=1, **more):
    members = {
        "type": "pin-bundle",
        "version": version,
        "root_version": root_version,
        "issued": "2026-11-30T12:00:00Z",
        "expires": "2027-02-28T12:00:00Z",
        "pins": {"version": 1, "policies": [policy("api.example.com", 1)]},
    }
    members.update(more)
    return {name: value for name, value in members.items() if value is not None}


def full_members():
    """Returns a bundle with each member that the format has."""
    return bundle_members(
        when_stale="built-in",
        pins={
            "version": 1,
            "policies": [
                policy("api.example.com", 1, scope="host-and-subdomains"),
                policy("example.org", 3, expires="2027-06-30T23:59:59Z", after_expiry="report-only"),
                {
                    "hosts": ["groups.example"],
                    "all_of": [
                        {"ca_pins": [{"pin": pin(5)}, pin(6)]},
                        {"leaf_pins": [pin(7), {"pin": pin(8), "comment": "backup"}]},
                    ],
                    "candidate": {"pins": [pin(5), pin(9)]},
                },
            ],
            "refused_keys": [pin(20)],
        },
        refused_keys=[pin(21), {"pin": pin(22)}],
        kill_switch={"until": "2026-12-30T12:00:00Z"},
        staging={"percent": 10, "salt": "2026-12 new CA"},
        suspend_noted=["api.example.com", "example.org"],
        intermediates=[base64.b64encode(bytes(range(100))).decode()],
        critical=["pins", "refused_keys", "kill_switch", "until", "percent", "scope", "pin"],
    )


UNKNOWN = [
    ("next_member", {"any": ["value", 1.5e300, None, True, {"deep": [[[[]]]]}]}),
    ("\u7121\u8996", "ignored"),
    ("a_number", 123456789012345678901234567890),
]


def with_unknown(value):
    """Adds members that no client knows to each object."""
    if isinstance(value, list):
        return [with_unknown(element) for element in value]
    if not isinstance(value, dict):
        return value
    known = [(name, with_unknown(element)) for name, element in value.items()]
    half = len(known) // 2
    return dict(UNKNOWN[:1] + known[:half] + UNKNOWN[1:2] + known[half:] + UNKNOWN[2:])


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Folder:
    """The files, and the list of what is expected of them."""

    def __init__(self, path):
        self.path = path
        self.index = []
        self.roots = {}

    def write(self, name, content):
        content = content.encode() if isinstance(content, str) else content
        (self.path / name).write_bytes(content)

    def root(self, name, text):
        self.write(name + ".root", text)
        self.roots[name] = text
        return text

    def accepted(self, name, text, signed, known="first", version=(1, 7), **more):
        self.write(name + ".bundle", signed)
        expected = {"root_version": version[0], "version": version[1], "sha256": digest(text)}
        entry = {"bundle": name, "root": known, "accepted": expected}
        self.index.append({**entry, **more})

    def refused(self, name, content, error, known="first", **more):
        self.write(name + ".bundle", content)
        self.index.append({"bundle": name, "root": known, "refused": error, **more})

    def refused_root(self, name, content, error):
        """A root that no application can contain."""
        self.write(name + ".root", content)
        self.index.append({"contained": name, "refused": error})


def write_roots(folder):
    unknown_key = key_text(ML_DSA_44_NAME, ML_DSA_44)
    folder.root("first", root(1, 2, BOTH, BOTH))
    folder.root("two-of-three", root(1, 2, [ONE, TWO, THREE], [ONE, TWO, THREE]))
    folder.root("one-of-two", root(1, 1, BOTH, BOTH))
    folder.root("unknown-key", root(1, 2, [unknown_key, ONE, unknown_key, TWO], BOTH))
    folder.root("second", root(2, 2, NEW, BOTH + NEW))
    folder.root("third", root(3, 1, [THREE], NEW + [THREE]))
    folder.root("fourth", root(4, 1, [THREE, OTHER], [THREE, OTHER]))
    renamed = ONE.renamed("example.com/pins/1b")
    folder.root("renamed-key", root(1, 2, [ONE, renamed, TWO], [ONE, renamed, TWO]))
    members = root_members(1, 2, [unknown_key] + BOTH, critical=["keys", "comment"])
    folder.root("next-version", note(dump(with_unknown(members)), BOTH, unknown_lines()))


def write_accepted(folder):
    plain, full = dump(bundle_members()), dump(full_members())
    three = [ONE, TWO, THREE]
    folder.accepted("plain", plain, note(plain, BOTH), values={
        "hosts": ["api.example.com"], "issued": 1796040000, "expires": 1803816000,
    })
    folder.accepted("full", full, note(full, BOTH), values={
        "hosts": ["api.example.com", "example.org", "groups.example"],
        "issued": 1796040000, "expires": 1803816000, "kill_switch": 1798632000,
        "percent": 10, "salt": "2026-12 new CA", "when_stale": "BuiltIn",
        "suspend_noted": ["api.example.com", "example.org"],
        "refused_keys": [pin(21), pin(22)], "intermediates": 1,
    })
    folder.accepted("reversed-signatures", plain, note(plain, BOTH[::-1]), same_as="plain")
    folder.accepted("unknown-signatures", plain, note(plain, [OTHER] + BOTH, unknown_lines()), same_as="plain")
    first = plain + "\n" + unknown_lines() + "".join(key.line(plain) for key in BOTH)
    folder.accepted("unknown-signatures-first", plain, first, same_as="plain")
    others = [OTHER.renamed(f"example.net/{number}") for number in range(62)]
    folder.accepted("16-signatures", plain, note(plain, others[:14] + BOTH), same_as="plain")
    folder.accepted("64-signatures", plain, note(plain, others + BOTH), same_as="plain")
    folder.accepted("doubled-signature", plain, note(plain, BOTH + BOTH), same_as="plain")
    for index, pair in enumerate([three[:2], three[1:], three[::2], three]):
        folder.accepted(f"two-of-three-{index + 1}", plain, note(plain, pair), "two-of-three", same_as="plain")
    folder.accepted("by-a-root-with-an-unknown-key", plain, note(plain, BOTH), "unknown-key", same_as="plain")
    folder.accepted("by-a-root-of-a-next-version", plain, note(plain, BOTH), "next-version", same_as="plain")
    write_spellings(folder)
    write_chains(folder)
    next_version = dump(with_unknown(full_members()))
    folder.accepted("next-version", next_version, note(next_version, BOTH, unknown_lines()), same_as="full")


def write_spellings(folder):
    """Texts that mean the same as the plain one."""
    members = bundle_members()
    empty_lines = dump(members).replace('",\n', '",\n\n\n') + "\n\n"
    folder.accepted("empty-lines", empty_lines, note(empty_lines, BOTH), same_as="plain")
    compact = json.dumps(members, separators=(",", ":")) + "\n"
    folder.accepted("compact", compact, note(compact, BOTH), same_as="plain")
    comment = {
        "comment": "Stra\u00dfe, \u65e5\u672c\u8a9e, \U0001f511, \u2014 example.com/pins/1 AAAA, \u007f\u0085\u2028",
        "pins": {"comment": ["\u00e9", {"e\u0301": "\ufeff"}], **members["pins"]},
    }
    commented = dump({**members, **comment})
    folder.accepted("comments", commented, note(commented, BOTH), same_as="plain")
    escapes = dump(members).replace('"version"', '"\\u0076ersion"')
    escapes = escapes.replace("sha256/", "sha256\\/").replace("api.", "\\u0061pi.")
    folder.accepted("escapes", escapes, note(escapes, BOTH), same_as="plain")
    # A line of the text that looks like a signature, after an empty one.
    look = dump(members).replace("{\n", "\n\n{\n", 1)
    look = look.replace("}\n", '}\n\n', 1)
    folder.accepted("empty-lines-around", look, note(look, BOTH), same_as="plain")
    last = dump(bundle_members(version=2**64 - 1))
    folder.accepted("last-version", last, note(last, BOTH), version=(1, 2**64 - 1))
    zero = dump(bundle_members(version=0))
    folder.accepted("version-0", zero, note(zero, BOTH), version=(1, 0))
    long = dump(bundle_members(staging={"percent": 100, "salt": ""}, critical=[], roots=[]))
    folder.accepted("empty-lists", long, note(long, BOTH))


def write_chains(folder):
    first, second, third = (folder.roots[name] for name in ["first", "second", "third"])

    def chained(name, version, roots, keys, **more):
        text = dump(bundle_members(root_version=version, roots=roots))
        folder.accepted(name, text, note(text, keys), version=(version, 7), **more)

    chained("chain-of-2", 2, [second], NEW)
    chained("chain-of-3", 3, [second, third], [THREE])
    chained("chain-with-known-roots", 3, [first, second, second, third], [THREE])
    chained("chain-of-3-at-the-second-root", 3, [second, third], [THREE], known="second")
    chained("chain-of-3-at-the-third-root", 3, [second, third], [THREE], known="third")
    chained("without-chain-at-the-second-root", 2, [], NEW, known="second")
    unknown_key = key_text(ML_DSA_44_NAME, ML_DSA_44)
    members = with_unknown(root_members(2, 2, [unknown_key] + NEW))
    next_version = note(dump(members), NEW + BOTH, unknown_lines())
    chained("chain-of-a-next-version", 2, [next_version], NEW)


def write_refused_signatures(folder):
    text = dump(bundle_members())
    other = dump(bundle_members(version=8))
    renamed = ONE.renamed("example.com/pins/1b")
    one_of_two = "Signatures 1 of 2"
    folder.refused("one-signature", note(text, [ONE]), one_of_two)
    folder.refused("one-signature-twice", note(text, [ONE, ONE]), one_of_two)
    folder.refused("one-key-with-two-names", note(text, [ONE, renamed]), one_of_two, "renamed-key")
    folder.refused("an-unknown-key", note(text, [ONE, OTHER.renamed(TWO.name)]), one_of_two)
    folder.refused("no-known-signature", note(text, [], unknown_lines()), "Signatures 0 of 2")
    wrong = line(TWO.name, TWO.id(), TWO.sign(other.encode()))
    folder.refused("signature-of-another-text", note(text, [ONE], wrong), f"BadSignature {TWO.name}")
    folder.refused("wrong-beside-enough", note(text, [ONE, TWO], wrong), f"BadSignature {TWO.name}")
    folder.refused("wrong-beside-threshold", note(text, [ONE], wrong), f"BadSignature {TWO.name}", "one-of-two")
    long = line(TWO.name, TWO.id(), TWO.sign(text.encode()) + b"\0")
    folder.refused("long-signature", note(text, [ONE], long), f"BadSignature {TWO.name}")
    # RFC 8032 section 8.4: s plus the order of the group would be a second signature.
    right = TWO.sign(text.encode())
    malleable = right[:32] + (int.from_bytes(right[32:], "little") + ORDER).to_bytes(32, "little")
    malleable = line(TWO.name, TWO.id(), malleable)
    folder.refused("malleable-signature", note(text, [ONE], malleable), f"BadSignature {TWO.name}")
    without_line_feed = text[:-1]
    lines = "".join(key.line(without_line_feed) for key in BOTH)
    folder.refused("signed-without-last-line-feed", text + "\n" + lines, f"BadSignature {ONE.name}")
    # Found by a search: another key with the name and the ID of a known one. The note of a root with
    # both is ambiguous.
    collision = colliding()
    folder.root("colliding-keys", root(1, 1, [collision[0], collision[1]], [collision[0]]))
    folder.refused("by-a-root-with-colliding-keys", note(text, [collision[0]]), f"BadSignature {ONE.name}", "colliding-keys")


def colliding():
    """Returns two keys with the same name and the same ID, of which only the first can sign."""
    key = Key(ONE.name, "pinhold vectors, colliding 908")
    public = hashlib.sha256(b"not a key 3523886").digest()
    other = key.renamed(ONE.name)
    other.public = public
    assert other.id() == key.id() and other.public != key.public
    return key, other


def write_refused_notes(folder):
    text = dump(bundle_members())
    signed = note(text, BOTH)
    number = len(text.encode()) + 1

    def refused(name, content, error):
        folder.refused(name, content, "Note " + error)

    refused("empty", "", "NoSignatures")
    refused("unsigned", text, "NoSignatures")
    refused("without-signatures", text + "\n", "NoSignatures")
    refused("captive-portal", "<!DOCTYPE html>\n<html><body>Log in</body></html>\n", "NoSignatures")
    refused("captive-portal-with-empty-lines", "<html>\n\n<body>Log in</body>\n\n</html>\n", "SignatureLine 1")
    refused("without-last-line-feed", signed[:-1], "NoSignatures")
    refused("empty-line-at-the-end", signed + "\n", "NoSignatures")
    refused("truncated", signed[:-20] + "\n", "SignatureLine 2")
    refused("crlf", signed.replace("\n", "\r\n"), "ControlCharacter 1")
    refused("tabs", signed.replace("  ", "\t"), "ControlCharacter 2")
    refused("nul", signed[:-1] + "\0\n", f"ControlCharacter {len(signed.encode()) - 1}")
    refused("latin-1", signed.replace("api", "\u00e9pi").encode("latin-1", "replace"), "Utf8")
    refused("surrogate", signed.encode().replace(b"api", b"\xed\xa0\x80"), "Utf8")
    refused("hyphens", signed.replace("\u2014", "-"), "SignatureLine 1")
    refused("no-name", signed.replace(" " + ONE.name, "", 1), "SignatureLine 1")
    refused("plus-in-a-name", signed.replace(TWO.name, "example.com+2"), "SignatureLine 2")
    refused("space-in-a-name", signed.replace(TWO.name, "example.com\u00a02"), "SignatureLine 2")
    refused("url-base64", note(text, BOTH, "\u2014 example.net/a AAAA_--_\n"), "SignatureLine 3")
    refused("unpadded-base64", note(text, BOTH, "\u2014 example.net/a AAAAAAA\n"), "SignatureLine 3")
    refused("other-last-bits", note(text, BOTH, "\u2014 example.net/a AAAAAAB=\n"), "SignatureLine 3")
    refused("key-id-alone", note(text, BOTH, "\u2014 example.net/a AAAAAA==\n"), "SignatureLine 3")
    refused("65-signatures", note(text, [OTHER.renamed(f"example.net/{index}") for index in range(63)] + BOTH), "TooManySignatures")
    assert signed.encode()[number - 1 : number] == b"\n"
    folder.index.append({"repeated": 10, "times": 2**20 + 1, "root": "first", "refused": "TooLarge 1048577"})


def write_refused_bodies(folder):
    def refused(name, error, text=None, **members):
        text = text or dump(bundle_members(**members))
        folder.refused(name, note(text, BOTH), error)

    plain = dump(bundle_members())
    for name in ["type", "version", "root_version", "issued", "expires", "pins"]:
        refused(f"without-{name}", "Body MissingMember", **{name: None})
    refused("another-type", "Body UnknownValue", type="pin-list")
    refused("a-root-as-a-bundle", "Body UnknownValue", text=folder.roots["first"].split("\n\n")[0] + "\n")
    refused("unknown-value", "Body UnknownValue", when_stale="refuse")
    refused("doubled-member", "Body DuplicateMember", text=plain.replace("{\n", '{\n  "version": 9,\n', 1))
    refused("doubled-root-version", "Body DuplicateMember", text=plain.replace("{\n", '{\n  "root_version": 1,\n', 1))
    refused("doubled-by-an-escape", "Body DuplicateMember", text=plain.replace("{\n", '{\n  "\\u0074ype": "pin-bundle",\n', 1))
    refused("not-json", "Body Json", text="pins: none\n")
    refused("two-objects", "Body Json", text=plain + plain)
    refused("byte-order-mark", "Body Json", text="\ufeff" + plain)
    refused("fraction", "Body Json", text=plain.replace('"version": 7', '"version": 7.0'))
    refused("beyond-64-bits", "Body Json", text=plain.replace('"version": 7', f'"version": {2**64}'))
    refused("version-as-text", "Body Json", version="7")
    refused("deep", "Body Json", text=plain.replace('"version": 7', '"version": ' + "[" * 5000 + "]" * 5000))
    refused("time-with-offset", "Body Time", issued="2026-11-30T12:00:00+00:00")
    refused("31-november", "Body Time", issued="2026-11-31T12:00:00Z")
    refused("no-policies", "Body NoPolicies", pins={"version": 1, "policies": []})
    refused("next-pin-file", "Body Version", pins={"version": 2, "policies": [policy("a.example", 1)]})
    refused("one-pin", "Body Policy", pins={"version": 1, "policies": [{"hosts": ["a.example"], "pins": [pin(1)]}]})
    refused("no-host", "Body Host", pins={"version": 1, "policies": [policy("a b", 1)]})
    twice = [policy("a.example", 1), policy("A.example", 2)]
    refused("host-twice", "Body DuplicateHost", pins={"version": 1, "policies": twice})
    both = [policy("a.example", 1, all_of=[])]
    refused("pins-and-groups", "Body ConflictingMembers", pins={"version": 1, "policies": both})
    refused("no-pin", "Body Pin", refused_keys=["sha256/AAAA"])
    report = [policy("a.example", 1, report_uris=["no uri"])]
    refused("no-report-uri", "Body ReportUri", pins={"version": 1, "policies": report})
    write_refused_values(refused)


def write_refused_values(refused):
    refused("expires-when-issued", "Expiry", expires="2026-11-30T12:00:00Z")
    refused("long-kill-switch", "KillSwitch", kill_switch={"until": "2026-12-30T12:00:01Z"})
    refused("staged-for-101-percent", "Staging 101", staging={"percent": 101, "salt": "s"})
    refused("staged-for-256-percent", "Staging 256", staging={"percent": 256, "salt": "s"})
    refused("suspends-another-host", "SuspendsOther example.com", suspend_noted=["example.com"])
    certificate = base64.b64encode(bytes(4097)).decode()
    refused("large-intermediate", "Intermediate 1", intermediates=["AAAA", certificate])
    refused("17-intermediates", "Intermediate 16", intermediates=["AAAA"] * 17)
    refused("no-intermediate", "Intermediate 0", intermediates=["-----BEGIN CERTIFICATE-----"])
    refused("critical", "Critical next_member", critical=["pins", "next_member"])
    members = {**full_members(), "critical": ["pins", "next_member"]}
    refused("critical-next-version", "Critical next_member", text=dump(with_unknown(members)))


def write_refused_chains(folder):
    def refused(name, error, version, roots, keys, known="first"):
        roots = [folder.roots.get(root, root) for root in roots]
        text = dump(bundle_members(root_version=version, roots=roots))
        folder.refused(name, note(text, keys), error, known)

    refused("old-keys-beside-a-new-root", "NotNewestRoot 1 of 2", 1, ["second"], BOTH)
    refused("new-keys-without-their-root", "NotNewestRoot 2 of 1", 2, [], NEW)
    refused("old-keys-for-a-new-root", "Signatures 0 of 2", 2, ["second"], BOTH)
    refused("old-bundle-at-the-second-root", "NotNewestRoot 1 of 2", 1, [], BOTH, "second")
    refused("gap", "RootGap 2 not 3", 3, ["third"], [THREE])
    refused("reversed-chain", "RootGap 2 not 3", 3, ["third", "second"], [THREE])
    for name, error, signers in [
        ("by-the-old-only", "Signatures 0 of 2 by 2", BOTH),
        ("by-the-new-only", "Signatures 0 of 2 by 1", NEW),
        ("by-one-old", "Signatures 1 of 2 by 1", NEW + [ONE]),
        ("by-one-new", "Signatures 1 of 2 by 2", BOTH + [FOUR]),
    ]:
        refused(f"root-{name}", "Root 0 " + error, 2, [root(2, 2, NEW, signers)], NEW)
    text = dump(root_members(2, 2, NEW))
    wrong = note(text, BOTH + NEW, line(ONE.name, ONE.id(), bytes(64)))
    refused("root-with-a-wrong-signature", f"Root 0 BadSignature {ONE.name}", 2, [wrong], NEW)
    refused("bundle-as-a-root", "Root 0 Body UnknownValue", 2, [note(dump(bundle_members()), BOTH)], NEW)
    for name, error, content in root_errors():
        refused(f"chain-{name}", f"Root 1 {error}", 3, ["second", content], NEW)


def root_errors():
    """Returns notes that are no root, whatever the version, as far as they are read."""
    def signed(version=3, threshold=2, keys=NEW, **more):
        return root(version, threshold, keys, NEW, **more)

    text = FOUR.text()
    name, identifier, encoded = text.split("+", 2)
    return [
        ("html", "Note NoSignatures", "<html></html>\n"),
        ("tab", "Note ControlCharacter 0", "\t" + signed()),
        ("critical", "Critical next_member", signed(critical=["next_member"])),
        ("doubled-member", "Body DuplicateMember", note(dump(root_members(3, 2, NEW)).replace("{\n", '{\n  "threshold": 1,\n'), NEW)),
        ("without-keys", "Body MissingMember", signed(keys=NEW).replace('"keys"', '"kays"')),
        ("threshold-0", "Threshold 0 of 2", signed(threshold=0)),
        ("threshold-3", "Threshold 3 of 2", signed(threshold=3)),
        ("threshold-of-names", "Threshold 2 of 1", signed(keys=[FOUR, FOUR.renamed("example.com/pins/4b")])),
        ("no-known-key", "Threshold 2 of 0", signed(keys=[key_text(ML_DSA_44_NAME, ML_DSA_44)])),
        ("wrong-key-id", "Key", signed(keys=[FIVE, f"{name}+00000000+{encoded}"])),
        ("upper-case-key-id", "Key", signed(keys=[FIVE, f"{name}+{identifier.upper()}+{encoded}"])),
        ("short-key", "Key", signed(keys=[FIVE, key_text("a", b"\x01" + bytes(31))])),
        ("empty-key", "Key", signed(keys=[FIVE, key_text("a", b"")])),
        ("space-in-a-key-name", "Key", signed(keys=[FIVE, key_text("a b", b"\x01" + bytes(32))])),
        ("no-key-name", "Key", signed(keys=[FIVE, key_text("", b"\x01" + bytes(32))])),
        ("no-key", "Key", signed(keys=[FIVE, "example.com/foo"])),
    ]


def write_contained(folder):
    """Roots that an application contains, which their own keys must have signed."""
    for name, error, content in root_errors():
        folder.refused_root(f"contained-{name}", content, error)
    folder.refused_root("contained-unsigned", dump(root_members(1, 2, BOTH)), "Note NoSignatures")
    folder.refused_root("contained-by-one", root(1, 2, BOTH, [ONE]), "Signatures 1 of 2 by 1")
    folder.refused_root("contained-by-others", root(1, 2, BOTH, NEW), "Signatures 0 of 2 by 1")
    text = dump(root_members(1, 2, BOTH))
    wrong = note(text, [ONE], line(TWO.name, TWO.id(), bytes(64)))
    folder.refused_root("contained-with-a-wrong-signature", wrong, f"BadSignature {TWO.name}")


def write_refused_later(folder):
    """Bundles that are refused by a client that has accepted another one."""
    def refused(name, error, after="plain", **members):
        folder.refused(name, note(dump(bundle_members(**members)), BOTH), error, after=after)

    refused("older", "Rollback 1.6 below 1.7", version=6)
    refused("same-version", "Equivocation 1.7", comment="another")
    refused("older-than-the-last", "Rollback 1.8 below 1.18446744073709551615", "last-version", version=8)
    exempt = policy("a.example", 1, scope="host-and-subdomains", exempt=["b.example"])
    refused("exemption-of-nothing", "Exemption a.example b.example", version=8,
            pins={"version": 1, "policies": [exempt]})
    # By the old keys, after the new root was accepted.
    roots = [root(2, 1, [OTHER], BOTH + [OTHER])]
    text = dump(bundle_members(version=99, root_version=2, roots=roots))
    folder.refused("another-second-root", note(text, [OTHER]), "Signatures 0 of 2", after="chain-of-2")


def main():
    folder = Folder(Path(sys.argv[1]))
    write_roots(folder)
    write_accepted(folder)
    write_refused_signatures(folder)
    write_refused_notes(folder)
    write_refused_bodies(folder)
    write_refused_chains(folder)
    write_contained(folder)
    write_refused_later(folder)
    folder.write("index.json", json.dumps(folder.index, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
