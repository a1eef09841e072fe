"""Read an answer out of a namespace: the only code that ever touches what a student wrote.

This file is self-contained on purpose. A check imports it; the grader pastes its text into the notebook that runs in
the sandboxed kernel, where nothing else of the questions exists. It returns data, never a verdict.
"""

from __future__ import annotations

import base64
import json
import traceback
from typing import Any

import numpy as np

MIME = "application/vnd.xaiteach.probe+json"
LIMIT = 1 << 20  # bytes of one payload


def encode(value: Any) -> dict[str, Any]:
    """Array, number, text or nested list as {dtype, shape, b64}; raises TypeError for anything else."""
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
        value = value.numpy()
    elif isinstance(value, (list, tuple)):
        value = [item.detach().cpu().numpy() if hasattr(item, "detach") else item for item in value]
    try:
        array = np.array(value)
    except ValueError:
        raise TypeError("its parts have different shapes, so that they make no array") from None
    if array.dtype.kind == "U" and array.ndim == 0:
        raw = str(array).encode("utf-8")
        return {"dtype": "str", "shape": [], "b64": base64.b64encode(raw).decode("ascii")}
    kinds = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}
    if array.dtype.kind not in kinds:
        raise TypeError(f"a number or an array of numbers was expected; got {type(value).__name__}")
    dtype = "float32" if array.dtype in (np.float16, np.float32) else kinds[array.dtype.kind]
    array = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).reshape(array.shape)
    return {"dtype": dtype, "shape": list(array.shape), "b64": base64.b64encode(array.tobytes()).decode("ascii")}


def decode(item: dict[str, Any]) -> Any:
    """Inverse of `encode`; a text comes back as str, everything else as a fresh numpy array."""
    raw = base64.b64decode(item["b64"])
    if item["dtype"] == "str":
        return raw.decode("utf-8")
    return np.frombuffer(raw, dtype=np.dtype(item["dtype"]).newbyteorder("<")).reshape(item["shape"]).copy()


def unpack(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a case as the probe sees them: decoded afresh, so that an answer cannot change the next case's."""
    return {
        key: decode(value) if isinstance(value, dict) and "b64" in value else json.loads(json.dumps(value))
        for key, value in inputs.items()
    }


def fault(error: BaseException, kind: str = "raised") -> dict[str, Any]:
    """What went wrong, as data: the type, the first line of the message, and the line of the answer it happened in."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<xaiteach" not in frame.filename]
    frames = [frame for frame in frames if not frame.filename.endswith("probing.py")]
    line = frames[0].lineno if frames else getattr(error, "lineno", None)
    try:
        message = (str(error).splitlines() or [""])[0][:300].encode("utf-8", "replace").decode("utf-8")
    except Exception:
        message = "(its message could not be read)"
    return {"kind": kind, "type": type(error).__name__[:80], "message": message, "line": line}


def probe_case(run: Any, answer: Any, question: str, case: dict[str, Any]) -> dict[str, Any]:
    """Payload of one case: its values, or the error that came instead."""
    payload: dict[str, Any] = {"v": 1, "question": question, "case": case["name"], "values": {}, "error": None}
    try:
        values = run(answer, unpack(case["inputs"]))
    except (Exception, SystemExit, GeneratorExit) as error:
        payload["error"] = fault(error, "unfinished" if isinstance(error, NotImplementedError) else "raised")
        return payload
    for name, value in values.items():
        if value is Ellipsis or value is NotImplemented:
            payload["error"] = {"kind": "unfinished", "type": "ellipsis", "message": "", "line": None}
        elif value is None:
            payload["error"] = {"kind": "form", "type": "NoneType", "message": "None came back", "line": None}
        else:
            try:
                payload["values"][name] = encode(value)
            except Exception as error:
                payload["error"] = {**fault(error, "form"), "type": type(value).__name__[:80], "line": None}
    if sum(len(item["b64"]) for item in payload["values"].values()) > LIMIT:
        payload["values"] = {}
        payload["error"] = {"kind": "form", "type": "size", "message": "the answer is larger than 1 MiB", "line": None}
    return payload


def probe(request: dict[str, Any], namespace: dict[str, Any]) -> list[dict[str, Any]]:
    """Payloads of all cases of a request {question, answer, callable, probe, cases}; one for a missing answer."""
    question, name = request["question"], request["answer"]
    blank = {"v": 1, "question": question, "case": None, "values": {}}
    if name not in namespace:
        message = f"no cell has defined {name} yet"
        return [{**blank, "error": {"kind": "missing", "type": "NameError", "message": message, "line": None}}]
    answer = namespace[name]
    if answer is Ellipsis or answer is NotImplemented:
        return [{**blank, "error": {"kind": "unfinished", "type": "ellipsis", "message": "", "line": None}}]
    if request["callable"] and not callable(answer):
        message = (
            f"{name} is no function here but a {type(answer).__name__[:80]}; was its name used for something else?"
        )
        return [{**blank, "error": {"kind": "form", "type": "not callable", "message": message, "line": None}}]
    scope: dict[str, Any] = {}
    exec(compile(request["probe"], "<xaiteach probe>", "exec"), scope)
    return [probe_case(scope["probe"], answer, question, case) for case in request["cases"]]


def emit(request: str, namespace: dict[str, Any]) -> None:
    """Run the probe in a kernel and send each payload under our MIME type."""
    from IPython.display import publish_display_data

    for payload in probe(json.loads(request), namespace):
        publish_display_data({MIME: payload, "text/plain": ""})
