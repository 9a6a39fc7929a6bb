"""The moderation queue: one image at a time, blurred until asked for, decided by button or key."""

from __future__ import annotations

import streamlit as st

from app.dashboard import review_source, uploads, widgets
from app.dashboard.review_source import Source
from auditkit import decisions
from auditkit.annotations.records import check_rater
from auditkit.errors import AuditkitError

WAITING, MINE, EVERY = "waiting", "mine", "all"
QUEUES = {WAITING: "Waiting for you", MINE: "Decided by you", EVERY: "All"}
BUTTONS = {
    "allow": ("Allow", "A", ":material/check:"),
    "restrict": ("Limit", "L", ":material/visibility_lock:"),
    "remove": ("Take down", "D", ":material/delete:"),
    "escalate": ("Escalate", "E", ":material/arrow_upward:"),
}
"""Verdict -> label, key and icon. R and C are the browser frame's own keys."""
_ITEM, _SHOWN, _REASON, _NOTE, _SAID = "item", "_review shown", "_review reason", "_review note", "_review said"


def queue(source: Source) -> None:
    """Draw the queue."""
    left, middle, right = st.columns([4, 3, 2])
    chosen = left.segmented_control(
        "Queue", list(QUEUES), default=WAITING, required=True, format_func=QUEUES.__getitem__, key="queue",
        bind="query-params",
    )  # fmt: skip
    with middle:
        who = review_source.reviewer()
    with right:
        st.caption("Keys, also on the buttons")
        keys = st.toggle("Keyboard shortcuts", True, key="keys")
    try:
        if not who:
            st.info("Give a pseudonym to begin.")
            return
        check_rater(who)
        known = set(source.items)
        held = decisions.standing(decisions.read(source.log, known))
    except AuditkitError as error:
        widgets.problem(error)
        return
    mine = {id for id, by in held.items() if who in by}
    review_source.progress(len(mine), len(source.items), "image")
    ids = [id for id in source.items if chosen == EVERY or (id in mine) == (chosen == MINE)]
    _said()
    asked = st.query_params.get(_ITEM, "")
    # Looked up among the images that there are; it is never made into a path.
    current = asked if asked in known else ids[0] if ids else None
    if current is None:
        st.success("Nothing waits for you here." if chosen == WAITING else "You have decided on nothing here yet.")
        _undo_button(source, who, keys)
        return
    st.query_params[_ITEM] = current
    _one(source, current, ids, who, held.get(current, {}), keys)


def _one(source: Source, id: str, ids: list[str], who: str, held: dict[str, decisions.Decision], keys: bool) -> None:
    picture, panel = st.columns([3, 4], gap="large")
    with picture:
        _picture(source, id, keys)
    with panel:
        st.subheader(source.names[id][:1].upper() + source.names[id][1:])
        st.markdown("  \n".join(f"**{head}:** {widgets.stranger(text)}" for head, text in source.facts(id).items()))
        if who in held:
            one = held[who]
            reason = f", for {one.reason}" if one.reason else ""
            st.info(f"You decided: {one.verdict}{reason}. A new decision replaces it, and both stay in the log.")
        _reasons(keys)
        st.text_input(
            "Note", key=_NOTE, max_chars=decisions.LONGEST_NOTE, placeholder="needed where the reason is other"
        )
        st.markdown("**Decide**")
        with st.container(horizontal=True):
            for verdict, (label, key, icon) in BUTTONS.items():
                st.button(
                    label, key=f"decide {verdict}", icon=icon, shortcut=key if keys else None,
                    help=decisions.VERDICTS[verdict].capitalize() + ".", on_click=_decide,
                    args=(source, id, verdict, who, _after(ids, id)),
                )  # fmt: skip
        with st.container(horizontal=True):
            _undo_button(source, who, keys)
            _step("Previous", "P", _before(ids, id), keys, ":material/arrow_back:")
            _step("Next", "N", _after(ids, id), keys, ":material/arrow_forward:")
        st.caption("Others' decisions are not shown here, so that agreement means something.")


def _picture(source: Source, id: str, keys: bool) -> None:
    shown = st.session_state.get(_SHOWN) == id
    data = source.picture(id)
    made = None if data is None else uploads.picture(data, blurred=not shown)
    if made is None:
        st.warning(source.mend if data is None else "The file cannot be shown as a picture.")
        return
    st.image(made, width="stretch", alt=f"{source.names[id]}, {'as it is' if shown else 'blurred and grey'}")
    st.button(
        "Blur again" if shown else "Show as it is", key="show", shortcut="S" if keys else None, on_click=_show,
        args=(None if shown else id,), icon=":material/visibility_off:" if shown else ":material/visibility:",
    )  # fmt: skip


def _reasons(keys: bool) -> None:
    chosen = st.session_state.get(_REASON, "")
    told = f": {chosen} ({decisions.REASONS[chosen]})" if chosen else ", needed for all but Allow"
    st.markdown(f"**Reason**{told}")
    with st.container(horizontal=True, gap="xsmall"):
        for number, reason in enumerate(decisions.REASONS, 1):
            st.button(
                f"✓ {reason}" if reason == chosen else reason, key=f"reason {number}",
                type="primary" if reason == chosen else "secondary", shortcut=str(number) if keys else None,
                on_click=_choose, args=("" if reason == chosen else reason,),
            )  # fmt: skip


def _undo_button(source: Source, who: str, keys: bool) -> None:
    st.button(
        "Undo my last", key="undo", icon=":material/undo:", shortcut="U" if keys else None, on_click=_undo,
        args=(source, who),
    )  # fmt: skip


def _step(label: str, key: str, to: str | None, keys: bool, icon: str) -> None:
    st.button(
        label, key=f"step {label}", icon=icon, shortcut=key if keys else None, disabled=to is None, on_click=_go,
        args=(to,),
    )  # fmt: skip


def _after(ids: list[str], id: str) -> str | None:
    place = ids.index(id) + 1 if id in ids else 0
    return ids[place] if place < len(ids) else None


def _before(ids: list[str], id: str) -> str | None:
    place = ids.index(id) - 1 if id in ids else -1
    return ids[place] if place >= 0 else None


def _go(id: str | None) -> None:
    if id is None:
        st.query_params.pop(_ITEM, None)
    else:
        st.query_params[_ITEM] = id
    st.session_state[_SHOWN] = None  # the next image is blurred again
    st.session_state[_REASON], st.session_state[_NOTE] = "", ""


def _decide(source: Source, id: str, verdict: str, who: str, following: str | None) -> None:
    reason, note = st.session_state.get(_REASON, ""), st.session_state.get(_NOTE) or ""
    try:
        decisions.decide(
            source.log, id, verdict, reviewer=who, reason="" if verdict == "allow" else reason, note=note.strip(),
            known=set(source.items),
        )  # fmt: skip
    except AuditkitError as error:
        st.session_state[_SAID] = error
        return
    st.session_state[_SAID] = f"{source.names[id]}: {verdict}"
    _go(following)


def _undo(source: Source, who: str) -> None:
    try:
        back = decisions.undo(source.log, reviewer=who, known=set(source.items))
    except AuditkitError as error:
        st.session_state[_SAID] = error
        return
    st.session_state[_SAID] = f"{source.names[back.item]}: {back.verdict} taken back"
    _go(back.item)


def _show(id: str | None) -> None:
    st.session_state[_SHOWN] = id


def _choose(reason: str) -> None:
    st.session_state[_REASON] = reason


def _said() -> None:
    """What the last press of a button did."""
    said = st.session_state.pop(_SAID, None)
    if isinstance(said, AuditkitError):
        widgets.problem(said)
    elif said:
        st.toast(widgets.plain(said))
