#!/bin/sh
# Real programs with known answers: run on the host and in the guest, the files must be equal.
# Usage: userland.sh DIRECTORY. Floating point is limited to what IEEE 754 defines to the bit
# (no libm), and compression to one thread.
set -eu
mkdir -p "$1"
cd "$1"

/usr/bin/python3 -I -S - > input << 'PYTHON'
import sys
state, out = 0x2545f4914f6cdd1d, bytearray()
for i in range(24000):
    state ^= (state << 13) & 0xffffffffffffffff
    state ^= state >> 7
    state ^= (state << 17) & 0xffffffffffffffff
    # Every other word repeats, so that compressors find something.
    out += (state if i % 2 else state & 0xff).to_bytes(8, "little")
sys.stdout.buffer.write(out)
PYTHON

for digest in md5 sha1 sha256 sha512 sha3-256 blake2b512; do
    /usr/bin/openssl dgst -$digest input
done > digests
for cipher in aes-128-cbc aes-256-ctr chacha20 camellia-256-cbc; do
    /usr/bin/openssl enc -$cipher -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \
        -iv f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff -in input 2> /dev/null || true
done > ciphers
/usr/bin/openssl kdf -keylen 48 -kdfopt digest:SHA512 -kdfopt pass:armlet -kdfopt salt:NaCl \
    -kdfopt iter:2000 PBKDF2 > kdf
# The key of RFC 8032's first test vector.
cat > key << 'PEM'
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
PEM
/usr/bin/openssl pkeyutl -sign -rawin -inkey key -in input > signature
/usr/bin/openssl prime -generate -bits 32 > /dev/null # the random generator runs; its result is not compared

/usr/bin/xz -T1 -6 -c input > input.xz
/usr/bin/xz -dc input.xz | cmp - input

/usr/bin/python3 -I -S - > python << 'PYTHON'
import hashlib, json, random, struct, zlib, re, math
from decimal import Decimal, getcontext
from fractions import Fraction
data = open("input", "rb").read()
print(hashlib.sha256(data).hexdigest(), hashlib.blake2s(data).hexdigest(), zlib.crc32(data), zlib.adler32(data))
assert zlib.decompress(zlib.compress(data, 9)) == data
random.seed(2024)
values = [random.random() for _ in range(5000)]
print(sum(values).hex(), math.fsum(values).hex(), max(values).hex(), math.sqrt(sum(values)).hex())
print([(v / 3.0 - 7.25).hex() for v in values[:40]], [struct.pack("<f", v).hex() for v in values[:40]])
print([int(v * 1e15) % 97 for v in values[:200]], [round(v, 3) for v in sorted(values)[::250]])
getcontext().prec = 80
print(Decimal(2).sqrt(), sum(Fraction(1, n) for n in range(1, 120)))
print(pow(3, 10**40, 2**255 - 19), math.factorial(200) % (2**127 - 1), math.isqrt(10**120))
text = json.dumps({"x": values[:300], "y": [str(v) for v in values[:300]]}, sort_keys=True)
print(hashlib.md5(text.encode()).hexdigest(), len(re.findall(r"0\.(\d)\1", text)))
PYTHON

/usr/bin/sqlite3 :memory: > sqlite << 'SQL'
CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v INTEGER, r REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
    INSERT INTO t SELECT i, printf('%05x', (i * 2654435761) & 0xfffff), (i * i) % 1013, i / 8.0 FROM n;
CREATE INDEX by_k ON t(k);
SELECT count(*), sum(v), sum(r), min(k), max(k) FROM t;
SELECT v % 17, count(*), sum(id), total(r) FROM t GROUP BY v % 17 ORDER BY 2 DESC, 1;
SELECT a.id, b.id FROM t a JOIN t b ON a.k = b.k AND a.id < b.id ORDER BY 1, 2 LIMIT 20;
SELECT group_concat(k, '-') FROM (SELECT k FROM t WHERE k LIKE '%abc%' ORDER BY k);
SELECT hex(substr(k, 2)), upper(k), length(k) FROM t WHERE id % 1000 = 7;
SQL
