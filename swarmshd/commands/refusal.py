"""A lawful no, who asked, and how what they said is quoted."""

from typing import NoReturn

from attrs import frozen

from swarmshd import protocol


def one_line(text: str) -> str:
    """A sentence, whatever texts of users it quotes."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def shown(value: object) -> str:
    """What a peer said, in a sentence of ours: short, and nothing that a terminal would act on."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Refusal(Exception):
    """A lawful no: a code of ``protocol.CODES``, one sentence, and facts for programs."""

    def __init__(self, code: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts

    def wire(self) -> dict[str, object]:
        """The map that stands third in the reply. Its message is one line, whatever texts of users it quotes."""
        facts: dict[str, object] = {"message": one_line(self.message), "retryable": protocol.CODES[self.code][1]}
        facts.update(self.facts)
        return facts


@frozen
class Actor:
    """Who asks: the peer's credentials as the kernel told them. An admin may touch what is not its own."""

    uid: int
    pid: int
    admin: bool = False


def lacking(verb: str, uid: int) -> Refusal:
    """The refusal of who has not the right that the verb needs."""
    right = protocol.VERBS[verb]
    text = f"{verb}: needs the right `{right}`, which uid {uid} has not"
    return Refusal("denied", text, next=f"swarmctl config show ACCESS_{right.upper()}")


def bad(verb: str, why: str) -> NoReturn:
    """Refuse what can never be granted, whatever the state."""
    raise Refusal("bad_request", f"{verb}: {why}")
