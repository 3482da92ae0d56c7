"""The fires of schedules, by Python's zoneinfo and brute force: an implementation that shares nothing with ours.

Arguments: from-year, to-year, then ZONE MINUTES HOURS triples (comma-separated numbers). For each triple it writes the number of fires
and then every fire, all as little-endian 64-bit integers of seconds since 1970.

The rule: a local time that comes twice fires at the first; one that does not exist fires at the first instant after the gap; what
comes to the same instant fires once.
"""

import struct
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

UTC = timezone.utc


def seconds(local, zone):
    aware = local.replace(tzinfo=zone, fold=0)
    at = int(aware.astimezone(UTC).timestamp())
    back = datetime.fromtimestamp(at, UTC).astimezone(zone).replace(tzinfo=None)
    if back == local:
        return at
    # In a gap: the offset changes somewhere around, and the first instant with the new one is the end of the gap.
    low, high = at - 86_400, at + 86_400
    offset = lambda s: datetime.fromtimestamp(s, UTC).astimezone(zone).utcoffset()
    wall = lambda s: datetime.fromtimestamp(s, UTC).astimezone(zone).replace(tzinfo=None)
    while high - low > 1:
        middle = (low + high) // 2
        if wall(middle) < local:
            low = middle
        else:
            high = middle
    assert wall(high) > local and offset(low) != offset(high)
    return high


def fires(zone, minutes, hours, first, last):
    found = []
    day, end = datetime(first, 1, 1), datetime(last, 1, 1)
    while day < end:
        for hour in hours:
            for minute in minutes:
                found.append(seconds(day + timedelta(hours=hour, minutes=minute), zone))
        day += timedelta(days=1)
    return sorted(set(found))


first, last = int(sys.argv[1]), int(sys.argv[2])
for at in range(3, len(sys.argv), 3):
    name, minutes, hours = sys.argv[at : at + 3]
    numbers = lambda text: [int(part) for part in text.split(",")]
    found = fires(ZoneInfo(name), numbers(minutes), numbers(hours), first, last)
    sys.stdout.buffer.write(struct.pack(f"<{len(found) + 1}q", len(found), *found))
