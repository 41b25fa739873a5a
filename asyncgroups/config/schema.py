"""The JSON schema of the configuration file: completion, descriptions and a first check in editors.

Law: pure. Whatever the reader accepts is valid here; what only ``contexts`` can know (folders, groups that disagree) is
not checked. In the words of draft 7, which the editors' TOML plug-ins share.
May import pydantic, ``config.model`` and ``config.merging``.
"""

from typing import Any, override

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from asyncgroups.config.merging import DEFAULTS
from asyncgroups.config.model import PROCESS_GROUPS, Document

__all__ = ["schema"]

_HERE = "#/definitions/"


class _ForEditors(GenerateJsonSchema):
    """TOML has no null: None means that a key is not given. Titles would only repeat the keys."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    @override
    def generate(self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        document = super().generate(schema, mode)
        definitions = document.pop("$defs")
        tables = {name: _plain(one, definitions) for name, one in definitions.items() if _is_table(one)}
        return {
            "$schema": self.schema_dialect,
            **_plain(document, definitions),
            "title": "asyncgroups.toml",
            "definitions": tables,
        }

    @override
    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if result.get("default") is None or result["default"] == [] or isinstance(result["default"], dict):
            result.pop("default", None)  # none, or those of the keys inside
        return result

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """The schema, as what ``json.dumps`` takes."""
    document = Document.model_json_schema(ref_template=f"{_HERE}{{model}}", schema_generator=_ForEditors)
    properties = document["properties"]
    tables = properties.pop(PROCESS_GROUPS)
    setting = properties["process_group"]
    properties["process_group"] = {"description": setting.pop("description"), "anyOf": [setting, tables]}
    for key, value in DEFAULTS.items():
        document["properties"][key]["default"] = list(value) if isinstance(value, tuple) else value
    return document


def _is_table(definition: JsonSchemaValue) -> bool:
    return "properties" in definition


def _plain(value: Any, definitions: dict[str, Any]) -> Any:
    """``value`` with references to tables only, and each alone in its object: in draft 7 nothing beside one counts."""
    if isinstance(value, list):
        return [_plain(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _plain(item, definitions) for key, item in value.items() if key != "$ref"}
    if "description" in result and isinstance(result["description"], str):
        result["description"] = " ".join(result["description"].split())
    if "$ref" not in value:
        return result
    definition = definitions[value["$ref"].removeprefix(_HERE)]
    if not _is_table(definition):
        return _plain(definition, definitions) | result
    return result | {"allOf": [{"$ref": value["$ref"]}]} if result else value
