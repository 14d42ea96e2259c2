"""Texts that make trouble where somebody was careless.

Each is to come back exactly, or to be refused with a reason.
"""

from __future__ import annotations

# fmt: off
_SQL = (
    "'", "''", "'''", '"', '""', "`", ";", ";;", "--", "-- x", "/*", "*/", "/* x */", "#", "\\", "\\\\", "\\'", '\\"',
    "' OR '1'='1", "' OR 1=1 --", "'; DROP TABLE main.odd; --", "\"; DROP TABLE main.odd; --", "x'); DELETE FROM t; --",
    "'||(SELECT 1)||'", "1; SELECT 2", "1 OR true", "NULL", "null", "DEFAULT", "true", "false", "NaN", "nan",
    "inf", "-inf", "Infinity", "-Infinity", "CURRENT_USER", "now()", "uuid()", "nextval('x')", "read_csv('/etc/passwd')",
    "SELECT * FROM auth.users", "main.odd", '"main"."odd"', "catalog.tables", "information_schema", "$1", "$$", "$a$b$a$",
    "?", "?1", ":x", "@x", "{}", "{0}", "%", "%%", "_", "%_%", "E'\\n'", "X'00'", "U&'\\0041'", "x'00'::BLOB", "COPY t TO 'f'",
    "PRAGMA x", "ATTACH 'x'", "SET x=1", "CALL x()", "LOAD x", "BEGIN", "COMMIT", "ROLLBACK", "EXPLAIN", "rowid", "ROWID",
    "select", "SELECT", "from", "where", "order by", "group", "table", "column", "create", "values", "unique", "check",
    "[]", "[1]", "['a']", "{'a': 1}", "MAP {'a': 1}", "STRUCT(a INT)", "ENUM('a')", "DECIMAL(1,2)", "INT[]", "a::INT", "a.b", "a.b.c",
    "*", "t.*", "COLUMNS('.*')", "EXCLUDE", "lambda x: x", "x -> x + 1", "(", ")", "()", "((", "1e400", "1e-400", "0x10", "1_000", "+1", "-0",
    "00", "1.", ".5", "1e5", "170141183460469231731687303715884105728", "-9223372036854775809", "0.1", "1/0", "۱۲۳", "１２３", "Ⅷ", "½",
)
_MARKUP = (
    "<b>x</b>", "<script>alert(1)</script>", "<!--", "-->", "]]>", "<![CDATA[x]]>", "<?xml version='1.0'?>", "<!DOCTYPE x [<!ENTITY y 'z'>]>",
    "&amp;", "&lt;", "&#0;", "&nbsp;", "&", "<", ">", "javascript:alert(1)", "onload=x", "\"><img src=x onerror=alert(1)>",
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{% raw %}", "%s", "%d", "%n", "%p%p%p", "%1$s", "{0.__class__}", "{x!r}", "f'{x}'", "\\n", "\\0",
    "\\x00", "\\u0000", "\\ud800", "\\u{1f600}", "\\N{SNOWMAN}", "%00", "%0a", "%2e%2e%2f", "+", "a+b", "a%20b", "?a=b&c=d", "#x", "//x", "http://x/", "file:///etc/passwd",
)
_SHELL = (
    "$(id)", "`id`", "| id", "&& id", "|| id", "; id", "> x", "< x", "$HOME", "${HOME}", "~", "~root", "!", "!!", "*.csv", "-rf", "--help", "-", "--",
    "../../etc/passwd", "..", ".", "/", "//", "/etc/passwd", "/dev/null", "/proc/self/mem", "C:\\x", "\\\\host\\x", "CON", "NUL", "aux.txt", "a/b", "a\\b", "a:b",
    "s3://x/y", "x.parquet", "x.csv.gz", "x.db", "tbl_1", "spool", ".hidden", "a" * 255, "x" * 5000,
)
_CSV_AND_JSON = (
    "", " ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", ",", ",,", ";,", "a,b", "a;b", "a\tb", "a\nb", "a\rb", "a\r\nb", '"a"', '"a', 'a"', 'a"b', '""a', '"",""', '","',
    "\"\n\"", "'a'", " a", "a ", " a ", "\ta", "a\n", "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "NA", "N/A", "None", "nil", "undefined", "(null)", "\\N",
    "{", "}", "[", "]", ":", '{"a":1}', "{'a':1}", "[1,2,]", '{"a":', '"', "\\", "\\\"", "//", "/* */", "0", "-1", "1.0", "01", "1e1", "tru", "True", "yes", "no", "on", "off",
    "2013-01-31", "2013-02-30", "31.01.2013", "24:00:00", "infinity", "epoch", "today", "0000-00-00", "P1D", "1 day", "00000000-0000-0000-0000-000000000000", "a\0b", "\0", "\0\0", "x\0",
)
_CONTROL = tuple(chr(code) for code in (*range(1, 32), 0x7F, *range(0x80, 0xA0)))
_UNICODE = (
    "ä", "a\u0308", "ß", "ẞ", "SS", "İ", "ı", "i\u0307", "K", "\u212a", "ſ", "ﬁ", "ﬀ", "Ω", "\u2126", "é", "e\u0301", "ñ", "Å", "\u212b", "ǆ", "ǅ", "Ǆ", "ς", "σ", "Σ", "ΐ", "ᾳ",
    "\ufeff", "\ufeffa", "a\ufeff", "\ufffe", "\uffff", "\ufffd", "\ufdd0", "\U0010ffff", "\U000e0001", "\ue000", "\U000f0000", "\u00a0", "\u00ad", "a\u00adb",
    "\u200b", "a\u200bb", "\u200c", "\u200d", "\u2060", "\u180e", "\u2028", "\u2029", "\u3000", "\u2000\u2001", "\u115f", "\u3164", "\u034f", "\u061c",
    "\u202e", "\u202eabc", "\u202dabc\u202c", "\u2066abc\u2069", "\u2067אבג\u2069", "\u200e", "\u200f", "abc\u202etxt.exe", "a\u0300\u0301\u0302\u0303",
    "שלום", "مرحبا", "العَرَبِيَّة", "ﷺ", "﷽", "नमस्ते", "ภาษาไทย", "ไม่มีช่องว่าง", "한국어", "한국어".replace("한", "\u1112\u1161\u11ab"), "日本語", "中文", "𠜎𠜱", "ｱｲｳ", "㍿", "ℌ𝔢𝔩𝔩𝔬", "𝟘𝟙𝟚", "①②③", "ⓐⓑ",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏿", "🇩🇪", "🇩", "❤️", "❤", "1️⃣", "👁️‍🗨️", "😀" * 100, "z\u0351\u036b\u0343a\u0363\u035bl\u0357\u0308g\u0360o\u0334", "a" + "\u0301" * 500, "\U000e0041\U000e007f", "🏴\U000e0067\U000e0062\U000e007f",
    "ÀÁÂ", "аbс", "раураl", "gооgle", "Ａ", "ａｂｃ", "＇", "＂", "；", "‘x’", "“x”", "´", "ʼ", "…", "–", "—", "−", "¹²³", "°C", "µ", "μ", "€", "£", "∞", "√", "≠", "∅", "\u0600", "\u070f", "\u17b4",
)
# fmt: on

# Each comes once, in this order.
NAUGHTY: tuple[str, ...] = tuple(
    dict.fromkeys([*_SQL, *_MARKUP, *_SHELL, *_CSV_AND_JSON, *_CONTROL, *_UNICODE])
)
