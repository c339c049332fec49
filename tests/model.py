"""A naive model of the rules: lists, dicts, and a scan for every question.

It knows what must come out, not how: no index, no event, no journal. Refusals are told by their codes.
"""

from typing import Any

Row = dict[str, Any]
OPEN = ("ready", "scheduled", "blocked", "claimed", "buried")


class No(Exception):
    """A refusal, by its code."""


class Model:
    def __init__(self, policy: Any, now: int) -> None:
        self.policy, self.now, self.calm_at = policy, now, 0
        self.items: dict[int, Row] = {}
        self.ended: list[int] = []
        self.agents: dict[str, Row] = {}
        self.queues: dict[str, Row] = {}
        self.paused = False

    # -- asking --

    def agent(self, name: str) -> Row:
        return self.agents.setdefault(name, {"labels": (), "slots": 0, "quiet": False, "watch": None})

    def holds(self, name: str) -> list[int]:
        return [n for n, i in self.items.items() if i["state"] == "claimed" and i["agent"] == name]

    def offers(self, queue: str) -> bool:
        settings = self.queues.get(queue, {})
        claimed = sum(i["state"] == "claimed" and i["queue"] == queue for i in self.items.values())
        return not settings.get("paused") and not 0 < settings.get("limit", 0) <= claimed

    def deadline(self, item: Row) -> int:
        end: int = min(item["until"], item["runtime_until"] or item["until"])
        return end

    def held(self, number: int, token: str | None, agent: str | None) -> Row:
        """The item that the sender holds."""
        item = self.items.get(number)
        if item is None:
            raise No("not_found")
        mine = item["state"] == "claimed" and (token == item["token"] if token else agent == item["agent"])
        if item["state"] == "cancelled" and (token is None or token == item["token"]):
            raise No("cancelled")
        if not mine and token:
            raise No("lease_lost")
        if not mine:
            raise No("not_holder" if item["state"] == "claimed" else "bad_state")
        if self.deadline(item) <= self.now:
            raise No("lease_lost")
        return item

    def taken(self, wish: Row, count: int) -> list[int]:
        """What a claim gets, in order."""
        agent = self.agents.get(wish["agent"], {"labels": (), "slots": 0, "quiet": False})
        if wish.get("resume") and (mine := self.holds(wish["agent"])):
            return mine
        room = count if not agent["slots"] else min(count, agent["slots"] - len(self.holds(wish["agent"])))
        if agent["quiet"] or room <= 0:
            raise No("capacity")
        found: list[int] = []
        claimed: dict[str, int] = {}
        for n, i in sorted(self.items.items(), key=lambda row: (row[1]["priority"], row[0])):
            limit = self.queues.get(i["queue"], {}).get("limit", 0)
            fits = (
                i["state"] == "ready"
                and (wish["queue"] == "*" or i["queue"] in wish["queue"])
                and (not wish["type"] or i["type"] in wish["type"])
                and (not wish["team"] or i["team"] in wish["team"])
                and set(i["require"]) <= set(agent["labels"])
                and self.offers(i["queue"])
                and not self.paused
            )
            held = sum(each["state"] == "claimed" and each["queue"] == i["queue"] for each in self.items.values())
            if fits and not (limit and held + claimed.get(i["queue"], 0) >= limit):
                claimed[i["queue"]] = claimed.get(i["queue"], 0) + 1
                found.append(n)
        if not found:
            raise No("empty")
        return found[:room]

    # -- changing --

    def end(self, number: int, state: str) -> None:
        item = self.items[number]
        if item["state"] != "claimed":
            item["token"] = None
        item["state"], item["since"], item["waits"] = state, self.now, set()
        self.ended.append(number)

    def back(self, item: Row, due_at: int = 0) -> None:
        item["state"], item["due_at"] = ("scheduled", due_at) if due_at else ("ready", 0)

    def renew(self, item: Row) -> None:
        length = max(self.policy.stall_after, item["lease"]) if item["watch"] else item["lease"]
        if (self.now + length - item["until"]) * 10 >= item["lease"] or item["stalled"]:
            self.renew_now(item)

    def renew_now(self, item: Row) -> None:
        length = max(self.policy.stall_after, item["lease"]) if item["watch"] else item["lease"]
        item["until"], item["seen"], item["stalled"] = self.now + length, self.now, False

    def complete(self, number: int) -> None:
        self.end(number, "done")
        for item in self.items.values():
            if number in item["waits"]:
                item["waits"].discard(number)
                if not item["waits"]:
                    self.back(item, item["due_at"] if item["due_at"] > self.now else 0)

    def fail(self, item: Row, retry_after: int | None = None, *, bury: bool = False) -> None:
        item["failures"] += 1
        item["releases"] = 0
        backoff = min(self.policy.backoff_base << item["failures"] - 1, self.policy.backoff_max)
        delay = backoff if retry_after is None else retry_after
        if bury or item["failures"] >= (item["max_attempts"] or self.policy.max_attempts):
            item["state"] = "buried"
        else:
            self.back(item, self.now + delay if delay else 0)

    def lose(self, item: Row, *, crash: bool) -> None:
        if crash:
            item["crashes"] += 1
            item["releases"] = 0
        if crash and item["crashes"] >= self.policy.crash_cap:
            item["state"] = "buried"
        else:
            self.back(item)

    def release(self, item: Row, delay: int) -> None:
        item["releases"] += 1
        if item["releases"] >= self.policy.release_cap:
            item["state"] = "buried"
        else:
            self.back(item, self.now + delay if delay else 0)

    def settle(self) -> None:
        """The fates of those that wait for what will not come, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for n, i in self.items.items():
                bad = {w for w in i["waits"] if w in self.items and self.items[w]["state"] in ("buried", "cancelled")}
                if i["state"] != "blocked" or not bad or i["on_failure"] == "hold":
                    continue
                changed = True
                if i["on_failure"] == "cancel":
                    self.end(n, "cancelled")
                else:
                    i["waits"] -= bad
                    if not i["waits"]:
                        self.back(i, i["due_at"] if i["due_at"] > self.now else 0)

    def turn(self) -> None:
        """What is due by now happens."""
        for item in self.items.values():
            if item["state"] == "scheduled" and item["due_at"] <= self.now:
                self.back(item)
            elif item["state"] == "claimed" and (item["runtime_until"] or self.now + 1) <= self.now:
                self.fail(item)
            elif item["state"] == "claimed" and item["until"] <= self.now:
                self.lose(item, crash=item["until"] > self.calm_at + item["lease"])
            elif item["state"] == "claimed" and item["watch"]:
                item["stalled"] |= item["seen"] + (item["until"] - item["seen"]) // 2 <= self.now
        self.settle()
        while self.ended and (
            len(self.ended) > self.policy.retain_done_items
            or self.items[self.ended[0]]["since"] + self.policy.retain_done <= self.now
        ):
            del self.items[self.ended.pop(0)]
