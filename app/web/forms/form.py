"""Forms from the specs of parameters; `app.web.forms.entries` is the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from app.contracts.params import Params
from app.web.forms.choices import Offer
from app.web.forms.conditions import CHOICE_WHEN, REQUIRED_WHEN, SHOWN_WHEN, When
from app.web.forms.pairs import EXAMPLES, parted
from app.web.forms.readable import Named, said
from app.web.forms.specs import Choice, Spec, plain, specs

_BASIC = frozenset(
    {"", "Threat model", "First attack", "Further attacks", "Normalisation", "Check",
     "Shared settings", "Measure"}
)  # fmt: skip
"""Groups of what everyone decides."""
_PAIRS = 2
"""Empty pairs that a form offers at least."""


@dataclass(frozen=True)
class FieldView:
    """A field as it stands on the page."""

    spec: Spec
    default: tuple[str, ...]
    """Given what is chosen elsewhere."""
    entries: tuple[str, ...]
    """What is typed or chosen; outside text."""
    choices: tuple[Choice, ...]
    error: str
    more: bool
    """Whether the lab has further choices, which a search finds."""
    search: str
    """What was searched; outside text."""
    shown_when: When | None
    """What this field belongs to."""
    choice_when: Mapping[str, When]
    """What single choices belong to, by their value."""
    required_when: When | None
    """When an optional field may not be empty."""
    was: str = ""
    """What the job that filled the form had here, where that was something else."""
    prefix: str = "field"
    """Tells fields of two forms on one page apart."""

    @property
    def entry(self) -> str:
        return self.entries[0] if self.entries else ""

    @property
    def id(self) -> str:
        return f"{self.prefix}-{self.spec.name.replace('.', '-')}"

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What is typed into pairs of fields, and empty ones for more."""
        typed = [parted(entry) for entry in self.entries]
        return (*typed, *[("", "")] * max(1, _PAIRS - len(typed)))

    @property
    def example(self) -> str:
        return EXAMPLES.get(self.spec.name, "")

    @property
    def input_type(self) -> str:
        """A browser drops what is not a number from a number field; then it is shown as text."""
        numeric = self.spec.widget == "number" and (not self.entry or _is_number(self.entry))
        return "number" if numeric else "text"

    @property
    def minimum(self) -> str:
        return "" if self.spec.bounds.low is None else plain(self.spec.bounds.low)

    @property
    def maximum(self) -> str:
        return "" if self.spec.bounds.high is None else plain(self.spec.bounds.high)


@dataclass(frozen=True)
class GroupView:
    """Fields under one heading; the first group has none."""

    title: str
    fields: tuple[FieldView, ...]
    open: bool
    """For a group that can be closed."""

    @property
    def basic(self) -> bool:
        """Always open."""
        return self.title in _BASIC


@dataclass(frozen=True)
class FormView:
    """A form as it stands on the page."""

    groups: tuple[GroupView, ...]
    errors: tuple[str, ...] = ()
    """What belongs to no single field."""
    has_errors: bool = False
    """Whether what was sent could not be taken."""

    @property
    def fields(self) -> tuple[FieldView, ...]:
        return tuple(field for group in self.groups for field in group.fields)


def form_of(
    params: type[Params],
    *,
    entries: Mapping[str, Sequence[str]],
    offers: Mapping[str, Offer],
    errors: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    earlier: Mapping[str, Sequence[str]] | None = None,
    prefix: str = "field",
    wrong_beside: bool = False,
) -> FormView:
    """The form for `params`; fields that `entries` leaves out show their defaults.

    `offers` has the choices of fields whose choices the lab holds; what is chosen and not among
    them is said to be gone. `earlier`: entries of the job that filled the form. `wrong_beside`:
    whether a field that the template draws itself is wrong.
    """
    messages = dict(errors or {})
    has_errors = bool(messages) or wrong_beside
    shown_when = SHOWN_WHEN.get(params, {})
    choice_when = CHOICE_WHEN.get(params, {})
    required_when = REQUIRED_WHEN.get(params, {})
    fields = []
    for spec in specs(params):
        if spec.name in without:
            continue
        offer = offers.get(spec.name, Offer(spec.choices))
        default = spec.default_among(entries)
        chosen = _entries(spec, entries, offer, default)
        gone = _gone(spec, chosen, offer)
        fields.append(
            FieldView(
                spec=spec,
                default=default,
                entries=tuple(entry for entry in chosen if entry not in gone),
                choices=_in_sight(spec, offer, chosen),
                error=messages.pop(spec.name, "") or _said_gone(gone),
                more=offer.more,
                search=offer.search,
                shown_when=shown_when.get(spec.name),
                choice_when=choice_when.get(spec.name, {}),
                required_when=required_when.get(spec.name),
                was=_was(spec, (earlier or {}).get(spec.name, chosen), chosen, offer),
                prefix=prefix,
            )
        )
    return FormView(_groups(fields), tuple(messages.values()), has_errors)


def _entries(
    spec: Spec, entries: Mapping[str, Sequence[str]], offer: Offer, default: tuple[str, ...]
) -> tuple[str, ...]:
    is_left_to_others = spec.default_by is not None and not any(entries.get(spec.name, ()))
    if spec.name in entries and not is_left_to_others:
        return tuple(entries[spec.name])
    only_one = spec.required and spec.widget == "select" and len(offer.choices) == 1
    return (offer.choices[0].value,) if only_one else default


def _in_sight(spec: Spec, offer: Offer, chosen: Sequence[str]) -> tuple[Choice, ...]:
    """Of a long list of the lab's things what is chosen comes first."""
    if spec.choices or spec.widget != "many":
        return offer.choices
    return tuple(sorted(offer.choices, key=lambda choice: choice.value not in chosen))


def _was(spec: Spec, earlier: Sequence[str], chosen: Sequence[str], offer: Offer) -> str:
    if sorted(earlier) == sorted(chosen):
        return ""
    names = {choice.value: Named(choice.label, "") for choice in offer.choices}
    names |= dict.fromkeys(_gone(spec, earlier, offer), Named("something that is gone", ""))
    return ", ".join(value.name for value in said(spec, earlier, names)) or "none"


def _gone(spec: Spec, chosen: Sequence[str], offer: Offer) -> tuple[str, ...]:
    """What is chosen of the lab's things, and is none of them."""
    if spec.widget not in ("select", "many") or spec.choices:
        return ()
    known = {choice.value for choice in offer.choices}
    return tuple(entry for entry in chosen if entry and entry not in known)


def _said_gone(gone: Sequence[str]) -> str:
    if not gone:
        return ""
    ids = ", ".join(entry[:8] for entry in gone)
    return f"What was chosen is no longer in the lab ({ids}): choose again."


def _groups(fields: Sequence[FieldView]) -> tuple[GroupView, ...]:
    titles = list(dict.fromkeys(field.spec.group for field in fields))
    by_title = sorted(fields, key=lambda field: titles.index(field.spec.group))
    return tuple(
        _group(title, tuple(members))
        for title, members in groupby(by_title, key=lambda field: field.spec.group)
    )


def _group(title: str, fields: tuple[FieldView, ...]) -> GroupView:
    touched = any(field.error or field.entries != field.default for field in fields)
    return GroupView(title=title, fields=fields, open=touched)


def _is_number(entry: str) -> bool:
    try:
        return abs(float(entry)) < float("inf")
    except ValueError:
        return False
