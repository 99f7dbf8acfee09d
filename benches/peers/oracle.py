"""The ten rules said plainly: the alerts of FILE, one a line, as a rule and the ids of the events that it stands on.

R2, R3, R8 and R9 name the event that completes them alone, R5 the opening alone. Timestamps are even and windows odd, so
that no boundary matters. One pass, whole windows, nothing clever: it is what engines are checked against.
"""
import json
import sys
from collections import defaultdict, deque

MS = dict(R2=59_999, R3=119_999, R4=29_999, R5=19_999, R6=29_999, R8=59_999, R10=299_999)


def alerts(lines):
    by_door = {rule: defaultdict(deque) for rule in ("R2", "R3", "R4", "R5", "R6")}
    ins, inside = defaultdict(deque), defaultdict(int)
    last = {}

    def window(rule, key, now):
        held = (ins if rule == "R8" else by_door[rule])[key]
        while held and now - held[0][0] > MS[rule]:
            held.popleft()
        return held

    for line in lines:
        e = json.loads(line)
        now, me, door, zone = e["ts"], e["id"], e.get("door"), e.get("zone")
        what = e["result"] if e["src"] == "badge" else e["type"]
        if what == "denied":
            if e["reason"] == "revoked":
                yield "R1", me
            for rule in by_door:
                if rule != "R5":
                    window(rule, door, now).append((now, e["badge"] if rule == "R3" else me))
            if len(by_door["R2"][door]) >= 5:
                yield "R2", me
            if len({badge for _, badge in by_door["R3"][door]}) >= 4:
                yield "R3", me
        elif what == "granted":
            by_door["R6"][door].clear()
            enters = e["dir"] == "in"
            inside[zone] += 1 if enters else -1
            if enters:
                ins[zone].append((now, me))
                if inside[zone] == 31:
                    yield "R9", me
            before = last.get(e["badge"])
            if before and enters and before["dir"] == "in":
                yield "R7", before["id"], me
            if before and before["site"] != e["site"] and now - before["ts"] < MS["R10"]:
                yield "R10", before["id"], me
            last[e["badge"]] = e
        elif what in ("forced", "open"):
            rule = "R4" if what == "forced" else "R6"
            for _, denied in window(rule, door, now):
                yield rule, denied, me
            by_door[rule][door].clear()
            if what == "open":
                by_door["R5"][door].append((now, me))
        elif what == "close":
            yield from (("R5", opened) for at, opened in by_door["R5"][door] if now - at > MS["R5"])
            by_door["R5"][door].clear()
        elif what == "headcount" and e["heads"] > 1 + len(window("R8", zone, now)):
            yield "R8", me
    for held in by_door["R5"].values():
        yield from (("R5", opened) for _, opened in held)


if __name__ == "__main__":
    with open(sys.argv[1]) as lines:
        for alert in alerts(lines):
            print(*alert)
