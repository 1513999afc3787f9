"""Lines of an index, as `openssl ca` writes them and as people and crashes leave them."""

from __future__ import annotations

ROW = b"V\t270220135115Z\t\t%s\tunknown\t/C=GB/O=Example/CN=www\n"
REVOKED_ROW = (
    b"R\t270220135115Z\t261122135115Z,keyCompromise\t%s\tunknown\t/C=GB/O=Example/CN=www\n"
)

# Each revokes CAFE0A12.
REVOKING_LINES = {
    "leading zeros": REVOKED_ROW % b"0000CAFE0A12",
    "0x": REVOKED_ROW % b"0xCAFE0A12",
    "0X and small letters": REVOKED_ROW % b"0Xcafe0a12",
    "mixed letters": REVOKED_ROW % b"CafE0a12",
    "colons": REVOKED_ROW % b"CA:FE:0A:12",
    "colons and zeros": REVOKED_ROW % b"00:ca:fe:0a:12",
    "quotes": REVOKED_ROW % b'"CAFE0A12"',
    "type in small letters": b"r" + (REVOKED_ROW % b"CAFE0A12")[1:],
    "type in quotes": b'"R"' + (REVOKED_ROW % b"CAFE0A12")[1:],
    "five fields, no subject": b"R\t270220135115Z\t261122135115Z\tCAFE0A12\tunknown\n",
    "five fields, no expiry": b"R\t261122135115Z\tCAFE0A12\tunknown\t/CN=x\n",
    "four fields": b"R\t270220135115Z\t261122135115Z\tCAFE0A12\n",
    "two fields": b"R\tCAFE0A12\n",
    "seven fields, one before the serial": (
        b"R\t270220135115Z\t\t261122135115Z\tCAFE0A12\tunknown\t/CN=x\n"
    ),
    "blanks instead of TABs": (
        b"R       270220135115Z   261122135115Z,keyCompromise     CAFE0A12        unknown /CN=x\n"
    ),
    "one blank instead of TABs": b"R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n",
    "blanks of a web page": (
        b"R\xc2\xa0270220135115Z\xc2\xa0261122135115Z\xc2\xa0CAFE0A12\xc2\xa0x\n"
    ),
    "CSV": b"R,270220135115Z,261122135115Z,CAFE0A12,unknown,/CN=x\n",
    "CSV in quotes": b'"R";"270220135115Z";"261122135115Z";"CAFE0A12";"unknown";"/CN=x"\n',
    "joined by a TAB": (ROW % b"0B").rstrip() + b"\t" + REVOKED_ROW % b"CAFE0A12",
    "joined by a TAB to a revoked row": (
        (REVOKED_ROW % b"0B").rstrip() + b"\t" + REVOKED_ROW % b"CAFE0A12"
    ),
    "joined by a TAB, and five fields": (
        (ROW % b"0B").rstrip() + b"\tr\t270220135115Z\t261122135115Z\tCAFE0A12\tunknown\n"
    ),
    "joined by nothing": (ROW % b"0B").rstrip() + REVOKED_ROW % b"CAFE0A12",
    "colons, and no zeros": REVOKED_ROW % b"ca:fe:a:12",
    "colons, and one behind": REVOKED_ROW % b"CA:FE:0A:12:",
    "many zeros": REVOKED_ROW % (b"0" * 60 + b"CAFE0A12"),
    "an empty field for the serial": b"R\t270220135115Z\tCAFE0A12\t\tunknown\t/CN=x\n",
    "zeros in front": bytes(5000) + REVOKED_ROW % b"CAFE0A12",
    "marked as a change": b"+" + REVOKED_ROW % b"CAFE0A12",
    "marked as a change, and blanks": b"+R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n",
    "joined to a row that is cut off in its expiry": b"V\t2702" + REVOKED_ROW % b"CAFE0A12",
    "joined to a row that is cut off in its serial": (
        b"V\t270220135115Z\t\t0B" + REVOKED_ROW % b"CAFE0A12"
    ),
    "joined to a row that is cut off behind its type": b"V" + REVOKED_ROW % b"CAFE0A12",
    "as many newlines as rows": (
        b"R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n"
        + (ROW % b"0B").rstrip()
        + ROW % b"0D"
    ),
    "joined to a row that is cut off": b"V\t270220135115Z\t\t0B\tunk\t" + REVOKED_ROW % b"CAFE0A12",
}

# None of them revokes CAFE0A12.
NOT_REVOKING_LINES = {
    "R in a subject": ROW.replace(b"www", b"x R 270220135115Z 261122135115Z CAFE0A12 u") % b"0B",
    "R at the end of a subject": ROW.replace(b"www", b"CAFE0A12 R") % b"0B",
    "a subject that is R": b"V\t270220135115Z\t\tCAFE0A12\tunknown\tR\n",
    "digits in the subject of a revoked row": REVOKED_ROW.replace(b"www", b"CAFE0A12") % b"0B",
    "digits as a word of the subject": REVOKED_ROW.replace(b"www", b"a CAFE0A12 b") % b"0B",
    "digits in the subject of a line that is not a row": (
        b"R\t270220135115Z\t261122135115Z\tBB\t/CN=a CAFE0A12 b\n"
    ),
    "digits in the subject of a line that is not a row, as of `openssl x509 -subject`": (
        b"R\t270220135115Z\t261122135115Z\tBB\tC = GB, CN = a CAFE0A12 b\n"
    ),
    "digits in a subject of fields without a name": (
        b"R\t270220135115Z\t261122135115Z\tBB\tCN=a CAFE0A12 b\n"
    ),
    "digits in a subject behind blanks": (
        b"R 270220135115Z 261122135115Z BB unknown CN=a CAFE0A12\n"
    ),
    "a sentence": b"Requests about CAFE0A12 are answered\n",
    "another serial that ends so": REVOKED_ROW % b"01CAFE0A12",
    "another serial that begins so": REVOKED_ROW % b"CAFE0A1200",
    "its negative": REVOKED_ROW % b"-CAFE0A12",
    "colons in other places": REVOKED_ROW % b"CAF:E0A12",
    "colons between digits of several kinds": REVOKED_ROW % b"CA:FE:A:12:00",
    "a comment behind a byte order mark": b"\xef\xbb\xbf#" + REVOKED_ROW % b"CAFE0A12",
    "a valid row that is not one": b"V\t270220135115Z\t\tCAFE0A12\tunknown\n",
}
