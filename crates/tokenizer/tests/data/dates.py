"""Writes dates.jsonl: what Python's `datetime.now().strftime` says in many zones, by many formats.

Python 3.12 or later on Linux with glibc:

    python crates/tokenizer/tests/data/dates.py > crates/tokenizer/tests/data/dates.jsonl
"""

import json
import os
import string
import time
from datetime import datetime, timezone

# Everything a clock shows, apart from codes that show nothing.
ALL = "%c|%j|%U|%W|%V|%G|%g|%u|%w|%y|%C|%I|%p|%f|%s"

ZONES = [
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Moscow", "Africa/Casablanca", "America/New_York", "America/Los_Angeles",
    "America/St_Johns", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Lord_Howe",
    "Australia/Sydney", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Etc/GMT+12",
    "CET-1CEST,M3.5.0,M10.5.0/3", "<+0530>-5:30", "EST5EDT,M3.2.0,M11.1.0", "XYZ0",
]
INSTANTS = [
    "1970-01-01 00:00:00", "1999-12-31 23:59:59", "2000-02-29 12:00:00", "2004-12-31 11:30:00", "2005-01-01 10:00:00",
    "2008-12-29 03:04:05", "2009-12-31 23:00:00", "2010-01-03 13:14:15", "2012-07-01 00:00:00", "2016-01-01 00:00:01",
    "2017-01-01 22:22:22", "2020-02-29 23:30:00", "2021-01-03 12:00:00", "2021-03-28 00:59:59", "2021-03-28 01:00:00",
    "2024-03-10 06:59:59", "2024-03-10 07:00:00", "2024-06-15 04:05:06", "2024-12-30 12:34:56", "2024-12-31 23:45:00",
    "2025-01-01 00:15:00", "2025-10-05 12:00:00", "2025-11-28 23:59:59",
]

# Codes one by one, with every flag, a width, a modifier; codes that do not exist; what people write.
FORMATS = ["%" + flag + letter for flag in ["", "-", "_", "0", "^", "#", "E", "O", "7", "-7", "_7", "07"]
           for letter in string.ascii_letters + "%+"]
FORMATS += [
    "%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%A, %d %B %Y", "%-d %B %Y", "%-m/%-d/%y", "%e. %B %Y", "%H:%M:%S", "%I:%M %p",
    "%-I:%M%P", "%Y-%m-%dT%H:%M:%S.%f%z", "%a %b %_d %Y", "%^a %^b", "%:z", "%::z", "%_:z", "%Z%z", "", " ", "today",
    "100%", "%", "%%", "%%%", "%%%%Y", "%%d%d", "%5", "%-", "%_", "%^", "%E", "%O", "%5E", "%EE", "%EOd", "%+4Y", "%é", "%5é",
    "é%dé%B", "%\n%d", "%d\n%m", "%--d", "%-_d", "%_-d", "%-_5d", "%_-5d", "%^#a", "%#^p", "%^#P", "%^10B", "%#10p", "%010a",
    "%012D", "%12F", "%_12F", "%-12F", "%^30c", "%20s", "%020s", "%_20s", "%-20s", "%_5j", "%3n", "%010t", "%10%", "%-%f",
    "%0%f", "%10%f", "%EC|%Ey|%EY|%Ex|%EX|%Ec", "%Od|%Oe|%OH|%OI|%Om|%OM|%OS|%Ou|%OU|%OV|%Ow|%OW|%Oy", "%1Y", "%2Y", "%500Y",
    "%1023Y", "%1024Y", "%1000Y%22Y", "%1000Y%23Y", "%1025d.....", "%99999d", "%99999999999999999999d",
]


def now(zone, instant):
    os.environ["TZ"] = zone
    time.tzset()
    unix = datetime.fromisoformat(instant).replace(tzinfo=timezone.utc).timestamp()
    return int(unix), datetime.fromtimestamp(unix).replace(microsecond=123)


def row(zone, instant, formats):
    unix, local = now(zone, instant)
    texts = {one: local.strftime(one) for one in formats}
    return json.dumps({"zone": zone, "unix": unix, "microsecond": 123, "texts": texts}, ensure_ascii=False)


for zone in ZONES:
    for instant in INSTANTS:
        print(row(zone, instant, [ALL]))
for zone, instant in [("Europe/Berlin", "2024-07-06 03:04:03"), ("America/New_York", "2026-01-01 04:59:59")]:
    print(row(zone, instant, FORMATS))
