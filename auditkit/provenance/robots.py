"""robots.txt and its relatives as groups of rules: which rule holds for a path (RFC 9309)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """One line of a group: its key in lower case, its value, and the line as it stands there."""

    key: str
    value: str
    line: str


@dataclass
class Group:
    """Rules that hold for some crawlers."""

    agents: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    def names(self, agent: str) -> bool:
        """Whether the group names this crawler; '*' names nobody."""
        return agent.lower() in (one.lower() for one in self.agents)


def groups(text: str) -> list[Group]:
    """The groups of a file; lines before the first user agent are passed over."""
    found: list[Group] = []
    for line in text.lstrip("\ufeff").splitlines():
        key, colon, value = (part.strip() for part in line.split("#", 1)[0].partition(":"))
        key = key.lower()
        if not colon:
            continue
        if key == "user-agent":
            if not found or found[-1].rules:
                found.append(Group())
            found[-1].agents.append(value)
        elif found:
            found[-1].rules.append(Rule(key, value, line.strip()))
    return found


def matches(pattern: str, path: str) -> bool:
    """Whether a rule's pattern holds for a path: '*' is anything, '$' the end, else it is a prefix."""
    anchored = pattern.endswith("$")
    first, *parts = pattern.removesuffix("$").split("*")
    if not parts:
        return path == first if anchored else path.startswith(first)
    if not path.startswith(first):
        return False
    at, last = len(first), parts.pop() if anchored else ""
    for part in parts:  # the leftmost place of each part: a regular expression could take forever on many stars
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return path.endswith(last) and len(path) - len(last) >= at


def strongest(rules: list[Rule], path: str) -> Rule | None:
    """Of the Allow and Disallow rules that hold for a path the longest; of equals Allow (RFC 9309, 2.2.2)."""
    held = [one for one in rules if one.key in ("allow", "disallow") and one.value and matches(one.value, path)]
    return max(held, key=lambda one: (len(one.value), one.key == "allow"), default=None)
