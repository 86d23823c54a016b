"""What a study.yml may say: the one place where defaults and their help live."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (AfterValidator, BaseModel, ConfigDict, Field, ValidationError,
                      field_validator, model_validator)

from leanclips.errors import StudyError

SOURCE = "source"
ORIGINALS = "originals"  # the uncropped clips, encoded like a variant
SCHEMA = "study.schema.json"  # beside study.yml, for editors
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# Folders beside those of the variants (layout.py).
TAKEN = (SOURCE, ORIGINALS, "rendered", "pretrain")
LINEAR, TEMPORAL, CRNN = "linear", "temporal", "crnn"
Classifier = Literal["linear", "temporal", "crnn"]
Input = Literal["shuffled", "middle", "mean"]
OWN = "own"  # tested on clips of the kind that it was trained on


def _each_once(items: tuple) -> tuple:
    if len(set(items)) < len(items):
        raise ValueError("should name each one once")
    return items


class Strict(BaseModel):
    """As read from a file: unknown fields are rejected, none is changed later.

    The text below a setting is its help, in a new study.yml and in its schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Synthetic(Strict):
    """Clips that leanclips renders itself: clips per class for each role."""

    target: int = Field(20, ge=2)
    heldout: int = Field(12, ge=0)
    seed: int = 0


class Sampling(Strict):
    """Where a clip is too short, `uniform` repeats frames all along, the others the last one."""

    frames: int = Field(28, ge=2, le=512)
    """How many frames of each clip the network sees."""
    take: Literal["uniform", "first", "every"] = "uniform"
    """uniform: spread over the clip; first: the first ones; every: every step-th one."""
    step: int = Field(1, ge=1)
    """With take: every, the distance from a frame to the next."""


class Backbone(Strict):
    """The frozen network in front: `efficientnet-lite0`, `efficientnet-lite2` (weights come
    with the installation) or a torchvision classification model such as `resnet152`.

    The case study fine-tuned at a higher resolution (`target_size`) than it pretrained at.
    """

    name: str = "efficientnet-lite2"
    """efficientnet-lite0, efficientnet-lite2, or a torchvision model such as resnet152."""
    weights: str | None = None
    """Of a torchvision model: a file beside study.yml, or a name such as IMAGENET1K_V1."""
    size: int = Field(224, ge=32, le=1024)
    """The side in pixels that frames are resized to."""
    target_size: int | None = Field(None, ge=32, le=2160)
    """The same for target and held-out clips, where it differs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the processor multiplies it in hardware, else fp32."""

    @property
    def for_target(self) -> "Backbone":
        """As target and held-out clips go through it."""
        return self.model_copy(update={"size": self.target_size or self.size,
                                       "target_size": None})


class Optimized(Strict):
    """Content-adaptive: each clip as small as it gets at `target`."""

    target: float = Field(gt=0, le=99.9)
    """The quality of each clip's worst second, on the scale of the metric."""
    metric: Literal["vmaf", "vmaf1", "ssim", "xpsnr"] = "vmaf"
    """vmaf (VMAF NEG) and vmaf1 (VMAF v1): 0 to 100; ssim: 0 to 1; xpsnr: dB."""
    codec: Literal["h264", "hevc", "av1"] = "h264"
    """What the clips are encoded in."""
    keyframes: float = Field(2.0, gt=0)
    """The longest time from a keyframe to the next, in seconds."""


class Constant(Strict):
    """The control: one CRF for the whole set."""

    bytes_of: str
    """The variant whose total bytes it takes."""


class External(Strict):
    """Files that another tool made (a vendor's cloud service, say). They must keep frames, times
    and size.
    """

    folder: str
    """Relative to the study's; it holds each file under its clip's id, with any suffix."""


class Together(Strict):
    """Trained on the clips of all variants in `together` at once; it has none of its own, so its
    own kind of clip, which it is tested on first, is that of the last one.
    """

    together: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_each_once)]
    """The variants whose clips it is trained on."""


Variant = Optimized | Constant | External | Together


class CrossValidation(Strict):
    """Target and held-out clips are dealt into folds, whole recordings, stratified by class."""

    kind: Literal["cross-validation"] = "cross-validation"
    """cross-validation tests every clip once per seed; holdout those of role heldout."""
    folds: int = Field(5, ge=2, le=100)
    """How many parts the recordings are dealt into; each is tested once."""


class Holdout(Strict):
    """The case study's protocol: the held-out clips are the test set."""

    kind: Literal["holdout"] = "holdout"
    """cross-validation tests every clip once per seed; holdout those of role heldout."""
    validation: float = Field(0.24, gt=0, lt=1)
    """The share of the target clips that each seed sets aside to validate on."""


Protocol = Annotated[CrossValidation | Holdout, Field(discriminator="kind")]
PROTOCOLS = {"cross-validation": CrossValidation, "holdout": Holdout}


class Network(Strict):
    """The CRNN behind the backbone: the widths of the fully connected layers before (`embedding`)
    and behind (`decoder`) the LSTM. Its public ancestor (ResNetCRNN) has a decoder of `[256]`.
    """

    embedding: tuple[int, int, int] = (1024, 768, 512)
    lstm_layers: int = Field(3, ge=1)
    lstm_units: int = Field(512, ge=1)
    decoder: tuple[Annotated[int, Field(ge=1)], ...] = (512, 256)
    dropout: float = Field(0.0, ge=0, lt=1)


class Pretraining(Strict):
    """Training of the CRNN on the clips of role `pretrain`."""

    split: Literal["group", "official", "random"] = "group"
    """group: whole recordings; official: the column fold of clips.csv; random leaks recordings, to
    reproduce published numbers."""
    validation: float = Field(0.15, gt=0, lt=1)
    epochs: int = Field(35, ge=1)
    batch_size: int = Field(24, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    seed: int = 0


class Finetuning(Strict):
    """Training on the target clips, once for each variant and seed."""

    epochs: int = Field(30, ge=1)
    """How often the CRNN sees every clip."""
    batch_size: int = Field(4, ge=1)
    """How many clips the CRNN sees in one step."""
    learning_rate: float = Field(1e-3, gt=0)
    """The CRNN's."""
    keep_weights: bool = False
    """Whether each run's networks are kept."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=99999)], ...], Field(min_length=1),
                     AfterValidator(_each_once)] = tuple(range(1, 11))
    """One training of each variant for each: it decides folds, weights and the order of clips."""


class Primary(Strict):
    """The comparison with the source that answers the study's question."""

    classifier: Classifier | None = None
    """Left out: the first of classifiers."""
    variant: str | None = None
    """Left out: the first variant with a target."""
    tested_on: Literal["own", "source"] = "own"
    """own: clips of the variant itself; source."""


class Study(Strict):
    """A study: which clips, which variants, which classifiers, trained and tested how."""

    title: str
    """What the study is called in its results."""
    about: str = ""
    """A sentence or two on the clips, for readers of the results."""
    clips: str = "clips"
    """The folder with one folder of clips per class."""
    synthetic: Synthetic | None = None
    group_pattern: str | None = None
    """Finds the recording in a file's name, by (?P<group>…): training and test share none."""
    variants: dict[str, Variant] = {
        "optimized": Optimized(target=93),
        "constant": Constant(bytes_of="optimized"),
    }
    """Encodings to compare with the source. target: the VMAF NEG (0-100) that each clip's worst
    second holds; bytes_of: the control, one CRF for all clips with the same total bytes."""
    protocol: Protocol = CrossValidation()
    """Which clips are trained and which are tested on."""
    classifiers: Annotated[tuple[Classifier, ...], Field(min_length=1),
                           AfterValidator(_each_once)] = (LINEAR, TEMPORAL, CRNN)
    """linear, temporal and crnn, the case study's network, which takes much longer to train."""
    inputs: Annotated[tuple[Input, ...], AfterValidator(_each_once)] = (
        "shuffled", "middle", "mean")
    """What the source's runs also see in place of the frames in order: is time needed?"""
    crnn_variants: Annotated[tuple[str, ...], AfterValidator(_each_once)] | None = None
    """The variants that crnn is trained on. Left out: all."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: a GPU (CUDA, Apple's MPS) where there is one, else the CPU."""
    sampling: Sampling = Sampling()
    """Which frames of each clip the network sees."""
    backbone: Backbone = Backbone()
    """The frozen image network whose features the classifiers see."""
    network: Network = Network()
    """The layers of crnn."""
    pretraining: Pretraining = Pretraining()
    """How crnn is pretrained, on the clips of role pretrain."""
    finetuning: Finetuning = Finetuning()
    """How the classifiers are trained."""
    margin: float = Field(0.05, gt=0, lt=1)
    """The loss of accuracy that counts as no loss, a fraction. Decide before you see results."""
    primary: Primary = Primary()
    """The one comparison with the source that the verdict is about."""

    @model_validator(mode="after")
    def variants_fit(self) -> "Study":
        for name, variant in self.variants.items():
            if not NAME.fullmatch(name) or name in TAKEN:
                raise ValueError(f"variant name '{name}' must be lower-case letters, digits and "
                                 f"dashes, and none of {', '.join(TAKEN)}")
            if isinstance(variant, Constant) and not isinstance(
                    self.variants.get(variant.bytes_of), Optimized | External):
                raise ValueError(f"variant '{name}': bytes_of must name an optimized variant or "
                                 "one in a folder")
            for other in getattr(variant, "together", ()):
                if other not in self.encoded:
                    raise ValueError(f"variant '{name}': together must name source or variants "
                                     f"with clips of their own, and '{other}' is none")
        if not any(isinstance(variant, Optimized) for variant in self.variants.values()):
            raise ValueError("variants must hold at least one with a target")
        if self.primary.variant not in (None, *self.variants):
            raise ValueError(f"primary: there is no variant '{self.primary.variant}'")
        if self.primary.classifier not in (None, *self.classifiers):
            raise ValueError(f"primary: '{self.primary.classifier}' is not one of the classifiers")
        if unknown := set(self.crnn_variants or ()) - set(self.all_variants):
            raise ValueError(f"crnn_variants: there is no variant '{min(unknown)}'")
        if SOURCE not in self.trained_on(CRNN):
            raise ValueError("crnn_variants must hold source, which the others are compared with")
        endpoint = self.primary_endpoint
        if endpoint.variant not in self.trained_on(endpoint.classifier):
            raise ValueError(f"primary: '{endpoint.variant}' is not one of crnn_variants")
        return self

    @field_validator("group_pattern")
    @classmethod
    def one_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and "group" not in re.compile(pattern).groupindex:
                raise ValueError("must contain (?P<group>…)")
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        return pattern

    @property
    def all_variants(self) -> tuple[str, ...]:
        """`source` first, then the study's own, in the order of study.yml."""
        return (SOURCE, *self.variants)

    @property
    def encoded(self) -> tuple[str, ...]:
        """Those of `all_variants` that have clips of their own, to encode and to test on."""
        return (SOURCE, *(name for name, variant in self.variants.items()
                          if not isinstance(variant, Together)))

    def parts(self, variant: str) -> tuple[str, ...]:
        """The variants whose clips it is trained on; the last one is its own kind."""
        return getattr(self.variants.get(variant), "together", (variant,))

    def own_kind(self, variant: str) -> str:
        """The variant whose clips are of its own kind."""
        return self.parts(variant)[-1]

    def trained_on(self, classifier: str) -> tuple[str, ...]:
        """The variants that a classifier is trained on, in the order of `all_variants`."""
        chosen = self.crnn_variants if classifier == CRNN else None
        return tuple(name for name in self.all_variants if chosen is None or name in chosen)

    def classifiers_of(self, variant: str) -> tuple[str, ...]:
        """The classifiers that are trained on a variant."""
        return tuple(name for name in self.classifiers if variant in self.trained_on(name))

    @property
    def primary_endpoint(self) -> Primary:
        """The primary endpoint with nothing left open."""
        first = next(name for name, v in self.variants.items() if isinstance(v, Optimized))
        return Primary(classifier=self.primary.classifier or self.classifiers[0],
                       variant=self.primary.variant or first, tested_on=self.primary.tested_on)


def settings_text(study: Study) -> str:
    """A study.yml that says `study`: the settings that people change, each below its help.

    The first line leads editors to the schema, which is to lie beside the file.
    """
    return "".join(f"{line}\n" for line in [
        f"# yaml-language-server: $schema=./{SCHEMA}", *_told(study),
        "# Less often changed: network and pretraining, both of crnn. An editor that reads",
        f"# {SCHEMA} completes and checks all settings."])


def _told(settings: Strict, indent: str = "") -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in ("synthetic", "network", "pretraining"):
            continue
        yield from textwrap.wrap(field.description, 100, initial_indent=f"{indent}# ",
                                 subsequent_indent=f"{indent}# ")
        if isinstance(value, Strict):
            yield f"{indent}{name}:"
            yield from _told(value, f"{indent}  ")
        elif isinstance(value, dict):
            yield f"{name}:"
            yield from (f"  {variant}: {_flow(made.model_dump(mode='json', exclude_defaults=True))}"
                        for variant, made in value.items())
        else:
            yield f"{indent}{name}: {_flow(list(value) if isinstance(value, tuple) else value)}"


def _flow(value: object) -> str:
    """In one line of YAML."""
    return yaml.safe_dump(value, width=10**6, allow_unicode=True,
                          default_flow_style=True).removesuffix("...\n").strip()


def encode_stage(variant: str) -> str:
    """The stage that makes a variant's clips."""
    return "crop" if variant == SOURCE else f"encode-{variant}"


def load_study(folder: Path) -> Study:
    """Read and validate `folder/study.yml`; StudyError names file, setting and remedy."""
    path = Path(folder) / "study.yml"
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise StudyError("holds no settings", path,
                             "write one on each line, 'title: Mine' first")
        study = Study.model_validate(settings)
    except FileNotFoundError:
        raise StudyError("there is no such study", path,
                         "name a folder with a study.yml, or make one with 'leanclips new'"
                         ) from None
    except NotADirectoryError:
        raise StudyError("is a file", folder, f"name the folder, {Path(folder).parent}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise StudyError(f"is not readable YAML ({problem})", path, "correct it") from None
    except ValidationError as error:
        raise StudyError(_first_problem(error), path,
                         "correct the setting (src/leanclips/study.py lists them all)") from None
    if (weights := weights_path(study.backbone, path.parent)) is None:
        return study
    # Stages run in several working directories.
    whole = study.backbone.model_copy(update={"weights": str(weights.resolve())})
    return study.model_copy(update={"backbone": whole})


def weights_path(backbone: Backbone, folder: Path = Path()) -> Path | None:
    """The file that `backbone.weights` names, relative to `folder`; None if it names no file.

    A file is what has a suffix or a slash, or is there.
    """
    name = backbone.weights or ""
    path = folder / Path(name).expanduser()
    return path if Path(name).suffix or "/" in name or path.is_file() else None


def _first_problem(error: ValidationError) -> str:
    """The first problem, in the terms of study.yml."""
    first = error.errors()[0]
    place = first["loc"]
    if place[:1] == ("variants",) and len(place) > 2:  # it fits none of them
        of_kind = [one for one in error.errors() if one["loc"][:2] == place[:2]]
        first = next((one for one in of_kind
                      if one["type"] not in ("missing", "extra_forbidden")), None)
        if first is None:
            return (f"{'.'.join(place[:2])}: must hold one of target, bytes_of, folder and "
                    "together, and nothing else")
        place = (*place[:2], *first["loc"][3:])
    if place[:1] == ("protocol",):
        if first["type"].startswith("union_tag"):
            return f"protocol: kind must be one of {', '.join(PROTOCOLS)}"
        place = (place[0], *place[2:])
    where = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    if first["type"] == "missing":
        return f"{where}: is missing"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if "valid dictionary" in said:
        said = "should hold settings by name"
    if "valid tuple" in said:
        said = "should be a list"
    return f"{where}: {said}" if where else said
