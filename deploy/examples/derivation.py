"""Computes every vector of docs/derivation.json anew, with nothing but Python's standard library.

Run it as: python3 deploy/examples/derivation.py docs/derivation.json
"""
import base64, hashlib, hmac, json, sys

CROCKFORD, LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", "BCDFGHJKMNPQRSTVWXZ"

def lp(*parts):
    parts = [p if isinstance(p, bytes) else str(p).encode() for p in parts]
    return b"".join(len(p).to_bytes(4, "big") + p for p in parts)

def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()

def hkdf(key, salt, info, size):  # RFC 5869
    prk, block, out = mac(salt or bytes(32), key), b"", b""
    while len(out) < size:
        block = mac(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:size]

def session_hash(v):
    return hashlib.sha256(lp("securemail/session/v1", v["session"])).digest() if v["session"] else b""

def secret(v):
    info = lp("securemail/credential/v2", v["kind"], v["id"], v["purpose"], v["to"], v["digits"] or "", session_hash(v))
    stream = hkdf(bytes.fromhex(v["ring_key"]), bytes.fromhex(v["seed"]), info, 64)
    if v["kind"] == "key":
        return "".join(CROCKFORD[b & 31] for b in stream[:25])
    if v["kind"] == "code":
        return "".join(str(b % 10) for b in stream if b < 250)[:v["digits"]]
    return base64.b32encode(stream[:20]).decode()

def record_mac(v):
    key = hkdf(bytes.fromhex(v["ring_key"]), b"", b"securemail/record/v2", 32)
    return mac(key, lp(v["v"], v["id"], v["kind"], v["purpose"], v["digits"] or "", "1" if v["bound"] else "", v["created"], v["expires"], v["kid"],
                       bytes.fromhex(v["seed"]), v["to"], "", bytes.fromhex(v["fingerprint"])))[:16].hex()

def address_tag(v):
    return mac(bytes.fromhex(v["recipients_key"]), lp("securemail/address/v1", v["id"], v["to"]))[:16].hex()

def keyed_id(v):
    digest = mac(v["idempotency_secret"].encode(), lp("securemail/id/v2", v["idempotency_key"]))[:16]
    standard = base64.b32encode(digest).decode().rstrip("=")
    return standard.translate(str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", CROCKFORD.lower()))

def fingerprint(v):
    parts = [v["idempotency_key"], v["kind"], v["to"], v["purpose"], v["digits"], session_hash(v), v["account"], v["locale"], v["expires_in"], "", "", v["client_ref"]]
    for name in sorted(v["vars"]):
        parts += [name, v["vars"][name]]
    return mac(v["idempotency_secret"].encode(), lp("securemail/fingerprint/v1", *parts))[:16].hex()

def reference(v):
    n, letters = int.from_bytes(hashlib.sha256(lp("securemail/reference/v1", v["id"])).digest()[:8], "big"), ""
    for _ in range(3):
        letters, n = letters + LETTERS[n % 19], n // 19
    return letters

def main(path):
    vectors, seen = json.load(open(path, encoding="utf-8")), 0
    for name, compute in ("secret", secret), ("mac", record_mac), ("address_tag", address_tag), ("idempotent_id", keyed_id), ("fingerprint", fingerprint), ("reference", reference):
        for v in vectors[name]:
            assert compute(v) == v[name], (name, v, compute(v))
            seen += 1
    print(seen, "vectors are right")

if __name__ == "__main__":
    main(sys.argv[1])
