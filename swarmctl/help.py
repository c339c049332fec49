"""Help pages, made from the verb table; and the nearest name for one that was mistyped.

``--help`` fits a screen and names the verbs that most people need, in groups. ``help VERB`` has every option and an
example. ``help agents`` is text to paste into the instructions of an agent; ``help exit`` the meaning of statuses.
"""

from __future__ import annotations

from textwrap import fill, wrap

from swarmctl import options, verbs
from swarmctl.cli import Output
from swarmctl.parse import HABITS, LOG, NOUNS, OUTPUTS, SHORT, Line, Usage, show
from swarmshd import __version__
from swarmshd.protocol import CODES, EXITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from swarmctl.cli import Call

WIDTH = 80

FIRST = """\
Usage: swarmctl [--json] [-q] [--agent ID] [--token T] [--key K] [--socket PATH]
                [--timeout D] VERB …

Work       submit  claim  progress  complete  fail  release  work
           (heartbeat  hold  bury  lock  unlock)
Look       list  show  count  get  held  locks  explain  deps  history  wait
           watch  whoami
Mend       kick  cancel  edit  pause  resume
Parts      queue ls|show|set|pause|resume|close|clear
           agent ls|show|register|quiet|wake|evict
Daemon     status  health  stats  top  config show|get|set|unset|reload  export
           dashboard  import  backup
           journal list|check|dump|repair|archive|snapshot|reindex|upgrade
Host       tune check|disk  (doctor)  install-units
More       help VERB  ·  help agents  ·  help exit  ·  help --all  ·  completion

  swarmctl submit test 'Run the tests' -p high      put an item in, get its id
  swarmctl claim --wait 5m                          take the next: id, token, …
  swarmctl complete 42                              end it
  swarmctl work -j 4 -- ./do-one.sh                 or let it run your command

Times are 30, 30s, 5m, 2h, 1d. PRIORITY is low, medium, high or critical.
"""

AGENTS = """\
You share a work queue with other agents, through the program `swarmctl`.

Get work:   swarmctl claim --resume --wait 5m
  prints one line: id, token, type, priority, description, separated by tabs.
  What you held before comes back first. Status 3: there is nothing to do.
Details:    swarmctl show ID        and, if it has them:
            swarmctl get ID payload
            swarmctl get ID checkpoint
Keep it:    swarmctl hold ID --pid auto    while your process lives. Else say
            something every 4 minutes, or others get the item:
            swarmctl --token TOKEN progress ID PERCENT --message 'what you do'
Hand over:  swarmctl --token TOKEN progress ID PERCENT --checkpoint FILE
            keeps up to 4 KiB for whoever goes on, should you end before it.
End it:     swarmctl --token TOKEN complete ID              it is done
            swarmctl --token TOKEN fail ID 'why'            may be tried again
            swarmctl --token TOKEN bury ID 'what is wrong'  a person must look
            swarmctl --token TOKEN release ID               you did not do it
New work:   swarmctl submit TYPE 'what is to do' -p high    prints its id
            --after ID: when that is done; --unique KEY: never two of a thing.
Look:       swarmctl list    swarmctl held    swarmctl count --by state

- Always pass the TOKEN that your claim printed: it proves the item is yours.
- Status 5, "lease lost": somebody else has it now. Stop, and claim again.
- Status 75 or 69: not now. Repeat the same command; nothing was half done.
- Status 2: your command was wrong; the line says what would be right.
- Never complete what is not done. Never claim what you will not do.
- `--json` gives one object a line, refusals too, with `code` and `next`.
- Subagents of yours share your name: give each its own with --agent NAME.
"""


def _out(text: str) -> int:
    out = Output()
    out.text(text)
    out.flush()
    return 0


def page(line: Line) -> int:
    """What a line without a verb, or with ``--help`` or ``--version``, asks for."""
    if "version" in line.given:
        return _out(f"swarmctl {__version__}\n")
    if line.verb is None:
        return _out(FIRST)
    return _out(verb_page(line.verb))


def help_verb(call: Call) -> int:
    """``help``, ``help VERB``, ``help exit``, ``help agents``, ``help --all``."""
    if "all" in call.given:
        return _out(everything())
    topic = " ".join(call.words)
    if topic == "":
        return _out(FIRST)
    if topic in ("exit", "exits", "status codes"):
        return _out(exits())
    if topic == "agents":
        return _out(AGENTS)
    if topic in NOUNS:
        return _out("\n".join(_summary(name) for name in noun_forms(topic)) + "\n")
    name = SHORT.get(topic) or HABITS.get(topic) or (LOG[0] if topic in OUTPUTS else topic)
    verb = verbs.find(name)
    if verb is None:
        raise Usage(f"there is no help about {show(topic)}{nearest_verb(topic)}", "help", "unknown_verb")
    return _out(verb_page(verb))


def noun_forms(noun: str) -> list[str]:
    """The verbs of ``queue`` or ``agent``, as they are typed."""
    forms = [name for name in (*verbs.every(), *SHORT) if name.startswith(noun + " ")]
    return [name for name in forms if name.partition(" ")[2] != "list"]


def _summary(name: str) -> str:
    verb = verbs.find(SHORT.get(name, name))
    assert verb is not None
    return f"  {f'{name} {verb.takes}'.rstrip():<40}  {verb.meaning}"


def verb_page(verb: options.Verb) -> str:
    """The help of one verb."""
    own = " [OPTION…]" if verb.options else ""
    takes = f" {verb.takes}" if verb.takes else ""
    lines = [
        f"Usage: swarmctl {verb.name}{own}{takes}",
        "",
        fill(f"{verb.meaning[0].upper()}{verb.meaning[1:]}.", WIDTH),
    ]
    if verb.note:
        lines += ["", fill(verb.note, WIDTH)]
    if verb.options:
        lines.append("")
        lines += [text for option in verb.options for text in _option(option)]
    others = [name for name, known in (*SHORT.items(), *HABITS.items()) if known == verb.name]
    if others:
        lines += ["", fill(f"Also: {', '.join(others)}", WIDTH)]
    lines += ["", "Example:", f"  {verb.example}", "", "Options of every verb: swarmctl help --all"]
    return "\n".join(lines) + "\n"


def _option(option: options.Option) -> list[str]:
    head = ", ".join(option.flags) + (f" {option.meta}" if option.meta else "")
    text = wrap(option.meaning, WIDTH - 28)
    if len(head) > 24:
        return [f"  {head}", *[" " * 28 + line for line in text]]
    return [f"  {head:<24}  {text[0]}", *[" " * 28 + line for line in text[1:]]]


def exits() -> str:
    """Every exit status, and the codes of refusals that lead to it."""
    lines = ["Exit statuses of swarmctl, and the codes that --json gives with them:", ""]
    for status, meaning in EXITS.items():
        codes = [code for code, (exit_status, _, _) in CODES.items() if exit_status == status]
        lines.append(f"  {status:>3}  {meaning}")
        lines += [f"       {line}" for line in wrap(" ".join(codes), WIDTH - 8)]
    lines += ["", fill("With several items, each has its own line and the worst status wins.", WIDTH)]
    return "\n".join(lines) + "\n"


def everything() -> str:
    """Every verb, every option of all verbs, every other name."""
    lines = ["Verbs:"]
    group = ""
    for verb in verbs.every().values():
        if verb.group != group:
            group = verb.group
            lines += ["", f" {group}"]
        lines.append(_summary(verb.name))
    lines += ["", "Options of every verb, before or after it:"]
    lines += [text for option in options.GLOBALS for text in _option(option)]
    lines += ["", "Other names:"]
    others = [*SHORT.items(), *HABITS.items(), *((f"{name} ID", "get ID output") for name in OUTPUTS)]
    lines += [f"  {name:<16}  {known}" for name, known in others]
    return "\n".join(lines) + "\n"


# -- mistyped ------------------------------------------------------------------------------------------


def nearest(word: str, names: Iterable[str]) -> str:
    """``; did you mean X?`` for the name that is closest to ``word``, or nothing if none is close."""
    from difflib import get_close_matches

    found = get_close_matches(word.lower()[:80], list(names), 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""


def nearest_verb(spoken: str) -> str:
    """The nearest verb to one that does not exist."""
    if spoken in ("logs", "tail", "cat"):
        return "; did you mean get?"
    names = [*verbs.every(), *SHORT, *HABITS]
    return nearest(spoken, names) or "; swarmctl --help lists them"


def nearest_option(flag: str, verb: options.Verb | None, table: dict[str, options.Option]) -> str:
    """The nearest option; before the verb, whether it belongs after it; or how to give a word that begins with -."""
    if verb is None and any(flag in option.flags for known in verbs.every().values() for option in known.options):
        return "; it stands after its verb"
    near = nearest(flag, [name for name in table if name.startswith("--")]) if flag.startswith("--") else ""
    return near or "; a word that begins with - stands after --"
