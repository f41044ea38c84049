"""Reads logs of other recorders: a second implementation, for the tests of heaplay's import.

Reads lines `FORMAT PATH` on standard input and prints a JSON object for each: the rows of the trace, the
number of lines that are no call, and whether the file contradicts itself. It is simple and slow, and it
shares nothing with heaplay.
"""

import json
import re
import struct
import sys


class Heap:
    """The blocks of a log, by address."""

    def __init__(self):
        self.rows, self.live, self.pending, self.events = [], {}, {}, 0
        self.threads, self.odd, self.fault = [], 0, None
        self.thread, self.time, self.domain = 0, 0, "obj"

    def number(self):
        if self.thread not in self.threads:
            self.threads.append(self.thread)
        return self.threads.index(self.thread) + 1

    def end(self, row):
        number = self.number()
        row[3] = self.events - row[0]
        if number != row[4]:
            row[5] = number
        self.events += 1

    def birth(self, op, size, address, resized=None):
        if address == 0:
            self.odd += 1
            return
        if size > 2**47:
            self.fault = "a size of %d" % size
        number = self.number()
        if address in self.live:
            self.odd += 1
            self.end(self.live.pop(address))
        event = self.events
        if op == "realloc":
            if resized is None:
                self.odd += 1
                op = "malloc"
            else:
                shared = (resized[6] == "raw") == (self.domain == "raw")
                self.end(resized)
                if not shared:
                    op, event = "malloc", self.events
        self.events = event + 1
        row = [event, op, size, None, number, None, self.domain, self.time]
        self.rows.append(row)
        self.live[address] = row

    def free(self, address):
        if address == 0:
            return
        self.number()
        if address in self.live:
            self.end(self.live.pop(address))
        else:
            self.odd += 1

    def give_up(self, address):
        self.pending[self.thread] = (address, self.live.pop(address, None))

    def failed(self):
        self.odd += 1
        address, row = self.pending.pop(self.thread, (0, None))
        if row is not None:
            self.live[address] = row

    def finish(self, size, address):
        if address == 0:
            self.odd += 1
            return
        _, row = self.pending.pop(self.thread, (0, None))
        self.birth("realloc", size, address, row)

    def realloc(self, old, size, new):
        if old == 0:
            self.birth("malloc", size, new)
        elif new == 0 and size == 0:
            self.free(old)
        elif new == 0:
            self.odd += 1
        else:
            self.give_up(old)
            self.finish(size, new)


def number(text):
    if text == "(nil)":
        return 0
    return int(text, 16) if text.startswith("0x") else int(text)


def lines_of(data, heap, is_whole=lambda line: False):
    """The lines that have an end, without blank ones."""
    lines = data.decode("utf-8", "replace").lstrip("\ufeff").split("\n")
    last = lines.pop()
    if last.strip():
        if is_whole(last.rstrip("\r")):
            lines.append(last)
        else:
            heap.odd += 1
    return [line.rstrip("\r") for line in lines if line.strip()]


def rep(data, heap):
    text = data.decode("utf-8", "replace")
    requests, header, seen = [], [], False
    parts = text.split("\n")
    for index, line in enumerate(parts):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        is_unended = index == len(parts) - 1
        if not seen and all(re.fullmatch(r"-?\d+(\.\d*)?", field) for field in fields) and not is_unended:
            header += [float(field) for field in fields]
            continue
        if is_unended:
            stated = stated_requests(header)
            if stated != len(requests) + 1 or not re.fullmatch(r"\s*([ar] \d+ \d+|f -?\d+)\s*", line):
                heap.odd += 1
                continue
        seen = True
        if fields[0] in ("a", "r") and len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            requests.append((fields[0], int(fields[1]), int(fields[2])))
        elif fields[0] == "f" and len(fields) == 2 and (fields[1].isdigit() or fields[1] == "-1"):
            requests.append(("f", int(fields[1]), 0))
        else:
            heap.fault = line
    stated = stated_requests(header)
    if len(header) > 4 or (stated is not None and len(requests) < stated):
        heap.fault = "header"
    if stated is not None and len(requests) > stated:
        heap.odd += 1
    empty = set()
    for kind, block, size in requests:
        if block == -1:
            continue
        if kind == "f":
            if block not in empty:
                heap.free(block + 1)
            empty.discard(block)
        elif kind == "r" and size == 0:
            if block + 1 in heap.live:
                heap.free(block + 1)
            empty.add(block)
        else:
            empty.discard(block)
            if kind == "r" and block + 1 in heap.live:
                heap.realloc(block + 1, size, block + 1)
            else:
                heap.birth("malloc", size, block + 1)


def stated_requests(header):
    if not header:
        return None
    stated = header[2] if len(header) == 4 else max(header[-2:])
    return int(stated) if stated >= 0 and stated == int(stated) else None


def mtrace(data, heap):
    starts = ends = 0
    for line in lines_of(data, heap, lambda line: line == "= End"):
        line = line.strip()
        if line == "= Start":
            starts += 1
        elif line == "= End":
            ends += 1
        elif line.startswith("@ ") or line.startswith("[0x"):
            if ends:
                heap.fault = "behind the end"
            found = re.fullmatch(r"(?:@ )?(.*) ([-<]) (0x[0-9a-f]+|\(nil\))", line)
            sized = re.fullmatch(r"(?:@ )?(.*) ([+>!]) (0x[0-9a-f]+|\(nil\)) (0x[0-9a-f]+)", line)
            if found:
                (heap.free if found[2] == "-" else heap.give_up)(number(found[3]))
            elif sized and sized[2] == "+":
                heap.birth("malloc", number(sized[4]), number(sized[3]))
            elif sized and sized[2] == ">":
                heap.finish(number(sized[4]), number(sized[3]))
            elif sized:
                heap.failed()
            else:
                heap.fault = line
        else:
            heap.odd += 1
    if starts > 1 or ends > 1:
        heap.fault = "two logs"


def logalloc(data, heap):
    block = r"(0x[0-9a-f]+|#\d+|\(nil\))"
    process = None
    for line in lines_of(data, heap):
        head = re.match(r"(\d+)(?: (\d+))? (\w+)\((.*)\)(?:=(\(nil\)|[^()= ]*))?$", line)
        if not head:
            heap.odd += 1
            continue
        if process is None:
            process = int(head[1])
        if int(head[1]) != process:
            heap.odd += 1
            continue
        names = "malloc valloc calloc realloc free memalign posix_memalign aligned_alloc".split()
        if head[3] not in names:
            heap.odd += 1
            continue
        heap.thread = int(head[2] or head[1])
        try:
            numbers = [number(text.replace("#", "")) for text in head[4].split(",")]
            result = None if head[5] is None else number(head[5].replace("#", ""))
            call(heap, head[3], numbers, result)
        except (ValueError, TypeError):
            heap.fault = line


def call(heap, name, numbers, result):
    if name == "free":
        (old,) = numbers
        if result is not None:
            raise ValueError
        heap.free(old)
        return
    if result is None:
        raise ValueError
    if name in ("malloc", "valloc"):
        (size,) = numbers
        heap.birth("malloc", size, result)
    elif name == "calloc":
        count, size = numbers
        heap.birth("calloc", count * size, result)
    elif name == "realloc":
        old, size = numbers
        heap.realloc(old, size, result)
    else:
        _, size = numbers
        heap.birth("malloc", size, result)


def android(data, heap):
    first = None
    counts = {"malloc": 2, "calloc": 3, "memalign": 3, "realloc": 3, "free": 1, "thread_done": 1}
    dead = {}
    for line in lines_of(data, heap):
        head = re.match(r"\s*(\d+): ([a-z_]+)( .*)?$", line)
        if not head:
            heap.odd += 1
            continue
        try:
            numbers = [number(text) if text != "-1" else -1 for text in (head[3] or "").split()]
        except ValueError:
            heap.fault = line
            continue
        count = counts.get(head[2])
        if count is None or len(numbers) < count:
            heap.fault = line
            continue
        times, numbers = numbers[count:], numbers[:count]
        allowed = (0, 1) if head[2] == "thread_done" else (0, 2)
        if head[2] in ("free", "realloc"):
            allowed = (0, 2, 3)
        if len(times) not in allowed and not (head[2] == "thread_done" and len(times) == 2):
            heap.fault = line
            continue
        heap.thread = (int(head[1]), dead.get(int(head[1]), 0))
        if times and times[0] > 0:
            first = times[0] if first is None else first
            heap.odd += times[0] < first
            heap.time = max(0, times[0] - first)
        if head[2] == "malloc":
            heap.birth("malloc", numbers[1], numbers[0])
        elif head[2] == "calloc":
            heap.birth("calloc", numbers[1] * numbers[2], numbers[0])
        elif head[2] == "memalign":
            heap.birth("malloc", numbers[2], numbers[0])
        elif head[2] == "realloc":
            heap.realloc(numbers[1], numbers[2], numbers[0])
        elif head[2] == "free":
            heap.free(numbers[0])
        else:
            dead[int(head[1])] = dead.get(int(head[1]), 0) + 1


def memray(data, heap):
    start, stated, found, header, over, freed = 0, 0, 0, 0, False, None

    def flush():
        if freed:
            heap.free(freed)

    heap.thread = 1
    for line in lines_of(data, heap, lambda line: line == "TRAILER"):
        kind = line.split(" ")[0]
        if line.startswith("HEADER magic=memray"):
            header += 1
            before = line.split(" command_line=")[0]
            values = dict(field.split("=", 1) for field in before.split(" ")[1:] if "=" in field)
            if values.get("file_format") != "ALL_ALLOCATIONS":
                heap.fault = line
                return
            start, stated = int(values.get("start_time", 0)), int(values.get("n_allocations", 0))
            heap.thread = int(values.get("main_tid", 1))
            continue
        if not header or not re.fullmatch(r"[A-Z_]{4,}", kind):
            heap.odd += 1
            continue
        if over:
            heap.fault = "behind the trailer"
        try:
            if kind in ("ALLOCATION", "ALLOCATION_WITH_NATIVE"):
                found += 1
                record = re.match(r"\S+ address=(\S+) size=(\d+) allocator=(\w+)( |$)", line)
                address, size, name = number(record[1]), int(record[2]), record[3]
                known = "malloc free calloc realloc mmap munmap valloc pvalloc memalign".split()
                known += ["posix_memalign", "aligned_alloc"]
                if name.replace("pymalloc_", "") not in known:
                    heap.fault = line
                if not name.endswith("realloc"):
                    flush()
                    freed = None
                heap.domain = "obj" if name.startswith("pymalloc_") else "raw"
                if name.endswith("free"):
                    freed = address
                elif name.endswith("realloc"):
                    old, freed = freed, None
                    heap.realloc(old or 0, size, address)
                elif name in ("mmap", "munmap"):
                    heap.odd += 1
                else:
                    heap.birth("calloc" if name.endswith("calloc") else "malloc", size, address)
            elif kind == "CONTEXT_SWITCH":
                flush()
                freed = None
                heap.thread = int(re.match(r"CONTEXT_SWITCH tid=(\d+)( |$)", line)[1])
            elif kind == "MEMORY_RECORD":
                now = int(re.match(r"MEMORY_RECORD time=(\d+) ", line)[1])
                heap.odd += now < start
                heap.time = max(0, now - start) * 1000000
            elif kind == "TRAILER":
                over = True
            elif kind not in ("CODE_OBJECT", "FRAME_ID", "FRAME_PUSH", "FRAME_POP", "THREAD"):
                heap.odd += 1
        except (TypeError, ValueError):
            heap.fault = line
    flush()
    if header > 1 or not header:
        heap.fault = "headers"
    heap.odd += not over
    heap.odd += stated != found


def heaptrack(data, heap):
    version, pairs, count, blocks = None, [], 0, 0
    for line in lines_of(data, heap):
        fields = line.split(" ")
        if fields[0].startswith("#"):
            continue
        if len(fields[0]) != 1:
            heap.odd += 1
            continue
        if fields[0] == "v":
            if version is not None:
                heap.fault = "two versions"
            version = int(fields[2], 16) if len(fields) > 2 else 0
            continue
        if version is None:
            heap.odd += 1
            continue
        try:
            if fields[0] == "s" and version >= 3:
                text = line.split(" ", 2)
                if len(text[2].encode()) != int(text[1], 16):
                    heap.fault = line
            if fields[0] in "sXAmxS":
                continue
            numbers = [int(field, 16) for field in fields[1:] if field]
            if not all(re.fullmatch("[0-9a-fA-F]+", field) for field in fields[1:] if field):
                raise ValueError
            if fields[0] == "a":
                size, _ = numbers
                pairs.append((size, []))
            elif fields[0] == "+" and len(numbers) == 1:
                blocks += 1
                pairs[numbers[0]][1].append(blocks)
                heap.birth("malloc", pairs[numbers[0]][0], blocks)
            elif fields[0] == "+" and not pairs:
                size, _, address = numbers
                heap.birth("malloc", size, address)
            elif fields[0] == "-" and pairs:
                (index,) = numbers
                live = pairs[index][1]
                heap.odd += len(live) > 1
                heap.free(live.pop() if live else -1)
            elif fields[0] == "-":
                (address,) = numbers
                heap.free(address)
            elif fields[0] == "c":
                (now,) = numbers
                heap.time = now * 1000000
            elif fields[0] == "t":
                _, parent = numbers
                if parent > count:
                    raise ValueError
                count += 1
            elif fields[0] == "i":
                if len(numbers) < 2:
                    raise ValueError
            elif fields[0] not in "RI":
                heap.fault = line
        except (ValueError, IndexError):
            heap.fault = line


def valgrind(data, heap):
    process, begun, first = None, None, None
    for line in lines_of(data, heap):
        if line.startswith("=="):  # valgrind's own words
            continue
        head = re.match(r"--(?:(\d+):(\d+):(\d+):(\d+)\.(\d+) )?(\d+)-- (.*)", line)
        if not head:
            heap.odd += 1
            continue
        text = head[7]
        name = re.match(r"(malloc|calloc|memalign|realloc|free|cfree|_Z[nd]\w*)\((.*?)\)(.*)", text)
        looks_cut = re.match(r"(malloc|calloc|memalign|realloc|free|cfree|_Z[nd]\w*)\(", text)
        if not name and looks_cut:
            heap.fault = line
            continue
        if not name and not re.match(r" *= ", text):
            heap.odd += 1
            continue
        if process is None:
            process = head[6]
        if head[6] != process:
            heap.odd += 1
            continue
        if not name:
            if begun is None:
                heap.fault = line
                continue
            finish_valgrind(heap, begun, text.strip(), line)
            begun = None
            continue
        if head[1] is not None:
            days, hours, minutes, seconds, part = (int(head[at]) for at in range(1, 6))
            now = ((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + part) * 1000000
            first = now if first is None else first
            heap.time = max(0, now - first)
            heap.odd += now < first
        if name[1] in ("free", "cfree") or name[1].startswith("_Zd"):
            if name[3].strip() or not re.match("0x[0-9A-F]+", name[2]):
                heap.fault = line
            else:
                heap.free(int(name[2].split(",")[0], 16))
        elif name[3].startswith(" = "):
            finish_valgrind(heap, (name[1], name[2]), name[3].strip(), line)
        else:
            heap.odd += begun is not None
            begun = (name[1], name[2])
    heap.odd += begun is not None


def finish_valgrind(heap, begun, text, line):
    result = re.fullmatch(r"= (0x[0-9A-F]+|\d+)", text)
    name, arguments = begun
    try:
        values = [number(re.sub("^(al|size) ", "", part.strip())) for part in arguments.split(",")]
        result = number(result[1])
        if name == "malloc" or name.startswith("_Zn") and len(values) == 1:
            (size,) = values
            heap.birth("malloc", size, result)
        elif name.startswith("_Zn"):
            size, _ = values
            heap.birth("malloc", size, result)
        elif name == "calloc":
            heap.birth("calloc", values[0] * values[1], result) if len(values) == 2 else bad()
        elif name == "memalign":
            _, size = values
            heap.birth("malloc", size, result)
        else:
            old, size = values
            heap.realloc(old, size, result)
    except (TypeError, ValueError):
        heap.fault = line


def bad():
    raise ValueError


def rmm(data, heap):
    names, first, last, days = 0, None, 0, 0
    for line in lines_of(data, heap):
        line = line.strip()
        if line == "Thread,Time,Action,Pointer,Size,Stream":
            names += 1
            continue
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 6:
            heap.odd += 1
            continue
        time = re.fullmatch(r"(\d+):(\d+):(\d+)[.:](\d{1,9})", fields[1])
        if not time or fields[2] not in ("allocate", "allocate failure", "free"):
            heap.fault = line
            continue
        try:
            heap.thread, address, size = int(fields[0]), number(fields[3]), int(fields[4])
        except ValueError:
            heap.fault = line
            continue
        if int(time[1]) > 23 or int(time[2]) > 59 or int(time[3]) > 60:
            heap.fault = line
        seconds = (int(time[1]) * 60 + int(time[2])) * 60 + int(time[3])
        now = seconds * 10**9 + int(time[4].ljust(9, "0"))
        if now + 43200 * 10**9 < last:
            days += 86400 * 10**9
        last = now
        now += days
        first = now if first is None else first
        heap.odd += now < first
        heap.time = max(0, now - first)
        if fields[2] == "allocate":
            heap.birth("malloc", size, address)
        elif fields[2] == "free":
            heap.free(address)
        else:
            heap.odd += 1
    if names > 1:
        heap.fault = "two headers"


def glibc(data, heap):
    waiting, nested, live = {}, {}, set()

    def begin(record):
        thread, kind, _, _, new, size, _ = record
        heap.thread = thread
        heap.birth("calloc" if kind == 2 else "malloc", size, new)

    if len(data) % 64 or len(data) < 64:
        heap.fault = "cut"
    for at in range(0, len(data) - 63, 64):
        thread, kind, flags, _, old, new, size, size2 = struct.unpack_from("<IBBHQQQQ", data, at)
        if at == 0:
            if (kind, old, size) != (255, 0x1234, 8):
                heap.fault = "no magic"
            continue
        if kind == 0:
            continue
        if kind > 8:
            heap.fault = "kind %d" % kind
            return
        heap.thread = thread
        record = (thread, kind, flags, old, new, size, size2)
        expected = nested.get(thread)
        if expected is not None:
            part = ("new", new) if kind == 1 else ("old", old) if kind == 3 else None
            if part in expected:
                expected.remove(part)
                if not expected:
                    del nested[thread]
                continue
            del nested[thread]
        if kind == 3:
            live.discard(old)
            heap.free(old)
            if old in waiting:
                live.add(old)
                begin(waiting.pop(old))
                heap.thread = thread
        elif kind == 4:
            if flags & 64:
                nested[thread] = [("new", new), ("old", old)]
            if new or not size:
                live.discard(old)
            live.add(new)
            heap.realloc(old, size, new)
        elif kind == 8 and old:
            heap.odd += 1
        elif new and new in live:
            if new in waiting:
                begin(waiting.pop(new))
            waiting[new] = record
        else:
            live.add(new)
            begin(record)
    for new in sorted(waiting):
        begin(waiting[new])


def workload(data, heap):
    def varint(at):
        value = 0
        while True:
            byte = data[at]
            value = value << 7 | byte & 127
            at += 1
            if value >= 2**64:
                raise ValueError
            if byte < 128:
                return value, at

    counts = {0: 0, 1: 0, 2: 2, 3: 2, 4: 3, 5: 1, 6: 1, 7: 1, 12: 3, 13: 2, 14: 2, 15: 3}
    try:
        at, threads, pointers, flags, stated = 0, [], 0, 0, 0
        while True:
            code = data[at]
            at += 1
            if code == 1:
                break
            if code == 0:
                continue
            value, at = varint(at)
            if code == 8:
                pointers = value
            elif code == 9:
                flags = value
            elif code == 10:
                stated = value
            elif code == 11:
                threads.append([value, len(threads) + 1])
            else:
                raise ValueError
        if len(threads) != stated:
            raise ValueError
        known, running, waits = set(), 0, 0
        while threads:
            running %= len(threads)
            if waits > len(threads):
                raise ValueError
            thread = threads[running]
            heap.thread = thread[1]
            at = thread[0]
            code = data[at]
            values, at = [], at + 1
            for _ in range(counts[code]):
                value, at = varint(at)
                values.append(value)
            if code == 1:
                threads.pop(running)
                waits = 0
                continue
            if code in (6, 7) and values[0] > flags:
                raise ValueError
            if code == 7 and values[0] not in known:
                running, waits = running + 1, waits + 1
                continue
            waits = 0
            thread[0] = at
            if code == 6:
                known.add(values[0])
            elif code in (2, 3, 4, 5, 12, 13, 14, 15):
                if values[0] > pointers or (code == 4 and values[1] > pointers):
                    raise ValueError
                if code == 5:
                    heap.free(values[0] if values[0] in heap.live else 0)
                elif code == 4:
                    new, old, size = values
                    old = old if old in heap.live else 0
                    if new != old and new in heap.live:
                        heap.free(new)
                    heap.realloc(old, size, new)
                else:
                    if values[0] in heap.live:
                        heap.free(values[0])
                    heap.birth("calloc" if code == 3 else "malloc", values[-1], values[0])
    except (ValueError, IndexError, KeyError):
        heap.fault = "cut or damaged"


def bytehound(data, heap):
    try:
        (slots,) = struct.unpack_from("=Q", data, 0)
        at, first, live = 8, None, set()
        while True:
            (kind,) = struct.unpack_from("=Q", data, at)
            if kind == 0:
                if at + 8 != len(data):
                    heap.fault = "behind the end"
                return
            slot, now, size = struct.unpack_from("=3Q", data, at + 8)
            at += 32
            if kind > 5:
                raise ValueError
            if kind > 3:
                continue
            if slot >= slots or (kind == 1) == (slot in live):
                raise ValueError
            first = now if first is None else first
            heap.odd += now < first
            heap.time = max(0, now - first) * 1000
            if kind == 1:
                live.add(slot)
                heap.birth("malloc", size, slot + 1)
            elif kind == 2:
                live.discard(slot)
                heap.free(slot + 1)
            else:
                heap.realloc(slot + 1, size, slot + 1)
    except (ValueError, struct.error):
        heap.fault = "cut or damaged"


READERS = {
    "rep": rep,
    "mtrace": mtrace,
    "logalloc": logalloc,
    "android": android,
    "memray": memray,
    "heaptrack": heaptrack,
    "valgrind": valgrind,
    "rmm": rmm,
    "glibc": glibc,
    "glibc-workload": workload,
    "bytehound": bytehound,
}

for request in sys.stdin:
    form, path = request.rstrip("\n").split(" ", 1)
    with open(path, "rb") as file:
        content = file.read()
    heap = Heap()
    READERS[form](content, heap)
    print(json.dumps({"rows": heap.rows, "odd": heap.odd, "fault": heap.fault, "calls": heap.events}))
