#!/usr/bin/env python3
"""Makes blob.json: ciphertext blobs by an implementation that shares no code with the crate.

Needs the Python package `cryptography`. Run it only for a new blob format; the vectors of old formats stay.
"""
import hashlib
import hmac
import json
import struct
import sys
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def fixed(label, length):
    """Bytes without structure that anybody can make again."""
    return hashlib.shake_256(label.encode()).digest(length)


def key_id_bytes(key_id):
    if key_id.startswith("mrk-"):
        return b"\x01" + bytes.fromhex(key_id[4:])
    return b"\x00" + uuid.UUID(key_id).bytes


def canonical(context):
    out = struct.pack("<I", len(context))
    for name, value in sorted(context.items()):
        for text in (name.encode(), value.encode()):
            out += struct.pack("<I", len(text)) + text
    return out


def vector(label, key_id, context, plaintext):
    material, random = fixed(label + " material", 32), fixed(label + " random", 32)
    raw_id = key_id_bytes(key_id)
    material_id = hmac.new(material, b"kms-core material id v1" + raw_id, hashlib.sha256).digest()
    header = b"\x01\x01" + raw_id + material_id[:16]
    key = HKDF(hashes.SHA256(), 32, random, b"kms-core blob v1" + raw_id).derive(material)
    sealed = AESGCM(key).encrypt(bytes(12), plaintext, header + canonical(context))
    return {
        "name": label,
        "key_id": key_id,
        "material": material.hex(),
        "random": random.hex(),
        "context": context,
        "plaintext": plaintext.hex(),
        "material_id": material_id.hex(),
        "blob": (header + random + sealed).hex(),
    }


UUID = "6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11"
vectors = [
    vector("data key, two pairs", UUID, {"volume": "one", "inode": "42"}, fixed("data key", 32)),
    vector("no context", UUID, {}, b"\x00"),
    vector("multi-Region key", "mrk-000102030405060708090a0b0c0d0e0f", {"a": ""}, b"text"),
    vector("not ASCII, longest plaintext", UUID, {"\u00e9": "\U0001f511", "z": "", "Z": "z"}, fixed("long", 4096)),
]
json.dump(vectors, sys.stdout, indent=1)
print()
