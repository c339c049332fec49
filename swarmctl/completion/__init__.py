"""The verb ``completion``: what a shell needs to complete command lines, made from the verb table.

``places``     what can stand where: of every verb, its options, their values and its positionals
``bash``       ``zsh``  ``fish``: the script for each shell
``candidates`` what can stand there now: the daemon is asked, for a moment and in silence

A script holds everything that the table says, so a verb that is added to the table is completed. For names of queues
and agents and ids of items it calls ``swarmctl completion --of WHAT``, which prints one candidate a line, with a word
about it behind a tab where there is one. When the daemon is away there are none.
"""

from __future__ import annotations

from swarmctl.parse import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.cli import Call

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """The script of one of ``SHELLS``."""
    module = __import__(f"swarmctl.completion.{shell}", fromlist=("script",))
    text: str = module.script()
    return text


def completion(call: Call) -> int:
    """Print a script, or with ``--of`` the candidates of a kind."""
    if "of" in call.given:
        if call.words:
            raise Usage("--of takes no shell", call.spoken)
        from swarmctl.completion.candidates import candidates

        call.out.text("".join([f"{one}\n" for one in candidates(call, call.given["of"])]))
        return 0
    if not call.words:
        raise Usage(f"which shell: {', '.join(SHELLS)}?", call.spoken)
    if call.words[0] not in SHELLS:
        from swarmctl.help import nearest
        from swarmctl.parse import show

        word = call.words[0]
        raise Usage(f"the shell is one of {', '.join(SHELLS)}, not {show(word)}{nearest(word, SHELLS)}", call.spoken)
    call.out.text(script(call.words[0]))
    return 0
