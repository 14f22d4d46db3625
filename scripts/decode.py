#!/usr/bin/env python3
"""Reads a volume without kmsfs, from docs/format.md alone: a second opinion on the format, and a way out without us.

usage: scripts/decode.py BACKING KEYS [OUT]

KEYS is a JSON file with the unwrapped keys, which the key management service gives to whoever may use the KMS key:
{"domains": {DOMAIN_ID: HEX}, "files": {FILE_ID: HEX}}. `scripts/decode.py --wrapped BACKING` prints what has to be
unwrapped, with the encryption context of each. The volume has to be closed or recovered. Prints a JSON object: for each
path its kind and content digest, target, attributes; with OUT the contents are written there. The first thing that is
not as the page says ends it.

Needs only the Python standard library and `cryptography`, for AES and nothing else.
"""
import base64, hashlib, hmac, json, os, struct, sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PAGE = 4096
ZERO16 = bytes(16)

class Rejected(Exception):
    """The page says that a reader MUST reject this."""

def require(condition, rule):
    if not condition:
        raise Rejected(rule)

def aes(key, data):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()

def polyval(key, data):
    """RFC 8452, section 3: multiplication is by x^-128 modulo x^128 + x^127 + x^126 + x^121 + 1."""
    modulus = (1 << 128) | (1 << 127) | (1 << 126) | (1 << 121) | 1
    key, total = int.from_bytes(key, "little"), 0
    for at in range(0, len(data), 16):
        factor, product = total ^ int.from_bytes(data[at:at + 16], "little"), 0
        for bit in range(128):
            if factor >> bit & 1:
                product ^= key << bit
        for _ in range(128):
            if product & 1:
                product ^= modulus
            product >>= 1
        total = product
    return total.to_bytes(16, "little")

def open_aead(key, nonce, tag, ciphertext, aad, what):
    """AES-256-GCM-SIV, RFC 8452, section 5."""
    derived = [aes(key, struct.pack("<I", number) + nonce)[:8] for number in range(6)]
    auth_key, enc_key = b"".join(derived[:2]), b"".join(derived[2:])
    counter = bytes(tag[:15]) + bytes([tag[15] | 0x80])
    start = int.from_bytes(counter[:4], "little")
    blocks = b"".join(
        struct.pack("<I", (start + number) & 0xFFFFFFFF) + counter[4:] for number in range(-(-len(ciphertext) // 16)))
    stream = aes(enc_key, blocks) if blocks else b""
    plain = bytes(one ^ other for one, other in zip(ciphertext, stream))
    lengths = struct.pack("<QQ", 8 * len(aad), 8 * len(plain))
    mask = bytearray(polyval(auth_key, aad + bytes(-len(aad) % 16) + plain + bytes(-len(plain) % 16) + lengths))
    for index in range(12):
        mask[index] ^= nonce[index]
    mask[15] &= 0x7F
    require(hmac.compare_digest(aes(enc_key, bytes(mask)), bytes(tag)), what)
    return plain

def open_sealed(key, value, aad, what):
    require(len(value) >= 28, what)
    return open_aead(key, value[:12], value[12:28], value[28:], aad, what)

def mac(key, *parts):
    return hmac.digest(key, b"".join(parts), "sha256")

def hkdf(salt, secret, label):
    return mac(mac(salt, secret), label.encode(), b"\x01")

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

def check_crc(data, rule):
    require(crc32c(data[:-4]) == struct.unpack("<I", data[-4:])[0], rule)

def unbase64(text, rule):
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError as error:
        raise Rejected(rule) from error
    # CV-4: no set bits behind the last whole byte.
    require(base64.urlsafe_b64encode(data).rstrip(b"=") == text, rule)
    return data

def read(path):
    # BD-1: nothing of the backing directory is followed.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        return file.read()

class Volume:
    def __init__(self, backing, keys):
        self.backing, self.data_keys = Path(backing), keys["files"]
        self.read_superblock()
        self.domains = {}
        for path in sorted((self.backing / ".kmsfs/keys").iterdir()):
            if not path.name.startswith(".tmp-"):
                self.domains[bytes.fromhex(path.name)] = self.read_domain(path, keys)
        root = self.domains[self.root_domain]
        require(mac(root["mac"], self.superblock[:4032]) == self.superblock[4032:4064], "SB-3")
        self.read_sessions(root["mac"])

    def read_superblock(self):
        data = self.superblock = read(self.backing / ".kmsfs/volume")[:PAGE]
        require(len(data) == PAGE and data[:10] == b"KMSFSVOL\x01\x00", "SB-1")
        check_crc(data, "SB-1")
        require(struct.unpack_from("<I", data, 12)[0] == PAGE, "SB-1")
        require(struct.unpack_from("<HBBB", data, 56) == (1, 12, 7, 4), "SB-1")
        require(data[61] in (0, 1) and data[62] == 1 and data[63] == 16, "SB-1")
        require(struct.unpack_from("<Q", data, 32)[0] == 0, "SB-2")
        require(not any(data[88:4032]) and not any(data[4064:4092]), "CV-2")
        self.id, self.root_domain, self.plain_names = data[16:32], data[64:80], data[61] == 1

    def read_domain(self, path, keys):
        data, wraps = parse_domain(read(path))
        domain = data[32:48]
        require(data[16:32] == self.id and domain.hex() == path.name, "DM-2")
        secret = bytes.fromhex(keys["domains"][domain.hex()])
        derived = {label: hkdf(self.id + domain, secret, "kmsfs v1 " + label)
                   for label in ("name", "symlink", "domain xattr", "domain mac", "domain commitment")}
        require(derived["domain commitment"] == data[56:88], "DM-3")
        require(mac(derived["domain mac"], data[:4032]) == data[4032:4064], "DM-3")
        return {"id": domain, "mac": derived["domain mac"], **derived, "keys": {key for key, _, _ in wraps}}

    def read_sessions(self, key):
        data = read(self.backing / ".kmsfs/sessions")
        self.crashed, last, self.last_session = set(), 0, 0
        for at in range(0, len(data) // 64 * 64, 64):
            record = data[at:at + 64]
            number, event = struct.unpack_from("<IB", record)
            sound = crc32c(record[:60]) == struct.unpack("<I", record[60:])[0] and event in (1, 2, 3)
            if not sound or any(record[5:8]) or any(record[48:60]):
                require(at + 128 > len(data), "SE-1")
                break
            require(mac(key, record[:32])[:16] == record[32:48], "SE-1")
            self.crashed = self.crashed | {number} if event == 1 else self.crashed - ({number} if event == 2 else set())
            last, self.last_session = event, number
        require(last != 1, "SE-3: the volume has to be recovered first")

    def directory(self, path):
        """The id and the domain of a directory."""
        if self.plain_names:
            return b"", self.domains[self.root_domain]
        target = os.readlink(os.fsencode(path / ".k"))
        require(len(target) == 44 and target[:1] == b"1", "NM-1")
        raw = unbase64(target[1:], "NM-1")
        for domain in self.domains.values():
            if domain["id"][:4] == raw[16:20] and mac(domain["mac"], b"kmsfs dir id", raw[:20])[:12] == raw[20:]:
                return raw[:16], domain
        raise Rejected("NM-1")

    def name(self, path, stored, dir_id, domain):
        if self.plain_names:
            return stored
        cipher = unbase64(stored, "NM-3") if not stored.startswith(b".") else None
        if cipher is None:
            cipher = unbase64(os.readlink(os.fsencode(path) + b"/.n" + stored[2:]), "NM-4")
            require(base64.urlsafe_b64encode(hashlib.sha256(cipher).digest()).rstrip(b"=") == stored[2:], "NM-4")
        plain = open_aead(domain["name"], dir_id[:12], cipher[:16], cipher[16:], b"n1" + dir_id, "NM-3").rstrip(b"\0")
        require(plain and b"\0" not in plain and b"/" not in plain, "NM-3")
        return plain

    def target(self, stored, domain):
        if stored[:1] == b"1":
            return open_sealed(domain["symlink"], unbase64(stored[1:], "NM-6"), b"l1", "NM-6")
        require(stored[:1] == b"2", "NM-6")
        raw = unbase64(stored[1:], "NM-6")
        name = base64.urlsafe_b64encode(raw[:16]).rstrip(b"=").decode()
        plain = open_sealed(domain["symlink"], read(self.backing / ".kmsfs/targets" / name), b"l2" + raw[:16], "NM-6")
        require(len(raw) == 18 and len(plain) == struct.unpack("<H", raw[16:])[0], "NM-6")
        return plain

    def attributes(self, path, key, context):
        found = {}
        for stored in os.listxattr(path, follow_symlinks=False):
            for space in ("user.", "trusted."):
                if stored.startswith(space + "kmsfs.") and key is not None:
                    cipher = unbase64(stored[len(space) + 6:].encode(), "XA-2")
                    name = open_aead(key, bytes(12), cipher[:16], cipher[16:], b"x1" + context, "XA-2")
                    value = os.getxattr(path, stored, follow_symlinks=False)
                    value = open_sealed(key, value, b"xv" + context + stored.encode(), "XA-2")
                    found[space + os.fsdecode(name)] = value.hex()
        return found

    def walk(self, path, shown=b""):
        dir_id, domain = self.directory(path)
        yield shown, {"kind": "dir", "xattrs": self.attributes(path, domain["domain xattr"], dir_id)}, None
        for entry in sorted(os.listdir(os.fsencode(path))):
            internal = entry == b".kmsfs" if self.plain_names else entry[:1] == b"." and entry[:2] != b".l"
            if internal and (not self.plain_names or not shown):
                continue
            inner = Path(os.fsdecode(os.path.join(os.fsencode(path), entry)))
            plain = shown + b"/" + self.name(path, entry, dir_id, domain)
            if inner.is_symlink():
                target = self.target(os.readlink(os.fsencode(inner)), domain)
                yield plain, {"kind": "link", "target": os.fsdecode(target)}, None
            elif inner.is_dir():
                yield from self.walk(inner, plain)
            elif inner.is_file():
                content, key = File(self, domain, read(inner)).content()
                digest = hashlib.sha256(content).hexdigest()
                facts = {"kind": "file", "size": len(content), "sha256": digest}
                facts["xattrs"] = self.attributes(inner, key, b"")
                yield plain, facts, content
            else:
                yield plain, {"kind": "special"}, None

def parse_domain(data):
    """The record and its keys: id, ARN, wrapped secret."""
    require(len(data) == PAGE and data[:10] == b"KMSFSDOM\x01\x00" and 1 <= data[10] <= 8, "DM-1")
    check_crc(data, "DM-1")
    at, wraps = 96, []
    for _ in range(data[10]):
        arn_len, secret_len = struct.unpack_from("<HH", data, at)
        require(at + 24 + arn_len + secret_len <= 4032, "DM-1")
        arn = data[at + 24:at + 24 + arn_len]
        require(hashlib.sha256(arn).digest()[:16] == data[at + 8:at + 24], "DM-1")
        wraps.append((data[at + 8:at + 24], arn.decode(), data[at + 24 + arn_len:at + 24 + arn_len + secret_len]))
        at += 24 + arn_len + secret_len
    require(not any(data[at:4032]) and not any(data[4064:4092]) and data[11] == 0, "CV-2")
    return data, wraps

def parse_slots(page):
    """The sound key slots, newest first: bytes and recipients (key id, wrapped data key)."""
    slots = []
    for at in (512, 1536):
        slot = page[at:at + 1024]
        if slot[:6] == b"KSLT\x01\x00" and crc32c(slot[:1020]) == struct.unpack("<I", slot[1020:])[0]:
            place, recipients = 96, []
            for _ in range(slot[7]):
                kind, index, length, _ = struct.unpack_from("<BBHI", slot, place)
                require((kind, index) == (2, 0) and place + 24 + length <= 976, "KS-1")
                recipients.append((slot[place + 8:place + 24], slot[place + 24:place + 24 + length]))
                place += 24 + length
            require(slot[6] == 1 and recipients and not any(slot[64:96]) and not any(slot[1008:1020]), "KS-1")
            slots.append((slot, recipients))
    return sorted(slots, key=lambda found: -struct.unpack_from("<Q", found[0], 8)[0])

def data_offset(block):
    group, rest = divmod(block - 16, 128)
    return PAGE * (1 + block) if block < 16 else PAGE * (17 + 129 * group + 1 + rest)

def entry_offset(block):
    group, rest = divmod(block - 16, 128)
    return 3584 + 32 * block if block < 16 else PAGE * (17 + 129 * group) + 32 * rest

def backing_size(size):
    last = (size - 1) // PAGE
    return data_offset(last) + size - PAGE * last if size else PAGE

def plain_size(stored):
    """The size in the clear, and whether it is one that a writer leaves."""
    pages = -(-stored // PAGE)
    if stored < PAGE:
        return 0, stored == 0
    group, rest = divmod(pages - 1 - 17, 129)
    if pages - 1 >= 17 and rest == 0:
        return PAGE * (16 + 128 * group), False
    blocks = pages - 1 if pages - 1 < 17 else 16 + 128 * group + rest
    size = PAGE * blocks - (pages * PAGE - stored)
    return size, backing_size(size) == stored

class File:
    def __init__(self, volume, domain, data):
        self.volume, self.domain, self.data = volume, domain, data

    def content(self):
        """The content, and the key of the extended attributes."""
        if not self.data:
            return b"", None
        identity = self.data[:512]
        require(len(identity) == 512 and identity[:14] == b"KMSFSF01\x01\x00\x01\x00\x0c\x00", "FH-1")
        check_crc(identity, "FH-1")
        require(not any(identity[14:16]) and not any(identity[64:508]), "FH-1")
        require(identity[16:32] == self.volume.id and identity[48:64] == self.domain["id"], "FH-2")
        self.file_id = identity[32:48]
        salt, secret = self.volume.id + self.file_id, bytes.fromhex(self.volume.data_keys[self.file_id.hex()])
        self.keys = {label: hkdf(salt, secret, "kmsfs v1 " + label)
                     for label in ("content", "seal", "sum", "header", "xattr", "commitment")}
        slots = parse_slots(self.data[:PAGE])
        require(slots, "KS-1")
        slot, recipients = slots[0]
        require(any(key in self.domain["keys"] for key, _ in recipients), "KS-2")
        require(slot[32:64] == self.keys["commitment"], "KS-3")
        require(mac(self.keys["header"], identity, slot[:976]) == slot[976:1008], "KS-3")
        return self.blocks(*self.newest_seal()), self.keys["xattr"]

    def newest_seal(self):
        seals = []
        for at in (2560, 3072):
            seal = self.data[at:at + 512]
            session, generation = struct.unpack_from("<IQ", seal, 4)
            if seal[:4] == b"SEAL" and crc32c(seal[:508]) == struct.unpack("<I", seal[508:])[0]:
                aad = self.file_id + struct.pack("<IQ", session, generation)
                try:
                    body = open_aead(self.keys["seal"], seal[16:28], seal[92:108], seal[28:92], aad, "SL-1")
                    seals.append((generation, session, body))
                except Rejected:
                    pass
        require(seals, "SL-1")
        _, session, body = max(seals)
        require(session <= self.volume.last_session, "SL-2")
        return session, body

    def blocks(self, session, body):
        sealed_size, present, old, cur = struct.unpack_from("<QQ", body) + (body[16:32], body[32:48])
        require(not any(body[56:64]), "SL-1")
        size, regular = plain_size(len(self.data))
        crashed = self.volume.crashed
        since = any(number >= session for number in crashed)
        if not since:
            require(size == sealed_size and regular, "SL-3")
        elif session not in crashed:
            require(size >= sealed_size, "SL-6")
        sums, count, content = [0, 0], 0, bytearray(size)
        for block in range(-(-size // PAGE)):
            entry = self.data[entry_offset(block):entry_offset(block) + 32].ljust(32, b"\0")
            if not any(entry):
                require(present < -(-sealed_size // PAGE) or since, "BL-4")
                continue
            number, length, flags = struct.unpack_from("<I", entry)[0], *struct.unpack_from("<HH", entry, 28)
            if flags != 1 or not 1 <= length <= PAGE:
                require(since, "EN-1, SL-8")
                continue
            if number > session:
                require(number in crashed, "SL-4, SL-7")
            else:
                term = aes(self.keys["sum"], (int.from_bytes(entry[12:28], "little") ^ block).to_bytes(16, "little"))
                sums[number == session] += int.from_bytes(term, "little")
            count += 1
            aad = struct.pack("<QHHHH", block, length, flags, 1, 0)
            ciphertext = self.data[data_offset(block):data_offset(block) + length]
            try:
                plain = open_aead(self.keys["content"], entry[:12], entry[12:28], ciphertext, aad, "BL-1")
                content[PAGE * block:PAGE * block + length] = plain[:size - PAGE * block]
            except Rejected:
                require(number in crashed, "BL-1, SL-8")
        totals = [(total % (1 << 128)).to_bytes(16, "little") for total in sums]
        require(totals[0] == old, "SL-4, SL-5")
        require(totals[1] == cur or session in crashed, "SL-4, SL-6")
        require(since or count == present, "SL-4")
        return bytes(content)

def wrapped(backing):
    """Everything that has to be unwrapped."""
    superblock = read(Path(backing) / ".kmsfs/volume")
    common = {"kmsfs:volume": superblock[16:32].hex(), "kmsfs:suite": "1"}
    arns, found = {}, {"domains": {}, "files": {}}
    for path in (Path(backing) / ".kmsfs/keys").iterdir():
        for number, (key, arn, secret) in enumerate(parse_domain(read(path))[1]):
            arns[key] = arn
            if number == 0:
                context = {**common, "kmsfs:domain": path.name, "kmsfs:purpose": "domain-secrets"}
                found["domains"][path.name] = {"key": arn, "context": context, "blob": secret.hex()}
    for place, below, files in os.walk(os.fsencode(backing)):
        below[:] = [name for name in below if name != b".kmsfs"]
        for name in files:
            path = os.path.join(place, name)
            page = read(path)[:PAGE] if os.path.isfile(path) and not os.path.islink(path) else b""
            if page[:8] == b"KMSFSF01" and (slots := parse_slots(page)):
                key, blob = slots[0][1][0]
                context = {**common, "kmsfs:domain": page[48:64].hex(), "kmsfs:purpose": "data-key",
                           "kmsfs:file": page[32:48].hex()}
                found["files"][page[32:48].hex()] = {"key": arns.get(key), "context": context, "blob": blob.hex()}
    return found

def main():
    if sys.argv[1:2] == ["--wrapped"] and len(sys.argv) == 3:
        return print(json.dumps(wrapped(sys.argv[2]), indent=1))
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    volume = Volume(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
    shown = {}
    for path, facts, content in volume.walk(volume.backing):
        shown[os.fsdecode(path)] = facts
        if len(sys.argv) == 4:
            target = sys.argv[3] + os.fsdecode(path)
            if facts["kind"] == "dir":
                os.makedirs(target, exist_ok=True)
            elif content is not None:
                Path(target).write_bytes(content)
    print(json.dumps(shown, indent=1))

if __name__ == "__main__":
    try:
        main()
    except Rejected as rejected:
        sys.exit(f"decode: rejected: {rejected}")
