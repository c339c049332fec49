"""A swarm at work, from nothing, in about half a minute: `make demo`, or `python contrib/demo/demo.py`.

It starts a daemon with a state directory and a socket of its own, submits some hundreds of real commands that depend on
each other (see `plan`), and lets eight agents, each a `swarmctl work` process, carry them out (see `step`). Half way it
kills one agent and then the daemon with SIGKILL. In the end it shows that every item was done exactly once (see
`proof`). Exit status: 0 it was; 1 it was not, or something else went wrong, said in one line; 130 interrupted.
"""

import argparse
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import plan
import proof
from processes import GRACE, Agent, Daemon, Failed, environment, program

from swarmctl.connection import Connection, Refused

ROOT = Path(__file__).resolve().parent.parent.parent
STEP = Path(__file__).resolve().parent / "step.py"
KILL_AGENT_AT, KILL_DAEMON_AT = 0.4, 0.6
TIME = 60.0
"""Seconds that the whole takes at most on a machine that has nothing else to do; one that has is told so."""

PATIENCE = 60.0
"""Seconds in which at least one item must get done."""

AT_MOST = 1800.0
"""Seconds after which it is over, whatever happens."""

FREE_AGAIN = 5.0
"""Seconds in which the item of a killed agent must be free again."""

TRIES = 5
RED, BOLD, PLAIN = (
    ("\x1b[31m", "\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("",) * 3
)


class Demo:
    """One run."""

    def __init__(self, directory: Path, agents: int, files: int) -> None:
        self.directory = directory
        names = plan.tracked(ROOT)
        self.names = names[:files] if files else names
        self.lines = plan.lines(self.names)
        self.daemon = Daemon(directory)
        self.environ = environment(self.daemon.socket)
        self.agents = [Agent(f"agent-{number + 1}", directory) for number in range(agents)]
        self.waiting: subprocess.Popen[bytes] | None = None
        self.selector = selectors.DefaultSelector()
        self.what: dict[int, str] = {}
        """The description of every item."""
        self.acknowledged: dict[int, str] = {}
        """The agent that was told: this item is done."""
        self.returned: dict[int, str] = {}
        """Items that came back because this agent was killed."""
        self.began = time.monotonic()

    def say(self, who: str, what: str, mark: str = "") -> None:
        """One line, as it happens."""
        print(f"{time.monotonic() - self.began:6.2f} s  {mark}{who:<9} {what}{PLAIN if mark else ''}", flush=True)

    # -- the run ---------------------------------------------------------------------------------------

    def run(self) -> int:
        """From nothing to the proof; the exit status."""
        try:
            self.prepare()
            self.say("daemon", self.daemon.start())
            self.submit()
            self.start_agents()
            self.follow()
            self.stop_agents()
            found = self.witnesses()
            self.say("daemon", self.daemon.stop())
        finally:
            self.clear_away()
        return self.prove(*found)

    def prepare(self) -> None:
        """An empty place, with a copy of the files."""
        for name in ("state", "out", "files", "log"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / "ledger").unlink(missing_ok=True)
        for name in ("out", "log"):
            (self.directory / name).mkdir()
        plan.copy(ROOT, self.names, self.directory / "files")
        with (self.directory / "items.jsonl").open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)

    def submit(self) -> None:
        """All items by one command, all or nothing."""
        source = str(self.directory / "items.jsonl")
        out = self.ctl("submit", "--from", source, "--all-or-nothing", "--key", "demo")
        ids = [int(word) for word in out.split()]
        if len(ids) != len(self.lines):
            raise Failed(f"{len(self.lines)} lines were submitted, and {len(ids)} ids came out")
        self.what = {number: str(line["description"]) for number, line in zip(ids, self.lines, strict=True)}
        self.say("submit", f"{len(ids)} items for {len(self.names)} files, in one command; they depend on each other")

    def start_agents(self) -> None:
        command = [sys.executable, "-IS", str(STEP), str(self.directory)]
        for agent in self.agents:
            agent.start(self.environ, command)
            self.selector.register(agent.output, selectors.EVENT_READ, agent)
        pids = ", ".join(str(agent.pid) for agent in self.agents)
        self.say("swarm", f"{len(self.agents)} agents, each a process of its own: pids {pids}")
        self.waiting = subprocess.Popen(
            [*program("swarmctl"), "-q", "wait", "--group", plan.GROUP, "--timeout", str(int(AT_MOST))],
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
        )  # fmt: skip
        assert self.waiting.stdout is not None
        self.selector.register(self.waiting.stdout, selectors.EVENT_READ, None)

    def follow(self) -> None:
        """Show what the agents report until all is done, and kill on the way."""
        assert self.waiting is not None
        killed_agent = killed_daemon = over = False
        count, since = 0, time.monotonic()
        while not over:
            over = self.take_lines()
            if len(self.acknowledged) > count:
                count, since = len(self.acknowledged), time.monotonic()
            share = count / len(self.what)
            if not killed_agent and share >= KILL_AGENT_AT:
                killed_agent = True
                self.kill_agent()
            elif not killed_daemon and share >= KILL_DAEMON_AT:
                killed_daemon = True
                self.kill_daemon()
            if time.monotonic() - since > PATIENCE:
                raise Failed(f"nothing got done for {PATIENCE:.0f} s; the logs are in {self.directory / 'log'}")
        if self.waiting.wait(PATIENCE):
            said = b"".join(self.waiting.communicate()).decode(errors="replace").strip().replace("\n", "; ")
            raise Failed(f"swarmctl wait: exit status {self.waiting.returncode}: {said or 'it said nothing'}")
        if not (killed_agent and killed_daemon):
            raise Failed("all was done before anything was killed; give it more files")

    def take_lines(self) -> bool:
        """What has come from the agents within a moment; true when `swarmctl wait` has ended."""
        over = False
        for key, _ in self.selector.select(0.2):
            agent: Agent | None = key.data
            if agent is None:
                over = True
                self.selector.unregister(key.fileobj)
                continue
            for line in agent.read():
                self.show(agent, line)
            if agent.ended:
                self.selector.unregister(key.fileobj)
                if not agent.killed:
                    raise Failed(f"{agent.name} ended by itself: {agent.last_words()}")
        return over

    def show(self, agent: Agent, line: dict[str, Any]) -> None:
        """An agent was told that an item of its has ended."""
        number = line["id"]
        again = ""
        if line["state"] != "done":
            again = f": {line['state']}"
        elif number in self.acknowledged:
            raise Failed(f"item {number} was acknowledged twice: to {self.acknowledged[number]} and to {agent.name}")
        else:
            self.acknowledged[number] = agent.name
        if number in self.returned:
            again += f"  <- the item that {self.returned[number]} had when it was killed"
        self.say(agent.name, f"{number:>4}  {self.what[number]}{again}", BOLD if again else "")

    # -- killing ---------------------------------------------------------------------------------------

    def kill_agent(self) -> None:
        """Kill an agent that has an item in hand, with SIGKILL, and see its item come back."""
        link = Connection(self.daemon.socket)
        for _ in range(TRIES):
            agent, item = self.busy_agent(link)
            agent.kill()
            since = time.monotonic()
            state = self.state_without(link, item, agent.name)
            took = (time.monotonic() - since) * 1000
            for line in agent.read():
                self.show(agent, line)
            self.say("KILL -9", f"{agent.name}, pid {agent.pid}, with item {item} in hand: {self.what[item]}", RED)
            if state != "done":
                self.returned[item] = agent.name
                self.say("daemon", f"item {item} was taken back {took:.0f} ms later", BOLD)
                link.close()
                return
            self.say("daemon", f"item {item} was completed just before; so another one")
        raise Failed(f"{TRIES} agents were killed, and each had just completed its item")

    def busy_agent(self, link: Connection) -> tuple[Agent, int]:
        """The agent that has claimed last, and its item."""
        alive = {agent.name: agent for agent in self.agents if not agent.killed}
        end = time.monotonic() + FREE_AGAIN
        while time.monotonic() < end:
            held = link.call("list", {"state": ["claimed"], "group": plan.GROUP, "limit": 1000})["items"]
            held = [item for item in held if item["agent"] in alive]
            if held:
                newest = max(held, key=lambda item: (item["claimed_at"], item["id"]))
                return alive[newest["agent"]], newest["id"]
        raise Failed("no agent has anything in hand")

    def state_without(self, link: Connection, item: int, name: str) -> str:
        """``done`` if the killed agent had completed it; else once it is not its any more, ``free``."""
        end = time.monotonic() + FREE_AGAIN
        while time.monotonic() < end:
            facts = link.call("show", {"id": item})
            if facts["state"] != "claimed" or facts["agent"] != name:
                return "done" if facts["state"] == "done" and facts["agent"] == name else "free"
        raise Failed(f"item {item} is still {name}'s, {FREE_AGAIN:.0f} s after that was killed")

    def kill_daemon(self) -> None:
        """Kill the daemon with SIGKILL and start it again; what was acknowledged must be there."""
        pid = self.daemon.kill()
        since = time.monotonic()
        self.say("KILL -9", f"the daemon, pid {pid}; {len(self.acknowledged)} items are acknowledged as done", RED)
        ready = self.daemon.start()
        self.say("daemon", f"{ready}, {(time.monotonic() - since) * 1000:.0f} ms later; the agents go on", BOLD)
        for line in self.daemon.said():
            self.say("daemon", line)
        link = Connection(self.daemon.socket)
        done = {item["id"] for item in self.all_items(link, ["done"])}
        link.close()
        lost = self.acknowledged.keys() - done
        if lost:
            raise Failed(f"acknowledged before the kill, and not done after it: items {sorted(lost)}")
        self.say("daemon", f"all {len(self.acknowledged)} acknowledged items are there")

    # -- the end ---------------------------------------------------------------------------------------

    def stop_agents(self) -> None:
        """End the agents by SIGTERM; they must end well."""
        for agent in self.agents:
            if not agent.killed:
                agent.end()
        for agent in self.agents:
            if agent.killed:
                continue
            status = agent.wait()
            for line in agent.read():
                self.show(agent, line)
            if status:
                raise Failed(f"{agent.name}: exit status {status}: {agent.last_words()}")
        self.say("swarm", "all is done; the agents have ended")

    def all_items(self, link: Connection, states: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        more, after = True, 0
        while more:
            page = link.call("list", {"state": states, "group": plan.GROUP, "limit": 1000, "after_id": after})
            found += page["items"]
            more, after = page["more"], page["after_id"]
        return found

    def witnesses(self) -> tuple[list[dict[str, Any]], dict[int, bytes]]:
        """What the daemon says: all items, through swarmctl, and the output of each."""
        counted = self.ctl("count", "--all", "--by", "state", "--group", plan.GROUP)
        self.say("count", counted.strip().replace("\t", " ").replace("\n", ", "))
        listed = self.ctl("--json", "list", "--all", "--group", plan.GROUP)
        items = [line for line in map(json.loads, listed.splitlines()) if "id" in line]
        link = Connection(self.daemon.socket)
        outputs = {}
        for item in items:
            try:
                outputs[item["id"]] = link.call("get", {"id": item["id"], "what": "output"})["data"]
            except Refused:
                outputs[item["id"]] = b""
        link.close()
        return items, outputs

    def prove(self, items: list[dict[str, Any]], outputs: dict[int, bytes]) -> int:
        """Say what was found."""
        found = proof.check(self.directory, self.lines, items, outputs)
        for number, agent in self.returned.items():
            other = next((item["agent"] for item in items if item["id"] == number), "nobody")
            if other == agent:
                found.problems.append(f"item {number}: done by {agent}, which was dead")
        print()
        for problem in found.problems:
            print(f"{RED}WRONG{PLAIN}  {problem}")
        if found.problems:
            print(f"demo: the proof failed in {len(found.problems)} points; all is left in {self.directory}")
            return 1
        count = found.items
        print(f"{BOLD}Every item was done exactly once{PLAIN}: {count} items, {count} accepted completions.")
        print(f"  daemon    {count} of {count} done; {found.claims} claims, {_again(found)}")
        print(f"  ledger    one run of each is the accepted one, by attempt, fence and agent; {_extra(found)}")
        print(f"  products  hash, byte code, compression and check of {found.files} files, computed again: all right")
        print("  A run that is killed may have begun its step, so a step can begin twice. Its completion counts once:")
        print("  under the fencing number of the item's last claim, and after that nobody can claim it.")
        took = time.monotonic() - self.began
        print(f"All of it took {took:.0f} s.")
        if took > TIME:
            load, cores = os.getloadavg()[0], os.cpu_count()
            print(f"That is more than the minute it should take; the load average is {load:.1f} on {cores} cores.")
        return 0

    def ctl(self, *words: str) -> str:
        """What a swarmctl command prints; it must succeed."""
        done = subprocess.run(
            [*program("swarmctl"), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip() or "it said nothing"
            raise Failed(f"swarmctl {words[0]}: exit status {done.returncode}: {said}")
        return done.stdout

    def clear_away(self) -> None:
        """Leave no process behind, whatever has happened."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for agent in self.agents:
            agent.end()
        end = time.monotonic() + 2 * GRACE
        for agent in self.agents:
            agent.close(max(0.1, end - time.monotonic()))
        if self.waiting is not None and self.waiting.poll() is None:
            self.waiting.kill()
            self.waiting.wait()
        self.daemon.close()


def _again(found: proof.Proof) -> str:
    if not found.again:
        return "none twice"
    return f"of item {', '.join(map(str, found.again))} more than one, as its holder was killed"


def _extra(found: proof.Proof) -> str:
    if not found.unaccepted:
        return "no others"
    return f"{found.unaccepted} more reached its end and was killed before it was accepted"


def _farewell() -> None:
    ctl, daemon = " ".join(program("swarmctl")), " ".join(program("swarmshd"))
    print(f"\nNow by hand. The programs: {ctl}\n                           {daemon}\nThree things to try:")
    print(f"  {daemon} &")
    print(f"  {ctl} submit build 'Say hello' -p high --payload - <<< 'echo hello'")
    print(f"  {ctl} work --until-empty -- sh")


def _lock(directory: Path) -> int:
    """Two demos in one place would take each other's files."""
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failed(f"another demo runs in {directory}; wait for it, or give --dir") from None
    return held


def _terminated(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description="A swarm at work: real items, killed agents, a killed daemon, proof.")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo", help="where all of it lies (%(default)s)")
    parser.add_argument("--agents", type=int, default=8, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--files", type=int, default=0, metavar="N", help="only the first so many (all)")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    try:
        directory = options.dir.resolve()
        held = _lock(directory)
        status = Demo(directory, options.agents, options.files).run()
        os.close(held)
    except (Failed, Refused, OSError, subprocess.TimeoutExpired) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; nothing of it runs any more", file=sys.stderr)
        return 130
    if status == 0:
        _farewell()
    return status


if __name__ == "__main__":
    sys.exit(main())
