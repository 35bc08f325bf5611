"""The training config: one value for every knob, and how each is applied to a model.

A knob is a field of TrainingConfig, annotated with the one small class that knows its candidate values, its
baseline, its label and how to apply it. Adding a knob is adding that class and that field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from autotune.errors import UsageError
from autotune.extra_knobs import (
    CompileKnob,
    MatmulPrecision,
    MatmulPrecisionKnob,
    OptimizerImplementation,
    OptimizerKnob,
)
from autotune.knobs import (
    AccumulationKnob,
    BatchSizeKnob,
    ChannelsLastKnob,
    Circumstances,
    CudnnBenchmarkKnob,
    Knob,
    Precision,
    PrecisionKnob,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "EXTRA_KNOBS",
    "KNOBS",
    "SETTINGS",
    "Circumstances",
    "Knob",
    "MatmulPrecision",
    "OptimizerImplementation",
    "Precision",
    "TrainingConfig",
    "asked_knobs",
    "asked_settings",
    "restricted_values",
]

# Each follows from the other and the effective batch; the remaining knobs are settings.
_BATCH = ("batch_size", "accumulation_steps")


class TrainingConfig(BaseModel):
    """One value for every knob; None where a knob means nothing on the device.

    The last three are written down only where they differ from what PyTorch does untouched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[int, Field(ge=1), BatchSizeKnob()]
    accumulation_steps: Annotated[int, Field(ge=1), AccumulationKnob()] = 1
    precision: Annotated[Precision | None, PrecisionKnob()] = None
    channels_last: Annotated[bool | None, ChannelsLastKnob()] = None
    cudnn_benchmark: Annotated[bool | None, CudnnBenchmarkKnob()] = None
    optimizer_implementation: Annotated[OptimizerImplementation, OptimizerKnob()] = OptimizerImplementation.DEFAULT
    matmul_precision: Annotated[MatmulPrecision, MatmulPrecisionKnob()] = MatmulPrecision.DEFAULT
    compile: Annotated[bool, CompileKnob()] = False

    @model_serializer(mode="wrap")
    def _without_what_is_untouched(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        untouched = {knob.name for knob in EXTRA_KNOBS.values() if not self.uses(knob)}
        return {name: value for name, value in handler(self).items() if name not in untouched}

    def uses(self, knob: Knob) -> bool:
        """Whether a knob stands at another value than the one that its field has by itself."""
        return bool(getattr(self, knob.name) != type(self).model_fields[knob.name].default)

    @classmethod
    def baseline(cls, where: Circumstances, batch_size: int | None = None) -> TrainingConfig:
        """PyTorch's defaults at the effective batch, or at batch_size, a divisor of it, with accumulation."""
        untuned = cls(**{knob.name: knob.baseline(where) for knob in KNOBS})
        return untuned.at_batch_size(batch_size or where.effective_batch, where.effective_batch)

    @property
    def images_per_step(self) -> int:
        """Images per optimizer step on one device."""
        return self.batch_size * self.accumulation_steps

    def at_batch_size(self, batch_size: int, effective_batch: int) -> TrainingConfig:
        """The same settings at another batch size, accumulation restoring the effective batch exactly."""
        if effective_batch % batch_size:
            raise UsageError(f"batch_size {batch_size} does not divide the effective batch {effective_batch}")
        return self.model_copy(update={"batch_size": batch_size, "accumulation_steps": effective_batch // batch_size})

    def label(self) -> str:
        """The config in a sentence: `bf16 + channels_last, batch 4 x 4`."""
        accumulation = f" x {self.accumulation_steps}" if self.accumulation_steps > 1 else ""
        return f"{self.settings_label()}, batch {self.batch_size}{accumulation}"

    def settings_label(self) -> str:
        """The label without the batch, the same for every batch size of one combination of settings."""
        settings = [
            text
            for knob in KNOBS
            if knob.name not in _BATCH
            and (value := getattr(self, knob.name)) is not None
            and (text := knob.label(value))
        ]
        return " + ".join(settings) or "defaults"

    def for_device(self, where: Circumstances) -> TrainingConfig:
        """This config on a device: knobs that were left open get the untuned value, those without a meaning none.

        Raises UsageError for a value that the device cannot take.
        """
        values = {}
        for knob in KNOBS:
            value, untuned = getattr(self, knob.name), knob.baseline(where)
            if value is None or untuned is None:
                value = value if value else None
                if value is not None:
                    raise UsageError(f"{knob.name} {value} means nothing on a {where.device_type}; leave it out")
                values[knob.name] = untuned
                continue
            if knob.name not in _BATCH and not knob.allows(value, where):
                raise UsageError(f"{knob.name} {value} cannot be used on this {where.device_type}; leave it out")
            values[knob.name] = value
        return TrainingConfig(**values)

    def caution(self) -> tuple[int, ...]:
        """Ranks for ties, precision first: the smaller is the safer and simpler config."""
        values = {knob: getattr(self, knob.name) for knob in KNOBS}
        ranks = {knob.name: 0 if value is None else knob.caution(value) for knob, value in values.items()}
        return (max(ranks.pop("precision"), ranks.pop("matmul_precision")), *ranks.values())

    @property
    def arithmetic(self) -> tuple[Precision | None, MatmulPrecision, bool]:
        """What decides how the step computes: what trains soundly under one config does under all that share it."""
        return self.precision, self.matmul_precision, self.compile

    @property
    def is_reduced(self) -> bool:
        """Whether it computes with fewer bits than fp32 has, or with code that a compiler wrote."""
        reduced = self.precision in (Precision.TF32, Precision.BF16, Precision.FP16)
        return reduced or self.compile or self.matmul_precision in (MatmulPrecision.HIGH, MatmulPrecision.MEDIUM)

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Set every knob on the model, in place, and in torch's global flags; returns the model."""
        for knob in KNOBS:
            value = getattr(self, knob.name)
            if value is not None:
                knob.apply(value, model)
        return model

    def autocast(self, device_type: str) -> torch.autocast:
        """The context for the forward pass and the loss; does nothing unless precision is fp16 or bf16."""
        import torch

        dtype = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}.get(self.precision or Precision.FP32)
        return torch.autocast(device_type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    def grad_scaler(self, device_type: str) -> torch.amp.GradScaler:
        """The loss scaler of the step; it passes everything through unless precision is fp16."""
        import torch

        return torch.amp.GradScaler(device_type, enabled=self.precision is Precision.FP16)

    def optimizer_arguments(self) -> dict[str, bool]:
        """What a torch.optim optimizer is to be made with, beside its parameters and learning rate."""
        match self.optimizer_implementation:
            case OptimizerImplementation.FOR_LOOP:
                return {"foreach": False, "fused": False}
            case OptimizerImplementation.FOREACH:
                return {"foreach": True}
            case OptimizerImplementation.FUSED:
                return {"fused": True}
            case OptimizerImplementation.DEFAULT:
                return {}

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    def save(self, path: str | Path) -> None:
        """Write the config as YAML."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TrainingConfig:
        """Read a config from YAML. Raises UsageError where the file is absent or holds something else."""
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{path}: does not exist; give a YAML file as in config.yaml") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"{path}: not a readable training config ({why}); give a YAML file as in config.yaml"
            ) from None
        if not isinstance(content, Mapping):
            raise UsageError(
                f"{path}: a training config is a mapping of knobs to values; config.yaml of any run shows one"
            )
        try:
            return cls(**{str(key): value for key, value in content.items()})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{path}: {field}: {first['msg']} (got {first['input']!r})") from None


def _knobs() -> tuple[Knob, ...]:
    fields = TrainingConfig.model_fields.values()
    return tuple(part for field in fields for part in field.metadata if isinstance(part, Knob))


KNOBS: tuple[Knob, ...] = _knobs()

SETTINGS: tuple[Knob, ...] = tuple(knob for knob in KNOBS if knob.name not in _BATCH and not knob.asked_as)
"""The settings that every search tries in all combinations."""

EXTRA_KNOBS: dict[str, Knob] = {knob.asked_as: knob for knob in KNOBS if knob.asked_as}
"""The knobs that a search tries where it is asked to, by the word that asks for them."""


def asked_knobs(words: str | Iterable[str]) -> tuple[str, ...]:
    """The words of extra knobs, each once; a text has commas between. Raises UsageError for a word of none."""
    separate = words.split(",") if isinstance(words, str) else words
    asked = tuple(dict.fromkeys(word.strip() for word in separate))
    for word in asked:
        if word not in EXTRA_KNOBS:
            raise UsageError(f"knob {word!r}: not one of {', '.join(EXTRA_KNOBS)}")
    return asked


def asked_settings(words: Mapping[str, Any] | Iterable[str]) -> tuple[str, ...]:
    """The settings of which some values alone are to be tried, as `precision=fp32,bf16`, each once: from such words, or
    from a mapping of names to a value or several. Raises UsageError for a setting or a value that there is not."""
    if isinstance(words, Mapping):
        several = {
            name: list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
            for name, value in words.items()
        }
    elif not isinstance(words, Iterable):
        raise UsageError(f"only {words!r}: give a mapping of settings to values, as {{'precision': ['fp32', 'bf16']}}")
    else:
        several = {}
        for word in [words] if isinstance(words, str) else words:
            name, _, values = word.partition("=")
            several.setdefault(name.strip(), []).extend(values.split(","))
    return tuple(f"{name}={','.join(_setting_texts(name, values))}" for name, values in several.items())


def restricted_values(only: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """What asked_settings() gave, as values by the names of the settings."""
    parts = (word.partition("=") for word in only)
    return {name: tuple(_setting(name, text) for text in texts.split(",")) for name, _, texts in parts}


def _setting_texts(name: str, values: Iterable[Any]) -> list[str]:
    found = dict.fromkeys(_setting(name, value) for value in values)
    if not found:
        raise UsageError(f"only {name}: give one value at least")
    return [str(value).lower() for value in found]


def _setting(name: str, value: Any) -> Any:
    names = [knob.name for knob in SETTINGS]
    if name not in names:
        raise UsageError(f"only {name!r}: not one of {', '.join(names)}")
    text = value.strip().lower() if isinstance(value, str) else value
    if text == "":
        raise UsageError(f"only {name}: give a value with it, as {name}={'bf16' if name == 'precision' else 'true'}")
    try:
        found = getattr(TrainingConfig.model_validate({"batch_size": 1, name: text}), name)
    except ValidationError:
        found = None
    if found is None:
        there_are = ", ".join(Precision) if name == "precision" else "true, false"
        raise UsageError(f"only {name}={value}: not one of {there_are}") from None
    return found
