"""`aws.iam.getPolicyDocument`: statements in, one JSON document out; no call to AWS is made. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from infra.provider.errors import ProviderError
from infra.provider.values import Plain, Properties

VERSION = "2012-10-17"


def policy_document(args: Properties) -> Properties:
    """The document in the form of the real provider: one value stands alone, several are sorted downwards.

    `sourcePolicyDocuments` come before the statements given, `overridePolicyDocuments` replace those of the same Sid.

    Raises:
        ProviderError: a document is no JSON object, or two statements of the sources have the same Sid.
    """
    statements: list[dict[str, Any]] = []
    for source in _list(args.get("sourcePolicyDocuments")):
        for statement in _statements(source):
            if statement.get("Sid") and any(each.get("Sid") == statement["Sid"] for each in statements):
                raise ProviderError(f"getPolicyDocument: two source documents have a statement {statement['Sid']!r}")
            statements.append(statement)
    statements = _override(statements, [_statement(each) for each in _list(args.get("statements"))])
    for document in _list(args.get("overridePolicyDocuments")):
        statements = _override(statements, _statements(document))
    body: dict[str, Any] = {"Version": args.get("version") or VERSION}
    if args.get("policyId"):
        body["Id"] = args["policyId"]
    body["Statement"] = statements
    text = json.dumps(body, indent=2)
    digest = str(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))  # any stable number serves as the id
    return {**args, "id": digest, "json": text, "minifiedJson": json.dumps(body, separators=(",", ":"))}


def _statement(value: Plain) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {}
    found: dict[str, Any] = {"Sid": given.get("sid"), "Effect": given.get("effect") or "Allow"}
    for name in ("actions", "notActions", "resources", "notResources"):
        found[name[0].upper() + name[1:-1]] = _one_or_many(_list(given.get(name)))
    for name in ("principals", "notPrincipals"):
        found[name[0].upper() + name[1:-1]] = _principals(_list(given.get(name)))
    found["Condition"] = _conditions(_list(given.get("conditions")))
    return {name: part for name, part in found.items() if part}


def _principals(entries: list[Plain]) -> Any:
    by_type: dict[str, list[Plain]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            by_type.setdefault(str(entry["type"]), []).extend(_list(entry.get("identifiers")))
    if by_type.get("*") == ["*"]:
        return "*"
    return {kind: _one_or_many(who) for kind, who in by_type.items()}


def _conditions(entries: list[Plain]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            values = [str(value) for value in _list(entry.get("values"))]
            found.setdefault(str(entry["test"]), {})[str(entry["variable"])] = values[0] if len(values) == 1 else values
    return found


def _one_or_many(values: list[Plain]) -> Any:
    texts = sorted((str(value) for value in values), reverse=True)
    return texts[0] if len(texts) == 1 else texts


def _override(statements: list[dict[str, Any]], by: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result = list(statements)
    for statement in by:
        sid = statement.get("Sid")
        place = next((index for index, each in enumerate(result) if sid and each.get("Sid") == sid), None)
        if place is None:
            result.append(statement)
        else:
            result[place] = statement
    return result


def _statements(document: Plain) -> list[dict[str, Any]]:
    try:
        parsed = json.loads(str(document))
        statements = parsed.get("Statement", [])
    except (ValueError, AttributeError):
        raise ProviderError(f"getPolicyDocument: not a policy document: {document!r}") from None
    return statements if isinstance(statements, list) else [statements]


def _list(value: Plain) -> list[Plain]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
